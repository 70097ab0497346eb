"""Statistics and fluxes that XSPEC printed for real spectra.

EXOSAT's energy bins are up to 40 % wide, so that averages over a bin matter: the
numbers are reached with XSPEC's averages, and ours, which are exact, stay near them.
"""

import json

import jax
import numpy as np
import pytest
from astropy.io import fits

from jsbi.data import read_observation
from jsbi.model import evaluate

KEV = 1.602176634e-9  # erg
# Ends of the polynomials of Morrison & McCammon (1983), at which XSPEC divides bins.
BREAKS = np.array([0.03, 0.1, 0.284, 0.4, 0.532, 0.707, 0.867, 1.303, 1.84, 2.471])
BREAKS = np.append(BREAKS, [3.21, 4.038, 7.111, 8.331, 10.0])
SESSION = "exosat_session/"
WALKTHROUGH = "xspec_walkthrough_exosat/s54405"


# A column of the session is called " DETNAM".
pytestmark = pytest.mark.filterwarnings("ignore:It is strongly recommended")


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def at(name, values, energy, **tables):
    """A factor at energies, as that of very narrow bins."""
    low = energy * (1 - 1e-9)
    edges = np.unique(np.concatenate([low, energy * (1 + 1e-9)]))
    return evaluate(name, values, edges, **tables)[np.searchsorted(edges, low)]


def wabs_of_xspec(column, edges):
    """The trapezoid of the transmission between edges and breaks."""
    inside = BREAKS[(edges[0] < BREAKS) & (edges[-1] > BREAKS)]
    nodes = np.union1d(edges, inside)
    low, high = nodes[:-1], nodes[1:]
    ends = [
        at("wabs", {"wabs.nH": column}, end)
        for end in (low * (1 + 1e-8), high * (1 - 1e-8))
    ]
    passed = np.append(0, np.cumsum(0.5 * (ends[0] + ends[1]) * (high - low)))
    return np.diff(passed[np.searchsorted(nodes, edges)]) / np.diff(edges)


def rates(path):
    """Channels, rates and their errors as the file has them."""
    with fits.open(path) as file:
        (table,) = (
            part
            for part in file[1:]
            if isinstance(part, fits.BinTableHDU) and "RATE" in part.columns.names
        )
        return tuple(
            np.asarray(table.data[name], np.float64)
            for name in ("CHANNEL", "RATE", "STAT_ERR")
        )


def folded(observation, photons, channel):
    rate = observation.area_scale * observation.response.fold(photons)
    place = {int(each): row for row, each in enumerate(observation.response.channel)}
    return rate[[place[int(each)] for each in channel]]


def session(test_data, number, response, rows, photons_of):
    """Chi-squared of one spectrum; the background is scaled by the areas."""
    path = test_data(f"{SESSION}file{number}.pha")
    response = test_data(f"{SESSION}resp{response}.rsp")
    observation = read_observation(path, response=response)
    channel, rate, error = rates(path)
    _, dark, dark_error = rates(test_data(f"{SESSION}back{number}.pha"))
    scale = observation.area_scale[4] / observation.background.area_scale[4]
    photons = photons_of(observation.response.energy_edges)
    net = rate - scale * dark - folded(observation, photons, channel)
    chi = net**2 / (error**2 + (scale * dark_error) ** 2)
    return chi[rows[0] - 1 : rows[1]].sum()


def absorbed(column, expression, values, exact):
    """Photons behind `wabs`, averaged over bins exactly or as by XSPEC."""

    def photons(edges):
        if exact:
            every = {"wabs.nH": column} | values
            return evaluate(f"wabs*({expression})", every, edges)
        factor = wabs_of_xspec(column, edges)
        return factor * evaluate(expression, values, edges)

    return photons


# The third spectrum of the session was folded with the first response.
THREE = ((1, 1, (4, 44)), (2, 2, (6, 55)), (3, 1, (6, 55)))
ONE = ((1, 1, (4, 50)),)
POWER_LAW = ("powerlaw.PhoIndex", "powerlaw.norm")
LINE = ("gaussian.LineE", "gaussian.Sigma", "gaussian.norm")


@pytest.mark.parametrize(
    ("check", "spectra", "expression", "names", "apart"),
    [
        (0, THREE, "powerlaw", POWER_LAW, 3e-4),
        (1, THREE, "powerlaw", POWER_LAW, 2e-3),
        (2, ONE, "powerlaw + gaussian", POWER_LAW + LINE, 5e-3),
    ],
)
def test_chi_squared_is_that_of_the_session(
    test_data, check, spectra, expression, names, apart
):
    known = json.loads(test_data(f"{SESSION}e2e_exosat_session.json").read_text())
    case = known["chi2_checks"][check]
    column, *rest = case["pars"]
    values = dict(zip(names, rest, strict=True))
    truth = case["chi2_oracle_xspec12_bkg"]

    def total(exact):
        photons = absorbed(column, expression, values, exact)
        return sum(session(test_data, *each, photons) for each in spectra)

    assert total(exact=False) == pytest.approx(truth, rel=1e-6)
    assert total(exact=True) == pytest.approx(truth, rel=apart)


def test_fluxes_are_those_of_the_session(test_data):
    known = json.loads(test_data(f"{SESSION}e2e_exosat_session.json").read_text())
    column, *rest = known["chi2_checks"][2]["pars"]
    values = dict(zip(POWER_LAW + LINE, rest, strict=True)) | {"wabs.nH": column}
    edges = np.geomspace(2.0, 10.0, 4001)
    photons = evaluate("wabs*(powerlaw + gaussian)", values, edges)
    energy = KEV * (0.5 * (edges[1:] + edges[:-1]) * photons).sum()
    # On the coarse bins of the response.
    truth = known["log_flux_2_10"]["oracle_at_printed_pars"]
    assert [photons.sum(), energy] == pytest.approx(truth, rel=1e-3)


def test_chi_squared_is_that_of_the_manual(test_data):
    """Before and after the command `renorm`, with `abund angr` and `xsect bcmc`.

    Source: XSPEC manual, "Walks through XSPEC", on 125 channels.
    """
    path = test_data(f"{WALKTHROUGH}.pha")
    observation = read_observation(
        path, response=test_data(f"{WALKTHROUGH}.rsp"), energy=(2.0, 10.0)
    )
    channel, rate, error = rates(path)
    edges = observation.response.energy_edges
    tables = {"abundances": "angr", "cross_sections": "bcmc"}
    power_law = evaluate("powerlaw", {"powerlaw.PhoIndex": 1.0}, edges)
    middle = 0.5 * (edges[1:] + edges[:-1])
    # XSPEC takes these cross sections at the middle of the bin, we at its edges.
    as_xspec = power_law * at("phabs", {"phabs.nH": 1.0}, middle, **tables)
    values = {"phabs.nH": 1.0, "powerlaw.PhoIndex": 1.0}
    ours = evaluate("phabs*powerlaw", values, edges, **tables)
    for photons, relative in ((as_xspec, 1e-4), (ours, 1e-3)):
        model = folded(observation, photons, channel)
        first = (((rate - model) / error) ** 2).sum()
        assert first == pytest.approx(4.8645994e8, rel=relative)
        best = (rate * model / error**2).sum() / (model**2 / error**2).sum()
        second = (((rate - best * model) / error) ** 2).sum()
        assert second == pytest.approx(852.166, rel=relative)
