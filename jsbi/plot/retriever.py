"""How well the parameters can be read back from a summary."""

import math

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jsbi.diagnose.retriever import Retrieval
from jsbi.plot.style import BLUE, GREY, STYLE, VERMILION, new_figure

PANEL = 2.5  # [inch]
COLUMNS = 4


def recovery(retrieval: Retrieval) -> Figure:
    """Retrieved against true parameters of simulations, one panel per parameter.

    On the diagonal the summary keeps the information; a flat cloud is of a parameter
    that the data, or the summary, do not constrain. Beside the diagonal lies van Trees'
    bound from Fisher's information, plus and minus one standard deviation.

    Args:
        retrieval: From `jsbi.diagnose.retrieve_parameters`.
    """
    number = len(retrieval.names)
    columns = min(number, COLUMNS)
    rows = math.ceil(number / columns)
    with mpl.rc_context(STYLE):
        figure = new_figure(PANEL * columns, (PANEL + 0.9) * rows, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for index, axes in enumerate(panels):
            if index < number:
                _draw_panel(axes, retrieval, index)
            else:
                axes.set_axis_off()
        panels[0].legend(loc="upper left", handlelength=1.2, borderpad=0.2)
    return figure


def _draw_panel(axes: Axes, retrieval: Retrieval, index: int) -> None:
    true, retrieved = retrieval.true[:, index], retrieval.retrieved[:, index]
    both = np.concatenate([true, retrieved])
    margin = 0.05 * np.ptp(both)
    ends = np.array([both.min() - margin, both.max() + margin])
    axes.plot(true, retrieved, ".", color=BLUE, ms=2.5, mew=0, alpha=0.5)
    bound = retrieval.bound_sd[index]
    axes.plot(ends, ends, color=GREY, lw=0.8, label="equal")
    axes.plot(ends, ends + bound, color=GREY, lw=0.8, ls=":", label="bound")
    axes.plot(ends, ends - bound, color=GREY, lw=0.8, ls=":")
    slope = retrieval.slope[index]
    middle = retrieved.mean() + slope * (ends - true.mean())
    axes.plot(ends, middle, color=VERMILION, label="regression")
    axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel="True z")
    axes.set_ylabel("Retrieved z")
    axes.set_title("\n".join([retrieval.names[index], *_numbers(retrieval, index)]))


def _numbers(retrieval: Retrieval, index: int) -> list[str]:
    """Lines of a panel's title."""
    to_posterior = retrieval.residual_to_posterior
    lines = [
        f"slope {retrieval.slope[index]:.2f}; residual",
        f"/ prior {retrieval.residual_to_prior[index]:.2f}, "
        f"/ bound {retrieval.residual_to_bound[index]:.2f}",
        f"/ local {retrieval.residual_to_local[index]:.2f}",
    ]
    if to_posterior is not None:
        lines[-1] += f", / posterior {to_posterior[index]:.2f}"
    return lines
