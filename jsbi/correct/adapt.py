"""Importance sampling from a flow at one observation, and refitting it there."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.correct.draws import WeightedDraws, weigh
from jsbi.correct.mixture import repair
from jsbi.correct.student import StudentMixture, join
from jsbi.descent import descend
from jsbi.estimate import FlowProposal
from jsbi.simulate import Target
from jsbi.weights import temper

BATCH = 4096
DEFENCE = 0.2  # share of the draws that do not come from the flow
STEPS = 400


def draw_from_flow(
    key: Key[Array, ""],
    target: Target,
    proposal: FlowProposal,
    defence: StudentMixture | None = None,
) -> WeightedDraws:
    """Draw a batch, most of it from the flow and the rest from a defence.

    Args:
        key: Random key.
        target: The posterior density.
        proposal: The flow at the observation.
        defence: What joins the flow, so that no region outside of it has an unbounded
            weight; a Student-t of twice the width of the flow's draws unless given.

    Source: Hesterberg (1995), Technometrics 37, 185.
    """
    key_flow, key_defence = jax.random.split(key)
    narrow = np.asarray(_sample(key_flow, proposal), np.float64)
    if defence is None:
        defence = wide_component(narrow)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_defence)))
    wide = int(DEFENCE * BATCH)
    z = np.concatenate([narrow[wide:], defence.sample(generator, wide)])
    log_flow = np.asarray(_log_prob(proposal, jnp.asarray(z, target.counts.dtype)))
    # Where the flow has no value, it proposes nothing.
    log_flow = np.nan_to_num(log_flow.astype(np.float64), nan=-np.inf)
    share = wide / BATCH
    log_proposal = np.logaddexp(
        math.log1p(-share) + log_flow, math.log(share) + defence.log_prob(z)
    )
    return weigh(z, target.log_likelihood(z), log_proposal)


def defend(draws: WeightedDraws) -> StudentMixture:
    """A defence that has learnt where the flow's draws had the largest weights.

    The draws that it learnt from belong to no answer that it helps to find: it is too
    high at them.

    Source: Raftery & Bao (2010), Biometrics 66, 1162.
    """
    wide = wide_component(draws.z)
    overall = wide.factor[0] @ wide.factor[0].T
    return join((0.4, wide), (0.6, repair(draws.z, draws.log_ratio, overall)))


def wide_component(z: Float[np.ndarray, "draw dim"]) -> StudentMixture:
    """A Student-t of twice the width of draws; quantiles resist stray ones."""
    z = z[np.isfinite(z).all(1)]
    dimension = z.shape[1]
    if len(z) <= dimension:  # of a flow that has no value: the prior
        return StudentMixture(
            np.ones(1), np.zeros((1, dimension)), np.eye(dimension)[None]
        )
    centre = np.median(z, axis=0)
    apart = z - centre
    inside = (np.abs(apart) <= np.quantile(np.abs(apart), 0.99, axis=0)).all(1)
    scale = np.cov(apart[inside].T).reshape(dimension, -1)
    scale += 1e-9 * np.trace(scale) * np.eye(dimension)
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
    draws: WeightedDraws,
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
    dtype = proposal.region.centre.dtype
    edges = jnp.asarray(np.cumsum(np.exp(log_weight)), dtype)
    data = (proposal, jnp.asarray(draws.z, dtype), edges, batch)
    flow, _ = descend(
        key, proposal.flow, _loss, data, steps=STEPS, rate=rate, tick=tick
    )
    return FlowProposal(flow, proposal.summary, proposal.region)


def _loss(flow: Any, key: Array, data: tuple[FlowProposal, Array, Array, int]) -> Array:
    """Mean of -ln q over weighted draws and members."""
    proposal, z, edges, number = data
    uniform = jax.random.uniform(key, (number,), z.dtype)
    rows = jnp.searchsorted(edges, uniform * edges[-1])
    at = FlowProposal(flow, proposal.summary, proposal.region)
    return -jax.vmap(at.log_members)(z[jnp.minimum(rows, len(z) - 1)]).mean()
