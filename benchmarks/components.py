"""How right and how fast each component is: `python -m benchmarks.components`.

Every component is compared with XSPEC 12.9.1 on the grids and parameters of the
reference files, and timed in batches of 1000 sets of parameters on 2000 bins, beside
the power law. Writes `results/components.json` and the tables of `docs/components.md`;
of those that are not asked for, the rows that are there stay.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from benchmarks.measure import RESULTS, save
from jsbi.instrument import EnergyGrid
from jsbi.model import (
    COMPONENTS,
    Component,
    Convolution,
    spectral_model,
)
from jsbi.model.registry import kind_of
from jsbi.store import atomic_path

BATCH, BINS = 1000, 2000
REPEATS = 5
ENOUGH = 5.0  # seconds of one component after which it is not repeated
SEEN = 1e-6  # of the peak, from which values are compared
ROOT = Path(__file__).parents[1]
DATA = os.environ.get("JSBI_TEST_DATA", str(ROOT.parent / "shared" / "data"))
REFERENCE = Path(DATA).parent / "reference" / "xspec"
PAGE = ROOT / "docs" / "components.md"


def applied(component: Any) -> Any:
    """A component, or a convolution of a power law or of an absorber."""
    if not isinstance(component, Convolution):
        return component
    changed = "tbabs" if component.changes_factor else "powerlaw"
    return component * spectral_model(changed)()


@eqx.filter_jit
def _spectrum(model: Any, grid: EnergyGrid, *changed: Array) -> Array:
    return model(grid, *changed)


def values(component: Any, edges: np.ndarray, changed: np.ndarray | None) -> np.ndarray:
    """A component on bins, or what a convolution makes of given ones."""
    given = () if changed is None else (jnp.asarray(changed, float),)
    return np.asarray(_spectrum(component, EnergyGrid(edges), *given), np.float64)


def differences(component: type[Component]) -> dict[str, float]:
    """Relative differences from XSPEC where there is flux, and of float32."""
    apart, single = [], []
    with np.load(REFERENCE / f"{component.xspec_name}.npz") as file:
        for key in file:
            _, grid, *variant = (*key.split("_"), "")[:3]
            if not key.startswith("flux") or variant != [""]:
                continue
            edges, changed = file[f"energies_{grid}"], file.get(f"input_flux_{grid}")
            for case, spectrum in zip(file["params"].tolist(), file[key], strict=True):
                held = np.float32(case).tolist()
                with jax.enable_x64(True):
                    ours = values(component(*case), edges, changed)
                    exact = values(component(*held), edges, changed)
                truth = np.asarray(spectrum, np.float64)
                seen = truth > SEEN * truth.max()
                apart.append(abs(ours[seen] / truth[seen] - 1))
                rounded = values(component(*held), edges, changed)
                bright = exact > SEEN * exact.max()
                single.append(abs(rounded[bright] / exact[bright] - 1))
    every, rounding = np.concatenate(apart), np.concatenate(single)
    return {
        "median": float(np.median(every)),
        "99 %": float(np.quantile(every, 0.99)),
        "largest": float(every.max()),
        "float32": float(np.nan_to_num(rounding).max()),
    }


def parameters_of(component: type[Component]) -> np.ndarray:
    """Sets of parameters near those of XSPEC's cases, within the limits."""
    with np.load(REFERENCE / f"{component.xspec_name}.npz") as file:
        cases = np.asarray(file["params"], np.float64)
    generator = np.random.default_rng(0)
    values = cases[generator.integers(len(cases), size=BATCH)]
    values = values * generator.uniform(0.97, 1.03, values.shape)
    declared = list(component.parameters().values())
    if len(declared) > values.shape[1]:
        values = np.column_stack([values, np.ones(BATCH)])
    low, high = np.array([(each.low, each.high) for each in declared]).T
    return np.clip(values, low, high)


def speed(component: type[Component], grid: EnergyGrid) -> dict[str, float]:
    """Seconds of a batch, in float32, and of its compilation."""
    rows = jnp.asarray(parameters_of(component), jnp.float32)

    @jax.jit
    def batch(values):
        return jax.vmap(lambda row: applied(component(*row))(grid))(values)

    start = time.perf_counter()
    compiled = batch.lower(rows).compile()
    compilation = time.perf_counter() - start
    spent = []
    while len(spent) < REPEATS and sum(spent) < ENOUGH:
        start = time.perf_counter()
        compiled(rows).block_until_ready()
        spent.append(time.perf_counter() - start)
    return {"compile [s]": compilation, "batch [s]": statistics.median(spent)}


def measure(component: type[Component], grid: EnergyGrid) -> dict[str, Any]:
    """A row of the table; the power law is timed beside each."""
    (power_law,) = (each for each in COMPONENTS if each.xspec_name == "powerlaw")
    row: dict[str, Any] = {
        "component": component.xspec_name,
        "kind": kind_of(component),
    }
    row |= differences(component) | speed(component, grid)
    row["evaluations / s"] = BATCH / row["batch [s]"]
    row["power laws"] = row["batch [s]"] / speed(power_law, grid)["batch [s]"]
    return row


def page(rows: list[dict[str, Any]]) -> str:
    """The tables of the documentation."""
    lines = [
        "# Components",
        "",
        "Names, parameters, units and defaults are XSPEC's; `jsbi models` lists their",
        "limits. What a docstring says of an approximation of XSPEC's is the reason of",
        "a difference: where XSPEC approximates, jsbi is right rather than alike.",
        "",
        "| component | kind | parameters |",
        "| --- | --- | --- |",
    ]
    for component in COMPONENTS:
        declared = ", ".join(
            f"{each.name} = {each.default:g}"
            + (f" {each.unit}" if each.unit else "")
            + (" (frozen)" if each.frozen else "")
            for each in component.parameters().values()
        )
        lines.append(f"| {component.xspec_name} | {kind_of(component)} | {declared} |")
    lines += [
        "",
        "## Against XSPEC, and how fast",
        "",
        "`python -m benchmarks.components`: relative differences from XSPEC 12.9.1 in",
        "float64, of all bins above 1e-6 of the peak; the largest one of float32 from",
        "float64 there, at parameters that float32 holds; seconds to compile a batch",
        "of 1000 sets of parameters on 2000 bins, sets per second, and how many times",
        "a power law's time they take.",
        "The power law is timed beside each, since the machine has two busy cores.",
        "",
        "| component | median | 99 % | largest | float32 | compile [s] | per s | "
        "power laws |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    columns = (
        *("median", "99 %", "largest", "float32"),
        *("compile [s]", "evaluations / s", "power laws"),
    )
    for row in rows:
        cells = " | ".join(f"{row[column]:.2g}" for column in columns)
        lines.append(f"| {row['component']} | {cells} |")
    lines += [
        "",
        "Largest differences of about 1 are single bins: wings of lines, which XSPEC",
        "cuts at 1e-8 or 1e-6 of the line, and resonances, edges and black bins of",
        "absorbers, where XSPEC takes the edges of a bin and jsbi its average; the",
        "ripple of XSPEC's 99 rings in `diskline`; and `compbb`, for which XSPEC's 128",
        "energies are too few and the last 15 bins are 0. In float32 more than 1e-4:",
        "`agauss`, of which a narrow line is within the rounding of its wavelength,",
        "`diskline` far from the line, and the bin of `zashift` that is cut by the end",
        "of the energies. More than 20 times a power",
        "law cost: `gsmooth` and `lsmooth`, which compare every bin with every other;",
        "`nthComp`, which solves the Kompaneets equation step by step in energy;",
        "`compbb`, which sums scatterings in Fourier space, four times over for single",
        "precision; `diskline`, a series of 24 integrals from each of five corners;",
        "bremsstrahlung and `compLS` with Gaunt factors; and absorbers with",
        "a redshift or with abundances of their own, which look up cross sections for",
        "each set of parameters instead of once.",
    ]
    return "\n".join(lines) + "\n"


def _known() -> dict[str, dict[str, Any]]:
    """The rows that were measured before."""
    path = RESULTS / "components.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return {row["component"]: row for row in rows}


def main() -> None:
    """Measure all components, or some, and write the page of all."""
    names = [component.xspec_name for component in COMPONENTS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("components", nargs="*", help="XSPEC's names; default: all")
    wanted = parser.parse_args().components or names
    if unknown := sorted(set(wanted) - set(names)):
        parser.error(f"No components: {', '.join(unknown)}. `jsbi models` lists them.")
    grid = EnergyGrid(np.geomspace(0.1, 12.0, BINS + 1))
    rows = _known()
    for component in COMPONENTS:
        if component.xspec_name in wanted:
            rows[component.xspec_name] = measure(component, grid)
            print(rows[component.xspec_name], flush=True)
    every = [rows[name] for name in names if name in rows]
    save("components", every)
    with atomic_path(PAGE) as temporary:
        temporary.write_text(page(every))


if __name__ == "__main__":
    main()
