"""Training simulations from a Gaussian part of the prior."""

import jax
from jaxtyping import Array, Key

from jsbi.estimate.restrict import Region
from jsbi.simulate import Batch, Simulator, Source, finite, without_context


class FromRegion(Source):
    """Simulations evaluated where they are used, never twice the same.

    Attributes:
        simulator: Prior, model and instruments.
        region: Where coordinates are drawn.
    """

    simulator: Simulator
    region: Region

    def draw(self, key: Key[Array, ""], number: int) -> Batch:
        """Draw coordinates and evaluate the model at them."""
        z = jax.vmap(self.region.sample)(jax.random.split(key, number))
        return finite(without_context(z, jax.vmap(self.simulator.expected_counts)(z)))
