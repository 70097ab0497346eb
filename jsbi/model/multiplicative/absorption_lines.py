"""Absorption lines of given shape."""

from collections.abc import Callable
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.component import Component, Multiplicative, Scalar, parameter
from jsbi.model.integrate import NODES, WEIGHTS
from jsbi.model.multiplicative.bins import mean

# Knots in units of sigma, on one side of the line. At the last even a line of depth
# 1e15 has ended.
_KNOTS = np.linspace(0.0, 10.0, 129)
_STEP = _KNOTS[1]


def _integral_from_zero(
    function: Callable[[Float[Array, "..."]], Float[Array, "..."]],
    distance: Float[Array, " edge"],
) -> Float[Array, " edge"]:
    """The integral from 0 to a distance of an even function that ends at the last knot.

    By quadrature between knots, and with the exact slopes at the knots cubic from one
    to the next. Beyond the last knot nothing is added.
    """

    def at(places: np.ndarray) -> Array:
        return _STEP * function(jnp.asarray(places, distance.dtype))

    growth = at(_KNOTS[:-1, None] + _STEP * NODES) @ jnp.asarray(
        WEIGHTS, distance.dtype
    )
    slopes = at(_KNOTS)
    # The cubic of each panel in x = 0 ... 1, from its value, growth and slopes.
    coefficients = jnp.stack(
        [
            jnp.cumsum(growth) - growth,
            slopes[:-1],
            3 * growth - 2 * slopes[:-1] - slopes[1:],
            slopes[:-1] + slopes[1:] - 2 * growth,
        ]
    )
    place = jnp.minimum(jnp.abs(distance), _KNOTS[-1]) / _STEP
    panel = jnp.minimum(place.astype(int), len(_KNOTS) - 2)
    x = place - panel.astype(place.dtype)
    constant, linear, square, cube = coefficients[:, panel]
    return jnp.sign(distance) * (constant + x * (linear + x * (square + x * cube)))


def _mean_of_wide_bins(
    distance: Float[Array, " edge"], width: Float[Array, " bin"], depth: Scalar
) -> Float[Array, " bin"]:
    """Average exp(-depth exp(-x^2 / 2)) between distances, also across a whole line.

    From the integral of what passes where that is little, else of what is absorbed, so
    that neither is a small difference of large numbers.
    """

    def optical_depth(x: Float[Array, "..."]) -> Float[Array, "..."]:
        return depth * jnp.exp(-0.5 * x**2)

    absorbed = jnp.diff(
        _integral_from_zero(lambda x: -jnp.expm1(-optical_depth(x)), distance)
    )
    passed = jnp.diff(
        _integral_from_zero(lambda x: jnp.exp(-optical_depth(x)), distance)
    )
    # Only where a bin reaches beyond the last knot: else the difference is rounding.
    end = _KNOTS[-1].item()
    beyond = (distance[:-1] < -end) | (distance[1:] > end)
    inside = jnp.diff(jnp.clip(distance, -end, end))
    outside = jnp.where(beyond, jnp.maximum(width - inside, 0.0), 0.0)
    passed = jnp.maximum(passed, 0.0) + outside
    return jnp.where(absorbed > 0.5 * width, passed, width - absorbed) / width


class GaussianAbsorption(Component, Multiplicative):
    """`exp(-strength * g(E))`, where g is a Gaussian of unit area [1 / keV].

    The average over each bin: bins much narrower than the line by quadrature, others by
    the difference of an integral that is tabulated anew for each depth, so that a line
    inside one bin is not lost. XSPEC's
    adaptive rule stops at 1e-6 and 6 sigma and may miss such a line. With `sigma` below
    1e-9 keV nothing is absorbed. The Gaussian is not renormalised for its part at E <
    0, as in XSPEC 12.9; later manuals divide by the part above.

    Source: XSPEC manual, `gabs`.
    """

    xspec_name: ClassVar[str] = "gabs"
    energy: Scalar = parameter("LineE", 1.0, (0.0, 1e6), "keV")
    sigma: Scalar = parameter("Sigma", 0.01, (0.0, 20.0), "keV")
    strength: Scalar = parameter("Strength", 1.0, (0.0, 1e6), "keV")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        exists = self.sigma >= 1e-9
        sigma = jnp.where(exists, self.sigma, 1.0)
        depth = self.strength / (sigma * jnp.sqrt(2 * jnp.pi))

        def passing(energy: Float[Array, " bin"]) -> Float[Array, " bin"]:
            distance = (energy - self.energy) / sigma
            return jnp.exp(-depth * jnp.exp(-0.5 * distance**2))

        distance = (grid.edges - self.energy) / sigma
        coarse = _mean_of_wide_bins(distance, grid.width / sigma, depth)
        fine = mean(passing, grid)
        passed = jnp.where(grid.width < 0.25 * sigma, fine, coarse)
        return jnp.where(exists, passed, 1.0)


class Notch(Component, Multiplicative):
    """`1 - fraction` within half a width of an energy, 1 elsewhere.

    The exact average over each bin, in proportion to lengths, as by XSPEC.

    Source: XSPEC manual, `notch`.
    """

    xspec_name: ClassVar[str] = "notch"
    energy: Scalar = parameter("LineE", 3.5, (0.0, 20.0), "keV")
    width: Scalar = parameter("Width", 1.0, (0.0, 20.0), "keV")
    fraction: Scalar = parameter("CvrFract", 1.0, (0.0, 1.0), frozen=True)

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        half = 0.5 * self.width
        # Distances first: float32 resolves the notch in them.
        low, high = grid.low - self.energy, grid.high - self.energy
        inside = jnp.clip(high, -half, half) - jnp.clip(low, -half, half)
        whole = (low >= -half) & (high <= half)
        share = jnp.where(whole, 1.0, jnp.minimum(inside / grid.width, 1.0))
        return 1 - self.fraction * share


class CyclotronAbsorption(Component, Multiplicative):
    """`exp(-d (w E / e)**2 / ((E - e)**2 + w**2))` for a line and its second harmonic.

    Depths d and widths w are given for both; e is the energy of the line, and twice it
    for the harmonic, which absorbs too, though the manual prints it with the other
    sign. The average over each bin by quadrature, where XSPEC takes the mean of both
    edges.

    Source: Mihara et al. (1990), Nature 346, 250; Makishima et al. (1990), ApJ 365,
    L59; XSPEC manual, `cyclabs`.
    """

    xspec_name: ClassVar[str] = "cyclabs"
    depth: Scalar = parameter("Depth0", 2.0, (0.0, 100.0))
    energy: Scalar = parameter("E0", 30.0, (1.0, 100.0), "keV")
    width: Scalar = parameter("Width0", 10.0, (1.0, 100.0), "keV", frozen=True)
    second_depth: Scalar = parameter("Depth2", 0.0, (0.0, 100.0), frozen=True)
    second_width: Scalar = parameter("Width2", 20.0, (1.0, 100.0), "keV", frozen=True)

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""

        def depth(
            energy: Float[Array, " bin"], peak: Scalar, line: Scalar, width: Scalar
        ) -> Float[Array, " bin"]:
            ratio = (width * energy / line) ** 2 / ((energy - line) ** 2 + width**2)
            return peak * ratio

        def passing(energy: Float[Array, " bin"]) -> Float[Array, " bin"]:
            first = depth(energy, self.depth, self.energy, self.width)
            twice = 2 * self.energy
            second = depth(energy, self.second_depth, twice, self.second_width)
            return jnp.exp(-first - second)

        return mean(passing, grid)
