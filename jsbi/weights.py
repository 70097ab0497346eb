"""Importance weights on the host in float64: evidence, effective draws, Pareto k."""

import math

import numpy as np
from jaxtyping import Float


def effective_draws(log_weight: Float[np.ndarray, " draw"]) -> float:
    """Kish's effective number of draws, (sum w)^2 / sum w^2; 0 where none has a weight.

    Source: Kish (1965), Survey Sampling.
    """
    if not np.isfinite(log_weight.max(initial=-math.inf)):
        return 0.0
    return float(
        np.exp(
            2 * np.logaddexp.reduce(log_weight) - np.logaddexp.reduce(2 * log_weight)
        )
    )


def weighted_quantile(
    values: Float[np.ndarray, " draw"],
    log_weight: Float[np.ndarray, " draw"],
    probability: float,
) -> float:
    """Quantile of weighted draws; draws without weight may have no value.

    Args:
        values: Of the draws.
        log_weight: Normalised log weights.
        probability: Of a smaller value.
    """
    kept = log_weight > -math.inf
    values, weights = values[kept], np.exp(log_weight[kept])
    order = np.argsort(values)
    below = np.cumsum(weights[order]) - 0.5 * weights[order]
    return float(np.interp(probability, below, values[order]))


def log_evidence(log_ratio: Float[np.ndarray, " draw"]) -> tuple[float, float]:
    """Log of the mean ratio of target to proposal, and its standard deviation.

    Source: the delta method; Dax et al. (2023), PRL 130, 171403.
    """
    number = len(log_ratio)
    efficiency = effective_draws(log_ratio) / number
    error = math.sqrt(max(1 - efficiency, 0.0) / (number * efficiency))
    return float(np.logaddexp.reduce(log_ratio) - math.log(number)), error


def pareto_k(log_weight: Float[np.ndarray, " draw"]) -> float:
    """Shape of the generalised Pareto distribution fitted to the largest weights.

    Below 0.5 the weights have a finite variance; above 0.7 their mean is unreliable.

    Args:
        log_weight: Log weights, of any normalisation; at least 25.

    Returns: k; `inf` where fewer than five distinct weights form the tail.

    Source: Vehtari et al. (2024), JMLR 25, 72; the fit is that of Zhang & Stephens
        (2009), Technometrics 51, 316.
    """
    number = len(log_weight)
    if not np.isfinite(log_weight.max(initial=-math.inf)):
        return math.inf
    tail = min(number // 5, math.ceil(3 * math.sqrt(number)))
    ordered = np.sort(log_weight)[-tail - 1 :]
    excess = np.exp(ordered[1:] - ordered[-1]) - np.exp(ordered[0] - ordered[-1])
    excess = excess[excess > 0]
    if len(excess) < 5:
        return math.inf
    shape = _fit_pareto(excess)
    # A weak prior at 0.5, worth ten observations, steadies short tails.
    return float((shape * len(excess) + 5) / (len(excess) + 10))


def _fit_pareto(excess: Float[np.ndarray, " tail"]) -> float:
    """Profile-likelihood mean of the shape of a generalised Pareto distribution."""
    number = len(excess)
    grid = np.arange(1, 31 + math.isqrt(number))
    quartile = excess[max(int(number / 4 + 0.5) - 1, 0)]
    theta = (1 - np.sqrt(len(grid) / (grid - 0.5))) / (3 * quartile) + 1 / excess[-1]
    shape = np.log1p(-theta[:, None] * excess).mean(1)
    log_likelihood = number * (np.log(-theta / shape) - shape - 1)
    weight = np.exp(log_likelihood - np.logaddexp.reduce(log_likelihood))
    mean = weight @ theta
    return float(np.log1p(-mean * excess).mean())


def temper(
    log_weight: Float[np.ndarray, " draw"], least: float
) -> Float[np.ndarray, " draw"]:
    """Raise weights to the largest power up to 1 that leaves `least` effective draws.

    Args:
        log_weight: Log weights; -inf for draws that are to have none.
        least: Effective draws to keep; no more than the number of draws.

    Returns: Normalised log weights.

    Raises:
        ValueError: If no draw has a weight.
    """
    known = np.isfinite(log_weight)
    if not known.any():
        raise ValueError(
            "Some draw must have a weight; none has. Does the model return finite "
            "spectra?"
        )
    some = log_weight[known] - log_weight[known].max()
    if effective_draws(some) < least:
        low, high = -60.0, 0.0  # log2 of the power
        for _ in range(60):
            middle = 0.5 * (low + high)
            if effective_draws(2.0**middle * some) < least:
                high = middle
            else:
                low = middle
        some = 2.0**low * some
    tempered = np.full(len(log_weight), -np.inf)
    tempered[known] = some - np.logaddexp.reduce(some)
    return tempered
