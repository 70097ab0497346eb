"""Where to simulate: the part of the prior that can have made the observation."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.simulate import Target
from jsbi.weights import temper

CANDIDATES = 2048
ROUNDS = 15
# Simulations spread over five posterior widths: the likelihood to the power 1/25.
POWER = 0.04


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
