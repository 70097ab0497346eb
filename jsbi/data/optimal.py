"""Bin widths that lose no information for the instrument's resolution."""

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float

# A Gaussian line has 1 / 1.314 of its counts within its full width at half maximum.
COUNTS_PER_ELEMENT = 1.314


def optimal_widths(
    counts: Float[np.ndarray, " detector"],
    good: Bool[np.ndarray, " detector"],
    redistribution: scipy.sparse.csc_array,
) -> Float[np.ndarray, " detector"]:
    """Largest bin, in channels, that keeps what the counts can tell at each channel.

    A bin of width `delta` around a channel satisfies `delta / FWHM = 1` for `x <=
    2.119`, else `(0.08 + 7 / x + 1.8 / x**2) / (1 + 5.9 / x)`, where `x = ln(N (1 +
    0.2 ln R))`, N is the number of counts in the resolution element at the channel and
    R the number of resolution elements in the spectrum.

    Args:
        counts: Counts per channel.
        good: False for channels that are not used.
        redistribution: Gives the resolution.

    Returns: Width in channels, not rounded, at least 1.

    Source: Kaastra & Bleeker (2016), A&A 587, A151.
    """
    width = resolution_in_channels(redistribution)
    elements = max(np.sum(1 / width[good]), 1.0)
    edges = np.arange(len(counts) + 1)
    total = np.concatenate([[0.0], np.cumsum(np.where(good, counts, 0.0))])
    centre = edges[:-1] + 0.5
    inside = np.interp(centre + width / 2, edges, total)
    inside -= np.interp(centre - width / 2, edges, total)
    in_element = COUNTS_PER_ELEMENT * inside * (1 + 0.2 * np.log(elements))
    return np.maximum(width * relative_width(in_element), 1.0)


def relative_width(
    in_element: Float[np.ndarray, " detector"],
) -> Float[np.ndarray, " detector"]:
    """Optimal bin width over FWHM; `in_element` is `N (1 + 0.2 ln R)`."""
    x = np.log(np.maximum(in_element, 1.0))
    few = x <= 2.119
    safe = np.where(few, 2.119, x)
    many = (0.08 + 7.0 / safe + 1.8 / safe**2) / (1 + 5.9 / safe)
    return np.where(few, 1.0, many)


def resolution_in_channels(
    redistribution: scipy.sparse.csc_array,
) -> Float[np.ndarray, " detector"]:
    """Full width at half maximum of the line-spread function around each channel.

    Each energy bin gives the width of its main peak, half maxima interpolated
    linearly; a channel takes the mean over the energies that peak there, and channels
    where none does are interpolated.

    Args:
        redistribution: Matrix [detector, bin].

    Returns: Width in channels, at least 1.
    """
    matrix = redistribution.sorted_indices()
    peaks, widths = [], []
    for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        values = matrix.data[start:stop]
        if stop > start and values.max() > 0:
            rows = matrix.indices[start:stop]
            profile = np.zeros(rows[-1] - rows[0] + 3)  # a zero channel on both sides
            profile[rows - rows[0] + 1] = values
            peaks.append(rows[0] + int(np.argmax(profile)) - 1)
            widths.append(_full_width_at_half_maximum(profile))
    if not peaks:
        return np.ones(matrix.shape[0])
    channel, inverse = np.unique(peaks, return_inverse=True)
    mean = np.bincount(inverse, widths) / np.bincount(inverse)
    return np.maximum(np.interp(np.arange(matrix.shape[0]), channel, mean), 1.0)


def _full_width_at_half_maximum(profile: np.ndarray) -> float:
    peak = int(np.argmax(profile))
    half = profile[peak] / 2
    below = np.flatnonzero(profile < half)
    left = below[below < peak].max()  # the last channel under half before the peak
    right = below[below > peak].min()
    rise = (half - profile[left]) / (profile[left + 1] - profile[left])
    fall = (half - profile[right]) / (profile[right - 1] - profile[right])
    return float((right - fall) - (left + rise))
