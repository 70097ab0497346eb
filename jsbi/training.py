"""Training of an amortised posterior."""

from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.amortized import AmortizedPosterior
from jsbi.api import check_parameters
from jsbi.compress.registry import check_names
from jsbi.data import Observation, Response, observation_from_counts
from jsbi.estimate import (
    FromRegion,
    Region,
    TotalCounts,
    expected_spectra,
    restrict_by_classifier,
    train_amortized,
)
from jsbi.instrument import Folder
from jsbi.model.host import host_errors
from jsbi.progress import Progress
from jsbi.simulate import (
    Prior,
    Simulator,
    Source,
    Target,
    make_conditions,
    stored,
)

POOL = 50_000  # spectra without noise, where the prior is restricted
POOL_ELEMENTS = 100_000_000  # of all of them together, fit bins times spectra
PACKAGES = ("jsbi", "jax", "equinox", "flowjax")  # that make the networks


@host_errors()
def amortize(
    key: Key[Array, ""],
    observation: Observation | Sequence[Observation] | Response,
    model: Callable[..., Any],
    prior: Prior,
    *,
    exposure: tuple[float | int, float | int] | None = None,
    background: Float[np.ndarray, " channel"] | None = None,
    background_scale: tuple[float | int, float | int] = (1.0, 1.0),
    counts: tuple[float | int, float | int] | None = None,
    compressor: str = "network",
    members: int = 1,
    simulations: int = 50_000,
    steps: int = 4000,
    progress: bool = True,
) -> AmortizedPosterior:
    """Train one network for all spectra of an instrument under a model and prior.

    Args:
        key: Random key.
        observation: Gives response, grouping and selection; its counts do not matter.
            Several belong together in a joint fit. A response stands for all of its
            channels, one by one.
        model: A function of the prior's named parameters that returns a spectral model,
            or an expression from `spectral_model`. Nuisances of the calibration, such
            as a constant factor, are parameters with priors.
        prior: The priors.
        exposure: Shortest and longest exposure [s] to serve, of the first observation;
            that of the observation unless given. A response needs them.
        background: Expected background counts per fit bin in the observation's
            exposure, from a model or smoothed: the noise of a measured background would
            be taken for the truth.
        background_scale: Range of factors by which the background is known to differ
            from spectrum to spectrum.
        counts: Train only where the source's expected counts in the observation's
            exposure are in this range.
        compressor: How counts are summarised, see `jsbi.compress.make_compressor`.
        members: Networks to train side by side; their mixture is the proposal.
        simulations: Spectra around whose best fits the flows are trained.
        steps: Steps of the flows' training.
        progress: Whether to draw progress bars on standard error.

    Raises:
        ValueError: If parameters and priors do not match, or a range is wrong.
    """
    check_parameters(model, prior)
    check_training(
        exposure=exposure,
        counts=counts,
        compressor=compressor,
        members=members,
        simulations=simulations,
        steps=steps,
    )
    templates = _templates(observation, exposure)
    own = templates[0].exposure
    ends = (own, own) if exposure is None else exposure
    simulator = Simulator(prior, model, tuple(Folder(each) for each in templates))
    conditions = make_conditions(
        sum(each.bins for each in templates),
        exposure=(ends[0] / own, ends[1] / own),
        background=background,
        scale=background_scale,
    )
    key_source, key_train = jax.random.split(key)
    bars = Progress(progress)
    with bars.running():
        source = _source(key_source, simulator, counts, bars)
        estimator, record = train_amortized(
            key_train,
            simulator,
            conditions,
            source,
            compressor=compressor,
            members=members,
            simulations=simulations,
            steps=steps,
            progress=bars,
        )
    record |= {
        "seconds": bars.spent,
        "counts": None if counts is None else [float(end) for end in counts],
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }
    return AmortizedPosterior(simulator, estimator, conditions, templates, record)


def check_training(
    *,
    exposure: tuple[float | int, float | int] | None = None,
    counts: tuple[float | int, float | int] | None = None,
    compressor: str = "network",
    members: int = 1,
    simulations: int = 1,
    steps: int = 1,
) -> None:
    """Check the choices of `amortize` that can be wrong by themselves.

    Raises:
        ValueError: If a range is not ordered, a number not positive, or the compressor
            unknown.
    """
    numbers = {"members": members, "simulations": simulations, "steps": steps}
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"`{name}` must be positive; got {number}.")
    if exposure is not None:
        make_conditions(1, exposure=exposure)
    if counts is not None:
        TotalCounts(*counts)
    check_names(compressor)


def _templates(
    observation: Observation | Sequence[Observation] | Response,
    exposure: tuple[float | int, float | int] | None,
) -> tuple[Observation, ...]:
    if isinstance(observation, Response):
        if exposure is None:
            raise ValueError(
                "A response alone has no exposure; give `exposure`, the shortest and "
                "the longest [s]."
            )
        middle = float(np.sqrt(exposure[0] * exposure[1]))
        none = np.zeros(observation.detectors)
        return (observation_from_counts("template", none, middle, observation),)
    if isinstance(observation, Observation):
        return (observation,)
    return tuple(observation)


def _source(
    key: Array,
    simulator: Simulator,
    counts: tuple[float | int, float | int] | None,
    progress: Progress,
) -> Source:
    """The whole prior, or simulations from the part with so many counts."""
    if counts is None:
        return _whole_prior(simulator)
    key_part, key_pool = jax.random.split(key)
    channels = sum(simulator.sizes)
    target = Target(simulator, np.zeros(channels))
    rule = TotalCounts(*counts)
    number = min(POOL, POOL_ELEMENTS // channels)
    with progress.stage("amortise: restrict prior", "restrict", number) as tick:
        part = restrict_by_classifier(key_part, target, rule=rule)
        z = part.sample(key_pool, number)
        expected = expected_spectra(target, z)
        tick(number)
    total = expected.sum(1, dtype=np.float64)
    kept = (total >= rule.low) & (total <= rule.high)
    return stored(z[kept], expected[kept])


def _whole_prior(simulator: Simulator) -> Source:
    return FromRegion(simulator, Region.whole(simulator.prior.dimension))
