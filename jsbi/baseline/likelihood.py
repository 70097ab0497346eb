"""Fits of the likelihood alone, within the ends of the priors, many side by side."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jsbi.simulate import Simulator, Target, deviance_residuals
from jsbi.simulate.prior import REACH as REACH

STEPS = 60  # of one fit
TOLERANCE = 1e-4  # fall of the C statistic that a last step promises
LEAST_EIGENVALUE = 1e-7  # of the information in units of its diagonal: float32


def inverse(
    information: Float[np.ndarray, "dim dim"],
) -> Float[np.ndarray, "dim dim"]:
    """Covariance; inf on the diagonal where the data do not know a parameter."""
    scale = np.sqrt(np.diag(information))
    known = scale > 0
    part = information[np.ix_(known, known)] / np.outer(scale[known], scale[known])
    values, axes = np.linalg.eigh(part)
    inverse = (axes / np.maximum(values, LEAST_EIGENVALUE)) @ axes.T
    covariance = np.diag(np.where(known, 0.0, np.inf))
    covariance[np.ix_(known, known)] = inverse / np.outer(scale[known], scale[known])
    return covariance


def information_at(
    target: Target, z: Float[np.ndarray, "point dim"]
) -> tuple[Float[np.ndarray, "point dim dim"], Float[np.ndarray, "point dim"]]:
    """Fisher information of the counts about z, and d physical / dz."""
    found = _slopes(target.simulator, jnp.asarray(z, target.counts.dtype))
    target.evaluations += len(z) * (target.dimension + 1)
    information, stretch = (np.asarray(each, np.float64) for each in found)
    return information, stretch


@eqx.filter_jit
def _slopes(simulator: Simulator, z: Array) -> tuple[Array, Array]:
    def at(z):
        expected = simulator.expected_counts(z)
        slope = jax.jacfwd(simulator.expected_counts)(z)
        least = jnp.finfo(expected.dtype).tiny ** 0.5
        white = slope / jnp.sqrt(jnp.maximum(expected, least))[:, None]
        stretch = jnp.diagonal(jax.jacfwd(simulator.prior.free)(z))
        return white.T @ white, stretch

    return jax.vmap(at)(z)


def fit_likelihood(
    target: Target,
    start: Float[np.ndarray, "fit dim"],
    free: Bool[np.ndarray, "fit dim"],
) -> tuple[Float[np.ndarray, "fit dim"], Float[np.ndarray, " fit"]]:
    """Fit the free parameters from every start, side by side, without the prior.

    The priors' ends, five standard deviations out, are walls.

    Args:
        target: Gives the likelihood.
        start: Where the fits begin, in coordinates in which the prior is N(0, I).
        free: What may move.

    Returns: Where the fits ended, and the C statistic there.

    Source: Marquardt (1963), SIAM Journal 11, 431.
    """
    dtype, number = target.counts.dtype, len(start)
    # As many as a profile needs, so that one compilation serves nearly all.
    rows = np.resize(np.arange(number), max(number, 4 * target.dimension))
    z, passes = _descend(
        target.simulator,
        target.counts,
        jnp.asarray(start[rows], dtype),
        jnp.asarray(free[rows], dtype),
    )
    target.evaluations += int(passes[:number].sum()) * (target.dimension + 1)
    # A held parameter keeps its value to the last digit of float64.
    ends = np.where(free, np.asarray(z, np.float64)[:number], start)
    return ends, -2 * target.log_likelihood(ends)


@eqx.filter_jit
def _descend(
    simulator: Simulator, counts: Array, start: Array, free: Array
) -> tuple[Array, Array]:
    """Levenberg-Marquardt steps within the priors' ends; the points and passes."""

    def residuals(z):
        root = deviance_residuals(counts, simulator.expected_counts(z))
        return root, root

    def linearise(z):
        slope, root = jax.jacfwd(residuals, has_aux=True)(z)
        return root, slope

    def move(z, root, slope, damping, free):
        gradient = slope.T @ root
        # At an end, with the fit pushing outwards, a parameter is held.
        held = (jnp.abs(z) >= REACH) & (z * gradient < 0)
        slope = slope * jnp.where(held, 0, free)[None]
        scale = jnp.sqrt((slope**2).sum(0))
        scale = jnp.where(scale > 0, scale, 1)
        white = slope / scale[None]
        matrix = white.T @ white + (damping + 1e-6) * jnp.eye(len(z), dtype=z.dtype)
        shift = -jnp.linalg.solve(matrix, white.T @ root) / scale
        shift = shift * jnp.minimum(1, 3 / jnp.maximum(jnp.linalg.norm(shift), 1e-30))
        return jnp.clip(z + shift, -REACH, REACH), jnp.abs(shift @ gradient)

    def climb(start, free):
        def step(state):
            z, root, slope, damping, _, count = state
            there, promise = move(z, root, slope, damping, free)
            new = (there, *linearise(there))
            better = (new[1] ** 2).sum() < (root**2).sum()
            kept = jax.tree.map(
                lambda a, b: jnp.where(better, a, b), new, (z, root, slope)
            )
            damping = jnp.clip(jnp.where(better, damping / 4, damping * 5), 1e-7, 1e9)
            done = (promise < TOLERANCE) | (damping >= 1e8)
            return (*kept, damping, done, count + 1)

        begin = (
            start,
            *linearise(start),
            jnp.asarray(1e-2, start.dtype),
            jnp.asarray(False),
            jnp.asarray(1),
        )
        state = jax.lax.while_loop(lambda s: ~s[-2] & (s[-1] < STEPS), step, begin)
        return state[0], state[-1]

    return jax.vmap(climb)(start, free)
