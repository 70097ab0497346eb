"""The data with the folded posterior, and the residuals."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from jsbi.data import Observation
from jsbi.instrument import Folder
from jsbi.model.terms import additive_terms, term_names
from jsbi.plot.errors import poisson_interval
from jsbi.plot.style import (
    BLUE,
    GREEN,
    GREY,
    LIGHT_GREY,
    ORANGE,
    PURPLE,
    SKY,
    STYLE,
    VERMILION,
    label_log_axis,
    new_figure,
)
from jsbi.posterior import Posterior
from jsbi.simulate import Prior, Simulator, deviance_residuals

QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)
Steps = tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]
TERM_COLORS = (GREEN, ORANGE, PURPLE, SKY, BLUE, GREY)


@dataclass(frozen=True)
class _Panel:
    """One observation as it is drawn: energies [keV], counts and model counts."""

    name: str
    bins: int  # fit bins, of which some may share a drawn bin
    low: Float[np.ndarray, " shown"]
    high: Float[np.ndarray, " shown"]
    counts: Float[np.ndarray, " shown"]
    per_count: Float[np.ndarray, " shown"]  # 1 / (exposure * width) [1 / s / keV]
    model: Float[np.ndarray, "quantile shown"]
    terms: dict[str, Float[np.ndarray, " shown"]]


def spectrum(
    posterior: Posterior,
    observation: Observation | tuple[Observation, ...],
    model: Callable[..., Any],
    prior: Prior,
    *,
    draws: int = 200,
    min_counts: float | int = 5,
) -> Figure:
    """Count rates with the folded model of the posterior, and residuals below.

    Error bars are the central 68 % intervals of the Poisson mean (Garwood 1936, which
    the formulae of Gehrels 1986 approximate). The line is the median of the expected
    counts over the draws, bin by bin, the bands hold 68 and 95 % of them; they show
    the uncertainty of the model, without Poisson noise. Thin lines are the medians of
    the additive terms, absorbed as in the model. Residuals are signed roots of the
    deviance, whose squares add up to the C statistic; the grey band is +-1.

    Args:
        posterior: Weighted draws.
        observation: The data; several are drawn side by side.
        model: The model that the posterior is of.
        prior: The prior that the posterior is of.
        draws: How many equal-weight draws to fold.
        min_counts: Adjacent fit bins are drawn as one until it holds this many counts;
            0 draws every fit bin.

    Raises:
        ValueError: If the posterior is of other parameters than the prior.
    """
    posterior.check_names(prior.names)
    given = observation if isinstance(observation, tuple) else (observation,)
    simulator = Simulator(prior, model, tuple(Folder(each) for each in given))
    rows = posterior.resampled_rows(jax.random.key(0), draws)
    z = jnp.asarray(posterior.z[rows], jnp.result_type(float))
    expected = np.asarray(_expected(simulator, z), np.float64)
    parts = np.split(expected, np.cumsum([each.bins for each in given])[:-1], axis=1)
    panels = [
        _panel(each, part, _term_counts(simulator, z, index), min_counts)
        for index, (each, part) in enumerate(zip(given, parts, strict=True))
    ]
    with mpl.rc_context(STYLE):
        return _figure(panels, _statistic(posterior))


@eqx.filter_jit
def _expected(simulator: Simulator, z: Array) -> Array:
    return jax.vmap(simulator.expected_counts)(z)


def _spectral_model(simulator: Simulator, z: Array, index: int) -> Any:
    model = simulator.model(**simulator.prior(z))
    return model[index] if isinstance(model, tuple) else model


def _term_counts(
    simulator: Simulator, z: Float[Array, "draw dim"], index: int
) -> dict[str, Float[np.ndarray, " bin"]]:
    """Median counts of every additive term; empty where there is only one."""
    names = term_names(additive_terms(_spectral_model(simulator, z[0], index)))
    if len(names) < 2:
        return {}
    counts = np.asarray(_fold_terms(simulator, z, index), np.float64)
    return dict(zip(names, np.median(counts, axis=0), strict=True))


@eqx.filter_jit
def _fold_terms(simulator: Simulator, z: Array, index: int) -> Array:
    folder = simulator.folders[index]

    def fold(row):
        terms = additive_terms(_spectral_model(simulator, row, index))
        return jnp.stack([folder(term(folder.grid)) for term in terms])

    return jax.vmap(fold)(z)


def _panel(
    observation: Observation,
    expected: Float[np.ndarray, "draw bin"],
    terms: dict[str, Float[np.ndarray, " bin"]],
    min_counts: float | int,
) -> _Panel:
    low, high = observation.bin_low, observation.bin_high
    first = _first_bins(observation.binned_counts, min_counts)
    width = np.add.reduceat(high - low, first)
    low, high = low[first], np.maximum.reduceat(high, first)
    model = np.add.reduceat(expected, first, axis=1)
    return _Panel(
        name=observation.name,
        bins=observation.bins,
        low=np.where(low > 0, low, high / 2),  # channels may begin at 0 keV
        high=high,
        counts=np.add.reduceat(observation.binned_counts, first),
        per_count=1 / (observation.exposure * width),
        model=np.quantile(model, QUANTILES, axis=0),
        terms={name: np.add.reduceat(term, first) for name, term in terms.items()},
    )


def _first_bins(counts: Float[np.ndarray, " bin"], least: float | int) -> np.ndarray:
    """Where drawn bins begin, so that each holds `least` counts."""
    starts, total = [0], 0.0
    for index, number in enumerate(counts):
        if total >= least and index > starts[-1]:
            starts.append(index)
            total = 0.0
        total += number
    if total < least and len(starts) > 1:
        starts.pop()
    return np.array(starts)


def _statistic(posterior: Posterior) -> str:
    report = posterior.report
    if report is None:
        return ""
    return (
        f"C-stat {report.cstat:.1f} in {report.bins} bins\n"
        f"expected {report.cstat_expected:.1f} $\\pm$ {report.cstat_sd:.1f}"
    )


def _figure(panels: list[_Panel], statistic: str) -> Figure:
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    width = 6.4 if columns == 1 else 4.4 * columns
    layout = ConstrainedLayoutEngine(h_pad=0.02, hspace=0.0)
    figure = new_figure(width, 4.8 * rows, layout=layout)
    ratios = [3, 1.1] * rows
    grid = figure.subplots(2 * rows, columns, height_ratios=ratios, squeeze=False)
    for index in range(rows * columns):
        row, column = divmod(index, columns)
        top, bottom = grid[2 * row, column], grid[2 * row + 1, column]
        bottom.sharex(top)
        top.tick_params(which="both", labelbottom=False)
        if index >= len(panels):
            top.set_axis_off()
            bottom.set_axis_off()
            continue
        _draw_rates(top, panels[index], statistic if index == 0 else "")
        _draw_residuals(bottom, panels[index])
        if column == 0:
            top.set_ylabel("Count rate [counts s$^{-1}$ keV$^{-1}$]")
            bottom.set_ylabel("Residual\n[$\\sigma$]")
    return figure


def _steps(panel: _Panel, values: Float[np.ndarray, " shown"]) -> Steps:
    """Abscissae and ordinates of a step line that breaks where bins do not touch."""
    apart = np.append(panel.low[1:] > panel.high[:-1] * (1 + 1e-6), False)
    gap = np.where(apart, np.nan, values)
    energy = np.stack([panel.low, panel.high, panel.high], 1).ravel()
    return energy, np.stack([values, values, gap], 1).ravel()


def _draw_rates(axes: Axes, panel: _Panel, statistic: str) -> None:
    low, high = poisson_interval(panel.counts)
    rate, bottom, top = (x * panel.per_count for x in (panel.counts, low, high))
    curves = panel.model * panel.per_count
    for term, color in zip(panel.terms.items(), TERM_COLORS * 9, strict=False):
        steps = _steps(panel, term[1] * panel.per_count)
        axes.plot(*steps, color=color, lw=0.9, ls="--", label=term[0])
    for lower, upper, alpha in ((0, 4, 0.22), (1, 3, 0.4)):
        energy, edge = _steps(panel, curves[lower])
        other = _steps(panel, curves[upper])[1]
        label = "68 and 95 %" if lower else None
        axes.fill_between(
            energy, edge, other, color=VERMILION, alpha=alpha, lw=0, label=label
        )
    axes.plot(
        *_steps(panel, curves[2]), color=VERMILION, label="median model", zorder=3
    )
    _points(axes, panel, rate, rate - bottom, top - rate)
    seen = panel.counts > 0
    positive = np.append(bottom[seen], curves[2][curves[2] > 0])
    limits = 0.4 * positive.min(), 2 * max(top.max(), curves[4].max())
    axes.set(xscale="log", yscale="log", ylim=limits)
    label_log_axis(axes.yaxis, *limits)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="upper right", handlelength=1.6)
    shown = len(panel.counts)
    drawn = f"{panel.bins} bins drawn as {shown}" if shown < panel.bins else ""
    notes = "\n".join(text for text in (statistic, drawn) if text)
    axes.text(0.03, 0.04, notes, transform=axes.transAxes, fontsize=8)


def _draw_residuals(axes: Axes, panel: _Panel) -> None:
    counts, median = (
        jnp.asarray(x, jnp.result_type(float)) for x in (panel.counts, panel.model[2])
    )
    residual = -np.asarray(deviance_residuals(counts, median), np.float64)
    axes.axhspan(-1, 1, color=LIGHT_GREY, lw=0)
    axes.axhline(0, color=VERMILION, lw=1.0)
    ones = np.ones_like(residual)
    _points(axes, panel, residual, ones, ones)
    reach = 1.15 * max(3.0, np.abs(residual).max() + 1)
    limits = panel.low[0] / 1.05, panel.high[-1] * 1.05
    axes.set(xscale="log", xlim=limits, ylim=(-reach, reach), xlabel="Energy [keV]")
    label_log_axis(axes.xaxis, *limits, dense=True)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _points(
    axes: Axes,
    panel: _Panel,
    values: Float[np.ndarray, " shown"],
    below: Float[np.ndarray, " shown"],
    above: Float[np.ndarray, " shown"],
) -> None:
    """Crosses as wide as the bins."""
    middle = np.sqrt(panel.low * panel.high)
    axes.errorbar(
        middle,
        values,
        xerr=[middle - panel.low, panel.high - middle],
        yerr=[below, above],
        fmt="none",
        ecolor="black",
        elinewidth=0.7,
        label=panel.name,
        zorder=2,
    )
