"""Many spectra of one instrument: simulated, and inferred by some procedure."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.amortized import AmortizedPosterior
from jsbi.api import infer_target
from jsbi.correct import Training
from jsbi.data import Observation, perfect_log_likelihood
from jsbi.diagnose.calibration import unweighted
from jsbi.estimate import PosteriorEstimator, expected_spectra
from jsbi.posterior import Posterior
from jsbi.progress import Progress
from jsbi.simulate import (
    Simulator,
    Target,
    make_conditions,
    poisson_log_likelihood,
    under,
)

PART = 16  # spectra on the device at once
NETWORK_DRAWS = 2000  # of a network without reweighting
LEAST_KNOWN = 0.01  # share of the prior's draws at which the model has a value

# Draws before and after reweighting, or why there are none.
Outcome = tuple[Posterior, Posterior] | str


def draw_prior(
    generator: np.random.Generator, target: Target, number: int
) -> tuple[Float[np.ndarray, "spectrum dim"], Float[np.ndarray, "spectrum channel"]]:
    """Coordinates from the prior where the model has a value, and expected counts.

    Args:
        generator: Random generator.
        target: Gives prior, model and instruments; its counts do not matter.
        number: How many.

    Raises:
        ValueError: If the model has a value next to nowhere.
    """
    found: list[tuple[np.ndarray, np.ndarray]] = []
    tried = kept = 0
    while kept < number:
        z = generator.standard_normal((number, target.dimension))
        expected = expected_spectra(target, z).astype(np.float64)
        known = np.isfinite(expected).all(1)
        found.append((z[known], expected[known]))
        tried, kept = tried + number, kept + int(known.sum())
        if tried >= 10 / LEAST_KNOWN and kept < LEAST_KNOWN * tried:
            raise ValueError(
                "The model must have a value at the prior's draws, to simulate from "
                f"them; it has at {kept} of {tried}. Does the prior reach too far?"
            )
    z, expected = (np.concatenate(part)[:number] for part in zip(*found, strict=True))
    return z, expected


class Simulated(NamedTuple):
    """Spectra and what they were made from.

    Attributes:
        z: Coordinates.
        counts: In all fit bins.
        log_likelihood: Of the coordinates, relative to the perfect fit.
        exposure: Of the counts, in units of that of the observation.
    """

    z: Float[np.ndarray, "spectrum dim"]
    counts: Float[np.ndarray, "spectrum channel"]
    log_likelihood: Float[np.ndarray, " spectrum"]
    exposure: float


def add_noise(
    generator: np.random.Generator,
    z: Float[np.ndarray, "spectrum dim"],
    expected: Float[np.ndarray, "spectrum channel"],
    observed: Float[np.ndarray, " channel"] | None = None,
) -> Simulated:
    """Draw counts, and add the observed ones where they belong to every spectrum.

    Args:
        generator: Random generator.
        z: Coordinates.
        expected: Their expected counts in the exposure of the observation.
        observed: Counts that are known besides, in as long an exposure.
    """
    counts = generator.poisson(expected).astype(np.float64)
    exposure = 1.0
    if observed is not None:
        counts, expected, exposure = counts + observed, 2 * expected, 2.0
    dtype = jnp.result_type(float)
    pairs = jnp.asarray(counts, dtype), jnp.asarray(expected, dtype)
    fit = np.asarray(jax.vmap(poisson_log_likelihood)(*pairs), np.float64)
    return Simulated(z, counts, fit, exposure)


class Procedure(ABC):
    """How spectra are inferred."""

    @abstractmethod
    def under(self, exposure: float) -> Simulator:
        """The simulator at so many times the exposure of the observation.

        Raises:
            ValueError: If the procedure does not serve it.
        """

    @abstractmethod
    def posteriors(
        self,
        key: Key[Array, ""],
        counts: Float[np.ndarray, "spectrum channel"],
        exposure: float,
    ) -> Iterator[Outcome]:
        """Infer spectra, one after another as they are asked for.

        Args:
            key: Random key.
            counts: Counts in all fit bins.
            exposure: In units of that of the observation.
        """


@dataclasses.dataclass(frozen=True)
class EachByItself(Procedure):
    """Every spectrum by itself, as `infer` does it.

    Attributes:
        simulator: At the exposure of the observation.
        observations: The observation, or all of a joint fit; their counts do not
            matter.
        method: As in `infer`.
        draws: Effective draws of each spectrum.
        training: How networks are made.
    """

    simulator: Simulator
    observations: tuple[Observation, ...]
    method: str
    draws: int
    training: Training | None = None

    def under(self, exposure: float) -> Simulator:
        """The simulator at any exposure."""
        if exposure == 1:
            return self.simulator
        channels = sum(self.simulator.sizes)
        conditions = make_conditions(channels, exposure=(exposure, exposure))
        middle = jnp.zeros(2, conditions.background.dtype)
        return under(self.simulator, conditions, middle)

    def posteriors(
        self,
        key: Key[Array, ""],
        counts: Float[np.ndarray, "spectrum channel"],
        exposure: float,
    ) -> Iterator[Outcome]:
        """The draws of the last proposal, and the same with their weights.

        Nested sampling has no proposal whose draws are alike: before is as after.
        """
        simulator = self.under(exposure)
        keys = jax.random.split(key, len(counts))
        for key_spectrum, row in zip(keys, counts, strict=True):
            try:
                posterior = self._one(key_spectrum, Target(simulator, row), row)
            except (ValueError, np.linalg.LinAlgError) as error:
                yield str(error) or type(error).__name__
            else:
                nested = posterior.method == "nested"
                yield posterior if nested else unweighted(posterior), posterior

    def _one(self, key: Array, target: Target, counts: np.ndarray) -> Posterior:
        return infer_target(
            key,
            target,
            self.observations,
            method=self.method,
            draws=self.draws,
            log_perfect=perfect_log_likelihood(counts),
            progress=Progress(False),
            training=self.training,
        )


@dataclasses.dataclass(frozen=True)
class OneNetwork(Procedure):
    """One network for all spectra, each reweighted, and adapted where that is needed.

    Attributes:
        network: The network.
        exposure: Of the observation [s].
        draws: From the network, for each spectrum.
    """

    network: AmortizedPosterior
    exposure: float
    draws: int

    def under(self, exposure: float) -> Simulator:
        """The simulator at an exposure that the network serves."""
        context = self._context(exposure)
        return under(self.network.simulator, self.network.conditions, context)

    def _context(self, exposure: float) -> Array:
        conditions, own = self.network.conditions, self.network.templates[0].exposure
        context = conditions.context(exposure * self.exposure / own, 1.0)
        return jnp.asarray(context, conditions.background.dtype)

    def posteriors(
        self,
        key: Key[Array, ""],
        counts: Float[np.ndarray, "spectrum channel"],
        exposure: float,
    ) -> Iterator[Outcome]:
        """The draws of the network itself, and what reweighting and adapting make."""
        key_before, key_after = jax.random.split(key)
        before = self._before(key_before, counts, exposure)
        after = self._after(key_after, counts, exposure)
        for raw, final in zip(before, after, strict=True):
            yield final if isinstance(final, str) else (raw, final)

    def _after(
        self, key: Array, counts: np.ndarray, exposure: float
    ) -> Iterator[Posterior | str]:
        done = 0
        while done < len(counts):
            key, key_now = jax.random.split(key)
            posteriors = self.network.each(
                counts[done:],
                key=key_now,
                exposure=exposure * self.exposure,
                draws=self.draws,
            )
            try:
                for posterior in posteriors:
                    done += 1
                    yield posterior
            except ValueError as error:
                done += 1
                yield str(error)

    def _before(
        self, key: Array, counts: np.ndarray, exposure: float
    ) -> Iterator[Posterior]:
        """Draws that are neither defended nor weighted."""
        context, simulator = self._context(exposure), self.under(exposure)
        starts = range(0, len(counts), PART)
        for start, key_part in zip(
            starts, jax.random.split(key, len(starts)), strict=True
        ):
            # The last spectra are repeated, so that one compilation serves all parts.
            rows = np.minimum(np.arange(start, start + PART), len(counts) - 1)
            drawn = _draw(
                jax.random.split(key_part, PART),
                self.network.estimator,
                jnp.asarray(counts[rows], context.dtype),
                context,
                NETWORK_DRAWS,
            )
            for row, z in zip(range(start, len(counts)), drawn, strict=False):
                target = Target(simulator, counts[row])
                yield _posterior(target, np.asarray(z, np.float64))


@eqx.filter_jit
def _draw(
    keys: Array,
    estimator: PosteriorEstimator,
    counts: Array,
    context: Array,
    number: int,
) -> Array:
    return jax.lax.map(
        lambda pair: estimator.at(pair[1], context).sample(pair[0], number),
        (keys, counts),
    )


def _posterior(target: Target, z: np.ndarray) -> Posterior:
    """Draws of equal weights, even where the model has no value."""
    return Posterior(
        names=target.simulator.prior.names,
        z=z,
        values=target.physical(z),
        log_weight=np.full(len(z), -np.log(len(z))),
        log_likelihood=target.log_likelihood(z),
        effective_draws=float(len(z)),
    )
