"""Ready problems by name; `python -m benchmarks.cases` checks those with a truth."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.case import Case as Case
from benchmarks.case import data_file, simulated
from benchmarks.measure import save
from benchmarks.paper1 import paper1_burst as paper1_burst
from benchmarks.paper1 import paper1_model1 as paper1_model1
from benchmarks.paper1 import paper1_model2 as paper1_model2
from benchmarks.paper1 import paper1_model3 as paper1_model3
from benchmarks.paper1 import paper1_pre_burst as paper1_pre_burst
from benchmarks.paper1 import paper1_reference as paper1_reference
from benchmarks.xifu import xifu_complexes as xifu_complexes
from benchmarks.xifu import xifu_line as xifu_line
from jsbi.data import (
    Observation,
    nicer_like,
    observation_from_counts,
    read_observation,
)
from jsbi.diagnose import cstat_moments
from jsbi.model import (
    BlackBodyRad,
    Constant,
    PowerLaw,
    SpectralModel,
    TBabs,
    spectral_model,
)
from jsbi.simulate import LogUniform, Prior, Uniform, poisson_log_likelihood

EPIC = {
    "nH": Uniform(0.0, 0.5),
    "kT": Uniform(0.02, 2.0),
    "black_body_norm": LogUniform(1e-2, 1.0),
    "photon_index": Uniform(0.0, 5.0),
    "power_law_norm": LogUniform(1e-5, 1e-2),
}


def epic(spectrum: str) -> Observation:
    """A spectrum of NGC 7793 ULX-4."""
    path = data_file(f"ngc7793_ulx4_xmm/{spectrum}.fits")
    return read_observation(path, energy=(0.5, 10.0), background="ignore")


def ultraluminous(
    nH: Any, kT: Any, black_body_norm: Any, photon_index: Any, power_law_norm: Any
) -> SpectralModel:
    """An absorbed black body and power law."""
    black_body = BlackBodyRad(kT, black_body_norm)
    return TBabs(nH) * (black_body + PowerLaw(photon_index, power_law_norm))


def on_two_instruments(factor: Any, **shared: Any) -> tuple[SpectralModel, ...]:
    """The same spectrum, scaled by a factor on the second instrument."""
    spectrum = ultraluminous(**shared)
    return spectrum, Constant(factor) * spectrum


def epic_pn() -> Case:
    """EPIC-pn alone, the example of the documentation."""
    observation = epic("PN_spectrum_grp20")
    return Case("epic_pn", (observation,), ultraluminous, Prior(EPIC))


def epic_joint() -> Case:
    """EPIC-pn and MOS1 together, with a free factor between them."""
    observations = epic("PN_spectrum_grp20"), epic("MOS1_spectrum_grp")
    prior = Prior({"factor": Uniform(0.5, 1.5)} | EPIC)
    return Case("epic_joint", observations, on_two_instruments, prior)


def nicer_setting(exposure: float) -> Observation:
    """An empty spectrum of the packaged NICER-like instrument; exposure in s."""
    response = nicer_like()
    empty = np.zeros(response.detectors)
    return observation_from_counts(
        "nicer", empty, exposure, response, group={"constant": 5}, energy=(0.3, 10.0)
    )


def bimodal() -> Case:
    """Two lines with the same prior, so that they may swap: two equal modes."""
    prior = {"tbabs.nH": 0.1, "gaussian.Sigma": 0.05, "gaussian_2.Sigma": 0.05}
    prior |= {
        "powerlaw.PhoIndex": Uniform(0.5, 3.0),
        "powerlaw.norm": LogUniform(1e-3, 1.0),
        "gaussian.LineE": Uniform(1.0, 5.0),
        "gaussian.norm": LogUniform(1e-4, 1e-2),
        "gaussian_2.LineE": Uniform(1.0, 5.0),
        "gaussian_2.norm": LogUniform(1e-4, 1e-2),
    }
    truth = {"powerlaw.PhoIndex": 1.8, "powerlaw.norm": 0.02}
    truth |= {"gaussian.LineE": 1.9, "gaussian.norm": 2e-3}
    truth |= {"gaussian_2.LineE": 3.2, "gaussian_2.norm": 1.5e-3}
    model = spectral_model("tbabs*(powerlaw + gaussian + gaussian)")
    return simulated("bimodal", 6, nicer_setting(200.0), model, prior, truth)


def banana() -> Case:
    """An absorbed soft black body of some 300 counts: a bent, long degeneracy."""
    prior = {
        "tbabs.nH": Uniform(0.0, 2.0),
        "bbodyrad.kT": Uniform(0.05, 1.0),
        "bbodyrad.norm": LogUniform(1.0, 1e7),
    }
    truth = {"tbabs.nH": 0.4, "bbodyrad.kT": 0.15, "bbodyrad.norm": 1e3}
    model = spectral_model("tbabs*bbodyrad")
    return simulated("banana", 7, nicer_setting(280.0), model, prior, truth)


# Apart by more than the resolution, so that no two lines may swap.
LINE_ENERGIES = (0.65, 0.95, 1.35, 1.9, 2.6, 3.6, 4.9, 6.6)


def many_parameters(number: int = 20) -> Case:
    """A power law with lines of free energy, width and flux each.

    Args:
        number: Free parameters, 2 + 3 per line: 5, 8, ... 26.
    """
    lines, rest = divmod(number - 2, 3)
    if rest or not 1 <= lines <= len(LINE_ENERGIES):
        raise ValueError(f"`number` must be 5, 8, ... 26; got {number}.")
    prior: dict[str, Any] = {
        "tbabs.nH": 0.1,
        "powerlaw.PhoIndex": Uniform(0.5, 3.0),
        "powerlaw.norm": LogUniform(1e-2, 1.0),
    }
    truth = {"powerlaw.PhoIndex": 1.7, "powerlaw.norm": 0.1}
    for place, energy in enumerate(LINE_ENERGIES[:lines]):
        name = f"gaussian_{place + 1}" if place else "gaussian"
        prior[f"{name}.LineE"] = Uniform(0.9 * energy, 1.1 * energy)
        prior[f"{name}.Sigma"] = LogUniform(0.005 * energy, 0.1 * energy)
        prior[f"{name}.norm"] = LogUniform(1e-4, 1e-1)
        truth[f"{name}.LineE"] = (0.98 + 0.01 * (place % 5)) * energy
        truth[f"{name}.Sigma"] = 0.03 * energy
        truth[f"{name}.norm"] = 0.02 / energy
    model = spectral_model("tbabs*(powerlaw" + " + gaussian" * lines + ")")
    name, setting = f"many_parameters_{number}", nicer_setting(500.0)
    return simulated(name, 8, setting, model, prior, truth)


CASES: dict[str, Callable[[], Case]] = {
    "paper1_model1_20000": paper1_model1,
    "paper1_model1_2000": lambda: paper1_model1(2_000),
    "paper1_model2": paper1_model2,
    "paper1_model3": paper1_model3,
    "paper1_reference_20000": paper1_reference,
    "paper1_reference_2000": lambda: paper1_reference(2_000),
    "paper1_pre_burst": paper1_pre_burst,
    "paper1_burst": paper1_burst,
    "epic_pn": epic_pn,
    "epic_joint": epic_joint,
    "xifu_line": xifu_line,
    "xifu_complexes": xifu_complexes,
    "bimodal": bimodal,
    "banana": banana,
    "many_parameters_20": many_parameters,
    "many_parameters_23": lambda: many_parameters(23),
}


def check(case: Case) -> dict[str, Any]:
    """Sizes of a case and, where there is a truth, its C statistic.

    Raises:
        AssertionError: If the truth is not a fit to be expected, to 4 deviations.
    """
    target = case.target()
    simulator = target.simulator
    megabytes = sum(folder.matrix.nbytes for folder in simulator.folders) / 1e6
    row = {
        "case": case.name,
        "parameters": target.dimension,
        "bins": len(target.counts),
        "counts": float(target.counts.sum()),
        "matrix [MB]": megabytes,
    }
    cstat = expected = sd = None
    if case.truth is not None:
        counts = simulator.fold(case.model(**case.truth))
        cstat = -2 * float(poisson_log_likelihood(target.counts, counts))
        expected, sd = cstat_moments(np.asarray(counts, np.float64))
        assert abs(cstat - expected) < 4 * sd, (case.name, cstat, expected, sd)
    return row | {"C-stat of truth": cstat, "expected": expected, "sd": sd}


def main() -> None:
    """Check all cases."""
    save("cases", [check(make()) for make in CASES.values()])


if __name__ == "__main__":
    main()
