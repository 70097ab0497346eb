"""Figures of `benchmarks.reproduce`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm

from benchmarks.measure import RESULTS
from jsbi.plot.contours import draw_contours, weight_density
from jsbi.plot.style import (
    BLUE,
    DPI,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    STYLE,
    VERMILION,
    label_log_axis,
    new_figure,
)
from jsbi.posterior import Posterior

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE)
BINS = 40
EFFECTIVE = 4000.0  # draws that set the smoothing of contours, the same for all


def picture(name: str, figure: Figure, *, dpi: float | int = DPI) -> None:
    """Write a figure beside the numbers; fewer dots per inch make a smaller file."""
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / f"{name}.png", dpi=dpi)


class Cloud(NamedTuple):
    """Weighted draws in physical units."""

    values: Float[np.ndarray, "draw dim"]
    weights: Float[np.ndarray, " draw"]


def cloud_of(posterior: Posterior) -> Cloud:
    """The draws of a posterior."""
    return Cloud(posterior.values, posterior.weights)


@mpl.rc_context(STYLE)
def draw_overlay(names: Sequence[str], clouds: Mapping[str, Cloud]) -> Figure:
    """Marginals of every parameter and pair, of several posteriors."""
    number = len(names)
    figure = new_figure(2.1 * number, 2.0 * number, layout="constrained")
    grid = figure.subplots(number, number, squeeze=False)
    first = next(iter(clouds.values()))
    mean = first.weights @ first.values
    reach = 4 * np.sqrt(first.weights @ (first.values - mean) ** 2)
    low, high = mean - reach, mean + reach
    for colour, (name, cloud) in zip(COLOURS, clouds.items(), strict=False):
        _draw_cloud(grid, cloud, colour, low, high)
        grid[0, -1].plot([], [], color=colour, label=name)
    for (row, column), axes in np.ndenumerate(grid):
        if column > row:
            axes.set_axis_off()
            continue
        axes.set_xlim(low[column], high[column])
        axes.locator_params(nbins=4)
        if row == number - 1:
            axes.set_xlabel(names[column])
        if column == row:
            axes.set_yticks([])
        else:
            axes.set_ylim(low[row], high[row])
            if column == 0:
                axes.set_ylabel(names[row])
    grid[0, -1].legend(loc="upper right")
    return figure


def _draw_cloud(
    grid: np.ndarray, cloud: Cloud, colour: str, low: np.ndarray, high: np.ndarray
) -> None:
    for row in range(len(grid)):
        edges = np.linspace(low[row], high[row], BINS + 1)
        height, _ = np.histogram(cloud.values[:, row], edges, weights=cloud.weights)
        grid[row, row].stairs(height, edges, color=colour)
        for column in range(row):
            pair = cloud.values[:, [column, row]].T
            density = weight_density(pair, cloud.weights, EFFECTIVE)
            if density is not None:
                axes, scales = grid[row, column], ("linear", "linear")
                draw_contours(axes, density, scales, colour, filled=False)


@mpl.rc_context(STYLE)
def draw_recovery(
    names: Sequence[str],
    truth: Float[np.ndarray, "spectrum dim"],
    quantiles: Mapping[str, Float[np.ndarray, "quantile spectrum dim"]],
    logarithmic: Sequence[bool],
    titles: Mapping[str, Sequence[str]],
) -> Figure:
    """Medians with 68 % bars against the truth: one row per kind of posterior.

    Args:
        names: The parameters.
        truth: In physical units.
        quantiles: At 16, 50 and 84 %, by the kind of posterior.
        logarithmic: Which parameters have logarithmic axes.
        titles: Of each panel, by the kind of posterior.
    """
    figure = new_figure(2.6 * len(names), 2.6 * len(quantiles), layout="constrained")
    panels = figure.subplots(len(quantiles), len(names), squeeze=False)
    for row, (kind, values) in zip(panels, quantiles.items(), strict=True):
        for place, axes in enumerate(row):
            _draw_bars(axes, truth[:, place], values[:, :, place])
            if logarithmic[place]:
                _make_logarithmic(axes)
            axes.set_title(titles[kind][place])
            axes.set_xlabel(f"true {names[place]}")
        row[0].set_ylabel(kind)
    return figure


def _make_logarithmic(axes: Axes) -> None:
    axes.set(xscale="log", yscale="log")
    for axis, ends in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        label_log_axis(axis, *ends)


def _draw_bars(axes: Axes, x: np.ndarray, quantiles: np.ndarray) -> None:
    low, middle, high = quantiles
    axes.plot([x.min(), x.max()], [x.min(), x.max()], color=GREY, lw=0.8)
    bars = [middle - low, high - middle]
    axes.errorbar(x, middle, bars, fmt=".", color=BLUE, ms=3, lw=0.5, alpha=0.7)


@mpl.rc_context(STYLE)
def draw_pulls(pulls: Mapping[str, Float[np.ndarray, " spectrum"]]) -> Figure:
    """Histograms of C statistics in deviations from their expectation."""
    figure = new_figure(3.2 * len(pulls), 2.8, layout="constrained")
    panels = figure.subplots(1, len(pulls), squeeze=False, sharey=True)[0]
    edges = np.linspace(-4, 4, 25)
    x = np.linspace(-4, 4, 200)
    for axes, (name, values) in zip(panels, pulls.items(), strict=True):
        axes.hist(values, edges, density=True, color=BLUE, alpha=0.6)
        axes.plot(x, norm.pdf(x), color=GREY, lw=0.9)
        mean, sd = values.mean(), values.std(ddof=1)
        axes.set_title(f"{name}\nmean {mean:.2f}, deviation {sd:.2f}")
        axes.set_xlabel("(C-stat $-$ expected) / deviation")
    return figure


@mpl.rc_context(STYLE)
def draw_sequence(
    names: Sequence[str],
    total: Float[np.ndarray, " spectrum"],
    truth: Float[np.ndarray, "spectrum dim"],
    quantiles: Float[np.ndarray, "quantile spectrum dim"],
    logarithmic: Sequence[bool],
    trusted: Bool[np.ndarray, " spectrum"],
) -> Figure:
    """Counts and parameters of one spectrum after another."""
    figure = new_figure(6.4, 1.7 * (1 + len(names)), layout="constrained")
    panels = figure.subplots(1 + len(names), 1, sharex=True)
    place = np.arange(1, len(total) + 1)
    panels[0].step(place, total, where="mid", color=GREY)
    panels[0].set(ylabel="counts", yscale="log")
    for column, axes in enumerate(panels[1:]):
        low, middle, high = quantiles[:, :, column]
        bars = np.array([middle - low, high - middle])
        for chosen, colour, label in (
            (trusted, BLUE, "trusted"),
            (~trusted, VERMILION, "not trusted"),
        ):
            if chosen.any():
                x, y = place[chosen], middle[chosen]
                axes.errorbar(
                    x, y, bars[:, chosen], fmt=".", color=colour, lw=1, label=label
                )
        axes.plot(place, truth[:, column], "x", color=GREEN, ms=5, label="truth")
        axes.set_ylabel(names[column])
        if logarithmic[column]:
            axes.set_yscale("log")
    panels[1].legend(ncols=3)
    panels[-1].set_xlabel("spectrum, by counts")
    return figure
