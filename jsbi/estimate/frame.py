"""The coordinates in which a flow sees the posterior of an observation."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jsbi.compress import Compressor
from jsbi.estimate.restrict import Region
from jsbi.simulate import Conditions, Simulator, fit_mode, under

CLOSEST = 3.0  # where guesses are cut off, in standard deviations of the prior
PASSES = 8


class Frame(eqx.Module):
    """Maps an observation to the Gaussian that whitens its posterior."""

    @abstractmethod
    def __call__(
        self, counts: Float[Array, " channel"], context: Float[Array, " context"]
    ) -> Region:
        """The Gaussian of one observation."""

    @abstractmethod
    def describe(self, region: Region) -> Float[Array, " feature"]:
        """What the flow should know of the Gaussian."""


class FixedFrame(Frame):
    """The same Gaussian for every observation.

    Attributes:
        region: The Gaussian.
    """

    region: Region

    def __call__(
        self, counts: Float[Array, " channel"], context: Float[Array, " context"]
    ) -> Region:
        """The Gaussian, whatever was observed."""
        return self.region

    def describe(self, region: Region) -> Float[Array, " feature"]:
        """Nothing: it never changes."""
        return jnp.zeros(0, region.centre.dtype)


class PointEstimate(eqx.Module):
    """A network that reads the parameters from counts and context.

    Attributes:
        compressor: Counts to summary.
        head: Summary and context to z.
    """

    compressor: Compressor
    head: eqx.nn.MLP

    def __call__(
        self, counts: Float[Array, " channel"], context: Float[Array, " context"]
    ) -> Float[Array, " dim"]:
        """The estimate of z."""
        return self.head(jnp.concatenate([self.compressor(counts), context]))


class ModeFrame(Frame):
    """Laplace's approximation: the best fit near a network's guess, and its curvature.

    Posteriors of a prior's faintest and brightest spectra differ in width by factors of
    hundreds. In these coordinates all of them are near N(0, I), and a flow has only
    their skewness to learn. It is part of the estimator: the density stays explicit,
    wherever the fit ends.

    Attributes:
        guess: Where to start.
        simulator: The model under no conditions.
        conditions: What contexts mean.
    """

    guess: PointEstimate
    simulator: Simulator
    conditions: Conditions

    def __call__(
        self, counts: Float[Array, " channel"], context: Float[Array, " context"]
    ) -> Region:
        """The Gaussian at the best fit."""
        start = jnp.clip(self.guess(counts, context), -CLOSEST, CLOSEST)
        simulator = under(self.simulator, self.conditions, context)
        fit = fit_mode(simulator, counts, start, most=PASSES, tolerance=1e-2)
        factor = inverse_factor(fit.hessian)
        # The prior, where the model has no value at the guess.
        found = jnp.isfinite(fit.z).all() & jnp.isfinite(factor).all()
        unit = jnp.eye(len(fit.z), dtype=fit.z.dtype)
        return Region(jnp.where(found, fit.z, 0.0), jnp.where(found, factor, unit))

    def describe(self, region: Region) -> Float[Array, " feature"]:
        """Place, widths and correlations."""
        rows, columns = np.tril_indices(len(region.centre), -1)
        width = jnp.linalg.norm(region.factor, axis=1)
        correlation = region.factor[rows, columns] / width[rows]
        return jnp.concatenate([region.centre, jnp.log(width), correlation])


def inverse_factor(matrix: Float[Array, "dim dim"]) -> Float[Array, "dim dim"]:
    """Lower Cholesky factor of the inverse, without forming it.

    With rows and columns reversed the factor is upper: M = U U^T, M^-1 = U^-T U^-1.
    """
    upper = jnp.linalg.cholesky(matrix[::-1, ::-1])[::-1, ::-1]
    unit = jnp.eye(len(matrix), dtype=matrix.dtype)
    return jax.scipy.linalg.solve_triangular(upper, unit, lower=False).T
