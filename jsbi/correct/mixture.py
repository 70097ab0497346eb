"""Exact posteriors without a network: adaptive mixtures at the optimiser's modes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

from jsbi.baseline import Modes
from jsbi.simulate import Target
from jsbi.weights import effective_draws, pareto_k, temper

DEGREES = 4.0  # of freedom of the Student-t components: heavy enough to be safe
CLUSTERS = 6  # components fitted to all draws in each round
REPAIRS = 6  # components put where the last proposals were most wanting
REPAIR_SHARE = 0.3
REPAIR_NEIGHBOURS = 0.02  # share of the draws that shape one repair
# While Pareto k is above this, thin tails are still being found: stopping at 0.5 made
# widths up to a fifth too small in spectra of a few hundred counts.
SAFE_K = 0.2


def _whiten(z: np.ndarray, centre: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Deviations in units of the scale, [dim, draw].

    einsum, here and below: threads of a BLAS library that waits for busy cores made
    products of this shape ten times slower.
    """
    apart = z.T - centre[:, None]
    return np.einsum("ij,jn->in", np.linalg.inv(factor), apart)


def _scatter(z: np.ndarray, centre: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted sum of outer products of deviations, [dim, dim]."""
    apart = z.T - centre[:, None]
    return np.einsum("in,jn->ij", apart * weight, apart)


@dataclass(frozen=True)
class StudentMixture:
    """A mixture of multivariate Student-t distributions.

    Attributes:
        share: Adds up to 1, [component].
        location: [component, dim].
        factor: Lower Cholesky factors of the scale matrices, [component, dim, dim].
    """

    share: Float[np.ndarray, " component"]
    location: Float[np.ndarray, "component dim"]
    factor: Float[np.ndarray, "component dim dim"]

    def distances(
        self, z: Float[np.ndarray, "draw dim"]
    ) -> Float[np.ndarray, "component draw"]:
        """Squared distance of each draw from each location, in units of the scale."""
        return np.stack(
            [
                (_whiten(z, location, factor) ** 2).sum(0)
                for location, factor in zip(self.location, self.factor, strict=True)
            ]
        )

    def log_components(
        self, z: Float[np.ndarray, "draw dim"]
    ) -> Float[np.ndarray, "component draw"]:
        """Log of share times density of each component."""
        dim = z.shape[1]
        log_det = np.log(np.diagonal(self.factor, axis1=1, axis2=2)).sum(1)
        constant = (
            gammaln((DEGREES + dim) / 2)
            - gammaln(DEGREES / 2)
            - dim / 2 * math.log(DEGREES * math.pi)
        )
        tail = -(DEGREES + dim) / 2 * np.log1p(self.distances(z) / DEGREES)
        with np.errstate(divide="ignore"):
            return (np.log(self.share) + constant - log_det)[:, None] + tail

    def log_prob(self, z: Float[np.ndarray, "draw dim"]) -> Float[np.ndarray, " draw"]:
        """Log density."""
        return np.logaddexp.reduce(self.log_components(z), axis=0)

    def sample(
        self, generator: np.random.Generator, number: int
    ) -> Float[np.ndarray, "number dim"]:
        """Draw, with the number from each component as even as it can be."""
        positions = (np.arange(number) + generator.random()) / number
        edges = np.cumsum(self.share)
        rows = np.searchsorted(edges / edges[-1], positions)
        normal = generator.standard_normal((number, self.location.shape[1]))
        stretch = np.sqrt(DEGREES / generator.chisquare(DEGREES, number))
        steps = np.einsum("nij,nj->ni", self.factor[rows], normal)
        return self.location[rows] + stretch[:, None] * steps


def mixture_at(modes: Modes) -> StudentMixture:
    """A Student-t at each mode with its Gauss-Newton covariance and Laplace mass."""
    share = np.exp(modes.log_mass - np.logaddexp.reduce(modes.log_mass))
    share = 0.9 * share + 0.1 / len(share)  # no mode is lost to a poor estimate
    return StudentMixture(share, modes.z, np.linalg.cholesky(modes.covariance))


def refit(
    generator: np.random.Generator,
    z: Float[np.ndarray, "draw dim"],
    log_ratio: Float[np.ndarray, " draw"],
) -> StudentMixture:
    """Fit the next proposal to weighted draws.

    Most of it is a mixture fitted by expectation maximisation, which sees the bulk. The
    rest are components at the draws of the largest weights, which is where all
    proposals so far were too low: tails and bends that hold a thousandth of the
    posterior and would otherwise be met by a few draws of enormous weight.

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
    clusters = _fit_clusters(generator, z, weight, overall)
    repairs = repair(z, log_ratio, overall)
    return StudentMixture(
        np.append((1 - REPAIR_SHARE) * clusters.share, REPAIR_SHARE * repairs.share),
        np.concatenate([clusters.location, repairs.location]),
        np.concatenate([clusters.factor, repairs.factor]),
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
    start = generator.choice(len(z), CLUSTERS, p=weight)
    factor = np.linalg.cholesky(overall)
    mixture = StudentMixture(
        np.full(CLUSTERS, 1 / CLUSTERS),
        z[start],
        np.broadcast_to(factor, (CLUSTERS, *factor.shape)),
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
    white = _whiten(z, np.zeros(z.shape[1]), np.linalg.cholesky(overall))
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
    dim = z.shape[1]
    log_parts = mixture.log_components(z)
    duty = weight * np.exp(log_parts - np.logaddexp.reduce(log_parts, axis=0))
    pull = duty * (DEGREES + dim) / (DEGREES + mixture.distances(z))
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
class MixtureDraws:
    """Draws of all rounds with deterministic-mixture weights.

    Attributes:
        z: [draw, dim].
        log_likelihood: Relative to the perfect fit, [draw].
        log_ratio: Log of target over the mixture of all proposals, [draw].
        rounds: Number of proposals.
    """

    z: Float[np.ndarray, "draw dim"]
    log_likelihood: Float[np.ndarray, " draw"]
    log_ratio: Float[np.ndarray, " draw"]
    rounds: int


def adaptive_mixture(
    generator: np.random.Generator,
    target: Target,
    proposal: StudentMixture,
    *,
    enough: float,
    batch: int = 2048,
    rounds: int = 24,
    tick: Callable[[int], Any] = lambda draws: None,
) -> MixtureDraws:
    """Draw, reweight exactly, refit; until enough draws are effective.

    It also goes on, up to `rounds`, while the tail of the weights is heavy. Every draw
    is weighted by the mixture of all proposals so far, in proportion to their numbers
    of draws, so that none is wasted and weights stay bounded. A round is an eighth of
    all earlier draws once that is more than a batch.

    Args:
        generator: Random generator.
        target: The posterior density.
        proposal: The first proposal.
        enough: Effective draws to stop at.
        batch: Draws in each of the first rounds.
        rounds: The most rounds to make.
        tick: Called with the number of effective draws after each round.

    Source: Cornuet et al. (2012), Scandinavian Journal of Statistics 39, 798.
    """
    proposals, sizes = [proposal], []
    z = np.empty((0, target.dimension))
    log_likelihood = np.empty(0)
    density = np.empty((0, 0))  # of each draw under each proposal, in logarithm
    while True:
        sizes.append(max(batch, len(z) // 8))
        new = proposals[-1].sample(generator, sizes[-1])
        density = _extend(density, proposals, z, new)
        z = np.concatenate([z, new])
        log_likelihood = np.concatenate([log_likelihood, target.log_likelihood(new)])
        share = np.log(np.array(sizes) / len(z))
        log_proposal = np.logaddexp.reduce(density + share[:, None], axis=0)
        log_ratio = log_likelihood + target.log_prior(z) - log_proposal
        effective = effective_draws(log_ratio)
        tick(int(effective))
        # Two refits at least: the first proposal does not know where its tails fail.
        enough_seen = effective >= enough and len(proposals) > 2
        done = enough_seen and pareto_k(log_ratio) < SAFE_K
        if done or len(proposals) == rounds:
            return MixtureDraws(z, log_likelihood, log_ratio, len(proposals))
        proposals.append(refit(generator, z, log_ratio))


def _extend(
    density: np.ndarray, proposals: list[StudentMixture], z: np.ndarray, new: np.ndarray
) -> np.ndarray:
    """Add the newest proposal's row and the new draws' columns; keep the rest."""
    old = np.concatenate([density, proposals[-1].log_prob(z)[None]])
    fresh = np.stack([each.log_prob(new) for each in proposals])
    return np.concatenate([old, fresh], axis=1)
