"""Thermal bremsstrahlung of hydrogen and helium."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.additive.gaunt import gaunt_factor, gaunt_over_born
from jsbi.model.component import (
    Component,
    Scalar,
    SpectralModel,
    normalisation,
    parameter,
    redshift,
)
from jsbi.model.integrate import integrate

_NORM = "3.02e-15 / (4 pi distance^2) * integral of n_e n_H dV [cm]"


class VariableBremsstrahlung(Component, SpectralModel):
    """Thermal bremsstrahlung with a free ratio of helium to hydrogen, by number.

    `norm * (g_1 + 4 ratio g_2) * exp(-E / kT) / (E sqrt(kT))`
    [photons / cm^2 / s / keV], with the Gaunt factors of charge 1 and 2: the Born
    approximation while kT > 13.58 Z^2 keV, the polynomials of Kellogg, Baldwin & Koch
    above 0.1358 Z^2 keV, else the table of Kurucz. They jump at these temperatures, as
    those of XSPEC.

    Integrated over the bin, where XSPEC takes the trapezoid of its edges. The table is
    joined by straight lines in the logarithms, as by XSPEC; its steps are coarse. The
    Gaunt factors are smooth in energy: they differ from the polynomials of XSPEC, which
    jump, by less than 0.35 %. There is no end at 50 kT.

    Source: Kellogg, Baldwin & Koch (1975), ApJ 199, 299; Karzas & Latter (1961),
    ApJS 6, 167; XSPEC manual, `vbremss`.
    """

    xspec_name: ClassVar[str] = "vbremss"
    kT: Scalar = parameter("kT", 3.0, (1e-4, 200.0), "keV")
    helium: Scalar = parameter("HeovrH", 1.0, (0.0, 100.0))
    norm: Scalar = normalisation(_NORM)

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        ratio = gaunt_over_born(self.kT, 1)
        ratio = ratio + 4 * self.helium * gaunt_over_born(self.kT, 2)

        def density(energy: Float[Array, " bin"]) -> Float[Array, " bin"]:
            reduced = energy / self.kT
            return gaunt_factor(ratio, reduced) * jnp.exp(-reduced) / energy

        return self.norm / jnp.sqrt(self.kT) * integrate(density, grid)


class Bremsstrahlung(Component, SpectralModel):
    """Thermal bremsstrahlung: `vbremss` with 0.085 helium per hydrogen.

    Source: XSPEC manual, `bremss`.
    """

    xspec_name: ClassVar[str] = "bremss"
    kT: Scalar = parameter("kT", 7.0, (1e-4, 200.0), "keV")
    norm: Scalar = normalisation(_NORM)

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        helium = jnp.asarray(0.085, self.kT.dtype)
        return VariableBremsstrahlung(self.kT, helium, self.norm)(grid)


class RedshiftedBremsstrahlung(Component, SpectralModel):
    """The photons of `bremss` at `E (1 + z)`, divided by `1 + z`.

    Source: XSPEC manual, `zbremss`.
    """

    xspec_name: ClassVar[str] = "zbremss"
    kT: Scalar = parameter("kT", 7.0, (1e-4, 200.0), "keV")
    redshift: Scalar = redshift()
    norm: Scalar = normalisation(_NORM)

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        at_rest = Bremsstrahlung(self.kT, self.norm)(grid.shifted(self.redshift))
        return at_rest / (1 + self.redshift)
