"""Other tools on the same data, model and prior; used where they are installed.

Each sees jsbi's exact likelihood as a plain function of numpy arrays or of JAX, in the
coordinates in which the prior is N(0, I), so that all answer the very same question.
"""

import dataclasses
import importlib.util
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

from benchmarks.case import Case
from benchmarks.methods import Answer, Prepared, answer_of
from jsbi.api import make_report
from jsbi.baseline import from_chains
from jsbi.correct import judge_samples
from jsbi.correct.draws import WeightedDraws
from jsbi.correct.rung import weighted_posterior
from jsbi.posterior import Posterior
from jsbi.simulate import Target
from jsbi.weights import effective_draws

LIVE = 400  # of UltraNest
LEAST_SLICED = 9  # parameters from which UltraNest moves by slices, not by regions
WALKERS, BURN, LENGTH = 32, 1000, 6000  # of emcee: walkers, and steps of each
CHAINS, WARMUP = 4, 1000  # of numpyro
SIMULATIONS = 10_000  # of the common way with sbi
TRANSFORMS, HIDDEN = 5, 50
MOST_DRAWS = 20  # for each effective draw that is asked for
EDGE = 1e-7  # what the unit cube keeps off its faces


@dataclasses.dataclass(frozen=True)
class Peer:
    """Another tool.

    Attributes:
        package: What must be importable.
        prepare: Makes it ready, given a case and the effective draws to ask for.
    """

    package: str
    prepare: Callable[[Case, int], Prepared]

    @property
    def installed(self) -> bool:
        """Whether it can be used here."""
        return importlib.util.find_spec(self.package) is not None


def counted(target: Target) -> Callable[[np.ndarray], np.ndarray]:
    """The exact log-likelihood of any number of z, as a plain function of numpy.

    Batches are padded to powers of two, so that few shapes are compiled and small
    batches stay cheap. The target counts the evaluations.
    """
    simulator, counts = target.simulator, target.counts

    @eqx.filter_jit
    def compiled(z):
        return jax.vmap(lambda row: simulator.log_likelihood(row, counts))(z)

    def log_likelihood(z: np.ndarray) -> np.ndarray:
        padded = np.zeros((2 ** math.ceil(math.log2(len(z))), z.shape[1]))
        padded[: len(z)] = z
        values = np.asarray(compiled(jnp.asarray(padded, counts.dtype)), np.float64)
        target.evaluations += len(z)
        # A finite number, for tools that cannot rank infinities.
        return np.nan_to_num(values[: len(z)], nan=-1e30, neginf=-1e30)

    return log_likelihood


def answer(
    case: Case, target: Target, posterior: Posterior, draws: int, simulations: int = 0
) -> Answer:
    """Judge a tool's draws by the rules for our own."""
    rung = judge_samples(posterior)
    report = make_report(target, [rung], draws, (), case.observations)
    found = answer_of(dataclasses.replace(posterior, report=report))
    return dataclasses.replace(found, phases={}, simulations=simulations)


def log_perfect(case: Case) -> float:
    """Log-likelihood of the perfect fit, which tools add to their evidence."""
    return sum(each.perfect_log_likelihood for each in case.observations)


def ultranest(case: Case, draws: int) -> Prepared:
    """Nested sampling as in BXA, with vectorised calls.

    Source: Buchner (2021), JOSS 6, 3001; Buchner et al. (2014), A&A 564, A125.
    """

    def solve(seed: int) -> Answer:
        from ultranest import ReactiveNestedSampler  # pyright: ignore[reportMissingImports]

        target = case.target()
        # UltraNest draws from numpy's global generator.
        np.random.seed(seed)  # noqa: NPY002
        sampler = ReactiveNestedSampler(
            list(case.prior.names),
            counted(target),
            transform=lambda cube: ndtri(np.clip(cube, EDGE, 1 - EDGE)),
            vectorized=True,
        )
        if target.dimension >= LEAST_SLICED:
            from ultranest import stepsampler  # pyright: ignore[reportMissingImports]

            sampler.stepsampler = stepsampler.SliceSampler(
                nsteps=2 * target.dimension,
                generate_direction=stepsampler.generate_mixture_random_direction,
            )
        result: Any = sampler.run(
            min_num_live_points=LIVE, show_status=False, viz_callback=False
        )
        weighted = result["weighted_samples"]
        kept = weighted["weights"] > 0
        z = np.asarray(weighted["points"], np.float64)[kept]
        posterior = Posterior(
            names=case.prior.names,
            z=z,
            values=target.physical(z),
            log_weight=np.log(weighted["weights"][kept]),
            log_likelihood=np.asarray(weighted["logl"], np.float64)[kept],
            effective_draws=float(result["ess"]),
            log_evidence=float(result["logz"]) + log_perfect(case),
            log_evidence_error=float(result["logzerr"]),
            method="nested, ultranest",
            proposed=int(result["ncall"]),
        )
        return answer(case, target, posterior, draws)

    return Prepared(solve)


def emcee(case: Case, draws: int) -> Prepared:
    """The affine-invariant ensemble, as XSPEC's `chain`, from the best of many draws.

    Source: Goodman & Weare (2010), CAMCoS 5, 65; Foreman-Mackey et al. (2013), PASP
        125, 306.
    """

    def solve(seed: int) -> Answer:
        from emcee import EnsembleSampler  # pyright: ignore[reportMissingImports]

        target = case.target()
        evaluate = counted(target)
        generator = np.random.default_rng(seed)
        dimension = target.dimension
        walkers = max(WALKERS, 4 * dimension)
        tries = generator.standard_normal((16 * walkers, dimension))
        start = tries[np.argsort(-evaluate(tries))[:walkers]]
        sampler = EnsembleSampler(
            walkers,
            dimension,
            lambda z: evaluate(z) - 0.5 * (z**2).sum(1),
            vectorize=True,
        )
        sampler.random_state = np.random.RandomState(seed).get_state()  # noqa: NPY002
        state = sampler.run_mcmc(start, BURN, store=False)
        sampler.run_mcmc(state, LENGTH)
        chains = np.swapaxes(np.asarray(sampler.get_chain()), 0, 1)
        posterior = from_chains(target, chains, "ensemble, emcee")
        # Walkers depend on one another: their own measure of autocorrelation.
        times = sampler.get_autocorr_time(tol=0)
        effective = walkers * LENGTH / float(np.max(times))
        # Chains that never moved have none.
        effective = float(np.nan_to_num(effective))
        posterior = dataclasses.replace(posterior, effective_draws=effective)
        return answer(case, target, posterior, draws)

    return Prepared(solve)


def numpyro(case: Case, draws: int) -> Prepared:
    """NUTS as jaxspec uses it: four chains from draws of the prior.

    Source: Phan et al. (2019), arXiv 1912.11554; Dupourque et al. (2024), A&A 690,
        A317.
    """

    def solve(seed: int) -> Answer:
        from numpyro.infer import MCMC, NUTS  # pyright: ignore[reportMissingImports]

        target = case.target()
        key_start, key_run = jax.random.split(jax.random.key(seed))

        def potential(z):
            return -target.simulator.log_posterior(z, target.counts)

        chains = MCMC(
            NUTS(potential_fn=potential, dense_mass=True),
            num_warmup=WARMUP,
            num_samples=max(1000, draws // CHAINS),
            num_chains=CHAINS,
            chain_method="vectorized",
            progress_bar=False,
        )
        start = jax.random.normal(key_start, (CHAINS, target.dimension))
        fields = ("num_steps",)
        chains.warmup(
            key_run, init_params=start, extra_fields=fields, collect_warmup=True
        )
        steps = int(chains.get_extra_fields()["num_steps"].sum())
        chains.run(chains.last_state.rng_key, extra_fields=fields)
        steps += int(chains.get_extra_fields()["num_steps"].sum())
        target.evaluations += steps
        z = np.asarray(chains.get_samples(group_by_chain=True), np.float64)
        posterior = from_chains(target, z, "nuts, numpyro")
        return answer(case, target, posterior, draws)

    return Prepared(solve)


def sbi(case: Case, draws: int) -> Prepared:
    """Neural posterior estimation in the common way, with the exact weights after it.

    A masked autoregressive flow of five transforms on 10,000 simulations of raw counts,
    with the settings of the package, in the cube where the prior is uniform.

    Source: Barret & Dupourque (2024), A&A 686, A133; Tejero-Cantero et al. (2020), JOSS
        5, 2505.
    """

    def solve(seed: int) -> Answer:
        import torch  # pyright: ignore[reportMissingImports]

        target = case.target()
        torch.manual_seed(seed)
        generator = np.random.default_rng(seed)
        flow = _train_npe(target, generator)
        counts = torch.as_tensor(np.asarray(target.counts)[None])

        def batch() -> WeightedDraws:
            with torch.no_grad():
                cube = flow.sample((10_000,), condition=counts)
                log_density = flow.log_prob(cube, condition=counts)
            return weigh_cube(
                target,
                cube.numpy()[:, 0].astype(np.float64),
                log_density.numpy()[:, 0].astype(np.float64),
            )

        drawn = batch()
        while (
            effective_draws(drawn.log_ratio) < draws
            and len(drawn.z) < MOST_DRAWS * draws
        ):
            drawn = drawn.joined(batch())
        posterior = weighted_posterior(
            target, drawn, method="npe-sbi", log_perfect=log_perfect(case)
        )
        return answer(case, target, posterior, draws, SIMULATIONS)

    return Prepared(solve)


def _train_npe(target: Target, generator: np.random.Generator) -> Any:
    """Simulate and train; the density estimator over the unit cube."""
    import torch  # pyright: ignore[reportMissingImports]
    from sbi import inference as trainers  # pyright: ignore[reportMissingImports]
    from sbi import neural_nets as networks  # pyright: ignore[reportMissingImports]
    from sbi.utils import BoxUniform  # pyright: ignore[reportMissingImports]

    cube = np.clip(generator.random((SIMULATIONS, target.dimension)), EDGE, 1 - EDGE)
    fold = eqx.filter_jit(jax.vmap(target.simulator.expected_counts))
    expected = np.concatenate(
        [
            np.asarray(fold(jnp.asarray(ndtri(part), target.counts.dtype)), np.float64)
            for part in np.split(cube, range(1000, SIMULATIONS, 1000))
        ]
    )
    counts = generator.poisson(expected)
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


# `sbi` is also what this package calls its own network ladder.
PEERS = {
    "ultranest": Peer("ultranest", ultranest),
    "emcee": Peer("emcee", emcee),
    "numpyro": Peer("numpyro", numpyro),
    "npe-sbi": Peer("sbi", sbi),
}
