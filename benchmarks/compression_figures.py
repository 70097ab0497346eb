"""Figures of `benchmarks.compression`."""

from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from benchmarks.case import Case
from jsbi.plot.style import BLUE, GREEN, GREY, STYLE, VERMILION, new_figure

LINES = (6.2, 6.9)  # [keV], where those of iron are at the redshifts of the cases
TOGETHER = 12  # bins drawn as one in the whole spectrum
COLUMNS = {
    "width / exact": "width before reweighting\n/ exact",
    "efficiency": "importance-sampling\nefficiency",
    "lost [nat]": "information lost to\nthe best [nat]",
    "trained in [s / 1000 steps]": "training\n[s / 1000 steps]",
}


@mpl.rc_context(STYLE)
def draw_comparison(rows: list[dict[str, Any]], title: str) -> Figure:
    """Bars of what matters, one per compressor."""
    figure = new_figure(10, 0.9 + 0.32 * len(rows), layout="constrained")
    panels = figure.subplots(1, len(COLUMNS), sharey=True)
    place = np.arange(len(rows))[::-1]
    for axes, (column, label) in zip(panels, COLUMNS.items(), strict=True):
        values = [row[column] for row in rows]
        axes.barh(place, values, color=BLUE, height=0.65)
        if column == "lost [nat]":
            errors = [row["its error"] for row in rows]
            axes.errorbar(values, place, xerr=errors, fmt="none", color=GREY)
        for height, value in zip(place, values, strict=True):
            axes.annotate(
                f"{value:.2g}",
                (value, height),
                (3, 0),
                textcoords="offset points",
                va="center",
            )
        axes.margins(x=0.35)
        axes.set_xlabel(label)
    panels[0].axvline(1, color=VERMILION, lw=0.9)
    panels[0].set_yticks(place, [row["compressor"] for row in rows])
    figure.suptitle(title, fontsize=9)
    return figure


@mpl.rc_context(STYLE)
def draw_reconstruction(
    case: Case, reconstructed: Float[np.ndarray, " channel"]
) -> Figure:
    """Counts, truth and an auto-encoder's reconstruction, and residuals.

    Args:
        case: One with a truth.
        reconstructed: Expected counts.
    """
    (observation,) = case.observations
    assert case.truth is not None
    expected = case.target().simulator.fold(case.model(**case.truth))
    series = np.stack(
        [observation.binned_counts, np.asarray(expected, np.float64), reconstructed]
    )
    low, high = observation.bin_low, observation.bin_high
    inside = (low >= LINES[0]) & (high <= LINES[1])
    figure = new_figure(9, 4.6, layout="constrained")
    panels = figure.subplots(2, 2, sharex="col", height_ratios=[2, 1])
    _draw_column(panels[:, 0], low, high, series, TOGETHER)
    _draw_column(panels[:, 1], low[inside], high[inside], series[:, inside], 1)
    panels[0, 0].set(xscale="log", yscale="log")
    panels[0, 0].legend()
    panels[0, 0].set_ylabel("counts / keV")
    panels[1, 0].set_ylabel("deviations")
    for axes in panels[1]:
        axes.set_xlabel("energy [keV]")
    panels[0, 0].set_title(f"{case.name}, {TOGETHER} bins together", loc="left")
    panels[0, 1].set_title("lines, every bin", loc="left")
    return figure


def _draw_column(
    panels: np.ndarray,
    low: Float[np.ndarray, " channel"],
    high: Float[np.ndarray, " channel"],
    series: Float[np.ndarray, "three channel"],
    together: int,
) -> None:
    """Draw counts, truth and reconstruction above, residuals below."""
    first = np.arange(0, len(low), together)
    width = np.add.reduceat(high - low, first)
    centre = 0.5 * (low[first] + np.maximum.reduceat(high, first))
    counts, truth, fitted = np.add.reduceat(series, first, axis=1)
    top, bottom = panels
    top.plot(centre, counts / width, ".", color=GREY, ms=2.5, label="counts")
    top.plot(centre, truth / width, color=GREEN, lw=1.6, label="truth")
    top.plot(centre, fitted / width, color=VERMILION, lw=0.9, label="reconstruction")
    residual = (counts - fitted) / np.sqrt(fitted)
    bottom.plot(centre, residual, ".", color=GREY, ms=2.5)
    bottom.plot(centre, (truth - fitted) / np.sqrt(fitted), color=GREEN)
    bottom.axhline(0, color=VERMILION, lw=0.9)
