"""Learned summaries of spectra."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from paramax import NonTrainable

from jsbi.compress.compressor import Compressor, Standardised
from jsbi.compress.summaries import ScaledCounts

STRIDE = 4  # of each convolution; its windows are two strides long [channel]
SHORT = 16  # positions that need no further convolution


class Embedding(Compressor):
    """A fixed summary, standardised by examples, then a small network.

    Only the network is trained, even where the summary holds a network of its own.

    Args:
        key: Random key of the weights.
        summary: The fixed summary.
        example: Counts of simulated spectra that set each feature's centre and scale.
        features: Length of the new summary.
        width: Hidden units of each layer.
        depth: Number of hidden layers.
    """

    summary: NonTrainable[Standardised]
    network: eqx.nn.MLP

    def __init__(
        self,
        key: Key[Array, ""],
        summary: Compressor,
        example: Float[Array, "simulation channel"],
        *,
        features: int,
        width: int = 64,
        depth: int = 2,
    ):
        standard = Standardised(summary, example)
        length = len(standard.centre)
        self.summary = NonTrainable(standard)
        self.network = eqx.nn.MLP(length, features, width, depth, jax.nn.silu, key=key)

    def __call__(self, counts: Float[Array, " channel"]) -> Float[Array, " feature"]:
        """The summary of one spectrum."""
        return self.network(self.summary.tree(counts))


class Convolution(Compressor):
    """Strided convolutions along the channels, for any number of them.

    Each layer leaves a quarter of the positions, until at most 16 are left; then one
    linear layer, to which the logarithm of the total goes directly. The same filters
    slide over all channels, so that there are few weights even for 20,000 of them.

    Args:
        key: Random key of the weights.
        example: Counts of simulated spectra that set each channel's centre and scale.
        features: Length of the summary.
        width: Filters of each layer.
    """

    scaled: NonTrainable[ScaledCounts]
    layers: tuple[eqx.nn.Linear, ...]
    last: eqx.nn.Linear

    def __init__(
        self,
        key: Key[Array, ""],
        example: Float[Array, "simulation channel"],
        *,
        features: int,
        width: int = 32,
    ):
        key_layers, key_last = jax.random.split(key)
        lengths = [example.shape[1]]
        while lengths[-1] > SHORT:
            lengths.append(-(-lengths[-1] // STRIDE))
        inputs = [1] + [width] * (len(lengths) - 1)
        self.layers = tuple(
            eqx.nn.Linear(2 * STRIDE * each, width, key=key_layer)
            for each, key_layer in zip(
                inputs[:-1], jax.random.split(key_layers, len(lengths)), strict=False
            )
        )
        self.scaled = NonTrainable(ScaledCounts(example))
        self.last = eqx.nn.Linear(lengths[-1] * inputs[-1] + 1, features, key=key_last)

    def __call__(self, counts: Float[Array, " channel"]) -> Float[Array, " feature"]:
        """The summary of one spectrum."""
        scaled = self.scaled.tree(counts)
        signal, total = scaled[:-1, None], scaled[-1]
        for layer in self.layers:
            signal = jax.nn.silu(_convolve(layer, signal))
        return self.last(jnp.append(signal.ravel(), total))


def _convolve(
    layer: eqx.nn.Linear, signal: Float[Array, "place filter"]
) -> Float[Array, "fewer filters"]:
    """Apply a layer to windows of two strides that overlap by half.

    A matrix product of neighbouring blocks: XLA's own convolution is an order of
    magnitude slower on a CPU inside a loop, where training happens.
    """
    length = -(-len(signal) // STRIDE)
    before = STRIDE // 2
    after = (length + 1) * STRIDE - before - len(signal)
    blocks = jnp.pad(signal, ((before, after), (0, 0))).reshape(length + 1, -1)
    windows = jnp.concatenate([blocks[:-1], blocks[1:]], axis=1)
    return jax.vmap(layer)(windows)
