"""Fixed summaries, which training never changes."""

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Int

from jsbi.compress.compressor import Compressor
from jsbi.instrument import Folder
from jsbi.simulate import variance_stabilised

# Added to each standard deviation [of the noise of a channel], so that a channel
# that holds a count once in a hundred spectra is not blown up.
LEAST_SPREAD = 0.1
BLOCK = 256  # channels whose response is held in float64 at once


class ScaledCounts(Compressor):
    """Variance-stabilised counts and the logarithm of their total, standardised.

    After the square root every channel carries noise of about the same size, faint or
    bright. The total is added because standardising each channel blurs it.

    Args:
        example: Counts of simulated spectra that set each centre and scale.
    """

    centre: Float[Array, " feature"]
    spread: Float[Array, " feature"]

    def __init__(self, example: Float[Array, "simulation channel"]):
        values = jax.vmap(_stabilised_with_total)(example)
        self.centre, self.spread = values.mean(0), values.std(0) + LEAST_SPREAD

    def __call__(self, counts: Float[Array, " channel"]) -> Float[Array, " feature"]:
        """The summary of one spectrum, one longer than the counts."""
        centre, spread = jax.lax.stop_gradient((self.centre, self.spread))
        return (_stabilised_with_total(counts) - centre) / spread


def _stabilised_with_total(counts: Array) -> Array:
    return jnp.append(variance_stabilised(counts), jnp.log1p(counts.sum()))


class BandRatios(Compressor):
    """Mean, deviation and total of the counts, sums in bands, and their ratios.

    With C_i the counts in band i the ratios are the hardness C_(i+1) / (C_i + 1) and
    the differential ratio (C_i - C_(i+1)) / (C_i + C_(i+1) + 1).

    Sums are made variance-stabilised, and the other quantities without an upper end
    logarithmic, so that a network sees both faint and bright spectra. `raw` leaves all
    of them as published.

    Args:
        channels: Number of channels.
        boundaries: First channel of each band and the end of the last, increasing.
        windows: Boundaries of further sums, as around lines, without ratios. All
            integers from a to b give every channel between them.
        raw: Whether to apply no transformation.

    Raises:
        ValueError: If boundaries do not increase, or leave the channels.

    Source: Dupourqué & Barret (2025), arXiv 2506.05911, summary statistics.
    """

    band: Bool[Array, "band channel"]
    window: Bool[Array, "window channel"]
    raw: bool = eqx.field(static=True)

    def __init__(
        self,
        channels: int,
        boundaries: Sequence[int],
        *,
        windows: Sequence[Sequence[int]] = (),
        raw: bool = False,
    ):
        members = [_members(channels, each) for each in windows]
        self.band = jnp.asarray(_members(channels, boundaries))
        self.window = jnp.asarray(
            np.concatenate([np.zeros((0, channels), bool), *members])
        )
        self.raw = raw

    def __call__(self, counts: Float[Array, " channel"]) -> Float[Array, " feature"]:
        """The summary of one spectrum."""
        overall = jnp.stack([counts.mean(), counts.std(), counts.sum()])
        sums, windows = _sums(self.band, counts), _sums(self.window, counts)
        low, high = sums[:-1], sums[1:]
        hardness = high / (low + 1)
        differential = (low - high) / (low + high + 1)
        if not self.raw:
            overall, hardness = jnp.log1p(overall), jnp.log1p(hardness)
            sums, windows = variance_stabilised(sums), variance_stabilised(windows)
        return jnp.concatenate([overall, sums, hardness, differential, windows])


def _sums(members: Array, counts: Array) -> Array:
    weight = members.astype(counts.dtype)
    return jnp.matmul(weight, counts, precision=Precision.HIGHEST)


def _members(channels: int, boundaries: Sequence[int]) -> Bool[np.ndarray, "b c"]:
    ends = np.asarray(boundaries)
    rising = len(ends) > 1 and bool((np.diff(ends) > 0).all())
    if not rising or ends[0] < 0 or ends[-1] > channels:
        raise ValueError(
            f"Boundaries of bands must increase within 0 to {channels}, at least two "
            f"of them; got {list(boundaries)}. Are they energies instead of channels?"
        )
    channel = np.arange(channels)
    return (channel >= ends[:-1, None]) & (channel < ends[1:, None])


def geometric_bands(folder: Folder, bands: int) -> tuple[int, ...]:
    """Boundaries of bands of equal ratio of energies, for `BandRatios`.

    Bands narrower than a channel are left out. A channel's energy is the median of the
    photons it holds of a spectrum that is flat per logarithm of the energy.

    Args:
        folder: The instrument.
        bands: The most bands.
    """
    matrix = np.asarray(folder.matrix)
    width = np.asarray(folder.grid.log_ratio, np.float64)
    middle = np.concatenate(
        [
            _median_bins(matrix[first : first + BLOCK] * width)
            for first in range(0, len(matrix), BLOCK)
        ]
    )
    energies = np.maximum.accumulate(np.asarray(folder.grid.low)[middle])
    edges = np.geomspace(energies[0], energies[-1], bands + 1)[1:-1]
    inner = np.searchsorted(energies, edges)
    return tuple(np.unique([0, *inner, len(energies)]).tolist())


def _median_bins(
    photons: Float[np.ndarray, "channel bin"],
) -> Int[np.ndarray, " channel"]:
    share = np.cumsum(photons, 1)
    return (share < 0.5 * share[:, -1:]).sum(1)


class PrincipalComponents(Compressor):
    """Principal components of variance-stabilised, standardised counts.

    Args:
        example: Counts of simulated spectra.
        kept: Share of their variance to keep, below 1, or a number of components.

    Attributes:
        variance: Of each kept component over the examples.

    Raises:
        ValueError: If `kept` is neither, or more components than there are.

    Source: Barret & Dupourqué (2024), arXiv 2401.06061, section 7.
    """

    centre: Float[Array, " channel"]
    spread: Float[Array, " channel"]
    components: Float[Array, "feature channel"]
    variance: Float[Array, " feature"]

    def __init__(
        self, example: Float[Array, "simulation channel"], kept: float | int = 0.9
    ):
        values = np.asarray(variance_stabilised(example), np.float64)
        centre, spread = values.mean(0), values.std(0) + LEAST_SPREAD
        _, singular, components = np.linalg.svd(
            (values - centre) / spread, full_matrices=False
        )
        variance = singular**2 / len(values)
        number = _number_kept(variance, kept)
        self.centre, self.spread, self.components, self.variance = (
            jnp.asarray(array, jnp.result_type(float))
            for array in (centre, spread, components[:number], variance[:number])
        )

    def __call__(self, counts: Float[Array, " channel"]) -> Float[Array, " feature"]:
        """The summary of one spectrum."""
        own = jax.lax.stop_gradient(self)
        standard = (variance_stabilised(counts) - own.centre) / own.spread
        return jnp.matmul(own.components, standard, precision=Precision.HIGHEST)

    def reconstruct(
        self, summary: Float[Array, " feature"]
    ) -> Float[Array, " channel"]:
        """The counts nearest to the examples' mean that have this summary."""
        own = jax.lax.stop_gradient(self)
        standard = jnp.matmul(summary, own.components, precision=Precision.HIGHEST)
        root = jnp.maximum(own.centre + own.spread * standard, 0.0)
        return jnp.maximum((root / 2) ** 2 - 0.375, 0.0)


def _number_kept(variance: Float[np.ndarray, " component"], kept: float | int) -> int:
    if isinstance(kept, int) and 1 <= kept <= len(variance):
        return kept
    if isinstance(kept, float) and 0 < kept < 1:
        share = np.cumsum(variance) / max(variance.sum(), math.ulp(0.0))
        return min(int(np.searchsorted(share, kept)) + 1, len(variance))
    raise ValueError(
        "`kept` must be a share of the variance between 0 and 1, or a number of "
        f"components from 1 to {len(variance)}; got {kept!r}. Components are at most "
        "as many as examples and as channels."
    )
