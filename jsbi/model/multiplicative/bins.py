"""Averages of factors over energy bins, or over parts of them."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.integrate import NODES, WEIGHTS


def fraction_below(grid: EnergyGrid, energy: Float[Array, ""]) -> Float[Array, " bin"]:
    """The part of the length of each bin that lies below an energy, 0 to 1."""
    return jnp.clip((energy - grid.low) / grid.width, 0.0, 1.0)


def mean(
    factor: Callable[[Float[Array, " bin"]], Float[Array, " bin"]],
    grid: EnergyGrid,
    start: Float[Array, " bin"] | float = 0.0,
    end: Float[Array, " bin"] | float = 1.0,
) -> Float[Array, " bin"]:
    """Average a smooth factor over each bin by 5-point Gauss-Legendre quadrature.

    Args:
        factor: The factor at energies [keV].
        grid: The bins.
        start: Where the part of a bin to average begins, as a fraction of its length.
        end: Where it ends.
    """
    return sum(
        (
            weight * factor(grid.low + grid.width * (start + (end - start) * node))
            for node, weight in zip(NODES.tolist(), WEIGHTS.tolist(), strict=True)
        ),
        jnp.zeros_like(grid.width),
    )
