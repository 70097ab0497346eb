"""A plain verdict on a posterior, with its reasons."""

import math

from jsbi.correct import Fault
from jsbi.posterior import Posterior

TRUSTED, USABLE, NOT_TRUSTED = VERDICTS = ("trusted", "usable", "not trusted")

# Vehtari et al. (2024): weights with k below 0.5 have a variance, above 0.7 their mean
# is unreliable at any affordable number of draws.
PARETO_K = (0.5, 0.7)
R_HAT = (1.01, 1.05)
LEAST_EFFECTIVE = 400.0  # below, tail quantiles are noise
# Populations and shells of these methods have no importance weights to look at.
UNWEIGHED = ("smc", "nested")
EVIDENCE_ERROR = (0.5, 2.0)
MISFIT = (3.0, 5.0)  # standard deviations of the C statistic
# P-values of bands and runs of residuals, corrected for their number. The data took
# part in the fit, so that a true model falls below less often than that.
SURPRISE = (1e-4, 1e-7)


def judge(
    posterior: Posterior,
    *,
    enough: float,
    cstat: float,
    expected: float,
    sd: float,
    surprise: float = 1.0,
    notes: tuple[str, ...] = (),
) -> tuple[str, tuple[str, ...]]:
    """Judge draws and fit; the worst finding decides.

    Args:
        posterior: The draws.
        enough: Effective draws that were asked for.
        cstat: C statistic of the best draw.
        expected: Its expectation under that model.
        sd: Its standard deviation.
        surprise: P-value of the worst band or of the runs of residuals, corrected for
            their number.
        notes: Doubts that a rung reported about itself; each makes the result at most
            usable, and a `Fault` not to be trusted.

    Returns: "trusted", "usable" or "not trusted", and a sentence per finding.
    """
    findings = [*_draws(posterior, enough), _fit(cstat, expected, sd)]
    findings.append(_predicted(surprise))
    findings += [(2 if isinstance(note, Fault) else 1, str(note)) for note in notes]
    worst = max((level for level, _ in findings), default=0)
    return VERDICTS[worst], tuple(text for level, text in findings if level or text)


def _level(value: float, limits: tuple[float, float]) -> int:
    """0 below both limits, 1 between, 2 above; not a number is above."""
    return 2 if not value < limits[1] else int(value >= limits[0])


def _draws(posterior: Posterior, enough: float) -> list[tuple[int, str]]:
    findings = []
    chains = not math.isnan(posterior.r_hat)
    if chains:
        level = _level(posterior.r_hat, R_HAT)
        if level:
            findings.append(
                (
                    level,
                    f"R-hat is {posterior.r_hat:.3f}; the chains have mixed below "
                    f"{R_HAT[0]}.",
                )
            )
    unweighed = chains or posterior.method.startswith(UNWEIGHED)
    if not (unweighed and math.isnan(posterior.pareto_k)):
        k = posterior.pareto_k
        level = _level(k, PARETO_K)
        if level:
            findings.append(
                (
                    level,
                    f"Pareto k is {k:.2f}; below {PARETO_K[0]} the weights are safe.",
                )
            )
    error = posterior.log_evidence_error
    level = 0 if math.isnan(error) else _level(error, EVIDENCE_ERROR)
    if level:
        findings.append((level, f"ln Z is known to {error:.2f} only."))
    effective = posterior.effective_draws
    if not effective >= LEAST_EFFECTIVE:
        findings.append((2, f"Only {effective:.0f} effective draws."))
    elif not effective >= enough:
        findings.append(
            (1, f"{effective:,.0f} effective draws where {enough:,.0f} were asked for.")
        )
    return findings


def _fit(cstat: float, expected: float, sd: float) -> tuple[int, str]:
    deviation = (cstat - expected) / sd
    level = _level(abs(deviation), MISFIT)
    if not level:
        return 0, ""
    side = "worse" if deviation > 0 else "better"
    return level, (
        f"The best fit is {abs(deviation):.1f} standard deviations {side} than the "
        "model would fit its own data: the model misses something, or the noise is not "
        "Poisson."
    )


def _predicted(p_value: float) -> tuple[int, str]:
    if not p_value <= SURPRISE[0]:
        return 0, ""
    return 1 + int(p_value <= SURPRISE[1]), (
        f"Bands of energies or runs of residuals are off with a p-value of "
        f"{p_value:.1g}, where a true model has one below {SURPRISE[0]:g} in at most "
        f"one of {1 / SURPRISE[0]:,.0f} fits: the model misses something."
    )
