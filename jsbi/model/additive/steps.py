"""Steps, as of charge that a detector collects in part."""

from typing import ClassVar

import jax.numpy as jnp
from jax.scipy.special import erfc
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.additive.lines import is_narrow
from jsbi.model.component import (
    Component,
    Scalar,
    SpectralModel,
    normalisation,
    parameter,
)
from jsbi.model.integrate import integrate


class Step(Component, SpectralModel):
    """`norm / 2 * erfc((E - energy) / (sqrt(2) sigma))` [photons / cm^2 / s / keV].

    A constant below an energy, smeared by a Gaussian. Bins much narrower than the
    Gaussian are integrated by quadrature, others exactly. XSPEC takes the middle of
    each bin, which is wrong by 1 % of the constant where the bin has the width `sigma`.
    With `sigma` zero the bin of the energy is split.

    Source: XSPEC manual, `step`.
    """

    xspec_name: ClassVar[str] = "step"
    energy: Scalar = parameter("Energy", 6.5, (0.0, 100.0), "keV")
    sigma: Scalar = parameter("Sigma", 0.1, (0.0, 20.0), "keV")
    norm: Scalar = normalisation("photons / keV / cm^2 / s far below the step")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        sharp = is_narrow(self.sigma, self.energy, grid.low)
        sigma = jnp.where(sharp, 1.0, self.sigma)
        scale = 1 / (jnp.sqrt(2.0) * sigma)

        def density(energy: Float[Array, " bin"]) -> Float[Array, " bin"]:
            return 0.5 * erfc((energy - self.energy) * scale)

        # The integral of erfc beyond a place, negative: what a sharp step lacks or
        # adds.
        place = jnp.abs((grid.edges - self.energy) * scale)
        tail = place * erfc(place) - jnp.exp(-(place**2)) / jnp.sqrt(jnp.pi)
        below = jnp.clip(self.energy - grid.low, 0.0, grid.width)
        coarse = below + 0.5 / scale * jnp.diff(tail)
        smooth = jnp.where(grid.width * scale < 0.5, integrate(density, grid), coarse)
        return self.norm * jnp.where(sharp, below, smooth)
