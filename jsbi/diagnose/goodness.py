"""Goodness of fit of Poisson data."""

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln, xlogy


def cstat_moments(expected: Float[np.ndarray, " bin"]) -> tuple[float, float]:
    """Expectation and standard deviation of the C statistic of the true model.

    Summed exactly over the Poisson distribution below 100 expected counts per bin, by
    an asymptotic series above, where both agree to 1e-5 of a bin.

    Args:
        expected: Model counts per bin.

    Source: the sums of Kaastra (2017), A&A 605, A51, eqs. 4 to 6.
    """
    few = expected[expected < 100]
    mean, variance = _exact_moments(few)
    inverse = 1 / expected[expected >= 100]
    series_mean = 1 + inverse / 6 + inverse**2 / 6 + 19 / 60 * inverse**3
    series_variance = 2 + 2 / 3 * inverse + 4 / 3 * inverse**2
    return (
        float(mean.sum() + series_mean.sum()),
        float(np.sqrt(variance.sum() + series_variance.sum())),
    )


def _exact_moments(
    expected: Float[np.ndarray, " bin"],
) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
    largest = expected.max(initial=0.0)
    counts = np.arange(int(largest + 12 * np.sqrt(largest) + 60))[:, None]
    safe = np.maximum(expected, 1e-30)
    probability = np.exp(xlogy(counts, safe) - safe - gammaln(counts + 1))
    deviance = 2 * (safe - counts + xlogy(counts, counts / safe))
    mean = (probability * deviance).sum(0)
    return mean, (probability * (deviance - mean) ** 2).sum(0)
