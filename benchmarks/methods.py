"""The methods of this package, each behind the same call, to be timed side by side."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from benchmarks.case import Case
from jsbi.amortized import AmortizedPosterior
from jsbi.api import infer
from jsbi.posterior import Posterior
from jsbi.training import amortize

LADDER = ("auto", "mixture", "sbi", "smc", "transported", "nuts", "nested")
AMORTISED = "amortised"
METHODS = (*LADDER, AMORTISED)
# Those whose draws come from a trained network.
LEARNED = ("sbi", "smc", "transported", AMORTISED)
MOST_NESTED = 20_000  # effective draws of a reference by nested sampling


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a method found, and what it says that it cost.

    Attributes:
        posterior: Draws.
        verdict: "trusted", "usable" or "not trusted", by the same rules for everyone.
        reasons: What speaks against "trusted".
        phases: Seconds by phase, of methods that keep such a ledger.
        evaluations: Of the exact likelihood, with or without its gradient.
        simulations: Spectra simulated for training.
        rung: What the draws were made by.
    """

    posterior: Posterior
    verdict: str
    reasons: tuple[str, ...]
    phases: dict[str, float]
    evaluations: int
    simulations: int = 0
    rung: str = ""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A method that is ready for spectra.

    Attributes:
        solve: Answers from a seed.
        phases: Seconds of the preparation, such as the training of a network.
        simulations: Spectra simulated in it.
    """

    solve: Callable[[int], Answer]
    phases: dict[str, float] = dataclasses.field(default_factory=dict)
    simulations: int = 0


def answer_of(posterior: Posterior) -> Answer:
    """What a posterior with a report says of itself."""
    report = posterior.report
    assert report is not None
    return Answer(
        posterior=posterior,
        verdict=report.verdict,
        reasons=report.reasons,
        phases=dict(report.seconds),
        evaluations=report.likelihood_evaluations,
        simulations=report.simulations,
        rung=posterior.method,
    )


def prepare(case: Case, method: str, draws: int) -> Prepared:
    """Make a method of this package ready for a case.

    Args:
        case: The problem.
        method: One of `METHODS`.
        draws: Effective draws to ask for; of an amortised network, draws.
    """
    if method == AMORTISED:
        return amortised(case, draws)

    def solve(seed: int) -> Answer:
        return answer_of(fit(case, method, seed, draws))

    return Prepared(solve)


def fit(case: Case, method: str, seed: int, draws: int) -> Posterior:
    """Infer the posterior of a case."""
    return infer(
        jax.random.key(seed),
        case.observations,
        case.model,
        case.prior,
        method=method,
        draws=draws,
        progress=False,
    )


def amortised(case: Case, draws: int, **choices: Any) -> Prepared:
    """A network trained on the whole prior, which never saw the spectrum.

    Args:
        case: The problem.
        draws: Draws for each spectrum.
        choices: Those of `amortize`.
    """
    network = trained(case, **choices)

    def solve(seed: int) -> Answer:
        (posterior,) = network.apply(
            [case.observations], key=jax.random.key(seed), draws=draws
        )
        return answer_of(posterior)

    record = network.record
    return Prepared(solve, dict(record["seconds"]), int(record["simulations"]))


def trained(case: Case, **choices: Any) -> AmortizedPosterior:
    """A network for all spectra like that of a case."""
    return amortize(
        jax.random.key(1_000_000),
        case.observations,
        case.model,
        case.prior,
        progress=False,
        **choices,
    )


def reference(case: Case, draws: int) -> Answer:
    """The answer that others are held against.

    It is that of "auto", with many draws; where that is not trusted, of nested sampling
    if its verdict is the better one.

    Args:
        case: The problem.
        draws: Effective draws of "auto".
    """
    answer = answer_of(fit(case, "auto", 99, draws))
    if answer.verdict == "trusted":
        return answer
    other = answer_of(fit(case, "nested", 99, min(draws, MOST_NESTED)))
    rank = {"trusted": 0, "usable": 1, "not trusted": 2}
    return min(answer, other, key=lambda each: rank[each.verdict])
