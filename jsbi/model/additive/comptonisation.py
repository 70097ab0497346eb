"""Comptonisation by thermal electrons, from analytic solutions of its equations."""

import math
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.additive.curve import chebyshev_fit, chebyshev_points, chebyshev_value
from jsbi.model.additive.gaunt import gaunt_factor, gaunt_over_born
from jsbi.model.component import (
    Component,
    Scalar,
    SpectralModel,
    normalisation,
    parameter,
    redshift,
)
from jsbi.model.constants import REST_ENERGY
from jsbi.model.integrate import integrate, integrate_log

Energies = Float[Array, "*shape"]

_SCATTERED_POINTS = 20
_SEED_POINTS = 32
_STEEPEST = 15.0  # spectral index of compST
_LARGEST = 40.0  # logarithm of its flux, for float32
# Escape from a disk and a sphere: Sunyaev & Titarchuk (1985), A&A 143, 374.
_DEPTHS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)
_DISK = (
    *(1.23, 0.84, 0.655, 0.45, 0.335, 0.234, 0.147),
    *(0.101, 0.0735, 0.0559, 0.0355, 0.0245, 0.013393, 0.00706),
)
_SPHERE = (
    *(2.97, 1.97, 1.60, 1.18, 0.925, 0.688, 0.462),
    *(0.334, 0.252, 0.197, 0.130, 0.092, 0.0522, 0.0278),
)


def _rational_map(
    scale: Scalar, points: int, dtype: jnp.dtype
) -> tuple[Float[Array, " point"], Callable[[Energies], Energies]]:
    """Chebyshev points on (0, infinity), and the way back to (-1, 1)."""
    place = jnp.asarray(chebyshev_points(points), dtype)
    return scale * (1 + place) / (1 - place), lambda x: (x - scale) / (x + scale)


def _scattered(index: Scalar) -> Callable[[Energies], Energies]:
    """Logarithm of the photons scattered up from x = 0, relative to those at x = 0.

    That is J(x) / J(0) with `J = integral_0^inf e^-t (x + t)^(index + 3)
    t^(index - 1) dt`, a confluent hypergeometric function. Integrated at 20 values of
    x with the singular part taken out; between them a polynomial in a rational function
    of x corrects the power law that holds at both ends, to 1e-6.
    """
    power = index + 3
    scale = jnp.exp((gammaln(2 * index + 3) - gammaln(index)) / power)
    x, place_of = _rational_map(scale, _SCATTERED_POINTS, index.dtype)
    # Double-exponential quadrature over t.
    step = np.linspace(-4.2, 5.3, 64)
    log_t = jnp.asarray(step - np.exp(-step), index.dtype)
    weight = jnp.asarray((step[1] - step[0]) * (1 + np.exp(-step)), index.dtype)
    t = jnp.exp(log_t)
    density = jnp.exp(index * log_t - t - gammaln(index)) * weight
    log_scale = jnp.log(x + scale)
    start = jnp.exp(power * (jnp.log(x) - log_scale))
    both = jnp.exp(power * (jnp.log(x[:, None] + t[None, :]) - log_scale[:, None]))
    curve = chebyshev_fit(jnp.log(start + (both - start[:, None]) @ density))
    return lambda x: power * jnp.log1p(x / scale) + chebyshev_value(curve, place_of(x))


def _below(power: Scalar) -> Callable[[Energies], Energies]:
    """Logarithm of `power z^-power integral_0^z u^(power - 1) e^-u du`, to 1e-5.

    The share of Wien-like seeds below z. Integrated at 32 values of z, between which a
    polynomial corrects the power law that holds at both ends.
    """
    scale = jnp.exp(gammaln(power + 1) / power)
    z, place_of = _rational_map(scale, _SEED_POINTS, power.dtype)
    # The trapezoid over the logit of u / z converges exponentially.
    logit = np.linspace(-12, 18, 101)
    part = jnp.asarray(1 / (1 + np.exp(-logit)), power.dtype)
    log_part = jnp.asarray(-np.log1p(np.exp(-logit)), power.dtype)
    rest = jnp.asarray(0.3 / (1 + np.exp(logit)), power.dtype)
    # The power law is taken out before the sum, which would underflow.
    log_term = log_part[None, :] + jnp.log1p(z / scale)[:, None]
    integrand = jnp.exp(power * log_term - z[:, None] * part[None, :])
    curve = chebyshev_fit(jnp.log(power * (integrand @ rest)))
    return lambda z: chebyshev_value(curve, place_of(z)) - power * jnp.log1p(z / scale)


def _escape(depth: Scalar, disk: Array, tabulated: Array) -> Scalar:
    """The lowest eigenvalue of diffusion in space, times the depth squared or so."""
    thin, squared = jnp.minimum(depth, 0.1), (depth + 2 / 3) ** 2
    of_disk = jnp.pi**2 / 12 * -jnp.expm1(-1.35 * depth) / squared + 0.45 * jnp.exp(
        -3.7 * depth
    ) * jnp.log(10 / (3 * depth))
    of_sphere = jnp.pi**2 / 3 * -jnp.expm1(-0.7 * depth) / squared + jnp.exp(
        -1.4 * depth
    ) * jnp.log(4 / (3 * depth))
    depths, disks, spheres = (
        jnp.asarray(row, depth.dtype) for row in (_DEPTHS, _DISK, _SPHERE)
    )
    table = jnp.where(disk, jnp.log(disks), jnp.log(spheres))
    analytic = jnp.where(disk, of_disk, of_sphere)
    thick = jnp.where(
        tabulated & (depth < 10), jnp.exp(jnp.interp(depth, depths, table)), analytic
    )
    logarithm = jnp.where(disk, thin * jnp.log(1.53 / thin), 0.75 * thin)
    return jnp.where(depth <= 0.1, -jnp.log(logarithm), thick)


def _spectral_index(electrons: Scalar, escape: Scalar) -> Scalar:
    """Solve Titarchuk's equation for the index, at most 10, by Newton's method."""

    def excess(index: Scalar) -> Scalar:
        two = 2 * index
        series = two * (0.4227843 + two * (0.3224670 - 0.0673523 * two))
        gamma = jnp.where(index < 0.05, series, gammaln(two + 2))
        moment = (
            jnp.log1p(index * (index + 3) / 4)
            + gamma
            - jnp.log1p(index / 3)
            - 2 * jnp.log1p(index / 2)
        )
        linear = (index + 3) * electrons / (1 + electrons)
        gain = linear + 4 * electrons**2 * jnp.exp(moment / index)
        return index * jnp.log1p(gain) - escape

    def improve(index: Scalar) -> Scalar:
        value, slope = jax.value_and_grad(excess)(index)
        return jnp.clip(index - value / slope, 1e-7, 12.0)

    start = escape / electrons
    index = jnp.minimum(start / (jnp.sqrt(2.25 + start) + 1.5), 10.0)
    for _ in range(8):
        index = improve(index)
    index = jax.lax.stop_gradient(index)
    slope = jax.lax.stop_gradient(jax.grad(excess)(index))
    # One more step, for its derivative: that of the implicit function.
    return jnp.minimum(index - excess(index) / slope, 10.0)


def _scattered_part(depth: Scalar, disk: Array) -> Scalar:
    """The part of photons from the centre that scatters, from its depth."""
    small, large = jnp.minimum(depth, 0.5), jnp.maximum(depth, 0.5)
    of_disk = 1 + jnp.expm1(-large) / large
    of_sphere = 1 - 3 / large * (1 - 2 / large - 2 / large**2 * jnp.expm1(-large))
    terms = jnp.where(
        disk,
        jnp.asarray([1 / 2, -1 / 6, 1 / 24, -1 / 120, 1 / 720, -1 / 5040], depth.dtype),
        jnp.asarray(
            [1 / 4, -1 / 20, 1 / 120, -1 / 840, 1 / 6720, -1 / 60480], depth.dtype
        ),
    )
    series = small * jnp.polyval(terms[::-1], small)
    return jnp.where(depth < 0.5, series, jnp.where(disk, of_disk, of_sphere))


class TitarchukComptonisation(Component, SpectralModel):
    """Wien-like seeds, scattered by thermal electrons of any depth and temperature.

    The analytic solution of Titarchuk with z = E / T0, x = E / kT and spectral index a,

    `norm (kT / T0) a / (2 (2 a + 3)) z^2 (e^-z + e^-x S(q x) B(z))`
    [photons / cm^2 / s / keV], S the photons scattered up from below, J(q x) / J(0)
    with `J(x) = integral_0^inf e^-t (x + t)^(a + 3) t^(a - 1) dt`, and B the share of
    seeds below z, `(a + 3) z^-(a + 3) integral_0^z u^(a + 2) e^-u du`.

    `approx` picks a disk up to 1 in magnitude, else a sphere; if it is negative (which
    XSPEC's limits forbid, though its manual describes it) the escape is interpolated in
    the table of Sunyaev & Titarchuk, else given by a formula. As there it jumps at
    a depth of 0.1, and the index is at most 10.

    Integrals good to 1e-5, and the index solved for. XSPEC solves to 1e-4, sums J with
    ten points and takes the trapezoid of bins.

    Source: Titarchuk (1994), ApJ 434, 570; Hua & Titarchuk (1995), ApJ 449, 188;
    Sunyaev & Titarchuk (1985), A&A 143, 374; XSPEC manual, `compTT`.
    """

    xspec_name: ClassVar[str] = "compTT"
    redshift: Scalar = redshift()
    T0: Scalar = parameter("T0", 0.1, (1e-3, 100.0), "keV")
    kT: Scalar = parameter("kT", 50.0, (2.0, 500.0), "keV")
    depth: Scalar = parameter("taup", 1.0, (0.01, 200.0))
    approx: Scalar = parameter("approx", 1.0, (-200.0, 200.0), frozen=True)
    norm: Scalar = normalisation("of Titarchuk (1994)")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        disk = jnp.abs(self.approx) <= 1
        escape = _escape(self.depth, disk, self.approx < 0)
        index = _spectral_index(self.kT / REST_ENERGY, escape)
        effective = self.depth / (1 + (self.kT / 39.2) ** 0.86)
        part = _scattered_part(effective, disk) ** (1 / (index + 3))
        scattered, below = _scattered(index), _below(index + 3)

        def density(energy: Float[Array, " bin"]) -> Float[Array, " bin"]:
            z, x = energy / self.T0, energy / self.kT
            up = jnp.exp(scattered(part * x) + below(z) - x)
            return z**2 * (up + jnp.exp(-z))

        flux = integrate(density, grid.shifted(self.redshift))
        scale = self.kT / self.T0 * index / (4 * index + 6) / (1 + self.redshift)
        return self.norm * scale * flux


class SunyaevComptonisation(Component, SpectralModel):
    """Cool photons, scattered by hot electrons: Sunyaev & Titarchuk's solution.

    `norm f(E) / f(1 keV)` with `f = x^-(a + 1) e^-x integral_0^inf e^-t (x + t)^(a + 3)
    t^(a - 1) dt`, x = E / kT and `a (a + 3) = (pi^2 / 3) 511 keV / (kT (tau + 2/3)^2)`
    [photons / cm^2 / s / keV]. The integral is good to 1e-6; XSPEC takes the trapezoid
    of bins. The index a is kept at 15 and the flux below e^40 norm, where XSPEC has
    neither a use nor a number.

    Source: Sunyaev & Titarchuk (1980), A&A 86, 121; XSPEC manual, `compST`.
    """

    xspec_name: ClassVar[str] = "compST"
    kT: Scalar = parameter("kT", 2.0, (1e-3, 100.0), "keV")
    tau: Scalar = parameter("tau", 10.0, (1e-4, 200.0))
    norm: Scalar = normalisation("photons / keV / cm^2 / s at 1 keV")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        product = jnp.pi**2 / 3 * REST_ENERGY / self.kT / (self.tau + 2 / 3) ** 2
        index = product / (jnp.sqrt(2.25 + product) + 1.5)
        index = jnp.minimum(index, _STEEPEST)
        scattered = _scattered(index)
        reference = scattered(1 / self.kT)

        def density(energy: Float[Array, " bin"]) -> Float[Array, " bin"]:
            logarithm = scattered(energy / self.kT) - reference
            logarithm = logarithm - (index + 1) * jnp.log(energy)
            logarithm = logarithm - (energy - 1) / self.kT
            return energy * jnp.exp(jnp.minimum(logarithm, _LARGEST))

        return self.norm * integrate_log(density, grid)


def _self_scattering(strength: Scalar) -> Float[Array, " power"]:
    """Coefficients of E / kT, its square and cube for scattered bremsstrahlung."""
    orders = np.arange(2, 16)
    factors = (-1.0) ** orders / [math.factorial(order) for order in orders]
    small, large = jnp.minimum(strength, 1.0), jnp.maximum(strength, 1.0)
    powers = small ** jnp.asarray(orders - 1, small.dtype)
    series = jnp.stack(
        [
            (jnp.asarray(factors * of, small.dtype) * powers).sum()
            for of in (1.5 + 0 * orders, 1.5 * (2 - orders), 0.75 * (orders - 3))
        ]
    )
    # The cube's first term is cancelled by the share of unscattered photons.
    series = series + jnp.asarray([0.0, 0.0, 0.375], small.dtype) * small
    once = (jnp.expm1(-large) + large) / large
    more = (jnp.exp(-large) * (1 + large) - 1) / large
    direct = [1.5 * once, 1.5 * (once + more), 0.375 * large - 1.5 * once - 0.75 * more]
    return jnp.where(strength < 1, series, jnp.stack(direct))


class SelfComptonisation(Component, SpectralModel):
    """Bremsstrahlung of a thick cloud, scattered by its own electrons.

    `norm (g_1 + 0.34 g_2) (1 + p_1 x + p_2 x^2 + p_3 x^3) exp(-x) / E`
    [photons / cm^2 / s / keV] with x = E / kT, the p from `(2 kT / 511 keV) tau^2` and
    the Gaunt factors of `bremss`, but 1 below 0.1358 Z^2 keV. Integrated over the bin,
    where XSPEC takes its middle, with an uncorrected table of Gaunt factors.

    Source: Lamb & Sanford (1979), MNRAS 188, 555; XSPEC manual, `compLS`.
    """

    xspec_name: ClassVar[str] = "compLS"
    kT: Scalar = parameter("kT", 2.0, (1e-3, 20.0), "keV")
    tau: Scalar = parameter("tau", 10.0, (1e-4, 200.0))
    norm: Scalar = normalisation("of Lamb & Sanford (1979)")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        one, two, three = _self_scattering(2 * self.kT / REST_ENERGY * self.tau**2)
        ratio = gaunt_over_born(self.kT, 1, tabulated_when_cool=False)
        ratio = ratio + 0.34 * gaunt_over_born(self.kT, 2, tabulated_when_cool=False)

        def density(energy: Float[Array, " bin"]) -> Float[Array, " bin"]:
            x = energy / self.kT
            scattered = 1 + x * (one + x * (two + x * three))
            return gaunt_factor(ratio, x) * scattered * jnp.exp(-x) / energy

        return self.norm * integrate(density, grid)
