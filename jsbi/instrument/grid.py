"""Photon-energy bins, prepared in float64 so that float32 suffices afterwards."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class EnergyGrid(eqx.Module):
    """Contiguous photon-energy bins [keV].

    Widths and log widths are formed in float64 before conversion, because the
    difference of two float32 edges of a narrow bin keeps only a few digits.

    Args:
        edges: Bin edges [keV], positive and increasing, of length bin + 1.

    Raises:
        ValueError: If an edge is not finite, not positive or not increasing.
    """

    edges: Float[Array, " edge"]  # [keV]
    width: Float[Array, " bin"]  # [keV]
    log_ratio: Float[Array, " bin"]  # ln(high / low)

    def __init__(self, edges: np.ndarray):
        edges = np.asarray(edges, np.float64)
        if edges.ndim != 1 or edges.size < 2:
            raise ValueError(
                f"`edges` must be a vector of at least two energies [keV]; got shape "
                f"{edges.shape}."
            )
        low, high = edges[:-1], edges[1:]
        good = (low > 0) & (high > low) & np.isfinite(high)
        bad = np.flatnonzero(~good)
        if bad.size:
            raise ValueError(
                "`edges` must be positive, finite and increasing [keV]; bin "
                f"{bad[0]} spans {edges[bad[0]]:g} to {edges[bad[0] + 1]:g}. "
                "Wavelengths or channels?"
            )
        self.edges = jnp.asarray(edges)
        self.width = jnp.asarray(np.diff(edges))
        self.log_ratio = jnp.asarray(np.log(edges[1:] / edges[:-1]))

    def shifted(self, redshift: Float[Array, ""]) -> "EnergyGrid":
        """The same bins in the frame of a source, `1 + redshift` times the energy."""
        return eqx.tree_at(
            lambda grid: (grid.edges, grid.width),
            self,
            (self.edges * (1 + redshift), self.width * (1 + redshift)),
        )

    @property
    def low(self) -> Float[Array, " bin"]:
        """Lower edges [keV]."""
        return self.edges[:-1]

    @property
    def high(self) -> Float[Array, " bin"]:
        """Upper edges [keV]."""
        return self.edges[1:]
