"""Training: simulations with fresh noise in every step, one compiled scan."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.compress import make_compressor
from jsbi.compress.registry import STEPS
from jsbi.descent import descend
from jsbi.estimate.estimator import PosteriorEstimator
from jsbi.estimate.flow import make_flow
from jsbi.estimate.frame import FixedFrame, Frame
from jsbi.estimate.restrict import Region
from jsbi.simulate import Batch, Simulator, Source, fast_poisson_counts

EXAMPLES = 2048  # draws that set the whitening


class Examples(NamedTuple):
    """Simulations with noise, as an estimator in some frame sees them.

    Attributes:
        white: Coordinates in the frame of each.
        log_det: Log volume of each frame's stretching.
        counts: With noise.
        beside: Context, and the frame's description.
    """

    white: Float[Array, "simulation dim"]
    log_det: Float[Array, " simulation"]
    counts: Float[Array, "simulation channel"]
    beside: Float[Array, "simulation beside"]


def make_estimator(
    key: Key[Array, ""],
    source: Source,
    simulator: Simulator,
    *,
    compressor: str = "network",
    members: int = 1,
    frame: Frame | None = None,
    autoencoder_steps: int = STEPS,
    tick: Callable[[int], Any] = lambda steps: None,
) -> PosteriorEstimator:
    """Untrained networks, scaled by simulations from the source.

    Args:
        key: Random key.
        source: Where training simulations will come from.
        simulator: Prior, model and instruments.
        compressor: A name that `make_compressor` knows.
        members: How many networks to train side by side.
        frame: What whitens; a Gaussian of the source's mean and covariance unless
            given.
        autoencoder_steps: Steps of an auto-encoder's training; 0 leaves it untrained.
        tick: Called with the number of steps that an auto-encoder is trained first.
    """
    key_example, key_network, key_flow = jax.random.split(key, 3)
    if frame is None:
        frame = FixedFrame(gaussian(draw_batch(key_example, source, EXAMPLES).z))
    dimension = simulator.prior.dimension
    features = max(8, 2 * dimension)
    networks = [
        make_compressor(
            each,
            compressor,
            source,
            simulator,
            features=features,
            steps=autoencoder_steps,
            tick=tick,
        )
        for each in jax.random.split(key_network, members)
    ]
    examples = eqx.filter_eval_shape(add_noise, key, source, frame, 1)
    summary = eqx.filter_eval_shape(jax.vmap(networks[0]), examples.counts)
    conditions = summary.shape[1] + examples.beside.shape[1]
    flows = [
        make_flow(each, dimension, conditions)
        for each in jax.random.split(key_flow, members)
    ]
    return PosteriorEstimator(stack(networks), stack(flows), frame, members)


def stack(members: list[Any]) -> Any:
    """One module of the same structure whose arrays lead with the member's axis."""
    return jax.tree.map(
        lambda *leaves: jnp.stack(leaves) if eqx.is_array(leaves[0]) else leaves[0],
        *members,
    )


def gaussian(z: Float[Array, "draw dim"]) -> Region:
    """The Gaussian of the same mean and covariance as the draws."""
    host = np.asarray(z, np.float64)
    covariance = np.cov(host.T).reshape(host.shape[1], -1)
    factor = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(covariance)))
    return Region(jnp.asarray(host.mean(0), z.dtype), jnp.asarray(factor, z.dtype))


@eqx.filter_jit
def draw_batch(key: Key[Array, ""], source: Source, number: int) -> Batch:
    """Draw simulations without noise from any source."""
    return source.draw(key, number)


def add_noise(
    key: Key[Array, ""], source: Source, frame: Frame, number: int
) -> Examples:
    """Draw simulations, add nearly Poisson noise and look at them from the frame."""
    key_draw, key_noise = jax.random.split(key)
    batch = source.draw(key_draw, number)
    counts = fast_poisson_counts(key_noise, batch.expected)
    region = jax.vmap(frame)(counts, batch.context)
    return Examples(
        jax.vmap(lambda region, z: region.whiten(z))(region, batch.z),
        jax.vmap(lambda region: region.log_det())(region),
        counts,
        jnp.concatenate([batch.context, jax.vmap(frame.describe)(region)], axis=1),
    )


def train(
    key: Key[Array, ""],
    estimator: PosteriorEstimator,
    source: Source | Examples,
    *,
    steps: int,
    batch: int = 256,
    rate: float = 3e-3,
    tick: Callable[[int], Any] = lambda steps: None,
) -> tuple[PosteriorEstimator, Float[np.ndarray, " step"]]:
    """Minimise the mean -ln q(z | counts).

    Args:
        key: Random key.
        estimator: The networks to start from.
        source: Where simulations come from, which get fresh noise in every step; or
            examples in the estimator's frame, where that is costly to find.
        steps: Steps of descent, rounded up to a multiple of 100.
        batch: Simulations per step.
        rate: Initial learning rate.
        tick: Called with the number of steps after each part of the work.

    Returns: The trained networks and the loss of every step, its mean over members.
    """
    networks = (estimator.compressor, estimator.flow)
    networks, losses = descend(
        key,
        networks,
        _loss,
        (estimator, source, batch),
        steps=steps,
        rate=rate,
        tick=tick,
    )
    return _with(estimator, networks), losses


def _with(estimator: PosteriorEstimator, networks: Any) -> PosteriorEstimator:
    return eqx.tree_at(lambda each: (each.compressor, each.flow), estimator, networks)


def _loss(
    networks: Any, key: Array, data: tuple[PosteriorEstimator, Any, int]
) -> Array:
    """Mean of -ln q over simulations and members."""
    estimator, source, number = data
    if isinstance(source, Examples):
        rows = jax.random.randint(key, (number,), 0, len(source.white))
        examples = Examples(*(part[rows] for part in source))
    else:
        examples = add_noise(key, source, estimator.frame, number)
    moving = _with(estimator, networks)
    summary = jax.vmap(moving.summaries)(examples.counts, examples.beside)
    log_prob = eqx.filter_vmap(
        lambda flow, of: flow.log_prob(examples.white, of), in_axes=(eqx.if_array(0), 1)
    )(moving.flow, summary)
    return examples.log_det.mean() - log_prob.mean()
