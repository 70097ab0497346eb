"""A recurrent network that unfolds counts into a source spectrum, and its training."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key
from paramax import NonTrainable

from jsbi.data import Observation
from jsbi.descent import descend
from jsbi.diagnose.unfold_spectra import (
    SPLIT,
    Grid,
    training_spectra,
    unfolding_grid,
)
from jsbi.simulate import Simulator, fast_poisson_counts
from jsbi.simulate.source import Source, stored

OFFSETS = (-8, -4, -2, -1, 0, 1, 2, 4, 8)  # bins that a convolution looks at
FEATURES = 6
JITTER = 1e-4  # variance added to that of the training spectra, ln(flux)^2
FEW = 3.0  # counts
LONGEST_MOVE = 3.0  # of ln(flux) in one step
LARGEST = 40.0  # of ln(flux) relative to the reference
CHUNK = 64  # spectra unfolded at once


class Frame(eqx.Module):
    """What an unfolding knows before it is trained: response, and Gaussian prior.

    Spectra are `v`, the log flux per count in each bin relative to `reference`.

    Attributes:
        edges: Bin edges [keV].
        inside: Whether a bin lies in the energy range of the fit bins.
        columns: Counts in each channel per count in all, from each bin of the reference
            spectrum.
        reference: Mean log flux per count of the training spectra.
        root: Square root of their covariance.
        inverse: Inverse of `root`.
    """

    edges: Float[Array, " edge"]
    inside: Bool[Array, " bin"]
    columns: Float[Array, "channel bin"]
    reference: Float[Array, " bin"]
    root: Float[Array, "bin bin"]
    inverse: Float[Array, "bin bin"]

    def expected(
        self, v: Float[Array, " bin"], total: Float[Array, ""]
    ) -> Float[Array, " channel"]:
        """Model counts of a spectrum.

        Args:
            v: The spectrum.
            total: Counts in all, the unit of the flux.
        """
        return self._shares(v, total)[1]

    def score(
        self,
        v: Float[Array, " bin"],
        counts: Float[Array, " channel"],
        total: Float[Array, ""],
    ) -> Float[Array, " bin"]:
        """Gradient of the Poisson log-likelihood: `flux * A^T (counts / A flux - 1)`.

        Args:
            v: The spectrum.
            counts: Observed counts.
            total: Counts in all, the unit of the flux.
        """
        share, expected = self._shares(v, total)
        return share.T @ (counts - expected)

    def newton(
        self,
        v: Float[Array, " bin"],
        counts: Float[Array, " channel"],
        total: Float[Array, ""],
    ) -> tuple[Float[Array, " bin"], Float[Array, " bin"], Float[Array, " bin"]]:
        """Score, the step to the posterior mode under the Gaussian prior, and widths.

        The Hessian weighs channels by the logarithmic mean of the expected counts and
        of those that Richardson and Lucy's factors would make of them, so that a bin
        which is far too bright or faint needs one step, not many. Where counts are few,
        the factors are near 1, and the Hessian is Fisher's.

        Args:
            v: The spectrum.
            counts: Observed counts.
            total: Counts in all, the unit of the flux.
        """
        share, expected = self._shares(v, total)
        score = share.T @ (counts - expected)
        factor = (share.T @ counts + FEW) / (share.T @ expected + FEW)
        weight = jnp.sqrt(_logarithmic_mean(expected * (share @ factor), expected))
        half = (weight[:, None] * share) @ self.root
        lower = jnp.linalg.cholesky(half.T @ half + jnp.eye(len(v), dtype=v.dtype))
        inverse = _invert_lower(lower)
        slope = self.root.T @ score - self.inverse @ v
        move = self.root @ (inverse.T @ (inverse @ slope))
        move = jnp.clip(move, -LONGEST_MOVE, LONGEST_MOVE)
        spread = inverse @ self.root.T
        return score, move, jnp.sqrt((spread**2).sum(0))

    def _shares(self, v: Array, total: Array) -> tuple[Array, Array]:
        """Share of each bin in each channel's counts, and the expected counts."""
        rate = self.columns * jnp.exp(jnp.clip(v, -LARGEST, LARGEST))[None]
        channel = jnp.maximum(rate.sum(1), jnp.finfo(rate.dtype).tiny)
        return rate / channel[:, None], total * channel


class Unfolder(eqx.Module):
    """A recurrent inference machine: counts in, source spectrum out.

    Each step looks at the current spectrum, the gradient of its Poisson likelihood and
    the step that a Gaussian prior with mean and covariance of the training spectra
    would take; a network with a memory in each bin adds a correction in units of the
    widths under that prior. As made it is that step alone, so that a training can
    only add what the training spectra are beyond their covariance.

    Its prior is its training spectra. It needs no exposure: more counts are a smaller
    width.

    Args:
        key: Random key of the weights.
        frame: Response and prior.
        width: Hidden units in each bin.
        iterations: Steps.

    Source: Rhea et al. (2023), arXiv 2311.18014, and (2024), arXiv 2409.10711, with the
        gradient of Poisson counts; Putzky & Welling (2017), arXiv 1706.04008.
    """

    frame: NonTrainable[Frame]
    first: eqx.nn.Linear
    memory: eqx.nn.GRUCell
    second: eqx.nn.Linear
    last: eqx.nn.Linear
    iterations: int = eqx.field(static=True)

    def __init__(
        self, key: Key[Array, ""], frame: Frame, *, width: int = 16, iterations: int = 5
    ):
        key_first, key_memory, key_second, key_last = jax.random.split(key, 4)
        seen = len(OFFSETS)
        self.frame = NonTrainable(frame)
        self.first = eqx.nn.Linear(seen * FEATURES, width, key=key_first)
        self.memory = eqx.nn.GRUCell(width, width, key=key_memory)
        self.second = eqx.nn.Linear(seen * width, width, key=key_second)
        last = eqx.nn.Linear(width, 1, key=key_last)
        self.last = jax.tree.map(jnp.zeros_like, last)
        self.iterations = iterations

    @property
    def edges(self) -> Float[np.ndarray, " edge"]:
        """Bin edges [keV]."""
        return np.asarray(self.frame.tree.edges, np.float64)

    @property
    def inside(self) -> Bool[np.ndarray, " bin"]:
        """Whether a bin lies in the energy range of the fit bins."""
        return np.asarray(self.frame.tree.inside)

    def expected_counts(
        self, log_flux: Float[np.ndarray, " bin"]
    ) -> Float[np.ndarray, " channel"]:
        """Model counts of a spectrum [ln(photons / cm^2 / s)] in each bin."""
        frame = self.frame.tree
        relative = log_flux - np.asarray(frame.reference, np.float64)
        return np.asarray(frame.columns, np.float64) @ np.exp(relative)

    def __call__(
        self, counts: Float[Array, " channel"]
    ) -> tuple[Float[Array, " bin"], Float[Array, " bin"]]:
        """The log photon flux in each bin [ln(photons / cm^2 / s)] and its width.

        The width is the standard deviation under the Gaussian prior.
        """
        v, sd = self.steps(counts)
        return v[-1] + self.frame.tree.reference + jnp.log(_total(counts)), sd[-1]

    def steps(
        self, counts: Float[Array, " channel"]
    ) -> tuple[Float[Array, "step bin"], Float[Array, "step bin"]]:
        """The spectrum after each step, relative to the reference, and its widths."""
        frame, total = jax.lax.stop_gradient(self.frame.tree), _total(counts)
        bins = len(frame.reference)
        position = jnp.linspace(-1.0, 1.0, bins, dtype=counts.dtype)
        wide = jnp.sqrt((frame.root**2).sum(1))

        def step(carry, _):
            v, hidden = carry
            # An accelerator may otherwise round the operands to 10 bits.
            with jax.default_matmul_precision("highest"):
                score, move, sd = frame.newton(v, counts, total)
            features = (v / wide, score * sd, move / sd)
            features = (*map(jnp.arcsinh, features), jnp.log(sd), jnp.log(sd / wide))
            signal = jnp.stack([*features, position], 1)
            signal = jax.nn.silu(_convolve(self.first, signal))
            hidden = jax.vmap(self.memory)(signal, hidden)
            signal = jax.nn.silu(_convolve(self.second, hidden))
            v = v + move + sd * jax.vmap(self.last)(signal)[:, 0]
            # The next step forgets where this one ended, but for the memory.
            return (jax.lax.stop_gradient(v), hidden), (v, sd)

        start = jnp.zeros(bins, counts.dtype)
        hidden = jnp.zeros((bins, self.memory.hidden_size), counts.dtype)
        return jax.lax.scan(step, (start, hidden), length=self.iterations)[1]


def _invert_lower(matrix: Float[Array, "row row"]) -> Float[Array, "row row"]:
    """Invert a lower triangular matrix, in blocks of twice the size in each round.

    Products of matrices only: LAPACK's solvers of many right-hand sides, called from
    several threads at once, are a hundred times slower.
    """
    rows = len(matrix)
    size = 1 << (rows - 1).bit_length()
    padded = jnp.eye(size, dtype=matrix.dtype).at[:rows, :rows].set(matrix)
    inverse, width = (1 / jnp.diagonal(padded))[:, None, None], 1
    while width < size:
        place = jnp.arange(size // (2 * width))
        blocks = padded.reshape(len(place), 2 * width, len(place), 2 * width)
        below = blocks[place, :, place][:, width:, :width]
        above, last = inverse[::2], inverse[1::2]
        upper = jnp.concatenate([above, jnp.zeros_like(above)], 2)
        lower = jnp.concatenate([-(last @ below @ above), last], 2)
        inverse, width = jnp.concatenate([upper, lower], 1), 2 * width
    return inverse[0, :rows, :rows]


def _logarithmic_mean(a: Array, b: Array) -> Array:
    """(a - b) / ln(a / b)."""
    near = jnp.abs(a - b) < 0.02 * b
    ratio = jnp.where(near, 2.0, a / b)
    return jnp.where(near, 0.5 * (a + b), (a - b) / jnp.log(ratio))


def _total(counts: Array) -> Array:
    return jnp.maximum(counts.sum(), 1.0)


def _convolve(
    layer: eqx.nn.Linear, signal: Float[Array, "bin filter"]
) -> Float[Array, "bin unit"]:
    """Apply a layer to what is seen from each bin at `OFFSETS`, zero beyond the ends.

    A matrix product: XLA's convolution is slow on a CPU inside a loop.
    """
    reach, bins = max(OFFSETS), len(signal)
    padded = jnp.pad(signal, ((reach, reach), (0, 0)))
    seen = [padded[reach + offset : reach + offset + bins] for offset in OFFSETS]
    return jax.vmap(layer)(jnp.concatenate(seen, axis=1))


def unfold_many(
    unfolder: Unfolder, counts: Float[np.ndarray, "spectrum channel"]
) -> tuple[Float[np.ndarray, "spectrum bin"], Float[np.ndarray, "spectrum bin"]]:
    """The log photon flux of many spectra [ln(photons / cm^2 / s)] and its width."""
    parts = []
    for start in range(0, len(counts), CHUNK):
        rows = counts[start : start + CHUNK]
        padded = np.ones((CHUNK, counts.shape[1]))
        padded[: len(rows)] = rows
        values = _unfold(unfolder, jnp.asarray(padded, jnp.result_type(float)))
        parts.append([np.asarray(each, np.float64)[: len(rows)] for each in values])
    log_flux, width = map(np.concatenate, zip(*parts, strict=True))
    return log_flux, width


@eqx.filter_jit
def _unfold(unfolder: Unfolder, counts: Array) -> tuple[Array, Array]:
    return jax.vmap(unfolder)(counts)


def train_unfolder(
    key: Key[Array, ""],
    observations: tuple[Observation, ...],
    simulator: Simulator,
    *,
    counts: tuple[float, float] = (1e2, 1e6),
    spectra: int = 8000,
    steps: int = 1000,
    batch: int = 32,
    width: int = 16,
    iterations: int = 5,
    rate: float = 3e-3,
    per_resolution: float = 2.0,
    tick: Callable[[int], Any] = lambda steps: None,
) -> Unfolder:
    """Train an unfolding for the responses and fit bins of some observations.

    Args:
        key: Random key.
        observations: The observations, of one source that is the same for all.
        simulator: Their model; see `training_spectra` for what is made of it.
        counts: Range of the total counts, drawn log-uniformly.
        spectra: Noise-free training spectra; noise is fresh in every step.
        steps: Steps of training, rounded up to a multiple of 100; 0 for none.
        batch: Spectra per step.
        width: Hidden units in each bin.
        iterations: Steps of each unfolding.
        rate: Initial learning rate.
        per_resolution: Bins in a full width at half maximum.
        tick: Called with the number of steps after each part of the work.
    """
    key_spectra, key_network, key_train = jax.random.split(key, 3)
    grid = unfolding_grid(observations, simulator, per_resolution=per_resolution)
    log_flux, expected = training_spectra(key_spectra, grid, simulator, spectra)
    unfolder = Unfolder(
        key_network, make_frame(grid, log_flux), width=width, iterations=iterations
    )
    if not steps:
        return unfolder
    dtype = jnp.result_type(float)
    data = (
        stored(log_flux.astype(dtype), expected.astype(dtype)),
        jnp.log(jnp.asarray(counts, dtype)),
        batch,
    )
    unfolder, _ = descend(
        key_train, unfolder, unfolding_loss, data, steps=steps, rate=rate, tick=tick
    )
    return unfolder


def make_frame(grid: Grid, log_flux: Float[np.ndarray, "spectrum bin"]) -> Frame:
    """The response with mean and covariance of log fluxes as the prior."""
    reference = log_flux.mean(0)
    covariance = np.cov(log_flux, rowvar=False) + JITTER * np.eye(len(reference))
    values, axes = np.linalg.eigh(covariance)
    # Photons are spread evenly over a bin.
    matrix = grid.matrix.reshape(len(grid.matrix), -1, SPLIT).mean(2)
    return Frame(
        edges=jnp.asarray(grid.edges),
        inside=jnp.asarray(grid.inside),
        columns=jnp.asarray(matrix * np.exp(reference)),
        reference=jnp.asarray(reference),
        root=jnp.asarray(axes * np.sqrt(values)),
        inverse=jnp.asarray((axes / np.sqrt(values)).T),
    )


def unfolding_loss(
    unfolder: Unfolder, key: Key[Array, ""], data: tuple[Source, Array, int]
) -> Array:
    """Error of the log flux in units of its width, over all steps.

    Square where it is small, and its size where it is large: the few bins that no
    unfolding can get right would otherwise set the gradient.

    Args:
        unfolder: The network.
        key: Random key.
        data: Spectra of one expected count, the range of ln(counts), and how many.
    """
    source, span, number = data
    key_draw, key_total, key_noise = jax.random.split(key, 3)
    drawn = source.draw(key_draw, number)
    total = jnp.exp(
        jax.random.uniform(key_total, (number,), span.dtype, span[0], span[1])
    )
    counts = fast_poisson_counts(key_noise, drawn.expected * total[:, None])
    frame = unfolder.frame.tree
    unit = jnp.log(total / jax.vmap(_total)(counts))
    true = drawn.z + unit[:, None] - frame.reference[None]
    v, sd = jax.vmap(unfolder.steps)(counts)
    error = (v - true[:, None]) / sd
    return jnp.mean(jnp.sqrt(1 + error**2), where=frame.inside[None, None])
