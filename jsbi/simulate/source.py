"""Where training simulations come from, before their noise."""

from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key


class Batch(NamedTuple):
    """Simulations without noise.

    Attributes:
        z: Coordinates.
        expected: Model counts in all fit bins.
        context: What is known of each observation besides its counts, such as its
            exposure; of no length where everything else is the same for all.
    """

    z: Float[Array, "simulation dim"]
    expected: Float[Array, "simulation channel"]
    context: Float[Array, "simulation context"]


class Source(eqx.Module):
    """Draws simulations without noise; noise is fresh wherever they are used."""

    @abstractmethod
    def draw(self, key: Key[Array, ""], number: int) -> Batch:
        """Draw `number` simulations; to be called under `jit`."""


class Stored(Source):
    """Simulations that were made once, where the model is slow to evaluate.

    Attributes:
        batch: All of them; drawn with replacement.
    """

    batch: Batch

    def draw(self, key: Key[Array, ""], number: int) -> Batch:
        """Pick rows at random."""
        rows = jax.random.randint(key, (number,), 0, len(self.batch.z))
        return Batch(*(part[rows] for part in self.batch))


def stored(
    z: Float[np.ndarray, "simulation dim"],
    expected: Float[np.ndarray, "simulation channel"],
) -> Stored:
    """Store simulations without noise, but those of which the model has no value."""
    known = np.isfinite(expected).all(1)
    z, expected = z[known], expected[known]
    return Stored(
        without_context(jnp.asarray(z, expected.dtype), jnp.asarray(expected))
    )


def finite(batch: Batch) -> Batch:
    """Replace simulations of which the model has no value by one of which it has.

    A single one would make the gradient of a training step, and with it all networks,
    not a number.
    """
    known = jnp.isfinite(batch.expected).all(1)
    rows = jnp.where(known, jnp.arange(len(known)), jnp.argmax(known))
    return Batch(*(part[rows] for part in batch))


def without_context(
    z: Float[Array, "simulation dim"], expected: Float[Array, "simulation channel"]
) -> Batch:
    """Simulations that differ in their parameters alone."""
    return Batch(z, expected, jnp.zeros((len(z), 0), z.dtype))
