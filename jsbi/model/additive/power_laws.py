"""Power laws and what bends them."""

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
)
from jsbi.model.integrate import exprel, integrate_log


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
