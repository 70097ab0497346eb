"""Rounds: narrow the prior to one observation's posterior, simulate there, train on."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jsbi.estimate.estimator import PosteriorEstimator
from jsbi.estimate.restrict import PriorPart, WholePrior, expected_spectra
from jsbi.estimate.train import make_estimator, train
from jsbi.estimate.truncate import TruncatedPrior, fit_ellipsoids, truncate
from jsbi.simulate import Batch, Source, Target, fast_poisson_counts, without_context

DRAWS = 10_000  # from the estimator, to which ellipsoids are fitted
CUT = 1e-4  # share of the draws, the least dense, that ellipsoids need not hold
VALIDATION = 10  # one simulation in so many is not trained on
NOISY = 4096  # spectra that measure the validation loss
IMPROVEMENT = 0.05  # of the validation loss [nat] that is worth another round


class Filled(Source):
    """Stored simulations in arrays of fixed length, of which the first rows are filled.

    The length stays when simulations are added, so that nothing is compiled again.

    Attributes:
        batch: Simulations, then anything.
        number: How many there are.
    """

    batch: Batch
    number: Int[Array, ""]

    def draw(self, key: Key[Array, ""], number: int) -> Batch:
        """Pick rows at random."""
        rows = jax.random.randint(key, (number,), 0, self.number)
        return Batch(*(part[rows] for part in self.batch))


@dataclass(frozen=True)
class _Simulations:
    """Spectra without noise; those set aside for validation stay so."""

    z: np.ndarray
    expected: np.ndarray
    aside: np.ndarray

    def rows(self, which: np.ndarray) -> "_Simulations":
        return _Simulations(self.z[which], self.expected[which], self.aside[which])

    def add(self, target: Target, z: np.ndarray) -> "_Simulations":
        expected = expected_spectra(target, z)
        known = np.isfinite(expected).all(1)
        z, expected = z[known], expected[known]
        aside = np.arange(len(z)) % VALIDATION == 0
        return _Simulations(
            np.concatenate([self.z, z]),
            np.concatenate([self.expected, expected]),
            np.concatenate([self.aside, aside]),
        )

    def source(self, aside: bool, length: int) -> Filled:
        chosen = self.rows(self.aside == aside)
        number = len(chosen.z)
        z, expected = (
            jnp.asarray(np.pad(part, ((0, length - number), (0, 0))), float)
            for part in (chosen.z, chosen.expected)
        )
        return Filled(without_context(z, expected), jnp.asarray(number))


@dataclass(frozen=True)
class Round:
    """One round of simulations and training.

    Attributes:
        log_volume: Log of the share of the prior that was simulated.
        log_volume_error: Its standard deviation.
        acceptance: Share of candidates that were accepted as coordinates.
        simulations: New spectra.
        kept: Spectra of earlier rounds that lie in this round's part of the prior.
        losses: Of every step of training [nat].
        loss_before: Validation loss of the estimator before training [nat].
        loss_after: The same after it, on the same noisy spectra [nat].
    """

    log_volume: float
    log_volume_error: float
    acceptance: float
    simulations: int
    kept: int
    losses: Float[np.ndarray, " step"]
    loss_before: float
    loss_after: float

    @property
    def improvement(self) -> float:
        """What training has gained in validation loss [nat]."""
        return self.loss_before - self.loss_after


@dataclass(frozen=True)
class Rounds:
    """What rounds have led to.

    Attributes:
        estimator: As trained in the last round.
        region: The part of the prior that the last round simulated.
        rounds: The numbers of each round.
    """

    estimator: PosteriorEstimator
    region: PriorPart
    rounds: tuple[Round, ...]

    @property
    def simulations(self) -> int:
        """Spectra made in all rounds."""
        return sum(each.simulations for each in self.rounds)


def run_rounds(
    key: Key[Array, ""],
    target: Target,
    *,
    start: PriorPart | None = None,
    rounds: int = 5,
    number: int = 5000,
    steps: int = 1000,
    batch: int = 256,
    shrink: float = 0.1,
    compressor: str = "network",
    members: int = 1,
    tick: Callable[[int], Any] = lambda steps: None,
) -> Rounds:
    """Train an estimator for one observation on a prior that narrows around it.

    After each round the prior is truncated to ellipsoids around the estimator's draws
    at the observation, within all earlier ones. New simulations are exact draws from
    the truncated prior. Earlier ones that lie in it have the same distribution, being
    draws from the prior within a larger part, and are kept. All coordinates thus follow
    the prior up to a constant, so that plain maximum likelihood learns the posterior
    itself, without a proposal to divide out.

    Args:
        key: Random key.
        target: The model and the observation, of which only the counts are used.
        start: The part of the prior for the first round; None for all of it.
        rounds: The most rounds.
        number: New simulations in each round.
        steps: Steps of training in each round.
        batch: Simulations per step.
        shrink: Stop once the volume would shrink by less than this share, and the last
            training has hardly improved the validation loss.
        compressor: A name that `make_compressor` knows.
        members: Networks trained side by side.
        tick: Called with the number of steps after each part of the work.

    Raises:
        ValueError: If there is no round, or too few simulations in one.

    Source: Deistler, Goncalves & Macke (2022), arXiv 2210.04815.
    """
    if rounds < 1 or number < 100:
        raise ValueError(
            "Rounds need at least one round of at least 100 simulations; got "
            f"{rounds} of {number}."
        )
    region = WholePrior(target.dimension) if start is None else start
    key_first, key_make, key = jax.random.split(key, 3)
    kept = _nothing(target)
    made = kept.add(target, region.sample(key_first, number))
    length = rounds * number
    estimator = make_estimator(
        key_make,
        made.source(False, length),
        target.simulator,
        compressor=compressor,
        members=members,
    )
    records = []
    for key_round in jax.random.split(key, rounds):
        key_train, key_narrow, key_draw = jax.random.split(key_round, 3)
        estimator, losses, *change = _train(
            key_train, estimator, made, length, steps, batch, tick
        )
        records.append(
            Round(
                region.log_volume,
                region.log_volume_error,
                region.acceptance,
                number,
                len(kept.z),
                losses,
                *change,
            )
        )
        if len(records) == rounds:
            break
        narrower = narrow(key_narrow, estimator, target, region)
        saved = 1 - math.exp(narrower.log_volume - region.log_volume)
        if saved < shrink and records[-1].improvement < IMPROVEMENT:
            break
        region, kept = narrower, made.rows(narrower.accepts(made.z))
        made = kept.add(target, region.sample(key_draw, number))
    return Rounds(estimator, region, tuple(records))


def _nothing(target: Target) -> _Simulations:
    return _Simulations(
        np.empty((0, target.dimension)),
        np.empty((0, len(target.counts)), target.counts.dtype),
        np.empty(0, bool),
    )


def _train(
    key: Array,
    before: PosteriorEstimator,
    made: _Simulations,
    length: int,
    steps: int,
    batch: int,
    tick: Callable[[int], Any],
) -> tuple[PosteriorEstimator, np.ndarray, float, float]:
    """Train, with the losses of every step and of validation before and after."""
    key_train, key_validate = jax.random.split(key)
    training = made.source(False, length)
    # A tenth, rounded up in every round.
    validation = made.source(True, length // VALIDATION + length // 100)
    after, losses = train(
        key_train, before, training, steps=steps, batch=batch, tick=tick
    )
    # The same rows and noise for both, so that training is all that differs.
    clone = jax.random.clone(key_validate)
    loss_before = float(_validation_loss(clone, before, validation))
    return (
        after,
        losses,
        loss_before,
        float(_validation_loss(key_validate, after, validation)),
    )


def narrow(
    key: Key[Array, ""],
    estimator: PosteriorEstimator,
    target: Target,
    region: PriorPart,
) -> TruncatedPrior:
    """Truncate a part of the prior to where the estimator sees the posterior.

    Args:
        key: Random key.
        estimator: The estimator.
        target: The observation.
        region: The part of the prior so far.
    """
    key_draw, key_fit, key_volume = jax.random.split(key, 3)
    z, log_prob = _draw(key_draw, estimator, target.counts)
    z, log_prob = np.asarray(z, np.float64), np.asarray(log_prob)
    dense = log_prob > np.quantile(log_prob, CUT)
    return truncate(key_volume, fit_ellipsoids(key_fit, z[dense]), region)


@eqx.filter_jit
def _draw(
    key: Array, estimator: PosteriorEstimator, counts: Array
) -> tuple[Array, Array]:
    proposal = estimator.at(counts)
    z = proposal.sample(key, DRAWS)
    return z, jax.vmap(proposal.log_prob)(z)


@eqx.filter_jit
def _validation_loss(
    key: Array, estimator: PosteriorEstimator, source: Source
) -> Array:
    key_draw, key_noise = jax.random.split(key)
    batch = source.draw(key_draw, NOISY)
    counts = fast_poisson_counts(key_noise, batch.expected)
    return -jax.vmap(estimator.log_prob)(batch.z, counts).mean()
