"""What a model could lack: lines along the energy, and all additions side by side."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jsbi.diagnose.missing import Missing
from jsbi.plot.style import (
    BLUE,
    GREY,
    STYLE,
    VERMILION,
    label_log_axis,
    new_figure,
)

LEAST_SHOWN = -3.0  # ln B of an axis at least


@mpl.rc_context(STYLE)
def missing(found: Missing) -> Figure:
    """Bayes factors of a line at each energy, and of every addition.

    Args:
        found: From `find_missing`.
    """
    count = len(found.additions)
    figure = new_figure(8, max(2.6, 1.4 + 0.25 * count), layout="constrained")
    if found.scans:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_scans(left, found)
    else:
        right = figure.subplots()
    _draw_additions(right, found)
    return figure


def _draw_scans(axes: Axes, found: Missing) -> None:
    ends = []
    for scan in found.scans:
        colour = BLUE if scan.emission else VERMILION
        label = "emission" if scan.emission else "absorption"
        axes.step(
            scan.energies, scan.log_bayes, where="mid", color=colour, lw=1, label=label
        )
        ends += [scan.energies[0], scan.energies[-1]]
    axes.axhline(0, color=GREY, lw=0.7)
    axes.set(
        xscale="log",
        xlim=(min(ends), max(ends)),
        xlabel="energy [keV]",
        ylabel="ln $B$ of a line at this energy",
    )
    label_log_axis(axes.xaxis, min(ends), max(ends))
    axes.legend()


def _draw_additions(axes: Axes, found: Missing) -> None:
    known = [each for each in found.additions if np.isfinite(each.log_bayes)]
    place = np.arange(len(known))[::-1]
    value = np.array([each.log_bayes for each in known])
    error = np.array([each.error for each in known])
    colours = [VERMILION if each in found.flagged else BLUE for each in known]
    axes.barh(place, value, xerr=error, height=0.6, color=colours, alpha=0.8)
    axes.axvline(0, color=GREY, lw=0.7)
    axes.axvline(found.threshold, color=GREY, lw=0.9, ls="--")
    axes.set_title(f"flagged above {found.threshold:g}, dashed")
    axes.set_yticks(place, [each.name for each in known])
    axes.set_xlabel("ln $B$ of the addition")
    low, high = value.min(initial=LEAST_SHOWN), value.max(initial=found.threshold)
    axes.set_xlim(1.1 * low, max(1.15 * high, found.threshold + 2))
    axes.tick_params(axis="y", length=0)
