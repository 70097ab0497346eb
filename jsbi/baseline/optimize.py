"""Best fits from many starts at once, and the distinct modes among them."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jsbi.simulate import Simulator, Target, deviance_residuals

STEPS = 100
CANDIDATES = 1024
# Modes whose Laplace mass is below e^-12 of the best cannot be seen in the posterior.
LEAST_LOG_MASS = -12.0


@dataclass(frozen=True)
class Modes:
    """Distinct maxima of the posterior density in z, best first.

    Attributes:
        z: Where they are, [mode, dim].
        covariance: Inverse of the Gauss-Newton Hessian there, [mode, dim, dim].
        log_posterior: Relative to the perfect fit, [mode].
        log_mass: Laplace's estimate of each mode's share of the posterior, [mode].
        hits: How many starts ended in each, [mode].
        starts: How many starts there were.
    """

    z: Float[np.ndarray, "mode dim"]
    covariance: Float[np.ndarray, "mode dim dim"]
    log_posterior: Float[np.ndarray, " mode"]
    log_mass: Float[np.ndarray, " mode"]
    hits: Int[np.ndarray, " mode"]
    starts: int


def find_modes(key: Key[Array, ""], target: Target, starts: int = 64) -> Modes:
    """Fit from many starts with Levenberg-Marquardt and keep the distinct optima.

    Half of the starts are the likeliest of a thousand prior draws, half are any.

    Args:
        key: Random key.
        target: The posterior density.
        starts: Number of starts, all advanced together.
    """
    z = np.asarray(jax.random.normal(key, (CANDIDATES, target.dimension)), np.float64)
    z = z[np.argsort(-target.log_likelihood(z), kind="stable")]
    likely, rest = (
        starts // 2,
        np.linspace(starts, CANDIDATES - 1, starts - starts // 2),
    )
    first = np.concatenate([z[:likely], z[rest.astype(int)]])
    ends, hessian, evaluations = _fit(
        target.simulator, target.counts, jnp.asarray(first, target.counts.dtype)
    )
    target.evaluations += int(evaluations)
    ends, hessian = np.asarray(ends, np.float64), np.asarray(hessian, np.float64)
    density = target.log_likelihood(ends) + target.log_prior(ends)
    return _distinct(ends, hessian, density)


@eqx.filter_jit
def _fit(
    simulator: Simulator, counts: Array, first: Array
) -> tuple[Array, Array, Array]:
    """Advance all starts until the slowest has converged."""
    dimension = first.shape[1]

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
        small = jnp.abs(move @ gradient) < 1e-4
        return (
            *jax.tree.map(lambda a, b: jnp.where(better, a, b), new, (z, root, slope)),
            jnp.clip(jnp.where(better, damping / 4, damping * 5), 1e-7, 1e9),
            small | (damping >= 1e8),
            count + 1,
        )

    def run(z):
        start = (jnp.asarray(1e-2, z.dtype), jnp.asarray(False), jnp.asarray(1))
        state = jax.lax.while_loop(
            lambda state: ~state[-2] & (state[-1] < STEPS),
            step,
            (z, *linearise(z), *start),
        )
        slope = state[2]
        return state[0], slope.T @ slope, state[-1]

    ends, hessian, passes = jax.vmap(run)(first)
    return ends, hessian, passes.sum() * (dimension + 1)


def _distinct(ends: np.ndarray, hessian: np.ndarray, density: np.ndarray) -> Modes:
    """Cluster the ends of the fits around the best of them.

    An end is a mode of its own if no better one is near, in units of the better one's
    width: 3 widths in five dimensions.
    """
    finite = np.isfinite(density) & np.isfinite(hessian).all((1, 2))
    finite &= np.isfinite(ends).all(1)
    _insist(finite)
    ends, hessian, density = ends[finite], hessian[finite], density[finite]
    kept, hits = [], []
    for row in np.argsort(-density):
        for place, mode in enumerate(kept):
            apart = ends[row] - ends[mode]
            if apart @ hessian[mode] @ apart < 4 + len(apart):
                hits[place] += 1
                break
        else:
            kept.append(row)
            hits.append(1)
    covariance = np.linalg.inv(hessian[kept])
    log_mass = density[kept] + 0.5 * np.linalg.slogdet(covariance)[1]
    weighed = np.isfinite(log_mass)
    _insist(weighed)
    seen = weighed & (log_mass > log_mass[weighed].max() + LEAST_LOG_MASS)
    return Modes(
        ends[kept][seen],
        covariance[seen],
        density[kept][seen],
        log_mass[seen],
        np.asarray(hits)[seen],
        len(finite),
    )


def _insist(found: np.ndarray) -> None:
    if not found.any():
        raise ValueError(
            "The likelihood must be positive somewhere in the prior, but no fit found "
            "such a point. Does the prior allow model counts where counts were seen?"
        )
