"""Read OGIP table models."""

import re

import numpy as np

from jsbi.data.table_model import CLASS, METHODS, TableModel, TableParameter
from jsbi.data.tables import (
    PathLike,
    Table,
    as_integers,
    find_table,
    read_primary,
    read_tables,
)

PURPOSE = "table model"
_ADDITIONAL = re.compile(r"ADDSP0*([1-9]\d*)")


def read_table_model(path: PathLike) -> TableModel:
    """Read an XSPEC table model.

    Rows of spectra may stand in any order, since each says its grid point. Errors of
    the spectra, where a file has them, are not used.

    Args:
        path: A file with PARAMETERS, ENERGIES and SPECTRA extensions; `.gz` may be
            added or missing.

    Returns: The grid in float64.

    Raises:
        OSError: If there is no such file.
        ValueError: If it is no table model, damaged or inconsistent.

    Source: OGIP memo OGIP/92-009.
    """
    tables = read_tables(path, PURPOSE)
    parameters, energies, spectra = (
        find_table(
            tables, f"table of {what}", classes=(CLASS, hduclass), names=(extension,)
        )
        for what, hduclass, extension in (
            ("parameters", "PARAMETERS", "PARAMETERS"),
            ("energies", "ENERGIES", "ENERGIES"),
            ("spectra", "MODEL SPECTRA", "SPECTRA"),
        )
    )
    primary = read_primary(path, PURPOSE)
    number = _integer(primary, "NXFLTEXP", 1)
    if number != 1:
        raise ValueError(
            f"{primary.path}: a table model must hold one spectrum for each grid "
            f"point; NXFLTEXP announces {number}. Sets chosen by XFLT keywords of the "
            "spectra are not supported."
        )
    try:
        interpolated, additional = _parameters(parameters)
        edges = _edges(energies)
        base, additions = _spectra(spectra, interpolated, len(additional), len(edges))
        return TableModel(
            name=str(primary.keyword("MODLNAME", "")),
            unit=str(primary.keyword("MODLUNIT", "")),
            additive=_logical(primary, "ADDMODEL", None),
            parameters=interpolated,
            additional=additional,
            energy_edges=edges,
            spectra=base,
            additions=additions,
            redshift=bool(_logical(primary, "REDSHIFT", False)),
            energy_scale=bool(_logical(primary, "ESCALE", False)),
            below=_limit(primary, "LOELIMIT"),
            above=_limit(primary, "HIELIMIT"),
        )
    except ValueError as error:
        text = str(error)
        prefix = "" if text.startswith(str(primary.path)) else f"{primary.path}: "
        raise ValueError(prefix + text) from error


def _integer(table: Table, name: str, default: int | None = None) -> int:
    value = table.keyword(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(
            f"{table.path}: the {table.name} header must give {name}, a whole number; "
            f"got {value!r}. A damaged file, or another kind of file?"
        )
    return value


def _logical(table: Table, name: str, default: bool | None) -> bool | None:
    """A keyword that is T or F, also where it is written as text or a number."""
    value = table.keyword(name, default)
    known = {"T": True, "TRUE": True, "1": True, "F": False, "FALSE": False, "0": False}
    if value is default or isinstance(value, bool):
        return value
    if str(value).upper() not in known:
        raise ValueError(
            f"{table.path}: {name} must be T or F; got {value!r}. A damaged header?"
        )
    return known[str(value).upper()]


def _limit(table: Table, name: str) -> float | None:
    """LOELIMIT or HIELIMIT; HEASOFT writes -1 where there is none."""
    value = table.keyword(name)
    if value is None:
        return None
    if isinstance(value, bool | str) or not np.isfinite(value):
        raise ValueError(
            f"{table.path}: {name} must be a number; got {value!r}. A damaged header?"
        )
    return float(value) if value >= 0 else None


def _parameters(
    table: Table,
) -> tuple[tuple[TableParameter, ...], tuple[TableParameter, ...]]:
    """The interpolated and the additional parameters, in the order of the file."""
    names = table.column("NAME")
    interpolated = _integer(table, "NINTPARM")
    additional = _integer(table, "NADDPARM", len(names) - interpolated)
    if interpolated + additional != len(names) or min(interpolated, additional) < 0:
        raise ValueError(
            f"{table.path}: NINTPARM and NADDPARM must add up to the {len(names)} rows "
            f"of PARAMETERS; they are {interpolated} and {additional}. A file that was "
            "edited by hand?"
        )
    found = [_parameter(table, i, i < interpolated) for i in range(len(names))]
    return tuple(found[:interpolated]), tuple(found[interpolated:])


def _parameter(table: Table, row: int, interpolated: bool) -> TableParameter:
    columns = ("INITIAL", "DELTA", "MINIMUM", "BOTTOM", "TOP", "MAXIMUM")
    numbers = {name.lower(): float(table.numbers(name)[row]) for name in columns}
    name = str(table.column("NAME")[row]).strip()
    if not np.all(np.isfinite(list(numbers.values()))):
        raise ValueError(
            f"{table.path}: start, step and limits of parameter {name!r} must be "
            f"finite; got {numbers}. A damaged file?"
        )
    if not interpolated:
        return TableParameter(name, np.zeros(0), "linear", **numbers)
    method, number = (
        int(as_integers(table.numbers(column))[row])
        for column in ("METHOD", "NUMBVALS")
    )
    column = table.column("VALUE")
    ragged = getattr(column, "dtype", None) == np.dtype(object)
    values = np.asarray(column[row], float) if ragged else table.numbers("VALUE")[row]
    values = values.reshape(-1)
    if method not in (0, 1):
        raise ValueError(
            f"{table.path}: METHOD of parameter {name!r} must be 0 (linear) or 1 "
            f"(log); got {method}. A damaged file?"
        )
    if not 1 <= number <= len(values):
        raise ValueError(
            f"{table.path}: NUMBVALS of parameter {name!r} must be 1 to the "
            f"{len(values)} numbers in VALUE; got {number}. A damaged file?"
        )
    return TableParameter(name, values[:number], METHODS[method], **numbers)


def _edges(table: Table) -> np.ndarray:
    low, high = table.energies("ENERG_LO"), table.energies("ENERG_HI")
    if low.ndim != 1 or low.size == 0:
        raise ValueError(
            f"{table.path}: ENERGIES must hold one energy bin in each row; got shape "
            f"{low.shape}. A damaged file?"
        )
    step = low[1:] - high[:-1]
    # Single precision, and files that print their energies with few digits.
    tolerance = 0.01 * np.abs(high - low)[1:] + 1e-6 * np.abs(high[:-1])
    bad = np.flatnonzero(~(np.abs(step) <= tolerance))
    if bad.size:
        raise ValueError(
            f"{table.path}: the energy bins must follow one another without gaps; row "
            f"{bad[0]} ends at {high[bad[0]]:g} keV and the next begins at "
            f"{low[bad[0] + 1]:g}. Bins in decreasing order, or a damaged file?"
        )
    return np.append(low, high[-1])


def _spectra(
    table: Table, parameters: tuple[TableParameter, ...], additional: int, edges: int
) -> tuple[np.ndarray, np.ndarray]:
    """Spectra and additions, in the order of the grid."""
    grid = tuple(len(each.values) for each in parameters)
    columns = {
        int(match[1]): name
        for name in table.columns
        if (match := _ADDITIONAL.fullmatch(name))
    }
    missing = [i + 1 for i in range(additional) if i + 1 not in columns]
    if missing:
        raise ValueError(
            f"{table.path}: SPECTRA must have a column ADDSP{missing[0]:03d} for each "
            f"of the {additional} additional parameters; it has "
            f"{', '.join(table.columns)}. A wrong NADDPARM?"
        )
    order = _order(table, parameters)
    names = ["INTPSPEC", *(columns[i + 1] for i in range(additional))]
    found = np.empty((len(names), len(order), edges - 1))
    for i, name in enumerate(names):
        values = table.numbers(name).reshape(len(order), -1)
        if values.shape[1] not in (edges - 1, 2 * (edges - 1)):
            raise ValueError(
                f"{table.path}: {name} must hold a number for each of the {edges - 1} "
                f"energy bins, or twice as many with errors; it holds "
                f"{values.shape[1]}. ENERGIES of another file?"
            )
        found[i] = values[order, : edges - 1]
    found = found.reshape(len(names), *grid, edges - 1)
    return found[0], found[1:]


def _order(table: Table, parameters: tuple[TableParameter, ...]) -> np.ndarray:
    """The row of each grid point, the last parameter changing fastest."""
    grid = tuple(len(each.values) for each in parameters)
    number = int(np.prod(grid))
    points = table.numbers("PARAMVAL")
    if points.shape[0] != number or points.size != number * len(grid):
        raise ValueError(
            f"{table.path}: SPECTRA must hold a row for each of the {number} points of "
            f"the grid {' x '.join(map(str, grid))}, with {len(grid)} numbers in "
            f"PARAMVAL; got shape {points.shape}. An unfinished or truncated table?"
        )
    points = points.reshape(number, len(grid))
    index = np.empty(points.shape, np.int64)
    for i, parameter in enumerate(parameters):
        values = parameter.values
        index[:, i] = np.searchsorted(0.5 * (values[1:] + values[:-1]), points[:, i])
        steps = np.concatenate([[np.inf], np.diff(values), [np.inf]])
        nearest, step = (
            each[index[:, i]] for each in (values, np.minimum(steps[1:], steps[:-1]))
        )
        # A parameter with one value has no neighbour to be confused with.
        tolerance = 0.01 * step + 1e-6 * np.abs(nearest)
        bad = np.flatnonzero(~(np.abs(points[:, i] - nearest) <= tolerance))
        if bad.size:
            raise ValueError(
                f"{table.path}: PARAMVAL must hold values of the grid; row {bad[0]} "
                f"holds {points[bad[0], i]:g} for {parameter.name!r}, nearest to "
                f"{nearest[bad[0]]:g}. PARAMETERS of another version?"
            )
    row = np.ravel_multi_index(tuple(index.T), grid)
    count = np.bincount(row, minlength=number)
    if np.any(count != 1):
        first = np.unravel_index(int(np.flatnonzero(count == 0)[0]), grid)
        point = ", ".join(
            f"{each.name} {each.values[i]:g}"
            for each, i in zip(parameters, first, strict=True)
        )
        raise ValueError(
            f"{table.path}: SPECTRA must hold each grid point once; {point} is missing "
            "and another is there twice. An unfinished table?"
        )
    return np.argsort(row)
