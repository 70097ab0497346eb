"""Are the ranks of the truths uniform, and do regions hold as many as they should?"""

import math
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jsbi.diagnose.calibration import (
    FALSE_ALARM,
    TARP,
    Calibration,
    binomial_band,
    bootstrap_band,
)
from jsbi.diagnose.uniformity import distribution, uniform_band
from jsbi.plot.style import (
    BLUE,
    GREEN,
    GREY,
    LIGHT_GREY,
    STYLE,
    VERMILION,
    new_figure,
)

PANEL = 2.4  # [inch]
COLUMNS = (4, 3)  # to choose from
HIGH = 1.3  # of the limits of ranks, in widths of the band


def calibration(
    after: Calibration,
    before: Calibration | None = None,
    local: Calibration | None = None,
    *,
    false_alarm: float = FALSE_ALARM,
) -> Figure:
    """Ranks of the truth in every quantity, and coverage of two kinds of regions.

    The first panels show the share of the truths with a smaller rank, minus the rank.
    Uniform ranks leave the dark band somewhere in 5 % of all cases, and the pale band
    in any of the panels in `false_alarm`. Then follow the shares of the truths that
    regions hold: those of highest density, with 95 % of what is expected at each level,
    and TARP's balls around reference points, with 95 % of what other trials would give.

    Args:
        after: Of the posteriors; the bands are for its number of trials.
        before: Of the same draws without their weights.
        local: At the observation.
        false_alarm: As in `Calibration.passed`.
    """
    shown = {"before": (before, VERMILION), "at the observation": (local, GREEN)}
    shown |= {"after": (after, BLUE)}
    curves = {
        name: (each, color) for name, (each, color) in shown.items() if each is not None
    }
    ranked = after.quantities[:-1]
    number = len(ranked) + 2
    columns = min(COLUMNS, key=lambda each: -number % each)
    rows = math.ceil(number / columns)
    with mpl.rc_context(STYLE):
        size = PANEL * columns, (PANEL + 0.1) * rows + 0.3
        figure = new_figure(*size, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for name, axes in zip(ranked, panels, strict=False):
            _draw_ranks(axes, curves, name, after, false_alarm)
        _draw_regions(panels[number - 2], curves, after)
        _draw_tarp(panels[number - 1], curves)
        for axes in panels[number:]:
            axes.set_axis_off()
        lines, labels = panels[0].get_legend_handles_labels()
        figure.legend(lines, labels, loc="outside upper center", ncols=len(lines))
    return figure


def _draw_ranks(
    axes: Axes,
    curves: dict[str, tuple[Calibration, str]],
    quantity: str,
    after: Calibration,
    false_alarm: float,
) -> None:
    chances = 0.05, false_alarm / len(after.quantities)
    narrow, wide = (uniform_band(after.trials, chance) for chance in chances)
    limit = HIGH * (wide.high - wide.at).max()
    for band, shade in ((wide, LIGHT_GREY), (narrow, "#CFCFCF")):
        bounds = band.low - band.at, band.high - band.at
        axes.fill_between(band.at, *bounds, color=shade, lw=0)
    axes.axhline(0, color=GREY, lw=0.8, ls=":")
    for name, (each, color) in curves.items():
        at, share = distribution(each.of(quantity))
        axes.plot(at, share - at, color=color, label=name)
        limit = max(limit, 1.05 * np.abs(share - at).max())
    axes.set(xlim=(0, 1), ylim=(-limit, limit), xlabel="Rank of the truth")
    axes.set(title=quantity, xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_xticklabels(["0", "", "0.5", "", "1"])
    grid: Any = axes.get_subplotspec()
    if grid.is_first_col():
        axes.set_ylabel("Share below $-$ rank")


def _draw_regions(
    axes: Axes, curves: dict[str, tuple[Calibration, str]], after: Calibration
) -> None:
    levels = np.linspace(0, 1, 101)
    axes.fill_between(
        levels, *binomial_band(after.trials, levels), color=LIGHT_GREY, lw=0
    )
    for each, color in curves.values():
        axes.plot(levels, each.coverage(levels), color=color)
    _finish(axes, "Highest density")


def _draw_tarp(axes: Axes, curves: dict[str, tuple[Calibration, str]]) -> None:
    for each, color in curves.values():
        at, share = distribution(each.of(TARP))
        low, high = bootstrap_band(each.of(TARP))
        axes.fill_between(at, low, high, color=color, alpha=0.15, lw=0)
        axes.plot(at, share, color=color)
    _finish(axes, "TARP")


def _finish(axes: Axes, title: str) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    axes.set(xlim=(0, 1), ylim=(0, 1), title=title, xlabel="Level of the region")
    axes.set(xticks=[0, 0.25, 0.5, 0.75, 1], yticks=[0, 0.25, 0.5, 0.75, 1])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticklabels(["0", "", "0.5", "", "1"])
    axes.set_ylabel("Share of truths inside")
