"""How one parameter of a corner plot is shown: label, range, scale and ticks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axis import Axis
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator

from jsbi.model import find_component
from jsbi.plot.style import common_power, label_log_axis, pretty_unit
from jsbi.posterior import Posterior
from jsbi.simulate import LogNormal, LogUniform, Prior

PANEL = 1.6  # [inch]
CHARACTER = 0.065  # width of a tick label's character [inch]
# A log-normal or log-uniform parameter gets a logarithmic axis over a wider range.
LOG_RATIO = 20.0
TERSE = {  # units too long for an axis
    "(radius / km)^2 / (distance / 10 kpc)^2": "(km / 10 kpc)^2",
    "(inner radius / km)^2 / (distance / 10 kpc)^2 * cos(angle)": "(km / 10 kpc)^2",
}


@dataclass(frozen=True)
class Column:
    """How one parameter is shown: its name, unit, range and scale."""

    name: str
    unit: str
    low: float
    high: float
    scale: str  # "linear" or "log", as corner calls them

    @property
    def power(self) -> int:
        """Power of ten taken out of the tick labels."""
        if self.scale == "log":
            return 0
        return common_power(np.array([self.low, self.high]))

    @property
    def label(self) -> str:
        """Name, and on the next lines the unit with the power of ten."""
        inside = pretty_unit(self.unit, self.power)
        return f"{self.name}\n[{inside}]" if inside else self.name

    @property
    def ticks(self) -> dict[str, float]:
        """Labels and places on a linear axis: round numbers away from its ends."""
        margin = 0.06 * (self.high - self.low)
        labels: dict[str, float] = {}
        for number in (5, 4, 3, 2):
            ticks = MaxNLocator(number).tick_values(self.low, self.high)
            ticks = np.asarray(ticks)
            ticks = ticks[(ticks > self.low + margin) & (ticks < self.high - margin)]
            labels = dict(zip(_same_digits(ticks, self.power), ticks, strict=True))
            if sum(len(label) + 2 for label in labels) * CHARACTER < PANEL:
                break
        return labels

    @property
    def longest(self) -> int:
        """Characters of the longest tick label."""
        return 4 if self.scale == "log" else max(map(len, self.ticks), default=0)

    def edges(self, bins: int) -> Float[np.ndarray, " edge"]:
        """Edges of the histogram on the diagonal."""
        if self.scale == "log":
            return np.geomspace(self.low, self.high, bins + 1)
        return np.linspace(self.low, self.high, bins + 1)


def known_unit(name: str) -> str:
    """The unit that a component states for `component.Parameter`, empty if none does.

    Args:
        name: As in an expression, `powerlaw_2.norm`; any `@observation` is ignored.
    """
    label, _, parameter = name.partition("@")[0].partition(".")
    stem = label.rsplit("_", 1)[0] if label.rpartition("_")[2].isdigit() else label
    try:
        parameters = find_component(stem).parameters().values()
    except ValueError:
        return ""
    return next((known.unit for known in parameters if known.name == parameter), "")


def make_column(
    name: str,
    posteriors: list[Posterior],
    prior: Prior | None,
    truth: float | int | None,
    unit: str | None,
) -> Column:
    """Choose range and scale of a parameter so that all posteriors fit in.

    Args:
        name: The parameter.
        posteriors: All that are drawn.
        prior: Decides whether a logarithmic axis is natural.
        truth: A value that must be inside.
        unit: None for the unit that the component states.
    """
    ranges = [_range(each, name) for each in posteriors]
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    if truth is not None:
        reach = 0.05 * (high - low)
        low, high = min(low, truth - reach), max(high, truth + reach)
    if not high > low:
        reach = 0.01 * abs(low) or 1.0
        low, high = low - reach, high + reach
    scale = "linear"
    if prior is not None and name in prior.names:
        marginal = prior.marginals[prior.names.index(name)]
        logarithmic = isinstance(marginal, LogUniform | LogNormal)
        if logarithmic and low > 0 and high > LOG_RATIO * low:
            scale = "log"
    if unit is None:
        unit = known_unit(name)
    return Column(name, TERSE.get(unit, unit), low, high, scale)


def _range(posterior: Posterior, name: str) -> tuple[float, float]:
    """Nearly all of the weight and a margin, but not beyond the draws."""
    index = posterior.names.index(name)
    draws = posterior.values[posterior.log_weight > -50, index]
    low, high = (posterior.quantile(p)[index] for p in (0.001, 0.999))
    margin = 0.08 * (high - low)
    return max(low - margin, draws.min()), min(high + margin, draws.max())


def _same_digits(ticks: Float[np.ndarray, " tick"], power: int) -> list[str]:
    texts = [f"{tick:.8g}" for tick in ticks / 10.0**power]
    decimals = max((len(text.partition(".")[2]) for text in texts), default=0)
    return [f"{float(text):.{decimals}f}" for text in texts]


def set_ticks(axis: Axis, column: Column, *, shown: bool) -> None:
    """Give an axis the column's ticks, with labels if they are shown."""
    if column.scale == "log":
        label_log_axis(axis, column.low, column.high, most=5)
    else:
        ticks = column.ticks
        axis.set_major_locator(FixedLocator(list(ticks.values())))
        axis.set_major_formatter(FixedFormatter(list(ticks)))
    axis.set_tick_params(which="both", labelbottom=shown, labelleft=shown)
    for label in axis.get_ticklabels():
        label.set_rotation(0)
