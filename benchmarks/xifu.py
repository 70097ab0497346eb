"""High resolution: X-IFU spectra with narrow lines of unknown redshift and width."""

from typing import Any

import numpy as np

from benchmarks.case import Case, data_file, merged, simulated
from jsbi.data import Observation, observation_from_counts, read_response
from jsbi.model import Gaussian, PowerLaw, SpectralModel, TBabs
from jsbi.simulate import LogUniform, Uniform

FILES = (
    "athena_xifu/athena_xifu_rmf_v20160401.rmf.gz",
    "athena_xifu/athena_xifu_1469_onaxis_pitch249um_v20160401.arf.gz",
)
ENERGY = (1.0, 10.0)  # [keV]
WINDOW = (6.0, 7.1)  # [keV], where the lines of iron are
LIGHT = 299792.458  # [km/s]

# Rest energies [keV] and weights, which add up to 1 or are made to.
# Source: Holzer et al. (1997), Physical Review A 56, 4554; AtomDB 3.0.9.
NEUTRAL = ((6.40401, 2 / 3), (6.39103, 1 / 3))
HELIUM_LIKE = ((6.70040, 0.65), (6.68230, 0.15), (6.66755, 0.2))
FORBIDDEN = 6.63658
HYDROGEN_LIKE = ((6.97307, 2 / 3), (6.95186, 1 / 3))


def starts(edges: np.ndarray, inside: int, outside: int) -> np.ndarray:
    """The first of each run of bins to merge, and the end of the last.

    Args:
        edges: Bin edges [keV].
        inside: How many bins to merge in the window of the lines.
        outside: How many elsewhere.
    """
    first, last = np.searchsorted(edges, WINDOW)
    runs = (
        np.arange(0, first, outside),
        np.arange(first, last, inside),
        np.arange(last, len(edges) - 1, outside),
    )
    return np.concatenate([*runs, [len(edges) - 1]])


def setting(exposure: float) -> Observation:
    """An empty X-IFU spectrum of this exposure [s], in fewer bins than the files have.

    Energies are merged to 4 eV except where lines are, which keep 0.4 eV. Channels are
    merged to 4.8 eV, where lines are to 1.6 eV (0.6 of the resolution). From 1 keV that
    moves the expected counts of no bin by more than 0.013 standard deviations in the
    cases below. Around 0.53 keV, among the resonances of oxygen, it would by 3 to 5.
    """
    response = read_response(*map(data_file, FILES))
    channel_edges = np.append(response.channel_low, response.channel_high[-1])
    response = merged(
        response, starts(response.energy_edges, 1, 10), starts(channel_edges, 4, 12)
    )
    empty = np.zeros(response.detectors)
    return observation_from_counts("xifu", empty, exposure, response, energy=ENERGY)


CONTINUUM = {
    "nH": Uniform(0.0, 0.5),
    "photon_index": Uniform(1.0, 3.0),
    "norm": LogUniform(1e-4, 1e-2),
}


def one_line(
    nH: Any, photon_index: Any, norm: Any, redshift: Any, sigma: Any, line_norm: Any
) -> SpectralModel:
    """An absorbed power law with the resonance line of Fe XXV."""
    line = Gaussian(HELIUM_LIKE[0][0] / (1 + redshift), sigma, line_norm)
    return TBabs(nH) * (PowerLaw(photon_index, norm) + line)


def xifu_line() -> Case:
    """A power law with a narrow line of unknown redshift and width; six parameters."""
    prior = CONTINUUM | {
        "redshift": Uniform(0.0, 0.1),
        "sigma": LogUniform(3e-4, 3e-2),
        "line_norm": LogUniform(1e-6, 1e-3),
    }
    truth = {"nH": 0.1, "photon_index": 1.8, "norm": 1e-3}
    truth |= {"redshift": 0.043, "sigma": 3e-3, "line_norm": 3e-5}
    return simulated("xifu_line", 4, setting(2e3), one_line, prior, truth)


def complexes(
    nH: Any,
    photon_index: Any,
    norm: Any,
    redshift: Any,
    velocity: Any,
    neutral: Any,
    helium: Any,
    forbidden: Any,
    hydrogen: Any,
) -> SpectralModel:
    """A power law, the neutral doublet of iron, and its He- and H-like complexes."""
    relative = velocity / LIGHT

    def line(energy: float, flux: Any) -> SpectralModel:
        shifted = energy / (1 + redshift)
        return Gaussian(shifted, relative * shifted, flux)

    total = PowerLaw(photon_index, norm) + line(FORBIDDEN, forbidden * helium)
    parts = (NEUTRAL, neutral), (HELIUM_LIKE, helium), (HYDROGEN_LIKE, hydrogen)
    for lines, flux in parts:
        for energy, weight in lines:
            total = total + line(energy, weight * flux)
    return TBabs(nH) * total


def xifu_complexes() -> Case:
    """Complexes of iron lines at one redshift and velocity; nine parameters."""
    flux = LogUniform(1e-6, 1e-3)
    prior = CONTINUUM | {
        "redshift": Uniform(0.0, 0.05),
        "velocity": LogUniform(30.0, 1000.0),
        "neutral": flux,
        "helium": flux,
        "forbidden": Uniform(0.0, 1.5),
        "hydrogen": flux,
    }
    truth = {"nH": 0.1, "photon_index": 1.8, "norm": 1e-3, "redshift": 0.021}
    truth |= {"velocity": 150.0, "neutral": 2e-5, "helium": 5e-5}
    truth |= {"forbidden": 0.35, "hydrogen": 2e-5}
    return simulated("xifu_complexes", 5, setting(5e3), complexes, prior, truth)
