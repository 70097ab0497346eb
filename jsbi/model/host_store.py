"""Spectra of a host model, kept in a folder for later runs."""

import collections
import functools
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from jsbi.store import DAMAGE, atomic_path

PART = 256  # spectra that are written to a file together
SMALL = 32  # files of fewer spectra that a folder may have before they are merged
_LOADED = 8  # files whose spectra stay in memory
_open: weakref.WeakValueDictionary[Path, "SpectrumStore"]
_open = weakref.WeakValueDictionary()


def origin(function: Callable) -> tuple[str, str]:
    """The module and name of a function, or of the type of what can be called."""
    while isinstance(function, functools.partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return str(named.__module__), named.__qualname__


def open_store(folder: str | Path) -> "SpectrumStore":
    """The store of a folder: the same one for all who ask for it in this process."""
    folder = Path(folder).resolve()
    store = _open.get(folder)
    if store is None:
        store = _open[folder] = SpectrumStore(folder)
    elif not folder.is_dir():
        # It was removed by hand; what is still in memory must not come back.
        store.forget()
    return store


class SpectrumStore:
    """Spectra of one function on one grid, by the values of its parameters.

    New spectra are in memory until `write`, or until there are enough for a file. A
    file has its values and spectra together, is there completely or not at all, and
    has a name of its own, so that any number of processes may use a folder. No file
    stays open.

    Args:
        folder: Where the files are; it is made if it is not there.

    Raises:
        ValueError: If a file is damaged.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock = threading.RLock()
        self._new: dict[bytes, np.ndarray] = {}
        self._places: dict[bytes, tuple[str, int]] = {}
        self._loaded: collections.OrderedDict[str, np.ndarray]
        self._loaded = collections.OrderedDict()
        folder.mkdir(parents=True, exist_ok=True)
        sizes = self._index()
        small = [name for name, size in sizes.items() if size < PART]
        if len(small) > SMALL:
            try:
                self._merge(small)
            except FileNotFoundError:
                self._index()  # Another process was faster.

    def find(
        self, rows: Float[np.ndarray, "spectrum parameter"]
    ) -> Bool[np.ndarray, " spectrum"]:
        """Of which values there is a spectrum."""
        with self._lock:
            keys = [row.tobytes() for row in rows]
            known = [key in self._new or key in self._places for key in keys]
        return np.array(known, bool)

    def read(
        self, rows: Float[np.ndarray, "spectrum parameter"]
    ) -> Float[np.ndarray, "spectrum bin"]:
        """Spectra of values that `find` knows.

        Raises:
            ValueError: If a file is damaged, or was removed.
        """
        keys = [row.tobytes() for row in rows]
        with self._lock:
            try:
                return self._read(keys)
            except FileNotFoundError:
                # Another process has merged small files.
                self._index()
            try:
                return self._read(keys)
            except (FileNotFoundError, KeyError):
                raise ValueError(
                    f"Files of {self.folder} must stay there while it is in use; some "
                    "were removed. Their spectra will be made again."
                ) from None

    def add(
        self,
        rows: Float[np.ndarray, "spectrum parameter"],
        spectra: Float[np.ndarray, "spectrum bin"],
    ) -> None:
        """Keep new spectra."""
        with self._lock:
            for row, spectrum in zip(rows, spectra, strict=True):
                self._new[row.tobytes()] = np.array(spectrum, np.float32)
                if len(self._new) >= PART:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    self.write()

    def write(self) -> None:
        """Write the spectra that are only in memory, unless the folder is gone."""
        with self._lock:
            if not self._new or not self.folder.is_dir():
                return
            keys = list(self._new)
            self._write(keys, np.stack([self._new[key] for key in keys]))
            for key in keys:
                self._new.pop(key, None)

    def check(self, function: Callable[[np.ndarray], np.ndarray]) -> bool:
        """Whether a stored spectrum could be made again; False if there is none.

        Args:
            function: Gives the spectrum of some values.

        Raises:
            ValueError: If it gives another spectrum than the stored one.
        """
        sample = self._sample()
        if sample is None:
            return False
        row, spectrum = sample
        made = function(row)
        finite = spectrum[np.isfinite(spectrum)]
        floor = 1e-7 * float(np.abs(finite).max(initial=0.0))
        if np.allclose(made, spectrum, 1e-5, floor, equal_nan=True):
            return True
        raise ValueError(
            f"The function must give the spectra that {self.folder} has of it; at "
            f"{row.tolist()} it gives another one. Was it changed, or is it random? "
            "Remove the folder or take another: it is for one version of a model."
        )

    def _sample(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Values and spectrum of a stored one, finite and not zero if possible."""
        with self._lock:
            keys = list(self._new)
            if self._places:
                name = next(iter(self._places.values()))[0]
                keys = [key for key, place in self._places.items() if place[0] == name]
            if not keys:
                return None
            rows = np.stack([np.frombuffer(key) for key in keys])
        spectra = self.read(rows)
        telling = np.isfinite(spectra).all(axis=1) & (spectra != 0).any(axis=1)
        best = int(np.argmax(telling))
        return rows[best], spectra[best]

    def forget(self) -> None:
        """Begin again with an empty folder."""
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            for memory in (self._new, self._places, self._loaded):
                memory.clear()

    def _index(self) -> dict[str, int]:
        """Learn from all files what values they have; gives the size of each."""
        self._places.clear()
        sizes = {}
        for path in sorted(self.folder.glob("part-*.npz")):
            try:
                values = _load(path, "values")
            except FileNotFoundError:
                continue  # Another process has merged it with others.
            sizes[path.name] = len(values)
            for offset, row in enumerate(values):
                self._places[row.tobytes()] = (path.name, offset)
        return sizes

    def _read(self, keys: Sequence[bytes]) -> np.ndarray:
        result: list[np.ndarray | None] = [self._new.get(key) for key in keys]
        by_part: dict[str, list[tuple[int, int]]] = {}
        for number, key in enumerate(keys):
            if result[number] is None:
                name, offset = self._places[key]
                by_part.setdefault(name, []).append((number, offset))
        for name, places in by_part.items():
            spectra = self._part(name)
            for number, offset in places:
                result[number] = spectra[offset]
        return np.array(result, np.float32)

    def _part(self, name: str) -> np.ndarray:
        if name not in self._loaded:
            self._loaded[name] = _load(self.folder / name, "spectra")
            if len(self._loaded) > _LOADED:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def _write(self, keys: Sequence[bytes], spectra: np.ndarray) -> None:
        unique = f"{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex}"
        name = f"part-{unique}.npz"
        values = np.stack([np.frombuffer(key) for key in keys])
        with atomic_path(self.folder / name) as path:
            np.savez(path, values=values, spectra=spectra)
        for offset, key in enumerate(keys):
            self._places[key] = (name, offset)

    def _merge(self, names: Sequence[str]) -> None:
        """Write the spectra of small files into fewer, and remove the small ones."""
        group: list[str] = []
        keys: list[bytes] = []
        owned: dict[str, list[bytes]] = {name: [] for name in names}
        for key, (name, _) in self._places.items():
            if name in owned:
                owned[name].append(key)
        for name in names:
            group.append(name)
            keys += owned[name]
            if len(keys) < PART and name != names[-1]:
                continue
            if keys:
                self._write(keys, self._read(keys))
            for merged in group:
                (self.folder / merged).unlink(missing_ok=True)
            group, keys = [], []


def _load(path: Path, kind: str) -> np.ndarray:
    try:
        # NumPy leaves a file open that turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return arrays[kind]
    except FileNotFoundError:
        raise
    except (*DAMAGE, TypeError) as error:
        raise ValueError(
            f"{path} must be a part of a store of spectra, and cannot be read "
            f"({error}). If it is damaged, remove it: its spectra are made again."
        ) from error
