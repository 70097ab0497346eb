"""Disks that radiate as black bodies of many temperatures."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.additive.curve import (
    chebyshev_fit,
    chebyshev_points,
    chebyshev_value,
)
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
_LAGUERRE = np.polynomial.laguerre.laggauss(10)
_TAIL_POINTS = 13
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


def disk_tail(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`disk_shape` times e^x, from 2 on."""
    return x * jnp.polyval(jnp.asarray(_BOSE_TAIL[::-1], x.dtype), 10 / (x + 3) - 1)


def disk_shape(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
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
    return jnp.where(x < 2, below, jnp.exp(-large) * disk_tail(large))


class DiskBlackBody(Component, SpectralModel):
    """Multi-temperature disk, T proportional to radius^(-3/4), after `diskbb`.

    `norm * K * Tin^2 * x^(-2/3) * integral_x^inf u^(5/3) / (e^u - 1) du` with
    x = E / Tin [photons / cm^2 / s / keV]. K follows XSPEC's normalisation, which lies
    0.424 % above (8/3) 1.0344e-3; the spectral shape differs from XSPEC's table by less
    than 1e-4. XSPEC also allows a `Tin` of 0, which gives no photons and no x.

    Source: Mitsuda et al. (1984), PASJ 36, 741; XSPEC manual, `diskbb`.
    """

    xspec_name: ClassVar[str] = "diskbb"
    Tin: Scalar = parameter("Tin", 1.0, (1e-4, 1000.0), "keV")
    norm: Scalar = normalisation(
        "(inner radius / km)^2 / (distance / 10 kpc)^2 * cos(angle)"
    )

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        flux = integrate(lambda energy: disk_shape(energy / self.Tin), grid)
        return self.norm * (1.00424 * 8 / 3 * 1.0344e-3) * self.Tin**2 * flux


def _bose_series(x: Float[Array, "*shape"], power: Scalar) -> Float[Array, "*shape"]:
    """The integral of u^power / (e^u - 1) from 0 to x, over x^power; below 2."""
    terms = [
        factor * x**order / (power + order) for order, factor in _BERNOULLI.items()
    ]
    return sum(terms[1:], terms[0])


def _bose_tail(x: Float[Array, " point"], power: Scalar) -> Float[Array, " point"]:
    """The integral of u^power / (e^u - 1) from x to infinity, over x^power e^-x.

    Gauss-Laguerre quadrature, good to 1e-7 from 2 on.
    """
    shift, weight = (jnp.asarray(part, x.dtype) for part in _LAGUERRE)
    at = x[:, None] + shift[None, :]
    return ((at / x[:, None]) ** power / -jnp.expm1(-at)) @ weight


class DiskPowerLaw(Component, SpectralModel):
    """Multi-temperature disk, T proportional to radius^-p, after `diskpbb`.

    `norm * 2.78e-3 (0.75 / p) Tin^2 x^(2 - 2/p) integral_x^inf u^(2/p - 1) / (e^u - 1)
    du` with x = E / Tin [photons / cm^2 / s / keV]: a Taylor series below 2, above it a
    polynomial in 1 / (x + 3) times the exponential; both good to 1e-6. XSPEC sums over
    rings in equal steps of temperature and is off by up to 1.4 % just above 0.2 Tin.

    Source: Mineshige et al. (1994), ApJ 426, 308; XSPEC manual, `diskpbb`.
    """

    xspec_name: ClassVar[str] = "diskpbb"
    Tin: Scalar = parameter("Tin", 1.0, (0.1, 10.0), "keV")
    p: Scalar = parameter("p", 0.75, (0.5, 1.0))
    norm: Scalar = normalisation(
        "(inner radius / km)^2 / (distance / 10 kpc)^2 * cos(angle)"
    )

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        power = 2 / self.p - 1
        points = jnp.asarray(chebyshev_points(_TAIL_POINTS), power.dtype)
        tail = chebyshev_fit(_bose_tail(10 / (1 + points) - 3, power))
        two = jnp.full_like(power, 2.0)
        # e^-2 and the tail at 2, where the polynomial ends.
        total = 2**power * (
            _bose_series(two, power) + 0.1353352832 * chebyshev_value(tail, two / 2)
        )

        def density(energy: Float[Array, " bin"]) -> Float[Array, " bin"]:
            x = energy / self.Tin
            small, large = jnp.minimum(x, 2.0), jnp.maximum(x, 2.0)
            below = total * small ** (1 - power) - small * _bose_series(small, power)
            place = 10 / (large + 3) - 1
            above = large * jnp.exp(-large) * chebyshev_value(tail, place)
            return jnp.where(x < 2, below, above)

        scale = self.norm * 2.78e-3 * 0.75 / self.p * self.Tin**2
        return scale * integrate(density, grid)
