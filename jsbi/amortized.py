"""One network for all spectra of an instrument and model, each reweighted exactly."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Real

from jsbi.api import make_report, name_of
from jsbi.correct import (
    Rung,
    WeightedDraws,
    all_doubts,
    best_rung,
    draw_many,
    judge_draws,
    mixture_rung,
)
from jsbi.data import Observation, perfect_log_likelihood, read_observation
from jsbi.diagnose.verdict import LEAST_EFFECTIVE, NOT_TRUSTED
from jsbi.estimate import PosteriorEstimator
from jsbi.matching import SAME, check_channels, check_whole, matched_counts
from jsbi.network_file import Network, read_network, write_network
from jsbi.posterior import Posterior, Report
from jsbi.progress import Progress
from jsbi.simulate import Conditions, Simulator, Target, under

METHOD = "amortised"
ENOUGH = 1000.0  # effective draws of a spectrum that needs no more
MOST_LOST = 0.01  # share of simulations far from their best fit that raises no doubt


class Matched(NamedTuple):
    """Observations as a network sees them.

    Attributes:
        counts: Counts in the fit bins of the training.
        exposure: Exposure [s], of the first of a joint fit.
        names: What they are called.
    """

    counts: Float[np.ndarray, "spectrum channel"]
    exposure: Float[np.ndarray, " spectrum"]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class AmortizedPosterior:
    """Posteriors of any spectra of one instrument under one model and prior.

    Attributes:
        simulator: Prior, model and instruments, at the exposure of the templates.
        estimator: The networks.
        conditions: The range of exposures and backgrounds that they were trained for.
        templates: An observation of each instrument; their counts mean nothing.
        record: How the networks were made: compressor, members, simulations, losses.
    """

    simulator: Simulator
    estimator: PosteriorEstimator
    conditions: Conditions
    templates: tuple[Observation, ...]
    record: dict[str, Any]

    def __call__(
        self,
        observation: Observation | Sequence[Observation],
        *,
        key: Key[Array, ""] | None = None,
        draws: int = 10_000,
        background_scale: float | int = 1.0,
        seed: int | None = None,
    ) -> Posterior:
        """The posterior of one observation, or of several of a joint fit.

        Args:
            observation: Read with the same response. Its grouping is replaced by that
                of the training; it must keep all channels that the network uses.
            key: Random key; always the same one unless given.
            draws: Draws from the network.
            background_scale: Of the background that was given in training.
            seed: Recorded in the report, where the key was made from one.

        Returns: Weighted draws with `report`, as from `infer`.

        Raises:
            ValueError: If response or exposure are not those of the training, or a
                channel that the network uses is bad or left out.
        """
        (posterior,) = self.apply(
            [observation],
            key=key,
            draws=draws,
            background_scale=background_scale,
            seed=seed,
        )
        return posterior

    def read(
        self, path: str | os.PathLike, index: int = 0, **arguments: Any
    ) -> Observation:
        """Read a spectrum for this network, with the response that its header names.

        Args:
            path: PHA file.
            index: Which of the observations of a joint fit it is.
            arguments: Others of `read_observation`: `response`, `arf` or `row`.

        Returns: The observation in single channels, named after the path.

        Raises:
            OSError: If a file does not exist.
            ValueError: If it is no spectrum, or channels that the network uses are bad
                or absent.
        """
        found = dataclasses.replace(
            read_observation(path, group="none", **arguments), name=os.fspath(path)
        )
        check_channels(found, self.templates[index])
        return found

    def match(
        self, observations: Iterable[Observation | Sequence[Observation]]
    ) -> Matched:
        """Check observations, and put their counts into the bins of the training.

        Args:
            observations: As for a call; several of a joint fit are one of these.

        Returns: What `each` needs to know of them.

        Raises:
            ValueError: If one is not like those of the training; the message begins
                with its name.
        """
        matched = [
            self._match((each,) if isinstance(each, Observation) else tuple(each))
            for each in observations
        ]
        return Matched(
            np.array([counts for _, counts, _ in matched]),
            np.array([exposure for _, _, exposure in matched]),
            tuple(name for name, _, _ in matched),
        )

    def apply(
        self,
        observations: Iterable[Observation | Sequence[Observation]],
        **choices: Any,
    ) -> list[Posterior]:
        """The posteriors of many observations, which are all checked first.

        Args:
            observations: As for a call; several of a joint fit are one of these.
            choices: Those of `each` but exposures and names, which are those of the
                observations.

        Returns: A posterior of each.

        Raises:
            ValueError: As `match` and `each`.
        """
        counts, exposure, names = self.match(observations)
        return self.many(counts, exposure=exposure, names=names, **choices)

    def many(self, counts: Real[np.ndarray, "..."], **choices: Any) -> list[Posterior]:
        """The posteriors of many spectra, all together; see `each`."""
        return list(self.each(counts, **choices))

    def each(
        self,
        counts: Real[np.ndarray, "..."],
        *,
        key: Key[Array, ""] | None = None,
        exposure: Any = None,
        background_scale: Any = 1.0,
        draws: int = 10_000,
        enough: float | int | None = None,
        adapt: bool = True,
        progress: bool = False,
        seed: int | None = None,
        names: Sequence[str] | None = None,
    ) -> Iterator[Posterior]:
        """The posteriors of many spectra, one after another, so that none need be kept.

        Args:
            counts: Counts in all fit bins of each spectrum, [spectrum, channel].
            key: Random key; always the same one unless given.
            exposure: Exposure [s] of all spectra or of each; not needed where the
                network serves one exposure only.
            background_scale: Scale of the background, of all spectra or of each.
            draws: Draws from the network for each spectrum.
            enough: Effective draws that a spectrum needs; a tenth of `draws`, at least
                400 and at most 1000, unless given.
            adapt: Whether spectra whose weights are poor are inferred again one by one,
                with mixtures at the optimiser's modes.
            progress: Whether to draw progress bars on standard error.
            seed: Recorded in the reports, where the key was made from one.
            names: What errors call each spectrum; its row unless given.

        Returns: An iterator over weighted draws with `report`; `method` is "amortised"
            or that of the adaptation. Seconds are the mean of the spectra so far.

        Raises:
            ValueError: At once if shapes are wrong, counts are not counts, or exposures
                or backgrounds are outside the range of the training; later if a
                spectrum has no posterior.
        """
        if draws < 1:
            raise ValueError(f"`draws` must be positive; got {draws}.")
        counts = np.asarray(counts, np.float64)
        self._check_shape(counts)
        if names is None:
            names = [f"spectrum {row}" for row in range(len(counts))]
        for name, row in zip(names, counts, strict=True):
            check_whole(name, row)
        contexts = self._contexts(len(counts), exposure, background_scale)
        return self._each(
            jax.random.key(0) if key is None else key,
            counts,
            contexts,
            names,
            draws=draws,
            enough=float(_enough(draws) if enough is None else enough),
            adapt=adapt,
            bars=Progress(progress),
            seed=seed,
        )

    def _each(
        self,
        key: Array,
        counts: np.ndarray,
        contexts: np.ndarray,
        names: Sequence[str],
        *,
        draws: int,
        enough: float,
        adapt: bool,
        bars: Progress,
        seed: int | None,
    ) -> Iterator[Posterior]:
        key_draw, key_adapt = jax.random.split(key)
        keys = jax.random.split(key_adapt, len(counts))
        start, spent = time.perf_counter(), 0.0
        with bars.stage("amortised", "draw", len(counts)) as tick:
            drawn = draw_many(
                key_draw,
                self.estimator,
                self.simulator,
                self.conditions,
                counts,
                contexts,
                draws=draws,
            )
            for row, weighted in enumerate(drawn):
                here = under(
                    self.simulator, self.conditions, jnp.asarray(contexts[row])
                )
                target = Target(here, counts[row])
                rungs, failure = _infer(keys[row], target, weighted, enough, adapt)
                if not rungs:
                    raise ValueError(f"{names[row]} has no posterior: {failure}")
                posterior, report = self._judge(target, rungs, failure, enough)
                tick(1)
                # Without what is done with the posteriors meanwhile.
                spent += time.perf_counter() - start
                seconds = {"total": spent / (row + 1)}
                report = dataclasses.replace(report, seed=seed, seconds=seconds)
                yield dataclasses.replace(posterior, report=report)
                start = time.perf_counter()

    def _judge(
        self, target: Target, rungs: list[Rung], failure: str, enough: float
    ) -> tuple[Posterior, Report]:
        """The best posterior of a spectrum, and what speaks against it."""
        posterior = best_rung(rungs).posterior
        notes = list(all_doubts(rungs))
        if failure:
            notes.append(f"The adaptation failed: {failure}")
        lost = self.record.get("lost", 0.0)
        if posterior.method == METHOD and lost > MOST_LOST:
            notes.append(
                f"{100 * lost:.2g} % of the training's simulations lay far from the "
                "mode that was fitted to them: a second mode may be missed."
            )
        report = make_report(target, rungs, int(enough), tuple(notes), self.templates)
        report = dataclasses.replace(report, model=name_of(self.simulator.model))
        if failure:
            report = dataclasses.replace(report, verdict=NOT_TRUSTED)
        return posterior, report

    def _match(self, given: tuple[Observation, ...]) -> tuple[str, np.ndarray, float]:
        """The first observation's name, all counts, the first one's exposure."""
        if len(given) != len(self.templates):
            raise ValueError(
                f"The network was trained for {len(self.templates)} observations that "
                f"belong together; got {len(given)}."
            )
        counts = [
            matched_counts(each, template, folder)
            for each, template, folder in zip(
                given, self.templates, self.simulator.folders, strict=True
            )
        ]
        ratios = [
            each.exposure / template.exposure
            for each, template in zip(given, self.templates, strict=True)
        ]
        if max(ratios) > (1 + SAME) * min(ratios):
            raise ValueError(
                f"{given[0].name} and what belongs to it must have exposures in the "
                "proportion of those of the training; they are "
                f"{', '.join(f'{r:.4g}' for r in ratios)} times as long."
            )
        self._check_exposure(given[0])
        return given[0].name, np.concatenate(counts), given[0].exposure

    @property
    def exposure(self) -> tuple[float, float]:
        """Shortest and longest exposure [s] to serve, of the first observation."""
        low, high = np.exp(np.asarray(self.conditions.log_exposure, np.float64))
        own = self.templates[0].exposure
        return float(low * own), float(high * own)

    def _check_exposure(self, observation: Observation) -> None:
        low, high = self.exposure
        # A part in 1e5 is rounding.
        if not low * (1 - 1e-5) <= observation.exposure <= high * (1 + 1e-5):
            raise ValueError(
                f"{observation.name} must have an exposure in the range of the "
                f"training, {low:.4g} to {high:.4g} s; it has "
                f"{observation.exposure:.4g} s. Train a network for a wider range."
            )

    def _check_shape(self, counts: np.ndarray) -> None:
        channels = len(self.conditions.background)
        if counts.ndim != 2 or counts.shape[1] != channels or not len(counts):
            raise ValueError(
                f"`counts` must have shape [spectrum, {channels}], one column per fit "
                f"bin; got {counts.shape}. A single spectrum, or ungrouped channels?"
            )

    def _contexts(self, number: int, exposure: Any, scale: Any) -> np.ndarray:
        own = self.templates[0].exposure
        low, high = self.exposure
        if exposure is None and high > low * (1 + SAME):
            raise ValueError(
                "`exposure` must be given [s], one for all spectra or one for each: "
                f"the network serves {low:.4g} to {high:.4g} s, and counts do not tell."
            )
        seconds = np.broadcast_to(own if exposure is None else exposure, (number,))
        scales = np.broadcast_to(scale, (number,))
        return np.stack(
            [
                self.conditions.context(float(each) / own, float(factor))
                for each, factor in zip(seconds, scales, strict=True)
            ]
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write networks, instrument, model and prior to one file, atomically.

        Raises:
            ValueError: If the prior is none that a file can describe.
        """
        network = Network(
            self.simulator,
            self.estimator,
            self.conditions,
            self.templates,
            self.record,
        )
        write_network(path, network, self.exposure)

    @staticmethod
    def load(
        path: str | os.PathLike, *, model: Callable[..., Any] | None = None
    ) -> "AmortizedPosterior":
        """Read what `save` wrote, on any device.

        Args:
            path: The file.
            model: The function, where the network was trained for a function of
                parameters rather than an expression; it is not in the file.

        Raises:
            ValueError: If the file is something else, damaged or of another version,
                or the model is needed and was not given.
        """
        return AmortizedPosterior(*read_network(path, model))

    def __repr__(self) -> str:
        low, high = self.exposure
        return (
            f"AmortizedPosterior({name_of(self.simulator.model)}; "
            f"{', '.join(self.simulator.prior.names)}; {low:.4g} to {high:.4g} s, "
            f"{self.record['simulations']:,} simulations)"
        )


def _enough(draws: int) -> float:
    """Effective draws that leave nothing to be said against a spectrum."""
    return max(LEAST_EFFECTIVE, min(ENOUGH, 0.1 * draws))


def _infer(
    key: Array, target: Target, drawn: WeightedDraws, enough: float, adapt: bool
) -> tuple[list[Rung], str]:
    """Judge a spectrum's draws, and infer it anew if they are poor.

    Returns: What was tried and gave draws, and why the last did not.
    """
    log_perfect = perfect_log_likelihood(np.asarray(target.counts, np.float64))
    target.evaluations += len(drawn.z)
    rungs = []
    failure = "None of the network's draws has a posterior density."
    if np.isfinite(drawn.log_ratio).any():
        failure = ""
        rungs.append(
            judge_draws(
                target, drawn, method=METHOD, enough=enough, log_perfect=log_perfect
            )
        )
    if not adapt or (rungs and rungs[0].passed):
        return rungs, failure
    try:
        rung = mixture_rung(
            key,
            target,
            enough=enough,
            log_perfect=log_perfect,
            progress=Progress(False),
        )
    except ValueError as error:  # also that of a matrix that has no factor
        return rungs, str(error) or type(error).__name__
    return [*rungs, rung], ""
