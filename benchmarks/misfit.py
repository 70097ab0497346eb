"""Is it noticed that a model lacks something? `python -m benchmarks.misfit`.

An absorbed power law, seen by the NICER-like instrument, is fitted to spectra that have
something more: an iron line, an energy scale that is 3 % off, an absorber in front of
half of the source; or nothing more, which shows the false alarms. Each spectrum goes
through the search for what is missing and through tests of misspecification.
"""

import argparse
import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.case import coarser
from benchmarks.cases import nicer_setting
from benchmarks.measure import RESULTS, save
from jsbi.api import make_target
from jsbi.compress import ScaledCounts
from jsbi.correct import best_rung
from jsbi.data import Observation
from jsbi.diagnose.additions import PartialCover
from jsbi.diagnose.goodness import cstat_moments
from jsbi.diagnose.missing import FLAGGED, find_missing, fit_target
from jsbi.diagnose.misspecified import (
    combine,
    discrepancy_test,
    distance_test,
    fit_test,
    posterior_spectra,
)
from jsbi.instrument.gain import GainFolder
from jsbi.model import TBabs, spectral_model
from jsbi.plot.style import BLUE, GREEN, GREY, STYLE, VERMILION, new_figure
from jsbi.posterior import Posterior
from jsbi.progress import Progress
from jsbi.simulate import LogUniform, Prior, Simulator, Target, Uniform

MODEL = spectral_model("tbabs*powerlaw")
TRUTH = {"tbabs.nH": 0.3, "powerlaw.PhoIndex": 1.8, "powerlaw.norm": 0.01}
PRIOR = {
    "tbabs.nH": Uniform(0.0, 2.0),
    "powerlaw.PhoIndex": Uniform(0.0, 4.0),
    "powerlaw.norm": LogUniform(1e-4, 1.0),
}
LINE, EQUIVALENT_WIDTH = 6.4, 0.3  # keV
GAIN = 0.03
COLUMN, FRACTION = 3.0, 0.5  # 1e22 / cm^2
# What is missing, and the additions that are right.
MISSING: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "line": ("emission line",),
    "gain": ("gain shift",),
    "absorber": ("partial absorber", "absorber"),
}
COUNTS = (1e3, 1e4, 1e5, 1e6)
SIMULATIONS = 199  # for each of the tests
LEVEL = 0.05
MERGED = 4  # energy bins in one, in simulation and inference alike, to be faster


def setting(counts: float) -> Observation:
    """The empty observation in which the model makes so many counts."""
    unit = make_target((nicer_setting(1.0),), MODEL, Prior(PRIOR))
    rate = float(unit.simulator.fold(MODEL(**TRUTH)).sum())
    return coarser(nicer_setting(counts / rate), MERGED)


def expected_counts(
    missing: str, simulator: Simulator, observation: Observation
) -> np.ndarray:
    """Counts of the truth in all fit bins."""
    model: Any = MODEL(**TRUTH)
    if missing == "line":
        continuum = TRUTH["powerlaw.norm"] * LINE ** -TRUTH["powerlaw.PhoIndex"]
        line = {"gaussian.LineE": LINE, "gaussian.Sigma": 0.0}
        line |= {"gaussian.norm": EQUIVALENT_WIDTH * continuum}
        model = model + spectral_model("gaussian")(**line)
    if missing == "absorber":
        cover = TBabs(jnp.asarray(COLUMN)), jnp.asarray(FRACTION)
        model = PartialCover(*cover) * model
    if missing == "gain":
        shifted = GainFolder(observation).shifted(jnp.asarray(GAIN))
        simulator = dataclasses.replace(simulator, folders=(shifted,))
    return np.asarray(simulator.fold(model), np.float64)


def fit(key: Any, target: Target) -> Posterior:
    """The posterior of the model, whatever it lacks."""
    rungs = fit_target(key, target, "mixture", Progress(False))
    return best_rung(rungs).posterior


def examine(
    seed: int, missing: str, simulator: Simulator, observation: Observation
) -> dict[str, Any]:
    """Simulate one spectrum, fit it, and look for what is wrong."""
    start = time.perf_counter()
    expected = expected_counts(missing, simulator, observation)
    counts = np.random.default_rng(seed).poisson(expected).astype(np.float64)
    target = Target(simulator, counts)
    key_fit, key_search, key_made = jax.random.split(jax.random.key(seed), 3)
    posterior = fit(key_fit, target)
    fitted = time.perf_counter()
    found = find_missing(key_search, target, posterior, observations=(observation,))
    searched = time.perf_counter()
    z, made = posterior_spectra(key_made, target, posterior, SIMULATIONS)
    space = ScaledCounts(jnp.asarray(made, jnp.float32))
    tests = [
        fit_test(target, posterior, z, made),
        distance_test(space, counts, made),
        discrepancy_test(space, counts[None], made),
    ]
    best = int(np.argmax(posterior.log_likelihood))
    mean, sd = cstat_moments(target.expected_counts(posterior.z[best]))
    cstat = -2 * float(posterior.log_likelihood[best])
    right = [a for a in found.additions if a.name in MISSING[missing]]
    return {
        "flagged": bool(found.flagged),
        "right": bool(found.flagged) and found.flagged[0] in right,
        "best": found.additions[0].name,
        "largest": found.additions[0].log_bayes,
        "own": max((a.log_bayes for a in right), default=0.0),
        "doubts": sum(bool(a.doubts) for a in found.additions),
        "verdict": (cstat - mean) / sd > 3,
        "p": [test.p_value for test in tests],
        "rejected": combine(tests, LEVEL).rejected,
        "seconds": (searched - fitted, time.perf_counter() - searched),
        "all": time.perf_counter() - start,
    }


def cell(missing: str, counts: float, spectra: int) -> dict[str, Any]:
    """One kind of truth at one number of counts."""
    observation = setting(counts)
    simulator = make_target((observation,), MODEL, Prior(PRIOR)).simulator
    outcomes = [
        examine(seed, missing, simulator, observation) for seed in range(spectra)
    ]
    p = np.array([outcome["p"] for outcome in outcomes])
    timed = outcomes[1:] or outcomes  # the first compiles
    row = {
        "missing": missing,
        "counts": counts,
        "spectra": spectra,
        "flagged": np.mean([o["flagged"] for o in outcomes]),
        "right one leads": np.mean([o["right"] for o in outcomes]),
        "median ln B, right": np.median([o["own"] for o in outcomes]),
        "largest ln B": np.max([o["largest"] for o in outcomes]),
        "additions with doubts": np.mean([o["doubts"] for o in outcomes]),
        "C-stat 3 sd high": np.mean([o["verdict"] for o in outcomes]),
        "fit p < 0.05": (p[:, 0] <= LEVEL).mean(),
        "distance p < 0.05": (p[:, 1] <= LEVEL).mean(),
        "discrepancy p < 0.05": (p[:, 2] <= LEVEL).mean(),
        "rejected, all tests": np.mean([o["rejected"] for o in outcomes]),
        "search [s]": np.median([o["seconds"][0] for o in timed]),
        "tests [s]": np.median([o["seconds"][1] for o in timed]),
        "all [s]": np.median([o["all"] for o in timed]),
    }
    return {k: v if isinstance(v, str | int) else float(v) for k, v in row.items()}


@mpl.rc_context(STYLE)
def draw(rows: list[dict[str, Any]]) -> Figure:
    """Shares of spectra in which each truth is noticed, along the counts."""
    figure = new_figure(9, 3, layout="constrained")
    panels = figure.subplots(1, len(MISSING), sharey=True)
    lines = (
        ("flagged", "something flagged", BLUE, "o-"),
        ("right one leads", "the right one leads", GREEN, "s--"),
        ("rejected, all tests", "rejected by tests", VERMILION, "^:"),
    )
    for axes, missing in zip(panels, MISSING, strict=True):
        own = [row for row in rows if row["missing"] == missing]
        for column, label, colour, style in lines:
            if missing == "nothing" and column == "right one leads":
                continue
            at = [row["counts"] for row in own], [row[column] for row in own]
            axes.plot(*at, style, ms=4, color=colour, label=label)
        if missing == "nothing":
            axes.axhline(LEVEL, color=GREY, lw=0.8, ls="--", label="5 %")
        axes.set(xscale="log", xlabel="counts", ylim=(-0.04, 1.04))
        axes.set_title(f"missing: {missing}")
    panels[0].set_ylabel("share of spectra")
    panels[0].legend(loc="upper left")
    panels[1].legend(loc="lower right")
    return figure


def main() -> None:
    """All truths at all numbers of counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spectra", type=int, default=20)
    parser.add_argument("--counts", type=float, nargs="+", default=COUNTS)
    parser.add_argument("--missing", nargs="+", default=tuple(MISSING))
    given = parser.parse_args()
    rows = []
    for counts in given.counts:
        for missing in given.missing:
            rows.append(cell(missing, counts, given.spectra))
            print(rows[-1], flush=True)
    for row in rows:
        row["threshold"] = FLAGGED
    save("misfit", rows)
    if tuple(given.missing) == tuple(MISSING):
        draw(rows).savefig(RESULTS / "misfit.png")


if __name__ == "__main__":
    main()
