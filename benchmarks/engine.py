"""How good and how fast is each method? `python -m benchmarks.engine [--case example]`.

All fits run in one process and are compared with one long run of "auto" there, which
pays for the start of JAX; the first fit of a method pays for its compilation. A second
table is of one amortised network, without any adaptation to the spectra: on spectra
with parameters from the prior, and on the observed one.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.case import Case
from benchmarks.cases import CASES
from benchmarks.measure import RESULTS, save
from benchmarks.methods import fit
from jsbi.amortized import AmortizedPosterior
from jsbi.demo import make_example
from jsbi.plot.style import BLUE, GREY, STYLE, VERMILION, new_figure
from jsbi.posterior import Posterior
from jsbi.simulate import Simulator
from jsbi.training import amortize

METHODS = ("auto", "sbi", "nuts", "nested")
REFERENCES = ("nuts", "nested")  # for which few seeds are enough
LONG = "auto, long run"
SAFE_K = 0.7
SHIFT, WIDTHS = "largest shift of a mean [sd]", ("least sd ratio", "greatest sd ratio")
EVIDENCE = "ln Z - long run"
PANELS = {
    "efficiency": ("efficiency",),
    SHIFT: (SHIFT,),
    "sd / sd of the long run": WIDTHS,
    EVIDENCE: (EVIDENCE,),
}


def packaged_example() -> Case:
    """The example that comes with the library."""
    observation, config = make_example(Path())
    truth = config.truth
    return Case("example", (observation,), config.model, config.prior, truth)


def compared(
    method: str, seed: int, posterior: Posterior, long: Posterior
) -> dict[str, Any]:
    """Cost of one fit, and its distance from a long run.

    Args:
        method: What was asked for; the rung that answered is in the posterior.
        seed: Seed of the fit.
        posterior: The fit.
        long: The long run.
    """
    report = posterior.report
    assert report is not None
    shift = np.abs(posterior.mean() - long.mean()) / long.sd()
    ratio = posterior.sd() / long.sd()
    return {
        "method": method,
        "seed": seed,
        "rung": posterior.method,
        "verdict": report.verdict,
        "effective": posterior.effective_draws,
        "efficiency": posterior.efficiency,
        "Pareto k": posterior.pareto_k,
        SHIFT: float(shift.max()),
        WIDTHS[0]: float(ratio.min()),
        WIDTHS[1]: float(ratio.max()),
        "ln Z": posterior.log_evidence,
        "error of ln Z": posterior.log_evidence_error,
        EVIDENCE: posterior.log_evidence - long.log_evidence,
        "total [s]": report.seconds["total"],
        "compile [s]": report.seconds["compile"],
        "likelihood evaluations": report.likelihood_evaluations,
        "simulations": report.simulations,
    }


@mpl.rc_context(STYLE)
def draw_methods(rows: list[dict[str, Any]]) -> Figure:
    """Accuracy of every fit, by method."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = new_figure(11, 2.8, layout="constrained")
    panels = figure.subplots(1, len(PANELS))
    for axes, (label, columns) in zip(panels, PANELS.items(), strict=True):
        for column, colour in zip(columns, (BLUE, VERMILION), strict=False):
            x = [methods.index(row["method"]) + row["seed"] / 40 for row in rows]
            values = [row[column] for row in rows]
            axes.plot(x, values, ".", color=colour, ms=5, label=column)
        level = {WIDTHS: 1.0, (EVIDENCE,): 0.0}.get(columns)
        if level is not None:
            axes.axhline(level, color=GREY, lw=0.8, zorder=0)
        axes.set_xticks(range(len(methods)), methods)
        axes.set(xlim=(-0.5, len(methods) - 0.5), ylabel=label)
        if level is None:
            axes.set_ylim(bottom=0)
        if len(columns) > 1:
            axes.legend()
    return figure


def prior_spectra(
    generator: np.random.Generator, simulator: Simulator, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates from the prior and their expected counts, [spectrum, dim or bin]."""
    z = generator.standard_normal((number, simulator.prior.dimension))
    fold = jax.jit(jax.vmap(simulator.expected_counts))
    return z, np.asarray(fold(jnp.asarray(z, jnp.result_type(float))), np.float64)


def network_row(
    spectra: str, posteriors: list[Posterior], network: AmortizedPosterior
) -> dict[str, Any]:
    """How efficient a network is on some spectra, and what it cost."""
    efficiency = [each.efficiency for each in posteriors]
    low, middle, high = np.quantile(efficiency, [0.25, 0.5, 0.75])
    k = np.array([each.pareto_k for each in posteriors])
    return {
        "spectra": spectra,
        "number": len(posteriors),
        "median efficiency": float(middle),
        "lower quartile": float(low),
        "upper quartile": float(high),
        "median Pareto k": float(np.median(k)),
        "share with k < 0.7": float((k < SAFE_K).mean()),
        "training, all [s]": network.record["seconds"]["total"],
        "of which compile [s]": network.record["seconds"]["compile"],
        "simulations": network.record["simulations"],
    }


@mpl.rc_context(STYLE)
def draw_network(
    counts: np.ndarray, posteriors: list[Posterior], own: float, observed: Posterior
) -> Figure:
    """Efficiency without adaptation against the counts of the spectrum.

    Args:
        counts: All counts of each simulated spectrum.
        posteriors: Of the simulated spectra.
        own: All counts of the observed spectrum.
        observed: Its posterior.
    """
    efficiency = np.array([each.efficiency for each in posteriors])
    safe = np.array([each.pareto_k for each in posteriors]) < SAFE_K
    figure = new_figure(4.5, 3.2, layout="constrained")
    axes = figure.subplots()
    for chosen, colour, label in (
        (safe, BLUE, "Pareto $k$ < 0.7"),
        (~safe, VERMILION, "Pareto $k$ ≥ 0.7"),
    ):
        axes.plot(counts[chosen], efficiency[chosen], "o", ms=4, c=colour, label=label)
    axes.plot(own, observed.efficiency, "k*", ms=10, label="observed")
    axes.set(xscale="log", xlabel="counts", ylabel="efficiency", ylim=(0, 1))
    axes.legend()
    return figure


def run_network(
    case: Case, spectra: int, simulations: int, steps: int
) -> tuple[list[dict[str, Any]], Figure]:
    """Train one network for a case and use it without adaptation."""
    network = amortize(
        jax.random.key(0),
        case.observations,
        case.model,
        case.prior,
        simulations=simulations,
        steps=steps,
        progress=False,
    )
    generator = np.random.default_rng(0)
    _, expected = prior_spectra(generator, network.simulator, spectra)
    counts = generator.poisson(expected).astype(np.float64)
    posteriors = network.many(counts, adapt=False)
    own = np.concatenate([each.binned_counts for each in case.observations])
    (observed,) = network.many(own[None], adapt=False)
    rows = [
        network_row("prior", posteriors, network),
        network_row("observed", [observed], network),
    ]
    return rows, draw_network(counts.sum(1), posteriors, float(own.sum()), observed)


def main() -> None:
    """Fit with all methods, then train and try the network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=["example", *CASES], default="epic_pn")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--few", type=int, default=2, help="seeds of nuts and nested")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--long", type=int, default=200_000, help="draws of long run")
    parser.add_argument("--spectra", type=int, default=50, help="0 for no network")
    parser.add_argument("--simulations", type=int, default=50_000)
    parser.add_argument("--steps", type=int, default=4000)
    given = parser.parse_args()
    case = packaged_example() if given.case == "example" else CASES[given.case]()
    long = fit(case, "auto", 99, given.long)
    rows = [
        compared(method, seed, fit(case, method, seed, given.draws), long)
        for method in given.methods
        for seed in range(given.few if method in REFERENCES else given.seeds)
    ]
    save(f"engine_{case.name}", [compared(LONG, 99, long, long), *rows])
    draw_methods(rows).savefig(RESULTS / f"engine_{case.name}.png")
    if given.spectra:
        rows, figure = run_network(case, given.spectra, given.simulations, given.steps)
        save(f"engine_{case.name}_network", rows)
        figure.savefig(RESULTS / f"engine_{case.name}_network.png")


if __name__ == "__main__":
    main()
