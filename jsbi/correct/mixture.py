"""Exact posteriors without a network: adaptive mixtures at the optimiser's modes."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln, logsumexp

from jsbi.baseline import Modes
from jsbi.weights import effective_draws, temper
from jsbi.simulate import Target

DEGREES = 6.0  # of freedom of the Student-t components: heavy enough to be safe


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
                (np.linalg.solve(factor, (z - location).T) ** 2).sum(0)
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
        return logsumexp(self.log_components(z), axis=0)

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
    share = np.exp(modes.log_mass - logsumexp(modes.log_mass))
    share = 0.9 * share + 0.1 / len(share)  # no mode is lost to a poor estimate
    return StudentMixture(share, modes.z, np.linalg.cholesky(modes.covariance))


def refit(
    generator: np.random.Generator,
    z: Float[np.ndarray, "draw dim"],
    log_weight: Float[np.ndarray, " draw"],
    components: int,
    iterations: int = 25,
) -> StudentMixture:
    """Fit a mixture to weighted draws by expectation maximisation.

    A component of three times the width of all draws, with a tenth of the mass, is
    added as a defence against tails that the fit does not see.

    Args:
        generator: Random generator for the starting points.
        z: Draws.
        log_weight: Their log weights, of any normalisation.
        components: Number of fitted components.
        iterations: Steps of expectation maximisation.

    Source: Peel & McLachlan (2000), Statistics and Computing 10, 339; weights as in
        Cappe et al. (2008), Statistics and Computing 18, 447.
    """
    weight = np.exp(log_weight - logsumexp(log_weight))
    mean = weight @ z
    centred = z - mean
    overall = (centred * weight[:, None]).T @ centred
    overall += 1e-8 * np.trace(overall) / len(mean) * np.eye(len(mean))
    start = generator.choice(len(z), components, p=weight)
    mixture = StudentMixture(
        np.full(components, 1 / components),
        z[start],
        np.broadcast_to(np.linalg.cholesky(overall), (components, *overall.shape)),
    )
    for _ in range(iterations):
        mixture = _maximise(mixture, z, weight, overall)
    wide = 3 * np.linalg.cholesky(overall)
    return StudentMixture(
        np.append(0.9 * mixture.share, 0.1),
        np.concatenate([mixture.location, mean[None]]),
        np.concatenate([mixture.factor, wide[None]]),
    )


def _maximise(
    mixture: StudentMixture, z: np.ndarray, weight: np.ndarray, overall: np.ndarray
) -> StudentMixture:
    """One step: responsibilities, then shares, locations and scales."""
    dim = z.shape[1]
    log_parts = mixture.log_components(z)
    duty = weight * np.exp(log_parts - logsumexp(log_parts, axis=0))
    pull = duty * (DEGREES + dim) / (DEGREES + mixture.distances(z))
    share = duty.sum(1)
    location = pull @ z / np.maximum(pull.sum(1), 1e-300)[:, None]
    factors = []
    for row, centre in enumerate(location):
        apart = z - centre
        scale = (apart * pull[row][:, None]).T @ apart
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
    batch: int = 4096,
    components: int = 6,
    rounds: int = 12,
) -> MixtureDraws:
    """Draw, reweight with the exact likelihood, refit; until enough effective draws.

    Every draw is weighted by the mixture of all proposals so far, in proportion to
    their numbers of draws, so that none is wasted and weights stay bounded.

    Args:
        generator: Random generator.
        target: The posterior density.
        proposal: The first proposal.
        enough: Effective draws to stop at.
        batch: Draws per round.
        components: Components fitted in each round.
        rounds: The most rounds to make.

    Source: Cornuet et al. (2012), Scandinavian Journal of Statistics 39, 798.
    """
    proposals, draws, likelihoods = [proposal], [], []
    while True:
        draws.append(proposals[-1].sample(generator, batch))
        likelihoods.append(target.log_likelihood(draws[-1]))
        z, log_likelihood = np.concatenate(draws), np.concatenate(likelihoods)
        log_proposal = logsumexp(
            [mixture.log_prob(z) for mixture in proposals], axis=0
        ) - math.log(len(proposals))
        log_ratio = log_likelihood + target.log_prior(z) - log_proposal
        done = effective_draws(log_ratio) >= enough and len(proposals) > 1
        if done or len(proposals) == rounds:
            return MixtureDraws(z, log_likelihood, log_ratio, len(proposals))
        least = min(20.0 * target.dimension, 0.5 * len(z))
        proposals.append(refit(generator, z, temper(log_ratio, least), components))
