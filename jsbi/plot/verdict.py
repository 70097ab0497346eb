"""What supports a verdict: weights or chains, fit statistic, convergence."""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from jsbi.plot.style import (
    BLUE,
    GREEN,
    GREY,
    LIGHT_GREY,
    ORANGE,
    STYLE,
    VERMILION,
    label_log_axis,
    new_figure,
)
from jsbi.posterior import Posterior

BLOCKS = 8  # consecutive parts of a chain whose means are compared
COLORS = {"trusted": GREEN, "usable": ORANGE, "not trusted": VERMILION}
Losses = Float[np.ndarray, " step"] | Mapping[str, Float[np.ndarray, " step"]]


def diagnostics(posterior: Posterior, *, losses: Losses | None = None) -> Figure:
    """What supports the verdict, which heads the figure with its reasons.

    Left: the importance weights in order, or the trace of the parameter that mixes
    worst where the draws are of chains. Middle: the C statistic over the draws, beside
    what is expected of data from the best draw. Right: the evidence, or the posterior
    means, from the first n draws.

    Args:
        posterior: Weighted draws.
        losses: Training losses of every step, or several of them by name, for a
            further panel.
    """
    lines = _reasons(posterior)
    height = 3.0 + 0.16 * (len(lines) + 1.8)
    number = 3 if losses is None else 4
    with mpl.rc_context(STYLE):
        figure = new_figure(3.25 * number, height, layout="constrained")
        ratios = [height - 3.0, 3.0]
        parts: Any = figure.subfigures(2, 1, height_ratios=ratios)
        head, body = parts
        _draw_head(head, posterior, lines, height - 3.0)
        panels = body.subplots(1, number)
        weighted = not math.isnan(posterior.pareto_k)
        (_draw_weights if weighted else _draw_trace)(panels[0], posterior)
        _draw_statistic(panels[1], posterior)
        (_draw_evidence if weighted else _draw_means)(panels[2], posterior)
        if losses is not None:
            _draw_losses(panels[3], losses)
    return figure


def _reasons(posterior: Posterior) -> list[str]:
    if posterior.report is None:
        return []
    wrapped = (textwrap.wrap(reason, 150) for reason in posterior.report.reasons)
    return [line for lines in wrapped for line in lines]


def _draw_head(
    head: SubFigure, posterior: Posterior, lines: list[str], height: float
) -> None:
    verdict = "not judged" if posterior.report is None else posterior.report.verdict
    title = f"Verdict: {verdict}"
    if posterior.method:
        title += f" (by {posterior.method})"
    top = 1 - 0.06 / height
    color = COLORS.get(verdict, "black")
    head.text(0.01, top, title, va="top", weight="bold", color=color, fontsize=10)
    below = 1 - 0.27 / height
    head.text(0.01, below, "\n".join(lines), va="top", fontsize=8, linespacing=1.3)


def _draw_weights(axes: Axes, posterior: Posterior) -> None:
    """Weights in units of their mean, largest first."""
    ordered = np.sort(posterior.weights)[::-1] * posterior.draws
    ordered = ordered[ordered > 1e-6]
    rank = np.arange(1, len(ordered) + 1)
    limits = max(0.5 * ordered[-1], 1e-3), 3 * max(ordered[0], 2.0)
    tail = min(posterior.draws // 5, math.ceil(3 * math.sqrt(posterior.draws)))
    axes.axhline(1.0, color=GREY, lw=0.8, ls=":")
    axes.plot(rank, ordered, color=BLUE)
    label = f"tail, Pareto k {posterior.pareto_k:.2f}"
    axes.plot(rank[:tail], ordered[:tail], color=VERMILION, lw=2, label=label)
    axes.set(xscale="log", yscale="log", xlim=(1, posterior.draws), ylim=limits)
    label_log_axis(axes.xaxis, 1, max(posterior.draws, 10))
    label_log_axis(axes.yaxis, *limits)
    axes.set(xlabel="Draw, by weight", ylabel="Weight / mean weight")
    axes.set_title(_effective(posterior))
    axes.legend(loc="upper right", handlelength=1.2)


def _effective(posterior: Posterior) -> str:
    percent = 100 * posterior.efficiency
    share = f"{percent:.0f}" if percent >= 10 else f"{percent:.2g}"
    effective = f"{posterior.effective_draws:,.0f} effective"
    return f"{effective} of {posterior.draws:,} draws ({share} %)"


def _scaled(posterior: Posterior) -> Float[np.ndarray, "draw dim"]:
    """The coordinates z in standard deviations from their posterior mean."""
    apart = posterior.z - posterior.weights @ posterior.z
    sd = np.sqrt(posterior.weights @ apart**2)
    return apart / np.where(sd > 0, sd, 1.0)


def _worst(scaled: Float[np.ndarray, "draw dim"]) -> int:
    """The parameter whose means over consecutive blocks scatter most."""
    blocks = np.array_split(scaled, min(BLOCKS, len(scaled)))
    return int(np.argmax(np.std([block.mean(0) for block in blocks], axis=0)))


def _draw_trace(axes: Axes, posterior: Posterior) -> None:
    scaled = _scaled(posterior)
    worst = _worst(scaled)
    shown = np.arange(0, posterior.draws, max(posterior.draws // 4000, 1))
    axes.plot(
        shown,
        scaled[shown, worst],
        ".",
        color=BLUE,
        ms=1.5,
        mew=0,
        alpha=0.6,
        rasterized=True,
    )
    edges = np.linspace(0, posterior.draws, BLOCKS + 1).astype(int)
    pairs = list(zip(edges[:-1], edges[1:], strict=True))
    means = [scaled[a:b, worst].mean() for a, b in pairs if b > a]
    starts = [a for a, b in pairs if b > a]
    axes.stairs(
        means, [*starts, posterior.draws], baseline=None, color=VERMILION, lw=1.4
    )
    axes.axhline(0, color=GREY, lw=0.8, ls=":")
    axes.set(xlim=(0, posterior.draws), ylim=(-4.5, 4.5), xlabel="Draw")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_ylabel(f"{posterior.names[worst]} [sd of z]")
    axes.set_title(_effective(posterior))


def _draw_statistic(axes: Axes, posterior: Posterior) -> None:
    known = np.isfinite(posterior.log_likelihood) & (posterior.weights > 0)
    statistic = -2 * posterior.log_likelihood[known]
    weights = posterior.weights[known]
    order = np.argsort(statistic)
    below = np.cumsum(weights[order]) / weights.sum()
    low, high = np.interp([0.0, 0.998], below, statistic[order])
    axes.hist(
        statistic,
        bins=list(np.linspace(low, high if high > low else low + 1, 41)),
        weights=weights,
        histtype="stepfilled",
        color=BLUE,
        alpha=0.75,
        label="posterior draws",
    )
    report = posterior.report
    if report is not None and math.isfinite(report.cstat_expected):
        middle, sd = report.cstat_expected, report.cstat_sd
        axes.axvspan(middle - sd, middle + sd, color=LIGHT_GREY, lw=0, zorder=0)
        axes.axvline(middle, color=GREY, lw=1.0, ls="--", label="expected")
        axes.axvline(report.cstat, color=VERMILION, label="best draw")
        expected = f"expected {middle:.1f} $\\pm$ {sd:.1f}"
        axes.set_title(f"{report.cstat:.1f} in {report.bins} bins, {expected}")
    axes.set_ylim(0, 1.5 * axes.get_ylim()[1])
    axes.set(xlabel="C statistic", ylabel="Posterior probability", yticks=[])
    axes.legend(loc="upper left", handlelength=1.2, frameon=True, edgecolor="none")


def _draw_evidence(axes: Axes, posterior: Posterior) -> None:
    """The evidence from the first n draws in random order, and its error."""
    shuffled = np.random.default_rng(0).permutation(posterior.log_weight)
    number = np.arange(1, posterior.draws + 1)
    running = np.logaddexp.accumulate(shuffled) + math.log(posterior.draws)
    running -= np.log(number)
    known = math.isfinite(posterior.log_evidence)
    final = posterior.log_evidence if known else 0.0
    sd = np.sqrt(max(1 / posterior.efficiency - 1, 0.0) / number)
    first = min(max(100, posterior.draws // 200), posterior.draws - 1)
    number, running, sd = number[first:], running[first:] + final, sd[first:]
    axes.fill_between(number, final - sd, final + sd, color=LIGHT_GREY, lw=0)
    axes.axhline(final, color=GREY, lw=0.8, ls=":")
    axes.plot(number, np.where(np.isfinite(running), running, np.nan), color=BLUE)
    axes.set(xscale="log", xlim=(number[0], number[-1]), xlabel="Draws")
    label_log_axis(axes.xaxis, int(number[0]), int(number[-1]))
    axes.set_ylabel("ln Z" if known else "ln Z, relative to all draws")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if known:
        error = posterior.log_evidence_error
        axes.set_title(f"$\\ln Z = {final:.3f} \\pm {error:.3f}$")


def _draw_means(axes: Axes, posterior: Posterior) -> None:
    """Means of the first n draws of every parameter, and their error."""
    scaled, weights = _scaled(posterior), posterior.weights
    running = np.cumsum(weights[:, None] * scaled, 0)
    running /= np.maximum(np.cumsum(weights), 1e-300)[:, None]
    number = np.arange(1, posterior.draws + 1)
    sd = 1 / np.sqrt(np.maximum(number * posterior.efficiency, 1))
    worst = _worst(scaled)
    axes.fill_between(number, -sd, sd, color=LIGHT_GREY, lw=0)
    axes.plot(number, np.delete(running, worst, axis=1), color=BLUE, lw=0.8, alpha=0.6)
    label = posterior.names[worst]
    axes.plot(number, running[:, worst], color=VERMILION, label=label)
    axes.axhline(0, color=GREY, lw=0.8, ls=":")
    axes.set(xlim=(0, posterior.draws), ylim=(-0.5, 0.5), xlabel="Draws")
    axes.set_ylabel("Mean of the first draws [sd of z]")
    if not math.isnan(posterior.r_hat):
        axes.set_title(f"R-hat at worst {posterior.r_hat:.4f}")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.legend(loc="upper right", handlelength=1.2)


def _draw_losses(axes: Axes, losses: Losses) -> None:
    named = losses if isinstance(losses, Mapping) else {"": losses}
    for (name, values), color in zip(
        named.items(), (BLUE, VERMILION, GREEN, ORANGE, GREY) * 9, strict=False
    ):
        values = np.asarray(values, np.float64)
        window = max(len(values) // 100, 1)
        kept = values[: len(values) // window * window].reshape(-1, window)
        steps = window * (np.arange(len(kept)) + 0.5)
        axes.plot(steps, kept.mean(1), color=color, label=name or None)
    axes.set(xlabel="Step of training", ylabel="Loss")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    if any(named):
        axes.legend(loc="upper right", handlelength=1.2)
