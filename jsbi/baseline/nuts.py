"""The reference: Hamiltonian Monte Carlo on the exact posterior, by blackjax."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import blackjax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.diagnostics import effective_sample_size, potential_scale_reduction
from jaxtyping import Array, Float, Key

from jsbi.posterior import Posterior
from jsbi.promotion import lenient_promotion
from jsbi.simulate import Simulator, Target

CHUNK = 100


def sample_nuts(
    key: Key[Array, ""],
    target: Target,
    start: Float[np.ndarray, "chain dim"],
    covariance: Float[np.ndarray, "dim dim"],
    *,
    draws: int = 1000,
    warmup: int = 500,
    tick: Callable[[int], Any] = lambda steps: None,
) -> tuple[Posterior, int]:
    """Sample with the No-U-Turn sampler, several chains side by side.

    Step size and a dense mass matrix are adapted per chain by Stan's windows.

    Args:
        key: Random key.
        target: The posterior density.
        start: Where the chains begin.
        covariance: First guess of the posterior's covariance in z.
        draws: Draws kept per chain, rounded up to a multiple of 100.
        warmup: Steps of adaptation per chain.
        tick: Called with the number of steps after each part of the work.

    Returns: Equal-weight draws of all chains, with R-hat and the effective draws of the
        worst parameter, evidence nan; and the number of divergent transitions.

    Source: Hoffman & Gelman (2014), JMLR 15, 1593; Betancourt (2017), arXiv 1701.02434.
    """
    density = _Plain(target.simulator, target.counts)
    return run_chains(
        key,
        target,
        density,
        start,
        covariance,
        draws=draws,
        warmup=warmup,
        tick=tick,
        method="nuts",
    )


class Density(eqx.Module):
    """A log density in coordinates that suit the sampler better than z."""

    @abstractmethod
    def __call__(self, position: Float[Array, " dim"]) -> Float[Array, ""]:
        """Log of the posterior density of these coordinates."""

    @abstractmethod
    def to_z(self, position: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """The z at these coordinates."""


class _Plain(Density):
    """The posterior density in z itself."""

    simulator: Simulator
    counts: Float[Array, " channel"]

    def __call__(self, position: Float[Array, " dim"]) -> Float[Array, ""]:
        return self.simulator.log_posterior(position, self.counts)

    def to_z(self, position: Float[Array, " dim"]) -> Float[Array, " dim"]:
        return position


def run_chains(
    key: Key[Array, ""],
    target: Target,
    density: Density,
    start: Float[np.ndarray, "chain dim"],
    covariance: Float[np.ndarray, "dim dim"],
    *,
    draws: int,
    warmup: int,
    tick: Callable[[int], Any],
    method: str,
) -> tuple[Posterior, int]:
    """Sample any density that is the posterior's, with the No-U-Turn sampler.

    Args:
        key: Random key.
        target: The posterior density, which counts the evaluations.
        density: The same in other coordinates.
        start: Where the chains begin, in those coordinates.
        covariance: First guess of the covariance in those coordinates.
        draws: Draws kept per chain, rounded up to a multiple of 100.
        warmup: Steps of adaptation per chain.
        tick: Called with the number of steps after each part of the work.
        method: What the posterior is said to be made by.

    Returns: Equal-weight draws of all chains; and the number of divergent transitions.
    """
    key_warm, key_run = jax.random.split(key)
    chains = len(start)
    dtype = target.counts.dtype
    state, tuning, steps = _warm(
        jax.random.split(key_warm, chains),
        density,
        jnp.asarray(start, dtype),
        jnp.asarray(covariance, dtype),
        warmup,
    )
    evaluations = int(steps)
    tick(warmup)
    positions, divergent = [], 0
    for key_chunk in jax.random.split(key_run, math.ceil(draws / CHUNK)):
        state, (position, steps, diverged) = _run(
            jax.random.split(key_chunk, chains), density, state, tuning
        )
        positions.append(np.asarray(position, np.float64))
        evaluations += int(steps.sum())
        divergent += int(diverged.sum())
        tick(CHUNK)
    target.evaluations += evaluations
    return from_chains(target, np.concatenate(positions, axis=1), method), divergent


def from_chains(
    target: Target, position: Float[np.ndarray, "chain draw dim"], method: str
) -> Posterior:
    """A posterior of equal weights from chains.

    Args:
        target: The posterior density.
        position: What the chains went through, as z.
        method: What the posterior is said to be made by.
    """
    chains, length, dimension = position.shape
    halves = position[:, : length // 2 * 2].reshape(chains * 2, length // 2, dimension)
    z = position.reshape(-1, dimension)
    with lenient_promotion():
        r_hat = float(potential_scale_reduction(jnp.asarray(halves)).max())
        effective = float(effective_sample_size(jnp.asarray(position)).min())
    return Posterior(
        names=target.simulator.prior.names,
        z=z,
        values=target.physical(z),
        log_weight=np.full(len(z), -math.log(len(z))),
        log_likelihood=target.log_likelihood(z),
        effective_draws=min(effective, float(len(z))),
        method=method,
        r_hat=r_hat,
    )


@eqx.filter_jit
def _warm(
    keys: Array, density: Density, start: Array, covariance: Array, steps: int
) -> tuple[Any, Any, Array]:
    adaptation = blackjax.window_adaptation(
        blackjax.nuts,
        density,
        is_mass_matrix_diagonal=False,
        initial_inverse_mass_matrix=covariance,
        adaptation_info_fn=lambda state, info, adapted: info.num_integration_steps,
    )

    def warm(key, position):
        run: Any = adaptation.run
        (state, tuning), taken = run(key, position, steps)
        return state, tuning, taken.sum()

    with lenient_promotion():
        state, tuning, taken = jax.vmap(warm)(keys, start)
    return state, tuning, taken.sum()


@eqx.filter_jit
def _run(
    keys: Array, density: Density, state: Any, tuning: Any
) -> tuple[Any, tuple[Array, Array, Array]]:
    def run(key, state, tuning):
        kernel = blackjax.nuts(density, **tuning)

        def step(state, key):
            moved: Any = kernel.step(key, state)
            state, info = moved
            kept = density.to_z(state.position)
            return state, (kept, info.num_integration_steps, info.is_divergent)

        return jax.lax.scan(step, state, jax.random.split(key, CHUNK))

    with lenient_promotion():
        return jax.vmap(run)(keys, state, tuning)
