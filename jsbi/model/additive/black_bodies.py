"""Black bodies of one temperature."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.component import (
    Component,
    Scalar,
    SpectralModel,
    normalisation,
    parameter,
    redshift,
)
from jsbi.model.integrate import integrate


def planck(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x^2 / (e^x - 1), without overflow in the value or the gradient."""
    return x**2 * jnp.exp(-x) / -jnp.expm1(-x)


class BlackBody(Component, SpectralModel):
    """`8.0525 norm E^2 / (kT^4 (exp(E / kT) - 1))` [photons / cm^2 / s / keV].

    Integrated over the bin, where XSPEC takes the trapezoid of its edges (up to 6e-4
    apart on bins of 0.24 %).

    Source: XSPEC manual, `bbody`.
    """

    xspec_name: ClassVar[str] = "bbody"
    kT: Scalar = parameter("kT", 3.0, (1e-4, 200.0), "keV")
    norm: Scalar = normalisation("1e39 erg / s / (10 kpc)^2")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        flux = integrate(lambda energy: planck(energy / self.kT), grid)
        return self.norm * 8.0525 / self.kT**2 * flux


class BlackBodyRad(Component, SpectralModel):
    """`1.0344e-3 norm E^2 / (exp(E / kT) - 1)` [photons / cm^2 / s / keV].

    Integrated over the bin, where XSPEC takes the trapezoid of its edges (up to 6e-4
    apart on bins of 0.24 %).

    Source: XSPEC manual, `bbodyrad`.
    """

    xspec_name: ClassVar[str] = "bbodyrad"
    kT: Scalar = parameter("kT", 3.0, (1e-4, 200.0), "keV")
    norm: Scalar = normalisation("(radius / km)^2 / (distance / 10 kpc)^2")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        flux = integrate(lambda energy: planck(energy / self.kT), grid)
        return self.norm * 1.0344e-3 * self.kT**2 * flux


class RedshiftedBlackBody(Component, SpectralModel):
    """The photons of `bbody` at `E (1 + z)`, divided by `1 + z`.

    Integrated over the bin, where XSPEC takes the trapezoid of its edges (up to 6e-4
    apart on bins of 0.24 %).

    Source: XSPEC manual, `zbbody`.
    """

    xspec_name: ClassVar[str] = "zbbody"
    kT: Scalar = parameter("kT", 3.0, (1e-4, 200.0), "keV")
    redshift: Scalar = redshift()
    norm: Scalar = normalisation("1e39 erg / s / (10 kpc (1 + z))^2")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        at_rest = BlackBody(self.kT, self.norm)(grid.shifted(self.redshift))
        return at_rest / (1 + self.redshift)
