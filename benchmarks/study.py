"""What compressors are compared on: simulations, and the exact posterior."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from benchmarks.case import Case
from jsbi.api import infer
from jsbi.compress import fisher_information
from jsbi.estimate import Region, expected_spectra, restrict_prior
from jsbi.posterior import Posterior
from jsbi.simulate import Stored, Target, without_context

HELD_OUT = 2000
INFORMED = 256  # held-out spectra whose information is computed


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much work to do.

    Attributes:
        simulations: Spectra without noise to train on.
        steps: Of training of each estimator.
        autoencoder_steps: Of training of the auto-encoder before.
        draws: Effective draws from the exact posterior.
    """

    simulations: int = 10_000
    steps: int = 1000
    autoencoder_steps: int = 2000
    draws: int = 5000


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """What all compressors share.

    Attributes:
        target: The exact posterior density.
        region: Where simulations were drawn.
        source: Simulations to train on.
        z: Coordinates of held-out simulations.
        counts: With noise, of the same.
        exact: Quantiles at 16, 50 and 84 % of the posterior under the region, in z.
        bound: Deviations by Fisher's information and the region, in z.
        entropy: Mean over `INFORMED` held-out spectra of the entropy of the Gaussian of
            that information [nat].
    """

    target: Target
    region: Region
    source: Stored
    z: Float[Array, "simulation dim"]
    counts: Float[Array, "simulation channel"]
    exact: Float[np.ndarray, "three dim"]
    bound: Float[np.ndarray, " dim"]
    entropy: float


def prepare(case: Case, sizes: Sizes) -> Study:
    """Simulate, and find the exact posterior."""
    keys = jax.random.split(jax.random.key(0), 3)
    target = case.target()
    region = restrict_prior(keys[0], target)
    number = sizes.simulations + HELD_OUT
    z = jax.vmap(region.sample)(jax.random.split(keys[1], number))
    expected = expected_spectra(target, np.asarray(z, np.float64))
    noisy = np.random.default_rng(1).poisson(expected[sizes.simulations :])
    exact = infer(
        keys[2],
        case.observations,
        case.model,
        case.prior,
        draws=sizes.draws,
        progress=False,
    )
    print(exact)
    quantiles = under_region(exact, region)
    precision = precision_under(target, region, jnp.asarray(quantiles[1:2], float))
    held_out = z[sizes.simulations :]
    informed = precision_under(target, region, held_out[:INFORMED])
    dimension = target.dimension
    spread = 0.5 * dimension * (1 + np.log(2 * np.pi))
    return Study(
        target,
        region,
        Stored(
            without_context(
                z[: sizes.simulations], jnp.asarray(expected[: sizes.simulations])
            )
        ),
        held_out,
        jnp.asarray(noisy, float),
        quantiles,
        np.sqrt(np.diag(np.linalg.inv(precision[0]))),
        float(spread - 0.5 * np.linalg.slogdet(informed)[1].mean()),
    )


def under_region(exact: Posterior, region: Region) -> np.ndarray:
    """Quantiles in z of the posterior, with the region in the place of the prior."""
    white = jax.vmap(region.whiten)(jnp.asarray(exact.z, float))
    log_region = -0.5 * (np.asarray(white, np.float64) ** 2).sum(1)
    log_weight = exact.log_weight + log_region + 0.5 * (exact.z**2).sum(1)
    log_weight -= np.logaddexp.reduce(log_weight)
    within = dataclasses.replace(exact, values=exact.z, log_weight=log_weight)
    return np.stack([within.quantile(p) for p in (0.16, 0.5, 0.84)])


def precision_under(
    target: Target, region: Region, z: Float[Array, "place dim"]
) -> Float[np.ndarray, "place dim dim"]:
    """Fisher's information at each place, with that of the region."""
    inverse = np.linalg.inv(np.asarray(region.factor, np.float64))
    return fisher_information(target.simulator, z) + inverse.T @ inverse
