"""Records of OGIP table models: spectra on a grid of parameters."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from jaxtyping import Float

CLASS = "XSPEC TABLE MODEL"  # HDUCLAS1 of all its extensions
METHODS = ("linear", "log")


def _nothing() -> np.ndarray:
    return np.zeros(0)


@dataclass(frozen=True, eq=False)
class TableParameter:
    """A parameter of a table model.

    What is not given follows from the values: the middle one to start from, and the
    ends as limits.

    Attributes:
        name: Its name.
        values: Where spectra are tabulated, increasing; empty for an additional
            parameter, which multiplies a spectrum of its own.
        method: "linear" or "log", how spectra are interpolated between the values.
        initial: Where a fit starts.
        delta: Step of a fit in XSPEC; negative where the parameter is to be fixed.
        minimum: Hard lower limit.
        bottom: Soft lower limit.
        top: Soft upper limit.
        maximum: Hard upper limit.

    Raises:
        ValueError: If the values do not increase, or the limits exclude all of them.
    """

    name: str
    values: Float[np.ndarray, " value"] = field(default_factory=_nothing)
    method: str = "linear"
    initial: float | None = None
    delta: float | None = None
    minimum: float | None = None
    bottom: float | None = None
    top: float | None = None
    maximum: float | None = None

    def __post_init__(self):
        values = np.asarray(self.values, np.float64)
        object.__setattr__(self, "values", values)
        _check_values(self.name, values, self.method)
        ends = (values[0], values[-1]) if values.size else (None, None)
        minimum = _first_given(self.minimum, self.bottom, ends[0])
        maximum = _first_given(self.maximum, self.top, ends[1])
        if minimum is None or maximum is None:
            raise ValueError(
                f"Parameter {self.name!r} has no values, as an additional parameter; "
                "it must then have a minimum and a maximum. Were the values forgotten?"
            )
        bottom = minimum if self.bottom is None else self.bottom
        top = maximum if self.top is None else self.top
        names = ("minimum", "bottom", "top", "maximum")
        for name, value in zip(names, (minimum, bottom, top, maximum), strict=True):
            object.__setattr__(self, name, float(value))
        low, high = self.range
        if not low <= high:
            raise ValueError(
                f"The limits of {self.name!r} must leave values to choose from; they "
                f"are {minimum:g} to {maximum:g}"
                + (
                    f", the tabulated values {ends[0]:g} to {ends[1]:g}"
                    if values.size
                    else ""
                )
                + ". Another unit, or exchanged columns?"
            )
        middle = values[values.size // 2] if values.size else 0.5 * (low + high)
        initial = middle if self.initial is None else self.initial
        object.__setattr__(self, "initial", float(np.clip(initial, low, high)))
        delta = 0.01 * (high - low) if self.delta is None else self.delta
        object.__setattr__(self, "delta", float(delta))

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest value: within the hard limits, and within the grid."""
        assert self.minimum is not None
        assert self.maximum is not None
        if not self.values.size:
            return self.minimum, self.maximum
        return (
            max(self.minimum, float(self.values[0])),
            min(self.maximum, float(self.values[-1])),
        )


def _first_given(*values: float | None) -> float | None:
    """The first that is not `None`."""
    return next((value for value in values if value is not None), None)


def _check_values(name: str, values: np.ndarray, method: str) -> None:
    if not name or method not in METHODS:
        raise ValueError(
            f"A parameter needs a name, and 'linear' or 'log' as method; got {name!r} "
            f"with {method!r}."
        )
    if values.ndim != 1 or not np.all(np.isfinite(values)):
        raise ValueError(
            f"The values of {name!r} must be finite numbers, in a vector; got "
            f"{values.tolist()}. A damaged file?"
        )
    for low, high in pairwise(values):
        if not low < high:
            raise ValueError(
                f"The values of {name!r} must increase; {high:g} follows {low:g}. An "
                "unsorted grid, or more values announced than there are?"
            )


@dataclass(frozen=True, eq=False)
class TableModel:
    """Spectra on a grid of parameters.

    Attributes:
        name: MODLNAME, what its author called it.
        unit: MODLUNIT.
        additive: Whether the spectra are photons / cm^2 / s in each bin, to be added,
            rather than factors or exponents; `None` where the file does not say.
        parameters: The interpolated parameters, in the order of the axes.
        additional: The additional parameters.
        energy_edges: Edges of the energy bins [keV].
        spectra: The spectra where all additional parameters are 0; the axes are those
            of the grid, and the last is energy.
        additions: For each additional parameter what a unit of it adds to the spectra.
        redshift: Whether a redshift is a parameter too.
        energy_scale: Whether a factor on the energies of the table is a parameter too.
        below: Value below the energies of the table, if it is given.
        above: Value above them.

    Raises:
        ValueError: If the parts do not fit together.
    """

    name: str
    unit: str
    additive: bool | None
    parameters: tuple[TableParameter, ...]
    additional: tuple[TableParameter, ...]
    energy_edges: Float[np.ndarray, " edge"]
    spectra: Float[np.ndarray, "*grid bin"]
    additions: Float[np.ndarray, "parameter *grid bin"]
    redshift: bool = False
    energy_scale: bool = False
    below: float | None = None
    above: float | None = None

    def __post_init__(self):
        _check_edges(self.energy_edges)
        names = [each.name for each in (*self.parameters, *self.additional)]
        repeated = [name for i, name in enumerate(names) if name in names[:i]]
        if repeated or not self.parameters:
            raise ValueError(
                "A table model needs interpolated parameters, each with a name of its "
                f"own; got {', '.join(names) or 'none'}. A damaged file?"
            )
        grid = tuple(len(each.values) for each in self.parameters)
        shape = (*grid, len(self.energy_edges) - 1)
        wanted = shape, (len(self.additional), *shape)
        if (self.spectra.shape, self.additions.shape) != wanted or 0 in grid:
            raise ValueError(
                f"The spectra of a grid of {grid} with {shape[-1]} energy bins and "
                f"{len(self.additional)} additional parameters must have shapes "
                f"{wanted}; got {self.spectra.shape}, {self.additions.shape}."
            )
        for spectra in (self.spectra, self.additions):
            if not np.all(np.isfinite(spectra)):
                bad = np.argwhere(~np.isfinite(spectra))[0]
                raise ValueError(
                    "The spectra must be finite; that of grid point "
                    f"{bad[:-1].tolist()} holds {spectra[tuple(bad)]:g} in bin "
                    f"{bad[-1]}. A model that fails at the ends of its parameters?"
                )


def _check_edges(edges: np.ndarray) -> None:
    bad = np.flatnonzero(~((np.diff(edges) > 0) & np.isfinite(edges[1:])))
    if edges.ndim != 1 or len(edges) < 2 or edges[0] < 0 or bad.size:
        where = (
            f"; bin {bad[0]} spans {edges[bad[0]]:g} to {edges[bad[0] + 1]:g}"
            if bad.size
            else f"; got {len(edges)} from {edges[:1]}"
        )
        raise ValueError(
            f"The energies of a table must be at least two edges, increasing and not "
            f"negative [keV]{where}. Wavelengths, or a damaged file?"
        )
