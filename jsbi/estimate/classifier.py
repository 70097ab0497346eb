"""A classifier that learns which part of the prior is worth simulating."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from jsbi.descent import descend
from jsbi.estimate.restrict import PriorPart, Region, Rule
from jsbi.estimate.train import gaussian
from jsbi.simulate import Target, in_batches

WIDTH = 100
BATCH = 512
STEPS = 1000  # of descent in each round
VALIDATION = 5  # one simulation in so many calibrates the threshold
LEAST_VALID = 50
ACCEPTED = 400  # draws that measure a volume
MOST_DRAWS = 4_000_000
ROWS = 4096  # evaluated at a time
LEAST_ACCEPTANCE = 1e-3  # of prior draws; a smaller part takes too long to sample


class Classifier(eqx.Module):
    """A small network of z: the log odds that a simulation is valid.

    It sees each whitened coordinate through `asinh`, which resolves the valid draws and
    still tells how far away the others are.

    Args:
        key: Random key of the weights.
        region: Gaussian of the valid draws; not trained itself.
    """

    region: Region
    layers: tuple[eqx.nn.Linear, ...]
    norms: tuple[eqx.nn.LayerNorm, ...]

    def __init__(self, key: Key[Array, ""], region: Region):
        dimension = region.centre.shape[0]
        sizes = (dimension, WIDTH, WIDTH, 1)
        self.region = region
        self.layers = tuple(
            eqx.nn.Linear(inputs, outputs, key=each)
            for inputs, outputs, each in zip(
                sizes[:-1], sizes[1:], jax.random.split(key, 3), strict=True
            )
        )
        self.norms = (eqx.nn.LayerNorm(WIDTH), eqx.nn.LayerNorm(WIDTH))

    def __call__(self, z: Float[Array, " dim"]) -> Float[Array, ""]:
        """Log odds."""
        region = jax.lax.stop_gradient(self.region)
        hidden = jnp.arcsinh(region.whiten(z))
        for layer, norm in zip(self.layers[:-1], self.norms, strict=True):
            hidden = jax.nn.silu(norm(layer(hidden)))
        return self.layers[-1](hidden)[0]


@dataclass(frozen=True)
class ClassifierRound:
    """One round of simulations and training.

    Attributes:
        simulations: Spectra made in this round.
        valid: Share of them that is valid under this round's cut.
        low: The least that is valid, in the rule's measure.
        high: The most that is valid.
        threshold: Log odds above which the new part of the prior begins.
        log_volume: Log of the new part's share of the prior.
        log_volume_error: Its standard deviation.
    """

    simulations: int
    valid: float
    low: float
    high: float
    threshold: float
    log_volume: float
    log_volume_error: float


@dataclass(frozen=True)
class ClassifiedPrior(PriorPart):
    """N(0, I) where a classifier's log odds are above a threshold.

    Attributes:
        classifier: The network.
        threshold: Log odds.
        rounds: How it came about.
    """

    classifier: Classifier
    threshold: float
    rounds: tuple[ClassifierRound, ...] = ()

    @property
    def volume(self) -> float:
        """Share of the prior."""
        return math.exp(self.log_volume)

    def accepts(self, z: Float[np.ndarray, "draw dim"]) -> Bool[np.ndarray, " draw"]:
        """Which draws are taken for valid."""
        return log_odds(self.classifier, z) >= self.threshold

    def propose(
        self, generator: np.random.Generator, number: int
    ) -> tuple[Float[np.ndarray, "number dim"], Float[np.ndarray, " number"]]:
        """Draws from the prior; a certain yes or no to each."""
        dimension = self.classifier.region.centre.shape[0]
        z = generator.standard_normal((number, dimension))
        return z, np.where(self.accepts(z), 0.0, -np.inf)


def restrict_by_classifier(
    key: Key[Array, ""],
    target: Target,
    *,
    rule: Rule,
    rounds: int = 10,
    number: int = 2000,
    enough: float = 0.95,
    tick: Callable[[int], Any] = lambda simulations: None,
) -> ClassifiedPrior:
    """Find the part of the prior whose spectra obey a rule, round by round.

    Each round simulates from the part found so far, judges the draws of all rounds by
    the newest cut, trains a new classifier on them and sets its threshold so low that
    it rejects no valid draw of a validation set from all rounds. The part is sampled by
    rejection, so that it is the prior within it, whatever the classifier's faults; at a
    thousandth of the prior, where rejection becomes slow, the rounds end.

    Args:
        key: Random key.
        target: The model, and the observation for rules that look at it.
        rule: What makes a simulation valid.
        rounds: The most rounds.
        number: Simulations in each round.
        enough: Share of valid draws in a round after which to stop.
        tick: Called with the number of simulations after each round.

    Raises:
        ValueError: If next to no draws are valid.

    Source: Barret & Dupourque (2024), A&A 686, A133; Deistler et al. (2022), arXiv
        2210.04815, for keeping truncated proposals exact.
    """
    key_first, *keys = jax.random.split(key, rounds + 1)
    dimension = target.dimension
    part = ClassifiedPrior(Classifier(key_first, Region.whole(dimension)), -math.inf)
    z, measured = np.empty((0, dimension)), np.empty(0)
    interval = -math.inf, math.inf
    for key_round in keys:
        key_draw, key_train, key_volume = jax.random.split(key_round, 3)
        new = part.sample(key_draw, number)
        newest = rule.measure(target, new)
        z, measured = np.concatenate([z, new]), np.concatenate([measured, newest])
        interval = rule.narrow(interval, newest, dimension)
        valid = (measured >= interval[0]) & (measured <= interval[1])
        _check_valid(valid, measured, interval)
        share = float(valid[-number:].mean())
        if share < enough:
            capacity = rounds * number
            classifier, threshold = _learn(key_train, z, valid, capacity)
            part = _measure_volume(
                key_volume, replace(part, classifier=classifier, threshold=threshold)
            )
        summary = ClassifierRound(
            number,
            share,
            *interval,
            part.threshold,
            part.log_volume,
            part.log_volume_error,
        )
        part = replace(part, rounds=(*part.rounds, summary))
        tick(number)
        if share >= enough or part.acceptance < LEAST_ACCEPTANCE:
            break
    return part


def _check_valid(
    valid: np.ndarray, measured: np.ndarray, interval: tuple[float, float]
) -> None:
    if valid.sum() < LEAST_VALID:
        raise ValueError(
            f"A classifier needs {LEAST_VALID} valid simulations; got {valid.sum()} of "
            f"{len(valid)} between {interval[0]:g} and {interval[1]:g}, where all lie "
            f"between {measured.min():g} and {measured.max():g}. Is the rule meant for "
            "this observation, and `number` large enough?"
        )


def _learn(
    key: Array, z: np.ndarray, valid: np.ndarray, capacity: int
) -> tuple[Classifier, float]:
    """Train a classifier on most of the draws, set its threshold on the others."""
    key_network, key_train = jax.random.split(key)
    aside = np.arange(len(z)) % VALIDATION == 0
    # Repeated to a fixed number, so that one compilation serves every round.
    classes = tuple(
        jnp.asarray(np.resize(z[~aside & rows], (capacity, z.shape[1])), float)
        for rows in (valid, ~valid)
    )
    classifier = Classifier(key_network, gaussian(jnp.asarray(z[valid], float)))
    classifier, _ = descend(key_train, classifier, _loss, classes, steps=STEPS)
    seen, unseen = (log_odds(classifier, z[valid & rows]) for rows in (~aside, aside))
    return classifier, min(no_false_negatives(unseen), float(seen.min()))


def _loss(
    classifier: Classifier, key: Key[Array, ""], classes: tuple[Array, Array]
) -> Array:
    """Cross-entropy of equally many valid and invalid draws."""
    key_valid, key_invalid = jax.random.split(key)
    odds = [
        jax.vmap(classifier)(
            rows[jax.random.randint(each, (BATCH // 2,), 0, len(rows))]
        )
        for each, rows in zip((key_valid, key_invalid), classes, strict=True)
    ]
    return jax.nn.softplus(-odds[0]).mean() + jax.nn.softplus(odds[1]).mean()


def no_false_negatives(odds: Float[np.ndarray, " valid"]) -> float:
    """The threshold on log odds that keeps all valid draws, seen and probably unseen.

    The largest surprise -ln P(valid) among n valid draws is raised by its n-th part, as
    for the number of tanks of which n were seen. (On 1 - P(valid), as published, the
    threshold on P becomes negative where one draw has a small P.)

    Args:
        odds: Log odds of valid draws that were not trained on.

    Source: Goodman (1952), JASA 47, 622.
    """
    surprise = np.logaddexp(0, -odds).max() * (1 + 1 / len(odds))
    return float(-surprise - np.log1p(-np.exp(-surprise)))


def _measure_volume(key: Array, part: ClassifiedPrior) -> ClassifiedPrior:
    """Count accepted draws from the prior until their number is known to 5 %."""
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    found, made = 0, 0
    while found < ACCEPTED and made < MOST_DRAWS:
        _, log_accept = part.propose(generator, 4 * ROWS)
        found, made = found + int(np.isfinite(log_accept).sum()), made + 4 * ROWS
    share = max(found, 1) / made
    error = math.sqrt((1 - share) / max(found, 1))
    return replace(
        part, log_volume=math.log(share), log_volume_error=error, acceptance=share
    )


def log_odds(
    classifier: Classifier, z: Float[np.ndarray, "draw dim"]
) -> Float[np.ndarray, " draw"]:
    """Log odds of many draws, on the host."""
    return in_batches(lambda rows: _log_odds(classifier, rows), z, ROWS)


@eqx.filter_jit
def _log_odds(classifier: Classifier, z: Array) -> Array:
    return jax.vmap(classifier)(z)
