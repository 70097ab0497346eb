"""The problems of Barret & Dupourque (2024): NICER spectra of two components."""

from benchmarks.case import Case, data_file, simulated
from jsbi.data import Observation, read_observation
from jsbi.model import spectral_model
from jsbi.simulate import LogUniform, Prior, Uniform

RESPONSE = "maxi_j1820_nicer/1200120106_rmf.pha.gz"
ENERGY = (0.3, 10.0)  # [keV]

# Priors of Barret & Dupourque (2024), A&A 686, A133, table 1, as in the input files
# published with it; column density as uniform as its section 3 says.
MODEL_1 = {
    "tbabs.nH": Uniform(0.1, 0.3),
    "powerlaw.PhoIndex": Uniform(0.5, 2.5),
    "powerlaw.norm": LogUniform(0.01, 100.0),
}
MODEL_2 = {
    "tbabs.nH": Uniform(0.15, 0.35),
    "powerlaw.PhoIndex": Uniform(1.0, 3.0),
    "powerlaw.norm": LogUniform(0.1, 10.0),
    "bbodyrad.kT": Uniform(0.3, 3.0),
    "bbodyrad.norm": LogUniform(100.0, 1000.0),
}
MODEL_3 = {
    "tbabs.nH": 0.2,
    "powerlaw.PhoIndex": 1.7,
    "powerlaw.norm": LogUniform(0.1, 10.0),
    "bbodyrad.kT": Uniform(0.1, 4.5),
    "bbodyrad.norm": LogUniform(0.1, 1e5),
}
REFERENCE = {"tbabs.nH": 0.2, "powerlaw.PhoIndex": 1.7, "powerlaw.norm": 1.0}
POWER_LAW = "tbabs*powerlaw"
TWO_COMPONENTS = "tbabs*(powerlaw + bbodyrad)"


def nicer(spectrum: str, arf: str = "pre_burst_Tint200_raw.arf") -> Observation:
    """A spectrum of the paper, with the response that stands in for the paper's."""
    return read_observation(
        data_file(f"sixsa_nicer/{spectrum}.pha"),
        response=data_file(RESPONSE),
        arf=data_file(f"sixsa_nicer/{arf}"),
        energy=ENERGY,
    )


def reference_spectrum(counts: int = 20_000) -> Observation:
    """The paper's simulated spectrum of about so many counts: 20,000 or 2,000."""
    if counts not in (20_000, 2_000):
        raise ValueError(f"The paper has 20000 or 2000 counts; got {counts}.")
    return nicer(f"Reference_pha_tbabs_powerlaw_{counts}counts_groupconstant_5")


def paper1_reference(counts: int = 20_000) -> Case:
    """The paper's own spectrum for model 1.

    No truth: the paper's posterior (0.237, 1.763, 10^0.037) and ours agree, but lie
    over five standard deviations of nH from the parameters stated there.
    """
    observation = reference_spectrum(counts)
    model = spectral_model(POWER_LAW)
    return Case(f"paper1_reference_{counts}", (observation,), model, Prior(MODEL_1))


def paper1_model1(counts: int = 20_000) -> Case:
    """An absorbed power law of about 20,000 or 2,000 counts, as in section 4."""
    setting, model = reference_spectrum(counts), spectral_model(POWER_LAW)
    name = f"paper1_model1_{counts}"
    return simulated(name, 1, setting, model, MODEL_1, REFERENCE)


def paper1_model2() -> Case:
    """With a black body, five parameters, as in section 6; the truth is ours."""
    truth = REFERENCE | {"bbodyrad.kT": 0.5, "bbodyrad.norm": 500.0}
    model = spectral_model(TWO_COMPONENTS)
    setting = reference_spectrum()
    return simulated("paper1_model2", 2, setting, model, MODEL_2, truth)


def paper1_model3() -> Case:
    """A quarter of a second of a burst, as in section 8.3; the truth is ours."""
    truth = {"powerlaw.norm": 3.0, "bbodyrad.kT": 1.0, "bbodyrad.norm": 3000.0}
    model = spectral_model(TWO_COMPONENTS)
    setting = nicer("b_008_0.25s_raw_opt", "b_008_0.25s.arf")
    return simulated("paper1_model3", 3, setting, model, MODEL_3, truth)


def paper1_pre_burst() -> Case:
    """The persistent emission of 4U 1820-303: 224,000 real counts, model 2."""
    observation = nicer("pre_burst_spectrum_opt")
    model = spectral_model(TWO_COMPONENTS)
    return Case("paper1_pre_burst", (observation,), model, Prior(MODEL_2))


def paper1_burst() -> Case:
    """One real spectrum of the burst: 3900 counts, model 3."""
    observation = nicer("b_008_0.25s_raw_opt", "b_008_0.25s.arf")
    model = spectral_model(TWO_COMPONENTS)
    return Case("paper1_burst", (observation,), model, Prior(MODEL_3))
