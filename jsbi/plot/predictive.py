"""Predictive checks: bands, probabilities of the counts, cumulative residuals."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import ndtri
from scipy.stats import kstwo

from jsbi.diagnose.predictive import Predictive
from jsbi.plot.style import (
    BLUE,
    GREEN,
    GREY,
    LIGHT_GREY,
    ORANGE,
    PURPLE,
    STYLE,
    VERMILION,
    label_log_axis,
    new_figure,
)

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE)
MOST = 8.0  # deviations; beyond, a probability is too small to be one


def predictive(checks: Predictive) -> Figure:
    """What the posterior predicts, beside the data.

    Above: counts of each band, as the normal deviate of their predicted probability,
    and the excess of its C statistic, both in standard deviations. Below, left:
    distribution of the predicted probabilities of all bins, minus that of uniform
    ones, with the band that holds 95 % of the curves of a true model. Right: counts
    minus a model of as many counts, added up from the lowest bin, in roots of the
    counts, with plus and minus two standard deviations for a known shape.

    Args:
        checks: From `jsbi.diagnose.predictive_checks`.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(7.0, 5.4, layout="constrained")
        grid = figure.add_gridspec(2, 2)
        _draw_bands(figure.add_subplot(grid[0, :]), checks)
        _draw_probabilities(figure.add_subplot(grid[1, 0]), checks)
        _draw_cumulative(figure.add_subplot(grid[1, 1]), checks)
    return figure


def _parts(checks: Predictive, values: np.ndarray) -> list[np.ndarray]:
    """Values of each observation."""
    return np.split(values, np.cumsum(checks.sizes)[:-1])


def _known(checks: Predictive) -> bool:
    return not np.isnan(checks.bands.bands.low).any()


def _draw_bands(axes: Axes, checks: Predictive) -> None:
    bands = checks.bands.bands
    deviate = np.clip(ndtri(checks.band_below), -MOST, MOST)
    axes.axhspan(-2, 2, color=LIGHT_GREY, lw=0)
    axes.axhspan(-1, 1, color=GREY, alpha=0.25, lw=0)
    axes.axhline(0, color=GREY, lw=0.8)
    for place, colour in zip(range(len(checks.sizes)), COLOURS * 9, strict=False):
        own = bands.observation == place
        low, high = bands.low[own], bands.high[own]
        if not _known(checks):
            low, high = np.arange(own.sum()) + 0.6, np.arange(own.sum()) + 1.4
        low = np.where(low > 0, low, high / 2)
        # Observations share bands; beside one another they can be told apart.
        middle = np.sqrt(low * high) * (high / low) ** (0.1 * place)
        axes.hlines(deviate[own], low, high, color=colour, lw=1.6)
        name = f" {place + 1}" if len(checks.sizes) > 1 else ""
        axes.plot(middle, deviate[own], "o", ms=5, color=colour, label="counts" + name)
        pull = checks.bands.pull[own]
        style = {"mfc": "white", "color": colour, "ms": 5}
        axes.plot(middle, pull, "s", **style, label="C-stat" + name)
    reach = max(3.2, 1.15 * np.abs([deviate, checks.bands.pull]).max())
    axes.set(ylim=(-reach, reach), ylabel="Off [standard deviations]")
    axes.set_title(
        f"bands and runs: $p$ = {checks.p_value:.2g};  {checks.runs} runs, expected "
        f"{checks.runs_expected:.1f}, $p$ = {checks.runs_p_value:.2g}"
    )
    _label_energy(axes, checks, "Band")
    axes.legend(ncols=4, loc="lower right")


def _label_energy(axes: Axes, checks: Predictive, otherwise: str) -> None:
    if not _known(checks):
        axes.set_xlabel(otherwise)
        return
    low = checks.energy.min() / 1.05
    high = max(checks.bands.bands.high.max(), checks.energy.max()) * 1.05
    axes.set(xscale="log", xlim=(low, high), xlabel="Energy [keV]")
    label_log_axis(axes.xaxis, low, high, dense=otherwise == "Band")


def _draw_probabilities(axes: Axes, checks: Predictive) -> None:
    band = kstwo.ppf(0.95, len(checks.below))
    axes.fill_between([0, 1], -band, band, color=LIGHT_GREY, lw=0)
    axes.axhline(0, color=GREY, lw=0.8)
    below = np.sort(checks.below)
    share = np.arange(1, len(below) + 1) / len(below)
    axes.step(below, share - below, where="post", color=BLUE)
    reach = 1.5 * max(band, np.abs(share - below).max())
    axes.set(xlim=(0, 1), ylim=(-reach, reach))
    axes.set_xlabel("Predicted probability of fewer counts")
    axes.set_ylabel("Share of bins below, minus it")
    axes.set_title(f"all bins: $p$ = {checks.uniform_p_value:.2g}")


def _draw_cumulative(axes: Axes, checks: Predictive) -> None:
    parts = [_parts(checks, x) for x in (checks.energy, checks.counts, checks.expected)]
    most = 1.2
    for place, (energy, counts, expected) in enumerate(zip(*parts, strict=True)):
        total = max(expected.sum(), 1e-30)
        share = np.cumsum(expected) / total
        ours = counts.sum()
        apart = (np.cumsum(counts) - ours * share) / np.sqrt(max(ours, 1.0))
        colour = COLOURS[place % len(COLOURS)]
        spread = 2 * np.sqrt(np.maximum(share * (1 - share), 0.0))
        axes.fill_between(energy, -spread, spread, color=colour, alpha=0.15, lw=0)
        axes.step(energy, apart, where="mid", color=colour)
        most = max(most, 1.15 * np.abs(apart).max())
    axes.axhline(0, color=GREY, lw=0.8)
    axes.set(ylim=(-most, most))
    axes.set_ylabel(r"Cumulative residual [$\sqrt{\rm counts}$]")
    _label_energy(axes, checks, "Bin")
