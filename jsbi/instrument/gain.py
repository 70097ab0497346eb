"""Folding with an energy scale that is off: every channel sees shifted energies."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float, Int

from jsbi.data import Observation
from jsbi.instrument.folder import Folder
from jsbi.instrument.grid import EnergyGrid

REACH = 0.2  # relative shift of energies up to which no counts are lost
GAP = 0.1  # of a channel, between two neighbours


class GainFolder(Folder):
    """Expected counts if an event of nominal energy E is recorded at another.

    It is recorded at `(1 + slope) E + offset`; the effective area stays that of E. This
    is not the convention of XSPEC's `gain`. Counts are folded into single channels and
    added up from either end; that sum, linear within a channel, is read at the shifted
    edges of the fit bins. So counts move between bins and none are made or lost, and
    bins without a shift are those of `Folder`.

    Args:
        observation: The spectrum with its response and its selection of bins.
        reach: Relative shift, of either sign, for which there are channels enough.

    Attributes:
        grid: Energies that reach the kept bins at some shift.
        matrix: As that of `Folder`, of single channels.
        edges: Of these channels.
        low: Lower edge of each run of channels that are kept together.
        high: Upper edge of each.
        bin: Fit bin of each.
        number: Of fit bins.
        slope: Relative shift.
        offset: Shift of all energies alike.

    Raises:
        ValueError: If channels do not border on each other.
    """

    grid: EnergyGrid
    matrix: Float[Array, "detector bin"]  # [cm^2 s]
    edges: Float[Array, " edge"]  # [keV]
    low: Float[Array, " run"]  # [keV]
    high: Float[Array, " run"]  # [keV]
    bin: Int[Array, " run"]
    number: int = eqx.field(static=True)
    slope: Float[Array, ""]
    offset: Float[Array, ""]  # [keV]

    def __init__(self, observation: Observation, reach: float = REACH):
        order, edges = _channels(observation)
        group = observation.group[order]
        first, last = _runs(group)
        low, high = edges[first], edges[last + 1]
        inside = (edges[1:] > low.min() / (1 + reach)) & (
            edges[:-1] < high.max() / (1 - reach)
        )
        begin, end = np.flatnonzero(inside)[[0, -1]]
        response = observation.response
        scale = observation.exposure * _area_scale(observation)
        folded = response.matrix.multiply(scale[:, None]).tocsr()
        matrix = folded[order[begin : end + 1]].toarray()
        used = np.flatnonzero(matrix.any(0))
        self.grid = EnergyGrid(response.energy_edges[used[0] : used[-1] + 2])
        self.matrix = jnp.asarray(matrix[:, used[0] : used[-1] + 1])
        self.edges = jnp.asarray(edges[begin : end + 2])
        self.low, self.high = jnp.asarray(low), jnp.asarray(high)
        self.bin = jnp.asarray(group[first])
        self.number = observation.bins
        self.slope, self.offset = jnp.zeros(()), jnp.zeros(())

    @property
    def bins(self) -> int:
        """Number of fit bins; the matrix is of channels."""
        return self.number

    def shifted(
        self, slope: Float[Array, ""], offset: Float[Array, ""] | None = None
    ) -> "GainFolder":
        """The same instrument with this slope and offset [keV], 0 if not given."""
        offset = jnp.zeros_like(slope) if offset is None else offset
        return eqx.tree_at(lambda own: (own.slope, own.offset), self, (slope, offset))

    def __call__(self, flux: Float[Array, " bin"]) -> Float[Array, " channel"]:
        """Fold a photon flux [photons / cm^2 / s per bin] into counts."""
        counts = jnp.matmul(self.matrix, flux, precision=Precision.HIGHEST)
        none = jnp.zeros(1, counts.dtype)
        below = jnp.concatenate([none, jnp.cumsum(counts)])
        above = jnp.concatenate([jnp.cumsum(counts[::-1])[::-1], none])
        ends = (jnp.stack([self.low, self.high]) - self.offset) / (1 + self.slope)
        under, over = (jnp.interp(ends, self.edges, each) for each in (below, above))
        # The smaller sums have the smaller rounding errors.
        run = jnp.where(under[0] < over[1], under[1] - under[0], over[0] - over[1])
        return jax.ops.segment_sum(run, self.bin, self.number)


def _channels(observation: Observation) -> tuple[np.ndarray, np.ndarray]:
    """Order of the channels by energy, and the edges between them [keV]."""
    response = observation.response
    order = np.argsort(response.channel_low, kind="stable")
    low, high = response.channel_low[order], response.channel_high[order]
    gap = np.abs(low[1:] - high[:-1])
    width = high - low
    apart = gap > GAP * np.maximum(width[1:], width[:-1])
    if apart.any():
        first = np.flatnonzero(apart)[0]
        raise ValueError(
            f"{observation.name}: an energy scale can be shifted only where channels "
            f"border on each other; one ends at {high[first]:g} keV and the next "
            f"begins at {low[first + 1]:g}. A response with gaps or orders?"
        )
    between = 0.5 * (high[:-1] + low[1:])
    return order, np.concatenate([low[:1], between, high[-1:]])


def _runs(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last channel of each run of neighbours in one fit bin."""
    changes = np.flatnonzero(np.diff(group)) + 1
    first = np.concatenate([[0], changes])
    last = np.concatenate([changes, [len(group)]]) - 1
    kept = group[first] >= 0
    return first[kept], last[kept]


def _area_scale(observation: Observation) -> np.ndarray:
    """The area scale of every channel; dropped ones have that of the nearest kept."""
    kept = np.flatnonzero(observation.group >= 0)
    channel = np.arange(len(observation.group))
    place = np.searchsorted(0.5 * (kept[1:] + kept[:-1]), channel)
    return observation.area_scale[kept[place]]
