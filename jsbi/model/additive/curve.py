"""Smooth curves through points: cubics between equal steps, and polynomials."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def _continued(values: Float[Array, " point"]) -> Float[Array, " longer"]:
    """Two more points on each side, on the cubics through the outermost four."""
    for _ in range(2):
        first, last = (
            4 * side[0] - 6 * side[1] + 4 * side[2] - side[3]
            for side in (values[:4], values[:-5:-1])
        )
        values = jnp.concatenate([first[None], values, last[None]])
    return values


def cubics(values: Float[Array, " point"]) -> Float[Array, "interval power"]:
    """Coefficients of cubics between points, smooth to the first derivative.

    Cubic polynomials are reproduced: the error falls with the fourth power of the step.
    """
    longer = _continued(values)
    slope = (
        8 * (longer[3:-1] - longer[1:-3]) - (longer[4:] - longer[:-4])
    ) / 12  # per step
    low, high = slope[:-1], slope[1:]
    rise = jnp.diff(values)
    return jnp.stack(
        [values[:-1], low, 3 * rise - 2 * low - high, low + high - 2 * rise], axis=-1
    )


def on_cubics(
    coefficients: Float[Array, "interval power"], place: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """The curve at places counted in steps from the first point, constant outside."""
    number = coefficients.shape[0]
    place = jnp.clip(place, 0, number)
    interval = jnp.clip(jnp.floor(place), 0, number - 1).astype(int)
    part = place - interval.astype(place.dtype)
    constant, linear, square, cube = jnp.moveaxis(coefficients[interval], -1, 0)
    return constant + part * (linear + part * (square + part * cube))


def chebyshev_points(number: int) -> Float[np.ndarray, " point"]:
    """Where a polynomial on (-1, 1) is pinned down best."""
    return np.cos(np.pi * (np.arange(number) + 0.5) / number)


def chebyshev_fit(values: Float[Array, " point"]) -> Float[Array, " order"]:
    """Coefficients of the polynomial through values at `chebyshev_points`."""
    number = values.shape[0]
    inverse = np.linalg.inv(
        np.polynomial.chebyshev.chebvander(chebyshev_points(number), number - 1)
    )
    return jnp.asarray(inverse, values.dtype) @ values


def chebyshev_value(
    coefficients: Float[Array, " order"], place: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """The polynomial at places on (-1, 1), by Clenshaw's recurrence."""
    one, two = jnp.zeros_like(place), jnp.zeros_like(place)
    for order in range(coefficients.shape[0] - 1, 0, -1):
        one, two = coefficients[order] + 2 * place * one - two, one
    return coefficients[0] + place * one - two
