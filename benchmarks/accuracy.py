"""How far a posterior is from the reference of its case."""

import math
from typing import Any

import jax
import numpy as np

from jsbi.diagnose.distance import distances
from jsbi.posterior import Posterior

# Departures that count as none, beside what so few draws scatter by themselves.
SHIFT, WIDTH = 0.05, 0.05
SCATTER = 4.0  # standard deviations of the scatter
LEAST_JUDGED = 64.0  # effective draws
LEAST_SPLIT = 100.0  # effective draws that a classifier needs


def accuracy(posterior: Posterior, reference: Posterior) -> dict[str, Any]:
    """Distances of a posterior from a long run.

    Args:
        posterior: The posterior.
        reference: The long run.

    Returns: Numbers by name: the largest shift of a mean in standard deviations, the
        least and greatest ratio of widths, the largest distances of marginals with what
        95 % of equal posteriors stay below, the accuracy of a classifier that tells
        the two apart, and the error of ln Z in standard deviations of both runs.
    """
    shift = np.abs(posterior.mean() - reference.mean()) / reference.sd()
    ratio = posterior.sd() / reference.sd()
    error = math.hypot(posterior.log_evidence_error, reference.log_evidence_error)
    off = posterior.log_evidence - reference.log_evidence
    classify = posterior.effective_draws >= LEAST_SPLIT
    apart = distances(jax.random.key(0), posterior, reference, classify=classify)
    return {
        "shift": float(shift.max()),
        "least width": float(ratio.min()),
        "greatest width": float(ratio.max()),
        "KS": float(apart.ks.max()),
        "KS limit": float(apart.ks_limit.max()),
        "Wasserstein": float(apart.wasserstein.max()),
        "Wasserstein limit": float(apart.wasserstein_limit.max()),
        "classifier": apart.accuracy,
        "classifier error": apart.accuracy_error,
        "ln Z off": off,
        "ln Z off [sigma]": off / error if error > 0 else math.nan,
    }


def is_right(row: dict[str, Any], reference_effective: float) -> bool | None:
    """Whether means and widths agree, to 5 % or to what the draws scatter.

    Args:
        row: One fit.
        reference_effective: Effective draws of the reference.

    Returns: None where there is nothing to compare with, or the draws are so few that
        they scatter by half a width and more.
    """
    found = row.get("accuracy")
    if not found or not (row["effective"] or 0) >= LEAST_JUDGED:
        return None
    measured = found["shift"], found["least width"], found["greatest width"]
    if None in measured:
        return False  # a mean or a width was not a number
    shift, least, greatest = measured
    scatter = SCATTER * math.sqrt(1 / row["effective"] + 1 / reference_effective)
    return bool(
        shift < max(SHIFT, scatter)
        and max(1 - least, greatest - 1) < max(WIDTH, scatter)
    )
