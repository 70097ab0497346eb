"""Learned summaries of spectra."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jsbi.simulate import variance_stabilised


class Compressor(eqx.Module):
    """Maps counts to a summary of fixed length."""

    @abstractmethod
    def __call__(self, counts: Float[Array, " channel"]) -> Float[Array, " feature"]:
        """The summary of one spectrum."""


class StabilisedMLP(Compressor):
    """Variance-stabilised counts, standardised per channel, then a small network.

    After the square root every channel carries noise of about the same size, faint or
    bright. The logarithm of the total is added, which standardising would blur.

    Args:
        key: Random key of the weights.
        example: Counts of simulated spectra that set each channel's centre and scale.
        features: Length of the summary.
        width: Hidden units in each of two layers.
    """

    centre: Float[Array, " channel"]
    spread: Float[Array, " channel"]
    network: eqx.nn.MLP

    def __init__(
        self,
        key: Key[Array, ""],
        example: Float[Array, "simulation channel"],
        *,
        features: int,
        width: int = 64,
    ):
        stabilised = variance_stabilised(example)
        self.centre = stabilised.mean(0)
        self.spread = stabilised.std(0) + 0.1
        channels = example.shape[1]
        self.network = eqx.nn.MLP(
            channels + 1, features, width, 2, jax.nn.silu, key=key
        )

    def __call__(self, counts: Float[Array, " channel"]) -> Float[Array, " feature"]:
        """The summary of one spectrum."""
        centre, spread = jax.lax.stop_gradient((self.centre, self.spread))
        standard = (variance_stabilised(counts) - centre) / spread
        total = jnp.log(counts.sum() + 1)
        return self.network(jnp.append(standard, 0.3 * (total - 7)))
