"""Models that only the host can evaluate: XSPEC, SPEX, or any other code in Python."""

import collections
import concurrent.futures
import contextlib
import functools
import hashlib
import inspect
import multiprocessing
import pickle
import signal
import sys
import time
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
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
from jsbi.model.host_store import SpectrumStore, open_store, origin

UNSAVED = 10.0  # seconds of work that may be in memory alone
_CHUNK = 64  # spectra that a worker process is asked for at a time,
_PATIENCE = 2.0  # and seconds after which it gives back what it has of them
_raised: list[Exception] = []  # what the last failure of a function was


@contextlib.contextmanager
def host_errors() -> Iterator[None]:
    """Raise what a host model raised, rather than JAX's account of it."""
    _raised.clear()
    try:
        yield
    except jax.errors.JaxRuntimeError:
        if not _raised:
            raise
        raise _raised.pop() from None


class HostModel:
    """A model whose spectra come from a function of numpy arrays on the host.

    It is used like any other model. Batches go to worker processes; the rest of the
    pipeline stays on the device. There are no gradients, so that methods which need
    them refuse it; "sbi" trains on stored spectra and reweights by the exact
    likelihood, and "nested" needs the likelihood alone.

    Worker processes end, and the last spectra are written, with `close`, at the end of
    a `with` block, or with the model itself.

    Args:
        function: Maps bin edges [keV], given first, and the named parameters, given by
            keyword, to photons / cm^2 / s in each bin; or, for `gives="counts"`, the
            named parameters alone to the expected counts in each fit bin of the
            observation. A spectrum that is not finite counts as one of which the model
            has no value. Worker processes must be able to import it, so it must be a
            function of a module, or of a script that works behind
            `if __name__ == "__main__":`.
        gives: "photons" or "counts".
        workers: Processes; 0 evaluates in this one.
        store: A folder that keeps every spectrum, so that none is made twice, in this
            run or a later one; None keeps nothing. It is for one version of the
            function: the first use makes one spectrum again, and refuses a folder
            whose spectrum is another. Several processes may use it.
        progress: Whether to draw a bar for each batch.

    Raises:
        ValueError: If a choice is unknown, the function takes no named parameters, or
            workers could not import it.
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
        if workers:
            _check_importable(function)
        self.names = _parameter_names(function, gives)
        self.function, self.gives = function, gives
        self.workers, self.progress = workers, progress
        self._folder = None if store is None else Path(store)
        self._begin()

    def _begin(self) -> None:
        self._checked = False
        self._held = _Held(self.workers)
        weakref.finalize(self, self._held.close, wait=False)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but processes and stores, which belong to this process."""
        return {k: v for k, v in vars(self).items() if k not in ("_held", "_checked")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def __enter__(self) -> "HostModel":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        """Write what is not yet stored and end the worker processes.

        The model can still be used; the next batch starts processes anew.
        """
        self._held.close()

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
            ValueError: If the function returns anything but one number for each bin, or
                the store is damaged or of another function.
            RuntimeError: If the function fails, or a worker process ends.
        """
        # One key per value: zeros without a sign, whatever the precision.
        exact = np.asarray(rows, np.float64) + 0.0
        distinct, back = np.unique(exact, axis=0, return_inverse=True)
        task = functools.partial(_evaluate, self.function, self.names, edges, bins)
        store = self._store(task, edges, bins)
        known = store.find(distinct) if store else np.zeros(len(distinct), bool)
        result = np.empty((len(distinct), bins), np.float32)
        if store and known.any():
            result[known] = store.read(distinct[known])
        result[~known] = self._make(task, distinct[~known], bins, store)
        return result[back.reshape(-1)]

    def _make(
        self, task: Callable, rows: np.ndarray, bins: int, store: SpectrumStore | None
    ) -> np.ndarray:
        result = np.empty((len(rows), bins), np.float32)
        hidden = not self.progress or len(rows) < 2
        with tqdm(desc="host model", total=len(rows), disable=hidden) as bar:
            try:
                for first, spectra in self._run(task, rows):
                    place = slice(first, first + len(spectra))
                    result[place] = spectra
                    bar.update(len(spectra))
                    if store:
                        store.add(rows[place], result[place])
                        self._held.write(UNSAVED)
            except BaseException:
                self._held.write()
                raise
        return result

    def _run(self, task: Callable, rows: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Spectra as they are made, each with the number of the first one's row."""
        if self.workers and len(rows) > 1:
            return self._held.run(task, rows)
        return ((number, task(row)[None]) for number, row in enumerate(rows))

    def _store(
        self, task: Callable, edges: np.ndarray | None, bins: int
    ) -> SpectrumStore | None:
        if self._folder is None:
            return None
        identity = (*origin(self.function), self.names, self.gives, bins)
        digest = hashlib.sha256(repr(identity).encode())
        digest.update(b"" if edges is None else edges.tobytes())
        name = digest.hexdigest()[:16]
        if name not in self._held.stores:
            store = open_store(self._folder / name)
            self._checked = self._checked or store.check(task)
            self._held.stores[name] = store
        return self._held.stores[name]


class _Held:
    """What a model has open; it outlives the model, to close it."""

    def __init__(self, workers: int):
        self.workers = workers
        self.stores: dict[str, SpectrumStore] = {}
        self.pool: concurrent.futures.ProcessPoolExecutor | None = None
        self.written = time.monotonic()

    def write(self, after: float = 0.0) -> None:
        """Write new spectra if the last time is so many seconds ago."""
        if time.monotonic() - self.written >= after:
            for store in list(self.stores.values()):
                store.write()
            self.written = time.monotonic()

    def close(self, wait: bool = True) -> None:
        """Write new spectra and end the processes."""
        self.write()
        if self.pool is not None:
            self.pool.shutdown(wait, cancel_futures=True)
            self.pool = None

    def run(self, task: Callable, rows: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Spectra from the worker processes, in any order."""
        if self.pool is None:
            # Forked processes would share the locks of JAX's threads. Ctrl-C is for
            # this process to answer; those that it starts carry on.
            context = multiprocessing.get_context("spawn")
            self.pool = concurrent.futures.ProcessPoolExecutor(
                self.workers, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)
            )
        try:
            yield from _spread(self.pool, self.workers, task, rows)
        except BrokenProcessPool as error:
            self.pool = None
            raise RuntimeError(
                "A worker process ended. Perhaps it could not import the function, or "
                'the script does its work without `if __name__ == "__main__":`, or '
                "memory was short. `workers=0` does without processes."
            ) from error


def _spread(
    pool: concurrent.futures.Executor, workers: int, task: Callable, rows: np.ndarray
) -> Iterator[tuple[int, Any]]:
    """Give rows to a pool, as few at a time as keep it busy."""
    size = max(1, min(_CHUNK, len(rows) // (4 * workers)))
    waiting = collections.deque(
        (first, min(first + size, len(rows))) for first in range(0, len(rows), size)
    )
    running: dict[concurrent.futures.Future, tuple[int, int]] = {}
    failure = None
    try:
        while (waiting or running) and failure is None:
            while waiting and len(running) <= 2 * workers:
                first, last = waiting.popleft()
                future = pool.submit(_evaluate_some, task, rows[first:last])
                running[future] = (first, last)
            when = concurrent.futures.FIRST_COMPLETED
            for future in concurrent.futures.wait(running, return_when=when).done:
                first, last = running.pop(future)
                spectra, error = future.result()
                failure = failure or error
                if spectra:
                    yield first, np.stack(spectra)
                if first + len(spectra) < last:
                    waiting.append((first + len(spectra), last))
    finally:
        for future in running:
            future.cancel()
    if failure is not None:
        raise failure


def _evaluate_some(task: Callable, rows: np.ndarray) -> tuple[list, Exception | None]:
    """Spectra of the first rows, and the error at which they end; runs in a worker."""
    spectra: list[np.ndarray] = []
    start = time.monotonic()
    for row in rows:
        try:
            spectra.append(task(row))
        except Exception as error:
            error.add_note(f"In the worker process:\n{traceback.format_exc()}")
            return spectra, error
        if time.monotonic() - start > _PATIENCE:
            break
    return spectra, None


def _evaluate(
    function: Callable[..., np.ndarray],
    names: Sequence[str],
    edges: np.ndarray | None,
    bins: int,
    row: np.ndarray,
) -> np.ndarray:
    """One spectrum, checked."""
    values = dict(zip(names, row.tolist(), strict=True))
    given = () if edges is None else (edges,)
    try:
        spectrum = np.asarray(function(*given, **values), np.float32)
    except Exception as error:
        raise RuntimeError(
            f"The function failed at {values}: {type(error).__name__}: {error}"
        ) from error
    if spectrum.shape != (bins,):
        raise ValueError(
            f"The function must return one number for each of the {bins} bins; got "
            f"shape {spectrum.shape} at {values}."
        )
    if (spectrum < 0).any():
        place = int(np.argmin(spectrum))
        raise ValueError(
            "The function must not return negative numbers; got "
            f"{spectrum[place]:g} in bin {place} at {values}."
        )
    return spectrum


def _parameter_names(function: Callable, gives: str) -> tuple[str, ...]:
    taken = list(inspect.signature(function).parameters.values())
    named = taken[1:] if gives == "photons" else taken
    by_name = (
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    if not named or any(one.kind not in by_name for one in named):
        raise ValueError(
            "The function must take named parameters"
            + (" after the bin edges" if gives == "photons" else "")
            + f", each by its name; got {inspect.signature(function)}."
        )
    return tuple(one.name for one in named)


def _check_importable(function: Callable) -> None:
    try:
        pickle.dumps(function)
        reason = None
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        reason = f"{error}. A lambda, or one inside of another?"
    script = getattr(sys.modules["__main__"], "__file__", None)
    if origin(function)[0] == "__main__" and not (script and Path(script).exists()):
        reason = "It is of a notebook, a prompt or standard input."
    if reason is not None:
        raise ValueError(
            "Worker processes must be able to import the function, so it must be one "
            f"of a module; got {function!r}. {reason} `workers=0` needs no import."
        )


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
    """Spectra of a batch; what went wrong is kept for `host_errors`."""
    try:
        return _spectra(model, bins, row, bounds)
    except Exception as error:
        _raised[:] = [error]
        raise


def _spectra(model: HostModel, bins: int, row: Any, bounds: Any) -> np.ndarray:
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
