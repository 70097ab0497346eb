"""Uniform p-values of true models, and power: `python -m benchmarks.goodness`.

Known expected counts from 0.1 to 100 per bin; fits of the packaged example and of
EPIC-pn at several exposures, of which each has its own posterior, normal in z; how
often bands and runs would lower the verdict of a true model; and how often a line that
the model lacks is found.
"""

import argparse
import dataclasses
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from scipy.stats import kstest, kstwo, norm

from benchmarks.cases import epic_pn
from benchmarks.measure import RESULTS, save
from jsbi.api import make_target
from jsbi.compress import fisher_information
from jsbi.demo import make_example
from jsbi.diagnose.bootstrap import (
    SIDES,
    fit_each,
    fitted_goodness,
    known_goodness,
)
from jsbi.diagnose.goodness import cstat_moments, deviance
from jsbi.diagnose.predictive import predictive_checks
from jsbi.diagnose.uniformity import holm
from jsbi.diagnose.verdict import MISFIT
from jsbi.estimate import expected_spectra
from jsbi.plot.style import GREY, LIGHT_GREY, STYLE, new_figure
from jsbi.posterior import Posterior
from jsbi.simulate import Target

LEVELS = (0.1, 0.3, 1.0, 10.0, 100.0)  # mean counts per bin
BINS = 100
EXPOSURES = {"example": (1e-3, 1e-2, 0.1, 1.0), "epic_pn": (0.1, 1.0, 10.0)}
FALSE_ALARM = 0.05
LINE = (2.0, 4.0, 6.0, 8.0)  # strength, in roots of the model counts under it
DRAWS = 128
STARTS = 64
COLUMNS = 4  # of panels
COLOURS = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(SIDES)))


@dataclasses.dataclass(frozen=True)
class Setting:
    """A model with the parameters that make its spectra.

    Attributes:
        name: Short name.
        target: Model and instrument; its counts mean nothing.
        z: The true parameters.
    """

    name: str
    target: Target
    z: Float[np.ndarray, " dim"]


def settings() -> list[Setting]:
    """The packaged example and EPIC-pn, at several exposures."""
    with tempfile.TemporaryDirectory() as folder:
        observation, config = make_example(Path(folder))
    case = epic_pn()
    problems = {
        "example": (observation, config.model, config.prior),
        "epic_pn": (case.observations[0], case.model, case.prior),
    }
    made = []
    for name, (observation, model, prior) in problems.items():
        z = best_fit(make_target((observation,), model, prior))
        for ratio in EXPOSURES[name]:
            exposure = ratio * observation.exposure
            other = dataclasses.replace(observation, exposure=exposure)
            target = make_target((other,), model, prior)
            made.append(Setting(f"{name} x {ratio:g}", target, z))
    return made


def best_fit(target: Target) -> Float[np.ndarray, " dim"]:
    """The best of the fits from several places in the prior."""
    counts = np.asarray(target.counts, np.float64)
    start = np.random.default_rng(0).standard_normal((STARTS, target.dimension))
    ends, model = fit_each(target.simulator, np.tile(counts, (STARTS, 1)), start)
    misfit = deviance(counts, model).sum(1) + (ends**2).sum(1)
    return ends[np.nanargmin(misfit)]


def normal_posterior(
    generator: np.random.Generator, target: Target, best: np.ndarray
) -> Posterior:
    """Draws from the normal distribution in z at the best fit."""
    information = fisher_information(target.simulator, jnp.asarray(best[None], float))
    covariance = np.linalg.inv(information[0] + np.eye(len(best)))
    z = generator.multivariate_normal(best, covariance, DRAWS)
    z[0] = best
    counts = np.asarray(target.counts, np.float64)
    likelihood = -0.5 * deviance(counts, expected_spectra(target, z)).sum(1)
    # Far out in the tail of the normal there may be no posterior.
    good = likelihood + target.log_prior(z)
    kept = good > good[0] - 30
    return Posterior(
        names=target.simulator.prior.names,
        z=z[kept],
        values=z[kept],
        log_weight=np.full(kept.sum(), -math.log(kept.sum())),
        log_likelihood=likelihood[kept],
        effective_draws=float(kept.sum()),
        method="normal",
    )


def known_p_values(
    level: float, spectra: int, simulations: int
) -> Float[np.ndarray, "spectrum statistic"]:
    """P-values of true models with known expected counts."""
    shape = np.geomspace(0.2, 5.0, BINS)
    expected = level * shape / shape.mean()
    generator = np.random.default_rng(int(1000 * level))
    keys = jax.random.split(jax.random.key(int(1000 * level)), spectra)
    return np.array(
        [
            known_goodness(
                key,
                generator.poisson(expected).astype(float),
                expected,
                simulations=simulations,
                false_alarm=FALSE_ALARM,
            ).p_value
            for key in keys
        ]
    )


def fitted_p_values(
    setting: Setting,
    expected: Float[np.ndarray, " bin"],
    spectra: int,
    simulations: int,
) -> Float[np.ndarray, "spectrum statistic"]:
    """P-values of fits to spectra with these expected counts."""
    generator = np.random.default_rng(1)
    counts = generator.poisson(expected, (spectra, len(expected))).astype(float)
    best = fit_each(setting.target.simulator, counts, np.tile(setting.z, (spectra, 1)))
    found = []
    keys = jax.random.split(jax.random.key(1), spectra)
    for key, row, z in zip(keys, counts, best[0], strict=True):
        target = Target(setting.target.simulator, row)
        posterior = normal_posterior(generator, target, z)
        fit = fitted_goodness(
            key, target, posterior, simulations=simulations, false_alarm=FALSE_ALARM
        )
        found.append(fit.p_value)
    return np.array(found)


def uniform_row(
    name: str, p_values: Float[np.ndarray, "spectrum statistic"], seconds: float
) -> dict[str, Any]:
    """Kolmogorov-Smirnov p-value of each statistic's p-values; rate of false alarms."""
    each = [float(kstest(column, "uniform").pvalue) for column in p_values.T]
    alarm = np.mean([holm(row).min() <= FALSE_ALARM for row in p_values])
    return {
        "setting": name,
        "spectra": len(p_values),
        **dict(zip(SIDES, each, strict=True)),
        "called a misfit": float(alarm),
        "per spectrum [s]": seconds / len(p_values),
    }


def alarm_row(setting: Setting, spectra: int) -> dict[str, Any]:
    """How often the predictive checks and the C statistic doubt a true model."""
    generator = np.random.default_rng(2)
    truth = setting.target.expected_counts(setting.z)
    counts = generator.poisson(truth, (spectra, len(truth))).astype(float)
    start = np.tile(setting.z, (spectra, 1))
    best, model = fit_each(setting.target.simulator, counts, start)
    keys = jax.random.split(jax.random.key(2), spectra)
    found, pulls = [], []
    for key, row, z, expected in zip(keys, counts, best, model, strict=True):
        target = Target(setting.target.simulator, row)
        posterior = normal_posterior(generator, target, z)
        found.append(predictive_checks(key, target, posterior, draws=32).p_value)
        mean, sd = cstat_moments(expected)
        pulls.append((deviance(row, expected).sum() - mean) / sd)
    p_value = np.array(found)
    rates = {
        f"p <= {level:g}": float((p_value <= level).mean()) for level in (0.1, 0.01)
    }
    return {
        "setting": setting.name,
        "spectra": spectra,
        **rates,
        "smallest p": float(p_value.min()),
        "C-stat beyond 3 sd": float((np.abs(pulls) >= MISFIT[0]).mean()),
    }


def power_row(
    setting: Setting, strength: float, spectra: int, simulations: int
) -> dict[str, Any]:
    """How often a line is found that the model lacks."""
    expected = setting.target.expected_counts(setting.z)
    place = np.arange(len(expected))
    shape = norm.pdf(place, 0.6 * len(expected), 2.0)
    under = (expected * (shape > 0.1 * shape.max())).sum()
    p_values = fitted_p_values(
        setting, expected + strength * math.sqrt(under) * shape, spectra, simulations
    )
    rates = (p_values <= FALSE_ALARM).mean(0)
    found = np.mean([holm(row).min() <= FALSE_ALARM for row in p_values])
    return {
        "setting": setting.name,
        "line [sd]": strength,
        "spectra": spectra,
        **dict(zip(SIDES, rates.tolist(), strict=True)),
        "called a misfit": float(found),
    }


@mpl.rc_context(STYLE)
def draw(p_values: dict[str, np.ndarray]) -> Figure:
    """Distribution of the p-values of each setting, minus that of uniform ones."""
    rows = math.ceil(len(p_values) / COLUMNS)
    figure = new_figure(2.2 * COLUMNS, 2.5 * rows + 0.4, layout="constrained")
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for axes, (name, values) in zip(panels.ravel(), p_values.items(), strict=False):
        band = kstwo.ppf(0.95, len(values))
        axes.fill_between([0, 1], -band, band, color=LIGHT_GREY, lw=0)
        axes.axhline(0, color=GREY, lw=0.8)
        share = np.arange(1, len(values) + 1) / len(values)
        for column, statistic, colour in zip(values.T, SIDES, COLOURS, strict=True):
            ordered = np.sort(column)
            axes.step(ordered, share - ordered, color=colour, lw=1, label=statistic)
        axes.set(title=name, xlim=(0, 1))
    for axes in panels[-1]:
        axes.set_xlabel("$p$-value")
    for axes in panels[:, 0]:
        axes.set_ylabel("share below, minus $p$-value")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(SIDES))
    return figure


def main() -> None:
    """Measure all, save the numbers and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--known", type=int, default=500, help="spectra of each level")
    parser.add_argument("--fitted", type=int, default=200, help="spectra per setting")
    parser.add_argument("--simulations", type=int, default=255)
    parser.add_argument("--alarms", type=int, default=1000)
    parser.add_argument("--power", type=int, default=50)
    given = parser.parse_args()
    made = settings()
    save("goodness_alarms", [alarm_row(each, given.alarms) for each in made])
    powers = [power_row(made[-2], s, given.power, given.simulations) for s in LINE]
    save("goodness_power", powers)
    p_values, rows = {}, []
    for level in LEVELS:
        start, name = time.perf_counter(), f"known, {level:g} per bin"
        p_values[name] = known_p_values(level, given.known, 999)
        rows.append(uniform_row(name, p_values[name], time.perf_counter() - start))
    for setting in made:
        start, name = time.perf_counter(), f"fitted, {setting.name}"
        truth = setting.target.expected_counts(setting.z)
        found = fitted_p_values(setting, truth, given.fitted, given.simulations)
        p_values[name] = found
        rows.append(uniform_row(name, found, time.perf_counter() - start))
    corrected = holm(np.array([[row[name] for name in SIDES] for row in rows]).ravel())
    for row, each in zip(rows, corrected.reshape(len(rows), -1), strict=True):
        row["smallest, corrected"] = float(each.min())
    save("goodness", rows)
    draw(p_values).savefig(RESULTS / "goodness.png")


if __name__ == "__main__":
    main()
