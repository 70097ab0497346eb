"""Write any model as an OGIP table model."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits

from jsbi.data.table_model import CLASS, METHODS, TableModel, TableParameter
from jsbi.data.tables import PathLike
from jsbi.store import atomic_path

_LONGEST = 12  # characters of a parameter's name
_SINGLE = np.finfo(np.float32)


def write_table_model(
    path: PathLike,
    function: Callable[..., np.ndarray],
    parameters: Sequence[TableParameter],
    energy_edges: np.ndarray,
    *,
    name: str = "",
    additive: bool = True,
    additional: Sequence[TableParameter] = (),
    redshift: bool = False,
    energy_scale: bool = False,
    below: float | None = None,
    above: float | None = None,
) -> TableModel:
    """Evaluate a function on a grid of parameters and write its table model.

    The file is there completely or not at all: it is written under another name, which
    becomes `path` at the end.

    Args:
        path: File, replaced if it exists; compressed if it ends in `.gz`.
        function: Takes every parameter by its name and returns a number for each energy
            bin: photons / cm^2 / s, a factor, or an exponent for `etable`.
        parameters: What to tabulate, with the values of the grid.
        energy_edges: Edges of the energy bins [keV].
        name: What to call the model; the file's name unless given.
        additive: Whether it gives photons, rather than a factor or an exponent.
        additional: Parameters in which the function is linear; two spectra each serve
            for all their values.
        redshift: Whether readers are to add a redshift as a parameter.
        energy_scale: Whether readers are to add a factor on the energies.
        below: Value below the energies of the table, else 0 (1 for a factor).
        above: Value above them.

    Returns: What was written.

    Raises:
        ValueError: If the grid is not one, or no expression could use the table, or the
            function returns something else than finite numbers for the bins, or is not
            linear in an additional parameter.
        FileNotFoundError: If the folder does not exist.

    Source: OGIP memo OGIP/92-009.
    """
    for each in parameters:
        if each.method == "log" and each.values[0] < 0:
            raise ValueError(
                f"The values of {each.name!r} are to be interpolated in the logarithm, "
                f"so they must not be negative; got {each.values[0]:g}. 'linear'?"
            )
    edges = np.asarray(energy_edges, np.float64)
    shape = (*(len(each.values) for each in parameters), max(len(edges) - 1, 0))
    table = TableModel(
        name=name or str(path).rsplit("/", 1)[-1].split(".")[0],
        unit="photons/cm^2/s" if additive else "",
        additive=additive,
        parameters=tuple(parameters),
        additional=tuple(additional),
        energy_edges=edges,
        spectra=np.broadcast_to(0.0, shape),
        additions=np.broadcast_to(0.0, (len(additional), *shape)),
        redshift=redshift,
        energy_scale=energy_scale,
        below=below,
        above=above,
    )
    # Before the function is called for the whole grid, which may take days.
    _check_usable(path, table)
    spectra = _tabulate(function, parameters, additional, shape[-1])
    table = dataclasses.replace(table, spectra=spectra[0], additions=spectra[1:])
    save_table_model(path, table)
    return table


def _check_usable(path: PathLike, table: TableModel) -> None:
    """Refuse what cannot be written, or what no expression could use."""
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {str(folder)!r}.")
    _check_names(path, table)
    if table.additive and (table.below or table.above):
        raise ValueError(
            f"{path}: a table of photons has none outside of its energies; got "
            f"{table.below or 0:g} below and {table.above or 0:g} above. For a factor?"
        )
    added = {"z": table.redshift, "Escale": table.energy_scale, "norm": table.additive}
    for each in (*table.parameters, *table.additional):
        if added.get(each.name):
            raise ValueError(
                f"{path}: no parameter may be called {each.name!r}: readers of such a "
                "table add one of that name."
            )


def _tabulate(
    function: Callable[..., np.ndarray],
    parameters: Sequence[TableParameter],
    additional: Sequence[TableParameter],
    bins: int,
) -> np.ndarray:
    """Spectra [1 + additional, *grid, bin]: the base, and what each unit adds to it."""
    grid = tuple(len(each.values) for each in parameters)
    names = [each.name for each in parameters]
    none = dict.fromkeys((each.name for each in additional), 0.0)
    spectra = np.empty((1 + len(none), *grid, bins))
    for place in np.ndindex(grid):
        values = (
            float(each.values[i]) for each, i in zip(parameters, place, strict=True)
        )
        point = dict(zip(names, values, strict=True))
        base = _evaluate(function, point | none, bins)
        spectra[(0, *place)] = base
        for i, extra in enumerate(none, start=1):
            unit = _evaluate(function, point | none | {extra: 1.0}, bins)
            spectra[(i, *place)] = unit - base
            if not any(place):
                double = _evaluate(function, point | none | {extra: 2.0}, bins)
                _check_linear(extra, base, unit, double)
    return spectra


def _check_linear(
    name: str, base: np.ndarray, unit: np.ndarray, double: np.ndarray
) -> None:
    """Refuse a parameter whose spectra at 0, 1 and 2 are not equally far apart."""
    tolerance = 1e-4 * np.abs([base, unit, double]).max()
    if np.abs(double - 2 * unit + base).max(initial=0.0) > tolerance:
        raise ValueError(
            f"The function must be linear in the additional parameter {name!r}; it is "
            "not. Give it values, to be interpolated."
        )


def _evaluate(
    function: Callable[..., np.ndarray], point: dict, bins: int
) -> np.ndarray:
    spectrum = np.asarray(function(**point), np.float64)
    if spectrum.shape != (bins,) or not np.all(np.isfinite(spectrum)):
        where = ", ".join(f"{name} {value:g}" for name, value in point.items())
        what = (
            "numbers that are not finite"
            if spectrum.shape == (bins,)
            else f"shape {spectrum.shape}"
        )
        raise ValueError(
            f"The function must return a finite number for each of the {bins} energy "
            f"bins; at {where} it returns {what}. A value at an edge, or per keV?"
        )
    return spectrum


def save_table_model(path: PathLike, table: TableModel) -> None:
    """Write a table model, completely or not at all.

    Energies and grid are written in double precision, the spectra in single, which the
    memo asks for; in double where single cannot hold them.

    Args:
        path: File, replaced if it exists; compressed if it ends in `.gz`.
        table: What to write.

    Raises:
        ValueError: If a name is longer than the format allows.
    """
    _check_names(path, table)
    primary = fits.PrimaryHDU()
    keywords = {
        "CONTENT": "MODEL",
        "MODLNAME": table.name[:_LONGEST],
        "MODLUNIT": table.unit,
        "REDSHIFT": table.redshift,
        "ESCALE": table.energy_scale,
        "ADDMODEL": table.additive,
        "LOELIMIT": table.below,
        "HIELIMIT": table.above,
        "HDUCLASS": "OGIP",
        "HDUCLAS1": CLASS,
        "HDUVERS": "1.2.0",
    }
    primary.header.update({k: v for k, v in keywords.items() if v is not None})
    hdus = [primary, _parameters(table), _energies(table), _spectra(table)]
    with atomic_path(path) as temporary:
        fits.HDUList(hdus).writeto(temporary, overwrite=True)


def _check_names(path: PathLike, table: TableModel) -> None:
    for each in (*table.parameters, *table.additional):
        if len(each.name) > _LONGEST or not each.name.isascii():
            raise ValueError(
                f"{path}: a parameter's name may have {_LONGEST} ASCII characters; got "
                f"{each.name!r}. Shorten it."
            )


def _parameters(table: TableModel) -> fits.BinTableHDU:
    parameters = (*table.parameters, *table.additional)
    most = max(len(each.values) for each in parameters)
    values = np.zeros((len(parameters), most))
    for row, each in zip(values, parameters, strict=True):
        row[: len(each.values)] = each.values
    methods = [METHODS.index(each.method) for each in parameters]
    limits = ("initial", "delta", "minimum", "bottom", "top", "maximum")
    columns = [
        fits.Column("NAME", f"{_LONGEST}A", array=[each.name for each in parameters]),
        fits.Column("METHOD", "J", array=methods),
        *(
            fits.Column(
                limit.upper(), "D", array=[getattr(each, limit) for each in parameters]
            )
            for limit in limits
        ),
        fits.Column("NUMBVALS", "J", array=[len(each.values) for each in parameters]),
        fits.Column("VALUE", f"{most}D", array=values),
    ]
    hdu = _table("PARAMETERS", "PARAMETERS", columns)
    hdu.header["NINTPARM"] = len(table.parameters)
    hdu.header["NADDPARM"] = len(table.additional)
    return hdu


def _energies(table: TableModel) -> fits.BinTableHDU:
    low, high = table.energy_edges[:-1], table.energy_edges[1:]
    columns = [
        fits.Column("ENERG_LO", "D", unit="keV", array=low),
        fits.Column("ENERG_HI", "D", unit="keV", array=high),
    ]
    return _table("ENERGIES", "ENERGIES", columns)


def _spectra(table: TableModel) -> fits.BinTableHDU:
    grid = [each.values for each in table.parameters]
    points = np.array(list(itertools.product(*grid)))
    bins = len(table.energy_edges) - 1
    spectra = {"INTPSPEC": table.spectra} | {
        f"ADDSP{i:03d}": addition for i, addition in enumerate(table.additions, start=1)
    }
    columns = [fits.Column("PARAMVAL", f"{len(grid)}D", array=points)]
    for name, values in spectra.items():
        form = f"{bins}{'E' if _fits_single(values) else 'D'}"
        rows = values.reshape(-1, bins)
        columns.append(fits.Column(name, form, unit=table.unit, array=rows))
    return _table("SPECTRA", "MODEL SPECTRA", columns)


def _fits_single(values: np.ndarray) -> bool:
    """Whether single precision holds the peak, and all that is 1e-12 of it."""
    peak = np.abs(values).max(initial=0.0)
    return bool(peak == 0 or _SINGLE.tiny * 1e12 <= peak <= _SINGLE.max)


def _table(name: str, kind: str, columns: list[fits.Column]) -> fits.BinTableHDU:
    hdu = fits.BinTableHDU.from_columns(columns, name=name)
    hdu.header["HDUCLASS"] = "OGIP"
    hdu.header["HDUCLAS1"] = CLASS
    hdu.header["HDUCLAS2"] = kind
    hdu.header["HDUVERS"] = "1.0.0"
    return hdu
