"""Slow models: emulate near the posterior, then correct with few exact values."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jsbi.correct.emulator import (
    NEAR,
    EmulatedSimulator,
    LikelihoodEmulator,
    train_emulator,
    train_likelihood_emulator,
)
from jsbi.correct.explore import (
    CHUNK,
    Gaussian,
    Simulations,
    explore,
    log_weight,
    round_size,
    simulate,
    wanted_power,
)
from jsbi.posterior import Posterior
from jsbi.simulate import Target
from jsbi.simulate.source import without_context
from jsbi.weights import effective_draws, pareto_k, temper

KINDS = ("spectrum", "likelihood")
USED = 60.0  # simulations further below the best log-likelihood teach nothing
CANDIDATES = 50  # emulated likelihoods for each simulation
LEAST_NEAR = 30  # simulations that a test of the emulator needs near the posterior


@dataclasses.dataclass(frozen=True)
class EmulatorError:
    """Emulated minus exact log-likelihood.

    Attributes:
        rms: Root mean square.
        largest: Largest absolute value.
        number: Places where it was measured.
    """

    rms: float
    largest: float
    number: int


@dataclasses.dataclass(frozen=True)
class EmulationReport:
    """How an emulator was made and how good it is.

    Attributes:
        kind: "spectrum" or "likelihood".
        error: On simulations held out of the training, where C exceeds its minimum by
            less than 30.
        met: Whether the error's root mean square is within the tolerance.
        simulations: Exact spectra that were simulated.
        trained: How many of them the emulator learned from.
        history: Simulations learned from, rms and largest error after each round.
    """

    kind: str
    error: EmulatorError
    met: bool
    simulations: int
    trained: int
    history: tuple[tuple[int, float, float], ...]


def emulate(
    key: Key[Array, ""],
    target: Target,
    *,
    kind: str = "spectrum",
    tolerance: float = 0.1,
    simulations: int = 20_000,
    tick: Callable[[int], Any] = lambda simulations: None,
) -> tuple[Target, EmulationReport]:
    """Stand in for a slow model by an emulator trained where its posterior lives.

    The prior is narrowed by tempered importance sampling, from which every simulation
    is kept. Then fresh simulations test the emulator, and join its training, until the
    error of the log-likelihood is small enough.

    Args:
        key: Random key.
        target: The exact posterior density.
        kind: "spectrum" learns expected counts; "likelihood" learns one number, which
            takes far more simulations.
        tolerance: Root mean square error of the log-likelihood to reach where the C
            statistic exceeds its minimum by less than 30.
        simulations: The most to spend.
        tick: Called with the number of simulations after each part of the work.

    Returns: The emulated posterior density, and how good it is. Draws from it are to be
        passed through `correct_draws`, or else `mark_emulated`.

    Raises:
        ValueError: If the kind is unknown or the budget too small to begin.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}; got {kind!r}.")
    key_region, key_train = jax.random.split(key)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_region)))
    store, gaussian = explore(generator, target, simulations, tick)
    history = []
    while True:
        key_train, key_round = jax.random.split(key_train)
        trained = int(store.near(USED).sum())
        emulated = Target(
            _train(key_round, target, store, kind), np.asarray(target.counts)
        )
        number = max(round_size(target), trained // 2 // CHUNK * CHUNK)
        z = _likely(generator, emulated, gaussian, number)
        store = store.joined(simulate(target, z, tick))
        error = _held_out_error(emulated, store, number)
        history.append((trained, error.rms, error.largest))
        met = error.rms < tolerance and error.number >= LEAST_NEAR
        if met or len(store.z) + number > simulations:
            spent = len(store.z)
            report = EmulationReport(kind, error, met, spent, trained, tuple(history))
            return emulated, report


def _likely(
    generator: np.random.Generator, emulated: Target, gaussian: Gaussian, number: int
) -> np.ndarray:
    """Half from the Gaussian, half where the emulator expects the posterior, widened.

    Bent ridges and long tails, which a Gaussian misses, are tested and learned too.
    """
    wide = Gaussian(gaussian.centre, 2 * gaussian.factor)
    z = wide.sample(generator, CANDIDATES * number)
    power = wanted_power(emulated.dimension)
    weight = log_weight(emulated.log_likelihood(z), z, [wide], power)
    weight = np.exp(temper(weight, 2.0 * number))
    picked = generator.choice(len(z), number // 2, replace=False, p=weight)
    spread = gaussian.sample(generator, number - number // 2)
    return np.concatenate([z[picked], spread])


def _train(
    key: Key[Array, ""], target: Target, store: Simulations, kind: str
) -> EmulatedSimulator | LikelihoodEmulator:
    used = store.near(USED)
    z = store.z[used]
    if kind == "likelihood":
        return train_likelihood_emulator(
            key, target.simulator, z, store.log_likelihood[used]
        )
    batch = without_context(jnp.asarray(z), jnp.asarray(store.expected[used]))
    return train_emulator(key, target.simulator, batch)


def _held_out_error(emulated: Target, store: Simulations, number: int) -> EmulatorError:
    """Error at those of the last simulations that are near the posterior."""
    near = store.near(NEAR)[-number:]
    z, exact = store.z[-number:][near], store.log_likelihood[-number:][near]
    if not near.any():
        return EmulatorError(math.inf, math.inf, 0)
    return _error(emulated.log_likelihood(z) - exact, np.full(len(z), 1 / len(z)))


def _error(difference: np.ndarray, weight: np.ndarray) -> EmulatorError:
    rms = math.sqrt(weight @ difference**2)
    return EmulatorError(rms, float(np.abs(difference).max()), len(difference))


def correct_draws(
    key: Key[Array, ""],
    posterior: Posterior,
    target: Target,
    *,
    number: int = 2000,
) -> tuple[Posterior, EmulatorError]:
    """Make draws from an emulated posterior exact, with exact likelihoods at some.

    Weights are multiplied by the ratio of the likelihoods, and the evidence by its
    mean. What the emulator took for improbable and never drew stays lost: the Pareto k
    of the ratio tells.

    Args:
        key: Random key.
        posterior: Weighted or equal-weight draws made with an emulator.
        target: The exact posterior density.
        number: Draws to keep and to evaluate, resampled in proportion to their weights;
            all of them, as they are, where there are no more than that.

    Returns: The exact posterior, and the error of the emulator's log-likelihood over
        the emulated posterior.

    Raises:
        ValueError: If the exact likelihood vanishes at every draw.
    """
    rows, log_weight = _thin(key, posterior, number)
    z, emulated = posterior.z[rows], posterior.log_likelihood[rows]
    exact = target.log_likelihood(z)
    kept = np.isfinite(exact)
    if not kept.any():
        raise ValueError(
            "The exact likelihood must be positive at some of the draws, but it is "
            f"not at any of {len(z)}. Were they made for another observation?"
        )
    ratio = np.where(kept, exact - emulated, -np.inf)
    corrected = log_weight + ratio
    shift = float(np.logaddexp.reduce(corrected))
    corrected -= shift
    before = effective_draws(log_weight)
    lasting = effective_draws(corrected) / before
    tail = pareto_k(corrected[kept])
    result = dataclasses.replace(
        posterior,
        report=None,
        z=z[kept],
        values=posterior.values[rows][kept],
        log_weight=corrected[kept],
        log_likelihood=exact[kept],
        effective_draws=min(before, posterior.effective_draws) * lasting,
        log_evidence=posterior.log_evidence + shift,
        log_evidence_error=math.hypot(
            posterior.log_evidence_error, math.sqrt(max(1 / lasting - 1, 0.0) / before)
        ),
        method=f"{posterior.method}, emulated, corrected",
        pareto_k=float(np.fmax(tail, posterior.pareto_k)),
        proposed=len(rows),
    )
    return result, _error(ratio[kept], np.exp(log_weight[kept]))


def _thin(
    key: Key[Array, ""], posterior: Posterior, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to keep, and their normalised log weights."""
    if posterior.draws <= number:
        return np.arange(posterior.draws), posterior.log_weight
    drawn = posterior.resampled_rows(key, number)
    rows, times = np.unique(drawn, return_counts=True)
    return rows, np.log(times / number)


def mark_emulated(posterior: Posterior, report: EmulationReport) -> Posterior:
    """Label draws that cannot be corrected because the model cannot be evaluated.

    Args:
        posterior: Draws made with an emulator.
        report: The emulator's; its error is added to that of the evidence.
    """
    return dataclasses.replace(
        posterior,
        log_evidence_error=math.hypot(posterior.log_evidence_error, report.error.rms),
        method=f"{posterior.method}, emulated (ln L +- {report.error.rms:.2g})",
        report=None,
    )
