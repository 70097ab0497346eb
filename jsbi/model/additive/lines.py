"""Emission lines."""

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
from jsbi.model.integrate import integrate


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
