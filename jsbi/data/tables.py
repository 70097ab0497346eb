"""FITS tables as plain arrays, with one clear message for whatever is wrong."""

import gzip
import io
import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from jsbi.store import atomic_path

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Table:
    """One FITS table.

    Attributes:
        path: File it came from, for messages.
        name: EXTNAME in capitals.
        header: The header.
        columns: Arrays by column name in capitals, in the order of the file. A column
            of variable length is an object array of arrays.
        units: Units by column name, in lower case.
    """

    path: Path
    name: str
    header: fits.Header
    columns: dict[str, Any]
    units: dict[str, str]

    def keyword(self, name: str, default: Any = None) -> Any:
        """Value of a header keyword, text without blanks around it.

        Raises:
            ValueError: If the header's line cannot be read.
        """
        try:
            value = self.header.get(name, default)
        except fits.VerifyError as error:
            raise ValueError(
                f"{self.path}: the header of table {self.name} must be readable; the "
                f"line of {name} is not. A damaged file?"
            ) from error
        if isinstance(value, fits.card.Undefined):
            return default
        return value.strip() if isinstance(value, str) else value

    def column(self, name: str) -> Any:
        """Array of a column.

        Raises:
            ValueError: If there is none of this name.
        """
        if name not in self.columns:
            raise ValueError(
                f"{self.path}: table {self.name} must have a column {name}; it has "
                f"{', '.join(self.columns)}. Is it the right kind of file?"
            )
        return self.columns[name]

    def numbers(self, name: str) -> np.ndarray:
        """A column as float64 array.

        Raises:
            ValueError: If it is missing, text, or of variable length.
        """
        values = self.column(name)
        try:
            with np.errstate(invalid="ignore"):  # some NaN bit patterns signal
                return np.asarray(values, np.float64)
        except (TypeError, ValueError):
            raise ValueError(
                f"{self.path}: column {name} of table {self.name} must hold numbers, "
                f"as many in each row; got {np.asarray(values).dtype}. A damaged file?"
            ) from None

    def energies(self, name: str) -> np.ndarray:
        """A column of energies in keV, converted where its unit says eV.

        Raises:
            ValueError: If the unit is neither.
        """
        unit = self.units.get(name, "")
        scales = {"": 1.0, "kev": 1.0, "ev": 1e-3}
        if unit not in scales:
            raise ValueError(
                f"{self.path}: column {name} of table {self.name} must be in keV or "
                f"eV; got {unit!r}. A response on a wavelength grid?"
            )
        return self.numbers(name) * scales[unit]

    def first_channel(self, name: str) -> int | None:
        """TLMIN of a column, whatever its position; `None` where it is not given."""
        position = list(self.columns).index(name) + 1
        value = self.keyword(f"TLMIN{position}")
        return None if value is None else int(value)

    def is_class(self, *classes: str) -> bool:
        """Whether HDUCLAS1, HDUCLAS2, ... begin with these values."""
        found = (str(self.keyword(f"HDUCLAS{i + 1}", "")).upper() for i in range(4))
        return all(a == b for a, b in zip(classes, found, strict=False))


def as_integers(values: np.ndarray) -> np.ndarray:
    """To int64; what is not a number becomes negative, for checks further on."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.int64)


def find_file(path: PathLike, purpose: str = "file") -> Path:
    """The file itself, or the same with `.gz` added or taken away.

    Raises:
        FileNotFoundError: If neither exists.
        IsADirectoryError: If it is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"The {purpose} {path} is a folder; a file is needed.")
    packed = path.with_name(path.name + ".gz")
    unpacked = path.with_suffix("") if path.suffix == ".gz" else path
    for candidate in (path, packed, unpacked):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"{path}: no such {purpose}, nor {packed.name}. Relative paths start at "
        f"{Path.cwd()}; names in a spectrum's header, at the spectrum."
    )


def read_tables(path: PathLike, purpose: str = "file") -> list[Table]:
    """All tables of a FITS file.

    Args:
        path: The file; `.gz` may be added or missing.
        purpose: What the file is for, for messages.

    Raises:
        OSError: If there is no such file or it cannot be opened.
        ValueError: If it is not FITS, is truncated, or holds no table.
    """
    found = find_file(path, purpose)
    try:
        content = _content(found)
        with warnings.catch_warnings():
            # What matters is checked here; the rest, such as odd units, does no harm.
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(content)) as hdus:
                complete = _is_complete(hdus, content)
                tables = [
                    _read_table(found, hdu)
                    for hdu in hdus
                    if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and complete
                ]
    except PermissionError:
        raise
    # Damaged bytes surface as almost any exception, from the FITS reader or gzip.
    except Exception as error:
        raise ValueError(
            f"{found}: the {purpose} must be a FITS file; reading it fails with "
            f"{' '.join(str(error).split())!r}. Truncated, or another format?"
        ) from error
    if not complete:
        raise ValueError(
            f"{found}: the {purpose} must be complete; the file is shorter than its "
            "headers say. Truncated by an interrupted download or a full disk?"
        )
    if not tables:
        raise ValueError(
            f"{found}: the {purpose} must hold a FITS table; it has none. An image?"
        )
    return tables


def read_primary(path: PathLike, purpose: str = "file") -> Table:
    """The primary header of a FITS file, as a table without columns.

    Args:
        path: A file that `read_tables` has read.
        purpose: What the file is for, for messages.
    """
    found = find_file(path, purpose)
    packed = found.read_bytes()[:2] == b"\x1f\x8b"
    with gzip.open(found) if packed else found.open("rb") as stream:
        return Table(found, "PRIMARY", fits.Header.fromfile(stream), {}, {})


def _content(path: Path) -> bytes:
    """All bytes of a file, unpacked; gzip's own check finds a truncated archive."""
    raw = path.read_bytes()
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def _is_complete(hdus: Any, content: bytes) -> bool:
    """Whether every extension has its data, and no header breaks off after the last.

    Padding to whole FITS blocks may be missing, and anything may follow the last
    extension but a further header.
    """
    end = 0
    for hdu in hdus:
        where = hdu.fileinfo()
        if where["datLoc"] + hdu.size > len(content):
            return False
        end = where["datLoc"] + where["datSpan"]
    return content[end : end + 8] != b"XTENSION"


def _read_table(path: Path, hdu: Any) -> Table:
    columns, units = {}, {}
    for column in hdu.columns:
        name = column.name.strip().upper()
        columns[name] = hdu.data[column.name]
        units[name] = (column.unit or "").strip().lower()
    return Table(path, hdu.name.strip().upper(), hdu.header, columns, units)


def find_table(
    tables: list[Table],
    purpose: str,
    *,
    classes: tuple[str, ...],
    names: Iterable[str],
) -> Table:
    """The table of a class, or else of one of the names.

    Args:
        tables: Tables of one file.
        purpose: What the table is, for messages.
        classes: Values of HDUCLAS1, HDUCLAS2, ...
        names: Extension names that do as well.

    Raises:
        ValueError: If there is none, or more than one.
    """
    names = tuple(names)
    found = [table for table in tables if table.is_class(*classes)]
    found = found or [table for table in tables if table.name in names]
    if len(found) == 1:
        return found[0]
    held = ", ".join(table.name or "unnamed" for table in tables)
    if found:
        raise ValueError(
            f"{tables[0].path}: the file must hold one {purpose}; it holds "
            f"{len(found)} of them ({held}). Split or combine them with an OGIP tool."
        )
    raise ValueError(
        f"{tables[0].path}: the file must hold a {purpose} (extension "
        f"{' or '.join(names)}); it holds {held}. Another kind of file?"
    )


def file_named_in_header(value: Any, spectrum: Path) -> Path | None:
    """Path that a RESPFILE, ANCRFILE or BACKFILE keyword names, if it names any.

    Relative names start at the spectrum's folder. Blank, "none" and "%match%" name
    nothing; an extension in brackets is left out.
    """
    name = re.sub(r"\[[^\]]*\]$", "", str(value or "").strip()).strip()
    if name.lower() in ("", "none", "%match%", "null"):
        return None
    return spectrum.parent / name


def write_tables(path: PathLike, tables: list[fits.BinTableHDU]) -> None:
    """Write a FITS file so that it is there completely or not at all.

    Args:
        path: Replaced if it exists; compressed if it ends in `.gz`.
        tables: Extensions in order.
    """
    with atomic_path(path) as temporary:
        fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(temporary, overwrite=True)
