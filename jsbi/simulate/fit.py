"""The best fit from one start, on the device, to be mapped over many."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jsbi.simulate.noise import deviance_residuals
from jsbi.simulate.simulator import Simulator


class Fit(NamedTuple):
    """Where a fit ended.

    Attributes:
        z: Coordinates.
        hessian: Gauss-Newton's, of -ln posterior, there.
        passes: Evaluations of the model with its derivatives.
    """

    z: Float[Array, " dim"]
    hessian: Float[Array, "dim dim"]
    passes: Int[Array, ""]


def fit_mode(
    simulator: Simulator,
    counts: Float[Array, " channel"],
    start: Float[Array, " dim"],
    *,
    most: int,
    tolerance: float = 1e-4,
) -> Fit:
    """Climb to a maximum of the posterior density by Levenberg-Marquardt steps.

    Args:
        simulator: The model.
        counts: Observed counts.
        start: Where to begin.
        most: Passes at most.
        tolerance: Change of ln posterior that a last step promises.

    Source: Levenberg (1944), Quarterly of Applied Mathematics 2, 164; Marquardt (1963),
        SIAM Journal 11, 431.
    """

    def residuals(z):
        root = deviance_residuals(counts, simulator.expected_counts(z))
        root = jnp.concatenate([root, z])
        return root, root

    def linearise(z):
        """Residuals and their Jacobian from one pass."""
        slope, root = jax.jacfwd(residuals, has_aux=True)(z)
        return root, slope

    def step(state):
        z, root, slope, damping, _, count = state
        hessian, gradient = slope.T @ slope, slope.T @ root
        damped = hessian + damping * jnp.diag(jnp.diag(hessian))
        move = -jnp.linalg.solve(damped, gradient)
        move = move * jnp.minimum(1.0, 3.0 / jnp.linalg.norm(move))
        new = (z + move, *linearise(z + move))
        better = (new[1] ** 2).sum() < (root**2).sum()
        small = jnp.abs(move @ gradient) < tolerance
        return (
            *jax.tree.map(lambda a, b: jnp.where(better, a, b), new, (z, root, slope)),
            jnp.clip(jnp.where(better, damping / 4, damping * 5), 1e-7, 1e9),
            small | (damping >= 1e8),
            count + 1,
        )

    state = (
        start,
        *linearise(start),
        jnp.asarray(1e-2, start.dtype),
        jnp.asarray(False),
        jnp.asarray(1),
    )
    z, _, slope, _, _, passes = jax.lax.while_loop(
        lambda state: ~state[-2] & (state[-1] < most), step, state
    )
    return Fit(z, slope.T @ slope, passes)
