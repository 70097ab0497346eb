"""Read OGIP responses: redistribution matrices (RMF), full ones (RSP), areas (ARF)."""

from pathlib import Path

import numpy as np
import scipy.sparse

from jsbi.data.observation import Response
from jsbi.data.tables import PathLike, Table, as_integers, find_table, read_tables

MATRIX_NAMES = ("MATRIX", "SPECRESP MATRIX")


def read_response(rmf: PathLike, arf: PathLike | None = None) -> Response:
    """Read a response from an RMF or RSP file, and an ARF where the area is apart.

    The first energy bin often starts at 0, where no power law can be evaluated; it is
    then made to start at a hundredth of its upper edge. Gaps between energy rows
    become bins without response. Channels in F_CHAN count from its TLMIN keyword, or
    without one from the first channel in EBOUNDS.

    Args:
        rmf: File with a MATRIX or SPECRESP MATRIX extension and EBOUNDS.
        arf: File with a SPECRESP extension on the same energy bins. Without one the
            area is 1 cm^2, right where the matrix includes it (an RSP).

    Returns: The response in float64, sparse.

    Raises:
        OSError: If there is no such file.
        ValueError: If a file is not what it should be, or the two do not match.

    Source: OGIP memos CAL/GEN/92-002 and 92-002a.
    """
    tables = read_tables(rmf, "response")
    matrix = find_matrix(tables)
    bounds = find_table(
        tables, "EBOUNDS table", classes=("RESPONSE", "EBOUNDS"), names=("EBOUNDS",)
    )
    channel = as_integers(bounds.numbers("CHANNEL")).reshape(-1)
    order = np.argsort(channel, kind="stable")
    low, high = matrix.energies("ENERG_LO"), matrix.energies("ENERG_HI")
    area = np.ones(len(low)) if arf is None else _read_area(arf, matrix.path, low, high)
    first = int(channel.min(initial=2**62))
    redistribution = _redistribution(matrix, first, len(channel))
    try:
        low, high, keep = _repair_energies(low, high, redistribution)
        edges, column = _fill_gaps(low, high)
        place = _placement(keep, column, len(edges) - 1)
        return Response(
            energy_edges=edges,
            redistribution=scipy.sparse.csc_array(redistribution @ place),
            area=area @ place,
            channel=channel[order],
            channel_low=bounds.energies("E_MIN").reshape(-1)[order],
            channel_high=bounds.energies("E_MAX").reshape(-1)[order],
        )
    except ValueError as error:
        raise ValueError(f"{matrix.path}: {error}") from error


def find_matrix(tables: list[Table]) -> Table:
    """The matrix extension of a response file."""
    return find_table(
        tables,
        "response matrix",
        classes=("RESPONSE", "RSP_MATRIX"),
        names=MATRIX_NAMES,
    )


def lacks_area(rmf: PathLike) -> bool:
    """Whether a response file says that it holds the redistribution alone."""
    matrix = find_matrix(read_tables(rmf, "response"))
    return str(matrix.keyword("HDUCLAS3", "")).upper() == "REDIST"


def find_area(tables: list[Table]) -> Table:
    """The effective-area extension of an ARF."""
    return find_table(
        tables,
        "table of effective areas",
        classes=("RESPONSE", "SPECRESP"),
        names=("SPECRESP",),
    )


def _read_area(
    arf: PathLike, rmf: Path, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    table = find_area(read_tables(arf, "effective area"))
    area = table.numbers("SPECRESP")
    arf_low, arf_high = table.energies("ENERG_LO"), table.energies("ENERG_HI")
    if area.ndim != 1:
        raise ValueError(
            f"{table.path}: SPECRESP must hold one number in each row; got shape "
            f"{area.shape}. A file with the areas of several spectra?"
        )
    if area.shape != low.shape:
        raise ValueError(
            f"{table.path}: the energy bins must be those of {rmf}, {len(low)} of "
            f"them; got {len(area)}. Files of different instruments or versions?"
        )
    # Single precision, and files that print their energies with few digits.
    tolerance = 0.01 * np.abs(high - low) + 1e-6 * np.abs(high)
    off = (np.abs(arf_low - low) > tolerance) | (np.abs(arf_high - high) > tolerance)
    if off.any():
        first = np.flatnonzero(off)[0]
        raise ValueError(
            f"{table.path}: the energy bins must be those of {rmf}; row {first} spans "
            f"{arf_low[first]:g}-{arf_high[first]:g} keV here and {low[first]:g}-"
            f"{high[first]:g} keV there. Files of different instruments or versions?"
        )
    if not np.all(np.isfinite(area) & (area >= 0)):
        first = np.flatnonzero(~(np.isfinite(area) & (area >= 0)))[0]
        raise ValueError(
            f"{table.path}: SPECRESP must be finite and not negative [cm^2]; row "
            f"{first} holds {area[first]:g}. A damaged or unfinished ARF?"
        )
    return area


def _redistribution(
    table: Table, first_of_bounds: int, detectors: int
) -> scipy.sparse.csc_array:
    """Sparse matrix [detector, row] from the groups of channels of each row."""
    groups = as_integers(table.numbers("N_GRP")).reshape(-1)
    row, first = _leading(table, "F_CHAN", groups)
    _, width = _leading(table, "N_CHAN", groups)
    first, width = as_integers(first), as_integers(width)
    if np.any(width < 0):
        raise ValueError(
            f"{table.path}: N_CHAN must not be negative; got {width.min()}. Damaged?"
        )
    per_row = np.bincount(row, width, len(groups)).astype(np.int64)
    _, values = _leading(table, "MATRIX", per_row)
    base = table.first_channel("F_CHAN")
    base = first_of_bounds if base is None else base
    # Each group's run of channels, all of them in one array.
    start_in_values = np.cumsum(width) - width
    run = np.arange(len(values)) - np.repeat(start_in_values, width)
    detector = np.repeat(first - base, width) + run
    if np.any((detector < 0) | (detector >= detectors)):
        raise ValueError(
            f"{table.path}: F_CHAN and N_CHAN must stay within the {detectors} "
            f"channels of EBOUNDS, counted from {base}; they reach from "
            f"{detector.min() + base} to {detector.max() + base}. A wrong TLMIN "
            "keyword, or EBOUNDS of another matrix?"
        )
    shape = (detectors, len(groups))
    index = (detector, np.repeat(row, width))
    return scipy.sparse.csc_array((values, index), shape)


def _leading(
    table: Table, name: str, number: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The first `number[row]` entries of each row, and their row, both flat.

    Columns may hold one number, a vector or a variable-length array; what follows the
    leading entries is padding, and undefined where there are none.
    """
    values = table.column(name)
    if getattr(values, "dtype", None) == np.dtype(object):
        length = np.fromiter((len(entry) for entry in values), np.int64, len(values))
        filled = [np.asarray(entry) for entry in values if len(entry)]
        flat = np.concatenate(filled) if filled else np.zeros(0)
    else:
        values = np.asarray(values).reshape(len(number), -1)
        length = np.full(len(number), values.shape[1])
        flat = values.reshape(-1)
    short = number > length
    if np.any(short | (number < 0)):
        first = np.flatnonzero(short | (number < 0))[0]
        raise ValueError(
            f"{table.path}: {name} must hold the {number[first]} numbers that row "
            f"{first} announces; it holds {length[first]}. A damaged response?"
        )
    row = np.repeat(np.arange(len(number)), length)
    place = np.arange(len(flat)) - np.repeat(np.cumsum(length) - length, length)
    leading = place < number[row]
    with np.errstate(invalid="ignore"):  # some NaN bit patterns signal
        return row[leading], flat[leading].astype(np.float64)


def _repair_energies(
    low: np.ndarray, high: np.ndarray, redistribution: scipy.sparse.csc_array
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energies in increasing order with a positive start, and that order."""
    order = np.argsort(high, kind="stable")
    low, high = low[order], high[order]
    responds = redistribution[:, [order[0]]].nnz > 0
    if low[0] <= 0 or (low[0] >= high[0] and not responds):
        low[0] = high[0] / 100
    return low, high, order


def _fill_gaps(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Contiguous edges, and the bin that each energy row becomes."""
    bad = np.flatnonzero(~(high > low))
    if bad.size:
        raise ValueError(
            f"ENERG_LO must be below ENERG_HI [keV]; row {bad[0]} spans "
            f"{low[bad[0]]:g} to {high[bad[0]]:g}. A damaged response?"
        )
    step = low[1:] - high[:-1]
    width = np.minimum((high - low)[1:], (high - low)[:-1])
    tolerance = 0.01 * width + 1e-6 * high[:-1]
    overlap = np.flatnonzero(step < -tolerance)
    if overlap.size:
        first = overlap[0]
        raise ValueError(
            f"Energy bins must not overlap; row {first} ends at {high[first]:g} keV, "
            f"after the next begins at {low[first + 1]:g}. A damaged response?"
        )
    gap = step > tolerance
    column = np.arange(len(low)) + np.concatenate([[0], np.cumsum(gap)])
    edges = np.empty(column[-1] + 2)
    edges[column] = low
    edges[column[:-1][gap] + 1] = high[:-1][gap]
    edges[-1] = high[-1]
    return edges, column


def _placement(
    order: np.ndarray, column: np.ndarray, bins: int
) -> scipy.sparse.csc_array:
    """Matrix [row, bin] that moves each energy row of the file to its bin."""
    ones = np.ones(len(order))
    return scipy.sparse.csc_array((ones, (order, column)), (len(order), bins))
