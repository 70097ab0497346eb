"""What all benchmarks share: the problem, the machine and the result file."""

import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("jax", "jaxlib", "equinox", "flowjax", "blackjax", "numpy")


def machine() -> dict[str, Any]:
    """Versions, device and commit, without which a number means nothing."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
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
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or "unknown",
    } | {name: metadata.version(name) for name in PACKAGES}


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
