"""Training of one network for all spectra that a prior and its conditions can make."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jsbi.compress import make_compressor
from jsbi.compress.registry import STEPS
from jsbi.descent import descend
from jsbi.estimate.estimator import PosteriorEstimator
from jsbi.estimate.frame import ModeFrame, PointEstimate
from jsbi.estimate.train import Examples, add_noise, make_estimator, train
from jsbi.progress import Progress
from jsbi.simulate import (
    Conditioned,
    Conditions,
    Simulator,
    Source,
    fast_poisson_counts,
)

WIDTH = 128
GUESS_STEPS = 2000
FLOW_STEPS = 4000
BATCH = 256
SIMULATIONS = 50_000  # seen from their best fits
AT_ONCE = 512  # fitted side by side
FARTHEST = 100.0  # widths from its best fit beyond which a simulation teaches nothing
LEAST_LEFT = 0.1  # share of the simulations without which no flow can be trained


def untrained(
    key: Key[Array, ""],
    simulator: Simulator,
    conditions: Conditions,
    source: Source,
    *,
    compressor: str = "network",
    members: int = 1,
    autoencoder_steps: int = STEPS,
) -> PosteriorEstimator:
    """Networks of the same structure as `train_amortized` gives.

    Args:
        key: Random key.
        simulator: Prior, model and instruments.
        conditions: Ranges of exposure and background.
        source: Gives coordinates and counts of the source as it was folded.
        compressor: A name that `make_compressor` knows.
        members: How many networks to train side by side.
        autoencoder_steps: Steps of an auto-encoder's training; 0 leaves it untrained.
    """
    key_compressor, key_head, key_estimator = jax.random.split(key, 3)
    dimension = simulator.prior.dimension
    under_conditions = Conditioned(source, conditions)
    summary = make_compressor(
        key_compressor,
        compressor,
        under_conditions,
        simulator,
        features=4 * dimension,
        steps=autoencoder_steps,
    )
    example = eqx.filter_eval_shape(
        summary, jnp.zeros(conditions.background.shape, conditions.background.dtype)
    )
    head = eqx.nn.MLP(
        example.shape[0] + len(conditions.log_exposure),
        dimension,
        WIDTH,
        2,
        jax.nn.silu,
        key=key_head,
    )
    frame = ModeFrame(PointEstimate(summary, head), simulator, conditions)
    return make_estimator(
        key_estimator,
        under_conditions,
        simulator,
        compressor=compressor,
        members=members,
        frame=frame,
        autoencoder_steps=autoencoder_steps,
    )


def train_amortized(
    key: Key[Array, ""],
    simulator: Simulator,
    conditions: Conditions,
    source: Source,
    *,
    compressor: str = "network",
    members: int = 1,
    simulations: int = SIMULATIONS,
    steps: int = FLOW_STEPS,
    progress: Progress,
) -> tuple[PosteriorEstimator, dict[str, Any]]:
    """Train a network that guesses the best fit, then flows around the best fits.

    Args:
        key: Random key.
        simulator: Prior, model and instruments.
        conditions: Ranges of exposure and background.
        source: Gives coordinates and counts of the source as it was folded.
        compressor: A name that `make_compressor` knows.
        members: How many flows to train side by side.
        simulations: Spectra whose best fits the flows are trained around.
        steps: Steps of the flows' descent.
        progress: Bars and ledger.

    Returns: The estimator, and numbers about its training: among them the simulations
        that the guess and the flows saw, and the share "lost" of those for the flows,
        which lay too far from their best fits.

    Raises:
        ValueError: If next to no simulation lies near its best fit.
    """
    key_start, key_guess, key_fit, key_flow = jax.random.split(key, 4)
    with progress.stage("amortise: compress", "train", 1) as tick:
        start = untrained(
            key_start,
            simulator,
            conditions,
            source,
            compressor=compressor,
            members=members,
        )
        tick(1)
    frame: Any = start.frame
    under_conditions = Conditioned(source, conditions)
    with progress.stage("amortise: learn to guess", "train", GUESS_STEPS) as tick:
        guess, errors = descend(
            key_guess,
            frame.guess,
            _squared_error,
            (under_conditions, BATCH),
            steps=GUESS_STEPS,
            tick=tick,
        )
    frame = ModeFrame(guess, simulator, conditions)
    with progress.stage("amortise: best fits", "simulate", simulations) as tick:
        examples, lost = _fitted(key_fit, under_conditions, frame, simulations, tick)
    estimator = PosteriorEstimator(start.compressor, start.flow, frame, members)
    with progress.stage("amortise: train flows", "train", steps) as tick:
        estimator, losses = train(
            key_flow, estimator, examples, steps=steps, batch=BATCH, tick=tick
        )
    return estimator, {
        "compressor": compressor,
        "members": members,
        "simulations": GUESS_STEPS * BATCH + _rounded(simulations),
        "fitted": len(examples.white),
        "lost": lost,
        "steps": steps,
        "guess_error": float(np.sqrt(errors[-100:].mean())),
        "final_loss": float(losses[-100:].mean()),
    }


def _squared_error(guess: PointEstimate, key: Array, data: tuple[Source, int]) -> Array:
    """Mean squared error of the guesses of z."""
    source, number = data
    key_draw, key_noise = jax.random.split(key)
    batch = source.draw(key_draw, number)
    counts = fast_poisson_counts(key_noise, batch.expected)
    return ((jax.vmap(guess)(counts, batch.context) - batch.z) ** 2).mean()


def _fitted(
    key: Array,
    source: Source,
    frame: ModeFrame,
    number: int,
    tick: Callable[[int], Any],
) -> tuple[Examples, float]:
    """Examples in the frames of their best fits, and the share that is left out.

    Left out are those of failed fits, and those of another mode than the fitted one.
    """
    parts = []
    for each in jax.random.split(key, _rounded(number) // AT_ONCE):
        part = jax.tree.map(np.asarray, _fit(each, source, frame))
        near = np.abs(part.white).max(1) < FARTHEST  # false for NaN
        good = near & np.isfinite(part.beside).all(1) & np.isfinite(part.log_det)
        parts.append(Examples(*(array[good] for array in part)))
        tick(AT_ONCE)
    left = sum(len(part.white) for part in parts) / _rounded(number)
    if left < LEAST_LEFT:
        raise ValueError(
            f"At least {100 * LEAST_LEFT:.0f} % of the simulations must lie within "
            f"{FARTHEST:.0f} widths of their best fits; {100 * left:.1f} % do. Has the "
            "model no value in most of the prior, or many modes for every spectrum?"
        )
    examples = (jnp.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Examples(*examples), 1 - left


def _rounded(number: int) -> int:
    """Simulations that are made where so many were asked for."""
    return AT_ONCE * math.ceil(number / AT_ONCE)


@eqx.filter_jit
def _fit(key: Array, source: Source, frame: ModeFrame) -> Examples:
    return add_noise(key, source, frame, AT_ONCE)
