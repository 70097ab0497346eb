"""Smooth changes of the shape of a spectrum, without a physical model."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.component import Component, Multiplicative, Scalar, parameter
from jsbi.model.integrate import exprel
from jsbi.model.multiplicative.bins import fraction_below, mean


class ExponentialFactor(Component, Multiplicative):
    """`1 + amplitude exp(-factor E)` above an energy, 1 below; E in keV.

    The exact average over each bin; the bin of the start is split. XSPEC leaves a bin
    that begins exactly at the start at 1, and fails where `factor` is 0.

    Source: XSPEC manual, `expfac`.
    """

    xspec_name: ClassVar[str] = "expfac"
    amplitude: Scalar = parameter("Ampl", 1.0, (0.0, 1e6))
    factor: Scalar = parameter("Factor", 1.0, (0.0, 1e6), "1 / keV")
    start: Scalar = parameter("StartE", 0.5, (0.0, 1e6), "keV", frozen=True)

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The factor of each bin."""
        below = fraction_below(grid, self.start)
        above = 1 - below
        first = jnp.exp(-self.factor * (grid.low + below * grid.width))
        decay = first * exprel(-self.factor * above * grid.width)
        return 1 + self.amplitude * above * decay


class PowerLawFactor(Component, Multiplicative):
    """`coefficient * E**-index`, E in keV.

    The exact average over each bin, as by XSPEC, in a form without cancellation.

    Source: XSPEC manual, `plabs`.
    """

    xspec_name: ClassVar[str] = "plabs"
    index: Scalar = parameter("index", 2.0, (0.0, 5.0))
    coefficient: Scalar = parameter("coef", 1.0, (0.0, 100.0))

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The factor of each bin."""
        slope, step = 1 - self.index, grid.log_ratio
        integral = grid.low**slope * step * exprel(slope * step)
        return self.coefficient * integral / grid.width


class Spline(Component, Multiplicative):
    """A cubic polynomial between two energies, with given ends and slopes; 1 outside.

    The exact average over each bin; the bins of both energies are split. XSPEC leaves a
    bin at 1 that begins exactly at the start or ends exactly at the end, and continues
    the polynomial beyond the end in a bin that holds both. It is 1 everywhere unless
    the end is above the start.

    Source: XSPEC manual, `spline`.
    """

    xspec_name: ClassVar[str] = "spline"
    start: Scalar = parameter("Estart", 0.1, (0.0, 100.0), "keV")
    start_value: Scalar = parameter("Ystart", 1.0, (-1e6, 1e6))
    end_value: Scalar = parameter("Yend", 1.0, (-1e6, 1e6))
    start_slope: Scalar = parameter("YPstart", 0.0, (-1e6, 1e6), "1 / keV")
    end_slope: Scalar = parameter("YPend", 0.0, (-1e6, 1e6), "1 / keV")
    end: Scalar = parameter("Eend", 15.0, (0.0, 100.0), "keV")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The factor of each bin."""
        exists = self.end > self.start
        span = jnp.where(exists, self.end - self.start, 1.0)
        first = fraction_below(grid, self.start)
        last = jnp.maximum(first, fraction_below(grid, self.end))

        def cubic(energy: Float[Array, " bin"]) -> Float[Array, " bin"]:
            x = jnp.clip((energy - self.start) / span, 0.0, 1.0)
            rise = x**2 * (3 - 2 * x)
            slopes = self.start_slope * (1 - x) - self.end_slope * x
            values = self.start_value * (1 - rise) + self.end_value * rise
            return values + span * x * (1 - x) * slopes

        inside = jnp.where(exists, last - first, 0.0)
        return 1 - inside + inside * mean(cubic, grid, first, last)
