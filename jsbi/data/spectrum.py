"""Read one OGIP spectrum (PHA), of type I or II, without its response."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jsbi.data.observation import Background, Response
from jsbi.data.tables import PathLike, Table, as_integers, find_table, read_tables


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What a spectrum file says, one entry per channel in the file.

    Attributes:
        path: The file.
        name: File name without its ending, and the row of a type II file.
        channel: Channel numbers, increasing; `None` where the file has none.
        counts: Counts; the rate times the exposure where the file holds a rate.
        exposure: Live time [s].
        area_scale: AREASCAL.
        back_scale: BACKSCAL.
        flags: OGIP GROUPING, `None` where the file has none.
        good: QUALITY is 0.
        files: Values of RESPFILE, ANCRFILE and BACKFILE.
        net: A background has been subtracted from the counts.
    """

    path: Path
    name: str
    channel: np.ndarray | None
    counts: np.ndarray
    exposure: float
    area_scale: np.ndarray
    back_scale: np.ndarray
    flags: np.ndarray | None
    good: np.ndarray
    files: dict[str, Any]
    net: bool = False


def read_spectrum(
    path: PathLike, *, row: int | None = None, purpose: str = "spectrum"
) -> Spectrum:
    """Read a PHA file.

    COUNTS or RATE, and the other quantities as column or keyword, are understood.
    STAT_ERR and SYS_ERR are not used: the likelihood is Poisson.

    Args:
        path: File with a SPECTRUM extension.
        row: Row of a type II file, from 0.
        purpose: What it is read for, for messages.

    Returns: The spectrum, sorted by channel.

    Raises:
        OSError: If there is no such file.
        ValueError: If it is not a spectrum, or `row` is missing or out of range.

    Source: OGIP memos OGIP/92-007 and 92-007a.
    """
    return spectrum_in_table(find_spectrum(read_tables(path, purpose)), row, purpose)


def spectrum_in_table(
    table: Table, row: int | None = None, purpose: str = "spectrum"
) -> Spectrum:
    """The spectrum in a table that has been read; see `read_spectrum`."""
    row = _choose_row(table, row)
    name = "COUNTS" if "COUNTS" in table.columns else "RATE"
    if name not in table.columns:
        raise ValueError(
            f"{table.path}: a {purpose} must have a COUNTS or RATE column; it has "
            f"{', '.join(table.columns)}. Another kind of file?"
        )
    exposure = _exposure(table, row)
    counts = _vector(table, name, row, None) * (1.0 if name == "COUNTS" else exposure)
    channel = None
    order = np.arange(len(counts))
    if "CHANNEL" in table.columns:
        channel = as_integers(_vector(table, "CHANNEL", row, len(counts)))
        order = np.argsort(channel, kind="stable")
        channel = channel[order]
    flags = _integers(table, "GROUPING", row, len(counts))[order]
    stem = table.path.name.removesuffix(".gz").rpartition(".")[0] or table.path.name
    return Spectrum(
        path=table.path,
        name=stem if row is None else f"{stem}[{row}]",
        channel=channel,
        counts=counts[order],
        exposure=exposure,
        area_scale=_vector(table, "AREASCAL", row, len(counts), 1.0)[order],
        back_scale=_vector(table, "BACKSCAL", row, len(counts), 1.0)[order],
        flags=flags if flags.any() else None,
        good=_integers(table, "QUALITY", row, len(counts))[order] == 0,
        files={
            key: _cell(table, key, row) for key in ("RESPFILE", "ANCRFILE", "BACKFILE")
        },
        net=str(table.keyword("HDUCLAS2", "")).strip().upper() == "NET",
    )


def find_spectrum(tables: list[Table]) -> Table:
    """The spectrum extension of a PHA file."""
    # Old files class other tables, of detector properties, as SPECTRUM too.
    counted = [t for t in tables if {"COUNTS", "RATE"} & t.columns.keys()]
    return find_table(
        counted or tables, "spectrum", classes=("SPECTRUM",), names=("SPECTRUM",)
    )


def rows(table: Table) -> int | None:
    """Number of spectra in a type II file, `None` for type I."""
    held = [table.columns[c] for c in ("COUNTS", "RATE") if c in table.columns]
    if not held:
        return None
    kinds = (str(table.keyword(f"HDUCLAS{i}", "")).upper() for i in (3, 4))
    values = np.asarray(held[0])
    many = "SPEC_NUM" in table.columns or "TYPE:II" in kinds
    vectors = values.ndim > 1 or values.dtype == np.dtype(object)
    return len(values) if many or vectors else None


def aligned(spectrum: Spectrum, response: Response) -> np.ndarray:
    """Index into the response's channels of each channel of a spectrum.

    Raises:
        ValueError: If the response lacks a channel of the spectrum.
    """
    here = spectrum.channel
    if here is None:
        if len(spectrum.counts) == response.detectors:
            return np.arange(response.detectors)
        raise ValueError(
            f"{spectrum.path}: without a CHANNEL column there must be one entry for "
            f"each of the response's {response.detectors} channels; got "
            f"{len(spectrum.counts)}. A response of another instrument?"
        )
    if np.any(np.diff(here) == 0):
        raise ValueError(
            f"{spectrum.path}: each channel must be listed once; {_repeated(here)} is "
            "repeated. A damaged file?"
        )
    place = np.searchsorted(response.channel, here)
    place = np.minimum(place, response.detectors - 1)
    if np.any(response.channel[place] != here):
        raise ValueError(
            f"{spectrum.path}: the channels must be among those of the response, "
            f"{response.channel[0]} to {response.channel[-1]}; the spectrum has "
            f"{here[0]} to {here[-1]}. A response of another instrument or binning?"
        )
    return place


def as_background(spectrum: Spectrum, response: Response) -> Background:
    """Put a background spectrum on the channels of a response.

    Raises:
        ValueError: If the channels do not match or a number is not finite.
    """
    place = aligned(spectrum, response)
    try:
        return Background(
            counts=scatter(spectrum.counts, place, response.detectors, 0.0),
            exposure=spectrum.exposure,
            area_scale=spread(spectrum.area_scale, place, response.detectors),
            back_scale=spread(spectrum.back_scale, place, response.detectors),
        )
    except ValueError as error:
        raise ValueError(f"{spectrum.path}: {error}") from error


def scatter(values: np.ndarray, place: np.ndarray, size: int, other: Any) -> np.ndarray:
    """An array of `size` that holds `values` at `place` and `other` elsewhere."""
    result = np.full(size, other, values.dtype)
    result[place] = values
    return result


def spread(scale: np.ndarray, place: np.ndarray, size: int) -> np.ndarray:
    """A scale on all channels: one that never varies holds for absent ones too."""
    constant = len(scale) > 0 and np.all(scale == scale[0])
    return scatter(scale, place, size, scale[0] if constant else 1.0)


def _choose_row(table: Table, row: int | None) -> int | None:
    number = rows(table)
    if number is None:
        if row is not None:
            raise ValueError(
                f"{table.path}: `row` is for files with several spectra (type II); "
                f"got row = {row} for a file with one."
            )
        return None
    if row is None and number > 1:
        raise ValueError(
            f"{table.path}: the file holds {number} spectra (type II), so `row` must "
            f"say which, 0 to {number - 1}; got none."
        )
    row = 0 if row is None else row
    if not 0 <= row < number:
        raise ValueError(
            f"{table.path}: `row` must be between 0 and {number - 1}; got {row}. Rows "
            "count from 0, SPEC_NUM often from 1."
        )
    return row


def _cell(table: Table, name: str, row: int | None, default: Any = None) -> Any:
    """A column's value in a row of a type II file, the whole column in type I."""
    if name in table.columns:
        values = table.columns[name]
        return values if row is None else values[row]
    return table.keyword(name, default)


def _vector(
    table: Table, name: str, row: int | None, length: int | None, default: Any = None
) -> np.ndarray:
    """A float64 number per channel, from a column or keyword."""
    value = _cell(table, name, row, default)
    try:
        with np.errstate(invalid="ignore"):  # some NaN bit patterns signal
            values = np.atleast_1d(np.asarray(value, np.float64))
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        return np.broadcast_to(values, (length or len(values),)).copy()
    except (TypeError, ValueError):
        raise ValueError(
            f"{table.path}: {name} must hold one number, or one for each of "
            f"{length} channels; got {value!r}. A damaged file?"
        ) from None


def _integers(table: Table, name: str, row: int | None, length: int) -> np.ndarray:
    return as_integers(_vector(table, name, row, length, 0))


def _exposure(table: Table, row: int | None) -> float:
    value = _cell(table, "EXPOSURE", row)
    try:
        exposure = float(np.asarray(value, np.float64).reshape(-1)[0])
    except (TypeError, ValueError, IndexError):
        exposure = np.nan
    if not exposure > 0 or not np.isfinite(exposure):
        raise ValueError(
            f"{table.path}: EXPOSURE must be positive [s]; got {value!r}. A keyword "
            "that was never filled in?"
        )
    return exposure


def _repeated(channel: np.ndarray) -> int:
    return int(channel[1:][np.diff(channel) == 0][0])
