"""Parametric instruments, for examples and tests that need no calibration files."""

import numpy as np
import scipy.sparse
from jaxtyping import Float, Real
from scipy.interpolate import PchipInterpolator
from scipy.special import ndtr

from jsbi.data.grouping import EnergyRange, GroupChoice, group_channels, select_energy
from jsbi.data.observation import Observation, Response

FWHM_PER_SIGMA = np.sqrt(8 * np.log(2))

# Energy [keV], effective area [cm^2]; see `nicer_like`.
NICER_AREA = np.array(
    [
        (0.2, 290),
        (0.3, 440),
        (0.4, 820),
        (0.6, 1160),
        (0.8, 1510),
        (1.0, 1680),
        (1.5, 1880),
        (1.8, 1820),
        (2.0, 1650),
        (2.15, 1580),
        (2.3, 950),
        (3.0, 980),
        (4.0, 810),
        (5.0, 570),
        (6.0, 390),
        (8.0, 164),
        (10.0, 50),
        (12.0, 5.6),
        (12.5, 4.6),
    ]
)


def gaussian_response(
    energy_edges: Float[np.ndarray, " edge"],
    channel_edges: Float[np.ndarray, " channel_edge"],
    area: Float[np.ndarray, " bin"],
    resolution: Float[np.ndarray, " bin"],
    *,
    first_channel: int = 0,
) -> Response:
    """An instrument whose line-spread function is a Gaussian.

    A photon of an energy bin is spread around the bin's centre; what falls outside the
    channels, or beyond 6 standard deviations, is lost.

    Args:
        energy_edges: Edges of the photon-energy bins [keV].
        channel_edges: Edges of the detector channels [keV].
        area: Effective area [cm^2].
        resolution: Full width at half maximum [keV].
        first_channel: Number of the first channel.

    Returns: The response; columns of its redistribution sum to at most 1.

    Raises:
        ValueError: If a resolution is not positive, or `Response` refuses the rest.
    """
    if not np.all(resolution > 0):
        raise ValueError(
            "`resolution` must be positive [keV]; the smallest is "
            f"{resolution.min():g}. A standard deviation of zero?"
        )
    centre = (energy_edges[:-1] + energy_edges[1:]) / 2
    offset = (channel_edges[:, None] - centre) / (resolution / FWHM_PER_SIGMA)
    probability = np.diff(ndtr(offset), axis=0)
    far = (offset[:-1] > 6) | (offset[1:] < -6)
    return Response(
        energy_edges=energy_edges,
        redistribution=scipy.sparse.csc_array(np.where(far, 0.0, probability)),
        area=area,
        channel=first_channel + np.arange(len(channel_edges) - 1),
        channel_low=channel_edges[:-1],
        channel_high=channel_edges[1:],
    )


def nicer_resolution(
    energy: Float[np.ndarray, " energy"],
) -> Float[np.ndarray, " energy"]:
    """Full width at half maximum of a silicon drift detector [keV].

    Electronic noise of 70 eV and the Fano noise of silicon, 3.65 eV per electron-hole
    pair with Fano factor 0.115. At 1 keV and 6 keV this gives 85 eV and 137 eV, the
    values of the mission.

    Args:
        energy: Photon energy [keV].

    Source: NASA HEASARC, NICER mission overview; Gendreau et al. (2016), Proc. SPIE
        9905, 99051H.
    """
    fano = FWHM_PER_SIGMA**2 * 0.115 * 3.65e-3 * energy
    return np.sqrt(0.070**2 + fano)


def nicer_area(energy: Float[np.ndarray, " energy"]) -> Float[np.ndarray, " energy"]:
    """Effective area like that of NICER [cm^2], smooth between a few energies.

    Args:
        energy: Photon energy [keV], from 0.2 to 12.5; constant outside.

    Source: the mission's on-axis area in its calibration of 2020, to two or three
        digits; 1900 cm^2 at 1.5 keV is also the value of the NICER mission guide. The
        edges of carbon, oxygen and silicon are smoothed over, that of gold at 2.2 keV
        is kept.
    """
    curve = PchipInterpolator(*np.log(NICER_AREA.T))
    limits = NICER_AREA[[0, -1], 0]
    return np.exp(curve(np.log(np.clip(energy, *limits))))


def nicer_like() -> Response:
    """A response with the area, resolution and channels of NICER.

    1180 channels of 10 eV from 0.2 to 12 keV, numbered as NICER's; 1024 energy bins
    of 6 to 20 eV from 0.2 to 12.4 keV. For examples and tests, not for real data.

    Source: see `nicer_area` and `nicer_resolution`.
    """
    energy_edges = np.geomspace(5.2, 17.4, 1025) - 5.0
    energy_edges[0] = 0.2
    centre = (energy_edges[:-1] + energy_edges[1:]) / 2
    return gaussian_response(
        energy_edges,
        np.arange(20, 1201) / 100,
        nicer_area(centre),
        nicer_resolution(centre),
        first_channel=20,
    )


def observation_from_counts(
    name: str,
    counts: Real[np.ndarray, "..."],
    exposure: float | int,
    response: Response,
    *,
    group: GroupChoice = None,
    energy: EnergyRange | None = None,
) -> Observation:
    """An observation without background from counts in every channel.

    Args:
        name: Short name.
        counts: Counts per channel of the response, [detector].
        exposure: Live time [s].
        response: The instrument.
        group: See `group_channels`.
        energy: Lower and upper limit [keV].

    Returns: The observation; all channels are good, all scales 1.

    Raises:
        ValueError: If counts and response do not match or nothing is left to fit.
    """
    good = np.ones(response.detectors, bool)
    if np.shape(counts) != good.shape:
        raise ValueError(
            f"`counts` must have one entry for each of the response's {len(good)} "
            f"channels; got shape {np.shape(counts)}. Counts per fit bin?"
        )
    counts = np.asarray(counts, np.float64)
    groups = group_channels(group, counts, good, redistribution=response.redistribution)
    if energy is not None:
        low, high = response.channel_low, response.channel_high
        groups = select_energy(groups, low, high, energy)
    ones = np.ones(len(counts))
    return Observation(name, counts, exposure, ones, ones, groups, response)
