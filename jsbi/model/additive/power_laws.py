"""Power laws and what bends them."""

import math
from collections.abc import Callable
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
from jsbi.model.integrate import NODES, WEIGHTS, exprel, integrate_log

# Photons per unit ln E are cut at e^60 (1e26) where a parameter at its limit asks for
# more: float32 ends at e^88, and gradients are larger than values.
_HIGHEST_EXPONENT = 60.0


def _power(exponent: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """e^exponent, cut where it would overflow."""
    return jnp.exp(jnp.minimum(exponent, _HIGHEST_EXPONENT))


def _log_exprel(x: Scalar) -> Scalar:
    """ln((e^x - 1) / x), without overflow and with its slope of 1/2 at x = 0."""
    positive = x > 0
    decay = jnp.log(exprel(jnp.where(positive, -x, x)))
    return decay + jnp.where(positive, x, 0.0)


def _log_distance(grid: EnergyGrid, energy: Float[Array, ""]) -> Float[Array, " bin"]:
    """ln(energy / low), cut to the bin."""
    inside = jnp.clip(energy, grid.low, grid.high)
    distance = jnp.log1p((inside - grid.low) / grid.low)
    return jnp.where(
        energy >= grid.high, grid.log_ratio, jnp.minimum(distance, grid.log_ratio)
    )


def _joined_power_laws(
    grid: EnergyGrid, slopes: tuple[Scalar, ...], breaks: tuple[Scalar, ...]
) -> Float[Array, " bin"]:
    """Photons of power laws that meet at breaks; the first is 1 at 1 keV.

    Args:
        grid: The bins.
        slopes: One minus the photon index of each.
        breaks: Where each but the last ends [keV], in increasing order.
    """
    log_low = jnp.log(grid.low)
    done = jnp.zeros_like(log_low)  # part of the bin that is integrated, in ln E
    meeting, level = jnp.zeros((2,), log_low.dtype)  # ln E, and ln of the photons there
    photons = jnp.zeros_like(log_low)
    for number, slope in enumerate(slopes):
        reach = grid.log_ratio
        if number < len(breaks):
            reach = jnp.maximum(done, _log_distance(grid, breaks[number]))
        height = _power(level + slope * (log_low + done - meeting))
        photons += height * (reach - done) * exprel(slope * (reach - done))
        if number < len(breaks):
            done = reach
            next_meeting = jnp.log(jnp.maximum(breaks[number], 1e-8))
            level += slope * (next_meeting - meeting)
            meeting = next_meeting
    return photons


def _integrate_exponent(
    exponent: Callable[[Float[Array, " bin"]], Float[Array, " bin"]], grid: EnergyGrid
) -> Float[Array, " bin"]:
    """Integrate e^exponent(ln E) over ln E, by 5-point Gauss-Legendre quadrature."""
    log_low = jnp.log(grid.low)
    return grid.log_ratio * sum(
        weight * _power(exponent(log_low + node * grid.log_ratio))
        for node, weight in zip(NODES.tolist(), WEIGHTS.tolist(), strict=True)
    )


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


class RedshiftedPowerLaw(Component, SpectralModel):
    """`norm * (E (1 + z))**-photon_index` [photons / cm^2 / s / keV], E in keV.

    Integrated exactly; XSPEC loses up to 1e-6 by cancellation near index 1.

    Source: XSPEC manual, `zpowerlw`.
    """

    xspec_name: ClassVar[str] = "zpowerlw"
    photon_index: Scalar = parameter("PhoIndex", 1.0, (-3.0, 10.0))
    redshift: Scalar = redshift()
    norm: Scalar = normalisation("photons / keV / cm^2 / s at 1 keV of the source")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        photons = _joined_power_laws(
            grid.shifted(self.redshift), (1 - self.photon_index,), ()
        )
        return self.norm * photons / (1 + self.redshift)


class BrokenPowerLaw(Component, SpectralModel):
    """A power law whose index changes at an energy [photons / cm^2 / s / keV].

    `norm * E**-index_1` below the break and `norm * break**(index_2 - index_1) *
    E**-index_2` above: the norm is that of the lower part, wherever the break is.
    Integrated exactly, as by XSPEC; the bin of the break is split. Photons per unit ln
    E are cut at 1e26, which only breaks far from 1 keV with indices far apart reach.

    Source: XSPEC manual, `bknpower`.
    """

    xspec_name: ClassVar[str] = "bknpower"
    photon_index_1: Scalar = parameter("PhoIndx1", 1.0, (-3.0, 10.0))
    break_energy: Scalar = parameter("BreakE", 5.0, (0.0, 1e6), "keV")
    photon_index_2: Scalar = parameter("PhoIndx2", 2.0, (-3.0, 10.0))
    norm: Scalar = normalisation("photons / keV / cm^2 / s at 1 keV")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        slopes = 1 - self.photon_index_1, 1 - self.photon_index_2
        return self.norm * _joined_power_laws(grid, slopes, (self.break_energy,))


class TwiceBrokenPowerLaw(Component, SpectralModel):
    """A power law whose index changes at two energies [photons / cm^2 / s / keV].

    The parts meet at the breaks, and the norm is that of the lowest. A second break
    below the first is taken to be at the first, so that there is no middle part.
    Integrated exactly, as by XSPEC; the bin of a break is split.

    Source: XSPEC manual, `bkn2pow`.
    """

    xspec_name: ClassVar[str] = "bkn2pow"
    photon_index_1: Scalar = parameter("PhoIndx1", 1.0, (-3.0, 10.0))
    break_energy_1: Scalar = parameter("BreakE1", 5.0, (0.0, 1e6), "keV")
    photon_index_2: Scalar = parameter("PhoIndx2", 2.0, (-3.0, 10.0))
    break_energy_2: Scalar = parameter("BreakE2", 10.0, (0.0, 1e6), "keV")
    photon_index_3: Scalar = parameter("PhoIndx3", 3.0, (-3.0, 10.0))
    norm: Scalar = normalisation("photons / keV / cm^2 / s at 1 keV")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        indices = self.photon_index_1, self.photon_index_2, self.photon_index_3
        slopes = tuple(1 - index for index in indices)
        first = self.break_energy_1
        breaks = first, jnp.maximum(first, self.break_energy_2)
        return self.norm * _joined_power_laws(grid, slopes, breaks)


class PeggedPowerLaw(Component, SpectralModel):
    """A power law whose norm is its energy flux between two energies.

    `low` equal to `high` makes the norm the flux density there [microjansky]; if one of
    them is not positive, the norm is the photons / cm^2 / s / keV at 1 keV. Integrated
    exactly, with XSPEC's 1.602e-9 erg / keV and 1.509e-3 photons / cm^2 / s per
    microjansky. Where `high` is below `low` the two are exchanged; XSPEC makes the
    photons negative.

    Source: XSPEC manual, `pegpwrlw`.
    """

    xspec_name: ClassVar[str] = "pegpwrlw"
    photon_index: Scalar = parameter("PhoIndex", 1.0, (-3.0, 10.0))
    low: Scalar = parameter("eMin", 2.0, (-100.0, 1e10), "keV", frozen=True)
    high: Scalar = parameter("eMax", 10.0, (-100.0, 1e10), "keV", frozen=True)
    norm: Scalar = normalisation("1e-12 erg / cm^2 / s between eMin and eMax")

    def _log_height(self) -> Scalar:
        """Logarithm of the photons / cm^2 / s / keV at 1 keV for a norm of 1."""
        pegged = jnp.minimum(self.low, self.high) > 0
        at_point = self.low == self.high
        low = jnp.where(pegged, jnp.minimum(self.low, self.high), 1.0)
        high = jnp.where(pegged & ~at_point, jnp.maximum(self.low, self.high), 2 * low)
        log_ratio = jnp.log1p((high - low) / low)
        order = 2 - self.photon_index
        flux = (
            order * jnp.log(low) + jnp.log(log_ratio) + _log_exprel(order * log_ratio)
        )
        at_low = (1 - order) * jnp.log(low)
        pegs = jnp.where(
            at_point, at_low + math.log(1.509e-3), -flux - math.log(1602.0)
        )
        return jnp.where(pegged, pegs, 0.0)

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        slope, step = 1 - self.photon_index, grid.log_ratio
        height = _power(self._log_height() + slope * jnp.log(grid.low))
        return self.norm * height * step * exprel(slope * step)


class ExponentialDecay(Component, SpectralModel):
    """`norm * exp(-factor * E)` [photons / cm^2 / s / keV], E in keV.

    Integrated exactly, in a form without cancellation. A factor of 0 gives a constant;
    XSPEC gives no photons at all there.

    Source: XSPEC manual, `expdec`.
    """

    xspec_name: ClassVar[str] = "expdec"
    factor: Scalar = parameter("factor", 1.0, (0.0, 100.0), "1 / keV")
    norm: Scalar = normalisation("photons / keV / cm^2 / s at 0 keV")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        start = jnp.exp(-self.factor * grid.low)
        return self.norm * start * grid.width * exprel(-self.factor * grid.width)


class LogParabola(Component, SpectralModel):
    """`norm * x**(-alpha - beta * log10(x))` [photons / cm^2 / s / keV], x = E / pivot.

    Integrated by 5-point quadrature in ln E, where XSPEC takes Simpson's rule in E. The
    pivot, a scale that is not meant to be fitted, has no limits in XSPEC.

    Source: Massaro et al. (2004), A&A 422, 103; XSPEC manual, `logpar`.
    """

    xspec_name: ClassVar[str] = "logpar"
    alpha: Scalar = parameter("alpha", 1.5, (0.0, 4.0))
    beta: Scalar = parameter("beta", 0.2, (-4.0, 4.0))
    pivot: Scalar = parameter("pivotE", 1.0, (1e-4, 1e6), "keV", frozen=True)
    norm: Scalar = normalisation("photons / keV / cm^2 / s at the pivot")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""

        def exponent(log_energy: Float[Array, " bin"]) -> Float[Array, " bin"]:
            distance = log_energy - jnp.log(self.pivot)
            index = self.alpha + self.beta * distance / math.log(10)
            return log_energy - index * distance

        return self.norm * _integrate_exponent(exponent, grid)


class PeakedLogParabola(Component, SpectralModel):
    """`norm * 10**(-beta * log10(E / peak)**2) / E**2` [photons / cm^2 / s / keV].

    A log parabola whose `E**2` times density peaks at a given energy. Integrated by
    5-point quadrature in ln E, where XSPEC takes Simpson's rule in E.

    Source: Tramacere et al. (2007), A&A 466, 521; XSPEC manual, `eplogpar`.
    """

    xspec_name: ClassVar[str] = "eplogpar"
    peak: Scalar = parameter("Ep", 0.1, (1e-10, 1e4), "keV")
    beta: Scalar = parameter("beta", 0.2, (-4.0, 4.0))
    norm: Scalar = normalisation("photons keV / cm^2 / s at the peak")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""

        def exponent(log_energy: Float[Array, " bin"]) -> Float[Array, " bin"]:
            distance = log_energy - jnp.log(self.peak)
            return -self.beta * distance**2 / math.log(10) - log_energy

        return self.norm * _integrate_exponent(exponent, grid)
