"""Training: one compiled scan that simulates, adds noise and descends."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Key
from paramax import NonTrainable

from jsbi.compress import StabilisedMLP
from jsbi.estimate.estimator import PosteriorEstimator
from jsbi.estimate.flow import make_flow
from jsbi.estimate.restrict import Region
from jsbi.promotion import lenient_promotion
from jsbi.simulate import Simulator, fast_poisson_counts

CHUNK = 100  # steps between two looks at the progress


def make_estimator(
    key: Key[Array, ""], simulator: Simulator, region: Region
) -> PosteriorEstimator:
    """An untrained estimator, scaled by simulations from the region."""
    key_example, key_network, key_flow = jax.random.split(key, 3)
    _, example = simulate_region(key_example, simulator, region, 512)
    dimension = simulator.prior.dimension
    features = max(8, 2 * dimension)
    compressor = StabilisedMLP(key_network, example, features=features)
    flow = make_flow(key_flow, dimension, features)
    return PosteriorEstimator(compressor, flow, region)


@eqx.filter_jit
def simulate_region(
    key: Key[Array, ""], simulator: Simulator, region: Region, number: int
) -> tuple[Float[Array, "number dim"], Float[Array, "number channel"]]:
    """Draw coordinates from the region, and nearly Poisson counts at them."""
    return _simulate(key, simulator, region, number)


def _simulate(
    key: Array, simulator: Simulator, region: Region, number: int
) -> tuple[Array, Array]:
    key_z, key_noise = jax.random.split(key)
    z = jax.vmap(region.sample)(jax.random.split(key_z, number))
    expected = jax.vmap(simulator.expected_counts)(z)
    return z, fast_poisson_counts(key_noise, expected)


def trainable(tree: Any) -> tuple[Any, Any]:
    """Split a pytree into the arrays that training moves, and the rest."""
    return eqx.partition(
        tree, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, NonTrainable)
    )


def make_optimizer(rate: float, steps: int) -> optax.GradientTransformation:
    """Adam with clipped gradients and a cosine schedule."""
    schedule = optax.cosine_decay_schedule(rate, steps)
    return optax.chain(optax.clip_by_global_norm(5.0), optax.adam(schedule))


def train(
    key: Key[Array, ""],
    estimator: PosteriorEstimator,
    simulator: Simulator,
    *,
    steps: int,
    batch: int = 256,
    rate: float = 3e-3,
    tick: Callable[[int], Any] = lambda steps: None,
) -> tuple[PosteriorEstimator, Float[np.ndarray, " step"]]:
    """Minimise the mean -ln q(z | counts) over simulations made fresh in every step.

    No simulation is seen twice, so that there is nothing to over-fit.

    Args:
        key: Random key.
        estimator: The estimator to start from; its region is where simulations come
            from.
        simulator: Prior, model and instruments.
        steps: Steps of descent, rounded up to a multiple of 100.
        batch: Simulations per step.
        rate: Initial learning rate.
        tick: Called with the number of steps after each part of the work.

    Returns: The trained estimator and the loss of every step.
    """
    chunks = -(-steps // CHUNK)
    moving, _ = trainable(estimator)
    state = make_optimizer(rate, chunks * CHUNK).init(moving)
    losses = []
    for key_chunk in jax.random.split(key, chunks):
        estimator, state, loss = _train_chunk(
            key_chunk, estimator, state, simulator, rate, chunks * CHUNK, batch
        )
        losses.append(np.asarray(loss))
        tick(CHUNK)
    return estimator, np.concatenate(losses)


@eqx.filter_jit
def _train_chunk(
    key: Array,
    estimator: PosteriorEstimator,
    state: Any,
    simulator: Simulator,
    rate: float,
    steps: int,
    batch: int,
) -> tuple[Any, Any, Array]:
    moving, fixed = trainable(estimator)
    optimizer = make_optimizer(rate, steps)

    def loss(moving, z, counts):
        q = eqx.combine(moving, fixed)
        return -jax.vmap(q.log_prob)(z, counts).mean()

    def step(carry, key):
        moving, state = carry
        z, counts = _simulate(key, simulator, estimator.region, batch)
        with lenient_promotion():
            value, gradient = jax.value_and_grad(loss)(moving, z, counts)
            updates, state = optimizer.update(gradient, state, moving)
        return (optax.apply_updates(moving, updates), state), value

    (moving, state), losses = jax.lax.scan(
        step, (moving, state), jax.random.split(key, CHUNK)
    )
    return eqx.combine(moving, fixed), state, losses
