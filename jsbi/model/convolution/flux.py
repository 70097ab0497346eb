"""Convolutions that give a spectrum the flux that is asked for."""

from abc import abstractmethod
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.component import Component, Convolution, Scalar, parameter

_ERG_PER_KEV = 1.602192e-9  # XSPEC's digits, 1e-5 above the value of today
_LOG_10 = float(np.log(10))


def _band(
    grid: EnergyGrid, lowest: Scalar, highest: Scalar
) -> tuple[Float[Array, " bin"], Float[Array, " bin"]]:
    """The share of each bin that lies in the band, and its mean energy [keV]."""
    low = jnp.clip(grid.low, lowest, jnp.maximum(lowest, highest))
    high = jnp.clip(grid.high, lowest, jnp.maximum(lowest, highest))
    whole = (lowest <= grid.low) & (grid.high <= highest)
    share = jnp.where(whole, 1.0, (high - low) / grid.width)
    return share, 0.5 * (low + high)


def _divided(
    spectrum: Float[Array, " bin"], total: Float[Array, ""]
) -> Float[Array, " bin"]:
    """The spectrum for a total of one, or nothing where there is no total."""
    some = total > 0
    return jnp.where(some, spectrum, 0.0) / jnp.where(some, total, 1.0)


class _ToFlux(Component, Convolution):
    """All bins times one factor, such that a band holds what is asked for."""

    linear: ClassVar[bool] = False
    lowest: Scalar = parameter("Emin", 0.5, (0.0, 1e6), "keV", frozen=True)
    highest: Scalar = parameter("Emax", 10.0, (0.0, 1e6), "keV", frozen=True)

    @abstractmethod
    def _asked(self, dtype: Any) -> Scalar:
        """The flux that the band is to have."""

    @abstractmethod
    def _carried(
        self, photons: Float[Array, " bin"], energy: Float[Array, " bin"]
    ) -> Float[Array, " bin"]:
        """What photons of these energies bring of it."""

    def along(
        self,
        grid: EnergyGrid,
        part: Float[Array, " bin"],
        whole: Float[Array, " bin"],
    ) -> Float[Array, " bin"]:
        """Scale a part of the photons by what gives the whole its flux."""
        share, energy = _band(grid, self.lowest, self.highest)
        total = jnp.sum(self._carried(whole * share, energy))
        return _divided(part, total) * self._asked(part.dtype)

    def __call__(
        self, grid: EnergyGrid, spectrum: Float[Array, " bin"]
    ) -> Float[Array, " bin"]:
        """Scale the photons of all bins."""
        return self.along(grid, spectrum, spectrum)

    def needed_band(self) -> tuple[Scalar, Scalar]:
        """The band whose flux is given."""
        return self.lowest, self.highest


class EnergyFlux(_ToFlux):
    """Scale the spectrum to an energy flux of `10^lg10Flux` from `Emin` to `Emax`.

    Within a bin photons count as spread evenly, as in XSPEC. A norm of what follows
    must be held fixed, since it no longer matters. Flux of the band outside of the
    grid is not seen: the asked flux is that of the part inside, so the grid should
    hold the band. Without any flux in the band the result is zero. In float32
    `lg10Flux` counts as at most 19, since 10^100 cannot be held.

    Source: XSPEC manual, `cflux`.
    """

    xspec_name: ClassVar[str] = "cflux"
    log_flux: Scalar = parameter(
        "lg10Flux", -12.0, (-100.0, 100.0), "lg(erg / cm^2 / s)"
    )

    def _asked(self, dtype: Any) -> Scalar:
        most = 0.5 * float(np.log(jnp.finfo(dtype).max))
        return jnp.exp(jnp.minimum(_LOG_10 * self.log_flux, most)) / _ERG_PER_KEV

    def _carried(
        self, photons: Float[Array, " bin"], energy: Float[Array, " bin"]
    ) -> Float[Array, " bin"]:
        return photons * energy


class PhotonFlux(_ToFlux):
    """Scale the spectrum to a photon flux of `Flux` from `Emin` to `Emax`.

    Within a bin photons count as spread evenly, as in XSPEC. A norm of what follows
    must be held fixed, since it no longer matters. Photons of the band outside of the
    grid are not seen: the asked flux is that of the part inside, so the grid should
    hold the band. Without any photons in the band the result is zero.

    Source: XSPEC manual, `cpflux`.
    """

    xspec_name: ClassVar[str] = "cpflux"
    flux: Scalar = parameter("Flux", 1.0, (0.0, 1e10), "photons / cm^2 / s")

    def _asked(self, dtype: Any) -> Scalar:
        return self.flux

    def _carried(
        self, photons: Float[Array, " bin"], energy: Float[Array, " bin"]
    ) -> Float[Array, " bin"]:
        return photons
