"""Published chi-squared fits of MAXI J1820+070 with NICER, from 0.5 to 10 keV.

Source: nDspec (Lucchini et al.), the notebook docs/fit_spec.ipynb of 2025 and 2026:
XSPEC's components with the abundances `angr`, and errors from counts and SYS_ERR.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.io import fits
from scipy.optimize import least_squares

from jsbi.data import read_observation
from jsbi.instrument import Folder
from jsbi.model import spectral_model

pytestmark = pytest.mark.slow

FILES = "maxi_j1820_nicer/1200120106_"

spectral = {
    name: spectral_model(name, abundances="angr")
    for name in ("tbabs", "powerlaw", "diskbb", "tbabs*(nthComp+diskbb)")
}


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def spectrum(test_data):
    """What folds into the bins of the fit, the counts there and their errors."""
    path = test_data(FILES + "rebin.pha")
    observation = read_observation(
        path,
        response=test_data(FILES + "rmf.pha.gz"),
        arf=test_data(FILES + "arf.pha"),
        energy=(0.48, 10.1),  # of whole groups: the 235 of the published fits
    )
    with fits.open(path) as file:
        table = file["SPECTRUM"].data
        systematic = dict(
            zip(table["CHANNEL"].tolist(), table["SYS_ERR"].astype(float), strict=True)
        )
    used = observation.group >= 0
    group = observation.group[used]
    relative = [systematic[int(each)] for each in observation.response.channel[used]]
    relative = np.bincount(group, weights=relative) / np.bincount(group)
    counts = np.asarray(observation.binned_counts, np.float64)
    with jax.enable_x64(True):
        folder = Folder(observation)
    return folder, counts, np.sqrt(counts + (relative * counts) ** 2)


def best_fit(spectrum, photons, start):
    """Chi-squared and parameters of the best fit to the folded photons."""
    folder, counts, error = spectrum
    folded = jax.jit(lambda values: folder(photons(folder.grid, values)))
    slope = jax.jit(jax.jacfwd(lambda values: folder(photons(folder.grid, values))))
    fit = least_squares(
        lambda values: (np.asarray(folded(values)) - counts) / error,
        start,
        jac=lambda values: np.asarray(slope(values)) / error[:, None],
        x_scale="jac",
    )
    return 2 * fit.cost, fit.x


def power_law_and_disk(by_energy):
    """Photons of `tbabs*(powerlaw+diskbb)`, the disk times the energy or not."""

    def photons(grid, values):
        column, index, norm, kT, disk_norm = values
        absorber = spectral["tbabs"](**{"tbabs.nH": column})
        power_law = {"powerlaw.PhoIndex": index, "powerlaw.norm": norm}
        disk = {"diskbb.Tin": kT, "diskbb.norm": 1e5 * disk_norm}
        factor = 0.5 * (grid.edges[1:] + grid.edges[:-1]) if by_energy else 1.0
        return absorber(grid) * (
            spectral["powerlaw"](**power_law)(grid)
            + factor * spectral["diskbb"](**disk)(grid)
        )

    return photons


def test_the_published_disk_is_multiplied_by_the_energy(spectrum):
    """It was read off XSPEC's plot of the components, which shows E * diskbb."""
    photons = power_law_and_disk(by_energy=True)
    published = np.array([0.09136439, 1.59763896, 6.25158218, 0.23975053, 2.87698701])
    error = np.array([0.00472511, 0.00704034, 0.07408392, 0.00466251, 0.380539294])
    assert len(spectrum[1]) == 235
    _, found = best_fit(spectrum, photons, [0.1, 1.65, 6.5, 0.25, 2.0])
    assert np.all(np.abs(found - published) < 2 * error)
    folder, counts, errors = spectrum
    residual = (folder(photons(folder.grid, jnp.asarray(published))) - counts) / errors
    assert np.sum(residual**2) == pytest.approx(643.872328, rel=0.02)


def test_the_plain_disk_fits_better_with_more_absorption(spectrum):
    """There is no published fit of it; the power law must hardly depend on the disk."""
    photons = power_law_and_disk(by_energy=False)
    statistic, found = best_fit(spectrum, photons, [0.1, 1.65, 6.5, 0.3, 1.0])
    assert statistic == pytest.approx(540, rel=0.02)
    assert found[1] == pytest.approx(1.59763896, abs=2 * 0.00704034)
    assert found[0] == pytest.approx(0.122, abs=0.002)
    assert found[3] == pytest.approx(0.285, abs=0.004)


def test_comptonised_disk(spectrum):
    """The seeds of the Comptonised photons have the temperature of the disk."""

    def photons(grid, values):
        column, index, kT, norm, disk_norm = values
        fixed = {
            "nthcomp.kT_e": 100.0,
            "nthcomp.inp_type": 1.0,
            "nthcomp.Redshift": 0.0,
        }
        free = {
            "tbabs.nH": column,
            "nthcomp.Gamma": index,
            "nthcomp.kT_bb": kT,
            "nthcomp.norm": norm,
            "diskbb.Tin": kT,
            "diskbb.norm": 10**disk_norm,
        }
        return spectral["tbabs*(nthComp+diskbb)"](**fixed, **free)(grid)

    published = np.array([0.10691911, 1.61402908, 0.28607171, 5.81860363, 5.12373089])
    error = np.array([0.00547610, 0.00690864, 0.00531217, 0.10071062, 0.04722200])
    statistic, found = best_fit(spectrum, photons, [0.1, 1.65, 0.25, 6.5, 5.0])
    assert statistic == pytest.approx(531.5282599911818, rel=0.03)
    assert np.all(np.abs(found - published) < 2 * error)
