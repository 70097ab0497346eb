"""Do fits get stuck in local minima? `python -m benchmarks.minima [--spectra 500]`.

After section 6 of Barret & Dupourque (2024), A&A 686, A133: spectra of an absorbed
power law and black body, with parameters from the prior wherever they give 10,000
counts or more. A Levenberg-Marquardt fit from one start stands for a fit as XSPEC makes
it, from the same kinds of starts as the paper's; it moves in the coordinates of the
prior, where steps are better scaled than in physical units, so that it is stuck less
often. Against it stand the library's modes from many starts.

A fit is an outlier if its C statistic is over 10 worse than that of the best of all
fits, and if it lies further from the truth than all but one truth in 10,000 would lie
from the centre of the posterior at the best fit.
"""

import argparse
import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure
from scipy.stats import chi2

from benchmarks.case import coarser
from benchmarks.cases import paper1_model2
from benchmarks.measure import RESULTS, save
from jsbi.baseline import find_modes
from jsbi.baseline.optimize import fit_starts
from jsbi.plot.style import BLUE, GREY, STYLE, VERMILION, new_figure
from jsbi.simulate import Simulator, Target

LEAST_COUNTS = 10_000
WORSE = 10.0  # of the C statistic
RARE = 1e-4
STARTS = 16  # of the library's fit
MANY = "many starts"
LABELS = ("$N_H$", "photon index", "power-law norm", "$kT$ [keV]", "black-body norm")
LOGARITHMIC = (2, 4)


def coarse_target() -> Target:
    """Model 2 with four energy bins merged to one of 20 eV, to be four times faster."""
    case = paper1_model2()
    (observation,) = case.observations
    return dataclasses.replace(case, observations=(coarser(observation, 4),)).target()


def restricted_draws(
    generator: np.random.Generator, target: Target, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws from the prior that give enough counts, and their expected counts."""
    fold = jax.jit(jax.vmap(target.simulator.expected_counts))
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    while sum(len(z) for z, _ in kept) < number:
        z = generator.standard_normal((256, target.dimension))
        expected = np.asarray(fold(jnp.asarray(z, target.counts.dtype)), np.float64)
        enough = expected.sum(1) >= LEAST_COUNTS
        kept.append((z[enough], expected[enough]))
    z, expected = (np.concatenate(part)[:number] for part in zip(*kept, strict=True))
    return z, expected


def fit_once(
    simulator: Simulator,
    counts: Float[np.ndarray, "spectrum channel"],
    first: Float[np.ndarray, "spectrum dim"],
) -> Float[np.ndarray, "spectrum dim"]:
    """The end of one fit of each spectrum."""

    def fit(counts: Array, first: Array) -> Array:
        return fit_starts(simulator, counts, first[None]).z[0]

    # Small batches, since each waits for its slowest fit.
    run = jax.jit(lambda *rows: jax.lax.map(lambda row: fit(*row), rows, batch_size=10))
    ends = run(jnp.asarray(counts), jnp.asarray(first, counts.dtype))
    return np.asarray(ends, np.float64)


def fit_many(target: Target, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The best mode of one spectrum and the covariance there."""
    modes = find_modes(jax.random.key(seed), target, STARTS)
    return modes.z[0], modes.covariance[0]


def cstat(simulator: Simulator, counts: np.ndarray, z: np.ndarray) -> np.ndarray:
    """C statistic of each spectrum at the end of its fit."""
    evaluate = jax.jit(jax.vmap(simulator.log_likelihood))
    values = evaluate(jnp.asarray(z, counts.dtype), jnp.asarray(counts))
    return -2 * np.asarray(values, np.float64)


def misses(
    ends: dict[str, np.ndarray],
    statistic: dict[str, np.ndarray],
    truth: np.ndarray,
    covariance: np.ndarray,
) -> dict[str, np.ndarray]:
    """Which fits are outliers."""
    best = np.min(list(statistic.values()), axis=0)
    far = chi2.isf(RARE, truth.shape[1])
    outlier = {}
    for name, z in ends.items():
        step = np.linalg.solve(covariance, (z - truth)[..., None])[..., 0]
        distant = ~(((z - truth) * step).sum(1) < far)
        outlier[name] = distant & ~(statistic[name] < best + WORSE)
    return outlier


@mpl.rc_context(STYLE)
def draw(
    truth: np.ndarray, fitted: dict[str, np.ndarray], outlier: dict[str, np.ndarray]
) -> Figure:
    """Fitted against true parameters, one row per method, outliers on top."""
    figure = new_figure(11, 2.3 * len(fitted), layout="constrained")
    panels = figure.subplots(len(fitted), len(LABELS), squeeze=False)
    for row, (name, values) in zip(panels, fitted.items(), strict=True):
        stuck = outlier[name]
        for place, axis in enumerate(row):
            ends = truth[:, place].min(), truth[:, place].max()
            axis.plot(ends, ends, color=GREY, linewidth=0.8, zorder=0)
            for chosen, colour, size in ((~stuck, BLUE, 5), (stuck, VERMILION, 22)):
                x, y = truth[chosen, place], values[chosen, place]
                axis.scatter(x, y, size, color=colour, linewidths=0, alpha=0.8)
            if place in LOGARITHMIC:
                axis.set(xscale="log", yscale="log")
            if axis in panels[-1]:
                axis.set_xlabel(f"true {LABELS[place]}")
            axis.set_ylabel(f"fitted {LABELS[place]}")
        row[0].set_title(f"{name}: {stuck.sum()} of {len(stuck)} stuck", loc="left")
    return figure


def run(spectra: int, seed: int = 0) -> tuple[list[dict[str, Any]], Figure]:
    """Fit all spectra in all ways."""
    generator = np.random.default_rng(seed)
    target = coarse_target()
    simulator = target.simulator
    truth, expected = restricted_draws(generator, target, spectra)
    counts = generator.poisson(expected).astype(np.asarray(target.counts).dtype)
    targets = [Target(simulator, each) for each in counts]
    first = {
        "from the truth": truth,
        "from the centre of the prior": np.zeros_like(truth),
        "from the restricted prior": restricted_draws(generator, target, spectra)[0],
        "from the prior": generator.standard_normal(truth.shape),
    }
    ends, seconds = {}, {}
    for name, start in first.items():
        began = time.process_time()
        ends[name] = fit_once(simulator, counts, start)
        seconds[name] = time.process_time() - began
    began = time.process_time()
    best = [fit_many(each, place) for place, each in enumerate(targets)]
    seconds[MANY] = time.process_time() - began
    ends[MANY], covariance = (np.stack(part) for part in zip(*best, strict=True))
    statistic = {name: cstat(simulator, counts, z) for name, z in ends.items()}
    outlier = misses(ends, statistic, truth, covariance)
    lowest = np.min(list(statistic.values()), axis=0)
    rows = [
        {
            "fit": name,
            "spectra": spectra,
            "outliers": int(outlier[name].sum()),
            "outliers [%]": 100 * float(outlier[name].mean()),
            "C-stat over 10 worse": int((~(statistic[name] < lowest + WORSE)).sum()),
            "processor time of all fits [s]": seconds[name],
        }
        for name in ends
    ]
    shown = ["from the centre of the prior", "from the prior", MANY]
    fitted = {name: target.physical(ends[name]) for name in shown}
    return rows, draw(target.physical(truth), fitted, outlier)


def main() -> None:
    """Fit, save the figure and the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spectra", type=int, default=500)
    rows, figure = run(parser.parse_args().spectra)
    save("minima", rows)
    figure.savefig(RESULTS / "minima.png")


if __name__ == "__main__":
    main()
