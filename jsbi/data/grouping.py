"""Fit bins: from OGIP flags, by counts, by signal-to-noise; and energy selection.

A group map is an integer per detector channel: the fit bin it belongs to, or -1 where
it is dropped. Bins are numbered from 0 without holes in the order of the channels.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Int

from jsbi.data.optimal import optimal_widths

GroupChoice = str | Mapping[str, Any] | None
EnergyRange = Sequence[float | int]
CHOICES = (
    'None (as in the file), "none", {"min_counts": n}, {"constant": n}, {"snr": s} or '
    '{"optimal": True}'
)


def group_channels(
    choice: GroupChoice,
    counts: Float[np.ndarray, " detector"],
    good: Bool[np.ndarray, " detector"],
    *,
    flags: Int[np.ndarray, " detector"] | None = None,
    background: Float[np.ndarray, " detector"] | None = None,
    background_scale: Float[np.ndarray, " detector"] | float = 0.0,
    redistribution: scipy.sparse.csc_array | None = None,
) -> Int[np.ndarray, " detector"]:
    """Group map for any of the choices a user has.

    A bin that is computed never crosses a channel that is not good. Where the last
    channels of a run of good ones do not reach `min_counts` or `snr`, they are dropped,
    as grppha does.

    Args:
        choice: `None` for the flags of the file, "none" for single channels,
            `{"min_counts": n}` for at least n counts in a bin, `{"constant": n}` for n
            channels, `{"snr": s}` for a signal-to-noise ratio of at least s after the
            background is subtracted, `{"optimal": True}` for Kaastra & Bleeker (2016).
        counts: Counts per channel.
        good: False drops a channel.
        flags: OGIP GROUPING flags; without them `None` means single channels.
        background: Background counts per channel.
        background_scale: What scales them to the source's exposure, area and region.
        redistribution: Needed for the optimal binning.

    Returns: Group map.

    Raises:
        ValueError: If the choice is unknown or no bin reaches its goal.
    """
    if choice is None and flags is not None:
        return group_from_flags(flags, good)
    if choice is None or choice == "none":
        return renumber(np.where(good, np.arange(len(good)), -1))
    name, number = _parse_choice(choice)
    if name == "constant":
        return _collect(good, lambda first, last: last - first + 1 == number, True)
    if name == "optimal":
        return _collect(good, _optimal(counts, good, redistribution), True)
    if name == "min_counts":
        full = _at_least(np.where(good, counts, 0.0), number)
    else:
        expected = 0.0 if background is None else background_scale * background
        signal = np.where(good, counts - expected, 0.0)
        variance = np.where(good, counts + background_scale * expected, 0.0)
        full = _significant(signal, variance, number)
    group = _collect(good, full, False)
    if np.any(good) and not np.any(group >= 0):
        raise ValueError(
            f"`group` = {choice} must be reached in at least one bin; the good "
            f"channels hold {np.sum(counts[good]):g} counts in all. Ask for less, or "
            'for "none": Poisson statistics need no grouping.'
        )
    return group


def group_from_flags(
    grouping: Int[np.ndarray, " detector"], good: Bool[np.ndarray, " detector"]
) -> Int[np.ndarray, " detector"]:
    """Group map of the OGIP GROUPING flags.

    Args:
        grouping: 1 starts a bin, -1 continues it, 0 is a bin of its own.
        good: False drops a channel. A bin that loses some of its channels keeps the
            others; the flags of dropped channels still count as boundaries.

    Returns: Group map.

    Source: OGIP memo OGIP/92-007a, section 3.1.
    """
    start = np.asarray(grouping) != -1
    if start.size:
        start[0] = True
    return renumber(np.where(good, np.cumsum(start) - 1, -1))


def renumber(group: Int[np.ndarray, " detector"]) -> Int[np.ndarray, " detector"]:
    """Number the bins that have any channel 0, 1, 2, ... in their old order."""
    kept = group >= 0
    result = np.full(len(group), -1, np.int64)
    result[kept] = np.unique(group[kept], return_inverse=True)[1]
    return result


def flags_from_group(
    group: Int[np.ndarray, " detector"],
) -> Int[np.ndarray, " detector"]:
    """OGIP GROUPING flags of a group map, the inverse of `group_from_flags`."""
    flags = np.ones(len(group), np.int64)
    kept = np.flatnonzero(group >= 0)
    for before, after in zip(kept[:-1], kept[1:], strict=True):
        if group[before] == group[after]:
            flags[before + 1 : after + 1] = -1
    return flags


def select_energy(
    group: Int[np.ndarray, " detector"],
    channel_low: Float[np.ndarray, " detector"],
    channel_high: Float[np.ndarray, " detector"],
    energy: EnergyRange,
) -> Int[np.ndarray, " detector"]:
    """Keep the bins that lie entirely inside an energy range.

    The rule of XSPEC's `ignore **-lo hi-**`: a bin that straddles a limit is dropped.
    Limits are inclusive and compared with the energies as they are in the file, where
    0.3 keV in single precision may read 0.30000001.

    Args:
        group: Group map.
        channel_low: Lower nominal energy of each channel [keV].
        channel_high: Upper nominal energy of each channel [keV].
        energy: Lower and upper limit [keV].

    Returns: Group map of the remaining bins.

    Raises:
        ValueError: If the limits are not increasing or no bin lies inside.
    """
    if len(energy) != 2 or not energy[0] < energy[1]:
        raise ValueError(
            "`energy` must be (lower, upper) in keV with lower < upper; got "
            f"{tuple(energy)}. Exchanged limits?"
        )
    low, high = float(energy[0]), float(energy[1])
    kept = group >= 0
    outside = kept & ((channel_low < low) | (channel_high > high))
    dropped = np.unique(group[outside])
    result = np.where(np.isin(group, dropped), -1, group)
    if not np.any(result >= 0):
        raise ValueError(_nothing_inside(low, high, kept, channel_low, channel_high))
    return renumber(result)


def _nothing_inside(
    low: float, high: float, kept: np.ndarray, below: np.ndarray, above: np.ndarray
) -> str:
    if not kept.any():
        return "No channel is left to select from. Are all channels marked as bad?"
    return (
        f"`energy` = ({low:g}, {high:g}) keV must contain at least one whole bin; the "
        f"good channels cover {below[kept].min():.4g} to {above[kept].max():.4g} keV. "
        "eV instead of keV, or bins wider than the range?"
    )


def _parse_choice(choice: str | Mapping[str, Any]) -> tuple[str, float]:
    """The one entry of a choice, checked."""
    unknown = f"`group` must be one of {CHOICES}; got {choice!r}."
    if not isinstance(choice, Mapping) or len(choice) != 1:
        raise ValueError(unknown)
    ((name, number),) = choice.items()
    if name not in ("min_counts", "constant", "snr", "optimal"):
        raise ValueError(unknown)
    whole = name in ("min_counts", "constant")
    if not isinstance(number, int | float) or not np.isfinite(number):
        raise ValueError(f"`group` {name} must be a finite number; got {number!r}.")
    if not number > 0 or (whole and number != int(number)):
        kind = "a positive whole number" if whole else "positive"
        raise ValueError(f"`group` {name} must be {kind}; got {number!r}.")
    return name, float(number)


def _collect(
    good: np.ndarray, full: Callable[[int, int], bool], keep_rest: bool
) -> np.ndarray:
    """Close a bin at the first channel where `full(first, last)` holds.

    Bins end where good channels end; what is left over there forms a bin of its own
    with `keep_rest` and is dropped without.
    """
    group = np.full(len(good), -1, np.int64)
    number, first = 0, None
    for last in range(len(good)):
        if not good[last]:
            first = None
            continue
        first = last if first is None else first
        ends = last + 1 == len(good) or not good[last + 1]
        if full(first, last) or (ends and keep_rest):
            group[first : last + 1] = number
            number, first = number + 1, None
    return group


def _optimal(
    counts: np.ndarray,
    good: np.ndarray,
    redistribution: scipy.sparse.csc_array | None,
) -> Callable[[int, int], bool]:
    """A bin is full when one more channel would exceed the width of any member."""
    if redistribution is None:
        raise ValueError(
            "Optimal binning needs the instrument's resolution; got no "
            "redistribution. Was a response given?"
        )
    widths = optimal_widths(counts, good, redistribution)

    def full(first: int, last: int) -> bool:
        return bool(last + 2 - first > widths[first : last + 2].min())

    return full


def _at_least(values: np.ndarray, number: float) -> Callable[[int, int], bool]:
    total = _running_sum(values)
    return lambda first, last: bool(total[last + 1] - total[first] >= number)


def _significant(
    signal: np.ndarray, variance: np.ndarray, ratio: float
) -> Callable[[int, int], bool]:
    net, noise = _running_sum(signal), _running_sum(variance)

    def full(first: int, last: int) -> bool:
        above = net[last + 1] - net[first]
        spread = noise[last + 1] - noise[first]
        return bool(above > 0 and above**2 >= ratio**2 * spread)

    return full


def _running_sum(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(values)])
