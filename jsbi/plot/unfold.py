"""The unfolded spectrum beside a fitted model."""

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from jsbi.diagnose.unfold import UnfoldedComparison, Unfolding
from jsbi.plot.style import (
    BLUE,
    GREY,
    LIGHT_GREY,
    SKY,
    STYLE,
    VERMILION,
    label_log_axis,
    new_figure,
)

LEVEL = 0.68
DECADES = 4.0  # of the flux density that are shown, at most


def unfolded(comparison: UnfoldedComparison, *, level: float = LEVEL) -> Figure:
    """The unfolded spectrum with its bands, the model, and the pulls below.

    The model is folded and unfolded as the data are, and the energies of the bins are
    about half of the resolution, so that neighbours are not independent. Dashed in the
    lower panel is what the pulls of a right model exceed anywhere with the stated
    false-alarm rate.

    Args:
        comparison: From `jsbi.diagnose.unfold.compare_unfolded`.
        level: Probability inside of the bands.
    """
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(h_pad=0.02, hspace=0.0)
        figure = new_figure(6.4, 4.8, layout=layout)
        top, bottom = figure.subplots(2, 1, height_ratios=[3, 1.2], sharex=True)
        _draw_spectra(top, comparison, level)
        _draw_pulls(bottom, comparison)
        edges = comparison.unfolding.edges
        limits = edges[0] / 1.03, edges[-1] * 1.03
        bottom.set(xscale="log", xlim=limits, xlabel="Energy [keV]")
        label_log_axis(bottom.xaxis, *limits, dense=True)
        top.tick_params(which="both", labelbottom=False)
    return figure


def _steps(values: Float[np.ndarray, " bin"]) -> Float[np.ndarray, " edge"]:
    """What a step line through the edges needs."""
    return np.append(values, values[-1])


def _draw_spectra(axes: Axes, comparison: UnfoldedComparison, level: float) -> None:
    unfolding, model = comparison.unfolding, np.exp(comparison.log_model)
    edges, percent = unfolding.edges, f"{100 * level:g} %"
    for simultaneous, colour, label in (
        (True, LIGHT_GREY, f"{percent} of all bins together"),
        (False, SKY, f"{percent} of each bin"),
    ):
        low, high = unfolding.band(level, simultaneous=simultaneous)
        axes.fill_between(
            edges,
            _steps(low),
            _steps(high),
            step="post",
            color=colour,
            lw=0,
            label=label,
        )
    axes.step(
        edges, _steps(unfolding.density), where="post", color=BLUE, label="unfolded"
    )
    label = "model, folded and unfolded"
    axes.step(edges, _steps(model), where="post", color=VERMILION, lw=1, label=label)
    low, high = _limits(unfolding, model)
    axes.set(yscale="log", ylim=(low, high))
    axes.set_ylabel("Photons cm$^{-2}$ s$^{-1}$ keV$^{-1}$")
    label_log_axis(axes.yaxis, low, high)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="lower left", handlelength=1.6)


def _limits(
    unfolding: Unfolding, model: Float[np.ndarray, " bin"]
) -> tuple[float, float]:
    """Ends of the axis; very faint bins may fall below it."""
    both = np.concatenate([unfolding.density, model])
    high = 2.0 * both.max()
    return max(0.4 * both.min(), high / 10**DECADES), high


def _draw_pulls(axes: Axes, comparison: UnfoldedComparison) -> None:
    edges, threshold = comparison.unfolding.edges, comparison.threshold
    axes.axhspan(-1, 1, color=LIGHT_GREY, lw=0)
    axes.axhline(0, color=VERMILION, lw=1)
    for side in (-1, 1):
        axes.axhline(side * threshold, color=GREY, ls="--", lw=0.9)
    axes.step(edges, _steps(comparison.pull), where="post", color=BLUE, lw=1)
    reach = 1.25 * max(threshold, comparison.largest)
    axes.set(ylim=(-reach, reach), ylabel="Pull [$\\sigma$]")
    text = (
        f"largest {comparison.largest:.1f}, $p$ = {comparison.p_value:.3g}; dashed: "
        f"{100 * comparison.false_alarm:g} % of right models"
    )
    axes.set_title(text, fontsize=8, loc="right", pad=2)
