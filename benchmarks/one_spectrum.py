"""Posteriors of the paper's own spectra, for `benchmarks.reproduce`."""

import time
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from benchmarks.cases import paper1_reference
from benchmarks.measure import save
from benchmarks.panels import Cloud, cloud_of, draw_overlay, picture
from benchmarks.trial import SETUPS, Sizes
from jsbi.api import infer
from jsbi.correct import draw_from_flow
from jsbi.estimate import FlowProposal, TotalCounts, restrict_by_classifier, run_rounds
from jsbi.posterior import Posterior
from jsbi.weights import effective_draws, pareto_k

ROUNDS, PER_ROUND, SINGLE = 3, 1000, 20_000
DRAWS = 4096


def posterior(sizes: Sizes, setups: tuple[str, ...]) -> None:
    """Posteriors of the paper's own spectra by three methods: figures 6 and 9."""
    rows = []
    for counts in (20_000, 2_000):
        case = paper1_reference(counts)
        found: dict[str, Posterior] = {}
        for number, method in enumerate(("nuts", "auto", "sbi")):
            found[method] = infer(
                jax.random.key(number),
                case.observations,
                case.model,
                case.prior,
                method=method,
                progress=False,
            )
            rows += shift_rows(counts, method, found[method], found["nuts"])
        clouds = {method: cloud_of(each) for method, each in found.items()}
        names = found["nuts"].names
        picture(f"reproduce_posterior_{counts}", draw_overlay(names, clouds), dpi=100)
    save("reproduce_posterior", rows)


def shift_rows(
    counts: int, method: str, found: Posterior, reference: Posterior
) -> list[dict[str, Any]]:
    """Means and widths, and how far they are from NUTS."""
    report = found.report
    assert report is not None
    return [
        {
            "counts": counts,
            "method": method,
            "parameter": name,
            "mean": float(mean),
            "sd": float(sd),
            "shift from NUTS [sd]": float((mean - other) / other_sd),
            "sd / NUTS": float(sd / other_sd),
            "efficiency": found.efficiency,
            "Pareto k": found.pareto_k,
            "C-stat": report.cstat,
            "expected": report.cstat_expected,
            "its sd": report.cstat_sd,
            "verdict": report.verdict,
            "total [s]": report.seconds["total"],
            "compile [s]": report.seconds["compile"],
        }
        for name, mean, sd, other, other_sd in zip(
            found.names,
            found.mean(),
            found.sd(),
            reference.mean(),
            reference.sd(),
            strict=True,
        )
    ]


@eqx.filter_jit
def _sample(key: Array, proposal: FlowProposal) -> Array:
    return proposal.sample(key, DRAWS)


def rounds(sizes: Sizes, setups: tuple[str, ...]) -> None:
    """Three rounds of 1000 simulations against one of 20,000: figure 10."""
    case = paper1_reference(2_000)
    target = case.target()
    key_exact, key_start, key_rounds, key_draw = jax.random.split(jax.random.key(3), 4)
    exact = infer(key_exact, case.observations, case.model, case.prior, progress=False)
    rule = TotalCounts(*SETUPS["model1_2000"].counts)
    start = restrict_by_classifier(key_start, target, rule=rule)
    steps = sizes.steps // 4
    # With the same key, fewer rounds are the beginning of more.
    plans = {f"round {n}": (n, PER_ROUND, steps) for n in range(1, ROUNDS + 1)}
    plans[f"single round of {SINGLE}"] = (1, SINGLE, ROUNDS * steps)
    rows, clouds = [], {"exact": cloud_of(exact)}
    for name, (number, simulations, trained) in plans.items():
        began = time.perf_counter()
        result = run_rounds(
            jax.random.clone(key_rounds),
            target,
            start=start,
            rounds=number,
            number=simulations,
            steps=trained,
            shrink=0.0,
        )
        seconds = time.perf_counter() - began
        proposal = result.estimator.at(target.counts)
        draws = draw_from_flow(jax.random.clone(key_draw), target, proposal)
        z = np.asarray(_sample(jax.random.clone(key_draw), proposal), np.float64)
        values = target.physical(z)
        clouds[name] = Cloud(values, np.full(len(z), 1 / len(z)))
        row = {
            "rounds": name,
            "simulations": result.simulations,
            "log volume": result.rounds[-1].log_volume,
            "efficiency": effective_draws(draws.log_ratio) / len(draws.z),
            "Pareto k": pareto_k(draws.log_ratio),
            "seconds of all rounds, with compilation": seconds,
        }
        shift = (values.mean(0) - exact.mean()) / exact.sd()
        ratio = values.std(0) / exact.sd()
        for place, parameter in enumerate(exact.names):
            row[f"shift of {parameter} [sd]"] = float(shift[place])
            row[f"sd of {parameter} / exact"] = float(ratio[place])
        rows.append(row)
    save("reproduce_rounds", rows)
    picture("reproduce_rounds", draw_overlay(exact.names, clouds), dpi=100)
