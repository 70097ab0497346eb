"""Importance sampling from a flow at one observation, and refitting it there."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flowjax.distributions import AbstractDistribution
from jaxtyping import Array, Float, Key

from jsbi.correct.mixture import StudentMixture, repair
from jsbi.estimate import PosteriorEstimator, Region, make_optimizer, trainable
from jsbi.promotion import lenient_promotion
from jsbi.simulate import Target
from jsbi.weights import temper

BATCH = 4096
DEFENCES = BATCH // 5  # draws of each batch that do not come from the flow
STEPS = 400
CHUNK = 100


class FlowProposal(eqx.Module):
    """A flow conditioned on one observation, as a density over z.

    Attributes:
        flow: Density of whitened coordinates given a summary.
        summary: The observation's summary.
        region: The whitening.
    """

    flow: AbstractDistribution
    summary: Float[Array, " feature"]
    region: Region

    def log_prob(self, z: Float[Array, " dim"]) -> Float[Array, ""]:
        """Log density."""
        region = jax.lax.stop_gradient(self.region)
        with lenient_promotion():
            white = self.flow.log_prob(
                region.whiten(z), jax.lax.stop_gradient(self.summary)
            )
        return white - region.log_det()

    def sample(self, key: Key[Array, ""], number: int) -> Float[Array, "number dim"]:
        """Draw."""
        with lenient_promotion():
            white = self.flow.sample(key, (number,), self.summary)
        return jax.vmap(self.region.colour)(white)


def propose(
    estimator: PosteriorEstimator, counts: Float[Array, " channel"]
) -> FlowProposal:
    """The estimator's posterior at one observation."""
    return FlowProposal(estimator.flow, estimator.compressor(counts), estimator.region)


@dataclass(frozen=True)
class FlowDraws:
    """Draws from a flow and its defences, weighted by the mixture of all batches.

    Attributes:
        z: [draw, dim].
        log_likelihood: Relative to the perfect fit, [draw].
        log_flow: Log density of the flow, [draw].
        log_prior: [draw].
        defences: What joined the flow in each batch.
    """

    z: Float[np.ndarray, "draw dim"]
    log_likelihood: Float[np.ndarray, " draw"]
    log_flow: Float[np.ndarray, " draw"]
    log_prior: Float[np.ndarray, " draw"]
    defences: tuple[StudentMixture, ...]

    @functools.cached_property
    def log_ratio(self) -> Float[np.ndarray, " draw"]:
        """Log of target over proposal, [draw]."""
        share = math.log(DEFENCES / BATCH / len(self.defences))
        parts = [share + defence.log_prob(self.z) for defence in self.defences]
        parts.append(math.log1p(-DEFENCES / BATCH) + self.log_flow)
        return self.log_likelihood + self.log_prior - np.logaddexp.reduce(parts, axis=0)


def draw_from_flow(
    key: Key[Array, ""],
    target: Target,
    proposal: FlowProposal,
    earlier: FlowDraws | None = None,
) -> FlowDraws:
    """Draw a batch, most of it from the flow and the rest from a defence.

    The first defence is a Student-t of twice the width of the flow's own draws; later
    ones are components where the largest weights were, so that neither a region just
    outside the flow nor a thin tail keeps an unbounded weight.

    Args:
        key: Random key.
        target: The posterior density.
        proposal: The flow at the observation.
        earlier: Earlier draws from the same flow, which the batch joins.

    Source: Hesterberg (1995), Technometrics 37, 185; Raftery & Bao (2010), Biometrics
        66, 1162.
    """
    key_flow, key_defence = jax.random.split(key)
    narrow = np.asarray(_sample(key_flow, proposal), np.float64)
    defence = _wide(narrow)
    if earlier is not None:
        overall = defence.factor[0] @ defence.factor[0].T
        defence = repair(earlier.z, earlier.log_ratio, overall)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_defence)))
    z = np.concatenate([narrow[DEFENCES:], defence.sample(generator, DEFENCES)])
    log_flow = np.asarray(_log_prob(proposal, jnp.asarray(z, target.counts.dtype)))
    draws = FlowDraws(
        z,
        target.log_likelihood(z),
        np.nan_to_num(log_flow.astype(np.float64), nan=-np.inf),
        target.log_prior(z),
        (defence,),
    )
    return draws if earlier is None else _join(earlier, draws)


def _join(first: FlowDraws, second: FlowDraws) -> FlowDraws:
    return FlowDraws(
        np.concatenate([first.z, second.z]),
        np.concatenate([first.log_likelihood, second.log_likelihood]),
        np.concatenate([first.log_flow, second.log_flow]),
        np.concatenate([first.log_prior, second.log_prior]),
        first.defences + second.defences,
    )


def _wide(z: np.ndarray) -> StudentMixture:
    """A Student-t around the draws; their quantiles resist stray ones."""
    centre = np.median(z, axis=0)
    apart = z - centre
    inside = (np.abs(apart) <= np.quantile(np.abs(apart), 0.99, axis=0)).all(1)
    scale = np.cov(apart[inside].T).reshape(z.shape[1], -1)
    scale += 1e-9 * np.trace(scale) * np.eye(len(scale))
    return StudentMixture(np.ones(1), centre[None], 2 * np.linalg.cholesky(scale)[None])


@eqx.filter_jit
def _sample(key: Array, proposal: FlowProposal) -> Array:
    return proposal.sample(key, BATCH)


@eqx.filter_jit
def _log_prob(proposal: FlowProposal, z: Array) -> Array:
    return jax.vmap(proposal.log_prob)(z)


def adapt(
    key: Key[Array, ""],
    proposal: FlowProposal,
    draws: FlowDraws,
    *,
    batch: int = 512,
    rate: float = 1e-3,
    tick: Callable[[int], Any] = lambda steps: None,
) -> FlowProposal:
    """Refit the flow at the observation by forward KL on its own weighted draws.

    Weights are tempered while few draws are effective; repeated rounds then walk to the
    posterior.

    Args:
        key: Random key.
        proposal: The flow to start from.
        draws: Weighted draws.
        batch: Draws per step.
        rate: Initial learning rate.
        tick: Called with the number of steps after each part of the work.
    """
    log_weight = temper(
        draws.log_ratio, min(50.0 * draws.z.shape[1], 0.5 * len(draws.z))
    )
    z = jnp.asarray(draws.z, proposal.region.centre.dtype)
    edges = jnp.asarray(np.cumsum(np.exp(log_weight)), z.dtype)
    state = make_optimizer(rate, STEPS).init(trainable(proposal.flow)[0])
    for key_chunk in jax.random.split(key, STEPS // CHUNK):
        proposal, state = _adapt_chunk(
            key_chunk, proposal, state, z, edges, rate, batch
        )
        tick(CHUNK)
    return proposal


@eqx.filter_jit
def _adapt_chunk(
    key: Array,
    proposal: FlowProposal,
    state: Any,
    z: Array,
    edges: Array,
    rate: float,
    batch: int,
) -> tuple[FlowProposal, Any]:
    moving, fixed = trainable(proposal.flow)
    optimizer = make_optimizer(rate, STEPS)

    def loss(moving, rows):
        flow: Any = eqx.combine(moving, fixed)
        at = FlowProposal(flow, proposal.summary, proposal.region)
        return -jax.vmap(at.log_prob)(z[rows]).mean()

    def step(carry, key):
        moving, state = carry
        uniform = jax.random.uniform(key, (batch,), z.dtype)
        rows = jnp.searchsorted(edges, uniform * edges[-1])
        with lenient_promotion():
            gradient = jax.grad(loss)(moving, jnp.minimum(rows, len(z) - 1))
            updates, state = optimizer.update(gradient, state, moving)
        return (optax.apply_updates(moving, updates), state), None

    (moving, state), _ = jax.lax.scan(
        step, (moving, state), jax.random.split(key, CHUNK)
    )
    flow: Any = eqx.combine(moving, fixed)
    return FlowProposal(flow, proposal.summary, proposal.region), state
