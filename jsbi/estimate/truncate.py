"""Parts of the prior, sampled exactly: unions of ellipsoids around a posterior."""

import math
from dataclasses import dataclass, replace

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Key
from scipy.cluster.vq import kmeans2
from scipy.optimize import brentq

from jsbi.estimate.restrict import PriorPart
from jsbi.weights import log_evidence

INFLATION = 1.3  # of the radius: keeps 0.999 if draws are a fifth too narrow
GAIN = 0.5  # two ellipsoids must fill less than this share of the one they replace
TRIES = 8  # of each split: the best halves are not the small mode and the rest
CANDIDATES = 32768  # that measure a volume


@dataclass(frozen=True)
class EllipsoidUnion:
    """Ellipsoids that may overlap.

    Attributes:
        centre: [ellipsoid, dim].
        factor: Maps of the unit ball to each ellipsoid about its centre,
            [ellipsoid, dim, dim].
    """

    centre: Float[np.ndarray, "ellipsoid dim"]
    factor: Float[np.ndarray, "ellipsoid dim dim"]

    def distances(
        self, z: Float[np.ndarray, "draw dim"]
    ) -> Float[np.ndarray, "ellipsoid draw"]:
        """Squared distance of each draw from each centre, 1 on the surface."""
        return np.stack(
            [
                (np.einsum("ij,nj->ni", np.linalg.inv(factor), z - centre) ** 2).sum(1)
                for centre, factor in zip(self.centre, self.factor, strict=True)
            ]
        )

    def contains(self, z: Float[np.ndarray, "draw dim"]) -> Bool[np.ndarray, " draw"]:
        """Which draws lie in at least one ellipsoid."""
        return np.any(self.distances(z) <= 1, axis=0)


def fit_ellipsoids(
    key: Key[Array, ""],
    z: Float[np.ndarray, "draw dim"],
    *,
    inflation: float = INFLATION,
) -> EllipsoidUnion:
    """Ellipsoids that together contain all draws, with a margin.

    Draws are split in two for as long as that saves much volume, so that separate modes
    get ellipsoids of their own.

    Args:
        key: Random key of the splits.
        z: Draws.
        inflation: Factor on every radius.

    Raises:
        ValueError: If there are too few draws to know their covariance.

    Source: Feroz et al. (2009), MNRAS 398, 1601, for splitting by volume.
    """
    if len(z) <= 2 * z.shape[1]:
        raise ValueError(
            f"Ellipsoids in {z.shape[1]} dimensions need more than {2 * z.shape[1]} "
            f"draws; got {len(z)}."
        )
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    bounds = [_bound(part) for part in _split(generator, z)]
    return EllipsoidUnion(
        np.stack([centre for centre, _ in bounds]),
        inflation * np.stack([factor for _, factor in bounds]),
    )


def _bound(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ellipsoid of the draws' covariance that just contains them all."""
    covariance = np.atleast_2d(np.cov(z.T))
    ridge = 1e-10 * np.trace(covariance) / len(covariance)
    factor = np.linalg.cholesky(covariance + ridge * np.eye(len(covariance)))
    unit = EllipsoidUnion(z.mean(0)[None], factor[None])
    return z.mean(0), factor * math.sqrt(unit.distances(z).max())


def _log_size(z: np.ndarray) -> float:
    return float(np.log(np.diag(_bound(z)[1])).sum())


def _split(generator: np.random.Generator, z: np.ndarray) -> list[np.ndarray]:
    least = 20 * z.shape[1]
    white = np.linalg.solve(_bound(z)[1], (z - z.mean(0)).T).T
    best, halves = _log_size(z) + math.log(GAIN), None
    for _ in range(TRIES):
        _, label = kmeans2(white, 2, minit="++", rng=generator)
        pair = z[label == 0], z[label == 1]
        if min(map(len, pair)) < least:
            continue
        size = np.logaddexp(_log_size(pair[0]), _log_size(pair[1]))
        if size < best:
            best, halves = size, pair
    if halves is None:
        return [z]
    return [part for half in halves for part in _split(generator, half)]


@dataclass(frozen=True)
class _Envelope:
    """The Gaussian `mass * N(mean, factor factor^T)` that covers N(0, I) in a set."""

    tilt: float
    mean: np.ndarray
    factor: np.ndarray
    log_mass: float


def _envelope(centre: np.ndarray, factor: np.ndarray) -> _Envelope:
    """The lightest `N(z; 0, I) exp(tilt (1 - q(z)))` for an ellipsoid `q(z) <= 1`.

    Within the ellipsoid it is no lower than N(0, I) for any positive tilt, and it is
    Gaussian. Its log mass is convex in the tilt, so that its slope has one root. For a
    small ball in `dim` dimensions the set is hit by one draw in `sqrt(pi dim)`.
    """
    axes, radius, _ = np.linalg.svd(factor)
    steep, along = radius**-2.0, axes.T @ centre

    def slope(tilt: float) -> float:
        precision = 1 + 2 * tilt * steep
        return float(1 - (steep / precision * (1 + along**2 / precision)).sum())

    tilt = 0.0
    if slope(0.0) < 0:
        high = 1.0
        while slope(high) < 0:
            high *= 2
        tilt = float(brentq(slope, 0.0, high))  # type: ignore[arg-type]
    precision = 1 + 2 * tilt * steep
    shrink = tilt * steep * along / precision
    log_mass = tilt - (0.5 * np.log(precision) + shrink * along).sum()
    return _Envelope(
        tilt, axes @ (2 * shrink), axes / np.sqrt(precision), float(log_mass)
    )


@dataclass(frozen=True)
class TruncatedPrior(PriorPart):
    """N(0, I) within a union of ellipsoids and within another part of the prior.

    Attributes:
        union: The ellipsoids.
        outer: The part that they narrow.
        envelopes: One for each ellipsoid.
    """

    union: EllipsoidUnion
    outer: PriorPart
    envelopes: tuple[_Envelope, ...]

    def accepts(self, z: Float[np.ndarray, "draw dim"]) -> Bool[np.ndarray, " draw"]:
        """Which draws lie in the union and in the outer part."""
        inside = self.union.contains(z)
        inside[inside] = self.outer.accepts(z[inside])
        return inside

    def propose(
        self, generator: np.random.Generator, number: int
    ) -> tuple[Float[np.ndarray, "number dim"], Float[np.ndarray, " number"]]:
        """Draws from the envelopes.

        One that n ellipsoids contain is proposed from n envelopes, and is accepted
        n times less often.
        """
        log_mass = np.array([each.log_mass for each in self.envelopes])
        share = np.exp(log_mass - np.logaddexp.reduce(log_mass))
        origin = generator.choice(len(share), number, p=share)
        normal = generator.standard_normal((number, self.union.centre.shape[1]))
        mean = np.stack([each.mean for each in self.envelopes])
        factor = np.stack([each.factor for each in self.envelopes])
        z = mean[origin] + np.einsum("nij,nj->ni", factor[origin], normal)
        distance = self.union.distances(z)
        tilt = np.array([each.tilt for each in self.envelopes])[origin]
        own = distance[origin, np.arange(number)]
        inside = own <= 1
        inside[inside] = self.outer.accepts(z[inside])
        multiplicity = np.maximum((distance <= 1).sum(0), 1)
        log_accept = -tilt * (1 - own) - np.log(multiplicity)
        return z, np.where(inside, log_accept, -np.inf)


def truncate(
    key: Key[Array, ""], union: EllipsoidUnion, outer: PriorPart
) -> TruncatedPrior:
    """The prior within a union of ellipsoids and within an outer part, and its volume.

    Args:
        key: Random key of the draws that measure the volume.
        union: The ellipsoids.
        outer: The part of the prior to narrow.

    Raises:
        ValueError: If the ellipsoids and the outer part have next to nothing in common.
    """
    pairs = zip(union.centre, union.factor, strict=True)
    envelopes = tuple(_envelope(centre, factor) for centre, factor in pairs)
    part = TruncatedPrior(union, outer, envelopes)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    _, log_accept = part.propose(generator, CANDIDATES)
    if np.isfinite(log_accept).sum() < 10:
        raise ValueError(
            f"Of {CANDIDATES} draws near the ellipsoids, only "
            f"{np.isfinite(log_accept).sum()} lie in them and in the part of the prior "
            "around them. Were they fitted to draws from another posterior?"
        )
    log_share, error = log_evidence(log_accept)
    log_mass = float(np.logaddexp.reduce([each.log_mass for each in envelopes]))
    return replace(
        part,
        acceptance=math.exp(log_share),
        log_volume=log_share + log_mass,
        log_volume_error=error,
    )
