"""Is inference calibrated? Simulated spectra through the same procedure."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.amortized import METHOD as AMORTIZED
from jsbi.amortized import AmortizedPosterior
from jsbi.api import METHODS as INFER_METHODS
from jsbi.api import check_choices, check_parameters, make_target, name_of
from jsbi.correct import Training
from jsbi.data import Observation
from jsbi.diagnose.calibration import (
    FALSE_ALARM,
    gather,
    rank_truth,
)
from jsbi.diagnose.compared import Compared
from jsbi.estimate import expected_spectra
from jsbi.matching import check_whole, matched_counts
from jsbi.model import suggest
from jsbi.posterior import Posterior
from jsbi.procedure import (
    EachByItself,
    OneNetwork,
    Procedure,
    Simulated,
    add_noise,
    draw_prior,
)
from jsbi.progress import Progress
from jsbi.simulate import Prior, Target, make_conditions
from jsbi.training import amortize

DRAWS = 5000
METHODS = (*INFER_METHODS, AMORTIZED)
TITLES = {"prior": "over the prior", "observation": "at the observation"}
DRAWS_PER_TRUTH = 10  # effective draws of the observation's posterior for each spectrum
PLACES = (-3.0, -1.0, 0.0, 1.0, 3.0)  # of all coordinates, where priors are compared
GROSS = 1.0  # displacement, in widths, that a check should notice
SAME = 1e-5  # relative difference that single precision and files leave


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Check:
    """Whether inference is calibrated, over the prior and at an observation.

    Attributes:
        method: What inferred the posteriors.
        prior: Spectra simulated from the prior.
        observation: Spectra simulated from the posterior of the observation, each
            inferred together with it; None where that was not possible.
        notes: What else the reader should know.
        false_alarm: Probability at most that exact posteriors are called not
            calibrated.
        seconds: Wall-clock time.
        seed: Seed of the random key, where it is known.
    """

    method: str
    prior: Compared
    observation: Compared | None
    notes: tuple[str, ...]
    false_alarm: float
    seconds: float
    seed: int | None = None

    @property
    def parts(self) -> dict[str, Compared]:
        """What was compared, by name."""
        parts = {"prior": self.prior, "observation": self.observation}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def share(self) -> float:
        """False alarms that each part may raise."""
        return self.false_alarm / len(self.parts)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What speaks against the posteriors; nothing if they are calibrated."""
        return tuple(
            f"{TITLES[name].capitalize()}: {reason}"
            for name, part in self.parts.items()
            for reason in part.reasons(self.share)
        )

    @property
    def calibrated(self) -> bool:
        """Whether nothing speaks against the posteriors after reweighting."""
        return not self.reasons

    @property
    def verdict(self) -> str:
        """In words."""
        return "calibrated" if self.calibrated else "not calibrated"

    def __str__(self) -> str:
        """Tables before and after reweighting, and the verdict with its reasons."""
        lines = []
        for name, part in self.parts.items():
            outcomes = ", ".join(f"{n} {each}" for each, n in part.outcomes.items())
            title = f"{part.spectra} spectra {TITLES[name]}, {self.method}"
            lines += [f"{title}: {outcomes}", part.table(self.share), ""]
        lines += [*self.notes, f"verdict: {self.verdict}"]
        return "\n".join([*lines, *(f"  {reason}" for reason in self.reasons)])

    def summary(self) -> dict[str, Any]:
        """Everything but the ranks, as JSON can hold it."""
        return {
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "method": self.method,
            "false_alarm": self.false_alarm,
            "seconds": self.seconds,
            "seed": self.seed,
        } | {name: part.summary(self.share) for name, part in self.parts.items()}

    def rows(self) -> list[dict[str, Any]]:
        """A row for every spectrum that has a posterior, with all ranks."""
        return [
            {"spectra": name} | row
            for name, part in self.parts.items()
            for row in part.rows()
        ]

    def __repr__(self) -> str:
        return f"Check({self.method}, {self.prior.after!r}, {self.verdict})"


def check(
    key: Key[Array, ""],
    observation: Observation | Sequence[Observation],
    model: Callable[..., Any],
    prior: Prior,
    *,
    method: str = "auto",
    spectra: int = 50,
    draws: int = DRAWS,
    network: AmortizedPosterior | None = None,
    amortization: dict[str, Any] | None = None,
    training: Training | None = None,
    false_alarm: float = FALSE_ALARM,
    progress: bool = True,
    seed: int | None = None,
) -> Check:
    """Check by simulation whether posteriors hold the truth as often as they say.

    Spectra are simulated from the prior with the response and exposure of the
    observation, and inferred by the same procedure: the ranks of the truths must be
    uniform, see `jsbi.diagnose.rank_truth`. This finds errors that are common over the
    prior.

    Then spectra are simulated from the posterior of the observation, and each is
    inferred together with it: the sum of both as one spectrum of twice the exposure,
    which is exact for Poisson counts. This finds errors at the observation, but hardly
    one that displaces the posteriors of the observation and of the sums alike. All
    share one set of draws of the observation's posterior, so at least ten effective
    draws for each spectrum are asked for there; with fewer there is a note, and false
    alarms are more frequent.

    Args:
        key: Random key.
        observation: One observation, or several for a joint fit.
        model: A function of the prior's named parameters that returns a spectral model.
        prior: The priors.
        method: A method of `infer`, which is applied to every spectrum ("sbi" trains a
            network for each), or "amortised": one network for all spectra.
        spectra: To simulate from the prior, and as many again at the observation.
        draws: Effective draws of each spectrum as in `infer`, or draws from the network
            as in `AmortizedPosterior.each`.
        network: One that has been trained for this model and prior; without,
            "amortised" trains it.
        amortization: Keyword arguments of `amortize`.
        training: How `infer` makes networks.
        false_alarm: Probability at most that exact posteriors are called not
            calibrated.
        progress: Whether to draw progress bars on standard error.
        seed: Recorded, where the key was made from one.

    Raises:
        ValueError: If parameters and priors do not match, a choice is wrong, the
            network is another's or would not serve the observation, or the observation
            has no posterior: all before spectra are simulated.

    Source: Talts et al. (2018), arXiv 1804.06788; Sailynoja et al. (2025), arXiv
        2502.03279, for the observation.
    """
    start = time.perf_counter()
    method = method if network is None else AMORTIZED
    check_effort(method, spectra, draws, false_alarm)
    check_parameters(model, prior)
    observations = (
        (observation,) if isinstance(observation, Observation) else tuple(observation)
    )
    target = make_target(observations, model, prior)
    keys = jax.random.split(key, 5)
    procedure = EachByItself(target.simulator, observations, method, draws, training)
    if method == AMORTIZED:
        if network is None:
            network = _train(
                keys[0], observations, target, amortization or {}, progress
            )
        _check_network(network, model, prior)
        procedure = OneNetwork(network, observations[0].exposure, draws)
        target = Target(procedure.under(1.0), network.match([observations]).counts[0])
    generator = np.random.default_rng(np.asarray(jax.random.key_data(keys[1])))
    bars = Progress(progress)
    notes, posterior, local = _why_not(procedure, observations), None, None
    if not notes:
        # First, since without it all else would be in vain.
        posterior = _infer_observation(keys[2], procedure, target, spectra, bars)
        notes = _notes(posterior, spectra)
    simulated = add_noise(generator, *draw_prior(generator, target, spectra))
    over_prior = _compare(keys[3], generator, procedure, simulated, bars)
    if posterior is not None:
        simulated = _simulate_locally(generator, target, posterior, spectra)
        local = _compare(keys[4], generator, procedure, simulated, bars)
    seconds = time.perf_counter() - start
    found = Check(method, over_prior, local, notes, false_alarm, seconds, seed)
    return dataclasses.replace(found, notes=(*notes, *_blindness(found)))


def check_effort(
    method: str, spectra: int, draws: int = DRAWS, false_alarm: float = FALSE_ALARM
) -> None:
    """Check the choices of `check` that can be wrong by themselves.

    Raises:
        ValueError: If the method is unknown, or a number makes no sense.
    """
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}. {suggest(method, list(METHODS))}")
    check_choices("auto", draws)
    if spectra < 1:
        raise ValueError(f"`spectra` must be positive; got {spectra}.")
    if not 0 < false_alarm < 1:
        raise ValueError(f"`false_alarm` must be between 0 and 1; got {false_alarm:g}.")


def _train(
    key: Array,
    observations: tuple[Observation, ...],
    target: Target,
    choices: dict[str, Any],
    progress: bool,
) -> AmortizedPosterior:
    """A network for the observation's exposure and twice it, unless that is chosen."""
    own = observations[0].exposure
    choices = {"exposure": (own, 2 * own)} | choices
    _check_trainable(observations, target, choices)
    model, prior = target.simulator.model, target.simulator.prior
    return amortize(key, observations, model, prior, progress=progress, **choices)


def _check_trainable(
    observations: tuple[Observation, ...], target: Target, choices: dict[str, Any]
) -> None:
    """Check, before long work, that a network would serve the observation itself."""
    for each, folder in zip(observations, target.simulator.folders, strict=True):
        check_whole(each.name, matched_counts(each, each, folder))
    own = observations[0].exposure
    low, high = choices["exposure"] or (own, own)
    scale = choices.get("background_scale", (1.0, 1.0))
    conditions = make_conditions(1, exposure=(low / own, high / own), scale=scale)
    conditions.context(1.0, 1.0)


def _check_network(
    network: AmortizedPosterior, model: Callable[..., Any], prior: Prior
) -> None:
    simulator = network.simulator
    own = f"{name_of(simulator.model)} with {', '.join(simulator.prior.names)}"
    given = f"{name_of(model)} with {', '.join(prior.names)}"
    if own != given:
        raise ValueError(
            f"The network must be for the model and its free parameters, {given}; it "
            f"is for {own}."
        )
    first, second = _values(simulator.prior), _values(prior)
    other = [
        name
        for name in sorted(first | second)
        if name not in first
        or name not in second
        or not np.allclose(first[name], second[name], rtol=SAME, atol=0.0)
    ]
    if other:
        raise ValueError(
            "The network must have been trained with the given prior; another is that "
            f"of {', '.join(other)}."
        )


def _values(prior: Prior) -> dict[str, Float[np.ndarray, " place"]]:
    """All parameters, fixed and tied ones too, at places that tell priors apart."""
    z = jnp.repeat(jnp.asarray(PLACES)[:, None], prior.dimension, axis=1)
    return {name: np.asarray(each) for name, each in jax.vmap(prior)(z).items()}


def _compare(
    key: Array,
    generator: np.random.Generator,
    procedure: Procedure,
    simulated: Simulated,
    bars: Progress,
) -> Compared:
    """Infer spectra one after another, and keep the ranks of their truths."""
    z, counts, log_likelihood, exposure = simulated
    trials, verdicts, failures = [], [], []
    title = TITLES["prior" if exposure == 1 else "observation"]
    with bars.stage(f"check: spectra {title}", "check", len(z)) as tick:
        outcomes = procedure.posteriors(key, counts, exposure)
        for truth, fit, outcome in zip(z, log_likelihood, outcomes, strict=True):
            tick(1)
            if isinstance(outcome, str):
                failures.append(outcome)
                continue
            report = outcome[1].report
            assert report is not None
            verdicts.append(report.verdict)
            trials.append(
                [rank_truth(generator, each, truth, float(fit)) for each in outcome]
            )
    if not trials:
        return Compared(None, None, (), tuple(failures))
    names = procedure.under(exposure).prior.names
    before, after = (gather(names, part) for part in zip(*trials, strict=True))
    return Compared(before, after, tuple(verdicts), tuple(failures))


def _why_not(
    procedure: Procedure, observations: tuple[Observation, ...]
) -> tuple[str, ...]:
    """What keeps spectra from being inferred together with the observation."""
    if any(each.net for each in observations):
        return (
            "Not checked at the observation: it is background-subtracted, so that its "
            "counts are not Poisson.",
        )
    try:
        procedure.under(2.0)
    except ValueError as error:
        return (f"Not checked at the observation: {error}",)
    return ()


def _infer_observation(
    key: Array,
    procedure: EachByItself | OneNetwork,
    target: Target,
    spectra: int,
    bars: Progress,
) -> Posterior:
    """The observation's posterior, with draws enough for so many truths."""
    # Twice as many, since those of a network are before reweighting.
    draws = max(procedure.draws, 2 * DRAWS_PER_TRUTH * spectra)
    # As many as later, so that one compilation serves; only the first is inferred.
    copies = spectra if draws == procedure.draws else 1
    counts = np.repeat(np.asarray(target.counts, np.float64)[None], copies, axis=0)
    with bars.stage("check: the observation", "check", 1) as tick:
        richer = dataclasses.replace(procedure, draws=draws)
        outcome = next(richer.posteriors(key, counts, 1.0))
        tick(1)
    if isinstance(outcome, str):
        raise ValueError(f"The observation has no posterior: {outcome}")
    return outcome[1]


def _notes(posterior: Posterior, spectra: int) -> tuple[str, ...]:
    """The verdict on the observation's posterior, and whether its draws are enough."""
    assert posterior.report is not None
    verdict = f"The posterior of the observation is {posterior.report.verdict}."
    effective = posterior.effective_draws
    if effective >= DRAWS_PER_TRUTH * spectra:
        return (verdict,)
    return (
        verdict,
        f"Its {effective:,.0f} effective draws are few for {spectra:,} spectra at the "
        f"observation, which need {DRAWS_PER_TRUTH * spectra:,}: false alarms may be "
        "more frequent there than stated.",
    )


def _blindness(found: Check) -> tuple[str, ...]:
    """A sentence if only gross errors would have been noticed."""
    parts = [part.after for part in found.parts.values() if part.after is not None]
    least = max((each.displacement(found.share) for each in parts), default=0.0)
    if least <= GROSS:
        return ()
    return (
        "So few spectra do not notice what displaces posteriors by a whole width: "
        "that they are calibrated is not shown. Use more spectra, such as 1000.",
    )


def _simulate_locally(
    generator: np.random.Generator, target: Target, posterior: Posterior, spectra: int
) -> Simulated:
    """Spectra from the observation's posterior, each together with it."""
    rows = generator.choice(posterior.draws, spectra, p=posterior.weights)
    z = posterior.z[rows]
    expected = expected_spectra(target, z).astype(np.float64)
    return add_noise(generator, z, expected, np.asarray(target.counts, np.float64))
