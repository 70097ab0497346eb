"""Integrals over energy bins that stay accurate in float32."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid

# Gauss-Legendre nodes and weights on (0, 1).
NODES, WEIGHTS = (
    0.5 * (values + shift)
    for values, shift in zip(
        np.polynomial.legendre.leggauss(5), (1.0, 0.0), strict=True
    )
)


def exprel(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """(e^x - 1) / x, continued to 1 at x = 0, with finite gradients everywhere."""
    series = 1 + x / 2 * (1 + x / 3 * (1 + x / 4))
    safe = jnp.where(jnp.abs(x) < 1e-2, 1.0, x)  # no 0/0 in the branch not taken
    return jnp.where(jnp.abs(x) < 1e-2, series, jnp.expm1(safe) / safe)


def integrate(
    density: Callable[[Float[Array, " bin"]], Float[Array, " bin"]], grid: EnergyGrid
) -> Float[Array, " bin"]:
    """Integrate a smooth density over each bin by 5-point Gauss-Legendre quadrature.

    Exact for polynomials of degree 9; for a Planck spectrum better than 1e-6 while the
    bin is narrower than three temperatures.

    Args:
        density: Photons / cm^2 / s / keV at energies [keV].
        grid: The bins.
    """
    return grid.width * sum(
        weight * density(grid.low + node * grid.width)
        for node, weight in zip(NODES.tolist(), WEIGHTS.tolist(), strict=True)
    )


def integrate_log(
    density: Callable[[Float[Array, " bin"]], Float[Array, " bin"]], grid: EnergyGrid
) -> Float[Array, " bin"]:
    """Integrate `density` per unit ln E over each bin, by the same quadrature in ln E.

    For power-law-like spectra, which are smooth in ln E over bins of any width.

    Args:
        density: E times photons / cm^2 / s / keV at energies E [keV].
        grid: The bins.
    """
    return grid.log_ratio * sum(
        weight * density(grid.low * jnp.exp(node * grid.log_ratio))
        for node, weight in zip(NODES.tolist(), WEIGHTS.tolist(), strict=True)
    )
