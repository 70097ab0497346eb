"""Files that are whole or absent: atomic writing, and arrays behind a JSON header."""

import io
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1
# What `zipfile` and `numpy` raise about bytes that have changed.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    ValueError,
)


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path that becomes `path` if the block ends without an error.

    It is in the same folder, because a rename is atomic only within one file system.

    Args:
        path: The file to write; its folder must exist. Its suffix is kept.

    Raises:
        OSError: If the folder cannot be written.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(path.suffix, f".{path.name}.", path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; give the permissions that `open` would.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_arrays(
    path: str | os.PathLike,
    kind: str,
    header: dict[str, Any],
    arrays: dict[str, np.ndarray],
) -> None:
    """Write named arrays behind a JSON header, in a zip archive with check sums.

    Args:
        path: The file to write, atomically.
        kind: What the file holds, such as "posterior"; `load_arrays` insists on it.
        header: Anything JSON can hold.
        arrays: Numeric arrays.
    """
    full = {"format": FORMAT, "kind": kind, "header": header} | {
        "arrays": {name: [a.dtype.str, list(a.shape)] for name, a in arrays.items()}
    }
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr("header.json", json.dumps(full))
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            archive.writestr(f"{name}.npy", buffer.getvalue(), zipfile.ZIP_DEFLATED)


def read_header(path: str | os.PathLike) -> dict[str, Any]:
    """The header of a file written by `save_arrays`, with its kind and format.

    Raises:
        ValueError: If the file is none of these, or of a newer format.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                full = json.loads(archive.read("header.json"))
        except DAMAGE as error:
            raise ValueError(
                f"{path} must be a file saved by jsbi, but its header cannot be read "
                f"({error}). Is it another format, or was its copy cut short?"
            ) from None
    if not isinstance(full, dict):
        raise ValueError(f"{path} must be a file saved by jsbi; its header is {full}.")
    if not {"kind", "header", "arrays"} <= full.keys():
        raise ValueError(f"{path} must be a file saved by jsbi; it is another archive.")
    if full.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {full.get('format')}, and this version of jsbi reads "
            f"format {FORMAT}. Save it again with this version."
        )
    return full


def load_arrays(
    path: str | os.PathLike, kind: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `save_arrays` wrote.

    Returns: The header and the arrays.

    Raises:
        ValueError: If the file is of another kind or format, or damaged.
    """
    full = read_header(path)
    if full["kind"] != kind:
        raise ValueError(f"{path} holds a {full['kind']}, where a {kind} is needed.")
    arrays = {}
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                for name, layout in full["arrays"].items():
                    arrays[name] = _read_array(archive, name, layout)
        except DAMAGE as error:
            raise ValueError(f"{path} is damaged: {error}.") from None
    return full["header"], arrays


def _read_array(archive: zipfile.ZipFile, name: str, layout: list) -> np.ndarray:
    dtype, shape = layout
    array = np.load(io.BytesIO(archive.read(f"{name}.npy")))
    if array.dtype.str != dtype or list(array.shape) != shape:
        raise ValueError(
            f"its array {name!r} is {array.dtype.str} {array.shape}, and its header "
            f"says {dtype} {tuple(shape)}"
        )
    return array
