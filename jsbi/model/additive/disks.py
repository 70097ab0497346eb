"""Disks that radiate as black bodies of many temperatures."""

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
)
from jsbi.model.integrate import integrate

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
