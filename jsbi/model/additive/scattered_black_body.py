"""A black body below a slab of hot electrons, one scattering after another."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.additive.black_bodies import planck
from jsbi.model.additive.curve import cubics, on_cubics
from jsbi.model.additive.slab import Slab
from jsbi.model.component import (
    Component,
    Scalar,
    SpectralModel,
    normalisation,
    parameter,
)
from jsbi.model.constants import REST_ENERGY
from jsbi.model.integrate import integrate

# The spectrum repeats itself every 512 points in ln(E / kT); 202 of them are kept.
_PERIOD, _STEP, _START = 512, 0.08, -18.0
_FIRST, _LAST = 110, 312
_FREQUENCIES = 2 * np.pi / _PERIOD / _STEP * np.arange(144)
_SPEEDS = 96
# Powers of energy to multiply by: below, and the range in which the highest one lies.
_FLATTEST, _GENTLE = -0.4, 0.3
_POWERS = np.arange(_GENTLE, 10.0, 0.1)
_MARGIN = 0.6
_ROUNDING = 1e-6  # of a peak, below which nothing is known

Speeds = Float[Array, " speed"]
Transform = Complex[Array, " frequency"]


def _electrons(temperature: Scalar) -> tuple[Speeds, Speeds]:
    """Rapidities of Maxwell's electrons, and how many there are, for `_growths`.

    Midpoints in rapidity, in which the integrand is even, smooth and falls to nothing.
    """
    highest = jnp.sqrt(40 * temperature) + 100 * temperature / (1 + 15 * temperature)
    middles = jnp.asarray((np.arange(_SPEEDS) + 0.5) / _SPEEDS, temperature.dtype)
    rapidity = highest * middles
    speed = jnp.tanh(rapidity)
    number = jnp.exp(-(speed**2) / (2 * temperature)) / jnp.cosh(rapidity) ** 2
    return rapidity, number / jnp.cosh(rapidity) ** 3 / (number * speed**2).sum()


def _growth(temperature: Scalar, power: Scalar) -> Scalar:
    """The factor that one scattering applies to a spectrum E^-power."""
    rapidity, number = _electrons(temperature)
    shifted = power + 0.5
    # Enough not to overflow: such powers are not used.
    angle = jnp.minimum(shifted * rapidity, 40.0)
    change = jnp.sinh(angle) ** 2 - jnp.sinh(rapidity / 2) ** 2
    return change @ number / (shifted**2 - 0.25)


def _growths(
    temperature: Scalar, power: Scalar, frequency: Float[Array, " frequency"]
) -> Transform:
    """The factor that one scattering applies to E^-(power - i frequency).

    For one speed of rapidity a and q = power + 1/2 - i frequency it is
    `(cosh(2 q a) - cosh(a)) / (2 (q^2 - 1/4) sinh(a)^2 cosh(a))`.
    """
    rapidity, number = _electrons(temperature)
    shifted = power + 0.5
    turn = jnp.outer(frequency, rapidity)
    sine, cosine = jnp.sin(turn), jnp.cos(turn)
    change = jnp.sinh(shifted * rapidity) ** 2 * number
    still = (change - jnp.sinh(rapidity / 2) ** 2 * number).sum()
    real = still - sine**2 @ (2 * change + number)
    imaginary = -(sine * cosine) @ (jnp.sinh(2 * shifted * rapidity) * number)
    square, twice = shifted**2 - frequency**2 - 0.25, 2 * shifted * frequency
    inverse = 1 / (square**2 + twice**2)
    # Complex numbers are multiplied fast, but divided slowly.
    return jax.lax.complex(real, imaginary) * jax.lax.complex(
        square * inverse, twice * inverse
    )


def _often(growth: Transform, slab: Slab) -> Transform:
    """The factor that all scatterings but the first two apply, over the depth."""
    real = 1 - jnp.outer(growth.real, slab.poles)
    imaginary = jnp.outer(growth.imag, slab.poles)
    inverse = 1 / (real**2 + imaginary**2)
    return jax.lax.complex(
        (real * inverse) @ slab.weights, (imaginary * inverse) @ slab.weights
    )


def _tilts(temperature: Scalar, leading: Scalar) -> Float[Array, " power"]:
    """Powers of E, falling, to multiply by so that each part of the spectrum is large.

    The highest stays below the power law to which the photons tend, beyond which the
    sum over scatterings diverges.
    """
    powers = jnp.asarray(_POWERS, temperature.dtype)
    growth = jax.vmap(_growth, (None, 0))(temperature, powers + _MARGIN)
    converges = jnp.maximum(leading, 0.25) * growth < 1
    highest = jnp.max(jnp.where(converges, powers, _GENTLE))
    part = jnp.asarray([1, 2 / 3, 1 / 3, 0], temperature.dtype)
    tilts = (_GENTLE + (highest - _GENTLE) * part).at[-1].set(_FLATTEST)
    return jax.lax.stop_gradient(tilts)


def _tilted(
    temperature: Scalar, slab: Slab, tilt: Scalar
) -> tuple[Float[Array, " point"], Float[Array, " point"]]:
    """The photons that scatter times E^tilt, relative to the peak, and their logarithm.

    The logarithm is that of photons over E and the depth.
    """
    frequency = jnp.asarray(_FREQUENCIES, tilt.dtype)
    once = _growths(7 / 16 * temperature, tilt, frequency)
    more = _growths(temperature, tilt, frequency)
    factor = slab.once.astype(more.dtype) * once + more**2 * _often(more, slab)
    logarithm = jnp.asarray(_START + _STEP * np.arange(_PERIOD), tilt.dtype)
    seen = jnp.minimum(logarithm, 5.0)  # no photons are above
    seeds = jnp.fft.rfft(planck(jnp.exp(seen)) * jnp.exp(tilt * seen))
    spectrum = jnp.fft.irfft(seeds[: len(_FREQUENCIES)] * factor, _PERIOD)
    kept = spectrum[_FIRST:_LAST]
    peak = jax.lax.stop_gradient(kept.max())
    kept = jnp.maximum(kept / peak, _ROUNDING)
    untilted = jnp.log(kept) + jnp.log(peak) - (1 + tilt) * logarithm[_FIRST:_LAST]
    return kept, untilted


def _scattered(temperature: Scalar, slab: Slab) -> Float[Array, " point"]:
    """Logarithm of the photons that scatter, over E and the depth, on the points.

    A product of Fourier transforms in ln E, for spectra multiplied by some powers of
    energy: rounding is small only where such a spectrum is large, and every point is
    taken from the one that is largest there.
    """
    tilts = _tilts(temperature, slab.poles[0])
    kept, untilted = jax.vmap(_tilted, (None, None, 0))(temperature, slab, tilts)
    kept = jax.lax.stop_gradient(kept)
    # Above its own peak the highest tilt is the best, though others may be noisier.
    above = jnp.arange(kept.shape[1]) > jnp.argmax(kept[0])
    best = jnp.where(above, 0, jnp.argmax(kept, 0))
    return jnp.take_along_axis(untilted, best[None], 0)[0]


class ScatteredBlackBody(Component, SpectralModel):
    """A black body whose photons pass through a plane slab of hot electrons.

    `p_0 B + p_1 K'[B] + sum_(n > 1) p_n K^n[B]` [photons / cm^2 / s / keV]. B is the
    spectrum of `bbodyrad`. p_n is the part that leaves the slab after n isotropic
    scatterings, of photons that enter below, evenly from all directions; those that
    return to the bottom are lost. K is a scattering that is isotropic and elastic in
    the frame of an electron whose speed follows Maxwell's distribution, cut at c; K',
    for photons that go straight on, has 7/16 of its temperature. There is no recoil:
    photons tend to no equilibrium, so all energies should be well below 511 keV.

    The sum over n is complete, and K is applied by Fourier transforms in ln E on a grid
    of its own: good to 2e-5 in all, and to 1e-4 for depths of 8 to 10. Beyond 1000 kT
    the spectrum is continued by a power law, and where it has fallen below some 1e-10
    of its peak only its order of magnitude holds.

    XSPEC uses 128 points over the energies asked for. Photons from below them are
    missed (30 % at the lowest energies of 0.1 - 12 keV, at kT = 1 keV, tau = 2), every
    scattering creates photons if the step is not small (12 % there at kT = 2 keV,
    kTe = 5 keV, tau = 5, and a factor of 3 on 1 eV - 1 MeV), and the last point is 0.
    Its exponential integrals are coarse (p_0 47 % too large at tau = 5), and its black
    body is that of `bbodyrad` times 1.0054.

    Source: Nishimura, Mitsuda & Itoh (1986), PASJ 38, 819; XSPEC manual, `compbb`.
    """

    xspec_name: ClassVar[str] = "compbb"
    kT: Scalar = parameter("kT", 1.0, (1e-4, 200.0), "keV")
    kTe: Scalar = parameter("kTe", 50.0, (1.0, 200.0), "keV", frozen=True)
    tau: Scalar = parameter("tau", 0.1, (0.0, 10.0))
    norm: Scalar = normalisation("(radius / km)^2 / (distance / 10 kpc)^2")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        slab = Slab(self.tau)
        points = _scattered(self.kTe / REST_ENERGY, slab)
        curve = cubics(points)
        # Steeper than E^-1, whatever rounding makes of it.
        slope = jnp.minimum(points[-1] - points[-2], -2 * _STEP)

        def density(energy: Float[Array, " bin"]) -> Float[Array, " bin"]:
            x = energy / self.kT
            place = (jnp.log(x) - (_START + _STEP * _FIRST)) / _STEP
            beyond = jnp.maximum(place - (_LAST - _FIRST - 1), 0)
            scattered = x * jnp.exp(on_cubics(curve, place) + slope * beyond)
            return slab.unscattered * planck(x) + self.tau * scattered

        return self.norm * 1.0344e-3 * self.kT**2 * integrate(density, grid)
