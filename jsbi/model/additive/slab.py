"""Photons that leave a plane slab after any number of scatterings, by its depth."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import exp1, expn

from jsbi.model.additive.curve import chebyshev_points, chebyshev_value
from jsbi.model.component import Scalar

Modes = Float[np.ndarray, " mode"]
Poles = Float[np.ndarray, " pole"]

_DEEPEST = 10.0
_DEPTHS = 32
_NODES = 96
_POLES = 7  # of each parity


class Slab(eqx.Module):
    """Photons that leave one side of a slab, of those that enter the other evenly.

    Attributes:
        unscattered: The part that never scatters.
        once: The part that scatters once, over the depth.
        poles: What each mode keeps of its photons at a scattering, the largest first.
        weights: The part that scatters n > 1 times is `depth sum(weights poles^(n-2))`.
    """

    unscattered: Scalar
    once: Scalar
    poles: Float[Array, " mode"]
    weights: Float[Array, " mode"]

    def __init__(self, depth: Scalar):
        """Look up the slab of a Thomson depth, at most 10, to 1e-5."""
        table = jnp.asarray(_table(), depth.dtype)
        # Without depth the root has no derivative, but what it multiplies is 0.
        place = 2 * jnp.cbrt(jnp.maximum(depth, 1e-6) / _DEEPEST) - 1
        rows = jax.vmap(chebyshev_value, (1, None))(table, place)
        self.unscattered = jnp.exp(-depth * rows[0])
        self.once = jnp.exp(rows[1])
        self.poles, self.weights = jnp.split(rows[2:], 2)


def _crowded(length: float, number: int) -> tuple[Modes, Modes]:
    """Points that crowd at zero, and their weights, for integrals to `length`."""
    place, weight = np.polynomial.legendre.leggauss(number)
    angle = np.pi / 4 * (place + 1)
    points = 2 * length * np.sin(angle / 2) ** 2
    return points, np.pi / 4 * length * np.sin(angle) * weight


def _modes(depth: float, parity: int) -> tuple[Modes, Modes]:
    """Eigenvalues of one isotropic scattering, and photons per mode after two.

    The even or odd modes on one half of the slab. What a sum over points misses where
    the kernel, an exponential integral, is infinite is put on the diagonal.
    """
    at, weight = _crowded(depth / 2, _NODES)
    same = np.eye(_NODES)
    near = exp1(np.abs(at[:, None] - at) + same) * (1 - same)
    kernel = (near + parity * exp1(depth - at[:, None] - at)) / 2
    bottom, middle, top = (expn(2, far) for far in (at, depth / 2 - at, depth - at))
    total = (2 - bottom - middle + parity * (middle - top)) / 2
    root = np.sqrt(weight)
    scattering = root[:, None] * kernel * root + np.diag(total - kernel @ weight)
    source = root * (bottom + parity * top) / 2
    eigenvalues, vectors = np.linalg.eigh(scattering)
    return eigenvalues, 2 * eigenvalues * (vectors.T @ source) ** 2


def _fewer(eigenvalues: Modes, photons: Modes) -> tuple[Poles, Poles]:
    """The leading mode, and six in place of all others, by Lanczos's method."""
    others = eigenvalues[:-1]
    total = photons[:-1].sum()
    basis = [np.sqrt(photons[:-1] / total)]
    for _ in range(_POLES - 2):
        following = others * basis[-1]
        for _ in range(2):  # twice, against rounding
            for known in basis:
                following = following - (known @ following) * known
        basis.append(following / np.sqrt(following @ following))
    poles, vectors = np.linalg.eigh((np.array(basis) * others) @ np.array(basis).T)
    weights = total * vectors[0] ** 2
    leading_first = slice(None, None, -1)
    return (
        np.append(poles, eigenvalues[-1])[leading_first],
        np.append(weights, photons[-1])[leading_first],
    )


def _row(depth: float) -> Float[np.ndarray, " row"]:
    """All that is known of a slab, as smooth functions of its depth."""
    even, odd = _fewer(*_modes(depth, 1)), _fewer(*_modes(depth, -1))
    at, weight = _crowded(depth / 2, 64)
    once = 2 * weight @ (expn(2, at) * expn(2, depth - at))
    return np.concatenate(
        [
            [-np.log(2 * expn(3, depth)) / depth, np.log(once / depth)],
            *(even[0], odd[0]),
            *(even[1] / depth, -odd[1] / depth),
        ]
    )


@functools.cache
def _table() -> Float[np.ndarray, "order row"]:
    """Chebyshev coefficients of the rows, in the cube root of the depth."""
    place = chebyshev_points(_DEPTHS)
    rows = [_row(depth) for depth in _DEEPEST * ((place + 1) / 2) ** 3]
    vandermonde = np.polynomial.chebyshev.chebvander(place, _DEPTHS - 1)
    return np.linalg.solve(vandermonde, np.array(rows))
