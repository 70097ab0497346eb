"""Multiplicative components other than interstellar absorption."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.component import Component, Multiplicative, Scalar, parameter


class Constant(Component, Multiplicative):
    """An energy-independent factor, as between two instruments.

    Source: XSPEC manual, `constant`.
    """

    xspec_name: ClassVar[str] = "constant"
    factor: Scalar = parameter("factor", 1.0, (0.0, 1e10))

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The factor in every bin."""
        return jnp.broadcast_to(self.factor, grid.width.shape)
