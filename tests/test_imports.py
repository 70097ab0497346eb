"""Packages depend on those below them only, and importing changes nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jsbi

LOWEST = ("posterior", "store", "weights", "progress", "promotion", "descent")
ABOVE = ("data", "instrument", "model", "simulate", "compress", "estimate")
ABOVE += ("fluxes", "baseline", "correct", "diagnose", "plot", "api")
ABOVE += ("network_file", "matching", "amortized", "training")
ABOVE += ("procedure", "check", "config")
ABOVE += ("output", "demo")
ABOVE += ("__version__", "cli")  # a name of `jsbi/__init__`, which imports the API
RANK = dict.fromkeys(LOWEST, 0) | {name: i for i, name in enumerate(ABOVE, start=1)}
ROOT = Path(jsbi.__file__).parent
IMPORT = """
import importlib, sys
import jax
before = dict(jax.config.values)
for name in sys.argv[1:]:
    importlib.import_module(name)
after = dict(jax.config.values)
print({name for name in before if after[name] != before[name]})
print({name for name in ("matplotlib", "corner", "arviz") if name in sys.modules})
"""


def imported(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    if node.module == "jsbi":
        return [f"jsbi.{alias.name}" for alias in node.names]
    return [node.module or ""]


def jsbi_imports(path):
    """The packages of jsbi, other than its own, that a file imports."""
    here = path.relative_to(ROOT).with_suffix("").parts[0]
    for node in ast.walk(ast.parse(path.read_text())):
        for name in imported(node):
            package, _, there = name.partition(".")
            if package == "jsbi" and there.split(".")[0] != here:
                yield here, there.split(".")[0]


SOURCES = [path for path in ROOT.rglob("*.py") if path.parent != ROOT] + [
    path for path in ROOT.glob("*.py") if not path.stem.startswith("__")
]


@pytest.mark.parametrize(
    "path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_imports_point_down(path):
    for here, there in jsbi_imports(path):
        assert here in RANK, f"{here} has no layer"
        # The lowest layer is several modules, which may use one another.
        assert RANK.get(there, 99) <= RANK[here], f"{here} imports {there}"


def test_the_lowest_layer_has_no_cycle():
    lowest = [ROOT / f"{name}.py" for name in LOWEST]
    needs = {
        path.stem: {there for _, there in jsbi_imports(path)}
        for path in lowest
        if path.exists()
    }
    while needs:
        free = {name for name, others in needs.items() if not others & set(needs)}
        assert free, f"cycle among {sorted(needs)}"
        needs = {name: needs[name] for name in needs if name not in free}


def test_importing_changes_no_setting_and_loads_no_plotting():
    places = (path.relative_to(ROOT).with_suffix("").parts for path in SOURCES)
    names = [".".join(("jsbi", *parts)) for parts in places if parts[0] != "plot"]
    result = subprocess.run(
        [sys.executable, "-c", IMPORT, "jsbi", *names],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT.parent,
    )
    assert result.stdout.splitlines() == ["set()", "set()"]
