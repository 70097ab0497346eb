"""Strict numerics for the whole suite, and the way to the real data sets."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest
from xdist.scheduler import LoadScopeScheduling

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


class _ByFile(LoadScopeScheduling):
    """Gives each file to one process, and each component's laws to any."""

    def _split_scope(self, nodeid: str) -> str:
        path, _, test = nodeid.partition("::")
        if not path.endswith("test_components.py"):
            return path
        return path + test.partition("[")[2].rstrip("]").split("-")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFile:
    """Share tests among processes so that fixtures of a module are made once."""
    return _ByFile(config, log)


@pytest.fixture(scope="session")
def test_data() -> Callable[[str], Path]:
    """Find a file among the real data sets; skip where they are absent.

    They live in the folder named by `JSBI_TEST_DATA`, else in `../shared/data`
    beside the checkout. In CI they must be there, so a missing one fails.
    """
    beside = Path(__file__).parents[2] / "shared" / "data"
    root = Path(os.environ.get("JSBI_TEST_DATA", beside))

    def find(name: str) -> Path:
        path = (root / name).resolve()
        if not path.exists():
            message = f"{path} is absent; set JSBI_TEST_DATA to the data folder"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)
        return path

    return find


@pytest.fixture(scope="module")
def reused_keys():
    """Let blackjax and flowjax handle their keys as they do."""
    jax.config.update("jax_debug_key_reuse", False)
    yield
    jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled_code():
    """Free what has been compiled before the process has too many maps of memory.

    Linux allows 65,530; the compiler crashes at the next one.
    """
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") > 30_000:
        jax.clear_caches()
