"""Absorption edges."""

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
from jsbi.model.multiplicative.bins import fraction_below, mean


class Edge(Component, Multiplicative):
    """`exp(-depth (E / energy)**-3)` above an energy, 1 below.

    The average over each bin by quadrature, of the parts below and above the edge in
    proportion to their length. XSPEC takes the mean of both edges of a bin, which on
    bins of 0.24 % differs by up to 1e-4. An energy of 0 means no edge.

    Source: XSPEC manual, `edge`.
    """

    xspec_name: ClassVar[str] = "edge"
    energy: Scalar = parameter("edgeE", 7.0, (0.0, 100.0), "keV")
    depth: Scalar = parameter("MaxTau", 1.0, (0.0, 10.0))

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        below = fraction_below(grid, self.energy)

        def passing(energy: Float[Array, " bin"]) -> Float[Array, " bin"]:
            return jnp.exp(-self.depth * jnp.minimum(self.energy / energy, 1.0) ** 3)

        return below + (1 - below) * mean(passing, grid, start=below)


class RedshiftedEdge(Component, Multiplicative):
    """The factor of `edge` at `E (1 + z)`, averaged over the bin as there.

    Source: XSPEC manual, `zedge`.
    """

    xspec_name: ClassVar[str] = "zedge"
    energy: Scalar = parameter("edgeE", 7.0, (0.0, 100.0), "keV")
    depth: Scalar = parameter("MaxTau", 1.0, (0.0, 10.0))
    redshift: Scalar = redshift()

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        return Edge(self.energy, self.depth)(grid.shifted(self.redshift))


class SmearedEdge(Component, Multiplicative):
    """`exp(-depth x**index (1 - exp((energy - E) / width)))`, x = E / energy; 1 below.

    The average over each bin by quadrature, for bins up to a few widths, of the parts
    below and above the edge in proportion to their length. XSPEC takes the mean of both
    edges of a bin, which on bins of 0.24 % differs by up to 1e-5 at the edge.

    Source: Ebisawa et al. (1994), PASJ 46, 375; XSPEC manual, `smedge`.
    """

    xspec_name: ClassVar[str] = "smedge"
    energy: Scalar = parameter("edgeE", 7.0, (0.1, 100.0), "keV")
    depth: Scalar = parameter("MaxTau", 1.0, (0.0, 10.0))
    index: Scalar = parameter("index", -2.67, (-10.0, 10.0), frozen=True)
    width: Scalar = parameter("width", 10.0, (0.01, 100.0), "keV")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        below = fraction_below(grid, self.energy)

        def passing(energy: Float[Array, " bin"]) -> Float[Array, " bin"]:
            excess = jnp.maximum(energy - self.energy, 0.0)
            # Far below e^60 nothing passes; float32 ends at e^88.
            decay = self.index * jnp.log1p(excess / self.energy)
            smeared = -jnp.expm1(-excess / self.width)
            return jnp.exp(-self.depth * jnp.exp(jnp.minimum(decay, 60.0)) * smeared)

        return below + (1 - below) * mean(passing, grid, start=below)
