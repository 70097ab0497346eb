"""Records of one observation: counts, response, background. NumPy float64, host only.

All three are frozen and check themselves when they are made, so that code further on
may rely on shapes, signs and order without looking again.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, Real
from scipy.special import gammaln

from jsbi.data.checks import (
    check_background_mode,
    check_channels,
    check_edges,
    check_exposure,
    check_group,
    check_values,
    first_bad,
)
from jsbi.data.grouping import EnergyRange, select_energy

# Fields take any real numbers; constructors check shapes and store float64 or int64.
Numbers = Real[np.ndarray, "..."]


@dataclass(frozen=True, eq=False)
class Response:
    """How photons of each energy become counts in each detector channel.

    A photon flux `f` [photons / cm^2 / s] per energy bin gives the count rate
    `redistribution @ (area * f)` [counts / s] per detector channel.

    Attributes:
        energy_edges: Edges of the contiguous photon-energy bins [keV].
        redistribution: Probability that a photon of a bin is counted in a channel.
            For a response that includes its effective area, cm^2 instead.
        area: Effective area [cm^2]; ones where `redistribution` includes it.
        channel: Channel numbers, increasing.
        channel_low: Nominal lower energy of each channel [keV].
        channel_high: Nominal upper energy of each channel [keV].

    Raises:
        ValueError: If shapes disagree, energies do not increase, or matrix or area
            hold negative or non-finite numbers.
    """

    energy_edges: Numbers  # [bin + 1]
    redistribution: scipy.sparse.csc_array  # [detector, bin]
    area: Numbers  # [bin]
    channel: Numbers  # [detector]
    channel_low: Numbers  # [detector]
    channel_high: Numbers  # [detector]

    def __post_init__(self):
        for name in ("energy_edges", "area", "channel_low", "channel_high"):
            _store(self, name, np.array(getattr(self, name), np.float64))
        _store(self, "channel", np.array(self.channel, np.int64))
        matrix = scipy.sparse.csc_array(self.redistribution, dtype=np.float64)
        object.__setattr__(self, "redistribution", matrix)
        self._check_shapes()
        check_edges(self.energy_edges)
        check_values("`area` [cm^2]", self.area, "a damaged or unfinished ARF")
        check_values("`redistribution`", matrix.data, "a damaged or unfinished RMF")
        check_channels(self.channel, self.channel_low, self.channel_high)

    def _check_shapes(self):
        detectors, bins = len(self.channel), len(self.energy_edges) - 1
        shapes = {
            "redistribution": (self.redistribution.shape, (detectors, bins)),
            "area": (self.area.shape, (bins,)),
            "channel_low": (self.channel_low.shape, (detectors,)),
            "channel_high": (self.channel_high.shape, (detectors,)),
        }
        for name, (came, expected) in shapes.items():
            if came != expected:
                raise ValueError(
                    f"`{name}` must have shape {expected}, from {detectors} channels "
                    f"and {bins} energy bins; got {came}. Files of different "
                    "instruments or binnings?"
                )

    @property
    def detectors(self) -> int:
        """Number of detector channels."""
        return len(self.channel)

    @property
    def matrix(self) -> scipy.sparse.csc_array:
        """Redistribution times effective area, [detector, bin] in cm^2."""
        scaled = self.redistribution.copy()
        scaled.data *= np.repeat(self.area, np.diff(scaled.indptr))
        return scaled

    def fold(self, flux: Float[np.ndarray, " bin"]) -> Float[np.ndarray, " detector"]:
        """Count rate per detector channel [counts / s].

        Args:
            flux: Photon flux integrated over each energy bin [photons / cm^2 / s].

        Returns: Rate without the area scale of any one observation.
        """
        return self.redistribution @ (self.area * flux)

    def __repr__(self) -> str:
        low, high = self.energy_edges[[0, -1]]
        return (
            f"Response({self.detectors} channels, {len(self.area)} energy bins "
            f"{low:.4g}-{high:.4g} keV, area up to {_peak_area(self):.4g} cm^2)"
        )


@dataclass(frozen=True, eq=False)
class Background:
    """Counts of a source-free region, per detector channel of the source's response.

    Attributes:
        counts: Background counts.
        exposure: Live time [s].
        area_scale: AREASCAL of the background; a 0-d array is repeated per channel.
        back_scale: BACKSCAL of the background; a 0-d array is repeated per channel.

    Raises:
        ValueError: If shapes disagree, the exposure is not positive, or a number is
            not finite.
    """

    counts: Numbers  # [detector]
    exposure: float
    area_scale: Numbers  # [detector]
    back_scale: Numbers  # [detector]

    def __post_init__(self):
        counts = np.array(self.counts, np.float64)
        _store(self, "counts", counts)
        for name in ("area_scale", "back_scale"):
            _store(self, name, _per_channel(name, getattr(self, name), len(counts)))
            check_values(f"background `{name}`", getattr(self, name), "a damaged file")
        if not np.isfinite(counts).all():
            raise ValueError(
                f"Background counts must be finite; {first_bad(~np.isfinite(counts))} "
                "is not. A damaged file?"
            )
        check_exposure(self.exposure)

    def __repr__(self) -> str:
        return f"Background({self.counts.sum():g} counts in {self.exposure:g} s)"


@dataclass(frozen=True, eq=False)
class Observation:
    """One spectrum with its response: all that a fit needs to know about the data.

    The expected counts in a detector channel are `exposure * area_scale *
    response.fold(flux)`; `grouped` then sums them over the fit bins.

    Attributes:
        name: Short name for tables and plots.
        counts: Counts per detector channel, background included.
        exposure: Live time [s].
        area_scale: AREASCAL, a factor on the area; a 0-d array is repeated per channel.
        back_scale: BACKSCAL, the extraction region's size on the background's scale.
        group: Fit bin of each detector channel, -1 where the channel is dropped.
            Bins are numbered from 0 without holes, in the order of the channels.
        response: Response with one row per entry of `counts`.
        background: Background counts, where there are any.
        background_mode: What a fit does about the background.
        net: A background has been subtracted from the counts, which are then not
            Poisson.

    Raises:
        ValueError: If shapes disagree, nothing is kept, bins are out of order, or a
            kept channel holds a negative or non-finite number.
    """

    name: str
    counts: Numbers  # [detector]
    exposure: float
    area_scale: Numbers  # [detector]
    back_scale: Numbers  # [detector]
    group: Numbers  # [detector]
    response: Response
    background: Background | None = None
    background_mode: str = "ignore"
    net: bool = False

    def __post_init__(self):
        detectors = self.response.detectors
        _store(self, "counts", np.array(self.counts, np.float64))
        _store(self, "group", np.array(self.group, np.int64))
        for name in ("area_scale", "back_scale"):
            _store(self, name, _per_channel(name, getattr(self, name), detectors))
        check_background_mode(self.background_mode)
        self._check_shapes()
        check_exposure(self.exposure)
        check_group(self.group)
        self._check_kept()

    def _check_shapes(self):
        detectors = self.response.detectors
        vectors = {"counts": self.counts, "group": self.group}
        if self.background is not None:
            vectors["background.counts"] = self.background.counts
        for name, vector in vectors.items():
            if vector.shape != (detectors,):
                raise ValueError(
                    f"`{name}` must have one entry for each of the response's "
                    f"{detectors} channels; got shape {vector.shape}. A response of "
                    "another instrument or rebinning?"
                )

    def _check_kept(self):
        kept = self.group >= 0
        causes = {
            "counts": "a background-subtracted spectrum",
            "area_scale": "a damaged AREASCAL column",
            "back_scale": "a damaged BACKSCAL column",
        }
        for name, cause in causes.items():
            values = getattr(self, name)
            bad = kept & ~(np.isfinite(values) & (values >= 0))
            if bad.any():
                first = np.flatnonzero(bad)[0]
                raise ValueError(
                    f"{self.name}: `{name}` must be finite and not negative in every "
                    f"channel that is kept; channel {self.response.channel[first]} "
                    f"holds {values[first]:g} ({bad.sum()} such channels). Perhaps "
                    f"{cause}?"
                )

    @property
    def bins(self) -> int:
        """Number of fit bins."""
        return int(self.group.max()) + 1

    def grouped(self, values: Any) -> Any:
        """Sum over the channels of each fit bin.

        Args:
            values: Array [detector, ...], dense or `scipy.sparse`.

        Returns: Array [bins, ...], sparse where `values` is.
        """
        kept = np.flatnonzero(self.group >= 0)
        ones = np.ones(len(kept))
        index = (self.group[kept], kept)
        total = scipy.sparse.csr_array((ones, index), (self.bins, len(self.group)))
        if scipy.sparse.issparse(values):
            return total @ values
        values = np.asarray(values)
        # Dropped channels may hold NaN, which 0 * NaN would carry into a sum.
        kept_only = np.zeros((len(values), int(np.prod(values.shape[1:]))))
        kept_only[kept] = values[kept].reshape(len(kept), -1)
        return (total @ kept_only).reshape(self.bins, *values.shape[1:])

    @property
    def binned_counts(self) -> Float[np.ndarray, " bins"]:
        """Counts per fit bin."""
        return self.grouped(self.counts)

    @property
    def bin_low(self) -> Float[np.ndarray, " bins"]:
        """Lower nominal energy of each fit bin [keV]."""
        low = np.full(self.bins, np.inf)
        kept = self.group >= 0
        np.minimum.at(low, self.group[kept], self.response.channel_low[kept])
        return low

    @property
    def bin_high(self) -> Float[np.ndarray, " bins"]:
        """Upper nominal energy of each fit bin [keV]."""
        high = np.full(self.bins, -np.inf)
        kept = self.group >= 0
        np.maximum.at(high, self.group[kept], self.response.channel_high[kept])
        return high

    @property
    def perfect_log_likelihood(self) -> float:
        """Poisson log-likelihood of a model that equals the counts in every bin.

        `sum(n ln n - n - ln n!)` with 0 ln 0 = 0: what must be added to minus half the
        C statistic for a log-likelihood with its full normalisation.
        """
        return perfect_log_likelihood(self.binned_counts)

    def select(self, energy: EnergyRange) -> "Observation":
        """Keep the bins that lie entirely inside an energy range.

        Args:
            energy: Lower and upper limit [keV].

        Returns: A new observation with fewer bins.

        Raises:
            ValueError: If no bin lies inside.
        """
        response = self.response
        group = select_energy(
            self.group, response.channel_low, response.channel_high, energy
        )
        return dataclasses.replace(self, group=group)

    def __repr__(self) -> str:
        counts = self.binned_counts.sum()
        low, high = self.bin_low.min(), self.bin_high.max()
        background = "none" if self.background is None else self.background_mode
        return (
            f"Observation({self.name!r}, {counts:g} counts in {self.bins} bins "
            f"{low:.4g}-{high:.4g} keV, {self.exposure:g} s, background: {background})"
        )


def perfect_log_likelihood(counts: Float[np.ndarray, " bins"]) -> float:
    """Poisson log-likelihood of expected counts that equal the observed.

    Args:
        counts: Observed counts.
    """
    safe = np.where(counts > 0, counts, 1.0)
    return float(np.sum(counts * np.log(safe) - counts - gammaln(counts + 1)))


def _store(record: Any, name: str, values: np.ndarray) -> None:
    """Set a field of a frozen record to a read-only array."""
    values.setflags(write=False)
    object.__setattr__(record, name, values)


def _per_channel(name: str, values: Any, detectors: int) -> np.ndarray:
    try:
        return np.broadcast_to(np.asarray(values, np.float64), (detectors,)).copy()
    except ValueError:
        raise ValueError(
            f"`{name}` must be a number or have one entry for each of {detectors} "
            f"channels; got shape {np.shape(values)}. A vector for other channels?"
        ) from None


def _peak_area(response: Response) -> float:
    column = response.area * np.asarray(response.redistribution.sum(axis=0)).ravel()
    return float(column.max())
