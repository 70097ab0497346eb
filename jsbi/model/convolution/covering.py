"""Absorbers that leave a part of the source uncovered."""

from typing import ClassVar

from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.component import Component, Convolution, Scalar, parameter


class PartialCovering(Component, Convolution):
    """Let an absorber cover a fraction f of the source: `1 - f + f * factor`.

    It belongs in parentheses with its absorber, such as `(partcov*phabs)*powerlaw`.

    Source: XSPEC manual, `partcov`.
    """

    xspec_name: ClassVar[str] = "partcov"
    changes_factor: ClassVar[bool] = True
    fraction: Scalar = parameter("CvrFract", 0.5, (0.0, 1.0))

    def __call__(
        self, grid: EnergyGrid, spectrum: Float[Array, " bin"]
    ) -> Float[Array, " bin"]:
        """Change the factor of the bins."""
        return 1 - self.fraction + self.fraction * spectrum
