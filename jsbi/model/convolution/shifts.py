"""Convolutions that move a spectrum in energy."""

from typing import ClassVar

from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.component import (
    Component,
    Convolution,
    Scalar,
    parameter,
    redshift,
)
from jsbi.model.rebin import mean_density

_SPEED_OF_LIGHT = 299792.458  # [km / s]


class RedshiftPhotons(Component, Convolution):
    """Move an additive spectrum to a redshift: `spectrum(E (1 + z)) / (1 + z)` photons.

    What follows is given in the frame of the source, on the bins of the observer, and
    is rebinned by overlap as in XSPEC. Nothing is known of it beyond the grid, so the
    result is zero where `E (1 + z)` lies outside. A component with a `z` version of its
    own is better given by that. A bin cut by the lowest edge of the grid keeps its
    part, where XSPEC leaves it empty.

    Source: XSPEC manual, `zashift`.
    """

    xspec_name: ClassVar[str] = "zashift"
    redshift: Scalar = redshift()

    def __call__(
        self, grid: EnergyGrid, spectrum: Float[Array, " bin"]
    ) -> Float[Array, " bin"]:
        """Rebin the photons of the bins."""
        mean, share = mean_density(grid, spectrum, grid.edges * (1 + self.redshift))
        return mean * share * grid.width


class ShiftPhotons(Component, Convolution):
    """Move the photons of an additive spectrum by a velocity, away if positive.

    A photon of energy E arrives with `E (1 - velocity / c)`. Photons are kept, where
    `zashift` divides by 1 + z. Rebinned by overlap as in XSPEC; nothing is known beyond
    the grid. A bin cut by the lowest edge of the grid keeps its part, where XSPEC
    leaves it empty.

    Source: XSPEC manual, `vashift`.
    """

    xspec_name: ClassVar[str] = "vashift"
    velocity: Scalar = parameter(
        "Velocity_kms", 0.0, (-1e4, 1e4), "km / s", frozen=True
    )

    def __call__(
        self, grid: EnergyGrid, spectrum: Float[Array, " bin"]
    ) -> Float[Array, " bin"]:
        """Rebin the photons of the bins."""
        factor = 1 - self.velocity / _SPEED_OF_LIGHT
        mean, share = mean_density(grid, spectrum, grid.edges / factor)
        return mean * share * grid.width / factor


class RedshiftFactor(Component, Convolution):
    """Move a factor, such as an absorber, to a redshift: `factor(E (1 + z))`.

    The mean of the factor over the part of the moved bin that lies inside of the grid;
    as in XSPEC, zero where nothing of it does: the grid should reach down to the lowest
    energy of the data and up to 1 + z times the highest. XSPEC weighs the bins that
    overlap with their shares rather than their widths, up to 1e-3 apart where the
    factor is steep, on bins of 0.24 %.

    Source: XSPEC manual, `zmshift`.
    """

    xspec_name: ClassVar[str] = "zmshift"
    changes_factor: ClassVar[bool] = True
    redshift: Scalar = redshift()

    def __call__(
        self, grid: EnergyGrid, spectrum: Float[Array, " bin"]
    ) -> Float[Array, " bin"]:
        """Average the factor over the moved bins."""
        mean, _ = mean_density(
            grid, spectrum * grid.width, grid.edges * (1 + self.redshift)
        )
        return mean
