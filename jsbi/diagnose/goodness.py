"""Goodness of fit of Poisson data: the C statistic, in all and by bands."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammaln, xlogy

from jsbi.data import Observation

_LEAST = 1e-30  # expected counts that stand for none


def cstat_moments(expected: Float[np.ndarray, " bin"]) -> tuple[float, float]:
    """Expectation and standard deviation of the C statistic of the true model.

    Summed exactly over the Poisson distribution below 100 expected counts per bin, by
    an asymptotic series above, where both agree to 1e-5 of a bin.

    Args:
        expected: Model counts per bin.

    Source: the sums of Kaastra (2017), A&A 605, A51, eqs. 4 to 6.
    """
    mean, variance = bin_moments(expected)
    return float(mean.sum()), float(np.sqrt(variance.sum()))


def bin_moments(
    expected: Float[np.ndarray, " bin"],
) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
    """Expectation and variance of each bin's share of the C statistic.

    Args:
        expected: Model counts per bin.

    Source: as `cstat_moments`.
    """
    few = expected < 100
    inverse = 1 / np.where(few, 100.0, expected)
    mean = 1 + inverse / 6 + inverse**2 / 6 + 19 / 60 * inverse**3
    variance = 2 + 2 / 3 * inverse + 4 / 3 * inverse**2
    mean[few], variance[few] = _exact_moments(expected[few])
    return mean, variance


def _exact_moments(
    expected: Float[np.ndarray, " bin"],
) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
    largest = expected.max(initial=0.0)
    counts = np.arange(int(largest + 12 * np.sqrt(largest) + 60))[:, None]
    safe = np.maximum(expected, _LEAST)
    probability = np.exp(xlogy(counts, safe) - safe - gammaln(counts + 1))
    each = deviance(counts, safe)
    mean = (probability * each).sum(0)
    return mean, (probability * (each - mean) ** 2).sum(0)


def deviance(counts: Any, expected: Any) -> Any:
    """Each bin's share of the C statistic, in float64.

    Args:
        counts: Observed counts, any shape.
        expected: Model counts, of a shape that broadcasts.
    """
    safe = np.maximum(expected, _LEAST)
    return 2 * (safe - counts + xlogy(counts, counts / safe))


@dataclass(frozen=True, eq=False)
class Bands:
    """Groups of neighbouring fit bins, each of one observation.

    Attributes:
        member: 1 where a bin belongs to a band, else 0.
        observation: Which observation a band is of, from 0.
        low: Lower end [keV]; nan where the energies are not known.
        high: Upper end [keV].
    """

    member: Float[np.ndarray, "bin band"]
    observation: Int[np.ndarray, " band"]
    low: Float[np.ndarray, " band"]
    high: Float[np.ndarray, " band"]

    def sum(self, values: Float[np.ndarray, "*many bin"]) -> np.ndarray:
        """Sum over the bins of each band, [..., band]."""
        return values @ self.member


def equal_bands(
    expected: Float[np.ndarray, " bin"],
    sizes: Sequence[int],
    number: int = 10,
    observations: Sequence[Observation] = (),
) -> Bands:
    """Bands of about equal expected counts; each observation is divided by itself.

    Args:
        expected: Model counts in the bins of all observations.
        sizes: Number of bins of each observation.
        number: Bands of each observation; fewer where single bins hold more.
        observations: Give the energies of the bins.

    Raises:
        ValueError: If the sizes do not add up, or there are to be no bands.
    """
    if number < 1:
        raise ValueError(f"`number` of bands must be positive; got {number}.")
    if sum(sizes) != len(expected):
        raise ValueError(
            f"`sizes` must add up to the {len(expected)} bins; got {list(sizes)}. "
            "Are they of another observation?"
        )
    labels, first = [], 0
    for part in np.split(expected, np.cumsum(sizes)[:-1]):
        middle = np.cumsum(part) - 0.5 * part
        share = middle / max(part.sum(), _LEAST)
        place = np.clip((number * share).astype(int), 0, number - 1)
        label = np.unique(place, return_inverse=True)[1] + first
        first = label.max() + 1
        labels.append(label)
    return _bands(np.concatenate(labels), sizes, observations)


def energy_bands(
    observations: Sequence[Observation], edges: Sequence[float | int]
) -> Bands:
    """Bands between given energies; a bin is in the band that its middle is in.

    Args:
        observations: The observations.
        edges: Increasing [keV]; the same for all observations. Bins outside are in no
            band, and bands without bins are left out.

    Raises:
        ValueError: If the edges do not increase, or no bin lies between them.
    """
    ends = np.asarray(edges, np.float64)
    if len(ends) < 2 or np.any(np.diff(ends) <= 0):
        raise ValueError(
            f"`edges` [keV] must be two or more and increase; got {edges}."
        )
    labels = []
    for place, each in enumerate(observations):
        middle = 0.5 * (each.bin_low + each.bin_high)
        label = np.searchsorted(ends, middle, "right") - 1
        outside = (middle < ends[0]) | (middle >= ends[-1])
        labels.append(np.where(outside, -1, label + place * len(ends)))
    found = np.concatenate(labels)
    kept = found >= 0
    if not kept.any():
        raise ValueError(
            f"Some fit bin must lie between {ends[0]:g} and {ends[-1]:g} keV; none "
            "does. Edges in another unit?"
        )
    found[kept] = np.unique(found[kept], return_inverse=True)[1]
    return _bands(found, [each.bins for each in observations], observations)


def _bands(
    label: np.ndarray, sizes: Sequence[int], observations: Sequence[Observation]
) -> Bands:
    member = (label[:, None] == np.arange(label.max() + 1)).astype(np.float64)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    observation = np.argmax(member, axis=0)
    low = high = np.full(member.shape[1], math.nan)
    if observations:
        every_low = np.concatenate([each.bin_low for each in observations])
        every_high = np.concatenate([each.bin_high for each in observations])
        inside = member > 0
        low = np.where(inside, every_low[:, None], np.inf).min(0)
        high = np.where(inside, every_high[:, None], -np.inf).max(0)
    return Bands(member, owner[observation], low, high)


@dataclass(frozen=True, eq=False)
class BandFit:
    """The C statistic of each band beside what the model's own data would give.

    Attributes:
        bands: The bands.
        counts: Observed counts.
        expected: Model counts.
        cstat: C statistic, summed over the bins of the band.
        cstat_expected: Its exact expectation if the model is true.
        cstat_sd: Its exact standard deviation.
        total: The last three for all bins, in bands or not.
    """

    bands: Bands
    counts: Float[np.ndarray, " band"]
    expected: Float[np.ndarray, " band"]
    cstat: Float[np.ndarray, " band"]
    cstat_expected: Float[np.ndarray, " band"]
    cstat_sd: Float[np.ndarray, " band"]
    total: tuple[float, float, float]

    @property
    def pull(self) -> Float[np.ndarray, " band"]:
        """Excess of the C statistic in standard deviations."""
        return (self.cstat - self.cstat_expected) / np.maximum(self.cstat_sd, _LEAST)

    def rows(self) -> tuple[dict[str, Any], ...]:
        """One record of plain numbers per band, with energies where they are known."""
        known = not np.isnan(self.bands.low).any()
        columns: dict[str, np.ndarray] = {"observation": self.bands.observation}
        if known:
            columns |= {"low": self.bands.low, "high": self.bands.high}
        columns |= {
            "bins": self.bands.member.sum(0).astype(int),
            "counts": self.counts,
            "expected": self.expected,
            "cstat": self.cstat,
            "cstat_expected": self.cstat_expected,
            "cstat_sd": self.cstat_sd,
        }
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        return tuple(dict(zip(columns, row, strict=True)) for row in rows)

    def __str__(self) -> str:
        """A table with one line per band, and the sum over all bins."""
        titles = ("counts", "model", "C-stat", "expected", "sd", "off [sd]")
        lines = [f"{'band [keV]':<20}" + "".join(f"{each:>11}" for each in titles)]
        rows = zip(self.rows(), self.pull, strict=True)
        for place, (row, pull) in enumerate(rows):
            name = str(place + 1)
            if "low" in row:
                name = f"{row['low']:.4g}-{row['high']:.4g}"
            values = (
                *(row[key] for key in ("counts", "expected", "cstat")),
                *(row[key] for key in ("cstat_expected", "cstat_sd")),
                pull,
            )
            name = f"{name} of {row['observation'] + 1}"
            lines.append(f"{name:<20}" + "".join(f"{each:>11.5g}" for each in values))
        cstat, mean, sd = self.total
        values = (cstat, mean, sd, (cstat - mean) / max(sd, _LEAST))
        lines.append(f"{'all':<42}" + "".join(f"{each:>11.5g}" for each in values))
        return "\n".join(lines)


def fit_bands(
    counts: Float[np.ndarray, " bin"], expected: Float[np.ndarray, " bin"], bands: Bands
) -> BandFit:
    """Compare the C statistic of every band with its exact moments.

    A fit to the data lowers the statistic by about the number of free parameters; the
    moments are those of known expected counts.

    Args:
        counts: Observed counts in all bins.
        expected: Model counts.
        bands: The bands.
    """
    mean, variance = bin_moments(expected)
    each = deviance(counts, expected)
    return BandFit(
        bands=bands,
        counts=bands.sum(counts),
        expected=bands.sum(expected),
        cstat=bands.sum(each),
        cstat_expected=bands.sum(mean),
        cstat_sd=np.sqrt(bands.sum(variance)),
        total=(float(each.sum()), float(mean.sum()), float(np.sqrt(variance.sum()))),
    )
