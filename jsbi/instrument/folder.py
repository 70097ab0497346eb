"""Folding: one linear map from photon flux to expected counts."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float

from jsbi.data import Observation
from jsbi.instrument.grid import EnergyGrid


class Folder(eqx.Module):
    """Expected source counts per fit bin from the photon flux per energy bin.

    Redistribution, effective area, exposure, area scale and grouping are one matrix,
    multiplied out on the host in float64. Energies below and above those that reach
    a kept bin are dropped.

    Args:
        observation: The spectrum with its response and its selection of bins.

    Raises:
        ValueError: If no photon energy reaches the kept bins.
    """

    grid: EnergyGrid
    matrix: Float[Array, "channel bin"]  # [cm^2 s]

    def __init__(self, observation: Observation):
        response = observation.response
        scale = observation.exposure * observation.area_scale[:, None]
        folded = response.redistribution.multiply(response.area[None, :])
        matrix = observation.grouped(folded.multiply(scale).tocsr()).toarray()
        used = np.flatnonzero(matrix.any(0))
        if not used.size:
            raise ValueError(
                f"{observation.name}: the response must let some energy reach the kept "
                "bins, but all its elements there are zero. Is the effective area zero?"
            )
        first, last = used[0], used[-1] + 1
        self.grid = EnergyGrid(response.energy_edges[first : last + 1])
        self.matrix = jnp.asarray(matrix[:, first:last])

    @property
    def bins(self) -> int:
        """Number of fit bins."""
        return self.matrix.shape[0]

    def __call__(self, flux: Float[Array, " bin"]) -> Float[Array, " channel"]:
        """Fold a photon flux [photons / cm^2 / s per bin] into counts."""
        # HIGHEST: an accelerator may otherwise round the operands to 10 bits.
        return jnp.matmul(self.matrix, flux, precision=Precision.HIGHEST)
