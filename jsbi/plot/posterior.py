"""Corner plots of weighted draws."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from corner import corner as draw_corner
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import ndtr

from jsbi.plot.columns import CHARACTER, PANEL, Column, make_column, set_ticks
from jsbi.plot.contours import draw_contours, weight_density
from jsbi.plot.style import (
    BLUE,
    GREEN,
    GREY,
    STYLE,
    VERMILION,
    measured,
    new_figure,
)
from jsbi.posterior import Posterior
from jsbi.simulate import Prior

MARGINS = {"left": 0.8, "bottom": 1.0, "right": 0.2, "top": 0.5}  # [inch]


def corner(
    posterior: Posterior,
    *,
    prior: Prior | None = None,
    reference: Posterior | None = None,
    truth: Mapping[str, float | int] | None = None,
    units: Mapping[str, str] | None = None,
) -> Figure:
    """Marginals of every parameter and of every pair, in physical units.

    Contours hold 68 and 95 % of the weight. Titles give the median and the 16 to 84 %
    interval. A parameter with a log-uniform or log-normal prior has a logarithmic axis
    where its posterior is wide.

    Args:
        posterior: Weighted draws.
        prior: Drawn as its marginal densities on the diagonal, dashed, to scale.
        reference: A second posterior of the same parameters, drawn as lines.
        truth: Values to mark, by parameter.
        units: Units by parameter, such as `1e22 / cm^2`; they go before those that the
            components state.

    Raises:
        ValueError: If `reference` lacks a parameter, or `truth` or `units` name one
            that the posterior does not have.
    """
    _check_names(posterior, reference, truth or {}, units or {})
    both = [posterior] if reference is None else [posterior, reference]
    columns = [
        make_column(name, both, prior, (truth or {}).get(name), (units or {}).get(name))
        for name in posterior.names
    ]
    effective = min(each.effective_draws for each in both)
    with mpl.rc_context(STYLE):
        figure = _empty_figure(columns)
        _draw(figure, posterior, columns, effective, BLUE, filled=True)
        if reference is not None:
            _draw(figure, reference, columns, effective, VERMILION, filled=False)
        grid = np.array(figure.axes).reshape(len(columns), len(columns))
        for i, column in enumerate(columns):
            if prior is not None:
                _draw_prior(grid[i, i], prior, column, _bins(effective))
            if truth is not None and column.name in truth:
                _draw_truth(grid, i, truth[column.name])
        _arrange(figure, grid, columns, posterior)
        _legend(figure, grid, both, prior, truth)
    return figure


def _check_names(
    posterior: Posterior,
    reference: Posterior | None,
    truth: Mapping[str, float | int],
    units: Mapping[str, str],
) -> None:
    known = set(posterior.names)
    if reference is not None and known - set(reference.names):
        raise ValueError(
            "`reference` must have the parameters of the posterior; it lacks "
            f"{', '.join(sorted(known - set(reference.names)))}. Of another model?"
        )
    for what, given in (("truth", truth), ("units", units)):
        if set(given) - known:
            raise ValueError(
                f"`{what}` may name only {', '.join(posterior.names)}; got "
                f"{', '.join(sorted(set(given) - known))}. A fixed parameter?"
            )


def _bins(effective: float) -> int:
    return int(np.clip(2 * effective ** (1 / 3), 12, 40))


def _empty_figure(columns: list[Column]) -> Figure:
    """A figure whose margins hold the labels."""
    size = len(columns) * PANEL * (1.6 if len(columns) == 1 else 1.08)
    left = MARGINS["left"] + CHARACTER * max(column.longest for column in columns)
    left = 0.4 if len(columns) == 1 else left
    width = size + left + MARGINS["right"]
    height = size + MARGINS["bottom"] + MARGINS["top"]
    figure = new_figure(width, height)
    figure.subplots(len(columns), len(columns))
    figure.subplots_adjust(
        left=left / width,
        bottom=MARGINS["bottom"] / height,
        right=1 - MARGINS["right"] / width,
        top=1 - MARGINS["top"] / height,
        wspace=0.06,
        hspace=0.06,
    )
    return figure


def _draw(
    figure: Figure,
    posterior: Posterior,
    columns: list[Column],
    effective: float,
    color: str,
    *,
    filled: bool,
) -> None:
    index = [posterior.names.index(column.name) for column in columns]
    values = posterior.values[:, index]
    margins = figure.subplotpars
    kept = {side: getattr(margins, side) for side in (*MARGINS, "wspace", "hspace")}
    options: dict[str, Any] = {
        "range": [(column.low, column.high) for column in columns],
        "axes_scale": [column.scale for column in columns],
        "plot_datapoints": False,
        "plot_density": False,
        "plot_contours": False,
        "hist_kwargs": {"linewidth": 1.2},
    }
    draw_corner(
        values,
        weights=posterior.weights,
        fig=figure,
        bins=_bins(effective),
        smooth1d=0.7,
        color=color,
        **options,
    )
    figure.subplots_adjust(**kept)
    grid = np.array(figure.axes).reshape(len(columns), len(columns))
    shown = [
        np.log(v) if c.scale == "log" else v
        for c, v in zip(columns, values.T, strict=True)
    ]
    for row, column in zip(*np.tril_indices(len(columns), -1), strict=True):
        pair = np.stack([shown[column], shown[row]])
        density = weight_density(pair, posterior.weights, effective)
        if density is not None:
            scales = columns[column].scale, columns[row].scale
            draw_contours(grid[row, column], density, scales, color, filled=filled)


def _draw_prior(axes: Axes, prior: Prior, column: Column, bins: int) -> None:
    """The prior's probability of each bin of the diagonal's histogram."""
    if column.name not in prior.names:
        return
    edges = column.edges(bins)
    mass = np.diff(_prior_below(prior, column.name, edges))
    axes.plot((edges[1:] + edges[:-1]) / 2, mass, color=GREY, ls="--", lw=0.9)


def _prior_below(
    prior: Prior, name: str, values: Float[np.ndarray, " value"]
) -> Float[np.ndarray, " value"]:
    """Prior probability below each value, by inverting the map from z ~ N(0, 1)."""
    z = np.linspace(-8.0, 8.0, 4001)
    marginal = prior.marginals[prior.names.index(name)]
    mapped = jax.vmap(marginal)(jnp.asarray(z, jnp.result_type(float)))
    return ndtr(np.interp(values, np.asarray(mapped, np.float64), z, -np.inf, np.inf))


def _draw_truth(grid: np.ndarray, index: int, value: float | int) -> None:
    for axes in grid[index:, index]:
        axes.axvline(value, color=GREEN, lw=1.1)
    for axes in grid[index, :index]:
        axes.axhline(value, color=GREEN, lw=1.1)


def _arrange(
    figure: Figure, grid: np.ndarray, columns: list[Column], posterior: Posterior
) -> None:
    """Margins, ticks, labels and titles."""
    low, middle, high = (posterior.quantile(p) for p in (0.16, 0.5, 0.84))
    side = grid[0, 0].get_position().width * figure.get_size_inches()[0]
    away = 0.17 + CHARACTER * max(column.longest for column in columns)  # [inch]
    for i, column in enumerate(columns):
        text = measured(low[i], middle[i], high[i])
        size = 8 if "(" in text else 9
        grid[i, i].set_title(f"{column.name}\n{text}", pad=5, fontsize=size)
        for axes in grid[i:, i]:
            set_ticks(axes.xaxis, column, shown=axes is grid[-1, i])
        for axes in grid[i, :i]:
            set_ticks(axes.yaxis, column, shown=axes is grid[i, 0])
        grid[-1, i].set_xlabel(column.label)
        grid[-1, i].xaxis.set_label_coords(0.5, -0.27 / side)
        if i > 0:
            grid[i, 0].set_ylabel(column.label)
            grid[i, 0].yaxis.set_label_coords(-away / side, 0.5)


def _legend(
    figure: Figure,
    grid: np.ndarray,
    posteriors: list[Posterior],
    prior: Prior | None,
    truth: Mapping[str, float | int] | None,
) -> None:
    names = [each.method or "posterior" for each in posteriors]
    if len(names) == 2 and names[0] == names[1]:
        names[1] += " (reference)"
    lines = [
        Line2D([], [], color=color, label=name)
        for color, name in zip((BLUE, VERMILION), names, strict=False)
    ]
    if prior is not None:
        lines.append(Line2D([], [], color=GREY, ls="--", lw=0.9, label="prior"))
    if truth:
        lines.append(Line2D([], [], color=GREEN, lw=1.1, label="truth"))
    if len(grid) == 1:
        grid[0, 0].legend(handles=lines, handlelength=1.2)
        return
    box = grid[0, -1].get_position()
    figure.legend(
        handles=lines, loc="upper right", bbox_to_anchor=(box.x1, box.y1), fontsize=9
    )
