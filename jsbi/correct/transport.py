"""Markov chains in the base coordinates of a flow, where the posterior is simple."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.baseline import Density, run_chains
from jsbi.posterior import Posterior
from jsbi.simulate import Simulator, Target


def sample_transported(
    key: Key[Array, ""],
    target: Target,
    proposal: Any,
    *,
    chains: int = 4,
    draws: int = 1000,
    warmup: int = 500,
    start: Float[np.ndarray, "chain dim"] | None = None,
    tick: Callable[[int], Any] = lambda steps: None,
) -> tuple[Posterior, int]:
    """Sample with the No-U-Turn sampler in the base coordinates of a flow.

    Where the flow is the posterior, the density of its base coordinates is a standard
    normal; bends and narrow ridges that the flow has learnt are gone. What it has not
    learnt is left for the chains, so that they stay exact.

    Args:
        key: Random key.
        target: The posterior density.
        proposal: A module with `transport(white)`, which returns z and the
            log-determinant of its Jacobian, and `sample_base(key, number)`.
        chains: Chains, where there is no `start`.
        draws: Draws kept per chain, rounded up to a multiple of 100.
        warmup: Steps of adaptation per chain.
        start: Base coordinates where the chains begin; draws of the base if not given.
        tick: Called with the number of steps after each part of the work.

    Returns: Equal-weight draws as those of `sample_nuts`, and the number of divergent
        transitions.

    Source: Hoffman et al. (2019), arXiv 1903.03704.
    """
    key_start, key_run = jax.random.split(key)
    if start is None:
        start = np.asarray(_sample_base(key_start, proposal, chains), np.float64)
    return run_chains(
        key_run,
        target,
        _Transported(target.simulator, target.counts, proposal),
        start,
        np.eye(target.dimension),
        draws=draws,
        warmup=warmup,
        tick=tick,
        method="transported nuts",
    )


class _Transported(Density):
    """The posterior density of a flow's base coordinates."""

    simulator: Simulator
    counts: Float[Array, " channel"]
    proposal: Any

    def __call__(self, position: Float[Array, " dim"]) -> Float[Array, ""]:
        z, log_det = self.proposal.transport(position)
        return self.simulator.log_posterior(z, self.counts) + log_det

    def to_z(self, position: Float[Array, " dim"]) -> Float[Array, " dim"]:
        return self.proposal.transport(position)[0]


@eqx.filter_jit
def _sample_base(key: Array, proposal: Any, number: int) -> Array:
    return proposal.sample_base(key, number)
