"""Posteriors of two modes and a bent one: `python -m benchmarks.bimodal`.

Two lines with the same prior may swap, so that half of the posterior's mass has the
first below the second, exactly. With a tenth of the counts the fainter line is nearly
lost, and the modes grow long arms. The third problem is a bent, narrow degeneracy.
"""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.case import Case
from benchmarks.cases import banana, bimodal, nicer_setting
from benchmarks.measure import RESULTS, save
from benchmarks.methods import fit
from jsbi.api import simulate
from jsbi.plot.style import BLUE, GREY, STYLE, new_figure
from jsbi.posterior import Posterior

METHODS = ("auto", "sbi", "nested")
LINES = ("gaussian.LineE", "gaussian_2.LineE")
SHOWN = 1000  # equally weighted draws in a figure
LABELS = {
    LINES[0]: "energy of line 1 [keV]",
    LINES[1]: "energy of line 2 [keV]",
    "tbabs.nH": "$N_H$ [$10^{22}$ cm$^{-2}$]",
    "bbodyrad.norm": "black-body norm",
}


def faint_lines() -> Case:
    """The two lines with a tenth of the counts."""
    case = bimodal()
    assert case.truth is not None
    truth = dict(case.truth)
    observation = simulate(jax.random.key(9), nicer_setting(20.0), case.model, truth)
    return dataclasses.replace(case, name="faint_lines", observations=(observation,))


PROBLEMS: dict[str, tuple[Callable[[], Case], tuple[str, str]]] = {
    "bimodal": (bimodal, LINES),
    "faint_lines": (faint_lines, LINES),
    "banana": (banana, ("tbabs.nH", "bbodyrad.norm")),
}


def mass_below(posterior: Posterior) -> float | None:
    """Share of the weight with the first line below the second; None without lines."""
    if LINES[1] not in posterior.names:
        return None
    samples = posterior.samples
    return float(posterior.weights[samples[LINES[0]] < samples[LINES[1]]].sum())


def described(name: str, method: str, seed: int, posterior: Posterior) -> dict:
    """Evidence, mass of the modes, verdict and cost of one fit."""
    report = posterior.report
    assert report is not None
    return {
        "problem": name,
        "method": method,
        "seed": seed,
        "rung": posterior.method,
        "verdict": report.verdict,
        "ln Z": posterior.log_evidence,
        "error of ln Z": posterior.log_evidence_error,
        "mass with E1 < E2": mass_below(posterior),
        "effective": posterior.effective_draws,
        "efficiency": posterior.efficiency,
        "Pareto k": posterior.pareto_k,
        "total [s]": report.seconds["total"],
        "compile [s]": report.seconds["compile"],
        "likelihood evaluations": report.likelihood_evaluations,
        "simulations": report.simulations,
    }


@mpl.rc_context(STYLE)
def draw(fits: dict[str, dict[str, Posterior]]) -> Figure:
    """Draws of two parameters of each problem (rows), by method (columns)."""
    columns = len(next(iter(fits.values())))
    figure = new_figure(3 * columns, 2.8 * len(fits), layout="constrained")
    options: dict[str, Any] = {"sharex": "row", "sharey": "row", "squeeze": False}
    panels = figure.subplots(len(fits), columns, **options)
    for row, (problem, posteriors) in zip(panels, fits.items(), strict=True):
        pair = PROBLEMS[problem][1]
        for axes, (method, posterior) in zip(row, posteriors.items(), strict=True):
            samples = posterior.resample(jax.random.key(0), SHOWN)
            x, y = (samples[name] for name in pair)
            axes.scatter(x, y, 3, color=BLUE, linewidths=0, alpha=0.4)
            mass = mass_below(posterior)
            share = "" if mass is None else f": {100 * mass:.1f} % have $E_1 < E_2$"
            axes.set_title(f"{method}{share}", loc="left")
            axes.set_xlabel(LABELS[pair[0]])
            if mass is None:
                axes.set_yscale("log")
            else:
                ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
                axes.plot(ends, ends, color=GREY, lw=0.8, ls="--", zorder=0)
        row[0].set_ylabel(LABELS[pair[1]])
    return figure


def main() -> None:
    """Fit all problems in all ways; the figure is of the first seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS)
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=10_000)
    given = parser.parse_args()
    rows, shown = [], {}
    for problem in given.problems:
        case = PROBLEMS[problem][0]()
        shown[problem] = {}
        for method in given.methods:
            for seed in range(given.seeds):
                posterior = fit(case, method, seed, given.draws)
                rows.append(described(problem, method, seed, posterior))
                shown[problem].setdefault(method, posterior)
    save("bimodal", rows)
    draw(shown).savefig(RESULTS / "bimodal.png", dpi=80)


if __name__ == "__main__":
    main()
