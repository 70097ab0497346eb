"""Best fits from many starts at once, and the distinct modes among them."""

import itertools
import re
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jsbi.simulate import Fit, Simulator, Target, fit_mode

STEPS = 100
CANDIDATES = 1024
# Modes whose Laplace mass is below e^-12 of the best cannot be seen in the posterior.
LEAST_LOG_MASS = -12.0
HEAVY_LOG_MASS = -7.0  # of modes that are worth another wave
WAVES = 8
NEAR = 10.0  # squared widths for each dimension within which a mode is known


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

    @property
    def share(self) -> Float[np.ndarray, " mode"]:
        """Laplace's estimate of the share of each mode in all of them."""
        return np.exp(self.log_mass - np.logaddexp.reduce(self.log_mass))

    def distances(
        self, z: Float[np.ndarray, "draw dim"]
    ) -> Float[np.ndarray, "mode draw"]:
        """Squared distance of each draw from each mode, in units of its widths."""
        apart = z.T[None] - self.z[:, :, None]
        white = np.linalg.solve(np.linalg.cholesky(self.covariance), apart)
        return (white**2).sum(1)


def find_modes(key: Key[Array, ""], target: Target, starts: int = 32) -> Modes:
    """Fit from many starts with Levenberg-Marquardt and keep the distinct optima.

    The first wave of starts are prior draws: a quarter of them the likeliest of several
    hundred, the rest any. Those that follow are neighbours of the optima found so far:
    with one parameter drawn anew (a line at another energy is hard to hit while the
    continuum does not fit, and easy once it does), with two drawn anew, and with two
    parameters or two components of one kind exchanged (lines that may swap). Of each
    kind the likeliest are taken that do not
    simply lie in a mode that is known. Waves go on until one finds nothing new.

    Args:
        key: Random key.
        target: The posterior density.
        starts: Number of starts in each wave, at least 8.
    """
    key_prior, key_neighbours = jax.random.split(key)
    shape = CANDIDATES // 2, target.dimension
    anywhere = np.asarray(jax.random.normal(key_prior, shape), np.float64)
    order = np.argsort(-target.log_likelihood(anywhere), kind="stable")
    rest = np.linspace(2 * starts, len(order) - 1, starts - starts // 4).astype(int)
    found = _fit(target, anywhere[np.concatenate([order[: starts // 4], order[rest]])])
    modes = _distinct(*found)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_neighbours)))
    for _ in range(WAVES):
        more = _fit(target, _neighbours(generator, target, modes, starts))
        found = tuple(np.concatenate(pair) for pair in zip(found, more, strict=True))
        known, modes = modes, _distinct(*found)
        if not _news(known, modes):
            break
    return modes


def _news(known: Modes, modes: Modes) -> bool:
    """Whether some mode of weight is not among those that were known."""
    heavy = modes.log_mass > modes.log_mass.max() + HEAVY_LOG_MASS
    nearest = modes.distances(known.z).min(1)
    return bool((nearest[heavy] > 4 + modes.z.shape[1]).any())


def _neighbours(
    generator: np.random.Generator, target: Target, modes: Modes, number: int
) -> np.ndarray:
    """The most promising places that differ from a mode in one or two parameters."""
    dimension = target.dimension
    each = CANDIDATES // 8
    share = 0.5 * modes.share + 0.5 / len(modes.z)  # light modes have neighbours too
    start = modes.z[generator.choice(len(share), 4 * each, p=share)]
    rows = np.arange(len(start))
    kind = rows // each  # 0 and 1: one anew; 2: two anew; 3: some exchanged
    one = rows % dimension
    other = (one + generator.integers(1, max(dimension, 2), len(rows))) % dimension
    exchanges = _exchanges(target.simulator.prior.names)
    for row in rows[kind == 3]:
        order = np.arange(dimension)
        if exchanges and row % 2:
            order = exchanges[generator.integers(len(exchanges))]
        else:
            order[[one[row], other[row]]] = order[[other[row], one[row]]]
        start[row] = start[row, order]
    start[kind < 3, one[kind < 3]] = generator.standard_normal(3 * each)
    start[kind == 2, other[kind == 2]] = generator.standard_normal(each)
    density = target.log_likelihood(start) + target.log_prior(start)
    # What is better than a mode does not lie in it, however wide it is.
    worse = density < modes.log_posterior[:, None] + 0.5
    known = (modes.distances(start) < NEAR * dimension) & worse
    promise = np.where(known.any(0), -np.inf, density)
    chosen = []
    for these in (kind < 2, kind == 2, kind == 3):
        best = rows[these][np.argsort(-promise[these], kind="stable")]
        chosen += [best[: number // 4], generator.choice(best, number // 8)]
    picked = np.concatenate(chosen)
    return start[np.resize(picked, number)]


def _exchanges(names: tuple[str, ...]) -> list[np.ndarray]:
    """Orders of the parameters in which two components of one kind change places.

    Components are told by the names of expressions: `gaussian.LineE` and
    `gaussian_2.LineE`.
    """
    parts: dict[str, dict[str, dict[str, int]]] = {}
    for place, name in enumerate(names):
        component, _, parameter = name.rpartition(".")
        base = re.sub(r"_\d+$", "", component)
        parts.setdefault(base, {}).setdefault(component, {})[parameter] = place
    orders = []
    for alike in parts.values():
        for first, second in itertools.combinations(alike.values(), 2):
            order = np.arange(len(names))
            for parameter in first.keys() & second.keys():
                here, there = first[parameter], second[parameter]
                order[[here, there]] = there, here
            orders.append(order)
    return orders


def _fit(
    target: Target, first: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit from each start: the ends, the Hessians and log densities there."""
    fit = fit_starts(
        target.simulator, target.counts, jnp.asarray(first, target.counts.dtype)
    )
    target.evaluations += int(fit.passes.sum()) * (target.dimension + 1)
    ends, hessian = np.asarray(fit.z, np.float64), np.asarray(fit.hessian, np.float64)
    return ends, hessian, target.log_likelihood(ends) + target.log_prior(ends)


@eqx.filter_jit
def fit_starts(
    simulator: Simulator,
    counts: Float[Array, " channel"],
    first: Float[Array, "fit dim"],
) -> Fit:
    """Fit from every start side by side, until the slowest has converged.

    Args:
        simulator: The model.
        counts: Observed counts.
        first: Where to begin.
    """
    return jax.vmap(lambda z: fit_mode(simulator, counts, z, most=STEPS))(first)


def _distinct(ends: np.ndarray, hessian: np.ndarray, density: np.ndarray) -> Modes:
    """Cluster the ends of the fits around the best of them.

    An end is a mode of its own if no better one is near, in units of the better one's
    width: 3 widths in five dimensions.
    """
    finite = np.isfinite(density) & np.isfinite(hessian).all((1, 2))
    finite &= np.isfinite(ends).all(1)
    _insist(finite)
    ends, hessian, density = ends[finite], hessian[finite], density[finite]
    # At least the prior's share, which rounding of bright spectra may have lost.
    values, axes = np.linalg.eigh(hessian)
    values = np.maximum(values, 1.0)
    hessian = np.einsum("nij,nj,nkj->nik", axes, values, axes)
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
    covariance = np.einsum("nij,nj,nkj->nik", axes[kept], 1 / values[kept], axes[kept])
    log_mass = density[kept] - 0.5 * np.log(values[kept]).sum(1)
    seen = log_mass > log_mass.max() + LEAST_LOG_MASS
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
