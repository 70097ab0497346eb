"""Errors of counts."""

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2


def poisson_interval(
    counts: Float[np.ndarray, " bin"],
) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
    """Central 68.3 % interval of a Poisson mean, given integer counts.

    Source: Garwood (1936), Biometrika 28, 437.
    """
    tail = 0.158655
    low = np.where(counts > 0, chi2.ppf(tail, 2 * np.maximum(counts, 0.5)) / 2, 0.0)
    return low, chi2.ppf(1 - tail, 2 * (counts + 1)) / 2
