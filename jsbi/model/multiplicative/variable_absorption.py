"""Absorbers whose composition or grains are parameters."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.component import Scalar, parameter, redshift
from jsbi.model.integrate import exprel
from jsbi.model.multiplicative.absorption import (
    Absorber,
    Parts,
    abundance_table,
    choice_of_cross_sections,
    column_density,
    mean_cross_section,
)
from jsbi.model.photoelectric import (
    ATOMIC_MASS_UNIT,
    ELEMENTS,
    GAS_FRACTION,
    GRAIN_DENSITY,
    GRAIN_RADII,
    MOLECULAR_FRACTION,
    dust_masses,
    kind_of_atoms,
    read_abundances,
)

NODES, WEIGHTS = (
    0.5 * (values + shift)
    for values, shift in zip(
        np.polynomial.legendre.leggauss(16), (1.0, 0.0), strict=True
    )
)
# Grains of different sizes span no more than so many e-folds, which tells the smallest
# from none at all; and those that shade, so many: 1e-7 of their mass is in the others.
MOST_FOLDS, FOLDS_THAT_SHADE = 40.0, 16.0
# Optical depth of a grain per micron, density and cross section per mass in atomic
# mass units: the mean path through a sphere is 4/3 of its radius.
PER_MICRON = 4 / 3 * 1e-22 / ATOMIC_MASS_UNIT * 1e-4
SMALLEST_RADIUS, LARGEST_RADIUS = (1e4 * GRAIN_RADII).tolist()  # [um]
OXYGEN_GAS, IRON_GAS = (
    float(GAS_FRACTION[ELEMENTS.index(element)]) for element in ("O", "Fe")
)


def mean_transparency(
    opacity: Float[Array, " energy"], radii: tuple[Scalar, Scalar], slope: Scalar
) -> Float[Array, " energy"]:
    """Cross section of grains of many sizes relative to that of their atoms alone.

    A grain of optical depth x absorbs (1 - e^-x) / x of what its atoms would. With
    radii `a` distributed as a^-slope, this is averaged over the mass, a^(3 - slope) da.
    Where it differs from 1, it is integrated in ln a.

    Args:
        opacity: Optical depth of a grain of 1 micron.
        radii: The smallest and the largest radius [um], in any order.
        slope: Of the distribution of radii, at most 5.
    """
    largest = jnp.maximum(jnp.maximum(*radii), 1e-12)
    smallest = jnp.maximum(jnp.minimum(*radii), largest * np.exp(-MOST_FOLDS).item())
    # Two logarithms, since the derivative of a ratio holds the square of the smallest.
    folds = jnp.log(largest) - jnp.log(smallest)
    power = jnp.maximum(4 - slope, -1.0)
    shading = jnp.minimum(folds, FOLDS_THAT_SHADE / jnp.maximum(power + 1, 1.0))
    part = jnp.where(shading < folds, shading / jnp.where(folds > 0, folds, 1.0), 1.0)
    missing = jnp.zeros_like(opacity)
    for node, weight in zip(NODES.tolist(), WEIGHTS.tolist(), strict=True):
        depth = opacity * largest * jnp.exp(-node * shading)
        mass = weight * jnp.exp(-node * shading * power)
        missing += mass * (1 - exprel(-depth))
    return 1 - missing * part / exprel(-power * folds)


def _interstellar(
    parts: Parts,
    masses: tuple[float, float, float],
    weights: tuple[Scalar | float, Scalar | float],
    molecular: Scalar | float,
    grains: tuple[Scalar, tuple[Scalar, Scalar], Scalar],
) -> Float[Array, " energy"]:
    """Cross section per hydrogen atom of gas, molecules and grains [1e-22 cm^2].

    Args:
        parts: As `jsbi.model.photoelectric.tbabs_parts` gives them [1e-22 cm^2].
        masses: As `jsbi.model.photoelectric.dust_masses` gives them.
        weights: Abundances of oxygen and iron relative to the table.
        molecular: Part of the hydrogen atoms that is bound in molecules.
        grains: Their density [g / cm^3], radii [um] and slope.
    """
    atoms, molecules, gas, oxygen, iron, dust = parts
    oxygen, iron = weights[0] * oxygen, weights[1] * iron
    gas = gas + (1 - molecular) * atoms + molecular * molecules
    gas = gas + OXYGEN_GAS * oxygen + IRON_GAS * iron
    dust = dust + (1 - OXYGEN_GAS) * oxygen + (1 - IRON_GAS) * iron
    mass = masses[0] + weights[0] * masses[1] + weights[1] * masses[2]
    density, radii, slope = grains
    opacity = PER_MICRON * density * dust / mass
    return gas + dust * mean_transparency(opacity, radii, slope)


def _any_abundance(element: str) -> Any:
    return parameter(element, 1.0, (0.0, 1000.0), frozen=True)


class TBfeo(Absorber):
    """`TBabs` at a redshift, with the abundances of oxygen and iron.

    They are relative to the table, and the same for gas and grains. XSPEC's hard limits
    allow any, even negative; here they are from 0 to 1000. They also allow a redshift
    of -1, which leaves no energy.

    Source: Wilms, Allen & McCray (2000), ApJ 542, 914; XSPEC manual, `TBfeo`.
    """

    nH: Scalar = column_density()
    O: Scalar = _any_abundance("O")  # noqa: E741
    Fe: Scalar = _any_abundance("Fe")
    redshift: Scalar = redshift()
    abundances: str = abundance_table()
    xspec_name: ClassVar[str] = "TBfeo"

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        edges = grid.shifted(self.redshift).edges
        masses = dust_masses(read_abundances(self.abundances))
        scalars = (GRAIN_DENSITY, SMALLEST_RADIUS, LARGEST_RADIUS, 3.5)
        density, small, large, slope = jnp.asarray(scalars, grid.edges.dtype)
        grains = density, (small, large), slope

        def total(parts: Parts) -> Float[Array, " energy"]:
            weights = self.O, self.Fe
            return _interstellar(parts, masses, weights, MOLECULAR_FRACTION, grains)

        sigma = mean_cross_section("TBgrain", self.abundances, edges, total)
        return jnp.exp(-self.nH * sigma)


class TBgrain(Absorber):
    """`TBabs` with the molecules and the grains as parameters.

    `h2` is the part of the hydrogen atoms that is bound in molecules; grains have the
    density `rho` and radii a from `amin` to `amax` distributed as a^-PL. How grains
    shade their inside is averaged over their sizes by quadrature, for every slope: to
    1e-6 where the largest is ten times the smallest, 3e-5 where it is a million times.
    XSPEC 12.9.1 gives NaN at a slope of 3 and stops at 4. Radii in the wrong order are
    taken in the right one.

    Source: Wilms, Allen & McCray (2000), ApJ 542, 914; XSPEC manual, `TBgrain`.
    """

    nH: Scalar = column_density()
    h2: Scalar = parameter("h2", 0.2, (0.0, 1.0), frozen=True)
    rho: Scalar = parameter("rho", 1.0, (0.0, 5.0), "g / cm^3", frozen=True)
    amin: Scalar = parameter("amin", 0.025, (0.0, 0.25), "um", frozen=True)
    amax: Scalar = parameter("amax", 0.25, (0.0, 1.0), "um", frozen=True)
    PL: Scalar = parameter("PL", 3.5, (0.0, 5.0), frozen=True)
    abundances: str = abundance_table()
    xspec_name: ClassVar[str] = "TBgrain"

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        masses = dust_masses(read_abundances(self.abundances))
        grains = self.rho, (self.amin, self.amax), self.PL

        def total(parts: Parts) -> Float[Array, " energy"]:
            return _interstellar(parts, masses, (1.0, 1.0), self.h2, grains)

        sigma = mean_cross_section("TBgrain", self.abundances, grid.edges, total)
        return jnp.exp(-self.nH * sigma)


class VariablePhabs(Absorber):
    """`phabs` with the abundance of each element relative to the table.

    Source: as `Phabs`; XSPEC manual, `vphabs`.
    """

    nH: Scalar = column_density()
    He: Scalar = _any_abundance("He")
    C: Scalar = _any_abundance("C")
    N: Scalar = _any_abundance("N")
    O: Scalar = _any_abundance("O")  # noqa: E741
    Ne: Scalar = _any_abundance("Ne")
    Na: Scalar = _any_abundance("Na")
    Mg: Scalar = _any_abundance("Mg")
    Al: Scalar = _any_abundance("Al")
    Si: Scalar = _any_abundance("Si")
    S: Scalar = _any_abundance("S")
    Cl: Scalar = _any_abundance("Cl")
    Ar: Scalar = _any_abundance("Ar")
    Ca: Scalar = _any_abundance("Ca")
    Cr: Scalar = _any_abundance("Cr")
    Fe: Scalar = _any_abundance("Fe")
    Co: Scalar = _any_abundance("Co")
    Ni: Scalar = _any_abundance("Ni")
    abundances: str = abundance_table()
    cross_sections: str = choice_of_cross_sections()
    xspec_name: ClassVar[str] = "vphabs"

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        weights = jnp.stack([getattr(self, element) for element in ELEMENTS[1:]])

        def total(parts: Parts) -> Float[Array, " energy"]:
            highest = jax.lax.Precision.HIGHEST
            return parts[0] + jnp.matmul(weights, parts[1:], precision=highest)

        kind = kind_of_atoms("vphabs", self.cross_sections)
        sigma = mean_cross_section(kind, self.abundances, grid.edges, total)
        return jnp.exp(-self.nH * sigma)
