"""Other tools that train a network for neural posterior estimation.

In the common way: 10,000 simulations from the prior, a masked autoregressive flow of
five transforms with the settings of the package, and the exact weights after it.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.special import ndtri

from benchmarks.case import Case
from benchmarks.methods import Answer, Prepared
from benchmarks.plain import EDGE, answer, log_perfect, usual_promotion
from jsbi.correct.draws import WeightedDraws, weigh
from jsbi.correct.rung import weighted_posterior
from jsbi.simulate import Simulator, Target
from jsbi.weights import effective_draws

SIMULATIONS = 10_000
TRANSFORMS, HIDDEN = 5, 50
BATCH = 10_000  # draws at once
MOST_DRAWS = 20  # for each effective draw that is asked for


def sbi(case: Case, draws: int) -> Prepared:
    """The package sbi, on raw counts, in the cube where the prior is uniform.

    Source: Barret & Dupourque (2024), A&A 686, A133; Tejero-Cantero et al. (2020), JOSS
        5, 2505.
    """

    def solve(seed: int) -> Answer:
        import torch  # pyright: ignore[reportMissingImports]

        target = case.target()
        torch.manual_seed(seed)
        generator = np.random.default_rng(seed)
        flow = _train_sbi(target, generator)
        counts = torch.as_tensor(np.asarray(target.counts)[None])

        def batch() -> WeightedDraws:
            with torch.no_grad():
                cube = flow.sample((BATCH,), condition=counts)
                log_density = flow.log_prob(cube, condition=counts)
            return weigh_cube(
                target,
                cube.numpy()[:, 0].astype(np.float64),
                log_density.numpy()[:, 0].astype(np.float64),
            )

        return _answer(case, target, batch, draws, "npe-sbi")

    return Prepared(solve)


def sbijax(case: Case, draws: int) -> Prepared:
    """The package sbijax, where the prior is N(0, I).

    Counts are given to it less their mean and over their deviation, which the package
    sbi does by itself.

    Source: Dirmeier et al. (2024), arXiv 2409.19435.
    """

    def solve(seed: int) -> Answer:
        from sbijax import npe, train  # pyright: ignore[reportMissingImports]
        from sbijax.nn import make_maf  # pyright: ignore[reportMissingImports]

        target = case.target()
        key_train, key_draw = jax.random.split(jax.random.key(seed))
        generator = np.random.default_rng(seed)
        z = generator.standard_normal((SIMULATIONS, target.dimension))
        counts = simulated_counts(target, generator, z)
        mean, sd = counts.mean(0), np.maximum(counts.std(0), 1e-3)
        flow = make_maf(
            target.dimension, n_layers=TRANSFORMS, hidden_sizes=(HIDDEN, HIDDEN)
        )
        theta, y = (jnp.asarray(each, float) for each in (z, (counts - mean) / sd))
        with usual_promotion():
            params, _ = train(key_train, npe(flow), {"theta": theta, "y": y})
        seen = jnp.asarray((np.asarray(target.counts) - mean) / sd, float)
        seen = jnp.tile(seen, (BATCH, 1))
        keys = iter(jax.random.split(key_draw, 1 + MOST_DRAWS * draws // BATCH))

        @jax.jit
        def propose(key):
            drawn = flow.apply(
                params, key, method="sample", sample_shape=(BATCH,), x=seen
            )
            return drawn, flow.apply(params, None, method="log_prob", y=drawn, x=seen)

        def batch() -> WeightedDraws:
            with usual_promotion():
                drawn, log_density = propose(next(keys))
            z = np.asarray(drawn, np.float64)
            log_proposal = np.asarray(log_density, np.float64)
            return weigh(z, target.log_likelihood(z), log_proposal)

        return _answer(case, target, batch, draws, "npe-sbijax")

    return Prepared(solve)


def _answer(
    case: Case,
    target: Target,
    batch: Callable[[], WeightedDraws],
    draws: int,
    method: str,
) -> Answer:
    """Draw until enough are effective, or too many were drawn, and judge."""
    drawn = batch()
    while (
        effective_draws(drawn.log_ratio) < draws
        and len(drawn.z) + BATCH <= MOST_DRAWS * draws
    ):
        drawn = drawn.joined(batch())
    posterior = weighted_posterior(
        target, drawn, method=method, log_perfect=log_perfect(case)
    )
    return answer(case, target, posterior, draws, SIMULATIONS)


def simulated_counts(
    target: Target, generator: np.random.Generator, z: np.ndarray
) -> np.ndarray:
    """Poisson counts in all fit bins.

    Args:
        target: The posterior density.
        generator: Random generator.
        z: Coordinates of the simulations, [simulation, dim].

    Returns: [simulation, bin].
    """
    expected = [
        _expected(target.simulator, jnp.asarray(part, target.counts.dtype))
        for part in np.split(z, range(1000, len(z), 1000))
    ]
    return generator.poisson(np.concatenate(expected).astype(np.float64))


@eqx.filter_jit
def _expected(simulator: Simulator, z: Array) -> Array:
    return jax.vmap(simulator.expected_counts)(z)


def _train_sbi(target: Target, generator: np.random.Generator) -> Any:
    """Simulate and train; the density estimator over the unit cube."""
    import torch  # pyright: ignore[reportMissingImports]
    from sbi import inference as trainers  # pyright: ignore[reportMissingImports]
    from sbi import neural_nets as networks  # pyright: ignore[reportMissingImports]
    from sbi.utils import BoxUniform  # pyright: ignore[reportMissingImports]

    cube = np.clip(generator.random((SIMULATIONS, target.dimension)), EDGE, 1 - EDGE)
    counts = simulated_counts(target, generator, ndtri(cube))
    ends = torch.zeros(target.dimension), torch.ones(target.dimension)
    inference = trainers.NPE(
        prior=BoxUniform(*ends),
        density_estimator=networks.posterior_nn(
            "maf", hidden_features=HIDDEN, num_transforms=TRANSFORMS
        ),
        show_progress_bars=False,
    )
    inference.append_simulations(
        torch.as_tensor(cube, dtype=torch.float32),
        torch.as_tensor(counts, dtype=torch.float32),
    )
    return inference.train()


def weigh_cube(
    target: Target, cube: np.ndarray, log_density: np.ndarray
) -> WeightedDraws:
    """Weigh draws in the cube where the prior is uniform; outside they have no weight.

    Args:
        target: The posterior density.
        cube: Draws, [draw, dim].
        log_density: Their log density in the cube.
    """
    inside = ((cube > 0) & (cube < 1)).all(1)
    z = ndtri(np.clip(cube, EDGE, 1 - EDGE))
    log_likelihood = target.log_likelihood(z)
    log_ratio = log_likelihood - log_density
    known = inside & np.isfinite(log_ratio)
    return WeightedDraws(z, log_likelihood, np.where(known, log_ratio, -np.inf))
