"""One network for exposures over a factor of 100: `python -m benchmarks.exposures`.

Spectra of EPIC-pn with random parameters and exposures go through one amortised
posterior. If posteriors are right, the weight below the truth is uniform between 0 and
1: for every parameter, at every exposure, and for the trusted spectra alone.

Source: Talts et al. (2018), arXiv 1804.06788.
"""

import argparse
import time
from dataclasses import dataclass
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy.stats import kstest, kstwo

from benchmarks.case import coarser
from benchmarks.cases import epic_pn
from benchmarks.engine import prior_spectra
from benchmarks.measure import RESULTS, save
from jsbi.amortized import AmortizedPosterior
from jsbi.plot.style import (
    BLUE,
    GREEN,
    GREY,
    LIGHT_GREY,
    ORANGE,
    PURPLE,
    STYLE,
    VERMILION,
    new_figure,
)
from jsbi.posterior import Posterior
from jsbi.training import amortize

RANGE = (1e3, 1e5)  # [s]
MERGED = 4  # energy bins in one, in simulation and inference alike, to be faster
DECILES = 10
PART = 48  # spectra in memory at once
FALSE_ALARM = 0.01
LEAST_SHOWN = 1e-6  # p-value; a logarithmic axis has no zero
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE)


@dataclass(frozen=True)
class Outcomes:
    """What came of each spectrum.

    Attributes:
        names: Of the parameters.
        exposure: [s], [spectrum].
        rank: Weight below the truth, [spectrum, dim].
        efficiency: [spectrum].
        adapted: Whether the network's draws were not good enough, [spectrum].
        trusted: Whether the verdict is that, [spectrum].
        seconds: Time per spectrum, without compilation.
    """

    names: tuple[str, ...]
    exposure: Float[np.ndarray, " spectrum"]
    rank: Float[np.ndarray, "spectrum dim"]
    efficiency: Float[np.ndarray, " spectrum"]
    adapted: Bool[np.ndarray, " spectrum"]
    trusted: Bool[np.ndarray, " spectrum"]
    seconds: float


def infer_all(network: AmortizedPosterior, spectra: int, draws: int) -> Outcomes:
    """Simulate spectra, infer their posteriors and rank the truths in them."""
    generator = np.random.default_rng(0)
    z, expected = prior_spectra(generator, network.simulator, spectra)
    shortest, longest = np.log(RANGE)
    exposure = np.exp(generator.uniform(shortest, longest, spectra))
    ratio = exposure / network.templates[0].exposure
    counts = generator.poisson(expected * ratio[:, None]).astype(np.float64)
    # Equal parts, so that the first compiles for all and the others show the time.
    parts = np.array_split(np.arange(spectra), max(2, spectra // PART))
    keys = jax.random.split(jax.random.key(1), len(parts))
    outcomes, seconds = [], []
    for key, part in zip(keys, parts, strict=True):
        start = time.perf_counter()
        posteriors = network.many(
            counts[part], key=key, exposure=exposure[part], draws=draws
        )
        seconds.append(time.perf_counter() - start)
        outcomes += [_outcome(*pair) for pair in zip(posteriors, z[part], strict=True)]
    rank, efficiency, adapted, trusted = map(np.array, zip(*outcomes, strict=True))
    return Outcomes(
        names=network.simulator.prior.names,
        exposure=exposure,
        rank=rank,
        efficiency=efficiency,
        adapted=adapted,
        trusted=trusted,
        seconds=sum(seconds[1:]) / (spectra - len(parts[0])),
    )


def _outcome(
    posterior: Posterior, truth: np.ndarray
) -> tuple[np.ndarray, float, bool, bool]:
    report = posterior.report
    assert report is not None
    rank = posterior.weights @ (posterior.z < truth)
    adapted, trusted = len(report.rungs) > 1, report.verdict == "trusted"
    return rank, posterior.efficiency, adapted, trusted


def uniformity(rank: Float[np.ndarray, "spectrum dim"]) -> list[float]:
    """Kolmogorov-Smirnov p-value of each parameter; nan without spectra."""
    if not len(rank):
        return [float("nan")] * rank.shape[1]
    return [float(kstest(column, "uniform").pvalue) for column in rank.T]


def corrected(p_values: list[float]) -> float:
    """The smallest p-value times how many there are, after Bonferroni."""
    return min(1.0, len(p_values) * min(p_values))


def deciles(outcomes: Outcomes) -> list[np.ndarray]:
    """Row numbers of the spectra in each tenth of the exposures."""
    return np.array_split(np.argsort(outcomes.exposure), DECILES)


def parameter_rows(outcomes: Outcomes) -> list[dict[str, Any]]:
    """Uniformity and coverage of each parameter."""
    everywhere = uniformity(outcomes.rank)
    trusted = uniformity(outcomes.rank[outcomes.trusted])
    local = np.array([uniformity(outcomes.rank[rows]) for rows in deciles(outcomes)])
    off_centre = np.abs(outcomes.rank - 0.5)
    return [
        {
            "parameter": name,
            "p-value": everywhere[i],
            "p-value of the trusted": trusted[i],
            "smallest p-value of a decile, corrected": corrected(local[:, i].tolist()),
            "coverage of 68 %": float((off_centre[:, i] < 0.34).mean()),
            "coverage of 95 %": float((off_centre[:, i] < 0.475).mean()),
        }
        for i, name in enumerate(outcomes.names)
    ]


def decile_rows(outcomes: Outcomes) -> list[dict[str, Any]]:
    """Uniformity, efficiency and trust in each tenth of the exposures."""
    return [
        {
            "from [s]": float(outcomes.exposure[rows].min()),
            "to [s]": float(outcomes.exposure[rows].max()),
            "median efficiency": float(np.median(outcomes.efficiency[rows])),
            "adapted": float(outcomes.adapted[rows].mean()),
            "trusted": float(outcomes.trusted[rows].mean()),
        }
        | {
            f"p-value of {name}": p_value
            for name, p_value in zip(
                outcomes.names, uniformity(outcomes.rank[rows]), strict=True
            )
        }
        for rows in deciles(outcomes)
    ]


def summary_row(
    outcomes: Outcomes, network: AmortizedPosterior, draws: int
) -> dict[str, Any]:
    """All spectra in one row."""
    local = [p for rows in deciles(outcomes) for p in uniformity(outcomes.rank[rows])]
    return {
        "spectra": len(outcomes.exposure),
        "draws": draws,
        "adapted": float(outcomes.adapted.mean()),
        "trusted": float(outcomes.trusted.mean()),
        "median efficiency": float(np.median(outcomes.efficiency)),
        "smallest p-value, corrected": corrected(uniformity(outcomes.rank)),
        "smallest p-value of a decile, corrected": corrected(local),
        "per spectrum [s]": outcomes.seconds,
        "training, all [s]": network.record["seconds"]["total"],
        "of which compile [s]": network.record["seconds"]["compile"],
        "simulations": network.record["simulations"],
    }


@mpl.rc_context(STYLE)
def draw(outcomes: Outcomes) -> Figure:
    """Ranks of each parameter; p-values and trust along the exposure."""
    number = len(outcomes.names)
    figure = new_figure(2.2 * number, 5, layout="constrained")
    grid = figure.add_gridspec(2, 2 * number)
    first = None
    for i in range(number):
        first = axes = figure.add_subplot(grid[0, 2 * i : 2 * i + 2], sharey=first)
        _draw_ranks(axes, outcomes, i)
    figure.axes[0].set_ylabel("share below, minus rank")
    figure.axes[0].legend(loc="lower left")
    rows = decile_rows(outcomes)
    middle = [np.sqrt(row["from [s]"] * row["to [s]"]) for row in rows]
    left = figure.add_subplot(grid[1, :number])
    right = figure.add_subplot(grid[1, number:])
    for name, colour in zip(outcomes.names, COLOURS, strict=True):
        values = [max(row[f"p-value of {name}"], LEAST_SHOWN) for row in rows]
        left.plot(middle, values, "o", ms=4, color=colour, label=name)
    limit = FALSE_ALARM / (DECILES * number)
    left.axhline(limit, color=GREY, ls="--", lw=0.9, label="1 % in all")
    left.set(xscale="log", yscale="log", xlabel="exposure [s]", ylabel="$p$-value")
    left.legend(ncols=2)
    left.xaxis.set_minor_formatter(NullFormatter())
    for name, colour in (("trusted", BLUE), ("adapted", VERMILION)):
        values = [row[name] for row in rows]
        right.plot(middle, values, "o-", ms=4, color=colour, label=name)
    right.set(xscale="log", xlabel="exposure [s]", ylabel="share", ylim=(0, 1.05))
    right.xaxis.set_minor_formatter(NullFormatter())
    right.legend()
    return figure


def _draw_ranks(axes: Axes, outcomes: Outcomes, index: int) -> None:
    """Distribution of the ranks minus that of uniform ones, in its 95 % band."""
    band = kstwo.ppf(0.95, len(outcomes.rank))
    axes.fill_between([0, 1], -band, band, color=LIGHT_GREY, lw=0)
    for chosen, colour, label in (
        (np.ones(len(outcomes.rank), bool), BLUE, "all"),
        (outcomes.trusted, VERMILION, "trusted"),
    ):
        rank = np.sort(outcomes.rank[chosen, index])
        below = np.arange(1, len(rank) + 1) / max(len(rank), 1)
        axes.step(rank, below - rank, where="post", color=colour, lw=1, label=label)
    axes.set(title=outcomes.names[index], xlabel="rank of the truth", xlim=(0, 1))


def main() -> None:
    """Train, infer all spectra, save the figure and the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spectra", type=int, default=500)
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--simulations", type=int, default=50_000)
    parser.add_argument("--steps", type=int, default=4000)
    given = parser.parse_args()
    case = epic_pn()
    (observation,) = case.observations
    network = amortize(
        jax.random.key(0),
        coarser(observation, MERGED),
        case.model,
        case.prior,
        exposure=RANGE,
        simulations=given.simulations,
        steps=given.steps,
        progress=False,
    )
    outcomes = infer_all(network, given.spectra, given.draws)
    save("exposures", parameter_rows(outcomes))
    save("exposures_deciles", decile_rows(outcomes))
    save("exposures_summary", [summary_row(outcomes, network, given.draws)])
    draw(outcomes).savefig(RESULTS / "exposures.png")


if __name__ == "__main__":
    main()
