"""How well spectra are unfolded: `python -m benchmarks.unfolding`.

Spectra of many shapes, none of them among those of the training, are simulated with
the responses of EPIC-pn and NICER and 100 to 1,000,000 counts. They are unfolded by the
network, by the same steps before training (the mode under a Gaussian prior), by
Richardson and Lucy's iteration, as often as the network steps, and as counts over
effective area.
"""

import argparse
import time
from dataclasses import dataclass
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.case import Case
from benchmarks.cases import epic_pn
from benchmarks.measure import RESULTS, save
from benchmarks.paper1 import paper1_pre_burst
from jsbi.diagnose.unfold import Unfolding, unfold
from jsbi.diagnose.unfold_spectra import SPLIT, training_spectra, unfolding_grid
from jsbi.diagnose.unfolder import Unfolder, train_unfolder, unfold_many
from jsbi.plot.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    STYLE,
    VERMILION,
    label_log_axis,
    new_figure,
)

RANGE = (1e2, 1e6)  # counts
DECADES = ((1e2, 1e3), (1e3, 1e4), (1e4, 1e5), (1e5, 1e6))
METHODS = ("network", "Gaussian", "Richardson-Lucy", "counts / area")
COLOURS = (VERMILION, BLUE, GREEN, ORANGE)
LEVEL = 0.68
BANDS = ("prior", "simulated")
EDGE = 3  # bins at each end of the band that are looked at apart
LINE_COUNTS = 1e5
LINE_SHARE = 0.02  # of the counts, in a narrow line


@dataclass(frozen=True)
class Trial:
    """Spectra and what methods made of them.

    Attributes:
        case: Name.
        energy: Centres of the bins inside of the band [keV].
        total: Expected counts, [spectrum].
        error: ln of recovered over true flux by each method, [spectrum, bin].
        each: Whether a bin's band holds the truth, [spectrum, bin], by kind of band.
        together: Whether all bins' simultaneous bands do, [spectrum], by kind.
        band_total: Expected counts of the spectra whose bands were made.
        seconds: Of the training.
    """

    case: str
    energy: Float[np.ndarray, " bin"]
    total: Float[np.ndarray, " spectrum"]
    error: dict[str, Float[np.ndarray, "spectrum bin"]]
    each: dict[str, Bool[np.ndarray, "banded bin"]]
    together: dict[str, Bool[np.ndarray, " banded"]]
    band_total: Float[np.ndarray, " banded"]
    seconds: float


def richardson_lucy(
    matrix: Float[np.ndarray, "channel bin"],
    counts: Float[np.ndarray, "spectrum channel"],
    iterations: int,
) -> Float[np.ndarray, "spectrum bin"]:
    """Log flux after some iterations, from the counts over the effective area.

    Empty bins hold half a count at the end.

    Source: Richardson (1972), JOSA 62, 55; Lucy (1974), AJ 79, 745.
    """
    area = matrix.sum(0)
    flux = np.exp(counts_over_area(matrix, counts))
    for _ in range(iterations):
        expected = np.maximum(flux @ matrix.T, 1e-10)
        flux = flux * ((counts / expected) @ matrix) / area
    return np.log(np.maximum(flux, 0.5 / area))


def counts_over_area(
    matrix: Float[np.ndarray, "channel bin"],
    counts: Float[np.ndarray, "spectrum channel"],
) -> Float[np.ndarray, "spectrum bin"]:
    """Log of the counts of each bin's line-spread function over the effective area.

    Empty bins hold half a count.
    """
    share = matrix / matrix.sum(1, keepdims=True)
    return np.log(np.maximum(counts @ share, 0.5) / matrix.sum(0))


def run_trial(case: Case, given: argparse.Namespace) -> tuple[Trial, Unfolder]:
    """Train, and unfold what was not in the training."""
    simulator = case.target().simulator
    start, key = time.perf_counter(), jax.random.key(0)
    network = train_unfolder(
        key,
        case.observations,
        simulator,
        spectra=given.simulations,
        steps=given.steps,
        per_resolution=given.bins,
    )
    seconds = time.perf_counter() - start
    plain = Unfolder(key, network.frame.tree, iterations=network.iterations)
    grid = unfolding_grid(case.observations, simulator, per_resolution=given.bins)
    log_flux, expected = training_spectra(
        jax.random.key(1), grid, simulator, given.spectra
    )
    generator = np.random.default_rng(2)
    low, high = np.log(RANGE)
    total = np.exp(generator.uniform(low, high, len(log_flux)))
    true = log_flux + np.log(total)[:, None]
    counts = generator.poisson(expected * total[:, None]).astype(np.float64)
    matrix = grid.matrix.reshape(len(grid.matrix), -1, SPLIT).mean(2)
    recovered = {
        "network": unfold_many(network, counts)[0],
        "Gaussian": unfold_many(plain, counts)[0],
        "Richardson-Lucy": richardson_lucy(matrix, counts, network.iterations),
        "counts / area": counts_over_area(matrix, counts),
    }
    results = [
        unfold(jax.random.key(seed), network, row, simulations=given.repeats)
        for seed, row in enumerate(counts[: given.bands])
    ]
    density = np.exp(true) / np.diff(grid.edges)
    each, together = _covered(results, density[: given.bands, grid.inside])
    trial = Trial(
        case=case.name,
        energy=((grid.edges[1:] + grid.edges[:-1]) / 2)[grid.inside],
        total=total,
        error={name: (v - true)[:, grid.inside] for name, v in recovered.items()},
        each=each,
        together=together,
        band_total=total[: given.bands],
        seconds=seconds,
    )
    return trial, network


def _covered(
    results: list[Unfolding], true: Float[np.ndarray, "spectrum bin"]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Whether the bands hold the truth: of each bin, and of all together."""
    found = []
    for simultaneous in (False, True):
        kinds = {}
        for kind in BANDS:
            limits = [
                result.band(
                    LEVEL, simultaneous=simultaneous, simulated=kind == "simulated"
                )
                for result in results
            ]
            low, high = map(np.array, zip(*limits, strict=True))
            kinds[kind] = (low <= true) & (true <= high)
        found.append(kinds)
    each, together = found
    return each, {kind: inside.all(1) for kind, inside in together.items()}


def error_rows(trial: Trial) -> list[dict[str, Any]]:
    """Errors by decade of counts, of all bins and of those at the ends of the band."""
    rows = []
    for low, high in DECADES:
        chosen = (trial.total >= low) & (trial.total < high)
        banded = (trial.band_total >= low) & (trial.band_total < high)
        row: dict[str, Any] = {"case": trial.case, "from": low, "to": high}
        row |= {"spectra": int(chosen.sum()), "banded": int(banded.sum())}
        for name, error in trial.error.items():
            size = np.abs(error[chosen])
            row[f"{name}: median"] = float(np.median(size))
            row[f"{name}: rms"] = float(np.sqrt((size**2).mean()))
        size = np.abs(trial.error["network"][chosen])
        ends = np.concatenate([size[:, :EDGE], size[:, -EDGE:]], 1)
        row["network at the ends: median"] = float(np.median(ends))
        for kind in BANDS:
            row[f"{kind} bands: each bin"] = float(trial.each[kind][banded].mean())
            row[f"{kind} bands: all"] = float(trial.together[kind][banded].mean())
        rows.append(row | {"training [s]": trial.seconds})
    return rows


def line_rows(case: Case, network: Unfolder, bins: float) -> list[dict[str, Any]]:
    """What becomes of a line narrower than the resolution, at several energies.

    A spectrum of the reference shape with 2 % of its counts in one fine bin, without
    noise: the share of the line's photons that stays in its bin, and within one width
    at half maximum of it.
    """
    simulator = case.target().simulator
    grid = unfolding_grid(case.observations, simulator, per_resolution=bins)
    reference = np.exp(np.asarray(network.frame.tree.reference, np.float64))
    base = network.expected_counts(np.log(reference))
    base = LINE_COUNTS * base / base.sum()
    rows = []
    for energy in (0.7, 1.0, 2.0, 4.0, 7.0):
        place = int(np.searchsorted(grid.fine, energy)) - 1
        column = grid.matrix[:, place]
        photons = LINE_SHARE * LINE_COUNTS / column.sum()
        both = np.stack([base, base + photons * column])
        flux = np.exp(unfold_many(network, both)[0])
        excess = (flux[1] - flux[0]) / photons
        home, near = place // SPLIT, int(np.ceil(bins))
        rows.append(
            {
                "case": case.name,
                "energy [keV]": energy,
                "in its bin": float(excess[home]),
                "within the resolution": float(
                    excess[max(home - near, 0) : home + near + 1].sum()
                ),
                "in all": float(excess.sum()),
            }
        )
    return rows


@mpl.rc_context(STYLE)
def draw(trials: list[Trial]) -> Figure:
    """Errors along counts and energy, and coverage, a column for each instrument."""
    figure = new_figure(4.2 * len(trials), 8, layout="constrained")
    panels = figure.subplots(3, len(trials), squeeze=False)
    for column, trial in zip(panels.T, trials, strict=True):
        _draw_counts(column[0], trial)
        _draw_energy(column[1], trial)
        _draw_coverage(column[2], trial)
        column[0].set_title(trial.case)
    panels[0, 0].legend(loc="upper right")
    return figure


def _draw_counts(axes: Axes, trial: Trial) -> None:
    middle = [np.sqrt(low * high) for low, high in DECADES]
    rows = error_rows(trial)
    for name, colour in zip(METHODS, COLOURS, strict=True):
        values = [row[f"{name}: median"] for row in rows]
        # The two that agree best are both to be seen.
        style = "s--" if name == "Gaussian" else "o-"
        axes.plot(middle, values, style, ms=4, color=colour, label=name)
    axes.set(xscale="log", yscale="log", xlabel="Counts")
    axes.set_ylabel("Median |ln(recovered / true)|")


def _draw_energy(axes: Axes, trial: Trial) -> None:
    for (low, high), style in ((DECADES[1], "--"), (DECADES[3], "-")):
        chosen = (trial.total >= low) & (trial.total < high)
        for name, colour in zip(METHODS, COLOURS, strict=True):
            values = np.median(np.abs(trial.error[name][chosen]), axis=0)
            axes.plot(trial.energy, values, style, color=colour, lw=0.9)
    axes.set(xscale="log", yscale="log", xlabel="Energy [keV]")
    axes.set_ylabel("Median |ln(recovered / true)|")
    axes.set_title("dashed $10^3$-$10^4$ counts, solid $10^5$-$10^6$", fontsize=8)
    label_log_axis(axes.xaxis, trial.energy[0], trial.energy[-1], dense=True)


def _draw_coverage(axes: Axes, trial: Trial) -> None:
    rows = error_rows(trial)
    middle = [np.sqrt(row["from"] * row["to"]) for row in rows]
    for kind, style in zip(BANDS, ("-", ":"), strict=True):
        for name, colour in (("each bin", BLUE), ("all", VERMILION)):
            label = f"{kind} bands: {name}"
            values = [row[label] for row in rows]
            axes.plot(middle, values, f"o{style}", ms=4, color=colour, label=label)
    axes.axhline(LEVEL, color=GREY, ls="--", lw=0.9)
    axes.set(xscale="log", xlabel="Counts", ylim=(0, 1), ylabel="Coverage of bands")
    axes.legend(loc=(0.02, 0.25), ncols=2, fontsize=7)


def main() -> None:
    """Train, unfold, save the figure and the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spectra", type=int, default=1000)
    parser.add_argument("--bands", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--simulations", type=int, default=8000)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--bins", type=float, default=2.0, help="per resolution")
    given = parser.parse_args()
    trials, errors, lines = [], [], []
    for case in (epic_pn(), paper1_pre_burst()):
        trial, network = run_trial(case, given)
        trials.append(trial)
        errors += error_rows(trial)
        lines += line_rows(case, network, given.bins)
    save("unfolding", errors)
    save("unfolding_lines", lines)
    draw(trials).savefig(RESULTS / "unfolding.png")


if __name__ == "__main__":
    main()
