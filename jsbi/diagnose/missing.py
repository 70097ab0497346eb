"""What could a model lack? Lines, a shifted energy scale, absorbers, other models."""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.correct import Rung, best_rung, climb
from jsbi.data import Observation, perfect_log_likelihood
from jsbi.diagnose.additions import (
    Candidate,
    with_absorber,
    with_gain,
    with_line,
    with_own,
)
from jsbi.diagnose.line_scan import LineScan, scan_lines
from jsbi.model import suggest
from jsbi.posterior import Posterior
from jsbi.progress import Progress
from jsbi.simulate import Prior, Simulator, Target

LINES = ("emission line", "absorption line")
KINDS = (*LINES, "absorber", "partial absorber", "gain shift")
FLAGGED = 3.0  # ln of the Bayes factor; see `find_missing` for its false alarms
ENOUGH = 1000.0  # effective draws of each fit
MOST = 40_000  # draws
FAINT, SURE = 1.0, 0.2  # ln B of a scan below which, and its error, no fit is needed
COMPARED = 64  # draws from which counts are taken


@dataclass(frozen=True)
class Addition:
    """What one candidate would do for the model.

    Attributes:
        name: What it adds.
        log_bayes: ln Z with it less ln Z without; nan where the fit failed.
        error: Its standard deviation, with that of the base model.
        values: Mean and standard deviation of each parameter that it adds.
        counts: Mean and standard deviation of the counts that it adds, without changing
            any other parameter; None for another model altogether.
        prior: Of its parameters, in words; the Bayes factor depends on it.
        doubts: What speaks against the number, a sentence each.
        posterior: With it; None where a scan of lines found nothing worth a fit.
    """

    name: str
    log_bayes: float
    error: float
    values: dict[str, tuple[float, float]]
    counts: tuple[float, float] | None
    prior: str
    doubts: tuple[str, ...] = ()
    posterior: Posterior | None = None

    @property
    def sentence(self) -> str:
        """The result in words."""
        parts = [
            f"{name} = {mean:.4g} +- {sd:.2g}"
            for name, (mean, sd) in self.values.items()
        ]
        if self.counts is not None:
            parts.append(f"{self.counts[0]:+.4g} +- {self.counts[1]:.2g} counts")
        where = f" ({', '.join(parts)})" if parts else ""
        return f"{self.name}{where}: ln B = {self.log_bayes:.2f} +- {self.error:.2f}"


@dataclass(frozen=True)
class Missing:
    """What a model could lack, the most probable first.

    Attributes:
        additions: What was tried.
        threshold: ln of the Bayes factor above which one is flagged.
        scans: Lines at all energies, those that were tried.
    """

    additions: tuple[Addition, ...]
    threshold: float
    scans: tuple[LineScan, ...]

    @property
    def flagged(self) -> tuple[Addition, ...]:
        """What the model probably lacks."""
        return tuple(a for a in self.additions if a.log_bayes > self.threshold)

    @property
    def sentence(self) -> str:
        """The finding in words."""
        unknown = sum(math.isnan(each.log_bayes) for each in self.additions)
        rest = f" The evidence of {unknown} is not known." if unknown else ""
        if self.flagged:
            return f"The model probably lacks: {self.flagged[0].sentence}.{rest}"
        known = len(self.additions) - unknown
        if not known:
            return f"Nothing is known of what the model lacks.{rest}"
        return (
            f"None of {known} additions makes the data e^{self.threshold:g} times as "
            f"probable.{rest}"
        )

    def record(self) -> dict[str, Any]:
        """All numbers as plain values; JSON."""
        fields = [
            {k: v for k, v in vars(each).items() if k != "posterior"}
            | {"flagged": each in self.flagged}
            for each in self.additions
        ]
        return {
            "threshold": self.threshold,
            "sentence": self.sentence,
            "additions": fields,
        }

    def __str__(self) -> str:
        """A table with one line per addition, then priors, doubts and the finding."""
        width = max(map(len, (*(a.name for a in self.additions), "addition")))
        lines = [f"{'addition':<{width}}{'ln B':>10}{'+-':>7}   parameters"]
        for each in self.additions:
            values = [f"{k} {m:.4g} +- {s:.2g}" for k, (m, s) in each.values.items()]
            if each.counts is not None:
                values.append(f"{each.counts[0]:+.4g} counts")
            mark = "*" if each in self.flagged else " "
            lines.append(
                f"{each.name:<{width}}{each.log_bayes:>10.2f}{each.error:>7.2f} {mark} "
                + ", ".join(values)
            )
        lines += [f"prior of {each.name}: {each.prior}" for each in self.additions]
        lines += [f"{a.name}: {doubt}" for a in self.additions for doubt in a.doubts]
        return "\n".join([*lines, self.sentence])


def find_missing(
    key: Key[Array, ""],
    target: Target,
    posterior: Posterior,
    *,
    observations: Sequence[Observation] = (),
    others: Mapping[str, tuple[Callable[..., Any], Prior]] | None = None,
    kinds: Collection[str] = KINDS,
    method: str = "mixture",
    threshold: float = FLAGGED,
    progress: bool = False,
) -> Missing:
    """Try what a model most often lacks, and rank it by the evidence.

    Tried are a narrow line in emission and in absorption at any energy, a further
    absorber, one that covers the source in part, a shift of the energy scale if the
    observations are given, and the user's own models. Lines are searched with
    `scan_lines`, then fitted where the scan found one; everything else is fitted. A
    fitted ln Z is exact up to its error.

    If the model is right, a Bayes factor above e^3 has a probability of at most 5 % for
    each candidate, by Markov's inequality, on average over the prior.

    Args:
        key: Random key.
        target: The posterior density of the model.
        posterior: Its posterior, with ln Z.
        observations: Those of the target, in the same order; the shift of the energy
            scale needs them.
        others: Models of the same data with all of their priors, by name.
        kinds: Which of `KINDS` to try besides.
        method: As for `infer`: how the models are fitted.
        threshold: ln of the Bayes factor above which an addition is flagged.
        progress: Whether to draw progress bars on standard error.

    Raises:
        ValueError: If the posterior is of other parameters or has no ln Z, or a kind is
            unknown.
    """
    _check(target, posterior)
    search = _Search(target, posterior, method, Progress(progress))
    candidates = _candidates(target.simulator, observations, kinds)
    for name, (model, prior) in (others or {}).items():
        candidates.append(with_own(target.simulator, name, model, prior))
    lines = [name for name in LINES if name in kinds]
    keys = jax.random.split(key, len(lines) + len(candidates))
    found = [
        search.line(own, emission=name == LINES[0])
        for own, name in zip(keys, lines, strict=False)
    ]
    additions = [addition for addition, _ in found]
    additions += map(search.fit, keys[len(lines) :], candidates)
    order = sorted(additions, key=lambda a: -np.nan_to_num(a.log_bayes, nan=-np.inf))
    return Missing(tuple(order), float(threshold), tuple(scan for _, scan in found))


def fit_target(
    key: Key[Array, ""], target: Target, method: str, progress: Progress
) -> list[Rung]:
    """Fit a model as all that are compared here are fitted.

    Args:
        key: Random key.
        target: The posterior density.
        method: As for `infer`.
        progress: Bars and ledger.
    """
    return climb(
        key,
        target,
        method=method,
        enough=ENOUGH,
        most=MOST,
        log_perfect=perfect_log_likelihood(np.asarray(target.counts, np.float64)),
        progress=progress,
    )


def _check(target: Target, posterior: Posterior) -> None:
    if posterior.names != target.simulator.prior.names:
        raise ValueError(
            "The posterior must be of the target's parameters, "
            f"{', '.join(target.simulator.prior.names)}; got "
            f"{', '.join(posterior.names)}. Is it of another model?"
        )
    if not math.isfinite(posterior.log_evidence):
        raise ValueError(
            "To look for what is missing, ln Z of the model must be known; it is "
            f"{posterior.log_evidence:g}. Was the posterior made by chains? The "
            'methods "mixture", "network" and "nested" know it.'
        )


def _candidates(
    simulator: Simulator, observations: Sequence[Observation], kinds: Collection[str]
) -> list[Candidate]:
    """Those of the kinds that are fitted without a search before."""
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    unknown = [name for name in kinds if name not in KINDS]
    if unknown:
        raise ValueError(
            f"`kinds` must be some of {', '.join(KINDS)}; got {unknown[0]!r}. "
            f"{suggest(unknown[0], list(KINDS))}"
        )
    candidates = []
    if "absorber" in kinds:
        candidates.append(with_absorber(simulator))
    if "partial absorber" in kinds:
        candidates.append(with_absorber(simulator, partial=True))
    if "gain shift" in kinds and observations:
        candidates.append(with_gain(simulator, observations))
    return candidates


@dataclass(frozen=True)
class _Search:
    """What all candidates share."""

    target: Target
    posterior: Posterior
    method: str
    progress: Progress

    def fit(self, key: Array, candidate: Candidate) -> Addition:
        """Fit a candidate and compare its evidence."""
        target = Target(candidate.simulator, np.asarray(self.target.counts))
        try:
            rungs = fit_target(key, target, self.method, self.progress)
        except (ValueError, np.linalg.LinAlgError) as error:
            doubts = (f"The fit failed: {error}",)
            return Addition(
                candidate.name, math.nan, math.nan, {}, None, candidate.prior, doubts
            )
        known = [r for r in rungs if math.isfinite(r.posterior.log_evidence)]
        rung = best_rung(known or rungs)
        found, doubts = rung.posterior, rung.doubts
        if not known:
            doubts += ("Chains do not know ln Z.",)
        if not rung.sound:
            doubts += (_unsound(found),)
        return Addition(
            name=candidate.name,
            log_bayes=found.log_evidence - self.posterior.log_evidence,
            error=math.hypot(
                found.log_evidence_error, self.posterior.log_evidence_error
            ),
            values=_values(found, candidate.added or found.names),
            counts=self._counts(candidate, target, found),
            prior=candidate.prior,
            doubts=doubts,
            posterior=found,
        )

    def line(self, key: Array, *, emission: bool) -> tuple[Addition, LineScan]:
        """Search a line at all energies, and fit the best."""
        key_scan, key_fit = jax.random.split(key)
        simulator = self.target.simulator
        with self.progress.stage("missing: lines", "draw", 1) as tick:
            scan = scan_lines(
                key_scan,
                simulator,
                self.target.counts,
                self.posterior,
                emission=emission,
            )
            tick(1)
        place = simulator, scan.energies, scan.sigmas
        anywhere = with_line(*place, emission=emission)
        log_bayes, error = scan.total()
        if log_bayes < FAINT and error < SURE:
            faint = Addition(anywhere.name, log_bayes, error, {}, None, anywhere.prior)
            return faint, scan
        edges = scan.edges[scan.window.start : scan.window.stop + 1]
        within = float(edges[0]), float(edges[-1])
        near = with_line(*place, emission=emission, within=within)
        fitted = self.fit(key_fit, near)
        log_bayes, error = _anywhere(scan, fitted)
        return dataclasses.replace(
            fitted, log_bayes=log_bayes, error=error, prior=anywhere.prior
        ), scan

    def _counts(
        self, candidate: Candidate, target: Target, found: Posterior
    ) -> tuple[float, float] | None:
        """Counts with the addition less those without, other parameters the same."""
        dimension, base = self.target.dimension, self.target.simulator.prior
        prior = candidate.simulator.prior
        same = prior.names[:dimension] == base.names and eqx.tree_equal(
            prior.marginals[:dimension], base.marginals
        )
        if not same or not candidate.added:
            return None
        rows = found.resampled_rows(jax.random.key(0), COMPARED)
        more = [
            (
                target.expected_counts(z) - self.target.expected_counts(z[:dimension])
            ).sum()
            for z in found.z[rows]
        ]
        return float(np.mean(more)), float(np.std(more))


def _unsound(posterior: Posterior) -> str:
    """Why draws may not represent the posterior."""
    if not math.isnan(posterior.pareto_k):
        return f"The weights are unreliable, Pareto k {posterior.pareto_k:.2f}."
    if not math.isnan(posterior.r_hat):
        return f"The chains have not mixed, R-hat {posterior.r_hat:.3f}."
    return f"There are only {posterior.effective_draws:.0f} effective draws."


def _anywhere(scan: LineScan, fitted: Addition) -> tuple[float, float]:
    """The Bayes factor of a line anywhere: the fit where it was made, else the scan.

    The scan's part has no error from the base model's ln Z, which is small beside.
    """
    inside = float(np.logaddexp.reduce(scan.log_prior[scan.window]))
    elsewhere = np.ones(len(scan.energies), bool)
    elsewhere[scan.window] = False
    outside, error = scan.total(elsewhere)
    log = np.array([inside + fitted.log_bayes, outside])
    total = float(np.logaddexp.reduce(log))
    share = np.exp(log - total)
    return total, float(np.hypot(*(share * [fitted.error, error])))


def _values(
    posterior: Posterior, names: Sequence[str]
) -> dict[str, tuple[float, float]]:
    mean, sd = posterior.mean(), posterior.sd()
    places = [posterior.names.index(name) for name in names]
    return {posterior.names[i]: (float(mean[i]), float(sd[i])) for i in places}


def false_alarms(
    key: Key[Array, ""],
    target: Target,
    posterior: Posterior,
    number: int,
    **choices: Any,
) -> Float[np.ndarray, " simulation"]:
    """The largest ln of a Bayes factor in spectra of which the model is right.

    The share above the threshold is the rate of false alarms for this instrument, model
    and number of counts. Takes as long as so many fits and searches.

    Args:
        key: Random key.
        target: The posterior density of the model.
        posterior: Its posterior; spectra are drawn at its draws.
        number: How many.
        choices: Those of `find_missing`.
    """
    key_rows, *keys = jax.random.split(key, 1 + number)
    rows = posterior.resampled_rows(key_rows, number)
    largest = []
    for row, key_one in zip(rows, keys, strict=True):
        key_noise, key_fit, key_search = jax.random.split(key_one, 3)
        generator = np.random.default_rng(np.asarray(jax.random.key_data(key_noise)))
        counts = generator.poisson(target.expected_counts(posterior.z[row]))
        simulated = Target(target.simulator, counts.astype(np.float64))
        base = best_rung(fit_target(key_fit, simulated, "mixture", Progress(False)))
        found = find_missing(key_search, simulated, base.posterior, **choices)
        largest.append(found.additions[0].log_bayes)
    return np.array(largest)
