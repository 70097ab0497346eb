"""Additive components: sources of photons, integrated over each energy bin."""

from typing import ClassVar

import jax.numpy as jnp
from jax.scipy.special import erf, erfc
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.component import (
    Component,
    Scalar,
    SpectralModel,
    normalisation,
    parameter,
)
from jsbi.model.integrate import exprel, integrate, integrate_log


class PowerLaw(Component, SpectralModel):
    """`norm * E**-photon_index` [photons / cm^2 / s / keV], E in keV.

    Integrated exactly, in a form without cancellation at any index.

    Source: XSPEC manual, `powerlaw`.
    """

    xspec_name: ClassVar[str] = "powerlaw"
    photon_index: Scalar = parameter("PhoIndex", 1.0, (-3.0, 10.0))
    norm: Scalar = normalisation("photons / keV / cm^2 / s at 1 keV")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        slope, step = 1 - self.photon_index, grid.log_ratio
        return self.norm * grid.low**slope * step * exprel(slope * step)


class CutoffPowerLaw(Component, SpectralModel):
    """`norm * E**-photon_index * exp(-E / cutoff)` [photons / cm^2 / s / keV].

    Integrated by quadrature in ln E to better than 1e-6; XSPEC's incomplete gamma
    function is off by up to 3e-4 per bin.

    Source: XSPEC manual, `cutoffpl`.
    """

    xspec_name: ClassVar[str] = "cutoffpl"
    photon_index: Scalar = parameter("PhoIndex", 1.0, (-3.0, 10.0))
    cutoff: Scalar = parameter("HighECut", 15.0, (0.01, 500.0), "keV")
    norm: Scalar = normalisation("photons / keV / cm^2 / s at 1 keV")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        slope = 1 - self.photon_index
        return self.norm * integrate_log(
            lambda energy: energy**slope * jnp.exp(-energy / self.cutoff), grid
        )


def _planck(x: Float[Array, " bin"]) -> Float[Array, " bin"]:
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
        flux = integrate(lambda energy: _planck(energy / self.kT), grid)
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
        flux = integrate(lambda energy: _planck(energy / self.kT), grid)
        return self.norm * 1.0344e-3 * self.kT**2 * flux


# Gamma(8/3) zeta(8/3), the integral of u^(5/3) / (e^u - 1) over all u.
_BOSE_TOTAL = 1.9321616090892395
# Bernoulli numbers B_k / k!: the Taylor series of u / (e^u - 1).
_BERNOULLI = {
    0: 1.0,
    1: -1 / 2,
    2: 1 / 12,
    4: -1 / 720,
    6: 1 / 30240,
    8: -1 / 1209600,
    10: 1 / 47900160,
    12: -691 / 1307674368000,
}
# Least squares at Chebyshev nodes, in t = 10 / (x + 3) - 1 for x > 2.
_BOSE_TAIL = (
    1.2603613,
    0.4063935,
    0.2347671,
    0.1501566,
    0.09018,
    0.0279913,
    -0.0003021,
    0.0086052,
    0.0105073,
    0.0017214,
    -0.0006416,
)


def _disk_shape(x: Float[Array, " bin"]) -> Float[Array, " bin"]:
    """The integral of u^(5/3) / (e^u - 1) from x to infinity, times x^(-2/3).

    The shape of a disk whose temperature falls as radius^(-3/4), as a function of
    x = E / Tin: a Taylor series below 2, a polynomial times the exponential above; both
    good to 3e-6.
    """
    small = jnp.where(x < 2, x, 1.0)
    series = sum(
        factor * small**power / (power + 5 / 3) for power, factor in _BERNOULLI.items()
    )
    below = _BOSE_TOTAL * small ** (-2 / 3) - small * series
    large = jnp.where(x < 2, 2.0, x)
    above = (
        large
        * jnp.exp(-large)
        * jnp.polyval(jnp.asarray(_BOSE_TAIL[::-1], x.dtype), 10 / (large + 3) - 1)
    )
    return jnp.where(x < 2, below, above)


class DiskBlackBody(Component, SpectralModel):
    """Multi-temperature disk, T proportional to radius^(-3/4), after `diskbb`.

    `norm * K * Tin^2 * x^(-2/3) * integral_x^inf u^(5/3) / (e^u - 1) du` with
    x = E / Tin [photons / cm^2 / s / keV]. K follows XSPEC's normalisation, which lies
    0.424 % above (8/3) 1.0344e-3; the spectral shape differs from XSPEC's table by less
    than 1e-4.

    Source: Mitsuda et al. (1984), PASJ 36, 741; XSPEC manual, `diskbb`.
    """

    xspec_name: ClassVar[str] = "diskbb"
    Tin: Scalar = parameter("Tin", 1.0, (1e-4, 1000.0), "keV")
    norm: Scalar = normalisation(
        "(inner radius / km)^2 / (distance / 10 kpc)^2 * cos(angle)"
    )

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        flux = integrate(lambda energy: _disk_shape(energy / self.Tin), grid)
        return self.norm * (1.00424 * 8 / 3 * 1.0344e-3) * self.Tin**2 * flux


class Gaussian(Component, SpectralModel):
    """A Gaussian line holding `norm` photons / cm^2 / s, not renormalised at E < 0.

    Bins much narrower than the line are integrated by quadrature, others by error
    functions taken on the side where they are small. With `sigma` zero all photons
    are in the bin that holds the energy.

    Source: XSPEC manual, `gaussian`.
    """

    xspec_name: ClassVar[str] = "gaussian"
    energy: Scalar = parameter("LineE", 6.5, (0.0, 1e6), "keV")
    sigma: Scalar = parameter("Sigma", 0.1, (0.0, 20.0), "keV")
    norm: Scalar = normalisation("photons / cm^2 / s")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        narrow = self.sigma <= 1e-6 * jnp.maximum(self.energy, grid.low[0])
        sigma = jnp.where(narrow, 1.0, self.sigma)
        scale = 1 / (jnp.sqrt(2.0) * sigma)
        low, high = (grid.low - self.energy) * scale, (grid.high - self.energy) * scale
        # On the far side of the line both error functions are close to 1.
        near, far = (
            jnp.minimum(jnp.abs(low), jnp.abs(high)),
            jnp.maximum(jnp.abs(low), jnp.abs(high)),
        )
        straddles = (low < 0) & (high > 0)
        coarse = 0.5 * jnp.where(
            straddles, erf(high) - erf(low), erfc(near) - erfc(far)
        )
        height = scale / jnp.sqrt(jnp.pi)
        fine = height * integrate(
            lambda energy: jnp.exp(-(((energy - self.energy) * scale) ** 2)), grid
        )
        smooth = jnp.where(grid.width * scale < 0.5, fine, coarse)
        inside = (grid.low < self.energy) & (self.energy <= grid.high)
        return self.norm * jnp.where(narrow, inside.astype(smooth.dtype), smooth)
