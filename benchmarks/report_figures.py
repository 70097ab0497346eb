"""Figures of the report: accuracy against cost, and how cost grows."""

import statistics
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.accuracy import SHIFT
from benchmarks.summary import ORDER, SBI, Summary
from jsbi.plot.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    STYLE,
    VERMILION,
    label_log_axis,
    new_figure,
)

PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "black", GREY)
COLOUR = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(ORDER)}
LEAST_SHIFT = 1e-4  # that a logarithmic axis shows
PANELS = (
    ("first trusted answer [s]", "first"),
    ("warm fit [s]", "warm"),
    ("evaluations and simulations per effective draw", "cost"),
)


def marker(method: str) -> str:
    """Round where a network was asked for, square elsewhere; crosses from the ninth."""
    second = ORDER.index(method) >= len(PALETTE)
    if method in SBI:
        return "P" if second else "o"
    return "X" if second else "s"


@mpl.rc_context(STYLE)
def draw_case(summaries: list[Summary]) -> Figure:
    """Largest shift of a mean against three costs; hollow is not sound."""
    figure = new_figure(11, 3.4, layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True)
    known = [s for s in summaries if s.distances("shift")]
    for axes, (label, kind) in zip(panels, PANELS, strict=True):
        for each in known:
            cost = _cost(each, kind)
            if cost is None:
                continue
            shifts = [max(shift, LEAST_SHIFT) for shift in each.distances("shift")]
            middle = statistics.median(shifts)
            options: dict[str, Any] = {"color": COLOUR[each.method], "zorder": 3}
            axes.plot([cost, cost], [min(shifts), max(shifts)], lw=1, **options)
            axes.plot(
                cost,
                middle,
                marker(each.method),
                ms=7,
                mfc=COLOUR[each.method] if each.sound else "white",
                label=each.method,
                **options,
            )
        axes.axhline(SHIFT, color=GREY, lw=0.8, ls="--", zorder=0)
        axes.set(xscale="log", yscale="log", xlabel=label)
        axes.margins(0.12)
        label_log_axis(axes.xaxis, *axes.get_xlim())
    label_log_axis(panels[0].yaxis, *panels[0].get_ylim())
    panels[0].set_ylabel("largest shift of a mean [sd]")
    handles: dict[str, Any] = {}
    for axes in panels:
        found, names = axes.get_legend_handles_labels()
        handles |= dict(zip(names, found, strict=True))
    if handles:
        figure.legend(
            handles.values(), handles.keys(), loc="outside right upper", handlelength=1
        )
    figure.suptitle(summaries[0].case, fontsize=9)
    return figure


def _cost(summary: Summary, kind: str) -> float | None:
    if kind == "first":
        # Without a trusted answer, that of the first.
        return summary.first_trusted or summary.result.get("first answer [s]")
    values = summary.warm if kind == "warm" else summary.cost
    return statistics.median(values) if values else None


@mpl.rc_context(STYLE)
def draw_scaling(
    families: dict[str, dict[str, list[tuple[int, Summary]]]],
) -> Figure:
    """Seconds and work of every family against its size; hollow is not sound."""
    figure = new_figure(3 * len(families) + 1.2, 5.2, layout="constrained")
    panels = figure.subplots(2, len(families), sharex="col", squeeze=False)
    handles: dict[str, Any] = {}
    for column, (family, methods) in enumerate(families.items()):
        for method, members in methods.items():
            done = [
                (size, each, grown)
                for size, each in members
                if (grown := each.grown) is not None
            ]
            for row in range(2):
                axes = panels[row, column]
                sizes = [size for size, *_ in done]
                values = [grown[row] for *_, grown in done]
                colour = COLOUR[method]
                axes.plot(sizes, values, color=colour, lw=1)
                for size, value, (_, each, _) in zip(sizes, values, done, strict=True):
                    fill = colour if each.sound else "white"
                    (point,) = axes.plot(
                        size, value, marker(method), color=colour, mfc=fill, ms=5
                    )
                    handles.setdefault(method, point)
        for row, label in enumerate(("seconds, compiled", "evaluations + simulations")):
            axes = panels[row, column]
            axes.set(xscale="log", yscale="log")
            label_log_axis(axes.xaxis, *axes.get_xlim())
            label_log_axis(axes.yaxis, *axes.get_ylim(), dense=True)
            if not column:
                panels[row, column].set_ylabel(label)
        panels[1, column].set_xlabel(family)
    figure.legend(
        handles.values(), handles.keys(), loc="outside right upper", handlelength=1
    )
    return figure
