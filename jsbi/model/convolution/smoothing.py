"""Convolutions that smooth a spectrum with a width that changes with energy."""

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.component import Component, Convolution, Scalar, parameter

_PAIRS_AT_ONCE = 2**17  # of bins; bounds the memory of one spectrum


# Least squares at Chebyshev nodes, in t = 1 / (1 + 0.3 x), of (1 - x Q(x) / density(x))
# / t^2 with Q the normal integral from x to infinity; good to 5e-8 for x from 0 to 14.
_OVERSHOOT = (
    0.089988887,
    0.180137003,
    0.245888351,
    0.250293339,
    0.314990118,
    -0.262248137,
    0.881827725,
    -1.267418904,
    0.71171827,
    -0.1451767,
)


# Abramowitz & Stegun (1964), 4.4.46: arccos(x) / sqrt(1 - x), good to 2e-8.
_ARC_COSINE = (
    1.5707963050,
    -0.2145988016,
    0.0889789874,
    -0.0501743046,
    0.0308918810,
    -0.0170881256,
    0.0066700901,
    -0.0012624911,
)


class _Bins(NamedTuple):
    """Edges, centre and width of bins [keV]; arrays or, for one bin, numbers."""

    low: Array
    high: Array
    centre: Array
    width: Array


def _normal(x: Array) -> Array:
    """The normal density."""
    return jnp.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)


def _overshoot(x: Array) -> Array:
    """The second integral of the normal density from x >= 0 to infinity."""
    t = 1 / (1 + 0.3 * x)
    return _normal(x) * t**2 * jnp.polyval(jnp.asarray(_OVERSHOOT[::-1], x.dtype), t)


def _angle_over_tangent(cosine: Array) -> Array:
    """An angle from 0 to pi / 2 over its tangent, from its cosine."""
    arc = jnp.polyval(jnp.asarray(_ARC_COSINE[::-1], cosine.dtype), cosine)
    return cosine * arc * jax.lax.rsqrt(1 + cosine)


def _itself(target: _Bins, source: _Bins) -> Array:
    """One for the source bin that is the target bin."""
    return (target.low == source.low).astype(source.low.dtype)


def _second_difference(antiderivative, target: _Bins, source: _Bins) -> Array:
    """From the second antiderivative of a kernel, its integral over both bins."""
    return (
        antiderivative(target.high - source.low)
        - antiderivative(target.high - source.high)
        - antiderivative(target.low - source.low)
        + antiderivative(target.low - source.high)
    )


class _Smoothing(Component, Convolution):
    """Photons of each bin spread out by a kernel around where they are."""

    width: Scalar = parameter("Sig_6keV", 1.0, (0.0, 20.0), "keV")
    index: Scalar = parameter("Index", 0.0, (-1.0, 1.0), frozen=True)

    @abstractmethod
    def share(self, target: _Bins, source: _Bins, width: Array) -> Array:
        """The share of photons that changes from each source bin to the target bin.

        That of the target itself is less by one: it is negative.
        """

    def __call__(
        self, grid: EnergyGrid, spectrum: Float[Array, " bin"]
    ) -> Float[Array, " bin"]:
        """Smooth the photons of the bins."""
        centre = grid.low + 0.5 * grid.width
        bins = _Bins(grid.low, grid.high, centre, grid.width)
        width = self.width * (centre / 6) ** self.index

        @jax.checkpoint
        def photons_of(target: _Bins) -> Array:
            return jnp.sum(self.share(target, bins, width) * spectrum)

        rows = max(1, _PAIRS_AT_ONCE // spectrum.size)
        return spectrum + jax.lax.map(photons_of, bins, batch_size=rows)


class GaussianSmoothing(_Smoothing):
    """Smooth photons by a Gaussian of `sigma = Sig_6keV * (E / 6 keV)^Index`.

    Photons are spread evenly over their bin, with the sigma of its centre, and the
    Gaussian is integrated over both bins, to 1e-6. XSPEC puts them into the centre of
    their bin, interpolates the error function and stops where a bin gets less than 1e-5
    of the photons: up to 1.3 % apart on bins of 0.24 %, a few 1e-4 in most.

    Photons from outside of the grid are missing and those that leave it are lost, so
    the spectrum is wrong within a few sigma of its ends. Every bin is compared with
    every other: the time grows with the square of their number, the memory does not.
    Smoothing 2000 bins takes about 2000 times as long as their `powerlaw`.

    Source: XSPEC manual, `gsmooth`.
    """

    xspec_name: ClassVar[str] = "gsmooth"

    def share(self, target: _Bins, source: _Bins, width: Array) -> Array:
        """The share of photons that changes from each source bin to the target bin."""
        # A sigma of zero may stand in front, but divides nothing.
        sigma = jnp.maximum(width, 1e-4 * source.width)

        def antiderivative(distance: Array) -> Array:
            return _overshoot(jnp.minimum(jnp.abs(distance) / sigma, 14.0))

        wide = _second_difference(antiderivative, target, source)
        x = jnp.clip((target.centre - source.centre) / sigma, -14.0, 14.0)
        one, two = (
            jnp.minimum(bins.width / sigma, 1.0) ** 2 for bins in (target, source)
        )
        second, fourth = (one + two) / 24, (one**2 + two**2) / 1920 + one * two / 576
        series = 1 + second * (x**2 - 1) + fourth * (x**4 - 6 * x**2 + 3)
        narrow = target.width / sigma * _normal(x) * series - _itself(target, source)
        widest = jnp.maximum(target.width, source.width)
        return jnp.where(widest < 0.25 * sigma, narrow, width / source.width * wide)


class LorentzianSmoothing(_Smoothing):
    """Smooth photons by a Lorentzian of full width `Sig_6keV * (E / 6 keV)^Index`.

    The full width at half maximum, despite the name of the parameter. Photons are
    spread evenly over their bin, with the width of its centre, and the Lorentzian is
    integrated over both bins, to 1e-6. XSPEC puts them into the centre of their bin and
    stops where a bin gets less than 1e-5 of the photons, which loses most of the far
    wings: up to 9 % apart at the hard end of a power law, a few 1e-4 in most bins.

    Photons from outside of the grid are missing and those that leave it are lost; of a
    Lorentzian these are many. The time grows with the square of the number of bins, as
    for `gsmooth`.

    Source: XSPEC manual, `lsmooth`.
    """

    xspec_name: ClassVar[str] = "lsmooth"

    def share(self, target: _Bins, source: _Bins, width: Array) -> Array:
        """The share of photons that changes from each source bin to the target bin."""
        # A width of zero may stand in front, but divides nothing.
        half = jnp.maximum(0.5 * width, 1e-4 * source.width)

        def square_of(distance: Array) -> Array:
            return (distance**2 + half**2) / source.width**2

        def angular(distance: Array) -> Array:
            away = jnp.abs(distance)
            return -_angle_over_tangent(away * jax.lax.rsqrt(away**2 + half**2))

        logarithm = 0.5 * jnp.log(
            (square_of(target.high - source.high) / square_of(target.high - source.low))
            * (square_of(target.low - source.low) / square_of(target.low - source.high))
        )
        wide = _second_difference(angular, target, source) + logarithm
        square = half**2 + (target.centre - source.centre) ** 2
        peak = half**2 / square
        one, two = (
            jnp.minimum(bins.width**2 / square, 1.0) for bins in (target, source)
        )
        second, fourth = (one + two) / 24, (one**2 + two**2) / 1920 + one * two / 576
        series = (
            1 + second * (6 - 8 * peak) + fourth * 24 * (5 - 20 * peak + 16 * peak**2)
        )
        narrow = 0.5 * width * target.width / square * series / np.pi
        narrow -= _itself(target, source)
        widest = jnp.maximum(target.width, source.width)
        wide = 0.5 * width / source.width * wide / np.pi
        return jnp.where(widest**2 < square / 64, narrow, wide)
