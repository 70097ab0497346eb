"""Calibration by simulation: where does the truth lie in its posterior?"""

import dataclasses
import functools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import binom, norm

from jsbi.diagnose.uniformity import (
    POINTS,
    distribution,
    holm,
    power,
    uniformity,
)
from jsbi.posterior import Posterior
from jsbi.simulate import log_prior

LIKELIHOOD, DENSITY, TARP = QUANTITIES = ("log likelihood", "log posterior", "TARP")
FALSE_ALARM = 0.01
LEVELS = (0.68, 0.95)
BOOTSTRAPS = 200
FARTHEST = 10.0  # displacement that is looked for, in widths


class Trial(NamedTuple):
    """Where the truth lies in one posterior.

    Attributes:
        rank: Posterior probability below the truth, in every parameter and then in
            `QUANTITIES`.
        z_score: Truth minus posterior mean in posterior standard deviations.
        contraction: Share of the prior's variance of z that the data have removed.
        effective_draws: Of the posterior.
    """

    rank: Float[np.ndarray, " quantity"]
    z_score: Float[np.ndarray, " dim"]
    contraction: Float[np.ndarray, " dim"]
    effective_draws: float


def rank_truth(
    generator: np.random.Generator,
    posterior: Posterior,
    truth: Float[np.ndarray, " dim"],
    log_likelihood: float,
    *,
    log_weight: float | None = None,
) -> Trial:
    """Rank the parameters from which data were simulated among draws of a posterior.

    If the truth is drawn from the prior and the posterior is exact, all ranks are
    uniform between 0 and 1. Besides the parameters there are three quantities that
    depend on the data. The log likelihood of the draws shows a posterior that ignores
    them, such as the prior. The log posterior density gives the coverage of the regions
    of highest density. For TARP it is the distance from a point that is drawn around
    the best of the fits, in widths of the posterior. The point depends on the data:
    with one that does not, the prior would pass for a posterior. Whatever is measured
    from all draws is measured with the truth among them, which keeps ranks uniform.

    Ranks are sums of weights, with the truth as one of the draws and ties in random
    order. For equal weights they are uniform for any number of draws, and so they are
    for importance weights if that of the truth is given. Else it is taken to be what it
    is on average, one over the effective number of draws: ranks are then uniform but
    for terms that fall as one over that number, which 100 effective draws make
    invisible to 1000 trials.

    Args:
        generator: Random generator.
        posterior: Weighted draws.
        truth: Coordinates z.
        log_likelihood: Of the truth, relative to the perfect fit.
        log_weight: Importance weight of the truth, on the scale of the draws' weights.

    Source: Talts et al. (2018), arXiv 1804.06788; Modrak et al. (2023), Bayesian
        Analysis 20, 461, for data-dependent quantities; Lemos et al. (2023), PMLR 202,
        19256, for TARP.
    """
    own = np.log(1 / max(posterior.effective_draws, 1.0))
    own = own if log_weight is None else log_weight
    weight = np.exp(np.append(posterior.log_weight, own))
    weight /= weight.sum()
    z = np.concatenate([posterior.z, truth[None]])
    fit = np.append(posterior.log_likelihood, log_likelihood)
    distance = _distances(generator, z, weight, fit)
    values = np.column_stack([z, fit, fit + log_prior(z), distance])
    below, equal = weight @ (values < values[-1]), weight @ (values == values[-1])
    mean = posterior.weights @ posterior.z
    variance = posterior.weights @ (posterior.z - mean) ** 2
    return Trial(
        rank=below + generator.random(len(below)) * equal,
        z_score=(truth - mean) / np.sqrt(np.maximum(variance, 1e-300)),
        contraction=1 - variance,
        effective_draws=posterior.effective_draws,
    )


def _distances(
    generator: np.random.Generator, z: np.ndarray, weight: np.ndarray, fit: np.ndarray
) -> np.ndarray:
    """Squared distance of each point from one a width away from the best."""
    width = np.sqrt(weight @ (z - weight @ z) ** 2)
    white = z / np.where(width > 0, width, 1.0)
    reference = white[np.argmax(fit)] + generator.standard_normal(z.shape[1])
    return ((white - reference) ** 2).sum(1)


def unweighted(posterior: Posterior) -> Posterior:
    """The draws as they were proposed, before reweighting: all weights equal."""
    equal = np.full(posterior.draws, -np.log(posterior.draws))
    return dataclasses.replace(
        posterior, log_weight=equal, effective_draws=float(posterior.draws)
    )


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Calibration:
    """Where the truths lie in the posteriors of many trials.

    Attributes:
        names: The parameters.
        rank: Of the truth in the parameters and then in `QUANTITIES`.
        z_score: Truth minus posterior mean in posterior standard deviations.
        contraction: Share of the prior's variance of z that the data have removed.
        effective_draws: Of each posterior.
    """

    names: tuple[str, ...]
    rank: Float[np.ndarray, "trial quantity"]
    z_score: Float[np.ndarray, "trial dim"]
    contraction: Float[np.ndarray, "trial dim"]
    effective_draws: Float[np.ndarray, " trial"]

    @property
    def trials(self) -> int:
        """Number of trials."""
        return len(self.rank)

    @property
    def quantities(self) -> tuple[str, ...]:
        """What the columns of `rank` are of."""
        return (*self.names, *QUANTITIES)

    def of(self, quantity: str) -> Float[np.ndarray, " trial"]:
        """The ranks of one quantity."""
        return self.rank[:, self.quantities.index(quantity)]

    def where(
        self, chosen: Bool[np.ndarray, " trial"] | Int[np.ndarray, " some"]
    ) -> "Calibration":
        """Some of the trials. What chooses them may know all but the truth."""
        parts = {
            field.name: getattr(self, field.name)[chosen]
            for field in dataclasses.fields(self)
            if field.name != "names"
        }
        return dataclasses.replace(self, **parts)

    @functools.cached_property
    def p_values(self) -> Float[np.ndarray, " quantity"]:
        """Of uniform ranks, for each quantity by itself; see `uniformity`."""
        return np.array([uniformity(column) for column in self.rank.T])

    @functools.cached_property
    def adjusted(self) -> Float[np.ndarray, " quantity"]:
        """p-values that allow for the number of quantities; see `holm`."""
        return holm(self.p_values)

    def passed(self, false_alarm: float = FALSE_ALARM) -> bool:
        """Whether no quantity speaks against the posteriors.

        Args:
            false_alarm: Probability at most that exact posteriors do not pass.
        """
        return bool(self.adjusted.min() > false_alarm)

    def reasons(self, false_alarm: float = FALSE_ALARM) -> tuple[str, ...]:
        """A sentence for every quantity that speaks against the posteriors.

        Args:
            false_alarm: As in `passed`.
        """
        return tuple(
            f"{name}: p = {p_value:.1g} for {len(self.quantities)} quantities; "
            f"{_describe(name, column)}."
            for name, p_value, column in zip(
                self.quantities, self.adjusted, self.rank.T, strict=True
            )
            if p_value <= false_alarm
        )

    def displacement(self, false_alarm: float = FALSE_ALARM) -> float:
        """How far off a parameter must be to be noticed in half of all cases.

        In widths of normal posteriors, all displaced alike; infinite if so few trials
        cannot notice it.

        Args:
            false_alarm: As in `passed`.
        """
        at = np.arange(POINTS + 1) / POINTS
        share = false_alarm / len(self.quantities)

        def noticed(distance: float) -> bool:
            parts = np.diff(norm.cdf(norm.ppf(at) - distance))
            return power(self.trials, share, parts) >= 0.5

        low, high = 0.0, FARTHEST
        if not noticed(high):
            return math.inf
        while high - low > 1e-3 * high:
            middle = 0.5 * (low + high)
            low, high = (low, middle) if noticed(middle) else (middle, high)
        return high

    def central(self, level: float) -> Float[np.ndarray, " quantity"]:
        """Share of the truths in central intervals of such a probability."""
        return (np.abs(self.rank - 0.5) <= 0.5 * level).mean(0)

    def coverage(
        self, levels: Float[np.ndarray, " level"]
    ) -> Float[np.ndarray, " level"]:
        """Share of the truths in regions of highest density of such probabilities."""
        return (1 - self.of(DENSITY)[:, None] <= levels).mean(0)

    def summary(self) -> dict[str, dict[str, float]]:
        """The numbers of each quantity, and more of each parameter."""
        rows: dict[str, Any] = {
            "p_value": self.p_values,
            "adjusted": self.adjusted,
            "mean_rank": self.rank.mean(0),
        }
        rows |= {f"central_{100 * level:.0f}": self.central(level) for level in LEVELS}
        found = {
            name: {row: float(values[i]) for row, values in rows.items()}
            for i, name in enumerate(self.quantities)
        }
        for i, name in enumerate(self.names):
            found[name] |= {
                "z_score_mean": float(self.z_score[:, i].mean()),
                "z_score_sd": float(self.z_score[:, i].std()),
                "contraction": float(np.median(self.contraction[:, i])),
            }
        return found

    def table(self, false_alarm: float = FALSE_ALARM) -> str:
        """A line per quantity, the coverage of regions, and what would be noticed.

        Args:
            false_alarm: As in `passed`.
        """
        width = max(map(len, (*self.quantities, "rank of the truth in")))
        titles = ("p", "adjusted p", "mean rank", "in 68 %", "in 95 %")
        lines = [f"{'rank of the truth in':<{width}}" + "".join(map(_column, titles))]
        for name, row in self.summary().items():
            numbers = (f"{value:.3g}" for value in list(row.values())[: len(titles)])
            lines.append(f"{name:<{width}}" + "".join(map(_column, numbers)))
        share = self.coverage(np.array(LEVELS))
        low, high = binomial_band(self.trials, np.array(LEVELS))
        regions = ", ".join(
            f"{100 * level:.0f} % hold the truth in {100 * each:.0f} % "
            f"({100 * least:.0f} to {100 * most:.0f} % expected)"
            for level, each, least, most in zip(LEVELS, share, low, high, strict=True)
        )
        lines.append(f"regions of highest density of {regions}")
        distance = self.displacement(false_alarm)
        lines.append(
            f"so many trials, {self.trials:,}, notice "
            + (
                f"a displacement by {distance:.2g} widths in half of all cases"
                if math.isfinite(distance)
                else "no displacement, however large"
            )
        )
        return "\n".join(lines)

    def __str__(self) -> str:
        """The table for the usual rate of false alarms."""
        return self.table()

    def __repr__(self) -> str:
        return (
            f"Calibration({', '.join(self.names)}; {self.trials:,} trials, smallest "
            f"adjusted p-value {self.adjusted.min():.2g})"
        )


def gather(names: tuple[str, ...], trials: Iterable[Trial]) -> Calibration:
    """Collect trials, of each of which only a few numbers are kept.

    Args:
        names: The parameters.
        trials: In any order; made one after another if it is a generator.

    Raises:
        ValueError: If there are none.
    """
    found = list(trials)
    if not found:
        raise ValueError("A calibration needs at least one trial; got none.")
    return Calibration(
        names, *(np.array(part, np.float64) for part in zip(*found, strict=True))
    )


def binomial_band(
    trials: int, levels: Float[np.ndarray, " level"], probability: float = 0.95
) -> tuple[Float[np.ndarray, " level"], Float[np.ndarray, " level"]]:
    """Where each share lies with a given probability if its expectation is the level.

    Args:
        trials: How many trials it is the share of.
        levels: Expectations.
        probability: At each level by itself.
    """
    tail = 0.5 * (1 - probability)
    low, high = (binom.ppf(each, trials, levels) for each in (tail, 1 - tail))
    return low / trials, high / trials


def bootstrap_band(
    rank: Float[np.ndarray, " trial"], probability: float = 0.95
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Where the share of the ranks below each point would lie for other trials.

    Args:
        rank: Ranks of one quantity.
        probability: At each point by itself.

    Source: Efron (1979), Annals of Statistics 7, 1.
    """
    generator = np.random.default_rng(0)
    shares = [
        distribution(generator.choice(rank, len(rank)))[1] for _ in range(BOOTSTRAPS)
    ]
    tail = 0.5 * (1 - probability)
    low, high = np.quantile(shares, [tail, 1 - tail], axis=0)
    return low, high


def _column(text: str) -> str:
    return f"{text:>12}"


def _describe(name: str, rank: Float[np.ndarray, " trial"]) -> str:
    """What ranks that are not uniform say about the posteriors, in words."""
    above = 100 * float((rank > 0.5).mean())
    inside = 100 * float((np.abs(rank - 0.5) <= 0.34).mean())
    if name == LIKELIHOOD:
        side = "wide, displaced or blind to data" if above > 50 else "narrow"
        return (
            f"the truth fits better than the median draw in {above:.0f} %, so that the "
            f"posteriors are too {side}"
        )
    if name == DENSITY:
        side = "wide or displaced" if above > 50 else "narrow"
        held = 100 * float((rank >= 0.32).mean())
        return (
            f"regions that should hold 68 % of the truths hold {held:.0f} %, so that "
            f"the posteriors are too {side}"
        )
    if name == TARP:
        return (
            f"the truth is farther from the reference than the median draw in "
            f"{above:.0f} %"
        )
    text = (
        f"the truth is above the median in {above:.0f} % and in the central 68 % in "
        f"{inside:.0f} %, so that the posteriors are too "
    )
    # In standard deviations of what uniform ranks give.
    root = np.sqrt(len(rank))
    shift = abs(rank.mean() - 0.5) * np.sqrt(12) * root
    spread = abs(inside / 100 - 0.68) / np.sqrt(0.68 * 0.32) * root
    if shift > spread:
        return text + ("low" if above > 50 else "high")
    return text + ("wide" if inside > 68 else "narrow")
