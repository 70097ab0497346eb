"""Where to simulate: the part of the prior that can have made the observation."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key
from scipy.stats import chi2

from jsbi.simulate import Simulator, Target, in_batches
from jsbi.weights import temper

CANDIDATES = 2048
ROUNDS = 15
# Simulations spread over five posterior widths: the likelihood to the power 1/25.
POWER = 0.04
SAFETY = 1e-6  # of a posterior that the lowest cut of the statistic may lose
PROPOSALS = 8192  # at a time
HOPELESS = 1e-6  # acceptance below which sampling by rejection is given up


class Region(eqx.Module):
    """A Gaussian part of the prior from which training simulations are drawn.

    An estimator trained on it learns the posterior under this proposal. It is never
    taken for the prior: reweighting uses the true one, and the region is several times
    wider than the posterior.

    Attributes:
        centre: Mean in z, [dim].
        factor: Lower Cholesky factor of its covariance in z, [dim, dim].
    """

    centre: Float[Array, " dim"]
    factor: Float[Array, "dim dim"]

    @staticmethod
    def whole(dimension: int) -> "Region":
        """All of the prior, N(0, I)."""
        return Region(jnp.zeros(dimension), jnp.eye(dimension))

    def sample(self, key: Key[Array, ""]) -> Float[Array, " dim"]:
        """Draw coordinates."""
        normal = jax.random.normal(key, self.centre.shape, self.centre.dtype)
        return self.centre + self.factor @ normal

    def whiten(self, z: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """Coordinates in which the region is N(0, I)."""
        return jax.scipy.linalg.solve_triangular(
            self.factor, z - self.centre, lower=True
        )

    def colour(self, white: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """The inverse of `whiten`."""
        return self.centre + self.factor @ white

    def log_det(self) -> Float[Array, ""]:
        """Log volume of `colour`'s stretching."""
        return jnp.log(jnp.diag(self.factor)).sum()


def restrict_prior(key: Key[Array, ""], target: Target) -> Region:
    """Narrow the prior, round by round, to where the observation is not impossible.

    Each round draws from the last Gaussian and fits the next to the draws, weighted by
    prior times a power of the likelihood: as large a power as leaves the draws useful,
    up to 1/25, where the region is five times as wide as the posterior.

    Args:
        key: Random key.
        target: The posterior density.
    """
    dimension = target.dimension
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    centre, factor = np.zeros(dimension), np.eye(dimension)
    least = max(200.0, 20.0 * dimension)
    for _ in range(ROUNDS):
        normal = generator.standard_normal((CANDIDATES, dimension))
        z = centre + normal @ factor.T
        log_proposal = -0.5 * (normal**2).sum(1) - np.log(np.diag(factor)).sum()
        log_prior = target.log_prior(z) + dimension / 2 * math.log(2 * math.pi)
        log_weight = POWER * target.log_likelihood(z) + log_prior - log_proposal
        tempered = temper(log_weight, least)
        weight = np.exp(tempered)
        centre = weight @ z
        apart = z - centre
        covariance = (apart * weight[:, None]).T @ apart
        factor = np.linalg.cholesky(covariance + 1e-6 * np.eye(dimension))
        if np.allclose(tempered - tempered.max(), log_weight - log_weight.max()):
            break
    dtype = target.counts.dtype
    return Region(jnp.asarray(centre, dtype), jnp.asarray(factor, dtype))


def expected_spectra(
    target: Target, z: Float[np.ndarray, "draw dim"]
) -> Float[np.ndarray, "draw channel"]:
    """Model counts in all fit bins at each draw."""
    return in_batches(lambda rows: _spectra(target.simulator, rows), z, target.batch)


@eqx.filter_jit
def _spectra(simulator: Simulator, z: Array) -> Array:
    return jax.vmap(simulator.expected_counts)(z)


@dataclass(frozen=True)
class PriorPart(ABC):
    """N(0, I) times the indicator of a set.

    An estimator trained on draws from it learns the posterior itself, within the set.

    Attributes:
        log_volume: Log of the share of the prior that it holds.
        log_volume_error: Standard deviation of `log_volume`.
        acceptance: Share of candidates that `sample` accepts.
    """

    log_volume: float = field(default=0.0, kw_only=True)
    log_volume_error: float = field(default=0.0, kw_only=True)
    acceptance: float = field(default=1.0, kw_only=True)

    @abstractmethod
    def accepts(self, z: Float[np.ndarray, "draw dim"]) -> Bool[np.ndarray, " draw"]:
        """Which draws lie in the set."""

    @abstractmethod
    def propose(
        self, generator: np.random.Generator, number: int
    ) -> tuple[Float[np.ndarray, "number dim"], Float[np.ndarray, " number"]]:
        """Candidates, and the log of the probability to accept each."""

    def sample(
        self, key: Key[Array, ""], number: int
    ) -> Float[np.ndarray, "number dim"]:
        """Draw independently and exactly from the prior within the set.

        Args:
            key: Random key.
            number: Draws.

        Raises:
            ValueError: If next to no candidates are accepted.
        """
        generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        kept, found, made = [], 0, 0
        while found < number:
            z, log_accept = self.propose(generator, PROPOSALS)
            accepted = z[generator.random(len(z)) < np.exp(log_accept)]
            kept.append(accepted)
            found, made = found + len(accepted), made + len(z)
            if found + 10 < HOPELESS * made:
                raise ValueError(
                    f"Sampling a part of the prior must accept {HOPELESS:g} of the "
                    f"candidates; got {found} of {made}. Does the part hold next to "
                    "nothing of the prior?"
                )
        return np.concatenate(kept)[:number]


@dataclass(frozen=True)
class WholePrior(PriorPart):
    """All of N(0, I).

    Attributes:
        dimension: Number of parameters.
    """

    dimension: int

    def accepts(self, z: Float[np.ndarray, "draw dim"]) -> Bool[np.ndarray, " draw"]:
        """Every draw."""
        return np.ones(len(z), bool)

    def propose(
        self, generator: np.random.Generator, number: int
    ) -> tuple[Float[np.ndarray, "number dim"], Float[np.ndarray, " number"]]:
        """Draws, all of them to accept."""
        return generator.standard_normal((number, self.dimension)), np.zeros(number)


class Rule(eqx.Module):
    """What makes a simulation worth having, from its spectrum without noise."""

    @abstractmethod
    def measure(
        self, target: Target, z: Float[np.ndarray, "draw dim"]
    ) -> Float[np.ndarray, " draw"]:
        """The number by which each draw is judged."""

    @abstractmethod
    def narrow(
        self,
        interval: tuple[float, float],
        newest: Float[np.ndarray, " draw"],
        dimension: int,
    ) -> tuple[float, float]:
        """Where valid numbers lie, after a round that measured `newest`."""


class TotalCounts(Rule):
    """The expected counts of all bins together lie in an interval.

    Attributes:
        low: The fewest.
        high: The most.
    """

    low: float | int
    high: float | int

    def __check_init__(self):
        if not 0 <= self.low < self.high:
            raise ValueError(
                "The expected counts must lie between a `low` of at least 0 and a "
                f"larger `high`; got {self.low} and {self.high}."
            )

    def measure(
        self, target: Target, z: Float[np.ndarray, "draw dim"]
    ) -> Float[np.ndarray, " draw"]:
        """Total expected counts."""
        return expected_spectra(target, z).sum(1, dtype=np.float64)

    def narrow(
        self,
        interval: tuple[float, float],
        newest: Float[np.ndarray, " draw"],
        dimension: int,
    ) -> tuple[float, float]:
        """The same interval in every round."""
        return float(self.low), float(self.high)


class LowestStatistic(Rule):
    """The C statistic against the observation is among the lowest of the round.

    No round cuts below the lowest statistic seen plus what a Gaussian posterior of so
    many parameters needs, so that no number of rounds cuts into the posterior.

    Attributes:
        share: Of the newest draws, the part to keep.
    """

    share: float = 0.25

    def __check_init__(self):
        if not 0 < self.share < 1:
            raise ValueError(
                f"The share to keep must lie between 0 and 1; got {self.share}. "
                "In percent?"
            )

    def measure(
        self, target: Target, z: Float[np.ndarray, "draw dim"]
    ) -> Float[np.ndarray, " draw"]:
        """C statistic of the spectra without noise."""
        return -2 * target.log_likelihood(z)

    def narrow(
        self,
        interval: tuple[float, float],
        newest: Float[np.ndarray, " draw"],
        dimension: int,
    ) -> tuple[float, float]:
        """From nothing to the quantile of the newest draws, or an earlier lower one."""
        quantile = float(np.quantile(newest, self.share, method="lower"))
        floor = float(newest.min() + chi2.isf(SAFETY, dimension))
        return -math.inf, min(interval[1], max(quantile, floor))
