"""Means of a spectrum over other bins, by overlap, accurate in float32."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jsbi.instrument import EnergyGrid

Pair = tuple[Array, Array]  # a number and its rounding error


def _add(one: Pair, other: Pair) -> Pair:
    """Add numbers that carry their rounding errors."""
    total = one[0] + other[0]
    added = total - one[0]
    error = (one[0] - (total - added)) + (other[0] - added)
    return total, error + one[1] + other[1]


def _sums_up_to(values: Float[Array, " bin"]) -> Pair:
    """Sums of all bins below each edge, with rounding errors apart.

    The difference of two plain sums in float32 has lost what is 1e-7 of the total, such
    as the hard end of a steep spectrum.
    """
    sums, errors = jax.lax.associative_scan(_add, (values, jnp.zeros_like(values)))
    return jnp.pad(sums, (1, 0)), jnp.pad(errors, (1, 0))


def _sum_between(
    sums: Pair, first: Int[Array, " new"], last: Int[Array, " new"]
) -> Float[Array, " new"]:
    """Sum of the bins from `first` up to and without `last`."""
    return (sums[0][last] - sums[0][first]) + (sums[1][last] - sums[1][first])


def mean_density(
    grid: EnergyGrid,
    photons: Float[Array, " bin"],
    edges: Float[Array, " edge"],
) -> tuple[Float[Array, " new"], Float[Array, " new"]]:
    """The density of a histogram, averaged over new bins by overlap.

    Only ratios of overlaps enter, so that edges that are known to a part of a bin only,
    as in float32, do no more than move a little of the spectrum to the next bin.

    Args:
        grid: Bins of the histogram.
        photons: Photons / cm^2 / s in them.
        edges: Edges of the new bins [keV], increasing. They may lie anywhere.

    Returns: Photons / cm^2 / s / keV averaged over the part of each new bin that lies
        inside of the grid, zero without such a part; and the share of that part.
    """
    inside = jnp.clip(edges, grid.edges[0], grid.edges[-1])
    width = edges[1:] - edges[:-1]
    share = jnp.clip((inside[1:] - inside[:-1]) / width, 0.0, 1.0)
    whole = (inside[1:] == edges[1:]) & (inside[:-1] == edges[:-1])

    place = jnp.searchsorted(grid.edges, inside, side="right") - 1
    place = jnp.clip(place, 0, grid.width.size - 1)
    part = jnp.clip((inside - grid.edges[place]) / grid.width[place], 0.0, 1.0)
    first, last = place[:-1], place[1:]

    def overlap(values: Float[Array, " bin"]) -> Float[Array, " new"]:
        between = _sum_between(_sums_up_to(values), jnp.minimum(first + 1, last), last)
        return (1 - part[:-1]) * values[first] + between + part[1:] * values[last]

    covered = overlap(grid.width)
    several = (last > first) & (covered > 0)
    average = overlap(photons) / jnp.where(several, covered, 1.0)
    mean = jnp.where(several, average, photons[first] / grid.width[first])
    some = share > 0
    return jnp.where(some, mean, 0.0), jnp.where(whole, 1.0, share)
