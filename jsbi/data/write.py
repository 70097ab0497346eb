"""Write spectra and responses as OGIP files."""

import numpy as np
import scipy.sparse
from astropy.io import fits

from jsbi.data.grouping import flags_from_group
from jsbi.data.observation import Observation, Response
from jsbi.data.tables import PathLike, write_tables

DROPPED_BY_USER = 5  # the QUALITY that OGIP reserves for it
ORIGIN = {"TELESCOP": "UNKNOWN", "INSTRUME": "UNKNOWN", "FILTER": "NONE"}


def write_spectrum(
    path: PathLike,
    observation: Observation,
    *,
    response: str = "none",
    arf: str = "none",
    background: str = "none",
) -> None:
    """Write the counts of an observation as a type I spectrum.

    Channels that are in no fit bin get QUALITY 5, so that a reader drops them again.

    Args:
        path: File, replaced if it exists.
        observation: What to write; its response and background are not.
        response: Name for RESPFILE, relative to `path`.
        arf: Name for ANCRFILE.
        background: Name for BACKFILE.

    Source: OGIP memos OGIP/92-007 and 92-007a.
    """
    counts = observation.counts
    whole = np.all(np.isfinite(counts) & (counts == np.round(counts)))
    whole = whole and bool(np.all(np.abs(counts) < 2**31))
    quality = np.where(observation.group >= 0, 0, DROPPED_BY_USER)
    columns = [
        fits.Column("CHANNEL", "J", array=observation.response.channel),
        fits.Column("COUNTS", "J" if whole else "D", unit="count", array=counts),
        fits.Column("QUALITY", "I", array=quality),
        fits.Column("GROUPING", "I", array=flags_from_group(observation.group)),
    ]
    keywords = {
        **ORIGIN,
        "HDUCLASS": "OGIP",
        "HDUCLAS1": "SPECTRUM",
        "HDUCLAS2": "TOTAL",
        "HDUCLAS3": "COUNT",
        "HDUCLAS4": "TYPE:I",
        "HDUVERS": "1.2.1",
        "PHAVERSN": "1992a",
        **_channel_keywords(observation.response, column=1),
        "EXPOSURE": observation.exposure,
        "CORRSCAL": 1.0,
        "POISSERR": True,
        "SYS_ERR": 0,
        "RESPFILE": response,
        "ANCRFILE": arf,
        "BACKFILE": background,
        "CORRFILE": "none",
    }
    scales = {"AREASCAL": observation.area_scale, "BACKSCAL": observation.back_scale}
    for name, values in scales.items():
        if np.all(values == values[0]):
            keywords[name] = float(values[0])
        else:
            columns.append(fits.Column(name, "D", array=values))
    write_tables(path, [_table("SPECTRUM", columns, keywords)])


def write_response(path: PathLike, response: Response) -> None:
    """Write the redistribution and the channels of a response as an RMF.

    The area is not written: see `write_arf`. Numbers keep their precision.

    Args:
        path: File, replaced if it exists.
        response: What to write.

    Raises:
        ValueError: If the channel numbers are not consecutive.

    Source: OGIP memos CAL/GEN/92-002 and 92-002a.
    """
    channel = response.channel
    if np.any(np.diff(channel) != 1):
        raise ValueError(
            f"{path}: an RMF needs consecutive channel numbers; got "
            f"{channel[:5].tolist()}... Was a channel taken out?"
        )
    matrix = response.redistribution.sorted_indices()
    starts, widths, groups = _runs(matrix)
    ends = np.cumsum(groups)[:-1]
    number = response.energy_edges
    # Most matrices come from single precision, which halves the file.
    single = matrix.data.astype(np.float32)
    exact = bool(np.all(single == matrix.data))
    form, values = ("E", single) if exact else ("D", matrix.data)
    columns = [
        fits.Column("ENERG_LO", "D", unit="keV", array=number[:-1]),
        fits.Column("ENERG_HI", "D", unit="keV", array=number[1:]),
        fits.Column("N_GRP", "J", array=groups),
        _ragged("F_CHAN", "PJ()", np.split(channel[starts].astype(np.int32), ends)),
        _ragged("N_CHAN", "PJ()", np.split(widths.astype(np.int32), ends)),
        _ragged("MATRIX", f"P{form}()", np.split(values, matrix.indptr[1:-1])),
    ]
    kind = "FULL" if np.any(matrix.sum(axis=0) > 1.05) else "REDIST"
    keywords = {
        **ORIGIN,
        "HDUCLASS": "OGIP",
        "HDUCLAS1": "RESPONSE",
        "HDUCLAS2": "RSP_MATRIX",
        "HDUCLAS3": kind,
        "HDUVERS": "1.3.0",
        "RMFVERSN": "1992a",
        **_channel_keywords(response, column=4),
        "NUMGRP": int(groups.sum()),
        "NUMELT": int(widths.sum()),
        "LO_THRES": 0.0,
    }
    name = "SPECRESP MATRIX" if kind == "FULL" else "MATRIX"
    write_tables(path, [_table(name, columns, keywords), _bounds(response)])


def write_arf(path: PathLike, response: Response) -> None:
    """Write the effective area of a response as an ARF.

    Args:
        path: File, replaced if it exists.
        response: What to write.

    Source: OGIP memo CAL/GEN/92-002.
    """
    edges = response.energy_edges
    columns = [
        fits.Column("ENERG_LO", "D", unit="keV", array=edges[:-1]),
        fits.Column("ENERG_HI", "D", unit="keV", array=edges[1:]),
        fits.Column("SPECRESP", "D", unit="cm**2", array=response.area),
    ]
    keywords = {
        **ORIGIN,
        "HDUCLASS": "OGIP",
        "HDUCLAS1": "RESPONSE",
        "HDUCLAS2": "SPECRESP",
        "HDUVERS": "1.1.0",
        "ARFVERSN": "1992a",
    }
    write_tables(path, [_table("SPECRESP", columns, keywords)])


def _bounds(response: Response) -> fits.BinTableHDU:
    columns = [
        fits.Column("CHANNEL", "J", array=response.channel),
        fits.Column("E_MIN", "D", unit="keV", array=response.channel_low),
        fits.Column("E_MAX", "D", unit="keV", array=response.channel_high),
    ]
    keywords = {
        **ORIGIN,
        "HDUCLASS": "OGIP",
        "HDUCLAS1": "RESPONSE",
        "HDUCLAS2": "EBOUNDS",
        "HDUVERS": "1.2.0",
        "RMFVERSN": "1992a",
        **_channel_keywords(response, column=1),
    }
    return _table("EBOUNDS", columns, keywords)


def _channel_keywords(response: Response, column: int) -> dict:
    return {
        "CHANTYPE": "PI",
        "DETCHANS": response.detectors,
        f"TLMIN{column}": int(response.channel[0]),
        f"TLMAX{column}": int(response.channel[-1]),
    }


def _runs(matrix: scipy.sparse.csc_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of neighbouring channels: first row, length, and how many per column."""
    rows = matrix.indices
    bins = len(matrix.indptr) - 1
    column = np.repeat(np.arange(bins), np.diff(matrix.indptr))
    follows = (np.diff(rows) == 1) & (np.diff(column) == 0)
    begins = np.flatnonzero(np.concatenate([[True], ~follows])[: len(rows)])
    widths = np.diff(np.concatenate([begins, [len(rows)]]))
    groups = np.bincount(column[begins], minlength=bins)
    return rows[begins], widths, groups


def _ragged(name: str, form: str, rows: list[np.ndarray]) -> fits.Column:
    array = np.empty(len(rows), object)
    array[:] = rows
    return fits.Column(name, form, array=array)


def _table(name: str, columns: list[fits.Column], keywords: dict) -> fits.BinTableHDU:
    table = fits.BinTableHDU.from_columns(columns, name=name)
    for key, value in keywords.items():
        table.header[key] = value
    return table
