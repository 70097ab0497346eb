"""One network per set-up of paper I, and its posteriors of test spectra."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.stats import linregress

from benchmarks.case import Case, coarser
from benchmarks.cases import paper1_model1, paper1_model2, paper1_model3
from benchmarks.paper1 import MODEL_3
from jsbi.amortized import AmortizedPosterior
from jsbi.estimate import PosteriorEstimator, expected_spectra
from jsbi.posterior import Posterior
from jsbi.simulate import LogUniform, Prior, Simulator, Target, Uniform
from jsbi.training import amortize

AT_ONCE = 1024  # draws from the prior, of which some have the right counts
PROBABILITIES = (0.16, 0.5, 0.84)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much work to do.

    Attributes:
        spectra: Test spectra.
        draws: Draws from the network for each.
        simulations: Spectra around whose best fits flows are trained.
        steps: Steps of the flows' training.
    """

    spectra: int = 200
    draws: int = 4000
    simulations: int = 20_000
    steps: int = 4000


@dataclasses.dataclass(frozen=True)
class Setup:
    """A model and prior of the paper, where it gives so many counts.

    Attributes:
        make: The problem, whose own counts do not matter.
        counts: Fewest and most expected counts.
        tests: Where test spectra are drawn, if not from the whole prior.
    """

    make: Callable[[], Case]
    counts: tuple[float, float]
    tests: Prior | None = None


# In most of the prior's spectra no black body can be seen.
BURST_LIKE = MODEL_3 | {
    "powerlaw.norm": LogUniform(0.1, 3.0),
    "bbodyrad.kT": Uniform(0.5, 3.0),
    "bbodyrad.norm": LogUniform(100.0, 1e4),
}
SETUPS = {
    "model1_20000": Setup(paper1_model1, (1e4, 1e5)),
    "model1_2000": Setup(lambda: paper1_model1(2_000), (1e3, 1e4)),
    # The paper has no upper end; the prior makes no spectrum as bright as this.
    "model2": Setup(paper1_model2, (1e4, 1e7)),
    "bursts": Setup(paper1_model3, (400.0, 5000.0), Prior(BURST_LIKE)),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """What a network made of test spectra.

    Attributes:
        name: Of the set-up.
        network: The network.
        counts: Of each spectrum.
        truth: Parameters that each was simulated with, in physical units.
        posteriors: Of each, reweighted.
        alone: Quantiles of the network's draws before they are reweighted.
        seconds: Of the inference of all spectra, with compilation.
    """

    name: str
    network: AmortizedPosterior
    counts: Float[np.ndarray, "spectrum channel"]
    truth: Float[np.ndarray, "spectrum dim"]
    posteriors: list[Posterior]
    alone: Float[np.ndarray, "quantile spectrum dim"]
    seconds: float

    @property
    def prior(self) -> Prior:
        """The priors."""
        return self.network.simulator.prior

    @property
    def quantiles(self) -> Float[np.ndarray, "quantile spectrum dim"]:
        """Quantiles of the reweighted posteriors."""
        return np.array(
            [[each.quantile(p) for each in self.posteriors] for p in PROBABILITIES]
        )

    @property
    def trusted(self) -> float:
        """Share of the posteriors that are trusted."""
        return float(np.mean([is_trusted(each) for each in self.posteriors]))

    @property
    def efficiency(self) -> Float[np.ndarray, " spectrum"]:
        """Effective draws per draw from the network, before any adaptation."""
        reports = [each.report for each in self.posteriors]
        return np.array([r.rungs[0]["efficiency"] for r in reports if r is not None])


def is_trusted(posterior: Posterior) -> bool:
    """Whether the report says so."""
    return posterior.report is not None and posterior.report.verdict == "trusted"


def coarse_case(setup: Setup) -> Case:
    """The case with four energy bins merged to one of 20 eV, to be four times faster.

    Spectra are simulated and inferred with the same response.
    """
    case = setup.make()
    (observation,) = case.observations
    return dataclasses.replace(case, observations=(coarser(observation, 4),))


def restricted_draws(
    generator: np.random.Generator,
    target: Target,
    counts: tuple[float, float],
    number: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws from the prior with so many expected counts, and their spectra."""
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    while sum(len(z) for z, _ in kept) < number:
        z = generator.standard_normal((AT_ONCE, target.dimension))
        expected = expected_spectra(target, z).astype(np.float64)
        total = expected.sum(1)
        good = (total >= counts[0]) & (total <= counts[1])
        kept.append((z[good], expected[good]))
    z, expected = (np.concatenate(part)[:number] for part in zip(*kept, strict=True))
    return z, expected


@functools.cache
def run_trial(name: str, sizes: Sizes, compressor: str = "network") -> Trial:
    """Train a network for a set-up and infer its test spectra.

    Args:
        name: One of `SETUPS`.
        sizes: How much work to do.
        compressor: A name that `make_compressor` knows.
    """
    setup = SETUPS[name]
    case = coarse_case(setup)
    key_network, key_alone, key_draw = jax.random.split(jax.random.key(0), 3)
    network = amortize(
        key_network,
        case.observations,
        case.model,
        case.prior,
        counts=setup.counts,
        compressor=compressor,
        simulations=sizes.simulations,
        steps=sizes.steps,
        progress=False,
    )
    generator = np.random.default_rng(1)
    target = dataclasses.replace(case, prior=setup.tests or case.prior).target()
    z, expected = restricted_draws(generator, target, setup.counts, sizes.spectra)
    counts = generator.poisson(expected).astype(np.float64)
    began = time.perf_counter()
    posteriors = network.many(counts, key=key_draw, draws=sizes.draws)
    seconds = time.perf_counter() - began
    alone = _quantiles_alone(key_alone, network, counts, sizes.draws)
    return Trial(name, network, counts, target.physical(z), posteriors, alone, seconds)


def _quantiles_alone(
    key: Array, network: AmortizedPosterior, counts: np.ndarray, draws: int
) -> np.ndarray:
    context = jnp.asarray(network.conditions.context(1.0, 1.0), float)
    quantiles = _draw_quantiles(
        jax.random.split(key, len(counts)),
        network.estimator,
        network.simulator,
        jnp.asarray(counts, float),
        context,
        draws,
    )
    return np.swapaxes(np.asarray(quantiles, np.float64), 0, 1)


@eqx.filter_jit
def _draw_quantiles(
    keys: Array,
    estimator: PosteriorEstimator,
    simulator: Simulator,
    counts: Array,
    context: Array,
    draws: int,
) -> Array:
    def of_one(spectrum: tuple[Array, Array]) -> Array:
        key, counts = spectrum
        z = estimator.at(counts, context).sample(key, draws)
        values = jax.vmap(simulator.prior.free)(z)
        return jnp.quantile(values, jnp.asarray(PROBABILITIES), axis=0)

    return jax.lax.map(of_one, (keys, counts))


def is_logarithmic(prior: Prior) -> list[bool]:
    """Which parameters are compared in logarithm, as the paper does."""
    return [isinstance(each, LogUniform) for each in prior.marginals]


def slope(
    x: Float[np.ndarray, " spectrum"],
    y: Float[np.ndarray, " spectrum"],
    logarithmic: bool,
) -> tuple[float, float]:
    """Slope of the regression of y on x and its error."""
    if logarithmic:
        x, y = np.log10(x), np.log10(y)
    fit: Any = linregress(x, y)
    return float(fit.slope), float(fit.stderr)
