"""One rung of the ladder: its posterior, its numbers, and whether to stop there."""

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Float

from jsbi.baseline import Modes
from jsbi.baseline.optimize import NEAR
from jsbi.correct.draws import WeightedDraws
from jsbi.correct.mixture import MixtureDraws
from jsbi.posterior import Posterior
from jsbi.simulate import Target
from jsbi.weights import effective_draws, log_evidence, pareto_k

ACCEPTED_K, SOUND_K = 0.5, 0.7
ACCEPTED_EFFICIENCY = 0.1
MOST_LOST = 1e-3  # share of the draws at which the model may have no value
LEAST_EFFECTIVE = 400.0  # draws of samplers that have no importance weights
MIXED_R_HAT, SOUND_R_HAT = 1.01, 1.05
SEEN_MASS = 1e-3  # of modes that draws must hold
GRAVE_MASS = 0.1  # of modes that draws miss, from which they are not to be trusted
FOUND = 0.05  # of a mode's mass, as Laplace has it, that counts as found
SURE_EVIDENCE = 0.5  # error of ln Z below which populations have agreed


class Fault(str):
    """A doubt so grave that the draws are not to be trusted."""


@dataclasses.dataclass(frozen=True)
class Rung:
    """What one rung made, and whether it may be the last.

    Attributes:
        posterior: Its draws.
        record: Its numbers, for the report.
        doubts: Why its draws may miss something that their weights cannot show.
    """

    posterior: Posterior
    record: dict[str, Any]
    doubts: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether the draws may represent the posterior, however few they are."""
        if not math.isnan(self.posterior.pareto_k):
            return self.posterior.pareto_k < SOUND_K
        if not math.isnan(self.posterior.r_hat):
            return self.posterior.r_hat < SOUND_R_HAT
        return self.posterior.effective_draws >= LEAST_EFFECTIVE

    @property
    def passed(self) -> bool:
        """Whether the draws are good enough to stop here."""
        return bool(self.record["passed"])


def weighted_posterior(
    target: Target,
    draws: WeightedDraws | MixtureDraws,
    *,
    method: str,
    log_perfect: float,
) -> Posterior:
    """Turn weighted draws into a Posterior with evidence.

    Args:
        target: The posterior density.
        draws: Draws with log ratios of target over proposal.
        method: The rung's name.
        log_perfect: Log-likelihood of the perfect fit, with the full Poisson
            normalisation.

    Raises:
        ValueError: If no draw has a posterior density.
    """
    if not np.isfinite(draws.log_ratio).any():
        raise ValueError(
            "The posterior density must be positive at some draw; it is at none of "
            f"{len(draws.z)}. Does the prior allow model counts where counts were seen?"
        )
    evidence, error = log_evidence(draws.log_ratio)
    log_weight = draws.log_ratio - evidence - math.log(len(draws.z))
    kept = np.isfinite(log_weight)
    return Posterior(
        names=target.simulator.prior.names,
        z=draws.z[kept],
        values=target.physical(draws.z[kept]),
        log_weight=log_weight[kept],
        log_likelihood=draws.log_likelihood[kept],
        effective_draws=effective_draws(log_weight[kept]),
        log_evidence=evidence + log_perfect,
        log_evidence_error=error,
        method=method,
        pareto_k=pareto_k(log_weight[kept]),
        proposed=len(draws.z),
    )


def judge_draws(
    target: Target,
    draws: WeightedDraws | MixtureDraws,
    *,
    method: str,
    enough: float,
    log_perfect: float,
    doubts: tuple[str, ...] = (),
    **numbers: Any,
) -> Rung:
    """Make a rung of weighted draws: its posterior, its record, and whether it passed.

    Args:
        target: The posterior density.
        draws: Draws with log ratios of target over proposal.
        method: The rung's name.
        enough: Effective draws that it needs.
        log_perfect: Log-likelihood of the perfect fit.
        doubts: Why the draws may miss something.
        numbers: What else belongs in the record.
    """
    posterior = weighted_posterior(
        target, draws, method=method, log_perfect=log_perfect
    )
    return judge_weighted(posterior, enough, doubts, **numbers)


def judge_weighted(
    posterior: Posterior, enough: float, doubts: tuple[str, ...] = (), **numbers: Any
) -> Rung:
    """Make a rung of a posterior with importance weights.

    Args:
        posterior: The draws.
        enough: Effective draws that it needs.
        doubts: Why they may miss something.
        numbers: What else belongs in the record.
    """
    lost = 1 - posterior.draws / posterior.proposed
    if lost > MOST_LOST:
        doubts += (f"The model has no likelihood at {100 * lost:.2g} % of the draws.",)
    passed = (
        not doubts
        and posterior.pareto_k < ACCEPTED_K
        and posterior.efficiency > ACCEPTED_EFFICIENCY
        and posterior.effective_draws >= enough
    )
    record = {
        "rung": posterior.method,
        "draws": posterior.draws,
        "ess": posterior.effective_draws,
        "efficiency": posterior.efficiency,
        "pareto_k": posterior.pareto_k,
        "log_evidence": posterior.log_evidence,
        "passed": passed,
        "doubts": list(doubts),
    }
    return Rung(posterior, record | numbers, doubts)


def judge_samples(
    posterior: Posterior, doubts: tuple[str, ...] = (), **numbers: Any
) -> Rung:
    """Make a rung of draws without importance weights: chains, populations.

    Args:
        posterior: The draws.
        doubts: Why they may miss something.
        numbers: What else belongs in the record.
    """
    mixed = math.isnan(posterior.r_hat) or posterior.r_hat < MIXED_R_HAT
    error = posterior.log_evidence_error
    sure = math.isnan(error) or error < SURE_EVIDENCE
    record = {
        "rung": posterior.method,
        "draws": posterior.draws,
        "ess": posterior.effective_draws,
        "r_hat": posterior.r_hat,
        "log_evidence": posterior.log_evidence,
        "passed": bool(
            mixed
            and sure
            and posterior.effective_draws >= LEAST_EFFECTIVE
            and not doubts
        ),
        "doubts": list(doubts),
    }
    return Rung(posterior, record | numbers, doubts)


def missed_modes(
    modes: Modes,
    z: Float[np.ndarray, "draw dim"],
    weight: Float[np.ndarray, " draw"],
) -> tuple[str, ...]:
    """What weighted draws say about modes that an optimiser found.

    Args:
        modes: Best fits.
        z: Draws.
        weight: Their weights, which add up to 1.

    Returns: A doubt, if the draws hold next to nothing of some mode.
    """
    found = (modes.distances(z) < NEAR * z.shape[1]) @ weight
    missed = (modes.share > SEEN_MASS) & (found < FOUND * modes.share)
    if not missed.any():
        return ()
    share = float(modes.share[missed].sum())
    text = (
        f"The draws hold next to nothing of {missed.sum()} of {len(found)} modes that "
        f"an optimiser found, with about {100 * share:.2g} % of the posterior."
    )
    return (Fault(text) if share > GRAVE_MASS else text,)


def best_rung(rungs: list[Rung]) -> Rung:
    """The last rung that passed, else the soundest with the most effective draws."""
    passed = [rung for rung in rungs if rung.passed]
    if passed:
        return passed[-1]
    return max(rungs, key=lambda r: (r.sound, r.posterior.effective_draws))


def all_doubts(rungs: list[Rung]) -> tuple[str, ...]:
    """The doubts of all rungs, of which only the best one's may be faults."""
    best = best_rung(rungs)
    return tuple(
        doubt if rung is best else str(doubt) for rung in rungs for doubt in rung.doubts
    )
