"""What every compressor does, and how several become one."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Compressor(eqx.Module):
    """Maps the counts of one spectrum to a summary of fixed length.

    Use `jax.vmap` for many spectra.
    """

    @abstractmethod
    def __call__(self, counts: Float[Array, " channel"]) -> Float[Array, " feature"]:
        """The summary of one spectrum."""


class Concatenated(Compressor):
    """Several summaries of the same counts, one after another."""

    parts: tuple[Compressor, ...]

    def __call__(self, counts: Float[Array, " channel"]) -> Float[Array, " feature"]:
        """The summary of one spectrum."""
        return jnp.concatenate([part(counts) for part in self.parts])


class Jointly(Compressor):
    """One compressor per observation of a joint fit.

    Args:
        parts: The compressors, in the order of the observations.
        sizes: Number of channels of each observation.

    Raises:
        ValueError: If there are not as many sizes as compressors.
    """

    parts: tuple[Compressor, ...]
    sizes: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, parts: tuple[Compressor, ...], sizes: tuple[int, ...]):
        if len(parts) != len(sizes):
            raise ValueError(
                "A joint summary needs one number of channels per compressor; got "
                f"{len(sizes)} for {len(parts)} compressors. Is one observation "
                "without a compressor?"
            )
        self.parts, self.sizes = parts, sizes

    def __call__(self, counts: Float[Array, " channel"]) -> Float[Array, " feature"]:
        """The summary of the counts of all observations, one after another."""
        if len(counts) != sum(self.sizes):
            raise ValueError(
                f"The observations have {sum(self.sizes)} channels together; got "
                f"{len(counts)} counts. Were other fit bins chosen?"
            )
        spectra = jnp.split(counts, np.cumsum(self.sizes)[:-1])
        return jnp.concatenate(
            [part(own) for part, own in zip(self.parts, spectra, strict=True)]
        )


class Standardised(Compressor):
    """A summary whose features are shifted and scaled by those of example spectra.

    Where a feature's largest deviation exceeds ten standard deviations, a tenth of it
    is the scale: a feature that hardly ever moves must not become huge when it does.

    Args:
        summary: The summary.
        example: Counts of simulated spectra.
    """

    summary: Compressor
    centre: Float[Array, " feature"]
    spread: Float[Array, " feature"]

    def __init__(
        self, summary: Compressor, example: Float[Array, "simulation channel"]
    ):
        values = summarise(summary, example)
        self.summary = summary
        self.centre = values.mean(0)
        apart = jnp.abs(values - self.centre[None])
        spread = jnp.maximum(values.std(0), apart.max(0) / 10)
        # Rounding alone may move a constant feature.
        constant = spread <= 1e-6 * jnp.abs(self.centre)
        self.spread = jnp.where(constant, 1.0, spread)

    def __call__(self, counts: Float[Array, " channel"]) -> Float[Array, " feature"]:
        """The summary of one spectrum."""
        centre, spread = jax.lax.stop_gradient((self.centre, self.spread))
        return (self.summary(counts) - centre) / spread


@eqx.filter_jit
def summarise(
    compressor: Compressor, counts: Float[Array, "spectrum channel"]
) -> Float[Array, "spectrum feature"]:
    """The summaries of many spectra."""
    return jax.vmap(compressor)(counts)


def summary_length(compressor: Compressor, channels: int) -> int:
    """Number of features that the compressor makes of this many channels."""
    counts = jax.ShapeDtypeStruct((channels,), jnp.result_type(float))
    return len(eqx.filter_eval_shape(compressor, counts))
