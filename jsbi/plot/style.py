"""What all figures share: colours safe for the colour-blind, sizes, numbers, ticks."""

import math
import re
import textwrap
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

# Source: Okabe & Ito (2008), "Color Universal Design".
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY = "#CC79A7", "#E69F00", "#56B4E9"
GREY, LIGHT_GREY = "#6B6B6B", "#E6E6E6"

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "axes.linewidth": 0.8,
    "axes.formatter.use_mathtext": True,
    "axes.formatter.useoffset": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
}
DPI = 150


def new_figure(width: float | int, height: float | int, **options: Any) -> Figure:
    """A figure of this size [inch] that no window or global list knows of."""
    return Figure(figsize=(width, height), dpi=DPI, **options)


def common_power(values: Float[np.ndarray, "..."]) -> int:
    """The power of ten to take out of numbers so that they read well; often 0."""
    largest = float(np.abs(values).max())
    if largest == 0 or not math.isfinite(largest):
        return 0
    power = math.floor(math.log10(largest))
    return power if power < -2 or power > 3 else 0


def measured(low: float, middle: float, high: float) -> str:
    """A median with its errors as mathematical text, two digits of the smaller error.

    A positive interval over more than a decade is given by its ends.

    Args:
        low: 16 % quantile.
        middle: Median.
        high: 84 % quantile.
    """
    if low > 0 and high > 20 * low:
        ends = " – ".join(_rounded(end, 1) for end in (low, high))
        return f"{_rounded(middle, 2)} ({ends})"
    power = common_power(np.array([low, middle, high]))
    scale = 10.0**power
    minus, plus = (middle - low) / scale, (high - middle) / scale
    errors = [error for error in (minus, plus) if error > 0]
    decimals = 1 - math.floor(math.log10(min(errors))) if errors else 3
    decimals = min(max(decimals, 0), 6)
    text = f"{middle / scale:.{decimals}f}^{{+{plus:.{decimals}f}}}"
    text += f"_{{-{minus:.{decimals}f}}}"
    return f"${text}\\times 10^{{{power}}}$" if power else f"${text}$"


def pretty_unit(unit: str, power: int = 0) -> str:
    """`1e22 / cm^2` as mathematical text, on several lines where it is long.

    Args:
        unit: Powers as `^2`, quotients as ` / `; text with a `$` stays as it is.
        power: Power of ten to write before it.
    """
    front = f"10^{power} " if power else ""
    if "$" in unit:
        return re.sub(r"\^(-?\d+) ", r"$^{\1}$ ", front) + unit
    if "(" not in unit:
        first, *others = unit.split(" / ")
        others = [re.sub(r"^([A-Za-z]+)(?:\^(\d+))?", _inverse, o) for o in others]
        unit = " ".join([first, *others])
    unit = re.sub(r"\b1e([-+]?\d+)", r"10^\1", unit)
    text = "\n".join(textwrap.wrap(front + unit, 27))
    return re.sub(r"\^(-?\d+)", r"$^{\1}$", text)


def _inverse(match: re.Match[str]) -> str:
    return f"{match[1]}^-{match[2] or 1}"


def _rounded(value: float, digits: int) -> str:
    return power_of_ten(float(f"{value:.{digits}g}"), bool(1e-2 <= value < 1e3))


def power_of_ten(value: float, plain: bool = False) -> str:
    """A positive number as `2 x 10^-5` in mathematical text, or as `0.5` if `plain`."""
    if plain:
        return f"{value:g}"
    power = math.floor(math.log10(value) + 1e-9)
    digits = value / 10.0**power
    front = "" if abs(digits - 1) < 1e-6 else f"{digits:.3g}\\times "
    return f"${front}10^{{{power}}}$"


def label_log_axis(
    axis: Axis,
    low: float | int,
    high: float | int,
    *,
    dense: bool = False,
    most: int = 20,
) -> None:
    """Readable ticks on a logarithmic axis: 1, 2, 5, 10 where there is room.

    Args:
        axis: The axis; its limits are set elsewhere.
        low: Lower end of the axis, positive.
        high: Upper end.
        dense: Whether the axis is long, so that there is room.
        most: The most labels.
    """
    decades = math.log10(high / low)
    if decades < 0.6:
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axis.set_minor_locator(NullLocator())
    else:
        few, some = (1.7, 3.0) if dense else (0.0, 1.5)
        subs = (1.0, 2.0, 3.0, 5.0, 7.0) if decades < few else (1.0, 2.0, 5.0)
        subs = subs if decades < some else (1.0,)
        axis.set_major_locator(LogLocator(subs=subs, numticks=most))
        subs = tuple(range(2, 10)) if decades < 5 else (1.0,)
        axis.set_minor_locator(LogLocator(subs=subs, numticks=20))
    plain = bool(low >= 1e-4 and high <= 1e5)
    axis.set_major_formatter(FuncFormatter(lambda x, _: power_of_ten(x, plain)))
    axis.set_minor_formatter(NullFormatter())
