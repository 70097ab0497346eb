"""What all benchmarks share: the problem, the machine and the result file."""

import json
import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("jax", "jaxlib", "equinox", "flowjax", "blackjax", "numpy")


def machine() -> dict[str, Any]:
    """Versions, device and commit, without which a number means nothing."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    device = jax.devices()[0]
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or "unknown",
    } | {name: metadata.version(name) for name in PACKAGES}


def peak_memory() -> float:
    """The most memory that this process has held so far [MB]."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    return most / (1e6 if sys.platform == "darwin" else 1e3)


def device_memory() -> float | None:
    """The most memory of the device that JAX has held [MB]; None where unknown."""
    statistics = jax.devices()[0].memory_stats()
    return statistics["peak_bytes_in_use"] / 1e6 if statistics else None


def save(name: str, rows: list[dict[str, Any]]) -> None:
    """Print a table and write it with the machine to `results/name.json`."""
    columns = list(rows[0])
    print(" | ".join(columns))
    for row in rows:
        print(" | ".join(_show(row[column]) for column in columns))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    print(path)


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
