"""A tiny instrument, and functions that write it in every dialect of OGIP."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

EDGES = np.array([1.0, 2.0, 3.0, 5.0])
# [detector, bin]; the last bin has two runs of channels
MATRIX = np.array([[0.5, 0, 0.1], [0.3, 0.2, 0], [0, 0.6, 0.4], [0, 0.1, 0.5]])
AREA = np.array([10.0, 20.0, 30.0])
COUNTS = np.array([3, 0, 5, 7])


def table(name, columns, **keywords):
    hdu = fits.BinTableHDU.from_columns(columns, name=name)
    hdu.header.update({key.replace("_", "-"): v for key, v in keywords.items()})
    return hdu


def save(path, *tables):
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(path, overwrite=True)
    return path


def ragged(name, form, rows):
    array = np.empty(len(rows), object)
    array[:] = [np.asarray(row) for row in rows]
    return fits.Column(name, form, array=array)


def runs(column):
    """First channel index and length of each run of non-zero elements."""
    found, previous = [], -2
    for index in np.flatnonzero(column):
        if index == previous + 1:
            found[-1][1] += 1
        else:
            found.append([index, 1])
        previous = index
    return found


def matrix_columns(matrix, layout, first):
    groups = [runs(column) for column in matrix.T]
    values = [column[column != 0] for column in matrix.T]
    if layout == "fixed":  # all channels of a row in one run
        n = len(matrix)
        return [
            fits.Column("N_GRP", "I", array=np.ones(matrix.shape[1])),
            fits.Column("F_CHAN", "I", array=np.full(matrix.shape[1], first)),
            fits.Column("N_CHAN", "I", array=np.full(matrix.shape[1], n)),
            fits.Column("MATRIX", f"{n}E", array=matrix.T),
        ]
    number = fits.Column("N_GRP", "I", array=[len(group) for group in groups])
    starts = [[g[0] + first for g in group] for group in groups]
    widths = [[g[1] for g in group] for group in groups]
    if layout == "variable":
        return [
            number,
            ragged("F_CHAN", "PI()", [np.array(s, np.int16) for s in starts]),
            ragged("N_CHAN", "PI()", [np.array(w, np.int16) for w in widths]),
            ragged("MATRIX", "PE()", [np.array(v, np.float32) for v in values]),
        ]
    padded = lambda rows, n: [list(r) + [-999] * (n - len(r)) for r in rows]  # noqa: E731
    return [
        number,
        fits.Column("F_CHAN", "2I", array=padded(starts, 2)),
        fits.Column("N_CHAN", "2I", array=padded(widths, 2)),
        fits.Column("MATRIX", "4E", array=padded(values, 4)),
    ]


def write_rmf(
    path,
    *,
    matrix=MATRIX,
    low=EDGES[:-1],
    high=EDGES[1:],
    layout="variable",
    first=1,
    tlmin="first",
    bounds_first=False,
    name="MATRIX",
    classes=True,
    extra_column=False,
    unit="keV",
):
    columns = [
        fits.Column("ENERG_LO", "E", unit=unit, array=low),
        fits.Column("ENERG_HI", "E", unit=unit, array=high),
        *matrix_columns(matrix, layout, first),
    ]
    if extra_column:  # moves F_CHAN, and with it the number in TLMINn
        columns.insert(2, fits.Column("ORDER", "I", array=np.zeros(len(low))))
    position = 5 if extra_column else 4
    keywords = {"HDUCLAS3": "REDIST"} if classes else {}
    if classes:
        keywords |= {"HDUCLASS": "OGIP", "HDUCLAS1": "RESPONSE"}
        keywords |= {"HDUCLAS2": "RSP_MATRIX"}
    if tlmin is not None:
        keywords[f"TLMIN{position}"] = first if tlmin == "first" else tlmin
    channel = first + np.arange(len(matrix))
    bounds = table(
        "EBOUNDS",
        [
            fits.Column("CHANNEL", "I", array=channel),
            fits.Column("E_MIN", "E", unit="keV", array=1.0 + np.arange(len(matrix))),
            fits.Column("E_MAX", "E", unit="keV", array=2.0 + np.arange(len(matrix))),
        ],
    )
    hdu = table(name, columns, **keywords)
    return save(path, *((bounds, hdu) if bounds_first else (hdu, bounds)))


def write_arf(path, *, area=AREA, low=EDGES[:-1], high=EDGES[1:]):
    columns = [
        fits.Column("ENERG_LO", "E", unit="keV", array=low),
        fits.Column("ENERG_HI", "E", unit="keV", array=high),
        fits.Column("SPECRESP", "E", unit="cm**2", array=area),
    ]
    return save(path, table("SPECRESP", columns, HDUCLAS1="RESPONSE"))


def write_pha(path, *, counts=COUNTS, channel=None, form="J", columns=(), **keywords):
    name = keywords.pop("name", "COUNTS")
    channel = 1 + np.arange(len(counts)) if channel is None else channel
    every = [fits.Column("CHANNEL", "I", array=channel)]
    every += [] if counts is None else [fits.Column(name, form, array=counts)]
    keywords = {
        "HDUCLAS1": "SPECTRUM",
        "EXPOSURE": 100.0,
        "RESPFILE": "a.rmf",
        "ANCRFILE": "a.arf",
        "BACKFILE": "none",
    } | keywords
    keywords = {key: value for key, value in keywords.items() if value is not None}
    return save(path, table("SPECTRUM", [*every, *columns], **keywords))


@pytest.fixture
def ogip(tmp_path) -> SimpleNamespace:
    """A folder with a.pha, a.rmf and a.arf, and the functions that write such files."""
    folder = Path(tmp_path)
    write_rmf(folder / "a.rmf")
    write_arf(folder / "a.arf")
    write_pha(folder / "a.pha")
    return SimpleNamespace(
        folder=folder,
        spectrum=folder / "a.pha",
        edges=EDGES,
        matrix=MATRIX,
        area=AREA,
        counts=COUNTS,
        table=table,
        save=save,
        write_rmf=lambda **how: write_rmf(folder / "a.rmf", **how),
        write_arf=lambda **how: write_arf(folder / "a.arf", **how),
        write_pha=lambda file="a.pha", /, **how: write_pha(folder / file, **how),
    )
