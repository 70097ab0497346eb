"""The figures of paper I: `python -m benchmarks.reproduce --figures all`.

After Barret & Dupourque (2024), A&A 686, A133, whose spectra had medians close to the
true parameters, C statistics as expected, and posteriors that kept their widths through
principal components and after three rounds of 1000 simulations. Each figure writes
`results/reproduce_NAME.json` and pictures beside it.

The slope of medians on true parameters, which the paper gives, falls below 1 where the
prior matters; the slope of true parameters on posterior means is 1 for any exact
posterior of spectra from the prior, and is given with medians beside it. Those of the
bursts are not from the prior, but all have a black body.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks.measure import save
from benchmarks.one_spectrum import posterior, rounds
from benchmarks.panels import (
    draw_pulls,
    draw_recovery,
    draw_sequence,
    picture,
)
from benchmarks.trial import (
    SETUPS,
    Sizes,
    Trial,
    coarse_case,
    is_logarithmic,
    is_trusted,
    restricted_draws,
    run_trial,
    slope,
)
from jsbi.compress import PrincipalComponents
from jsbi.compress.registry import EXAMPLES

REPEATED = ("model1_20000", "model1_2000", "model2")
BURSTS = 23
KEPT = 0.9  # of the variance
LABELS = ("16 %", "median", "84 %")


def slope_rows(trial: Trial, compressor: str = "network") -> list[dict[str, Any]]:
    """How well each parameter of a set-up is recovered."""
    low, middle, high = trial.quantiles
    seconds = trial.network.record["seconds"]
    rows = []
    for place, name in enumerate(trial.prior.names):
        log = is_logarithmic(trial.prior)[place]
        truth, median = trial.truth[:, place], middle[:, place]
        inside = (truth >= low[:, place]) & (truth <= high[:, place])
        exact, back = slope(truth, median, log), slope(median, truth, log)
        alone = slope(truth, trial.alone[1, :, place], log)
        rows.append(
            {
                "set-up": trial.name,
                "compressor": compressor,
                "parameter": name,
                "spectra": len(truth),
                "slope": exact[0],
                "error": exact[1],
                "slope of truth on median": back[0],
                "its error": back[1],
                "slope before reweighting": alone[0],
                "error before": alone[1],
                "truth within 68 %": float(inside.mean()),
                "trusted": trial.trusted,
                "median efficiency": float(np.median(trial.efficiency)),
                "training [s]": seconds["total"] - seconds["compile"],
                "its compilation [s]": seconds["compile"],
                "inference with compilation [s]": trial.seconds,
            }
        )
    return rows


def recovery_figure(trials: dict[str, Trial]) -> Figure:
    """Medians against the truth, one row for each of several trials of a set-up."""
    first = next(iter(trials.values()))
    titles = {}
    for kind, trial in trials.items():
        rows = slope_rows(trial)
        titles[kind] = [
            f"slope {row['slope']:.3f} $\\pm$ {row['error']:.3f}" for row in rows
        ]
    return draw_recovery(
        first.prior.names,
        first.truth,
        {kind: trial.quantiles for kind, trial in trials.items()},
        is_logarithmic(first.prior),
        titles,
    )


def recovery(sizes: Sizes, setups: tuple[str, ...]) -> None:
    """Posterior medians of test spectra against their parameters: figures 5 and 8."""
    rows = []
    for name in setups:
        trial = run_trial(name, sizes)
        rows += slope_rows(trial)
        picture(
            f"reproduce_recovery_{name}", recovery_figure({"posterior median": trial})
        )
    save("reproduce_recovery", rows)


def cstat(sizes: Sizes, setups: tuple[str, ...]) -> None:
    """C statistics of the best draws against their expectation."""
    rows, pulls = [], {}
    for name in setups:
        trial = run_trial(name, sizes)
        reports = [e.report for e in trial.posteriors if e.report is not None]
        sd = np.array([report.cstat_sd for report in reports])
        apart = np.array([r.cstat - r.cstat_expected for r in reports])
        pull = pulls[name] = apart / sd
        # A fit of d parameters takes d from the statistic, on average.
        fitted = -trial.truth.shape[1] / sd
        rows.append(
            {
                "set-up": name,
                "spectra": len(pull),
                "mean of pulls": float(pull.mean()),
                "error of the mean": float(pull.std(ddof=1) / np.sqrt(len(pull))),
                "expected mean": float(fitted.mean()),
                "sd of pulls": float(pull.std(ddof=1)),
                "within 1 sd": float((np.abs(pull) < 1).mean()),
                "largest": float(np.abs(pull).max()),
            }
        )
    save("reproduce_cstat", rows)
    picture("reproduce_cstat", draw_pulls(pulls))


def pca(sizes: Sizes, setups: tuple[str, ...]) -> None:
    """Networks on principal components and on all channels: figure 12."""
    name = "model1_2000"
    target = coarse_case(SETUPS[name]).target()
    generator = np.random.default_rng(2)
    number = max(sizes.simulations, EXAMPLES)
    _, expected = restricted_draws(generator, target, SETUPS[name].counts, number)
    counts = jax.numpy.asarray(generator.poisson(expected), float)
    components = len(PrincipalComponents(counts, KEPT).variance)
    few = len(PrincipalComponents(counts[:EXAMPLES], KEPT).variance)
    rows, trials = [], {}
    for kind in ("network", "pca"):
        trial = trials[kind] = run_trial(name, sizes, kind)
        rows += [
            row
            | {
                f"components of {number} spectra": components,
                f"components of {EXAMPLES} spectra": few,
                "channels": counts.shape[1],
            }
            for row in slope_rows(trial, kind)
        ]
    save("reproduce_pca", rows)
    picture("reproduce_pca", recovery_figure(trials))


def bursts(sizes: Sizes, setups: tuple[str, ...]) -> None:
    """23 spectra of 400 to 5000 counts from one network: figure 15."""
    sizes = Sizes(BURSTS, 10_000, sizes.simulations, sizes.steps)
    trial = run_trial("bursts", sizes)
    began = time.perf_counter()
    trial.network.many(trial.counts, draws=sizes.draws)
    again = time.perf_counter() - began
    trusted = np.array([is_trusted(each) for each in trial.posteriors])
    rows = [row | {"inference again, compiled [s]": again} for row in slope_rows(trial)]
    save("reproduce_bursts", rows)
    total = trial.counts.sum(1)
    order = np.argsort(total)
    names, quantiles = trial.prior.names, trial.quantiles
    each_rows = []
    for place in order:
        each = trial.posteriors[place]
        row = {"counts": float(total[place]), "method": each.method}
        row |= {"efficiency": each.efficiency, "trusted": bool(trusted[place])}
        for column, name in enumerate(names):
            row[f"true {name}"] = float(trial.truth[place, column])
            for label, values in zip(LABELS, quantiles, strict=True):
                row[f"{label} {name}"] = float(values[place, column])
        each_rows.append(row)
    save("reproduce_bursts_each", each_rows)
    logarithmic = is_logarithmic(trial.prior)
    figure = draw_sequence(
        names,
        total[order],
        trial.truth[order],
        quantiles[:, order],
        logarithmic,
        trusted[order],
    )
    picture("reproduce_bursts", figure)


FIGURES: dict[str, Callable[[Sizes, tuple[str, ...]], None]] = {
    "recovery": recovery,
    "posterior": posterior,
    "cstat": cstat,
    "pca": pca,
    "rounds": rounds,
    "bursts": bursts,
}


def main() -> None:
    """Make the figures that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    choices = ("all", *FIGURES)
    parser.add_argument("--figures", nargs="+", choices=choices, default=["all"])
    parser.add_argument("--setups", nargs="+", choices=REPEATED, default=REPEATED)
    parser.add_argument("--spectra", type=int, default=Sizes.spectra)
    parser.add_argument("--draws", type=int, default=Sizes.draws)
    parser.add_argument("--simulations", type=int, default=Sizes.simulations)
    parser.add_argument("--steps", type=int, default=Sizes.steps)
    asked = parser.parse_args()
    sizes = Sizes(asked.spectra, asked.draws, asked.simulations, asked.steps)
    for name in FIGURES if "all" in asked.figures else asked.figures:
        FIGURES[name](sizes, tuple(asked.setups))


if __name__ == "__main__":
    main()
