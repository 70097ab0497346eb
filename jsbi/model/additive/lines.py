"""Emission lines."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.special import erf, erfc
from jaxtyping import Array, Bool, Float

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

_ENERGY_TIMES_WAVELENGTH = 12.39841974  # [keV Angstrom], in the digits of XSPEC


def is_narrow(
    width: Scalar, centre: Scalar, places: Float[Array, " bin"]
) -> Bool[Array, ""]:
    """Whether a line is too narrow to be told from one without width."""
    return width <= 1e-6 * jnp.maximum(centre, places[0])


def _inside(grid: EnergyGrid, centre: Scalar) -> Float[Array, " bin"]:
    """All of a line without width in the bin that ends at or above its centre."""
    return ((grid.low < centre) & (centre <= grid.high)).astype(grid.width.dtype)


def _wavelengths(grid: EnergyGrid) -> EnergyGrid:
    """The bins in wavelength [Angstrom], the shortest one first."""
    width = _ENERGY_TIMES_WAVELENGTH * grid.width / grid.low / grid.high
    return eqx.tree_at(
        lambda grid: (grid.edges, grid.width, grid.log_ratio),
        grid,
        (
            _ENERGY_TIMES_WAVELENGTH / grid.edges[::-1],
            width[::-1],
            grid.log_ratio[::-1],
        ),
    )


def _gaussian(
    grid: EnergyGrid, offsets: Float[Array, " edge"], centre: Scalar, sigma: Scalar
) -> Float[Array, " bin"]:
    """The share of a Gaussian in each bin.

    Args:
        grid: The bins.
        offsets: Their edges less the centre.
        centre: Of the line.
        sigma: Its standard deviation.
    """
    narrow = is_narrow(sigma, centre, grid.low)
    scale = 1 / (jnp.sqrt(2.0) * jnp.where(narrow, 1.0, sigma))
    low, high = offsets[:-1] * scale, offsets[1:] * scale
    # On the far side of the line both error functions are close to 1.
    near, far = (
        jnp.minimum(jnp.abs(low), jnp.abs(high)),
        jnp.maximum(jnp.abs(low), jnp.abs(high)),
    )
    straddles = (low < 0) & (high > 0)
    coarse = 0.5 * jnp.where(straddles, erf(high) - erf(low), erfc(near) - erfc(far))
    around = eqx.tree_at(lambda grid: grid.edges, grid, offsets)
    density = integrate(lambda offset: jnp.exp(-((offset * scale) ** 2)), around)
    fine = scale / jnp.sqrt(jnp.pi) * density
    smooth = jnp.where(grid.width * scale < 0.5, fine, coarse)
    return jnp.where(narrow, _inside(grid, centre), smooth)


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
        offsets = grid.edges - self.energy
        return self.norm * _gaussian(grid, offsets, self.energy, self.sigma)


class RedshiftedGaussian(Component, SpectralModel):
    """A Gaussian line in the frame of its source, with `norm / (1 + z)` photons.

    `LineE` and `Sigma` are those of the source. Integrated as `gaussian`.

    Source: XSPEC manual, `zgauss`.
    """

    xspec_name: ClassVar[str] = "zgauss"
    energy: Scalar = parameter("LineE", 6.5, (0.0, 1e6), "keV")
    sigma: Scalar = parameter("Sigma", 0.1, (0.0, 20.0), "keV")
    redshift: Scalar = redshift()
    norm: Scalar = normalisation("photons / cm^2 / s")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        # The small difference first: float32 resolves the line in it.
        offsets = (grid.edges - self.energy) + self.redshift * grid.edges
        source = grid.shifted(self.redshift)
        line = _gaussian(source, offsets, self.energy, self.sigma)
        return self.norm * line / (1 + self.redshift)


class WavelengthGaussian(Component, SpectralModel):
    """A line that is Gaussian in wavelength, of `norm` photons / cm^2 / s.

    Integrated as `gaussian`, over the bins in wavelength; not renormalised at negative
    wavelengths. With `sigma` zero all photons are in the bin that holds the wavelength.

    Source: XSPEC manual, `agauss`.
    """

    xspec_name: ClassVar[str] = "agauss"
    wavelength: Scalar = parameter("LineE_A", 10.0, (0.0, 1e6), "Angstrom")
    sigma: Scalar = parameter("Sigma_A", 1.0, (0.0, 1e6), "Angstrom")
    norm: Scalar = normalisation("photons / cm^2 / s")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        line = Gaussian(self.wavelength, self.sigma, self.norm)
        return line(_wavelengths(grid))[::-1]


class RedshiftedWavelengthGaussian(Component, SpectralModel):
    """A line that is Gaussian in wavelength at its source, `norm / (1 + z)` photons.

    `LineE_A` and `Sigma_A` are those of the source. Integrated as `agauss`.

    Source: XSPEC manual, `zagauss`.
    """

    xspec_name: ClassVar[str] = "zagauss"
    wavelength: Scalar = parameter("LineE_A", 10.0, (0.0, 1e6), "Angstrom")
    sigma: Scalar = parameter("Sigma_A", 1.0, (0.0, 1e6), "Angstrom")
    redshift: Scalar = redshift()
    norm: Scalar = normalisation("photons / cm^2 / s")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        line = WavelengthGaussian(self.wavelength, self.sigma, self.norm)
        return line(grid.shifted(self.redshift)) / (1 + self.redshift)


class Lorentz(Component, SpectralModel):
    """A Lorentzian line of `norm` photons / cm^2 / s above E = 0.

    `norm (width / 2 pi) / ((E - energy)^2 + width^2 / 4)`, divided by the share of it
    that lies above E = 0. Each bin is one arc tangent, the angle between its edges as
    seen from the pole of the line. XSPEC stops where 1e-6 of the line is left. With
    `width` zero all photons are in the bin that holds the energy.

    Source: XSPEC manual, `lorentz`.
    """

    xspec_name: ClassVar[str] = "lorentz"
    energy: Scalar = parameter("LineE", 6.5, (0.0, 1e6), "keV")
    width: Scalar = parameter("Width", 0.1, (0.0, 20.0), "keV")
    norm: Scalar = normalisation("photons / cm^2 / s")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        narrow = is_narrow(self.width, self.energy, grid.low)
        half = 0.5 * jnp.where(narrow, 1.0, self.width)
        scalar_product = half**2 + (grid.low - self.energy) * (grid.high - self.energy)
        angle = jnp.arctan2(half * grid.width, scalar_product)
        smooth = angle / (0.5 * jnp.pi + jnp.arctan(self.energy / half))
        return self.norm * jnp.where(narrow, _inside(grid, self.energy), smooth)
