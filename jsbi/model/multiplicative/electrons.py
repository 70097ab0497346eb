"""Photons that free electrons scatter out of the line of sight."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.component import Component, Multiplicative, Scalar, parameter
from jsbi.model.integrate import exprel

ELECTRON_ENERGY = 510.999  # at rest [keV]
ELECTRONS_PER_HYDROGEN = 1.21
THOMSON = 0.665e-2  # cross section [1e-22 cm^2]


def klein_nishina(energy: Float[Array, " edge"]) -> Float[Array, " edge"]:
    """The total cross section of a free electron at rest, relative to Thomson's.

    The difference between a logarithm and its leading terms, which cancel at low
    energy, is a series of positive terms in y = w / (1 + w), where w is the energy in
    units of the electron's: the logarithm ln(1 + 2 w) is 2 artanh(y).
    """
    w = energy / ELECTRON_ENERGY
    y = w / (1 + w)
    square = y**2
    series = jnp.zeros_like(y)
    for order in range(9, 0, -1):
        series = series * square + order / (2 * order + 1)
    small = 4 * (1 - y) ** 2 * series
    large = jnp.maximum(w, 0.3)
    logarithm = jnp.log1p(2 * large)
    rational = 2 * large * (1 + large) / (1 + 2 * large)
    difference = (1 + large) / large**3 * (rational - logarithm)
    rest = jnp.log1p(2 * w) / (2 * w) - (1 + 3 * w) / (1 + 2 * w) ** 2
    return 0.75 * (jnp.where(w < 0.3, small, difference) + rest)


class ComptonScattering(Component, Multiplicative):
    """`exp(-1.21 nH sigma(E))`, with the cross section of Klein and Nishina.

    What is scattered is lost, and what is scattered in or loses energy is left out, so
    that it holds for thin matter or a narrow beam. Averaged over each bin as if the
    depth were linear in it; XSPEC takes the middle, 1e-8 apart on bins of 0.24 % where
    anything passes.

    Source: Klein & Nishina (1929), Z. Phys. 52, 853; XSPEC manual, `cabs`.
    """

    xspec_name: ClassVar[str] = "cabs"
    nH: Scalar = parameter("nH", 1.0, (0.0, 1e6), "1e22 / cm^2")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        section = ELECTRONS_PER_HYDROGEN * THOMSON * klein_nishina(grid.edges)
        depth = self.nH * section
        # The depth falls with energy, so nothing here overflows.
        return jnp.exp(-depth[1:]) * exprel(depth[1:] - depth[:-1])
