"""The main job: from observations, a model and a prior to a judged posterior."""

import dataclasses
import functools
import inspect
import math
import platform
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key

from jsbi.correct import LADDERS, Rung, Training, all_doubts, best_rung, climb
from jsbi.data import Observation
from jsbi.diagnose import judge
from jsbi.diagnose.predictive import predictive_checks
from jsbi.instrument import Folder
from jsbi.model import ExpressionModel, SpectralModel, suggest
from jsbi.model.host import host_errors
from jsbi.posterior import Posterior, Report
from jsbi.progress import Progress
from jsbi.simulate import Prior, Simulator, Target

PHASES = ("total", "compile", "train", "adapt", "draw")
METHODS = tuple(LADDERS)
_PREDICTIVE_DRAWS = 32
_RESTRICT = (
    " Give another value, or restrict the prior with uniform, loguniform or "
    "truncated_normal."
)
_PACKAGES = (
    "jsbi",
    "jax",
    "jaxlib",
    "equinox",
    "flowjax",
    "optax",
    "blackjax",
    "numpy",
)


@host_errors()
def infer(
    key: Key[Array, ""],
    observation: Observation | Sequence[Observation],
    model: Callable[..., Any],
    prior: Prior,
    *,
    method: str = "auto",
    draws: int = 10_000,
    progress: bool = True,
    most_draws: int | None = None,
    budget: int | None = None,
    training: Training | None = None,
    seed: int | None = None,
) -> Posterior:
    """Infer the posterior of a model's parameters, with its evidence and a verdict.

    Args:
        key: Random key.
        observation: One observation, or several for a joint fit.
        model: A function of the prior's named parameters that returns a spectral model,
            or a tuple of one per observation; an expression from `spectral_model` too.
        prior: The priors.
        method: "auto" takes the cheapest rung that passes its gates: a mixture at the
            optimiser's modes, a network whose draws are reweighted, sequential Monte
            Carlo from the network, NUTS. "sbi" starts with the network. "mixture",
            "network", "smc", "nuts", and "transported" (NUTS in the base coordinates
            of the network) take one rung alone, "nested" is nested sampling.
        draws: Effective draws to reach; for NUTS the number of draws.
        progress: Whether to draw progress bars on standard error.
        most_draws: Draws to spend at most on the last proposal; 20 times `draws`, at
            least 100,000, unless given.
        budget: Likelihood evaluations after which no further rung begins.
        training: How networks are made.
        seed: Recorded in the report, where the key was made from one.

    Returns: Weighted draws with `report`. Poor results are in the report, not raised.

    Raises:
        ValueError: If parameters and priors do not match, or the method is unknown.
    """
    observations = (
        (observation,) if isinstance(observation, Observation) else tuple(observation)
    )
    check_choices(method, draws)
    check_parameters(model, prior)
    bars = Progress(progress)
    with bars.running():
        target = make_target(observations, model, prior)
        posterior = infer_target(
            key,
            target,
            observations,
            method=method,
            draws=draws,
            log_perfect=sum(each.perfect_log_likelihood for each in observations),
            progress=bars,
            most_draws=most_draws,
            budget=budget,
            training=training,
            notes=_not_poisson(observations),
        )
    assert posterior.report is not None
    report = dataclasses.replace(
        posterior.report,
        model=name_of(model),
        seconds=dict.fromkeys(PHASES, 0.0) | bars.spent,
        seed=seed,
    )
    return dataclasses.replace(posterior, report=report)


def infer_target(
    key: Key[Array, ""],
    target: Target,
    observations: tuple[Observation, ...],
    *,
    method: str,
    draws: int,
    log_perfect: float,
    progress: Progress,
    most_draws: int | None = None,
    budget: int | None = None,
    training: Training | None = None,
    notes: tuple[str, ...] = (),
) -> Posterior:
    """Infer a posterior whose density has been made; model and seconds are not known.

    Args:
        key: Random key.
        target: The posterior density.
        observations: As for `make_report`.
        method: As for `infer`.
        draws: Effective draws to reach.
        log_perfect: Log-likelihood of the perfect fit.
        progress: Bars and ledger.
        most_draws: Draws to spend at most on the last proposal.
        budget: Likelihood evaluations after which no further rung begins.
        training: How networks are made.
        notes: Doubts besides those of the rungs.
    """
    rungs = climb(
        key,
        target,
        method=method,
        enough=float(draws),
        most=most_draws or 20 * max(draws, 5000),
        log_perfect=log_perfect,
        progress=progress,
        training=training,
        budget=budget,
    )
    notes = (*all_doubts(rungs), *notes)
    report = make_report(target, rungs, draws, notes, observations)
    return dataclasses.replace(best_rung(rungs).posterior, report=report)


def name_of(model: Callable[..., Any]) -> str:
    """The expression of a model, or the name of its function."""
    for attribute in ("expression", "__name__"):
        if hasattr(model, attribute):
            return getattr(model, attribute)
    return type(model).__name__


def make_target(
    observations: tuple[Observation, ...], model: Callable[..., Any], prior: Prior
) -> Target:
    """The exact posterior density of observations under a model and prior."""
    folders = tuple(Folder(each) for each in observations)
    counts = np.concatenate([each.binned_counts for each in observations])
    return Target(Simulator(prior, model, folders), counts)


def _not_poisson(observations: tuple[Observation, ...]) -> tuple[str, ...]:
    """What weights cannot tell: data that are not Poisson."""
    return tuple(
        f"{each.name} is background-subtracted, so that its counts are not Poisson."
        for each in observations
        if each.net
    )


def make_report(
    target: Target,
    rungs: list[Rung],
    draws: int,
    notes: tuple[str, ...],
    observations: tuple[Observation, ...],
) -> Report:
    """Judge the best of some rungs; model, seconds and seed are the caller's to add.

    Args:
        target: The posterior density.
        rungs: All that were taken.
        draws: Effective draws that were asked for.
        notes: Doubts, each of which makes the result at most usable, or a fault.
        observations: Those of the target, or others of the same bins, which give the
            predictive checks their energies.
    """
    posterior = best_rung(rungs).posterior
    # From a few draws, which cost milliseconds.
    checks = predictive_checks(
        jax.random.key(0),
        target,
        posterior,
        observations=observations,
        draws=_PREDICTIVE_DRAWS,
    )
    cstat = -2 * float(posterior.log_likelihood.max())
    _, expected, sd = checks.bands.total
    verdict, reasons = judge(
        posterior,
        enough=0.0 if math.isnan(posterior.pareto_k) else float(draws),
        cstat=cstat,
        expected=expected,
        sd=sd,
        surprise=checks.p_value,
        notes=notes,
    )
    device = jax.devices()[0]
    return Report(
        rungs=tuple(rung.record for rung in rungs),
        cstat=cstat,
        cstat_expected=expected,
        cstat_sd=sd,
        bins=len(target.counts),
        verdict=verdict,
        reasons=reasons,
        simulations=sum(rung.record.get("simulations", 0) for rung in rungs),
        likelihood_evaluations=target.evaluations,
        versions=dict(_versions()),
        device=f"{device.platform}: {device.device_kind}",
        bands=checks.band_rows(),
        predictive=checks.record(),
    )


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Of the packages that made a posterior; reading them takes milliseconds."""
    found = [(name, metadata.version(name)) for name in _PACKAGES]
    return (*found, ("python", platform.python_version()))


def check_choices(method: str, draws: int) -> None:
    """Check the method and the number of draws.

    Raises:
        ValueError: If the method is unknown, or there are no draws.
    """
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}. {suggest(method, list(METHODS))}")
    if draws < 1:
        raise ValueError(f"`draws` must be positive; got {draws}.")


def check_parameters(model: Callable[..., Any], prior: Prior) -> None:
    """Check that model and prior name the same parameters, in their allowed ranges.

    Raises:
        ValueError: If a parameter has no prior or value, or a prior no parameter; if
            the model is no spectral model; if a prior reaches outside XSPEC's hard
            limits of its parameter.
    """
    if isinstance(model, ExpressionModel):
        known = list(model.parameters)
        needed = [name for name, each in model.parameters.items() if not each.frozen]
        if not model.additive:
            raise ValueError(
                f"A model needs at least one additive component; {model.expression!r} "
                "has none, so that it gives no photons."
            )
    else:
        signature = inspect.signature(model).parameters.values()
        if any(
            each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL) for each in signature
        ):
            return
        known = [each.name for each in signature]
        needed = [each.name for each in signature if each.default is each.empty]
    for name in prior.all_names:
        if name not in known:
            raise ValueError(
                f"The prior names {name!r}, which is no parameter of the model. "
                f"{suggest(name, known)}"
            )
    missing = [name for name in needed if name not in prior.all_names]
    if missing:
        raise ValueError(
            f"Every parameter needs a prior or a value; {', '.join(missing)} "
            f"{'has' if len(missing) == 1 else 'have'} none."
        )
    if isinstance(model, ExpressionModel):
        for name, ends in prior.reach().items():
            model.check_limits(name, *ends, advice=_RESTRICT)


@host_errors()
def simulate(
    key: Key[Array, ""],
    observation: Observation,
    model: Callable[..., Any],
    parameters: dict[str, float],
) -> Observation:
    """Simulate an observation, as XSPEC's fakeit does.

    Args:
        key: Random key; numpy draws the counts in float64 from it, so that a seed gives
            the same spectrum on every device.
        observation: Gives response, exposure, grouping and selection.
        model: A function of named parameters that returns a spectral model.
        parameters: Their values.

    Raises:
        ValueError: If the model does not give photons, or a value is outside of XSPEC's
            hard limits.

    Returns: The observation with Poisson counts in every detector channel. The
        background is that of the model: none.
    """
    whole = dataclasses.replace(
        observation,
        counts=np.zeros(len(observation.counts)),
        group=np.arange(len(observation.counts)),
    )
    folder = Folder(whole)
    known = isinstance(model, ExpressionModel)
    spectrum = model.at(parameters) if known else model(**parameters)
    if not isinstance(spectrum, SpectralModel):
        raise ValueError(
            "Only photons can be folded into all channels, so the model must return a "
            f"spectral model; got {type(spectrum).__name__}."
        )
    expected = np.asarray(folder(spectrum(folder.grid)), np.float64)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return dataclasses.replace(observation, counts=generator.poisson(expected))
