"""Photons from the rings of a disk around a black hole that does not rotate.

Radii are in units of G M / c^2, energies in units of that of the line. A photon that
leaves a circular orbit sideways loses `1 - sqrt(1 - 3 / radius)` of its energy. This
`loss` is the variable in which the disk is integrated: the losses of the rings that are
seen at one energy lie between two roots of a convex quartic.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jsbi.model.component import Scalar

_RINGS = 8  # in each half of an integral over rings
_FAINT = 20.0  # e-foldings of the photons of a ring, after which it is left out
_DISK_LAW = 9.9  # slope from which on the emissivity is that of an accretion disk


class Disk(NamedTuple):
    """A disk seen from one side; the radii may be given as ln(radius)."""

    slope: Scalar
    inner: Scalar
    outer: Scalar
    sine: Scalar

    def emissivity(self, inverse_radius: Array) -> Array:
        """Radius^2 times the photons of a unit of area, at most one."""
        steepness = self.slope + 2
        top = jnp.maximum(steepness * self.inner, steepness * self.outer)
        power_law = jnp.exp(-steepness * jnp.log(inverse_radius) - top)
        room = jnp.maximum(1 - jnp.sqrt(6 * inverse_radius), 0.0)
        disk = room * inverse_radius * jnp.exp(self.inner)
        return jnp.where(self.slope < _DISK_LAW, power_law, disk)


def bright_disk(slope: Scalar, inner: Scalar, outer: Scalar, sine: Scalar) -> Disk:
    """A disk between two radii, less the rings that are too faint to matter."""
    inner, outer = jnp.log(inner), jnp.log(outer)
    steepness = jnp.where(slope < _DISK_LAW, slope + 2, -1.0)
    reach = _FAINT / jnp.maximum(jnp.abs(steepness), 0.1)
    first = jnp.where(steepness > 0, jnp.maximum(inner, outer - reach), inner)
    last = jnp.where(steepness < 0, jnp.minimum(outer, inner + reach), outer)
    return Disk(slope, first, last, sine)


def _loss(log_radius: Scalar) -> Scalar:
    """Part of its energy that a photon loses that leaves its orbit sideways."""
    inverse_radius = jnp.exp(-log_radius)
    return 3 * inverse_radius / (1 + jnp.sqrt(1 - 3 * inverse_radius))


def _extremes(disk: Disk, log_radius: Scalar) -> tuple[Scalar, Scalar]:
    """Shifts, which are energies less 1, of the photons of a ring: least, greatest."""
    loss = _loss(log_radius)
    speed = disk.sine / jnp.sqrt(jnp.exp(log_radius) - 2)
    return -(loss + speed) / (1 + speed), (speed - loss) / (1 - speed)


def _bluest_ring(disk: Disk) -> Scalar:
    """The ln(radius) of the ring that has the bluest photons of all.

    Newton's method for 1 / sqrt(radius - 2), which comes from below and never passes
    the root; its last step gives the derivative. From a sine of 0.8 on the radius would
    be less than 6.
    """
    sine = jnp.minimum(disk.sine, 0.8)

    def step(x: Scalar, sine: Scalar) -> Scalar:
        excess = 3 * x - sine * (1 + 4 * x**2 - 2 * x**4)
        return x - excess / (3 - 8 * sine * x * (1 - x**2))

    fixed = jax.lax.stop_gradient(sine)
    x = fixed / 3
    for _ in range(7):
        x = step(x, fixed)
    x = step(x, sine)
    return jnp.clip(jnp.log(1 / x**2 + 2), disk.inner, disk.outer)


def corners(disk: Disk) -> Float[Array, " corner"]:
    """Shifts at which the profile starts, ends, jumps or has a corner; in order."""
    _, bluest = _extremes(disk, _bluest_ring(disk))
    edges = (*_extremes(disk, disk.inner), *_extremes(disk, disk.outer))
    return jnp.sort(jnp.stack([*edges, bluest]))


def _quartic(loss: Array, sine: Scalar, shift: Array) -> tuple[Array, Array, Array]:
    """What is negative where a ring is seen at an energy, and two derivatives."""
    distance, speed_square = loss + shift, ((1 + shift) * sine) ** 2
    factor, slope = 3 - 4 * loss + 2 * loss**2, 4 * (loss - 1)
    return (
        distance**2 * factor - speed_square * loss * (2 - loss),
        2 * distance * factor + distance**2 * slope - 2 * speed_square * (1 - loss),
        2 * factor + 4 * distance * slope + 4 * distance**2 + 2 * speed_square,
    )


@jax.custom_jvp
def _seen(sine: Scalar, shift: Scalar) -> tuple[Scalar, Scalar]:
    """Least and greatest loss of the rings that are seen at an energy.

    Newton's method, from the minimum of the quartic to both sides. Where rounding
    leaves no root because the two are almost one, it is lowered to have them.
    """
    speed_square = ((1 + shift) * sine) ** 2
    middle = (speed_square - 3 * shift + 2 * shift**2) / (
        3 - 8 * shift + 2 * shift**2 + speed_square
    )
    for _ in range(5):
        _, slope, curvature = _quartic(middle, sine, shift)
        middle = middle - slope / curvature
    least, _, curvature = _quartic(middle, sine, shift)
    rounding = 4 * jnp.finfo(least.dtype).eps * speed_square * middle
    lowered = jnp.maximum(least + rounding, 0.0)
    half = jnp.sqrt(2 * (lowered - least) / curvature)
    below = above = half
    # The roots are 0.7 to 1.3 `half` from the minimum; rounding may lead astray.
    for _ in range(6):
        value, slope, _ = _quartic(middle - below, sine, shift)
        below = jnp.clip(below + (value - lowered) / slope, 0.5 * half, 2 * half)
        value, slope, _ = _quartic(middle + above, sine, shift)
        above = jnp.clip(above - (value - lowered) / slope, 0.5 * half, 2 * half)
    # The first root may be tiny beside the minimum: it needs digits of its own.
    first = middle - below
    value, slope, _ = _quartic(first, sine, shift)
    first -= jnp.clip((value - lowered) / slope, -0.25 * half, 0.25 * half)
    return first, middle + above


@_seen.defjvp
def _seen_jvp(
    primals: tuple[Scalar, Scalar], tangents: tuple[Scalar, Scalar]
) -> tuple[tuple[Scalar, Scalar], tuple[Scalar, Scalar]]:
    sine, shift = primals
    first, last = _seen(sine, shift)
    scale = jnp.finfo(shift.dtype).eps * ((1 + shift) * sine) ** 2 * last

    def change(root: Scalar, side: int) -> Scalar:
        _, slope, curvature = _quartic(root, sine, shift)
        steep = jnp.maximum(side * slope, jnp.sqrt(scale * curvature))
        _, along = jax.jvp(
            lambda sine, shift: _quartic(root, sine, shift)[0], primals, tangents
        )
        return -side * along / steep

    return (first, last), (change(first, -1), change(last, 1))


def _root_or_zero(x: Scalar) -> Scalar:
    """The square root of what is positive, with finite gradients."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def profile(disk: Disk, shift: Scalar) -> Scalar:
    """Photons per energy at an energy that some ring emits, in arbitrary units.

    The integral over the rings, whose integrand has an inverse square root at the
    first and the last ring that are seen. In two halves of 8 points, each in a variable
    that takes one of the roots away and is like ln(loss) far from it.
    """
    first, last = _seen(disk.sine, shift)
    low = jnp.maximum(first, _loss(disk.outer))
    high = jnp.maximum(jnp.minimum(last, _loss(disk.inner)), low)
    middle = jnp.sqrt(low * high)
    energy, total = 1 + shift, first + last
    linear = 4 * shift - 4 + 2 * total
    constant = 3 - 8 * shift + 2 * shift**2 + (energy * disk.sine) ** 2
    constant += total * linear - 2 * first * last

    def emitted(loss: Array) -> Array:
        inverse_radius = loss * (2 - loss) / 3
        room = 3 - 6 * (1 - disk.sine**2) * inverse_radius
        room /= 2 * loss**2 + linear * loss + constant
        spread = energy**2 + 2 * (loss + shift) ** 2
        emission = disk.emissivity(inverse_radius) / inverse_radius
        return emission * (1 - loss) ** 2 * jnp.sqrt(room) / spread

    def distance(difference: Array) -> Array:
        rounding = jnp.finfo(shift.dtype).eps * last
        return jnp.sqrt(jnp.maximum(difference, rounding))

    nodes, weights = np.polynomial.legendre.leggauss(_RINGS)
    part = jnp.asarray(0.5 + 0.5 * nodes, shift.dtype)
    weight = jnp.asarray(0.5 * weights, shift.dtype)
    # loss = (x + first / x)^2 / 4, with sqrt(loss - first) = (x - first / x) / 2.
    start, centre, start_room = (
        jnp.sqrt(low),
        jnp.sqrt(middle),
        _root_or_zero(low - first),
    )
    step = 1 / (start + centre) + 1 / (start_room + distance(middle - first))
    x = start + start_room
    length = jnp.log1p((middle - low) * step / x)
    x *= jnp.exp(part * length)
    place = 0.5 * (x + first / x)
    outer = place**2
    outer_weight = length * weight * place / distance(last - outer)
    # sqrt(loss) = 2 sqrt(last) x / (1 + x^2).
    root, end_room = jnp.sqrt(last), _root_or_zero(last - high)
    room = distance(last - middle)
    step = (high - middle) / (room + end_room) / (root + end_room)
    length = 0.5 * jnp.log1p((high - middle) / middle) + jnp.log1p(step)
    x = centre / (root + room) * jnp.exp(part * length)
    inner = last * (2 * x / (1 + x**2)) ** 2
    inner_weight = length * weight * inner / root / distance(inner - first)
    loss = jnp.concatenate([outer, inner])
    weight = jnp.concatenate([outer_weight, inner_weight])
    return energy**4 * jnp.sum(emitted(loss) * weight)
