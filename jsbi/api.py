"""The main job: from observations, a model and a prior to a judged posterior."""

import dataclasses
import inspect
import platform
from collections.abc import Callable
from importlib import metadata
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key

from jsbi.correct import Rung, mixture_rung, network_rung, nuts_rung
from jsbi.data import Observation
from jsbi.diagnose import cstat_moments, judge
from jsbi.instrument import Folder
from jsbi.model import ExpressionModel, suggest
from jsbi.posterior import Posterior, Report
from jsbi.progress import Progress
from jsbi.simulate import Prior, Simulator, Target

METHODS = ("auto", "sbi", "nuts", "nested")
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


def infer(
    key: Key[Array, ""],
    observation: Observation | tuple[Observation, ...],
    model: Callable[..., Any],
    prior: Prior,
    *,
    method: str = "auto",
    draws: int = 10_000,
    progress: bool = True,
    most_draws: int | None = None,
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
            optimiser's modes, then the networks, then NUTS. "sbi" starts with the
            networks. "nuts" samples with NUTS alone.
        draws: Effective draws to reach; for NUTS the number of draws.
        progress: Whether to draw progress bars on standard error.
        most_draws: Draws to spend at most on the last proposal, 20 times `draws` unless
            given.
        seed: Recorded in the report, where the key was made from one.

    Returns: Weighted draws with `report`. Poor results are in the report, not raised.

    Raises:
        ValueError: If parameters and priors do not match, or the method is unknown.
    """
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}. {suggest(method, list(METHODS))}")
    if method == "nested":
        raise ValueError('Method "nested" is not available yet; "nuts" and "sbi" are.')
    if draws < 1:
        raise ValueError(f"`draws` must be positive; got {draws}.")
    observations = observation if isinstance(observation, tuple) else (observation,)
    check_parameters(model, prior)
    bars = Progress(progress)
    with bars.running():
        target = make_target(observations, model, prior)
        rungs = climb(
            key,
            target,
            method=method,
            enough=float(draws),
            most=most_draws or 20 * draws,
            log_perfect=sum(each.perfect_log_likelihood for each in observations),
            progress=bars,
        )
        posterior = best_rung(rungs).posterior
        misfit = goodness(target, posterior)
    return dataclasses.replace(
        posterior,
        report=_report(target, model, rungs, posterior, misfit, bars, draws, seed),
    )


def make_target(
    observations: tuple[Observation, ...], model: Callable[..., Any], prior: Prior
) -> Target:
    """The exact posterior density of observations under a model and prior."""
    folders = tuple(Folder(each) for each in observations)
    counts = np.concatenate([each.binned_counts for each in observations])
    return Target(Simulator(prior, model, folders), counts)


def climb(
    key: Key[Array, ""],
    target: Target,
    *,
    method: str,
    enough: float,
    most: int,
    log_perfect: float,
    progress: Progress,
) -> list[Rung]:
    """Take one rung after another until one passes its gates.

    Returns: All rungs taken, in order.
    """
    key_mixture, key_network, key_nuts = jax.random.split(key, 3)
    common: dict[str, Any] = {"enough": enough, "progress": progress}
    rungs: list[Rung] = []

    def seed() -> Posterior | None:
        return best_rung(rungs).posterior if rungs else None

    if method == "auto":
        rungs.append(
            mixture_rung(key_mixture, target, log_perfect=log_perfect, **common)
        )
        if rungs[-1].passed:
            return rungs
    if method != "nuts":
        rungs.append(
            network_rung(
                key_network,
                target,
                log_perfect=log_perfect,
                most=most,
                seed=seed(),
                **common,
            )
        )
        if rungs[-1].passed:
            return rungs
    rungs.append(nuts_rung(key_nuts, target, seed=seed(), **common))
    return rungs


def best_rung(rungs: list[Rung]) -> Rung:
    """The last rung that passed, else the one with the most effective draws."""
    passed = [rung for rung in rungs if rung.passed]
    if passed:
        return passed[-1]
    return max(rungs, key=lambda rung: rung.posterior.effective_draws)


def goodness(target: Target, posterior: Posterior) -> tuple[float, float, float]:
    """C statistic of the highest-likelihood draw, its expectation and deviation."""
    best = int(np.argmax(posterior.log_likelihood))
    z = jax.numpy.asarray(posterior.z[best], target.counts.dtype)
    expected = np.asarray(target.simulator.expected_counts(z), np.float64)
    return -2 * float(posterior.log_likelihood[best]), *cstat_moments(expected)


def _report(
    target: Target,
    model: Callable[..., Any],
    rungs: list[Rung],
    posterior: Posterior,
    misfit: tuple[float, float, float],
    bars: Progress,
    draws: int,
    seed: int | None,
) -> Report:
    cstat, expected, sd = misfit
    chosen = best_rung(rungs)
    verdict, reasons = judge(
        posterior,
        enough=0.0 if posterior.method == "nuts" else float(draws),
        cstat=cstat,
        expected=expected,
        sd=sd,
        notes=chosen.doubts,
    )
    device = jax.devices()[0]
    return Report(
        model=getattr(model, "expression", getattr(model, "__name__", repr(model))),
        rungs=tuple(rung.record for rung in rungs),
        cstat=cstat,
        cstat_expected=expected,
        cstat_sd=sd,
        bins=len(target.counts),
        verdict=verdict,
        reasons=reasons,
        simulations=sum(rung.record.get("simulations", 0) for rung in rungs),
        likelihood_evaluations=target.evaluations,
        seconds=dict(bars.spent),
        seed=seed,
        versions={name: metadata.version(name) for name in _PACKAGES}
        | {"python": platform.python_version()},
        device=f"{device.platform}: {device.device_kind}",
    )


def check_parameters(model: Callable[..., Any], prior: Prior) -> None:
    """Check that model and prior name the same parameters.

    Raises:
        ValueError: If a parameter has no prior or value, or a prior no parameter.
    """
    if isinstance(model, ExpressionModel):
        known = needed = list(model.parameters)
    else:
        signature = inspect.signature(model).parameters.values()
        if any(each.kind is each.VAR_KEYWORD for each in signature):
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

    Returns: The observation with Poisson counts in every detector channel. The
        background is that of the model: none.
    """
    whole = dataclasses.replace(
        observation,
        counts=np.zeros(len(observation.counts)),
        group=np.arange(len(observation.counts)),
    )
    folder = Folder(whole)
    expected = np.asarray(folder(model(**parameters)(folder.grid)), np.float64)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return dataclasses.replace(observation, counts=generator.poisson(expected))
