"""Invariants of the records: each message says the rule, what came, a likely cause."""

import numpy as np

BACKGROUND_MODES = ("ignore", "subtract", "wstat", "marginal")


def check_background_mode(mode: str) -> None:
    """Refuse a background mode that does not exist or is not available yet.

    Args:
        mode: One of "ignore", "subtract", "wstat", "marginal".

    Raises:
        ValueError: For any mode but "ignore".
    """
    if mode not in BACKGROUND_MODES:
        choices = ", ".join(map(repr, BACKGROUND_MODES))
        raise ValueError(f"`background` must be one of {choices}; got {mode!r}.")
    if mode != "ignore":
        raise ValueError(
            f"The background mode {mode!r} is not available yet; got it as "
            "`background`. Use 'ignore', and model the background or choose an energy "
            "range where it is negligible."
        )


def check_exposure(exposure: float | int) -> None:
    """Refuse a live time that is not positive and finite."""
    if not (np.isfinite(exposure) and exposure > 0):
        raise ValueError(
            f"`exposure` must be positive [s]; got {exposure:g}. Is the EXPOSURE "
            "keyword missing or not filled in?"
        )


def check_edges(edges: np.ndarray) -> None:
    """Refuse photon energies that are not positive and increasing."""
    low, high = edges[:-1], edges[1:]
    bad = np.flatnonzero(~((low > 0) & (high > low) & np.isfinite(high)))
    if bad.size or len(edges) < 2:
        what = (
            f"bin {bad[0]} spans {low[bad[0]]:g} to {high[bad[0]]:g}"
            if bad.size
            else f"got {len(edges)}"
        )
        raise ValueError(
            f"`energy_edges` must be positive and increasing [keV], at least two; "
            f"{what}. Wavelengths or channels?"
        )


def check_values(name: str, values: np.ndarray, cause: str) -> None:
    """Refuse negative or non-finite numbers, and say what may have caused them."""
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        first = first_bad(bad)
        raise ValueError(
            f"{name} must be finite and not negative; entry {first} is "
            f"{values[first]:g} ({bad.sum()} such entries). Perhaps {cause}?"
        )


def check_channels(channel: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Refuse channel numbers out of order, and energies that are upside down."""
    if len(channel) == 0 or np.any(np.diff(channel) <= 0):
        raise ValueError(
            f"`channel` must hold increasing channel numbers, at least one; got "
            f"{channel[:5].tolist()}... A damaged EBOUNDS table?"
        )
    bad = ~(np.isfinite(low) & np.isfinite(high) & (low <= high))
    if bad.any():
        first = first_bad(bad)
        raise ValueError(
            f"`channel_low` must not exceed `channel_high` [keV], both finite; channel "
            f"{channel[first]} spans {low[first]:g} to {high[first]:g}. Exchanged "
            "columns?"
        )


def check_group(group: np.ndarray) -> None:
    """Refuse a map that keeps nothing or does not number the bins in order."""
    kept = group[group >= 0]
    if kept.size == 0:
        raise ValueError(
            "`group` must keep at least one channel; all are -1. Are all channels "
            "marked as bad?"
        )
    steps = np.diff(kept)
    if kept[0] != 0 or np.any((steps < 0) | (steps > 1)) or group.min() < -1:
        raise ValueError(
            "`group` must number the bins 0, 1, 2, ... in the order of the channels, "
            f"-1 for a dropped channel; it starts {kept[:5].tolist()}. OGIP GROUPING "
            "flags (1, -1) must be converted first, see `group_from_flags`."
        )


def first_bad(bad: np.ndarray) -> int:
    """Index of the first `True`."""
    return int(np.flatnonzero(bad)[0])
