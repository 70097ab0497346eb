"""Are posteriors calibrated, and would it show? `python -m benchmarks.calibration`.

Spectra are simulated from the prior and inferred with one amortised network. The truths
are ranked in the network's draws, in the final posteriors, and in posteriors that are
broken on purpose. Random subsets of the spectra tell how many are needed to catch each.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from benchmarks.case import Case, coarser
from benchmarks.cases import epic_pn, paper1_model1
from benchmarks.measure import RESULTS, save
from jsbi.diagnose.calibration import (
    TARP,
    Calibration,
    Trial,
    gather,
    rank_truth,
)
from jsbi.diagnose.uniformity import distribution
from jsbi.plot.calibration import calibration
from jsbi.posterior import Posterior
from jsbi.procedure import OneNetwork, add_noise, draw_prior
from jsbi.simulate import Target
from jsbi.training import amortize

CASES: dict[str, Callable[[], Case]] = {
    "paper1_model1_20000": paper1_model1,
    "paper1_model1_2000": lambda: paper1_model1(2_000),
    "epic_pn": epic_pn,
}
MERGED = {"epic_pn": 4}  # energy bins in one, in simulation and inference alike
ROWS = 500  # equal-weight draws of a posterior that is to be broken
NARROW, SHIFT = 0.8, 0.3  # factor of the widths; displacement in widths
SIZES = (100, 300, 1000)
SUBSETS = 200
EXACT = 60_000  # trials of a problem whose posterior is known
FALSE_ALARMS = (0.01, 0.1)

Draws = np.ndarray


def broken(generator: np.random.Generator, z: Draws, other: Draws) -> dict[str, Draws]:
    """Equal-weight draws, broken in several ways.

    Args:
        generator: Random generator.
        z: Of the posterior.
        other: Of that of another spectrum.
    """
    mean, sd = z.mean(0), z.std(0)
    return {
        "resampled": z,
        "widths x 0.8": mean + NARROW * (z - mean),
        "shifted by 0.3 widths": z + SHIFT * sd,
        "prior": generator.standard_normal(z.shape),
        "one parameter of another": np.column_stack([other[:, 0], z[:, 1:]]),
        "correlations lost": generator.permuted(z, axis=0),
    }


def equal_weights(
    posterior: Posterior, z: Draws, log_likelihood: np.ndarray
) -> Posterior:
    """The posterior with other draws, of equal weights."""
    return dataclasses.replace(
        posterior,
        z=z,
        values=z,
        log_weight=np.full(len(z), -np.log(len(z))),
        log_likelihood=log_likelihood,
        effective_draws=float(len(z)),
    )


def ranked(
    generator: np.random.Generator,
    target: Target,
    truth: np.ndarray,
    fit: float,
    before: Posterior,
    after: Posterior,
    other: Draws,
) -> tuple[dict[str, Trial], Draws]:
    """The truth's ranks in all posteriors of one spectrum, and its equal draws."""
    rows = generator.choice(after.draws, ROWS, p=after.weights)
    made = broken(generator, after.z[rows], other)
    known = target.log_likelihood(np.concatenate(list(made.values())))
    posteriors = {"before": before, "after": after} | {
        name: equal_weights(after, z, own)
        for (name, z), own in zip(made.items(), np.split(known, len(made)), strict=True)
    }
    trials = {
        name: rank_truth(generator, posterior, truth, fit)
        for name, posterior in posteriors.items()
    }
    return trials, after.z[rows]


def examine(
    case: Case, given: argparse.Namespace
) -> tuple[dict[str, Calibration], dict[str, Any]]:
    """Train, simulate, infer and rank; what it took is told as well."""
    (observation,) = case.observations
    observation = coarser(observation, MERGED.get(case.name, 1))
    start = time.perf_counter()
    network = amortize(
        jax.random.key(0),
        observation,
        case.model,
        case.prior,
        simulations=given.simulations,
        steps=given.steps,
        progress=False,
    )
    trained = time.perf_counter()
    procedure = OneNetwork(network, observation.exposure, given.draws)
    target = Target(procedure.under(1.0), observation.binned_counts)
    generator = np.random.default_rng(1)
    spectra = add_noise(generator, *draw_prior(generator, target, given.spectra))
    outcomes = procedure.posteriors(jax.random.key(2), spectra.counts, 1.0)
    other = generator.standard_normal((ROWS, target.dimension))
    trials, verdicts = [], []
    for truth, counts, fit, outcome in zip(
        spectra.z, spectra.counts, spectra.log_likelihood, outcomes, strict=True
    ):
        if isinstance(outcome, str):
            verdicts.append("failed")
            continue
        here = Target(target.simulator, counts)
        found, other = ranked(generator, here, truth, float(fit), *outcome, other)
        trials.append(found)
        report = outcome[1].report
        assert report is not None
        verdicts.append(report.verdict)
    took = {
        "case": case.name,
        "training [s]": trained - start,
        "per spectrum [s]": (time.perf_counter() - trained) / given.spectra,
    } | {
        each: verdicts.count(each)
        for each in ("trusted", "usable", "not trusted", "failed")
    }
    names = network.simulator.prior.names
    return {
        name: gather(names, [trial[name] for trial in trials]) for name in trials[0]
    }, took


def rows_of(case: str, found: dict[str, Calibration]) -> Iterator[dict[str, Any]]:
    """Each kind of posterior in one row."""
    for name, each in found.items():
        worst = int(np.argmin(each.adjusted))
        levels = np.array([0.68, 0.95])
        at, share = distribution(each.of(TARP))
        yield {
            "case": case,
            "posterior": name,
            "trials": each.trials,
            "passed": each.passed(),
            "smallest adjusted p-value": float(each.adjusted[worst]),
            "of": each.quantities[worst],
            "TARP p-value": float(each.p_values[-1]),
            "TARP largest deviation": float(np.abs(share - at).max()),
            "densest 68 % hold": float(each.coverage(levels)[0]),
            "densest 95 % hold": float(each.coverage(levels)[1]),
            "smallest p-value of a parameter": float(
                each.p_values[: len(each.names)].min()
            ),
        }


def power_rows(case: str, found: dict[str, Calibration]) -> Iterator[dict[str, Any]]:
    """Share of random subsets in which each kind of posterior is caught."""
    generator = np.random.default_rng(3)
    for name, each in found.items():
        row: dict[str, Any] = {"case": case, "posterior": name}
        for size in SIZES:
            row[f"caught by {size}"] = None
            if size <= each.trials:
                number = SUBSETS if size < each.trials else 1
                caught = [
                    not each.where(
                        generator.choice(each.trials, size, replace=False)
                    ).passed()
                    for _ in range(number)
                ]
                row[f"caught by {size}"] = float(np.mean(caught))
        yield row


def exact_trials(generator: np.random.Generator, dimension: int = 5) -> Iterator[Trial]:
    """Trials of a normal problem, ranked among exact draws of its posterior."""
    design = generator.standard_normal((dimension, dimension)) * 3.0
    covariance = np.linalg.inv(design.T @ design + np.eye(dimension))
    factor = np.linalg.cholesky(covariance)
    for _ in range(EXACT):
        truth = generator.standard_normal(dimension)
        data = design @ truth + generator.standard_normal(dimension)
        mean = covariance @ design.T @ data
        z = mean + generator.standard_normal((ROWS, dimension)) @ factor.T
        points = np.concatenate([z, truth[None]])
        fit = -0.5 * ((data - points @ design.T) ** 2).sum(1)
        posterior = Posterior(
            names=tuple(f"z{i}" for i in range(dimension)),
            z=z,
            values=z,
            log_weight=np.full(ROWS, -np.log(ROWS)),
            log_likelihood=fit[:-1],
            effective_draws=float(ROWS),
        )
        yield rank_truth(generator, posterior, truth, float(fit[-1]))


def alarm_rows() -> Iterator[dict[str, Any]]:
    """How often exact posteriors do not pass."""
    names = tuple(f"z{i}" for i in range(5))
    exact = gather(names, exact_trials(np.random.default_rng(4)))
    for size in SIZES:
        parts = np.split(np.arange(EXACT), EXACT // size)
        pieces = [exact.where(part) for part in parts]
        yield {"trials": size, "subsets": len(parts)} | {
            f"share not passed at {100 * level:.0f} %": float(
                np.mean([not piece.passed(level) for piece in pieces])
            )
            for level in FALSE_ALARMS
        }


def main() -> None:
    """Examine all cases; save tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spectra", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--simulations", type=int, default=50_000)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    given = parser.parse_args()
    save("calibration_false_alarms", list(alarm_rows()))
    for name in given.cases:
        found, took = examine(CASES[name](), given)
        save(f"calibration_{name}", list(rows_of(name, found)))
        save(f"calibration_{name}_power", list(power_rows(name, found)))
        save(f"calibration_{name}_cost", [took])
        figure = calibration(found["after"], found["before"])
        figure.savefig(RESULTS / f"calibration_{name}.png")


if __name__ == "__main__":
    main()
