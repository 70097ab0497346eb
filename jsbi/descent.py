"""Stochastic gradient descent: one compiled scan, in parts that show progress."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key
from paramax import NonTrainable

from jsbi.promotion import lenient_promotion

CHUNK = 100  # steps between two looks at the progress


def trainable(tree: Any) -> tuple[Any, Any]:
    """Split a pytree into the arrays that training moves, and the rest."""
    return eqx.partition(
        tree, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, NonTrainable)
    )


def descend(
    key: Key[Array, ""],
    tree: Any,
    loss: Callable[[Any, Array, Any], Array],
    data: Any = (),
    *,
    steps: int,
    rate: float = 3e-3,
    tick: Callable[[int], Any] = lambda steps: None,
) -> tuple[Any, Float[np.ndarray, " step"]]:
    """Minimise `loss(tree, key, data)` by Adam, with a fresh key in every step.

    The gradient is clipped and the learning rate falls to zero along a cosine.

    Args:
        key: Random key.
        tree: Modules to train. Arrays under `paramax.NonTrainable`, and whatever the
            loss passes through `stop_gradient`, stay as they are.
        loss: A function of module level, so that its compilation is found again.
        data: Whatever else the loss needs; its arrays are not compiled in.
        steps: Steps, rounded up to a multiple of 100.
        rate: Initial learning rate.
        tick: Called with the number of steps after each part of the work.

    Returns: The trained modules and the loss of every step.

    Source: Kingma & Ba (2015), arXiv 1412.6980; Loshchilov & Hutter (2017), arXiv
        1608.03983.
    """
    chunks = -(-steps // CHUNK)
    moving, _ = trainable(tree)
    state = _optimizer(rate, chunks * CHUNK).init(moving)
    losses = []
    for key_chunk in jax.random.split(key, chunks):
        tree, state, values = _descend_chunk(
            key_chunk, tree, state, loss, data, rate, chunks * CHUNK
        )
        losses.append(np.asarray(values))
        tick(CHUNK)
    return tree, np.concatenate(losses)


def _optimizer(rate: float, steps: int) -> optax.GradientTransformation:
    schedule = optax.cosine_decay_schedule(rate, steps)
    return optax.chain(optax.clip_by_global_norm(5.0), optax.adam(schedule))


@eqx.filter_jit
def _descend_chunk(
    key: Array,
    tree: Any,
    state: Any,
    loss: Callable[[Any, Array, Any], Array],
    data: Any,
    rate: float,
    steps: int,
) -> tuple[Any, Any, Array]:
    moving, fixed = trainable(tree)
    optimizer = _optimizer(rate, steps)

    def value(moving, key):
        return loss(eqx.combine(moving, fixed), key, data)

    def step(carry, key):
        moving, state = carry
        with lenient_promotion():
            now, gradient = jax.value_and_grad(value)(moving, key)
            updates, after = optimizer.update(gradient, state, moving)
        # A step without a value is not taken: Adam would never forget it.
        good = jnp.isfinite(now) & jnp.isfinite(optax.tree.norm(gradient))
        stepped = (optax.apply_updates(moving, updates), after)
        kept = jax.tree.map(lambda a, b: jnp.where(good, a, b), stepped, carry)
        return kept, now

    (moving, state), losses = jax.lax.scan(
        step, (moving, state), jax.random.split(key, CHUNK)
    )
    return eqx.combine(moving, fixed), state, losses
