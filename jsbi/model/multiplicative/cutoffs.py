"""Exponential cutoffs at high and low energies."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.component import (
    Component,
    Multiplicative,
    Scalar,
    parameter,
    redshift,
)
from jsbi.model.integrate import exprel
from jsbi.model.multiplicative.bins import fraction_below, mean


class HighEnergyCutoff(Component, Multiplicative):
    """`exp((cutoff - E) / fold)` above the cutoff, 1 below.

    The exact average over each bin; the bin of the cutoff is split. XSPEC takes the
    mean of both edges of a bin, and `exp(-0.001 / fold)` instead of 1 below the cutoff
    and within 1 eV above it.

    Source: XSPEC manual, `highecut`.
    """

    xspec_name: ClassVar[str] = "highecut"
    cutoff: Scalar = parameter("cutoffE", 10.0, (1e-4, 1e6), "keV")
    fold: Scalar = parameter("foldE", 15.0, (1e-4, 1e6), "keV")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The factor of each bin."""
        below = fraction_below(grid, self.cutoff)
        above = 1 - below
        excess = jnp.maximum(grid.low - self.cutoff, 0.0)  # where the decay begins
        decay = jnp.exp(-excess / self.fold) * exprel(-above * grid.width / self.fold)
        return below + above * decay


class RedshiftedHighEnergyCutoff(Component, Multiplicative):
    """The factor of `highecut` at `E (1 + z)`, averaged over the bin as there.

    Source: XSPEC manual, `zhighect`.
    """

    xspec_name: ClassVar[str] = "zhighect"
    cutoff: Scalar = parameter("cutoffE", 10.0, (1e-4, 200.0), "keV")
    fold: Scalar = parameter("foldE", 15.0, (1e-4, 200.0), "keV")
    redshift: Scalar = redshift()

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The factor of each bin."""
        at_rest = HighEnergyCutoff(self.cutoff, self.fold)
        return at_rest(grid.shifted(self.redshift))


class LowEnergyCutoff(Component, Multiplicative):
    """`exp(-cutoff / E)`.

    The average over each bin by quadrature. XSPEC takes the mean of both edges of a
    bin, which on bins of 0.24 % differs by 5e-7 `(cutoff / E)**2`.

    Source: XSPEC manual, `expabs`.
    """

    xspec_name: ClassVar[str] = "expabs"
    cutoff: Scalar = parameter("LowECut", 2.0, (0.0, 200.0), "keV")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The factor of each bin."""
        return mean(lambda energy: jnp.exp(-self.cutoff / energy), grid)
