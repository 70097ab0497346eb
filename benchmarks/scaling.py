"""Families of small problems that grow in bins, parameters, counts or spectra."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.case import Case, simulated
from benchmarks.cases import CASES, many_parameters, nicer_setting
from benchmarks.methods import AMORTISED, Answer, Prepared, answer_of, prepare, trained
from benchmarks.xifu import ENERGY, setting
from jsbi.api import simulate
from jsbi.data import observation_from_counts
from jsbi.model import spectral_model
from jsbi.simulate import LogUniform, Prior, Uniform

POWER_LAW = "tbabs*powerlaw"
PRIOR: dict[str, Any] = {
    "tbabs.nH": Uniform(0.0, 0.5),
    "powerlaw.PhoIndex": Uniform(1.0, 3.0),
    "powerlaw.norm": LogUniform(1e-3, 1e-1),
}
TRUTH = {"tbabs.nH": 0.15, "powerlaw.PhoIndex": 1.8, "powerlaw.norm": 1e-2}
MERGED = (48, 24, 12, 4, 2, 1)  # channels of 4.8 eV in a bin of X-IFU
PARAMETERS = (5, 8, 11, 14, 17, 20)
COUNTS = (100, 1000, 10_000, 100_000, 1_000_000)
SPECTRA = (1, 3, 10, 30, 100)
TRIAL_EXPOSURE = 1000.0  # [s], that tells the count rate


@dataclasses.dataclass(frozen=True)
class Several:
    """Many spectra of one instrument and model, to be inferred one by one.

    Attributes:
        name: Short name.
        cases: One each.
    """

    name: str
    cases: tuple[Case, ...]


def with_bins(merge: int) -> Case:
    """An absorbed power law seen by X-IFU, so many channels in each fit bin."""
    fine = setting(2e3)
    coarse = observation_from_counts(
        "xifu",
        np.zeros(fine.response.detectors),
        fine.exposure,
        fine.response,
        group={"constant": merge},
        energy=ENERGY,
    )
    name = f"bins_{coarse.bins}"
    return simulated(name, 11, coarse, spectral_model(POWER_LAW), PRIOR, TRUTH)


def with_counts(counts: int) -> Case:
    """An absorbed power law in the NICER-like instrument, of about so many counts."""
    model = spectral_model(POWER_LAW)
    trial = simulate(jax.random.key(0), nicer_setting(TRIAL_EXPOSURE), model, TRUTH)
    exposure = TRIAL_EXPOSURE * counts / float(trial.binned_counts.sum())
    name = f"counts_{counts}"
    return simulated(name, 12, nicer_setting(exposure), model, PRIOR, TRUTH)


def with_spectra(number: int) -> Several:
    """So many spectra of 200 s with parameters from the prior."""
    model, prior = spectral_model(POWER_LAW), Prior(PRIOR)
    generator = np.random.default_rng(13)
    cases = []
    for row in range(number):
        z = jax.numpy.asarray(generator.standard_normal(prior.dimension), float)
        truth = {name: float(value) for name, value in prior(z).items()}
        seen = simulate(jax.random.key(row), nicer_setting(200.0), model, truth)
        cases.append(Case(f"spectrum_{row}", (seen,), model, prior, truth))
    return Several(f"spectra_{number}", tuple(cases))


# Sizes, how a case of a size is made, and the methods that are worth the while.
FAMILIES: dict[str, tuple[tuple[int, ...], Callable[[int], Any], tuple[str, ...]]] = {
    "bins": (MERGED, with_bins, ("auto", "sbi", "nuts", "nested")),
    "parameters": (PARAMETERS, many_parameters, ("auto", "sbi", "nuts", "nested")),
    "counts": (COUNTS, with_counts, ("auto", "sbi", "nuts", "nested")),
    "spectra": (SPECTRA, with_spectra, ("auto", "nuts", AMORTISED)),
}


def scaling_name(family: str, size: int) -> str:
    """The name by which a process finds a case of a family."""
    return f"scaling_{family}_{size}"


def find_case(name: str) -> Case | Several:
    """A case by name, of the list or of a family.

    Raises:
        ValueError: If there is none.
    """
    if name in CASES:
        return CASES[name]()
    head, _, size = name.rpartition("_")
    family = head.removeprefix("scaling_")
    if family not in FAMILIES or not size.isdigit():
        raise ValueError(f"Unknown case {name!r}; known: {', '.join(CASES)}.")
    return FAMILIES[family][1](int(size))


def prepare_several(several: Several, method: str, draws: int) -> Prepared:
    """A method for many spectra: a network for all of them, or one fit after another.

    Its answers are rows of sums and medians.
    """
    if method != AMORTISED:
        solvers = [prepare(case, method, draws).solve for case in several.cases]

        def one_by_one(seed: int) -> Any:
            return summed([solve(seed) for solve in solvers])

        return Prepared(one_by_one)
    network = trained(several.cases[0])

    def together(seed: int) -> Any:
        posteriors = network.apply(
            [case.observations for case in several.cases],
            key=jax.random.key(seed),
            draws=draws,
        )
        return summed([answer_of(each) for each in posteriors])

    record = network.record
    return Prepared(together, dict(record["seconds"]), int(record["simulations"]))


def summed(answers: list[Answer]) -> dict[str, Any]:
    """Many answers in one row."""
    trusted = np.mean([each.verdict == "trusted" for each in answers])
    effective = [each.posterior.effective_draws for each in answers]
    return {
        "rung": ", ".join(sorted({each.rung for each in answers})),
        "verdict": "trusted" if trusted == 1 else f"{100 * trusted:.0f} % trusted",
        "effective": float(np.median(effective)),
        "evaluations": sum(each.evaluations for each in answers),
        "simulations": sum(each.simulations for each in answers),
        "accuracy": None,
    }
