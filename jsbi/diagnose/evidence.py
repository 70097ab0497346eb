"""Which of several models do the data prefer, and by how much?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jsbi.posterior import Posterior

# Grades end at these powers of ten. Source: Jeffreys (1961), Theory of Probability,
# 3rd edition, appendix B.
JEFFREYS = (
    (0.5, "not worth more than a bare mention"),
    (1.0, "substantial"),
    (1.5, "strong"),
    (2.0, "very strong"),
    (math.inf, "decisive"),
)
# Normalisations of the same data, each guessed from its posterior, may differ by this.
SLACK = 10.0
SLACK_PER_PARAMETER = 2.0


@dataclass(frozen=True)
class BayesFactor:
    """How much more probable the data are under a first model than under a second.

    Attributes:
        log: ln of the ratio of the evidences.
        error: Its standard deviation, from those of both ln Z.
        log_fit: Part of it from the highest likelihoods: half the difference in C-stat.
        names: What the models are called.
        notes: What limits the comparison, a sentence each.
    """

    log: float
    error: float
    log_fit: float
    names: tuple[str, str] = ("first", "second")
    notes: tuple[str, ...] = ()

    @property
    def log_occam(self) -> float:
        """Part of it from the share of the priors that the data leave."""
        return self.log - self.log_fit

    @property
    def probability(self) -> float:
        """Of the first model, if both were equally probable before the data."""
        return math.exp(-np.logaddexp(0.0, -self.log))

    @property
    def grade(self) -> str:
        """Jeffreys' word for the evidence, in favour of whichever model it is."""
        power = abs(self.log) / math.log(10)
        return next(text for end, text in JEFFREYS if power < end or end == math.inf)

    @property
    def sentence(self) -> str:
        """The result in words."""
        if abs(self.log) < 2 * self.error:
            return (
                f"ln B = {self.log:.2f} +- {self.error:.2f}: the error of ln Z does "
                f"not let {self.names[0]} and {self.names[1]} be told apart."
            )
        better, worse = self.names if self.log > 0 else self.names[::-1]
        return (
            f"The evidence for {better} against {worse} is {self.grade}: "
            f"ln B = {abs(self.log):.2f} +- {self.error:.2f}."
        )

    def __str__(self) -> str:
        """The sentence, what it is made of, and what limits it."""
        parts = (
            f"ln B = {self.log:.2f}: best fits {self.log_fit:+.2f}, priors "
            f"{self.log_occam:+.2f}; probability of {self.names[0]} "
            f"{self.probability:.3g} if both were equally probable before"
        )
        return "\n".join([self.sentence, parts, *self.notes])


def bayes_factor(
    first: Posterior, second: Posterior, names: tuple[str, str] = ("first", "second")
) -> BayesFactor:
    """The Bayes factor of two models of the same data.

    It depends on both priors: a prior ten times wider in a parameter that only one of
    the models has costs that model ln 10, however well the data know the parameter.

    A posterior does not hold its data. They are taken to differ if the numbers of fit
    bins differ, or the Poisson normalisations that the posteriors imply do: ln Z, less
    the mean log-likelihood, plus the information gained, which is exact for normal
    posteriors. Other noise in a spectrum of the same brightness is not noticed.

    Args:
        first: A posterior with ln Z.
        second: Another, of the same data.
        names: What to call them.

    Raises:
        ValueError: If an evidence is not known, or the data differ.

    Source: Jeffreys (1961), Theory of Probability, appendix B; Kass & Raftery (1995),
        JASA 90, 773.
    """
    for name, posterior in zip(names, (first, second), strict=True):
        _check_evidence(name, posterior)
    notes = _check_data(first, second, names)
    best = [each.log_likelihood.max() for each in (first, second)]
    return BayesFactor(
        log=first.log_evidence - second.log_evidence,
        error=math.hypot(first.log_evidence_error, second.log_evidence_error),
        log_fit=float(best[0] - best[1]),
        names=names,
        notes=notes + _doubts(first, names[0]) + _doubts(second, names[1]),
    )


@dataclass(frozen=True)
class Ranking:
    """Models of the same data, the most probable first.

    Attributes:
        names: What the models are called.
        log_bayes: ln Z of each less that of the first.
        error: Standard deviation of each difference.
        probability: Of each, if all were equally probable before the data.
        cstat: C statistic of the best draw of each.
        notes: What limits the comparison.
    """

    names: tuple[str, ...]
    log_bayes: tuple[float, ...]
    error: tuple[float, ...]
    probability: tuple[float, ...]
    cstat: tuple[float, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """A table with one line per model."""
        width = max(map(len, (*self.names, "model")))
        lines = [f"{'model':<{width}}{'ln B':>10}{'+-':>8}{'prob.':>10}{'C-stat':>11}"]
        rows = zip(
            self.names,
            self.log_bayes,
            self.error,
            self.probability,
            self.cstat,
            strict=True,
        )
        for name, log, error, probability, cstat in rows:
            lines.append(
                f"{name:<{width}}{log:>10.2f}{error:>8.2f}{probability:>10.3g}"
                f"{cstat:>11.1f}"
            )
        return "\n".join([*lines, *self.notes])


def rank_models(posteriors: Mapping[str, Posterior]) -> Ranking:
    """Rank models of the same data by their evidence.

    Args:
        posteriors: Posteriors with ln Z by the names of the models, at least one.

    Raises:
        ValueError: If there is no posterior, an evidence is not known, or the data
            differ.
    """
    if not posteriors:
        raise ValueError("There must be at least one posterior to rank; got none.")
    names = sorted(posteriors, key=lambda name: -posteriors[name].log_evidence)
    best = posteriors[names[0]]
    factors = [bayes_factor(posteriors[n], best, (n, names[0])) for n in names]
    log = np.array([each.log for each in factors])
    notes = [note for each in factors for note in each.notes]
    return Ranking(
        names=tuple(names),
        log_bayes=tuple(log.tolist()),
        error=(0.0, *(each.error for each in factors[1:])),
        probability=tuple(np.exp(log - np.logaddexp.reduce(log)).tolist()),
        cstat=tuple(-2 * float(posteriors[n].log_likelihood.max()) for n in names),
        notes=tuple(dict.fromkeys(notes)),
    )


def _check_evidence(name: str, posterior: Posterior) -> None:
    if not math.isfinite(posterior.log_evidence + posterior.log_evidence_error):
        raise ValueError(
            f"A Bayes factor needs ln Z and its error of both models; that of {name} "
            f"is {posterior.log_evidence:g} +- {posterior.log_evidence_error:g}. Was "
            'it made by chains? "mixture", "network", "smc" and "nested" know it.'
        )


def _check_data(
    first: Posterior, second: Posterior, names: tuple[str, str]
) -> tuple[str, ...]:
    """Refuse posteriors of other data; what could not be checked."""
    reports = first.report, second.report
    if reports[0] is not None and reports[1] is not None:
        bins = reports[0].bins, reports[1].bins
        if bins[0] != bins[1]:
            raise ValueError(
                f"Only models of the same data can be compared; {names[0]} was fitted "
                f"to {bins[0]} bins and {names[1]} to {bins[1]}. Other spectra, "
                "grouping or energy range?"
            )
    perfect = [_log_perfect(each) for each in (first, second)]
    parameters = len(first.names) + len(second.names)
    if abs(perfect[0] - perfect[1]) > SLACK + SLACK_PER_PARAMETER * parameters:
        raise ValueError(
            "Only models of the same data can be compared, but the log-likelihood of a "
            f"perfect fit must be near {perfect[0]:.0f} for {names[0]} and "
            f"{perfect[1]:.0f} for {names[1]}. Other spectra, grouping or energy range?"
        )
    if None in reports:
        return ("Without reports, the numbers of fit bins could not be compared.",)
    return ()


def _log_perfect(posterior: Posterior) -> float:
    """The log-likelihood of a perfect fit that a posterior implies.

    ln Z is it, plus the mean of the relative log-likelihood, less the divergence of the
    posterior from the prior N(0, I), which here is that of a normal posterior.
    """
    kept = np.isfinite(posterior.log_likelihood)
    weight = posterior.weights[kept] / posterior.weights[kept].sum()
    z = posterior.z[kept]
    mean = weight @ z
    covariance = np.einsum("n,ni,nj->ij", weight, z - mean, z - mean)
    sign, log_det = np.linalg.slogdet(covariance)
    gained = np.trace(covariance) + mean @ mean - len(mean) - (log_det if sign else 0.0)
    fit = weight @ posterior.log_likelihood[kept]
    return float(posterior.log_evidence - fit + 0.5 * gained)


def _doubts(posterior: Posterior, name: str) -> tuple[str, ...]:
    report = posterior.report
    if report is None or report.verdict == "trusted":
        return ()
    return tuple(f"{name} is {report.verdict}: {text}" for text in report.reasons)
