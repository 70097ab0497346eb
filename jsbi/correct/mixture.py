"""Exact posteriors without a network: adaptive mixtures at the optimiser's modes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from jsbi.baseline import Modes
from jsbi.correct.draws import WeightedDraws, weigh
from jsbi.correct.student import StudentMixture, join, whiten
from jsbi.simulate import Target
from jsbi.weights import effective_draws, pareto_k, temper

CLUSTERS = 6  # components fitted to all draws in each round, at most
CLUSTER_DRAWS = 10  # effective draws that one asks for, times the dimension
FIT_DRAWS = 12_000  # that the fit sees at most; more only cost time
REPAIRS = 6  # components put where the last proposals were most wanting
REPAIR_SHARE = 0.25
REPAIR_NEIGHBOURS = 0.02  # share of the draws that shape one repair
WIDE_SHARE = 0.1  # of one component around all draws, against thin tails elsewhere
WIDTH = 1.5  # of that component, in widths of the posterior
MODES_SHARE = 0.05  # of the first proposal in the last: no mode is forgotten
GATHERED = 4  # refits, or half of all if more, that make up the last proposal
MENDS = 4  # refits at most that join the answer while its weights have a heavy tail
HEAVY_K = 0.3  # Pareto k above which thin tails are still being found
GAIN = 1.1  # in efficiency, below which another refit does not pay
POOR = 0.1  # efficiency of the last proposal that no number of draws mends


def _scatter(z: np.ndarray, centre: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted sum of outer products of deviations, [dim, dim]."""
    apart = z.T - centre[:, None]
    return np.einsum("in,jn->ij", apart * weight, apart)


def mixture_at(modes: Modes) -> StudentMixture:
    """A Student-t at each mode with its Gauss-Newton covariance and Laplace mass."""
    share = 0.9 * modes.share + 0.1 / len(modes.z)  # no mode is lost to a poor estimate
    return StudentMixture(share, modes.z, np.linalg.cholesky(modes.covariance))


def refit(
    generator: np.random.Generator,
    z: Float[np.ndarray, "draw dim"],
    log_ratio: Float[np.ndarray, " draw"],
) -> StudentMixture:
    """Fit the next proposal to weighted draws.

    Most of it is a mixture fitted by expectation maximisation, which sees the bulk. The
    rest are one wide component, and components at the draws of the largest weights,
    which is where all proposals so far were too low: tails and bends that hold a
    thousandth of the posterior and would otherwise be met by a few draws of enormous
    weight.

    Args:
        generator: Random generator for the starting points.
        z: Draws.
        log_ratio: Log of target over proposal at each.

    Source: Cappe et al. (2008), Statistics and Computing 18, 447; Raftery & Bao (2010),
        Biometrics 66, 1162.
    """
    # Few effective draws would collapse the fit onto themselves.
    log_weight = temper(log_ratio, min(20.0 * z.shape[1], 0.5 * len(z)))
    weight = np.exp(log_weight)
    overall = _scatter(z, np.einsum("n,nd->d", weight, z), weight)
    overall += 1e-8 * np.trace(overall) / len(overall) * np.eye(len(overall))
    thin = slice(None, None, -(-len(z) // FIT_DRAWS))
    clusters = _fit_clusters(
        generator, z[thin], weight[thin] / weight[thin].sum(), overall
    )
    wide = StudentMixture(
        np.ones(1),
        np.einsum("n,nd->d", weight, z)[None],
        WIDTH * np.linalg.cholesky(overall)[None],
    )
    return join(
        (1 - REPAIR_SHARE - WIDE_SHARE, clusters),
        (REPAIR_SHARE, repair(z, log_ratio, overall)),
        (WIDE_SHARE, wide),
    )


def _fit_clusters(
    generator: np.random.Generator,
    z: np.ndarray,
    weight: np.ndarray,
    overall: np.ndarray,
    iterations: int = 25,
) -> StudentMixture:
    """Expectation maximisation of a mixture, from random draws as centres.

    Source: Peel & McLachlan (2000), Statistics and Computing 10, 339.
    """
    effective = 1 / (weight**2).sum()
    number = int(np.clip(effective / (CLUSTER_DRAWS * z.shape[1]), 1, CLUSTERS))
    start = generator.choice(len(z), number, p=weight)
    factor = np.linalg.cholesky(overall)
    mixture = StudentMixture(
        np.full(number, 1 / number),
        z[start],
        np.broadcast_to(factor, (number, *factor.shape)),
    )
    for _ in range(iterations):
        mixture = _maximise(mixture, z, weight, overall)
    return mixture


def repair(
    z: Float[np.ndarray, "draw dim"],
    log_ratio: Float[np.ndarray, " draw"],
    overall: Float[np.ndarray, "dim dim"],
) -> StudentMixture:
    """Components at the draws of the largest weights, shaped by their neighbours.

    Args:
        z: Draws.
        log_ratio: Log of target over proposal at each.
        overall: Covariance that says which draws are near.

    Source: Raftery & Bao (2010), Biometrics 66, 1162.
    """
    white = whiten(z, np.zeros(z.shape[1]), np.linalg.cholesky(overall))
    weight = np.exp(log_ratio - np.logaddexp.reduce(log_ratio))
    number = max(int(REPAIR_NEIGHBOURS * len(z)), 10 * z.shape[1])
    left = log_ratio.copy()
    locations, factors = [], []
    for _ in range(REPAIRS):
        place = np.argmax(left)
        distance = ((white - white[:, [place]]) ** 2).sum(0)
        near = np.argsort(distance)[:number]
        mass = weight[near] + 1 / len(z)
        scale = _scatter(z[near], z[place], mass / mass.sum()) + 1e-6 * overall
        locations.append(z[place])
        factors.append(np.linalg.cholesky(scale))
        left[near] = -np.inf
    share = np.full(REPAIRS, 1 / REPAIRS)
    return StudentMixture(share, np.stack(locations), np.stack(factors))


def _maximise(
    mixture: StudentMixture, z: np.ndarray, weight: np.ndarray, overall: np.ndarray
) -> StudentMixture:
    """One step: responsibilities, then shares, locations and scales."""
    degrees, dim = mixture.degrees, z.shape[1]
    distances = mixture.distances(z)
    log_parts = mixture.log_components_at(distances)
    duty = weight * np.exp(log_parts - np.logaddexp.reduce(log_parts, axis=0))
    pull = duty * (degrees + dim) / (degrees + distances)
    share = duty.sum(1)
    location = np.einsum("kn,nd->kd", pull, z)
    location /= np.maximum(pull.sum(1), 1e-300)[:, None]
    factors = []
    for row, centre in enumerate(location):
        scale = _scatter(z, centre, pull[row])
        # A pseudo-count of the overall covariance keeps lonely components regular.
        shrink = 0.01 / len(location)
        scale = (scale + shrink * overall) / (share[row] + shrink)
        factors.append(np.linalg.cholesky(scale))
    return StudentMixture(share / share.sum(), location, np.stack(factors))


@dataclass(frozen=True)
class MixtureDraws(WeightedDraws):
    """Draws of an adapted mixture.

    Attributes:
        rounds: Number of proposals that were tried.
    """

    rounds: int


class _Lessons:
    """Draws of all proposals, weighted by their mixture: what a refit learns from."""

    def __init__(self, dimension: int):
        self.proposals: list[StudentMixture] = []
        self.sizes: list[int] = []
        self.z = np.empty((0, dimension))
        self.log_target = np.empty(0)
        self.log_proposal = np.empty(0)  # log of the sum of size times density

    def add(
        self, proposal: StudentMixture, draws: WeightedDraws, target: Target
    ) -> None:
        z = draws.z
        log_target = draws.log_likelihood + target.log_prior(z)
        old = np.logaddexp(
            self.log_proposal, math.log(len(z)) + proposal.log_prob(self.z)
        )
        self.proposals.append(proposal)
        self.sizes.append(len(z))
        fresh = [
            math.log(size) + each.log_prob(z)
            for each, size in zip(self.proposals, self.sizes, strict=True)
        ]
        self.z = np.concatenate([self.z, z])
        self.log_target = np.concatenate([self.log_target, log_target])
        self.log_proposal = np.concatenate([old, np.logaddexp.reduce(fresh, axis=0)])

    @property
    def log_ratio(self) -> np.ndarray:
        return self.log_target - self.log_proposal + math.log(len(self.z))


def adaptive_mixture(
    generator: np.random.Generator,
    target: Target,
    modes: StudentMixture,
    *,
    enough: float,
    batch: int = 2048,
    rounds: int = 16,
    most: float | int = math.inf,
    tick: Callable[[int], Any] = lambda draws: None,
) -> MixtureDraws:
    """Draw, reweight exactly, refit; then draw enough from the last proposal alone.

    A refit learns from all draws so far, weighted by the mixture of all proposals. They
    are not part of the answer: a proposal is too high at the draws that shaped it,
    which made ln Z too low (by 0.02 in six dimensions, by 0.25 in twenty, thirty times
    its error) and widths too narrow. Draws after the last refit are independent of it,
    so their mean weight is a nearly unbiased evidence and Pareto k sees all tails.

    Refits go on while they raise the efficiency by a tenth, or the tail of the weights
    is heavy. If the answer's tail is heavy, such as towards the edge of a prior, a few
    small batches of refits join it: one draw of enormous weight would widen a posterior
    by a seventh. They are too few to bring the bias back.

    Args:
        generator: Random generator.
        target: The posterior density.
        modes: The first proposal.
        enough: Effective draws to stop at.
        batch: Draws by which a proposal is judged.
        rounds: The most proposals to learn from before the answer.
        most: Draws of the answer at most, but for a few batches that mend its tail.
        tick: Called with the number of effective draws after each round.

    Source: Cornuet et al. (2012), Scandinavian Journal of Statistics 39, 798; Marin,
        Pudlo & Sedki (2019), Bernoulli 25, 1816, for the bias of learning and answering
        from the same draws.
    """
    proposal, before, count = modes, 0.0, 0
    lessons, refits = _Lessons(target.dimension), []
    while count < rounds:
        count += 1
        draws = _draw(generator, target, proposal, batch)
        efficiency = effective_draws(draws.log_ratio) / batch
        tick(int(efficiency * batch))
        lessons.add(proposal, draws, target)
        refits.append(refit(generator, lessons.z, lessons.log_ratio))
        # Three refits at least: the first proposal does not know where its tails fail.
        settled = count > 3 and efficiency < GAIN * before
        if settled and pareto_k(lessons.log_ratio) < HEAVY_K:
            break
        proposal, before = refits[-1], efficiency
    last = _gather(modes, refits)
    draws = _answer(generator, target, last, enough, batch, most)
    answer = _Lessons(target.dimension)
    answer.add(last, draws, target)
    poor = effective_draws(answer.log_ratio) < POOR * len(answer.z)
    for _ in range(0 if poor else MENDS):
        if pareto_k(answer.log_ratio) < HEAVY_K:
            break
        count += 1
        last = refit(generator, answer.z, answer.log_ratio)
        number = max(batch, len(answer.z) // 8)
        answer.add(last, _draw(generator, target, last, number), target)
    tick(int(effective_draws(answer.log_ratio)))
    log_likelihood = answer.log_target - target.log_prior(answer.z)
    return MixtureDraws(answer.z, log_likelihood, answer.log_ratio, count + 1)


def _gather(modes: StudentMixture, refits: list[StudentMixture]) -> StudentMixture:
    """The last refits, whose repairs are in different places, and the modes."""
    last = refits[-max(GATHERED, len(refits) // 2) :]
    share = (1 - MODES_SHARE) / len(last)
    return join((MODES_SHARE, modes), *[(share, each) for each in last])


def _draw(
    generator: np.random.Generator,
    target: Target,
    proposal: StudentMixture,
    number: int,
) -> WeightedDraws:
    z = proposal.sample(generator, number)
    return weigh(z, target.log_likelihood(z), proposal.log_prob(z))


def _answer(
    generator: np.random.Generator,
    target: Target,
    proposal: StudentMixture,
    enough: float,
    batch: int,
    most: float | int,
) -> WeightedDraws:
    """Enough draws of one proposal, unless its first batch is hopeless."""
    draws = _draw(generator, target, proposal, batch)
    for _ in range(4):  # more than once where later weights are worse
        effective = effective_draws(draws.log_ratio)
        if effective >= enough or effective < POOR * len(draws.z):
            break
        number = int(1.03 * (enough - effective) * len(draws.z) / effective) + 100
        number = int(min(number, most - len(draws.z)))
        if number <= 0:
            break
        more = _draw(generator, target, proposal, number)
        draws = draws.joined(more)
    return draws
