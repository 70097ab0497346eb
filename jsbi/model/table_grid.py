"""Where a point lies on the grid of a table, and an energy among its bins."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jsbi.data import TableParameter
from jsbi.instrument import EnergyGrid
from jsbi.model.component import Scalar

SLACK = 1e-6  # of rounding that still counts as inside of the grid


class Axis(eqx.Module):
    """The tabulated values of one parameter.

    Between two values of a logarithmic parameter the logarithm is what counts; where
    one of them is not positive, and has none, the value itself.
    """

    nodes: Float[Array, " node"]
    step: Float[Array, " interval"]  # from float64
    logarithmic: Bool[Array, " interval"]  # whether `step` is of the logarithm
    low: Scalar
    high: Scalar

    def __init__(self, parameter: TableParameter):
        low, high = parameter.values[:-1], parameter.values[1:]
        logarithmic = (low > 0) & (parameter.method == "log")
        ratio = np.where(logarithmic, high, 1.0) / np.where(logarithmic, low, 1.0)
        self.nodes = jnp.asarray(parameter.values)
        self.step = jnp.asarray(np.where(logarithmic, np.log(ratio), high - low))
        self.logarithmic = jnp.asarray(logarithmic)
        self.low, self.high = (jnp.asarray(end) for end in parameter.range)

    def locate(self, value: Scalar) -> tuple[Int[Array, ""], Scalar]:
        """The interval of a value, and the fraction of it below; NaN if in none."""
        nodes = self.nodes
        index = jnp.searchsorted(nodes, value, side="right") - 1
        index = jnp.clip(index, 0, len(nodes) - 2)
        start, logarithmic = nodes[index], self.logarithmic[index]
        offset = value - start
        relative = offset / jnp.where(logarithmic, start, 1.0)
        # No logarithm of what is not positive, not even in a branch not taken.
        safe = jnp.where(logarithmic & (relative > -1), relative, 0.0)
        fraction = jnp.where(logarithmic, jnp.log1p(safe), offset) / self.step[index]
        slack = SLACK * jnp.maximum(jnp.abs(self.low), jnp.abs(self.high))
        inside = (value >= self.low - slack) & (value <= self.high + slack)
        return index, jnp.where(inside, fraction, jnp.nan)


class Bins(eqx.Module):
    """The energy bins of a table [keV]."""

    edges: Float[Array, " edge"]
    remainder: Float[Array, " edge"]  # of the float64 edges
    width: Float[Array, " bin"]

    def __init__(self, edges: np.ndarray):
        self.edges = jnp.asarray(edges)
        held = np.asarray(self.edges, np.float64)
        self.remainder = jnp.asarray(edges - held)
        self.width = jnp.asarray(np.diff(edges))

    def integrate(
        self,
        density: Float[Array, " bin"],
        content: Float[Array, " bin"],
        outside: tuple[Scalar, Scalar],
        grid: EnergyGrid,
    ) -> Float[Array, " output"]:
        """Integrate a density that is constant in each bin of the table over a grid.

        Sums only what lies inside of each bin of the grid: the differences of a
        cumulative integral would lose the faint end in single precision.

        Args:
            density: Of each bin of the table.
            content: Density times width of each bin.
            outside: Densities below and above the table.
            grid: Bins to integrate over.
        """
        edges, low = self.edges, grid.edges[:-1]
        # 0 is below the table, i + 1 is its bin i; an edge belongs to the bin above it
        # where a bin of the grid begins, and to the one below where one ends.
        place = jnp.searchsorted(edges, grid.edges, side="right")
        at_edge = edges[jnp.maximum(place - 1, 0)] == grid.edges
        first = place[:-1]
        last = jnp.maximum((place - at_edge.astype(place.dtype))[1:], first)
        padded = jnp.concatenate([outside[0][None], density, outside[1][None]])
        # Widths do not come from differences of edges of the grid, which keep few
        # digits: the part in the last bin is what the others leave.
        upper, lower = jnp.minimum(first, len(edges) - 1), jnp.maximum(last - 1, 0)
        gap = edges[lower] - edges[upper]
        gap = gap + (self.remainder[lower] - self.remainder[upper])
        left = edges[upper] - low + self.remainder[upper]
        left = jnp.clip(left, 0.0, grid.width)
        right = jnp.maximum(grid.width - left - gap, 0.0)
        ends = padded[first] * left + padded[last] * right
        runs = _running_sums(jnp.pad(content, 1), first)
        whole = jnp.where(last > first + 1, runs[lower], 0.0)
        return jnp.where(last == first, padded[first] * grid.width, ends + whole)


def _running_sums(
    values: Float[Array, " bin"], before: Int[Array, " output"]
) -> Float[Array, " bin"]:
    """Cumulative sums that start anew after each of some places.

    Sums of ever more neighbours, twice as many in each step, none across a start.
    """
    number = len(values)
    begun = jnp.zeros(number, bool).at[before + 1].set(True, mode="drop")

    def double(state: tuple[Array, Array], step: Array) -> tuple[Any, None]:
        total, begun = state
        earlier, before = (
            jax.lax.dynamic_slice(
                jnp.pad(each, (number, 0)), (number - step,), (number,)
            )
            for each in state
        )
        return (jnp.where(begun, total, total + earlier), begun | before), None

    steps = 2 ** jnp.arange(max(number - 1, 1).bit_length(), dtype=jnp.int32)
    return jax.lax.scan(double, (values, begun), steps)[0][0]
