"""Comptonisation on a grid: limits, and convergence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.instrument import EnergyGrid
from jsbi.model.additive import kompaneets

EDGES = np.geomspace(0.1, 20.0, 101)


def spectrum(*case):
    with jax.enable_x64(True):
        return np.asarray(kompaneets.ThermalComptonisation(*case)(EnergyGrid(EDGES)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "tolerance"),
    [
        ((1.7, 100.0, 0.1), 3e-5),
        ((1.2, 5.0, 0.05), 3e-5),
        ((2.4, 3.0, 0.2, 1.0), 3e-5),
        ((4.0, 300.0, 0.3), 2e-4),
    ],
)
def test_more_points_change_nothing(monkeypatch, case, tolerance):
    ours = spectrum(*case)
    monkeypatch.setattr(kompaneets, "_POINTS", 1537)
    np.testing.assert_allclose(spectrum(*case), ours, rtol=tolerance)


@pytest.mark.slow
def test_many_scatterings_make_a_wien_spectrum():
    photons = spectrum(1.001, 1.0, 0.001) / np.diff(EDGES)
    middle = np.sqrt(EDGES[1:] * EDGES[:-1])
    index = np.diff(np.log(photons) + middle) / np.diff(np.log(middle))
    assert np.all(np.abs(index[middle[1:] > 4] - 2) < 0.15)


def test_photon_index_is_that_of_a_power_law_between_seeds_and_cutoff():
    photons = spectrum(1.7, 1000.0, 0.001) / np.diff(EDGES)
    middle = np.sqrt(EDGES[1:] * EDGES[:-1])
    index = -np.diff(np.log(photons)) / np.diff(np.log(middle))
    assert np.all(np.abs(index[middle[1:] < 5] - 1.7) < 0.03)


def test_flux_at_one_kev_is_the_norm():
    with jax.enable_x64(True):
        for redshift in (0.0, 0.7):
            grid = EnergyGrid(np.array([0.999, 1.001]))
            case = map(jnp.asarray, (2.0, 50.0, 0.3, 1.0, redshift, 3.0))
            photons = kompaneets.ThermalComptonisation(*case)(grid)
            assert photons[0] / 0.002 == pytest.approx(3.0, rel=1e-5)
