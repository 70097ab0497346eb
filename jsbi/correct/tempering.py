"""From a poor proposal to the exact posterior by way of the densities between them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import blackjax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.posterior import Posterior
from jsbi.promotion import lenient_promotion
from jsbi.simulate import Simulator, Target
from jsbi.weights import effective_draws

ISLANDS = 16  # populations that never mix: their scatter is the error
KEPT = 0.5  # share of the draws that stay effective in a step of the temperature
LEAST_STEP = 1e-7  # of the temperature, where none keeps so many
MOST_STEPS = 500
ROUNDS = 3  # of moves at each temperature
LEAPFROGS = 4
STEP_SIZE = 0.5  # at first, in units of the draws' widths
STEP_SIZES = 1e-3, 1.5
ACCEPTANCE = 0.75  # that the step size aims at
JITTER = 0.3  # of the logarithm of the step size, from draw to draw


def temper_draws(
    key: Key[Array, ""],
    target: Target,
    proposal: Any,
    *,
    particles: int = 1024,
    log_perfect: float = 0.0,
    tick: Callable[[int], Any] = lambda percent: None,
) -> tuple[Posterior, dict[str, list[float]]]:
    """Carry draws of a proposal to the posterior by sequential Monte Carlo.

    The density goes from the proposal `q` to the target `p` along `q**(1 - t) p**t`.
    At each `t` the draws are weighted, resampled within their island, and moved along
    Hamiltonian trajectories in the metric of their covariance; the step size follows
    the acceptance. A proposal in the wrong place or too narrow costs more steps of `t`;
    a mode that none of its draws belongs to may stay unseen.

    Args:
        key: Random key.
        target: The posterior density.
        proposal: A module with `log_prob(z)` of one draw and `sample(key, number)`.
        particles: Draws, rounded up to a multiple of 16 islands.
        log_perfect: Added to the log evidence.
        tick: Called with the advance of `t` in percent.

    Returns: Draws weighted by the evidence of their island. The error of the evidence
        and the effective draws of the worst parameter come from the islands' scatter.
        And the values of t, called `temperatures`, with the mean `acceptance` of moves
        at each.

    Raises:
        ValueError: If no draw of the proposal has a posterior density.

    Source: Del Moral et al. (2006), JRSS B 68, 411; Verge et al. (2015), Statistics and
        Computing 25, 243; Buchholz et al. (2021), Bayesian Analysis 16, 745.
    """
    key_sample, key_rows, key_moves = jax.random.split(key, 3)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_rows)))
    size = -(-particles // ISLANDS)
    cloud = _draw(key_sample, target, proposal, size * ISLANDS)
    evidence = np.zeros(ISLANDS)
    temperature, step_size = 0.0, STEP_SIZE
    record: dict[str, list[float]] = {"temperatures": [], "acceptance": []}
    while temperature < 1.0:
        if len(record["temperatures"]) == MOST_STEPS:
            raise ValueError(
                f"Tempering must reach the posterior within {MOST_STEPS} steps; it is "
                f"at {temperature:.2g} of the way. Is the proposal nowhere near it?"
            )
        log_ratio = cloud.log_ratio.reshape(ISLANDS, size)
        step = _next_step(log_ratio, evidence, 1.0 - temperature)
        reached = min(temperature + step, 1.0)
        evidence += np.logaddexp.reduce(step * log_ratio, axis=1) - math.log(size)
        z = cloud.z[_resample(generator, step * log_ratio)]
        key_moves, key_move = jax.random.split(key_moves)
        cloud, acceptance, step_size = _move(
            key_move, target, proposal, z, evidence, reached, step_size
        )
        tick(round(100 * reached) - round(100 * temperature))
        temperature = reached
        record["temperatures"].append(temperature)
        record["acceptance"].append(acceptance)
    return _posterior(target, cloud.z, evidence, log_perfect), record


@dataclass(frozen=True)
class _Cloud:
    """Draws and the ends of the path of densities there.

    Attributes:
        z: [particle, dim]; islands follow one another.
        log_ratio: Log of target over proposal; -inf where either has no value.
    """

    z: Float[np.ndarray, "particle dim"]
    log_ratio: Float[np.ndarray, " particle"]


def _cloud(z: Array, log_proposal: Array, log_target: Array) -> _Cloud:
    below = np.asarray(log_proposal, np.float64)
    above = np.asarray(log_target, np.float64)
    known = np.isfinite(below) & np.isfinite(above)
    ratio = np.full(len(known), -np.inf)
    ratio[known] = above[known] - below[known]
    return _Cloud(np.asarray(z, np.float64), ratio)


def _draw(key: Array, target: Target, proposal: Any, number: int) -> _Cloud:
    z = _sample(key, proposal, number)
    ends = _ends(target.simulator, target.counts, proposal, z, target.batch)
    target.evaluations += number
    cloud = _cloud(z, *ends)
    if not np.isfinite(cloud.log_ratio).any():
        raise ValueError(
            f"The proposal must reach the posterior, but none of {number} draws has a "
            "posterior density. Is it the proposal of another model or prior?"
        )
    return cloud


def _next_step(
    log_ratio: Float[np.ndarray, "island particle"],
    evidence: Float[np.ndarray, " island"],
    most: float | int,
) -> float:
    """The longest step of the temperature that keeps enough draws effective.

    Draws without a posterior density do not count: any step removes them.

    Source: Zhou et al. (2016), Journal of Computational and Graphical Statistics 25,
        701, on the conditional effective sample size.
    """
    known = np.isfinite(log_ratio)
    ratio = log_ratio[known]
    share = np.broadcast_to(evidence[:, None], log_ratio.shape)[known]
    share = share - np.logaddexp.reduce(share)

    def kept(step: float) -> float:
        first = np.logaddexp.reduce(share + step * ratio)
        return math.exp(2 * first - np.logaddexp.reduce(share + 2 * step * ratio))

    if kept(most) >= KEPT:
        return most
    low, high = math.log(LEAST_STEP), math.log(most)
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if kept(math.exp(middle)) >= KEPT else (low, middle)
    return math.exp(low)


def _resample(
    generator: np.random.Generator, log_weight: Float[np.ndarray, "island particle"]
) -> np.ndarray:
    """Rows of equal-weight draws, within each island, by systematic resampling."""
    size = log_weight.shape[1]
    rows = []
    for island, values in enumerate(log_weight):
        best = values.max()
        weight = np.exp(values - best) if np.isfinite(best) else np.ones(size)
        edges = np.cumsum(weight)
        positions = (np.arange(size) + generator.random()) / size
        rows.append(island * size + np.searchsorted(edges / edges[-1], positions))
    return np.concatenate(rows)


def _move(
    key: Array,
    target: Target,
    proposal: Any,
    z: np.ndarray,
    evidence: np.ndarray,
    temperature: float,
    step_size: float,
) -> tuple[_Cloud, float, float]:
    """Move the draws at one temperature; also the acceptance and the next step size."""
    size = len(z) // ISLANDS
    weight = np.repeat(np.exp(evidence - evidence.max()), size)
    covariance = np.cov(z.T, aweights=weight).reshape(target.dimension, -1)
    covariance += 1e-9 * np.trace(covariance) * np.eye(len(covariance))
    dtype = target.counts.dtype
    moved, ends, acceptance, sizes = _trajectories(
        key,
        target.simulator,
        target.counts,
        proposal,
        jnp.asarray(z, dtype),
        jnp.asarray(covariance, dtype),
        jnp.asarray(temperature, dtype),
        jnp.asarray(step_size, dtype),
        target.batch,
    )
    target.evaluations += len(z) * (ROUNDS * (LEAPFROGS + 1) + 1)
    return _cloud(moved, *ends), float(acceptance), float(sizes)


@eqx.filter_jit
def _sample(key: Array, proposal: Any, number: int) -> Array:
    return proposal.sample(key, number)


@eqx.filter_jit
def _ends(
    simulator: Simulator, counts: Array, proposal: Any, z: Array, batch: int
) -> tuple[Array, Array]:
    """Log densities of the proposal and of the target at each draw."""

    def ends(z):
        return proposal.log_prob(z), simulator.log_posterior(z, counts)

    return jax.lax.map(ends, z, batch_size=batch)


@eqx.filter_jit
def _trajectories(
    key: Array,
    simulator: Simulator,
    counts: Array,
    proposal: Any,
    z: Array,
    covariance: Array,
    temperature: Array,
    step_size: Array,
    batch: int,
) -> tuple[Array, tuple[Array, Array], Array, Array]:
    """Rounds of Hamiltonian moves, the step size adapted after each."""
    kernel: Any = blackjax.hmc.build_kernel()

    def density(z):
        above = temperature * simulator.log_posterior(z, counts)
        # At the end nothing of the proposal is left, not even where it has no value.
        return above + jax.lax.cond(
            temperature < 1,
            lambda z: (1 - temperature) * proposal.log_prob(z),
            lambda z: jnp.zeros_like(above),
            z,
        )

    def move(key, z, step_size):
        key_size, key_move = jax.random.split(key)
        own = step_size * jnp.exp(JITTER * jax.random.normal(key_size))
        state = blackjax.hmc.init(z, density)
        state, info = kernel(key_move, state, density, own, covariance, LEAPFROGS)
        return state.position, info.acceptance_rate

    def step(carry, key):
        z, step_size = carry
        z, rates = jax.lax.map(
            lambda row: move(row[0], row[1], step_size),
            (jax.random.split(key, len(z)), z),
            batch_size=batch,
        )
        rate = jnp.nan_to_num(rates).mean()
        step_size = step_size * jnp.exp(2 * (rate - ACCEPTANCE))
        return (z, jnp.clip(step_size, *STEP_SIZES)), rate

    with lenient_promotion():
        (z, step_size), rates = jax.lax.scan(
            step, (z, step_size), jax.random.split(key, ROUNDS)
        )
    ends = _ends(simulator, counts, proposal, z, batch)
    return z, ends, rates.mean(), step_size


def _posterior(
    target: Target, z: np.ndarray, evidence: np.ndarray, log_perfect: float
) -> Posterior:
    total = np.logaddexp.reduce(evidence)
    share = np.exp(evidence - total)
    size = len(z) // ISLANDS
    log_weight = np.repeat(evidence - total, size) - math.log(size)
    kept = np.isfinite(log_weight)
    error = math.sqrt(((ISLANDS * share - 1) ** 2).sum() / ISLANDS / (ISLANDS - 1))
    return Posterior(
        names=target.simulator.prior.names,
        z=z[kept],
        values=target.physical(z[kept]),
        log_weight=log_weight[kept],
        log_likelihood=target.log_likelihood(z[kept]),
        effective_draws=_effective(z.reshape(ISLANDS, size, -1), share),
        log_evidence=float(total) - math.log(ISLANDS) + log_perfect,
        log_evidence_error=error,
        method="smc",
        proposed=len(z),
    )


def _effective(
    z: Float[np.ndarray, "island particle dim"], share: Float[np.ndarray, " island"]
) -> float:
    """Effective draws of the worst parameter, from the scatter of the islands' means.

    No more than the distinct draws, less what the unequal islands cost.
    """
    means = z.mean(1)
    overall = share @ means
    variance = share @ ((z - overall) ** 2).mean(1)
    scatter = ISLANDS / (ISLANDS - 1) * (share**2 @ (means - overall) ** 2)
    distinct = len(np.unique(z.reshape(-1, z.shape[2]), axis=0))
    with np.errstate(divide="ignore"):
        most = distinct * effective_draws(np.log(share)) / ISLANDS
    return float(min(most, (variance / np.maximum(scatter, 1e-300)).min()))
