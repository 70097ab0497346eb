"""An auto-encoder: a summary from which the spectrum can be told again."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.compress.compressor import Compressor
from jsbi.compress.networks import Embedding
from jsbi.compress.summaries import ScaledCounts
from jsbi.descent import descend
from jsbi.simulate import fast_poisson_counts, poisson_log_likelihood
from jsbi.simulate.source import Source


class AutoEncoder(eqx.Module):
    """Counts to a latent vector and back to expected counts.

    The decoder gives the logarithm of the expected counts relative to the examples'
    mean, and begins with zero.

    Args:
        key: Random key of the weights.
        example: Counts of simulated spectra.
        latent: Length of the latent vector.
        width: Hidden units of each of two layers, in the encoder and in the decoder.

    Source: Barret & Dupourqué (2026), A&A 708, A280: a latent vector of 64, and the C
        statistic as loss.
    """

    encoder: Compressor
    decoder: eqx.nn.MLP
    log_mean: Float[Array, " channel"]

    def __init__(
        self,
        key: Key[Array, ""],
        example: Float[Array, "simulation channel"],
        *,
        latent: int = 64,
        width: int = 128,
    ):
        key_encoder, key_decoder = jax.random.split(key)
        number, channels = example.shape
        scaled = ScaledCounts(example)
        self.encoder = Embedding(
            key_encoder, scaled, example, features=latent, width=width
        )
        decoder = eqx.nn.MLP(latent, channels, width, 2, jax.nn.silu, key=key_decoder)
        self.decoder = eqx.tree_at(
            lambda tree: (tree.layers[-1].weight, tree.layers[-1].bias),
            decoder,
            replace_fn=jnp.zeros_like,
        )
        # Half a count over all examples where there is none.
        self.log_mean = jnp.log(example.mean(0) + 0.5 / number)

    def decode(self, latent: Float[Array, " latent"]) -> Float[Array, " channel"]:
        """Expected counts of a latent vector."""
        log_mean = jax.lax.stop_gradient(self.log_mean)
        return jnp.exp(log_mean + self.decoder(latent))

    def reconstruct(self, counts: Float[Array, " channel"]) -> Float[Array, " channel"]:
        """Expected counts of the spectrum that these counts were drawn from."""
        return self.decode(self.encoder(counts))

    def cstat(self, counts: Float[Array, " channel"]) -> Float[Array, ""]:
        """C statistic between counts and their own reconstruction.

        Counts unlike any training simulation cannot be reconstructed and stand out.
        """
        return -2 * poisson_log_likelihood(counts, self.reconstruct(counts))


def train_autoencoder(
    key: Key[Array, ""],
    autoencoder: AutoEncoder,
    source: Source,
    *,
    steps: int,
    batch: int = 256,
    rate: float = 3e-3,
    tick: Callable[[int], Any] = lambda steps: None,
) -> tuple[AutoEncoder, Float[np.ndarray, " step"]]:
    """Minimise the C statistic between reconstructions and independent counts.

    Counts with fresh noise are reconstructed and then compared, not with themselves,
    which would reward remembering the noise, but with other counts of the same
    spectrum. The mean over those is known: the C statistic at the expected counts, and
    a part that no reconstruction changes, which is left out.

    Args:
        key: Random key.
        autoencoder: What to start from.
        source: Simulations without noise.
        steps: Steps of descent, rounded up to a multiple of 100.
        batch: Simulations per step.
        rate: Initial learning rate.
        tick: Called with the number of steps after each part of the work.

    Returns: The trained auto-encoder and the loss of every step: the mean C statistic
        per channel beyond that of the true spectrum.
    """
    return descend(
        key,
        autoencoder,
        _excess,
        (source, batch),
        steps=steps,
        rate=rate,
        tick=tick,
    )


def _excess(autoencoder: AutoEncoder, key: Array, data: tuple[Source, int]) -> Array:
    source, number = data
    key_draw, key_noise = jax.random.split(key)
    expected = source.draw(key_draw, number).expected
    counts = fast_poisson_counts(key_noise, expected)
    reconstructed = jax.vmap(autoencoder.reconstruct)(counts)
    cstat = -2 * jax.vmap(poisson_log_likelihood)(expected, reconstructed)
    return cstat.mean() / expected.shape[1]
