"""OGIP table models on the device: spectra interpolated on a grid of parameters."""

import functools
import itertools
import math
import os
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jsbi.data import TableModel, read_table_model
from jsbi.data.tables import PathLike, find_file
from jsbi.instrument import EnergyGrid
from jsbi.model.component import Multiplicative, Parameter, Scalar, SpectralModel
from jsbi.model.table_grid import SLACK, Axis, Bins

USES = ("atable", "mtable", "etable")
MOST_INTERPOLATED = 12  # parameters: 4096 corners
_UNROLLED = 16  # corners in one fused loop


class Table(eqx.Module):
    """A table model on the device, and how an expression uses it.

    Spectra are interpolated linearly in every parameter, or in its logarithm where the
    file says so: exact at the grid points. Additional parameters multiply spectra of
    their own, which are added. Outside of the grid there is no value: NaN.

    Args:
        model: The table.
        use: "atable", "mtable" or "etable".

    Raises:
        ValueError: If the table is of another kind.
    """

    use: str = eqx.field(static=True)
    redshift: bool = eqx.field(static=True)
    energy_scale: bool = eqx.field(static=True)
    root: float = eqx.field(static=True)  # square root of the unit of the spectra
    strides: tuple[int, ...] = eqx.field(static=True)
    _parameters: tuple[Parameter, ...] = eqx.field(static=True)
    axes: tuple[Axis | None, ...]  # none for a parameter with a single value
    spectra: Float[Array, "point spectrum bin"]
    bins: Bins
    outside: tuple[Scalar, Scalar]

    def __init__(self, model: TableModel, use: str):
        _check_use(model, use)
        additive = use == "atable"
        self.use, self.redshift = use, model.redshift
        self.energy_scale = model.energy_scale
        self._parameters = _parameters(model, additive)
        self.axes = tuple(
            Axis(each) if len(each.values) > 1 else None for each in model.parameters
        )
        grid = [len(each.values) for each in model.parameters]
        self.strides = tuple(math.prod(grid[i + 1 :]) for i in range(len(grid)))
        spectra = np.concatenate([model.spectra[None], model.additions])
        peak = float(np.abs(spectra).max())
        # A power of two, which changes no digit, and whose square may not fit.
        self.root = 2.0 ** round(math.log2(peak) / 2) if additive and peak > 0 else 1.0
        spectra = spectra.reshape(len(spectra), -1, spectra.shape[-1])
        self.spectra = jnp.asarray(np.swapaxes(spectra, 0, 1) / self.root / self.root)
        self.bins = Bins(model.energy_edges)
        below, above = (
            jnp.asarray((0.0 if additive else 1.0) if value is None else value)
            for value in (model.below, model.above)
        )
        self.outside = below, above

    @property
    def kind(self) -> "type[TableSpectrum] | type[TableFactor]":
        """What it builds."""
        return TableSpectrum if self.use == "atable" else TableFactor

    def parameters(self) -> dict[str, Parameter]:
        """Interpolated and additional parameters, redshift, energy scale and norm."""
        return {each.name: each for each in self._parameters}

    def __call__(self, **values: Any) -> Any:
        """Build the component; parameters that are not given take their defaults.

        Raises:
            ValueError: If a value is outside of the grid, where it is known: not inside
                of `jax.jit`, where the component has no value then.
        """
        _check_inside(self, values)
        given = tuple(
            jnp.asarray(values.get(each.name, each.default), jnp.result_type(float))
            for each in self._parameters
        )
        return self.kind(self, given)

    def spectrum(self, values: tuple[Scalar, ...]) -> Float[Array, " bin"]:
        """Interpolate, and add what the additional parameters add."""
        number = len(self.axes)
        parts = _interpolate(self, values[:number])
        additional = values[number : number + len(parts) - 1]
        return sum(
            (x * y for x, y in zip(additional, parts[1:], strict=True)), parts[0]
        )

    def stretch(self, values: tuple[Scalar, ...], grid: EnergyGrid) -> EnergyGrid:
        """A grid in the energies of the table."""
        shifts = list(values[len(self.axes) + self.spectra.shape[1] - 1 :])
        if self.redshift:
            grid = grid.shifted(shifts.pop(0))
        return grid.shifted(1 / shifts[0] - 1) if self.energy_scale else grid

    def redshifted(self, values: tuple[Scalar, ...]) -> Scalar:
        """One plus the redshift."""
        place = len(self.axes) + self.spectra.shape[1] - 1
        return 1 + values[place] if self.redshift else jnp.asarray(1.0)


def _interpolate(
    table: Table, values: tuple[Scalar, ...]
) -> Float[Array, "spectrum bin"]:
    """The weighted sum of the spectra at the corners around a point.

    One corner after the other, so that no batch of points ever holds a copy of all
    their corners; a gradient gathers them again rather than keep them.
    """
    base, corners = jnp.asarray(0, jnp.int32), [(0, jnp.asarray(1.0))]
    for axis, stride, value in zip(table.axes, table.strides, values, strict=True):
        if axis is None:
            continue
        index, fraction = axis.locate(value)
        base = base + stride * index.astype(jnp.int32)
        corners = [
            (step + far * stride, weight * (fraction if far else 1 - fraction))
            for (step, weight), far in itertools.product(corners, (0, 1))
        ]
    steps = jnp.asarray([step for step, _ in corners], jnp.int32)
    weights = jnp.stack([weight for _, weight in corners])

    @jax.checkpoint
    def add(total: Array, corner: tuple[Array, Array]) -> tuple[Array, None]:
        place, weight = corner
        return total + weight * table.spectra[place], None

    empty = jnp.zeros(table.spectra.shape[1:])
    unroll = min(len(corners), _UNROLLED)
    return jax.lax.scan(add, empty, (base + steps, weights), unroll=unroll)[0]


class TableSpectrum(SpectralModel):
    """Photons of a table, `atable`: shared among the bins of a grid by overlap.

    The density is taken as constant inside of each bin of the table. A redshift moves
    the table to lower energies, and divides its photons by 1 + z, at any z: XSPEC does
    not where z is below 0. `Escale` multiplies the energies of the table.

    Source: OGIP memo OGIP/92-009; XSPEC manual, `atable`.
    """

    table: Table
    values: tuple[Scalar, ...]

    @property
    def xspec_name(self) -> str:
        """XSPEC's word for it."""
        return self.table.use

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Share the photons of the table's bins, [photons / cm^2 / s]."""
        table, values, norm = self.table, self.values[:-1], self.values[-1]
        content = table.spectrum(values)
        photons = table.bins.integrate(
            content / table.bins.width,
            content,
            table.outside,
            table.stretch(values, grid),
        )
        return photons / table.redshifted(values) * (norm * table.root) * table.root


class TableFactor(Multiplicative):
    """A factor of a table, `mtable`, or exp(-table), `etable`: the mean over a bin.

    The mean of exp(-table) is taken, where XSPEC takes exp(-mean of table): they differ
    where bins of the grid are wider than those of the table.

    Source: OGIP memo OGIP/92-009; XSPEC manual, `mtable` and `etable`.
    """

    table: Table
    values: tuple[Scalar, ...]

    @property
    def xspec_name(self) -> str:
        """XSPEC's word for it."""
        return self.table.use

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Average the factor over each bin."""
        table = self.table
        factor = table.spectrum(self.values)
        if table.use == "etable":
            factor = jnp.exp(-factor)
        own = table.stretch(self.values, grid)
        content = factor * table.bins.width
        return table.bins.integrate(factor, content, table.outside, own) / own.width


def _check_inside(table: Table, values: dict[str, Any]) -> None:
    interpolated = table.parameters().values()
    for axis, parameter in zip(table.axes, list(interpolated), strict=False):
        value = values.get(parameter.name)
        if axis is None or value is None or isinstance(value, Tracer):
            continue
        slack = SLACK * max(abs(parameter.low), abs(parameter.high))
        if not parameter.low - slack <= float(value) <= parameter.high + slack:
            raise ValueError(
                f"{parameter.name!r} must stay in the grid of its table, "
                f"{parameter.low:g} to {parameter.high:g}; got {float(value):g}. A "
                "table has no value outside of it: nothing is extrapolated."
            )


def _check_use(model: TableModel, use: str) -> None:
    if use not in USES:
        raise ValueError(f"A table is used as {', '.join(USES)}; got {use!r}.")
    additive = use == "atable"
    if model.additive is not None and model.additive != additive:
        held, wanted = (
            ("photons", "atable") if model.additive else ("factors", "mtable")
        )
        raise ValueError(
            f"{use} must be given a table of {'photons' if additive else 'factors'}; "
            f"this one holds {held} (ADDMODEL = {'T' if model.additive else 'F'}). Did "
            f"you mean {wanted}?"
        )
    interpolated = sum(len(each.values) > 1 for each in model.parameters)
    if interpolated > MOST_INTERPOLATED:
        raise ValueError(
            f"A table may be interpolated in {MOST_INTERPOLATED} parameters; this one "
            f"has {interpolated}."
        )
    if additive and (model.below or model.above):
        raise ValueError(
            "LOELIMIT and HIELIMIT of a table of photons must be 0; they are "
            f"{model.below or 0:g} and {model.above or 0:g}. XSPEC gives that number "
            "to each bin whatever its width: results would depend on the binning."
        )


def _parameters(model: TableModel, additive: bool) -> tuple[Parameter, ...]:
    found = [
        Parameter(
            name=_label(each.name),
            default=float(each.initial or 0.0),
            low=each.range[0],
            high=each.range[1],
            unit="",
            frozen=(each.delta or 0.0) < 0 or len(each.values) == 1,
        )
        for each in (*model.parameters, *model.additional)
    ]
    if model.redshift:
        found.append(Parameter("z", 0.0, -0.999, 10.0, "", frozen=True))
    if model.energy_scale:
        found.append(Parameter("Escale", 1.0, 0.01, 100.0, "", frozen=True))
    if additive:
        found.append(Parameter("norm", 1.0, 0.0, 1e24, ""))
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        repeated = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(
            f"Each parameter of a table must have a name of its own; {repeated!r} is "
            f"there twice, among {', '.join(names)}."
        )
    return tuple(found)


def _label(name: str) -> str:
    """A name without blanks, which would end it in a tie or a table of results."""
    return "_".join(name.split())


def load_table(path: PathLike, use: str) -> Table:
    """Read a table model and put it on the device, once while the file is the same.

    Args:
        path: The file; `.gz` may be added or missing.
        use: "atable", "mtable" or "etable".

    Raises:
        OSError: If there is no such file.
        ValueError: If the file is damaged, or the table of another kind.
    """
    found = find_file(path, "table model").resolve()
    state = os.stat(found)
    held = jnp.result_type(float).name
    return _load(str(found), use, held, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=8)
def _load(path: str, use: str, held: str, changed: int, size: int) -> Table:
    """What `load_table` returns; all arguments but two say when to read again."""
    try:
        # The arrays outlive whatever may be traced now.
        with jax.ensure_compile_time_eval():
            return Table(read_table_model(path), use)
    except ValueError as error:
        text = str(error)
        prefix = "" if text.startswith(path) else f"{path}: "
        raise ValueError(prefix + text) from error
