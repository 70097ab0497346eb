"""Models that only the host can evaluate: XSPEC, SPEX, or any other code in Python."""

import concurrent.futures
import functools
import hashlib
import inspect
import multiprocessing
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from jsbi.instrument import EnergyGrid
from jsbi.model.component import SpectralModel
from jsbi.store import atomic_path

PART = 256  # spectra between two writes to the store


class HostModel:
    """A model whose spectra come from a function of numpy arrays on the host.

    It is used like any other model. Batches go to worker processes; the rest of the
    pipeline stays on the device. There are no gradients, so that methods which need
    them refuse it; "sbi" trains on stored spectra and reweights by the exact
    likelihood, and "nested" needs the likelihood alone.

    Args:
        function: Maps bin edges [keV] and the named parameters, all given by keyword,
            to photons / cm^2 / s in each bin; or, for `gives="counts"`, the named
            parameters alone to the expected counts in each fit bin of the observation.
            A spectrum that is not finite counts as one of which the model has no
            value. It must be importable by worker processes, so a function of a module.
        gives: "photons" or "counts".
        workers: Processes; 0 evaluates in this one.
        store: A folder that keeps every spectrum, so that none is made twice, in this
            run or a later one; None keeps nothing.
        progress: Whether to draw a bar for each batch.

    Raises:
        ValueError: If a choice is unknown, or the function takes no parameters.
    """

    def __init__(
        self,
        function: Callable[..., np.ndarray],
        *,
        gives: str = "photons",
        workers: int = 0,
        store: str | Path | None = None,
        progress: bool = True,
    ):
        if gives not in ("photons", "counts"):
            raise ValueError(f"`gives` must be 'photons' or 'counts'; got {gives!r}.")
        if workers < 0:
            raise ValueError(f"`workers` must not be negative; got {workers}.")
        names = list(inspect.signature(function).parameters)
        self.names = tuple(names[1:] if gives == "photons" else names)
        if not self.names:
            raise ValueError(
                "The function must take named parameters"
                + (" after the bin edges" if gives == "photons" else "")
                + f"; got {', '.join(names) or 'none'}."
            )
        self.function, self.gives = function, gives
        self.workers, self.progress = workers, progress
        self._folder = None if store is None else Path(store)
        self._stores: dict[str, _Store] = {}
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None

    @property
    def __signature__(self) -> inspect.Signature:
        """The named parameters, for those who ask what the model takes."""
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Signature([inspect.Parameter(name, kind) for name in self.names])

    @property
    def __name__(self) -> str:
        """What reports call the model."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def __call__(self, **values: Any) -> "HostPhotons | HostCounts":
        """The spectrum at these parameters, still to be evaluated."""
        if set(values) != set(self.names):
            raise ValueError(
                f"The model takes {', '.join(self.names)}; got "
                f"{', '.join(values) or 'nothing'}."
            )
        row = jnp.stack([jnp.asarray(values[name], float) for name in self.names])
        return (HostPhotons if self.gives == "photons" else HostCounts)(self, row)

    def evaluate(
        self,
        rows: Float[np.ndarray, "spectrum parameter"],
        edges: Float[np.ndarray, " edge"] | None,
        bins: int,
    ) -> Float[np.ndarray, "spectrum bin"]:
        """Spectra of any number of parameters; none is made twice.

        Args:
            rows: Values of the parameters.
            edges: Bin edges [keV]; None for counts.
            bins: Length of a spectrum.

        Raises:
            ValueError: If the function returns anything but one number for each bin.
        """
        distinct, back = np.unique(rows, axis=0, return_inverse=True)
        store = self._store(edges, bins)
        known = store.find(distinct) if store else np.full(len(distinct), -1)
        new = distinct[known < 0]
        made = self._make(new, edges, bins, store)
        result = np.empty((len(distinct), bins), np.float32)
        result[known < 0] = made
        if store and (known >= 0).any():
            result[known >= 0] = store.read(known[known >= 0])
        return result[back.reshape(-1)]

    def _make(
        self,
        rows: np.ndarray,
        edges: np.ndarray | None,
        bins: int,
        store: "_Store | None",
    ) -> np.ndarray:
        task = functools.partial(_evaluate, self.function, self.names, edges, bins)
        every = self._map(task, rows)
        hidden = not self.progress or len(rows) < 2
        made: list[np.ndarray] = []
        for spectrum in tqdm(every, "host model", len(rows), disable=hidden):
            made.append(spectrum)
            if store and (len(made) % PART == 0 or len(made) == len(rows)):
                first = (len(made) - 1) // PART * PART
                store.add(rows[first : len(made)], np.array(made[first:]))
        return np.array(made, np.float32).reshape(len(rows), bins)

    def _map(self, task: Callable, rows: np.ndarray) -> Any:
        """Spectra one after another, in the order of the rows."""
        if self.workers == 0 or len(rows) < 2:
            return map(task, rows)
        if self._pool is None:
            _check_importable(self.function)
            # Forked processes would share the locks of JAX's threads.
            context = multiprocessing.get_context("spawn")
            self._pool = concurrent.futures.ProcessPoolExecutor(self.workers, context)
        chunk = max(1, min(64, len(rows) // (4 * self.workers)))
        return self._pool.map(task, rows, chunksize=chunk)

    def _store(self, edges: np.ndarray | None, bins: int) -> "_Store | None":
        if self._folder is None:
            return None
        digest = hashlib.sha256(repr((self.names, self.gives, bins)).encode())
        digest.update(b"" if edges is None else edges.tobytes())
        name = digest.hexdigest()[:16]
        if name not in self._stores:
            self._stores[name] = _Store(self._folder / name)
        return self._stores[name]


def _evaluate(
    function: Callable[..., np.ndarray],
    names: Sequence[str],
    edges: np.ndarray | None,
    bins: int,
    row: np.ndarray,
) -> np.ndarray:
    """One spectrum, checked; runs in a worker process."""
    values = dict(zip(names, row.tolist(), strict=True))
    given = () if edges is None else (edges,)
    spectrum = np.asarray(function(*given, **values), np.float32)
    if spectrum.shape != (bins,):
        raise ValueError(
            f"The function must return one number for each of the {bins} bins; got "
            f"shape {spectrum.shape} at {values}."
        )
    return spectrum


def _check_importable(function: Callable) -> None:
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "Worker processes must be able to import the function, so it must be one "
            f"of a module; got {function!r}. A lambda, or one inside of another?"
        ) from error


class _Store:
    """Spectra of one grid in a folder: pairs of files, written whole or not at all."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.places: dict[bytes, int] = {}
        self.parts: list[np.ndarray] = []
        self.first: list[int] = []
        self.number = 0
        for path in sorted(folder.glob("values-*.npy")):
            spectra = folder / path.name.replace("values", "spectra")
            self._append(np.load(path), np.load(spectra, mmap_mode="r"))

    def _append(self, rows: np.ndarray, spectra: np.ndarray) -> None:
        for offset, row in enumerate(rows):
            self.places[row.tobytes()] = self.number + offset
        self.parts.append(spectra)
        self.first.append(self.number)
        self.number += len(rows)

    def find(self, rows: np.ndarray) -> np.ndarray:
        """Where each row's spectrum is; -1 for those that are not there."""
        return np.array([self.places.get(row.tobytes(), -1) for row in rows], int)

    def read(self, places: np.ndarray) -> np.ndarray:
        """Spectra at their places."""
        parts = np.searchsorted(self.first, places, side="right") - 1
        return np.stack(
            [
                self.parts[part][place - self.first[part]]
                for part, place in zip(parts, places, strict=True)
            ]
        )

    def add(self, rows: np.ndarray, spectra: np.ndarray) -> None:
        """Keep new spectra; the values are written last and make them known."""
        name = f"{self.number:09d}.npy"
        for kind, array in (("spectra", spectra), ("values", rows)):
            with (
                atomic_path(self.folder / f"{kind}-{name}") as path,
                path.open("wb") as file,
            ):
                np.save(file, array)
        self._append(rows, np.load(self.folder / f"spectra-{name}", mmap_mode="r"))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _on_host(model: HostModel, bins: int, row: Array, bounds: Array | None) -> Array:
    """Evaluate on the host, whole batches at a time."""
    return jax.pure_callback(
        functools.partial(_batch, model, bins),
        jax.ShapeDtypeStruct((bins,), row.dtype),
        row,
        bounds,
        vmap_method="expand_dims",
    )


@_on_host.defjvp
def _no_gradient(model: HostModel, bins: int, *unused: Any) -> Any:
    raise ValueError(
        f"{model.__name__} is evaluated on the host and has no gradient, which this "
        "method needs. Methods without gradients are 'sbi', 'network' and 'nested'."
    )


def _batch(model: HostModel, bins: int, row: Any, bounds: Any) -> np.ndarray:
    """Spectra of a batch; arguments that are no batch have axes of length 1."""
    rows = np.asarray(row)
    if bounds is None:
        flat = rows.reshape(-1, rows.shape[-1])
        spectra = model.evaluate(flat, None, bins)
        return spectra.reshape(*rows.shape[:-1], bins).astype(rows.dtype)
    every = np.asarray(bounds, np.float64)
    shape = np.broadcast_shapes(rows.shape[:-1], every.shape[:-1])
    flat = np.broadcast_to(rows, (*shape, rows.shape[-1])).reshape(-1, rows.shape[-1])
    grids, which = np.unique(every.reshape(-1, bins + 1), axis=0, return_inverse=True)
    which = np.broadcast_to(which.reshape(every.shape[:-1]), shape).reshape(-1)
    spectra = np.empty((len(flat), bins), rows.dtype)
    for number, grid in enumerate(grids):
        own = which == number
        spectra[own] = model.evaluate(flat[own], np.cumsum(grid), bins)
    return spectra.reshape(*shape, bins)


class HostPhotons(SpectralModel):
    """Photons of a host model at some parameters."""

    model: HostModel = eqx.field(static=True)
    values: Float[Array, " parameter"]

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Photons / cm^2 / s in each bin."""
        # Widths hold more digits than the differences of edges.
        bounds = jnp.append(grid.edges[:1], grid.width)
        return _on_host(self.model, len(grid.width), self.values, bounds)


class HostCounts(eqx.Module):
    """Expected counts of a host model at some parameters, already folded."""

    model: HostModel = eqx.field(static=True)
    values: Float[Array, " parameter"]

    def counts(self, bins: int) -> Float[Array, " channel"]:
        """Expected counts in each fit bin."""
        return _on_host(self.model, bins, self.values, None)
