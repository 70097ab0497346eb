"""Simulations that narrow the prior to where an observation's posterior lives."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jsbi.simulate import Simulator, Target, poisson_log_likelihood
from jsbi.weights import effective_draws, temper

CHUNK = 64  # simulations evaluated together; every batch is a multiple
PER_PARAMETER = 40  # simulations in each of the first rounds
# The C statistic of simulations exceeds its minimum by this much on average.
SPREAD = 25.0


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Where a round of simulations was drawn."""

    centre: Float[np.ndarray, " dim"]
    factor: Float[np.ndarray, "dim dim"]

    def sample(self, generator: np.random.Generator, number: int) -> np.ndarray:
        """Draw."""
        normal = generator.standard_normal((number, len(self.centre)))
        return self.centre + normal @ self.factor.T

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """Log density without the constant that all Gaussians share."""
        white = np.linalg.solve(self.factor, (z - self.centre).T)
        return -0.5 * (white**2).sum(0) - np.log(np.diag(self.factor)).sum()


@dataclasses.dataclass(frozen=True)
class Simulations:
    """Noise-free spectra, and their likelihood at the observed counts."""

    z: Float[np.ndarray, "draw dim"]
    expected: Float[np.ndarray, "draw channel"]
    log_likelihood: Float[np.ndarray, " draw"]

    def near(self, distance: float) -> np.ndarray:
        """Which log-likelihoods are within a distance of the best."""
        return self.log_likelihood > self.log_likelihood.max() - distance

    def joined(self, other: "Simulations") -> "Simulations":
        """These and the others behind them."""
        return Simulations(
            np.concatenate([self.z, other.z]),
            np.concatenate([self.expected, other.expected]),
            np.concatenate([self.log_likelihood, other.log_likelihood]),
        )


def log_weight(
    log_likelihood: np.ndarray, z: np.ndarray, gaussians: list[Gaussian], power: float
) -> np.ndarray:
    """Log of prior times likelihood to a power, over a mixture of equal shares."""
    log_proposal = np.logaddexp.reduce([each.log_prob(z) for each in gaussians])
    log_prior = -0.5 * (z**2).sum(1)
    return power * log_likelihood + log_prior - log_proposal + np.log(len(gaussians))


def wanted_power(dimension: int) -> float:
    """Power of the likelihood that spreads simulations as wide as they should be."""
    return min(1.0, dimension / SPREAD)


def round_size(target: Target) -> int:
    """Simulations in one of the first rounds."""
    return -(-max(200, PER_PARAMETER * target.dimension) // CHUNK) * CHUNK


def explore(
    generator: np.random.Generator,
    target: Target,
    simulations: int,
    tick: Callable[[int], Any],
) -> tuple[Simulations, Gaussian]:
    """Narrow the prior round by round; all simulations, and where to draw more.

    Source: Cornuet et al. (2012), Scandinavian Journal of Statistics 39, 798.
    """
    number, dimension = round_size(target), target.dimension
    if simulations < 3 * number:
        raise ValueError(
            f"{dimension} parameters need {3 * number} `simulations` or more to begin; "
            f"got {simulations}."
        )
    gaussians = [Gaussian(np.zeros(dimension), np.eye(dimension))]
    found = simulate(target, gaussians[0].sample(generator, number), tick)
    while True:
        gaussian, settled = _narrower(found, gaussians)
        if settled or len(found.z) + 2 * number > simulations:
            return found, gaussian
        gaussians.append(gaussian)
        z = gaussian.sample(generator, number)
        found = found.joined(simulate(target, z, tick))


def _narrower(found: Simulations, gaussians: list[Gaussian]) -> tuple[Gaussian, bool]:
    """The next Gaussian to draw from, and whether it is as narrow as is wanted.

    It is fitted to draws weighted by prior times likelihood to a power, the largest
    that leaves the draws useful, until C is `SPREAD` above its minimum on average.
    """
    dimension = found.z.shape[1]
    full = log_weight(found.log_likelihood, found.z, gaussians, wanted_power(dimension))
    if not np.isfinite(full).any():
        raise ValueError(
            "The likelihood must be positive somewhere in the prior, but it was not at "
            f"any of {len(full)} draws. Does the model return finite spectra?"
        )
    least = max(60.0, 12.0 * dimension)
    tempered = temper(full, least)
    weight = np.exp(tempered)
    centre = weight @ found.z
    apart = found.z - centre
    covariance = (apart * weight[:, None]).T @ apart + 1e-9 * np.eye(dimension)
    settled = effective_draws(full) >= least
    return Gaussian(centre, np.linalg.cholesky(covariance)), settled


def simulate(target: Target, z: np.ndarray, tick: Callable[[int], Any]) -> Simulations:
    """Spectra at each of a multiple of 64 draws; likelihood 0 without a value."""
    parts = []
    for rows in np.split(z, len(z) // CHUNK):
        device_rows = jnp.asarray(rows, target.counts.dtype)
        parts.append(_evaluate(target.simulator, target.counts, device_rows))
        target.evaluations += CHUNK
        tick(CHUNK)
    expected, log_likelihood = (
        np.concatenate([np.asarray(each, np.float64) for each in part])
        for part in zip(*parts, strict=True)
    )
    finite = np.isfinite(log_likelihood)
    return Simulations(z, expected, np.where(finite, log_likelihood, -np.inf))


@eqx.filter_jit
def _evaluate(simulator: Simulator, counts: Array, z: Array) -> tuple[Array, Array]:
    expected = jax.vmap(simulator.expected_counts)(z)
    return expected, jax.vmap(lambda each: poisson_log_likelihood(counts, each))(
        expected
    )
