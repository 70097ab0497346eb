"""Are numbers uniform between 0 and 1? An exact test of their whole distribution."""

import functools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import binom, poisson

POINTS = 100  # equal parts of the interval, at whose ends the distribution is looked at


class Band(NamedTuple):
    """Where the distribution of uniform numbers lies, everywhere at once.

    Attributes:
        at: Inner ends of the equal parts of the interval.
        low: Least share of the numbers below each.
        high: Greatest share.
    """

    at: Float[np.ndarray, " point"]
    low: Float[np.ndarray, " point"]
    high: Float[np.ndarray, " point"]


def distribution(
    rank: Float[np.ndarray, " trial"],
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """The inner ends of the equal parts, and the share of the numbers below each."""
    at = np.arange(1, POINTS) / POINTS
    return at, np.searchsorted(np.sort(rank), at) / len(rank)


def uniformity(rank: Float[np.ndarray, " trial"]) -> float:
    """How likely numbers that are uniform would look so little uniform.

    The statistic is the smallest of the binomial tail probabilities of how many numbers
    lie below 0.01, 0.02, ... 0.99, so that the ends count as much as the middle: widths
    that are wrong show at the ends, where Kolmogorov's statistic is weak. Its
    distribution is summed exactly, for any number of trials.

    Args:
        rank: Independent numbers between 0 and 1.

    Returns: The p-value.

    Source: Sailynoja, Burkner & Vehtari (2022), Statistics and Computing 32, 32.
    """
    trials = len(rank)
    below = np.round(distribution(rank)[1] * trials).astype(int)
    tails = _tails(trials)
    return _p_value(trials, float(tails[np.arange(len(tails)), below].min()))


def uniform_band(trials: int, false_alarm: float) -> Band:
    """The band that uniform numbers leave, anywhere, with a given probability at most.

    They leave it exactly where `uniformity` is at most `false_alarm`.

    Args:
        trials: How many numbers there are.
        false_alarm: The probability.
    """
    low, high = math.log(false_alarm / POINTS), math.log(2 * false_alarm)
    for _ in range(50):
        middle = 0.5 * (low + high)
        if _p_value(trials, math.exp(middle)) <= false_alarm:
            low = middle
        else:
            high = middle
    first, last = _inside(trials, math.exp(low))
    return Band(np.arange(1, POINTS) / POINTS, first / trials, last / trials)


def holm(p_values: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """p-values that allow for how many there are, whether or not they are independent.

    Rejecting where they are at most 1 % rejects anything that is true in at most 1 % of
    the cases.

    Source: Holm (1979), Scandinavian Journal of Statistics 6, 65.
    """
    order = np.argsort(p_values)
    factor = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(factor * p_values[order]), 1.0)
    return adjusted


@functools.lru_cache(32)
def _tails(trials: int) -> Float[np.ndarray, "point count"]:
    """Twice the smaller tail probability of every number below every end."""
    at = np.arange(1, POINTS)[:, None] / POINTS
    count = np.arange(trials + 1)
    return 2 * np.minimum(binom.cdf(count, trials, at), binom.sf(count - 1, trials, at))


def _inside(trials: int, tail: float) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest number at each end with more than this probability."""
    # Equal probabilities may differ by rounding.
    inside = _tails(trials) > (1 + 1e-9) * tail
    last = trials - np.argmax(inside[:, ::-1], axis=1)
    return np.argmax(inside, axis=1), np.where(inside.any(1), last, -1)


@functools.lru_cache(10_000)
def _p_value(trials: int, tail: float) -> float:
    """Probability that the smallest tail probability is this or less."""
    first, last = _inside(trials, tail)
    if (last < first).any():
        return 1.0
    stay = _probability_inside(trials, first, last, np.full(POINTS, 1 / POINTS))
    # Between one tail and all of them; the difference to 1 has lost its digits there.
    return float(np.clip(1 - stay, 0.5 * tail, min(POINTS * tail, 1.0)))


def _probability_inside(
    trials: int, first: np.ndarray, last: np.ndarray, parts: np.ndarray
) -> float:
    """Probability that as many numbers as allowed lie below each end.

    Counts in the parts are independent Poisson numbers, given their sum: paths of the
    sum that stay inside are followed from end to end.

    Args:
        trials: How many numbers there are.
        first: The least number below each inner end.
        last: The greatest.
        parts: Probability of each part of the interval.
    """
    count = np.arange(trials + 1)
    equal = np.ptp(parts) == 0
    means = trials * (parts[:1] if equal else parts)[:, None]
    steps = np.broadcast_to(poisson.pmf(count, means), (POINTS, trials + 1))
    state, offset = np.ones(1), 0
    for low, high, step in zip(first, last, steps[:-1], strict=True):
        moved = np.convolve(state, step[: high - offset + 1])
        state, offset = moved[low - offset : high - offset + 1], low
    final = state @ steps[-1][trials - offset - np.arange(len(state))]
    return float(final / poisson.pmf(trials, trials))


def power(trials: int, false_alarm: float, parts: Float[np.ndarray, " part"]) -> float:
    """How often numbers that are not uniform are found out.

    Args:
        trials: How many numbers there are.
        false_alarm: How often uniform ones are taken for others.
        parts: Probability of each of `POINTS` equal parts of the interval.
    """
    band = uniform_band(trials, false_alarm)
    first, last = (np.round(trials * end).astype(int) for end in (band.low, band.high))
    return 1 - _probability_inside(trials, first, last, parts)
