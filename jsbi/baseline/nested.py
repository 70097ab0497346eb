"""The reference evidence: nested sampling with slices through the live points."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jsbi.posterior import Posterior
from jsbi.simulate import Simulator, Target
from jsbi.weights import effective_draws

CHUNK = 8  # replacements between two looks at the progress
REPLACED = 8  # one in so many live points is replaced at once
REMAINDER = 1e-3  # share of the evidence left in the live points at the end
JUMPS = 4  # from mode to mode, in each chain; half at its start, half at its end
LONGEST = 200  # trials that any chain may take; then its last point is taken
LONGEST_PER_DIRECTION = 10  # so that chains end by themselves in many dimensions too
SHRINKAGES = 200  # simulated histories of the prior mass
MOST_BATCHES = 64  # of prior draws, in search of finite likelihoods


def sample_nested(
    key: Key[Array, ""],
    target: Target,
    *,
    live: int = 400,
    log_perfect: float = 0.0,
    tick: Callable[[int], Any] = lambda points: None,
) -> tuple[Posterior, float]:
    """Compress the prior around the likelihood's peaks, counting how much is left.

    The live points of least likelihood are replaced, an eighth of all at once, by ends
    of chains that start at other live points and slice along orthogonal directions of
    their covariance and along differences of live points. Starts are as many in each
    mode as its prior mass asks for, and chains try to jump, so that modes keep their
    shares.

    Args:
        key: Random key.
        target: The posterior density.
        live: Live points; effective draws and the squared accuracy of the evidence are
            proportional to it. At least 16 and 4 for each dimension.
        log_perfect: Added to the log evidence.
        tick: Called with the number of points replaced after each part of the work.

    Returns: Weighted draws, and evidence with the error of simulated histories of the
        prior mass. The effective draws are Kish's number, at most the distinct draws;
        on strongly bent ridges, where chains move little, they are worth less. The
        target counts the trials of chains, not the waiting for the slowest. Then the
        share of chains that were cut short: their ends are too close to their starts.

    Raises:
        ValueError: If there are too few live points, or the likelihood is zero almost
            everywhere in the prior.

    Source: Skilling (2006), Bayesian Analysis 1, 833; Yallup et al. (2026), arXiv
        2601.23252.
    """
    _check(live, target.dimension)
    key_prior, key_run, key_shrink = jax.random.split(key, 3)
    z, log_likelihood, log_mass = _start(key_prior, target, live)
    points = _compress(key_run, target, z, log_likelihood, tick)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_shrink)))
    log_weight, evidence, error = weigh(generator, points.log_likelihood, points.alive)
    kept = np.isfinite(log_weight)
    distinct = len(np.unique(points.z[kept], axis=0))
    posterior = Posterior(
        names=target.simulator.prior.names,
        z=points.z[kept],
        values=target.physical(points.z[kept]),
        log_weight=log_weight[kept],
        log_likelihood=points.log_likelihood[kept],
        effective_draws=min(effective_draws(log_weight[kept]), float(distinct)),
        log_evidence=evidence + log_mass + log_perfect,
        log_evidence_error=error,
        method="nested",
        proposed=len(points.z),
    )
    return posterior, points.cut_short / (len(points.z) - live)


@dataclass(frozen=True)
class _Points:
    """Points in the order of their deaths.

    Attributes:
        z: [point, dim].
        log_likelihood: [point].
        alive: Number of points alive just before each death.
        cut_short: Number of chains that did not come to their end.
    """

    z: Float[np.ndarray, "point dim"]
    log_likelihood: Float[np.ndarray, " point"]
    alive: Int[np.ndarray, " point"]
    cut_short: int


def _check(live: int, dimension: int) -> None:
    least = max(16, 4 * dimension)
    if live < least:
        raise ValueError(
            f"`live` must be at least {least} in {dimension} dimensions; got {live}. "
            "Fewer points do not know the shape of the likelihood."
        )


def _start(
    key: Array, target: Target, live: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Prior draws where the model has a value, and the log of the mass of all such.

    A plateau of zero likelihood would otherwise count as if it shrank.
    """
    z, log_likelihood, drawn = [], [], 0
    found = 0
    for key_batch in jax.random.split(key, MOST_BATCHES):
        batch = np.asarray(
            jax.random.normal(key_batch, (live, target.dimension)), np.float64
        )
        values = target.log_likelihood(batch)
        finite = np.isfinite(values)
        z.append(batch[finite])
        log_likelihood.append(values[finite])
        drawn += live
        found += int(finite.sum())
        if found >= live:
            joined = np.concatenate(z)[:live], np.concatenate(log_likelihood)[:live]
            return *joined, math.log(found / drawn)
    raise ValueError(
        f"The likelihood must be positive in the prior; it was at {found} of {drawn} "
        "draws. Does the prior allow model counts where counts were seen?"
    )


def _compress(
    key: Array,
    target: Target,
    z: np.ndarray,
    log_likelihood: np.ndarray,
    tick: Callable[[int], Any],
) -> _Points:
    """Replace points until those alive hold little of the evidence.

    Returns: All points as they died, the last alive at the end.
    """
    live = len(z)
    replaced = live // REPLACED
    dtype = target.counts.dtype
    alive = jnp.asarray(z, dtype), jnp.asarray(log_likelihood, dtype)
    dead_z, dead_value = [], []
    log_shrinkage = -(1 / (live - np.arange(replaced))).sum()
    log_mass, evidence, cut_short = 0.0, -np.inf, 0
    while True:
        key, key_chunk = jax.random.split(key)
        alive, (points, values, trials, cut) = _replace(
            key_chunk, target.simulator, target.counts, *alive, replaced
        )
        target.evaluations += int(trials)
        cut_short += int(cut)
        values = np.asarray(values, np.float64)
        dead_z.append(np.asarray(points, np.float64).reshape(-1, z.shape[1]))
        dead_value.append(values.ravel())
        tick(values.size)
        mass = log_mass + log_shrinkage * np.arange(CHUNK)[:, None]
        parts = values + mass + math.log(-math.expm1(log_shrinkage) / replaced)
        evidence = np.logaddexp(evidence, np.logaddexp.reduce(parts, axis=None))
        log_mass += CHUNK * log_shrinkage
        last = np.asarray(alive[1], np.float64)
        left = np.logaddexp.reduce(last) - math.log(live) + log_mass
        if left < evidence + math.log(REMAINDER):
            break
    order = np.argsort(last)
    points = np.concatenate([*dead_z, np.asarray(alive[0], np.float64)[order]])
    died = len(points) - live
    counts = np.concatenate(
        [np.tile(live - np.arange(replaced), died // replaced), live - np.arange(live)]
    )
    values = np.concatenate([*dead_value, last[order]])
    return _Points(points, values, counts, cut_short)


def weigh(
    generator: np.random.Generator,
    log_likelihood: Float[np.ndarray, " point"],
    alive: Int[np.ndarray, " point"],
) -> tuple[Float[np.ndarray, " point"], float, float]:
    """Weights and evidence, averaged over simulated shrinkages of the prior mass.

    Args:
        generator: Random generator.
        log_likelihood: In the order of death.
        alive: Number of points alive just before each death.

    Returns: Normalised log weights, the log evidence and its standard deviation.

    Source: Skilling (2006), Bayesian Analysis 1, 833, section 7.
    """
    total, evidences = np.full(len(alive), -np.inf), np.empty(SHRINKAGES)
    for row in range(SHRINKAGES):
        log_shrinkage = -generator.standard_exponential(len(alive)) / alive
        before = np.cumsum(log_shrinkage) - log_shrinkage
        log_shell = before + np.log(-np.expm1(log_shrinkage))
        log_weight = log_likelihood + log_shell
        evidences[row] = np.logaddexp.reduce(log_weight)
        total = np.logaddexp(total, log_weight - evidences[row])
    log_weight = total - np.logaddexp.reduce(total)
    return log_weight, float(evidences.mean()), float(evidences.std())


@eqx.filter_jit
def _replace(
    key: Array,
    simulator: Simulator,
    counts: Array,
    z: Array,
    log_likelihood: Array,
    replaced: int,
) -> tuple[tuple[Array, Array], tuple[Array, Array, Array, Array]]:
    """Replace the worst points, several times over.

    Returns: Those alive; and the dead of each time, with the numbers of trials and of
        chains that were cut short.
    """

    def step(alive, key):
        z, log_likelihood = alive
        key_start, key_chain = jax.random.split(key)
        order = jnp.argsort(log_likelihood)
        dead, rest = order[:replaced], order[replaced:]
        start = jax.random.choice(key_start, rest, (replaced,))
        # Ties with the threshold are no survivors, so that none is to start from.
        threshold = log_likelihood[dead[-1]]
        start = jnp.where(log_likelihood[start] > threshold, start, order[-1])
        # From all points: also where few are left, the shape is that of the whole.
        factor = jnp.linalg.cholesky(_covariance(z))
        chain = jax.vmap(_walk, in_axes=(0, None, None, 0, 0, None, None, None))
        keys = jax.random.split(key_chain, replaced)
        ends, values, trials, cut = chain(
            keys,
            simulator,
            counts,
            z[start],
            log_likelihood[start],
            threshold,
            z[rest],
            factor,
        )
        outcome = z[dead], log_likelihood[dead], trials.sum(), cut.sum()
        alive = z.at[dead].set(ends), log_likelihood.at[dead].set(values)
        return alive, outcome

    alive, (points, values, trials, cut) = jax.lax.scan(
        step, (z, log_likelihood), jax.random.split(key, CHUNK)
    )
    return alive, (points, values, trials.sum(), cut.sum())


def _covariance(z: Array) -> Array:
    apart = z - z.mean(0, keepdims=True)
    covariance = apart.T @ apart / len(z)
    least = 1e-6 * jnp.trace(covariance)
    return covariance + least * jnp.eye(len(covariance), dtype=z.dtype)


def _walk(
    key: Array,
    simulator: Simulator,
    counts: Array,
    z: Array,
    log_likelihood: Array,
    threshold: Array,
    alive: Array,
    factor: Array,
) -> tuple[Array, Array, Array, Array]:
    """Slice along one direction after another, within the likelihood's contour.

    All slices share one loop: chains that run side by side wait for one another at its
    end alone. An interval of fixed length and random place needs no stepping out. The
    first and last directions are jumps, tried once at full length.

    Returns: The last point, its log-likelihood, the number of trials, and whether the
        chain was cut short.

    Source: Neal (2003), Annals of Statistics 31, 705, figures 3 and 5.
    """
    key_directions, key_loop = jax.random.split(key)
    directions = _directions(key_directions, alive, factor)
    longest = max(LONGEST, LONGEST_PER_DIRECTION * len(directions))

    def is_jump(slices):
        half = JUMPS // 2
        return (slices < half) | (slices >= len(directions) - half)

    def begin(key, z, slices):
        key_level, key_place = jax.random.split(key)
        level = simulator.log_prior(z) + jnp.log(jax.random.uniform(key_level))
        left = -jax.random.uniform(key_place)
        ends = jnp.where(is_jump(slices), 1.0, jnp.stack([left, left + 1]))
        return level, ends[0], ends[1]

    def trial(state):
        key, z, value, slices, level, left, right, trials = state
        key, key_move, key_begin = jax.random.split(key, 3)
        move = left + (right - left) * jax.random.uniform(key_move)
        there = z + move * directions[slices]
        found = simulator.log_likelihood(there, counts)
        inside = (found > threshold) & (simulator.log_prior(there) >= level)
        z, value = jnp.where(inside, there, z), jnp.where(inside, found, value)
        done = inside | is_jump(slices)
        slices = jnp.where(done, slices + 1, slices)
        shrunk = (
            level,
            jnp.where(move < 0, move, left),
            jnp.where(move < 0, right, move),
        )
        interval = jax.tree.map(
            lambda new, old: jnp.where(done, new, old),
            begin(key_begin, z, slices),
            shrunk,
        )
        return key, z, value, slices, *interval, trials + 1

    def unfinished(state):
        return (state[3] < len(directions)) & (state[-1] < longest)

    key_loop, key_begin = jax.random.split(key_loop)
    zero = jnp.asarray(0)
    state = (key_loop, z, log_likelihood, zero, *begin(key_begin, z, zero), zero)
    state = jax.lax.while_loop(unfinished, trial, state)
    return state[1], state[2], state[-1], state[3] < len(directions)


def _directions(key: Array, z: Array, factor: Array) -> Array:
    """Directions of slices, of the lengths of their first intervals, between jumps.

    A random basis where the points are white, then as many differences of two points,
    doubled. The basis finds thin directions; the differences fit modes and bends much
    thinner than the points' covariance. A jump is a difference as it is, which leads
    from one mode to another: half of them come first, so that a chain that is cut short
    has tried, and half last, from where the slices have led.

    Source: Handley et al. (2015), MNRAS 453, 4384; ter Braak (2006), Statistics and
        Computing 16, 239.
    """
    live, dimension = z.shape
    key_basis, key_first, key_second = jax.random.split(key, 3)
    basis, _ = jnp.linalg.qr(jax.random.normal(key_basis, factor.shape, z.dtype))
    # The diameter of a uniform ball with unit covariance.
    basis = 2 * math.sqrt(dimension + 2) * basis @ factor.T
    first = jax.random.randint(key_first, (dimension + JUMPS,), 0, live)
    second = first + jax.random.randint(key_second, (dimension + JUMPS,), 1, live)
    apart = z[first] - z[second % live]
    first_jumps, last_jumps, rest = jnp.split(apart, (JUMPS // 2, JUMPS))
    return jnp.concatenate([first_jumps, basis, 2 * rest, last_jumps])
