"""The exact posterior density of one observation, evaluated in batches and counted."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jsbi.simulate.simulator import Simulator

# Elements of one intermediate array [draw, bin]: a few tens of MB in float32.
_BATCH_ELEMENTS = 4_000_000


class Target:
    """Prior times likelihood at observed counts, relative to the perfect fit.

    A host object that keeps the batch shape fixed, so that one compilation serves any
    number of draws, and counts likelihood evaluations.

    Args:
        simulator: The model.
        counts: Observed counts in all fit bins.
    """

    def __init__(self, simulator: Simulator, counts: Float[np.ndarray, " channel"]):
        self.simulator = simulator
        self.counts = jnp.asarray(counts, jnp.result_type(float))
        self.evaluations = 0
        bins = sum(folder.matrix.shape[1] for folder in simulator.folders)
        self.batch = int(np.clip(2 ** int(math.log2(_BATCH_ELEMENTS / bins)), 64, 4096))

    @property
    def dimension(self) -> int:
        """Number of free parameters."""
        return self.simulator.prior.dimension

    def log_likelihood(
        self, z: Float[np.ndarray, "draw dim"]
    ) -> Float[np.ndarray, " draw"]:
        """Log-likelihood of each draw; -inf where the model has no value."""
        values = in_batches(
            lambda rows: _log_likelihood(self.simulator, self.counts, rows),
            z,
            self.batch,
        )
        self.evaluations += len(z)
        return np.where(np.isnan(values), -np.inf, values.astype(np.float64))

    def log_prior(self, z: Float[np.ndarray, "draw dim"]) -> Float[np.ndarray, " draw"]:
        """Log density of N(0, I) at each draw."""
        return log_prior(z)

    def expected_counts(
        self, z: Float[np.ndarray, " dim"]
    ) -> Float[np.ndarray, " channel"]:
        """Model counts in all fit bins."""
        expected = _expected(self.simulator, jnp.asarray(z, self.counts.dtype))
        return np.asarray(expected, np.float64)

    def physical(
        self, z: Float[np.ndarray, "draw dim"]
    ) -> Float[np.ndarray, "draw dim"]:
        """The free parameters of each draw, in physical units."""
        values = _physical(self.simulator, jnp.asarray(z, self.counts.dtype))
        return np.asarray(values, np.float64)


@eqx.filter_jit
def _log_likelihood(simulator: Simulator, counts: Array, z: Array) -> Array:
    return jax.vmap(lambda row: simulator.log_likelihood(row, counts))(z)


@eqx.filter_jit
def _expected(simulator: Simulator, z: Array) -> Array:
    return simulator.expected_counts(z)


@eqx.filter_jit
def _physical(simulator: Simulator, z: Array) -> Array:
    return jax.vmap(simulator.prior.free)(z)


def in_batches(
    function: Callable[[Array], Array], z: Float[np.ndarray, "draw dim"], size: int
) -> Float[np.ndarray, "draw ..."]:
    """Apply a compiled function to draws, always to so many, and return its values.

    Args:
        function: Maps [size, dim] to [size, ...].
        z: Draws, any number.
        size: Draws at a time.
    """
    parts = []
    for start in range(0, max(len(z), 1), size):
        rows = z[start : start + size]
        padded = np.zeros((size, z.shape[1]))
        padded[: len(rows)] = rows
        parts.append(np.asarray(function(jnp.asarray(padded, float)))[: len(rows)])
    return np.concatenate(parts)


def log_prior(z: Float[np.ndarray, "draw dim"]) -> Float[np.ndarray, " draw"]:
    """Log density of N(0, I), the prior of every model, at each draw."""
    return -0.5 * (z**2).sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)
