"""Lines from the inner parts of accretion disks."""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import chebyshev

from jsbi.instrument import EnergyGrid
from jsbi.model.additive.curve import chebyshev_points
from jsbi.model.additive.rings import Disk, bright_disk, corners, profile
from jsbi.model.component import (
    Component,
    Scalar,
    SpectralModel,
    normalisation,
    parameter,
)

Bins = Float[Array, " bin"]

_LEAST_SINE = 5e-3  # of the inclination, 0.3 degrees
_LEAST_RATIO = 1.001  # of the radii
_POINTS = 24  # of a series


def _mean_matrix() -> Float[np.ndarray, "point order"]:
    """From a function at `chebyshev_points` to the series of its mean from 0 to x.

    The points are those of x^(1/4). The mean of t^k, over the x from 0 on, is
    4 t^k / (k + 4); here by quadrature that is exact.
    """
    points = chebyshev_points(_POINTS)
    vander = chebyshev.chebvander(points, _POINTS - 1)
    inverse = np.linalg.inv(vander)
    nodes, weights = np.polynomial.legendre.leggauss(_POINTS)
    means = np.zeros_like(vander)
    for part, weight in zip(0.5 * (1 + nodes), 0.5 * weights, strict=True):
        shorter = part * (1 + points) - 1
        means += 4 * weight * part**3 * chebyshev.chebvander(shorter, _POINTS - 1)
    return (inverse @ means @ inverse).T


_TO_SERIES = _mean_matrix()


class _Pieces(NamedTuple):
    """The profile in pieces, each from a corner to half the way to the next one.

    Of each the mean profile from its corner on, as a series in the fourth root of the
    distance: the profile is smooth in that, though it has a square root at the corner.
    """

    corner: Float[Array, "*piece"]
    length: Float[Array, "*piece"]
    direction: Float[Array, "*piece"]
    series: Float[Array, "*piece order"]


def _pieces(disk: Disk) -> _Pieces:
    """The profile at the points that its series need."""
    places = corners(disk)
    half = 0.5 * (places[1:] - places[:-1])
    corner = jnp.concatenate([places[:-1], places[1:]])
    length = jnp.concatenate([half, half])
    direction = jnp.concatenate([jnp.ones_like(half), -jnp.ones_like(half)])
    points = jnp.asarray((0.5 + 0.5 * chebyshev_points(_POINTS)) ** 4, half.dtype)
    shifts = corner[:, None] + (direction * length)[:, None] * points[None, :]
    values = jax.vmap(jax.vmap(lambda shift: profile(disk, shift)))(shifts)
    to_series = jnp.asarray(_TO_SERIES, half.dtype)
    series = jnp.matmul(values, to_series, precision=jax.lax.Precision.HIGHEST)
    return _Pieces(corner, length, direction, series)


def _value_and_rise(
    series: Float[Array, " order"], first: Bins, second: Bins
) -> tuple[Bins, Bins]:
    """A Chebyshev series at one place, and its mean slope from there to another.

    Clenshaw's recurrence and that of its difference, which does not cancel.
    """
    one, two, rise, last_rise = (jnp.zeros_like(first) for _ in range(4))
    for order in range(_POINTS - 1, 0, -1):
        rise, last_rise = 2 * (one + second * rise) - last_rise, rise
        one, two = series[order] + 2 * first * one - two, one
    return series[0] + first * one - two, one + second * rise - last_rise


def _share(piece: _Pieces, low: Bins, width: Bins) -> Bins:
    """Photons of one piece in each bin."""
    corner, length, direction, series = piece
    size = jnp.maximum(length, 1e-12)
    width = width / size
    distance = direction * (low - corner) / size
    distance = jnp.where(direction > 0, distance, distance - width)
    first = jnp.clip(distance, 0.0, 1.0)
    inside = jnp.minimum(width + jnp.minimum(distance, 0.0), 1 - first)
    inside = jnp.clip(inside, 0.0, 1.0)
    second = first + inside
    one, two = (jnp.sqrt(jnp.maximum(x, 1e-12)) for x in (first, second))
    root, last_root = jnp.sqrt(one), jnp.sqrt(two)
    step = inside / ((one + two) * (root + last_root))
    mean, rise = _value_and_rise(series, 2 * root - 1, 2 * last_root - 1)
    return length * (inside * mean + second * 2 * step * rise)


def _photons(disk: Disk, low: Bins, width: Bins) -> Bins:
    """Part of the photons of a line in bins, from the shifts of their low edges."""
    pieces = _pieces(disk)

    def add(total: Bins, piece: _Pieces) -> tuple[Bins, None]:
        return total + _share(piece, low, width), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(low), pieces)
    # Far from the peak rounding, or the end of a series, may leave less than nothing.
    whole = jnp.sum(pieces.length * jnp.sum(pieces.series, 1))
    return jnp.maximum(total, 0.0) / whole


@jax.custom_jvp
def _line(disk: Disk, low: Bins, width: Bins) -> Bins:
    """The same, with a derivative that also backwards is taken forwards.

    Six columns in all, where all that happens in a bin would be kept.
    """
    return _photons(disk, low, width)


@_line.defjvp
def _line_jvp(
    primals: tuple[Disk, Bins, Bins], tangents: tuple[Disk, Bins, Bins]
) -> tuple[Bins, Bins]:
    _, low, width = primals
    unit = jnp.eye(len(Disk._fields) + 2, dtype=low.dtype)
    bins = jnp.ones((1, low.size), low.dtype)
    directions = (Disk(*unit[:-2]), *(each[:, None] * bins for each in unit[-2:]))
    photons, columns = jax.vmap(
        lambda direction: jax.jvp(_photons, primals, direction), out_axes=(None, 0)
    )(directions)
    of_disk, of_low, of_width = tangents
    change = columns[-2] * of_low + columns[-1] * of_width
    for column, tangent in zip(columns[:-2], of_disk, strict=True):
        change += column * tangent
    return photons, change


class DiskLine(Component, SpectralModel):
    """A line from a disk around a black hole that does not rotate.

    Photons of energy `LineE`, emitted with radius^Betor10 from `Rin_M` to `Rout_M` (in
    G M / c^2), shifted by the motion and the gravity at each place and enhanced by the
    cube of the shift; light is not bent. With `Betor10` of 10 (from 9.9 on) the
    emissivity is `(1 - sqrt(6 / r)) / r^3`. `norm` is that of the whole line, and zero
    is what a disk without extent emits.

    The profile has up to five corners, where the first, the last or the bluest ring
    begins or ends. From each corner half the way to the next it is a series, of 24
    integrals over the rings, from which bins of any width follow without loss of
    photons. Bins are good to 3e-5 of the peak, most to 1e-6, and in float32 to 1e-4 of
    the peak but for one that holds a jump, whose energy is rounded by 1e-7; if the
    radii differ by less than 1 % to 1e-3, and to 5e-3 where an emissivity that rises
    outwards, over a hundred radii and more, is seen from within 5 degrees of the axis.
    XSPEC adds 99 rings of 90 parts, each spread evenly over its energies: its numbers
    ripple by 1.3 % of the peak in bins of 0.24 %, and by 27 % in bins of 0.5 eV. It
    also gives `norm` to what lies inside of the grid.
    Inclinations below 0.3 degrees count as that, disks whose radii differ by less than
    0.1 % as of that ratio.

    Source: Fabian et al. (1989), MNRAS 238, 729; XSPEC manual, `diskline`.
    """

    xspec_name: ClassVar[str] = "diskline"
    energy: Scalar = parameter("LineE", 6.7, (0.0, 100.0), "keV")
    slope: Scalar = parameter("Betor10", -2.0, (-10.0, 20.0), frozen=True)
    inner: Scalar = parameter("Rin_M", 10.0, (6.0, 10000.0), "G M / c^2", frozen=True)
    outer: Scalar = parameter("Rout_M", 1000.0, (0.0, 1e7), "G M / c^2", frozen=True)
    inclination: Scalar = parameter("Incl", 30.0, (0.0, 90.0), "degrees")
    norm: Scalar = normalisation("photons / cm^2 / s")

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""
        exists = (self.outer > self.inner) & (self.energy > 0)
        energy = jnp.where(exists, self.energy, 1.0)
        outer = jnp.maximum(self.outer, _LEAST_RATIO * self.inner)
        eighth = jnp.sin(self.inclination * (np.pi / 180)) ** 8 + _LEAST_SINE**8
        sine = jnp.sqrt(jnp.sqrt(jnp.sqrt(eighth)))
        disk = bright_disk(self.slope, self.inner, outer, sine)
        photons = _line(disk, (grid.low - energy) / energy, grid.width / energy)
        return self.norm * jnp.where(exists, photons, 0.0)
