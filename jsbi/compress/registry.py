"""Compressors by name, ready for an estimator."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.compress.autoencoder import AutoEncoder, train_autoencoder
from jsbi.compress.compressor import Compressor, Concatenated, Jointly
from jsbi.compress.fisher import FisherScores
from jsbi.compress.networks import Convolution, Embedding
from jsbi.compress.summaries import (
    BandRatios,
    PrincipalComponents,
    ScaledCounts,
    geometric_bands,
)
from jsbi.instrument import Folder
from jsbi.model import suggest
from jsbi.simulate import Simulator, fast_poisson_counts
from jsbi.simulate.source import Batch, Source

EXAMPLES = 512  # simulations that set scales
STEPS = 2000  # of an auto-encoder's training
BANDS = 19  # 20 edges, as published for CCD spectra
KINDS = {
    "network": "a network on the stabilised counts of every channel",
    "counts": "the stabilised counts themselves, nothing learned",
    "bands": "a network on band sums and their ratios",
    "pca": "a network on principal components",
    "fisher": "a network on the scores at and around the mean of the simulations",
    "autoencoder": "a network on the latent vector of an auto-encoder, trained first",
    "convolution": "a convolutional network along the channels",
}


def make_compressor(
    key: Key[Array, ""],
    name: str,
    source: Source,
    simulator: Simulator,
    *,
    features: int,
    fiducials: Float[Array, "fiducial dim"] | None = None,
    steps: int = STEPS,
    tick: Callable[[int], Any] = lambda steps: None,
) -> Compressor:
    """Make a compressor, scaled by simulations, to be trained with an estimator.

    Each observation of a joint fit has its own, except that scores are taken of all
    observations together, because they add up.

    Args:
        key: Random key.
        name: One of `KINDS`, or several joined by `+`.
        source: Simulations without noise.
        simulator: The model that they come from.
        features: Length of the summary of each kind and observation; the counts
            themselves have a length of their own. `summary_length` tells the total.
        fiducials: Where scores are taken, by default at the mean of the source and
            at one standard deviation from it along each principal axis.
        steps: Steps of an auto-encoder's training; 0 leaves it untrained.
        tick: Called with the number of steps after each part of that training.

    Raises:
        ValueError: If the name is unknown.
    """
    kinds = check_names(name)
    key_example, *keys = jax.random.split(key, 1 + len(kinds))
    batch, example = draw_examples(key_example, source, EXAMPLES)
    if fiducials is None:
        fiducials = spread_fiducials(batch.z)
    parts = []
    for kind, key_part in zip(kinds, keys, strict=True):
        if kind == "fisher":
            scores = FisherScores(simulator, fiducials, compressed=True)
            part = Embedding(key_part, scores, example, features=features)
        else:
            make = functools.partial(
                _make, kind=kind, features=features, steps=steps, tick=tick
            )
            part = _per_observation(key_part, make, source, simulator, example)
        parts.append(part)
    return parts[0] if len(parts) == 1 else Concatenated(tuple(parts))


def check_names(name: str) -> list[str]:
    """Split the name of a compressor into those of its parts, and check them.

    Args:
        name: One of `KINDS`, or several joined by `+`.

    Raises:
        ValueError: If one is unknown.
    """
    kinds = [part.strip() for part in name.split("+")]
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(
                f"A compressor must be one of {', '.join(KINDS)}, or several joined "
                f"by '+'; got {name!r}. {suggest(kind, list(KINDS))}"
            )
    return kinds


def spread_fiducials(
    z: Float[Array, "simulation dim"],
) -> Float[Array, "fiducial dim"]:
    """The mean, and both ends of a standard deviation along each principal axis."""
    values = np.asarray(z, np.float64)
    centre = values.mean(0)
    apart = values - centre
    variance, axes = np.linalg.eigh(apart.T @ apart / len(values))
    steps = (axes * np.sqrt(np.maximum(variance, 0.0))).T
    return jnp.asarray(
        np.concatenate([centre[None], centre + steps, centre - steps]), z.dtype
    )


@eqx.filter_jit
def draw_examples(
    key: Key[Array, ""], source: Source, number: int
) -> tuple[Batch, Float[Array, "simulation channel"]]:
    """Simulations without noise, and nearly Poisson counts of them."""
    key_draw, key_noise = jax.random.split(key)
    batch = source.draw(key_draw, number)
    return batch, fast_poisson_counts(key_noise, batch.expected)


class _Slice(Source):
    """The simulations of one observation of a joint fit."""

    source: Source
    first: int = eqx.field(static=True)
    end: int = eqx.field(static=True)

    def draw(self, key: Key[Array, ""], number: int) -> Batch:
        batch = self.source.draw(key, number)
        return batch._replace(expected=batch.expected[:, self.first : self.end])


def _per_observation(
    key: Array,
    make: Callable[..., Compressor],
    source: Source,
    simulator: Simulator,
    example: Array,
) -> Compressor:
    sizes = simulator.sizes
    keys = jax.random.split(key, len(sizes))
    parts, first = [], 0
    for folder, size, key_part in zip(simulator.folders, sizes, keys, strict=True):
        end = first + size
        own = _Slice(source, first, end)
        parts.append(make(key_part, folder, own, example[:, first:end]))
        first = end
    return parts[0] if len(parts) == 1 else Jointly(tuple(parts), sizes)


def _make(
    key: Array,
    folder: Folder,
    source: Source,
    example: Array,
    *,
    kind: str,
    features: int,
    steps: int,
    tick: Callable[[int], Any],
) -> Compressor:
    """One compressor of one observation."""
    key_part, key_network = jax.random.split(key)
    if kind == "counts":
        return ScaledCounts(example)
    if kind == "convolution":
        return Convolution(key_network, example, features=features)
    if kind == "network":
        summary = ScaledCounts(example)
    elif kind == "bands":
        summary = BandRatios(example.shape[1], geometric_bands(folder, BANDS))
    elif kind == "pca":
        summary = PrincipalComponents(example)
    else:
        key_start, key_train = jax.random.split(key_part)
        autoencoder = AutoEncoder(key_start, example)
        if steps:
            autoencoder, _ = train_autoencoder(
                key_train, autoencoder, source, steps=steps, tick=tick
            )
        summary = autoencoder.encoder
    return Embedding(key_network, summary, example, features=features)
