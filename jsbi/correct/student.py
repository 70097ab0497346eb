"""Mixtures of multivariate Student-t distributions, on the host."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

DEGREES = 4.0  # of freedom of the components, at least: heavy enough to be safe


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

    @property
    def degrees(self) -> float:
        """Degrees of freedom of every component.

        They grow with the dimension: with few, most draws in many dimensions lie too
        far out. No posterior in z has tails heavier than the normal prior's.
        """
        return max(DEGREES, float(self.location.shape[1]))

    def distances(
        self, z: Float[np.ndarray, "draw dim"]
    ) -> Float[np.ndarray, "component draw"]:
        """Squared distance of each draw from each location, in units of the scale."""
        return np.stack(
            [
                (whiten(z, location, factor) ** 2).sum(0)
                for location, factor in zip(self.location, self.factor, strict=True)
            ]
        )

    def log_components(
        self, z: Float[np.ndarray, "draw dim"]
    ) -> Float[np.ndarray, "component draw"]:
        """Log of share times density of each component."""
        return self.log_components_at(self.distances(z))

    def log_components_at(
        self, distances: Float[np.ndarray, "component draw"]
    ) -> Float[np.ndarray, "component draw"]:
        """The same from the squared distances of the draws."""
        dim, degrees = self.location.shape[1], self.degrees
        log_det = np.log(np.diagonal(self.factor, axis1=1, axis2=2)).sum(1)
        constant = (
            gammaln((degrees + dim) / 2)
            - gammaln(degrees / 2)
            - dim / 2 * math.log(degrees * math.pi)
        )
        tail = -(degrees + dim) / 2 * np.log1p(distances / degrees)
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
        stretch = np.sqrt(self.degrees / generator.chisquare(self.degrees, number))
        steps = np.einsum("nij,nj->ni", self.factor[rows], normal)
        return self.location[rows] + stretch[:, None] * steps


def join(*parts: tuple[float, StudentMixture]) -> StudentMixture:
    """One mixture of several with the given shares."""
    return StudentMixture(
        np.concatenate([share * part.share for share, part in parts]),
        np.concatenate([part.location for _, part in parts]),
        np.concatenate([part.factor for _, part in parts]),
    )


def whiten(
    z: Float[np.ndarray, "draw dim"],
    centre: Float[np.ndarray, " dim"],
    factor: Float[np.ndarray, "dim dim"],
) -> Float[np.ndarray, "dim draw"]:
    """Deviations in units of the scale, [dim, draw].

    einsum, as in the fits of mixtures: threads of a BLAS library that waits for busy
    cores made products of this shape ten times slower.
    """
    apart = z.T - centre[:, None]
    return np.einsum("ij,jn->in", np.linalg.inv(factor), apart)
