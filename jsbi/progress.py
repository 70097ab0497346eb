"""What a long piece of work is doing, and how long each phase of it took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
from tqdm import tqdm

_COMPILING = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


class Progress:
    """Progress bars on standard error, and a ledger of seconds by phase.

    Compilation is measured through JAX's own events and is taken out of the phase that
    triggered it.

    Args:
        show: Whether to draw bars.
    """

    def __init__(self, show: bool = True):
        self.show = show
        self.spent: dict[str, float] = {}
        self._compile = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the total and the compile time of everything in the block."""
        start = time.perf_counter()
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        try:
            yield
        finally:
            jax.monitoring.unregister_event_duration_listener(self._listen)
            self.spent["total"] = time.perf_counter() - start
            self.spent["compile"] = self._compile

    @contextmanager
    def stage(
        self, name: str, phase: str, total: int
    ) -> Iterator[Callable[[int], Any]]:
        """One bar.

        Args:
            name: What the bar says, beginning with the rung.
            phase: The entry of the ledger that it counts towards.
            total: Units of work.

        Yields: A function that advances the bar by a number of units.
        """
        start, compiled = time.perf_counter(), self._compile
        with tqdm(
            total=total, desc=name, disable=not self.show, leave=True, unit_scale=True
        ) as bar:
            yield bar.update
        elapsed = time.perf_counter() - start - (self._compile - compiled)
        self.spent[phase] = self.spent.get(phase, 0.0) + elapsed

    def _listen(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event in _COMPILING:
            self._compile += duration_secs
