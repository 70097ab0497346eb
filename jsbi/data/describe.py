"""What an OGIP file holds, as text."""

import numpy as np

from jsbi.data.response import find_area, find_matrix, read_response
from jsbi.data.spectrum import find_spectrum, rows, spectrum_in_table
from jsbi.data.table_model_read import read_table_model
from jsbi.data.tables import PathLike, Table, read_tables


def describe(path: PathLike) -> str:
    """Say in a few lines what an OGIP file holds.

    Args:
        path: A spectrum, response, effective area or table model.

    Returns: Text of several lines.

    Raises:
        OSError: If there is no such file.
        ValueError: If it is not FITS, or damaged.
    """
    tables = read_tables(path)
    for describer, name, *classes in DESCRIBERS:
        if any(t.is_class(*classes) or t.name == name for t in tables):
            return "\n".join([f"{tables[0].path}", *describer(tables)])
    held = (f"  {t.name}: {', '.join(t.columns)}" for t in tables)
    return "\n".join([f"{tables[0].path}", "FITS tables, none of OGIP's:", *held])


def _origin(table: Table) -> str:
    words = [str(table.keyword(k, "") or "") for k in ("TELESCOP", "INSTRUME")]
    target = str(table.keyword("OBJECT", "") or "")
    return " ".join(words).strip() + (f", {target}" if target else "")


def _spectrum(tables: list[Table]) -> list[str]:
    table = find_spectrum(tables)
    number = rows(table)
    lines = [f"spectrum (PHA), {_origin(table)}"]
    for row in [None] if number is None else range(number):
        data = spectrum_in_table(table, row)
        used = data.counts[data.good]
        lines.append(
            f"  {data.name}: {used.sum():g} counts in {len(used)} good channels of "
            f"{len(data.counts)}, {data.exposure:g} s"
        )
    lines.append(f"  response {table.keyword('RESPFILE') or 'none'}")
    lines.append(f"  effective area {table.keyword('ANCRFILE') or 'none'}")
    lines.append(f"  background {table.keyword('BACKFILE') or 'none'}")
    net = str(table.keyword("HDUCLAS2", "")).upper() == "NET"
    if net:
        lines.append("  background already subtracted (HDUCLAS2 = NET)")
    if "SYS_ERR" in table.columns:
        systematic = table.numbers("SYS_ERR")
    else:
        systematic = table.keyword("SYS_ERR", 0)
    if not isinstance(systematic, str) and np.any(systematic > 0):
        lines.append("  systematic errors (SYS_ERR), which are not used")
    return lines


def _matrix(tables: list[Table]) -> list[str]:
    table = find_matrix(tables)
    response = read_response(table.path)
    edges = response.energy_edges
    peak = response.redistribution.sum(axis=0).max()
    return [
        f"response matrix (RMF), {_origin(table)}",
        f"  {len(edges) - 1} energy bins, {edges[0]:.4g}-{edges[-1]:.4g} keV",
        f"  {response.detectors} channels {response.channel[0]}-{response.channel[-1]},"
        f" {response.channel_low.min():.4g}-{response.channel_high.max():.4g} keV",
        f"  {response.redistribution.nnz} elements, columns sum to at most {peak:.4g}",
    ]


def _area(tables: list[Table]) -> list[str]:
    table = find_area(tables)
    area, low = table.numbers("SPECRESP"), table.energies("ENERG_LO")
    high = table.energies("ENERG_HI")
    return [
        f"effective area (ARF), {_origin(table)}",
        f"  {len(area)} energy bins, {low.min():.4g}-{high.max():.4g} keV",
        f"  up to {area.max():.4g} cm^2, at {low[area.argmax()]:.4g} keV",
    ]


def _table_model(tables: list[Table]) -> list[str]:
    table = read_table_model(tables[0].path)
    edges = table.energy_edges
    points = " x ".join(str(len(each.values)) for each in table.parameters)
    kind = "photons (atable)" if table.additive else "factors (mtable, or etable)"
    if table.additive is None:
        kind = "photons or factors, which ADDMODEL does not say"
    lines = [
        f"table model, {len(edges) - 1} energy bins, "
        f"{edges[0]:.4g}-{edges[-1]:.4g} keV",
        f"  {table.name or 'without a name'}, of {kind}, unit {table.unit or 'none'}",
        f"  {points} spectra",
    ]
    for each in table.parameters:
        low, high = each.range
        lines.append(
            f"  {each.name}: {low:g} to {high:g}, {len(each.values)} values, "
            f"{each.method}, initial {each.initial:g}"
        )
    for each in table.additional:
        low, high = each.range
        lines.append(f"  {each.name}: {low:g} to {high:g}, additional")
    lines += ["  a redshift (z)"] * table.redshift
    lines += ["  a factor on the energies (Escale)"] * table.energy_scale
    limits = {"below": table.below, "above": table.above}
    lines += [
        f"  value {where} these energies {value:g}"
        for where, value in limits.items()
        if value is not None
    ]
    return lines


# Function, extension name, and HDUCLAS1, HDUCLAS2, ... of each kind of file.
DESCRIBERS = (
    (_spectrum, "SPECTRUM", "SPECTRUM"),
    (_matrix, "MATRIX", "RESPONSE", "RSP_MATRIX"),
    (_matrix, "SPECRESP MATRIX", "RESPONSE", "RSP_MATRIX"),
    (_area, "SPECRESP", "RESPONSE", "SPECRESP"),
    (_table_model, "PARAMETERS", "XSPEC TABLE MODEL"),
)
