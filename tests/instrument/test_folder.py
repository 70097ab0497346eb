"""Folding is redistribution times area times exposure, summed over the fit bins."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.data import (
    Observation,
    gaussian_response,
    nicer_like,
    observation_from_counts,
)
from jsbi.instrument import EnergyGrid, Folder

ENERGY = np.geomspace(0.3, 10.0, 121)
CHANNEL = np.linspace(0.5, 9.0, 61)


@pytest.fixture(scope="module")
def response():
    centre = np.sqrt(ENERGY[1:] * ENERGY[:-1])
    area = 500 * np.exp(-0.5 * np.log(centre / 1.5) ** 2)
    return gaussian_response(ENERGY, CHANNEL, area, 0.05 + 0.02 * centre)


@pytest.fixture(scope="module")
def observation(response):
    """Pairs of channels, a few dropped, an area scale that varies."""
    group = np.repeat(np.arange(30), 2)
    group[10:14] = -1
    group[group > 6] -= 2
    return Observation(
        name="toy",
        counts=np.ones(60),
        exposure=1234.5,
        area_scale=np.linspace(0.5, 1.5, 60),
        back_scale=np.ones(60),
        group=group,
        response=response,
    )


def reference(observation, flux):
    """Expected counts per fit bin for a flux on all energy bins, in float64."""
    response = observation.response
    rate = response.redistribution.toarray() @ (response.area * flux)
    channels = observation.exposure * observation.area_scale * rate
    bins = range(observation.group.max() + 1)
    return np.array([channels[observation.group == bin_].sum() for bin_ in bins])


def on_grid(folder, flux):
    """The part of a flux on all energy bins of the response that the folder keeps."""
    low = np.asarray(folder.grid.low, float)
    first = np.argmin(np.abs(ENERGY - low[0]))
    return jnp.asarray(flux[first : first + len(low)])


def test_folding_is_that_of_numpy(observation):
    flux = np.random.default_rng(0).random(120)
    with jax.enable_x64(True):
        folder = Folder(observation)
        ours = folder(on_grid(folder, flux))
        np.testing.assert_allclose(ours, reference(observation, flux), rtol=1e-13)


def test_float32_is_good_to_a_millionth():
    observation = observation_from_counts(
        "nicer", np.ones(1180), 1e4, nicer_like(), group={"constant": 3}
    )
    flux = np.random.default_rng(1).random(1024) * np.geomspace(1, 1e-4, 1024)
    folder = Folder(observation)
    assert folder.matrix.dtype == jnp.float32
    np.testing.assert_allclose(
        folder(jnp.asarray(flux)), reference(observation, flux), rtol=1e-6
    )


def test_folding_is_linear(observation):
    folder = Folder(observation)
    a, b = np.random.default_rng(2).random((2, len(folder.grid.width)))
    together = folder(jnp.asarray(2 * a + 3 * b))
    apart = 2 * folder(jnp.asarray(a)) + 3 * folder(jnp.asarray(b))
    np.testing.assert_allclose(together, apart, rtol=2e-6)


def test_exposure_and_area_scale_multiply(observation):
    folder = Folder(observation)
    double = dataclasses.replace(observation, exposure=2 * observation.exposure)
    halved = dataclasses.replace(double, area_scale=observation.area_scale / 2)
    np.testing.assert_allclose(Folder(double).matrix, 2 * folder.matrix, rtol=1e-6)
    np.testing.assert_allclose(Folder(halved).matrix, folder.matrix, rtol=1e-6)


def test_dropped_energies_are_those_that_reach_no_kept_bin(observation):
    few = dataclasses.replace(
        observation, group=np.where(np.arange(60) < 10, observation.group, -1)
    )
    with jax.enable_x64(True):
        folder = Folder(few)
        assert len(folder.grid.width) < 120
        flux = np.random.default_rng(3).random(120)
        ours = folder(on_grid(folder, flux))
        np.testing.assert_allclose(ours, reference(few, flux), rtol=1e-13)
        reached = few.response.redistribution[:10].toarray().any(0)
        assert len(folder.grid.width) == reached.sum()
        assert folder.grid.edges[0] == ENERGY[np.argmax(reached)]


def test_energies_without_area_inside_the_range_are_kept(observation):
    area = observation.response.area.copy()
    area[50:60] = 0
    gap = dataclasses.replace(
        observation, response=dataclasses.replace(observation.response, area=area)
    )
    with jax.enable_x64(True):
        assert isinstance(Folder(gap).grid, EnergyGrid)
        np.testing.assert_array_equal(
            Folder(gap).grid.edges, Folder(observation).grid.edges
        )


def test_counts_of_dropped_channels_are_not_folded(observation):
    folder = Folder(observation)
    assert folder.matrix.shape[0] == observation.bins == 28
    assert np.all(np.asarray(folder.matrix.sum(1)) > 0)


def test_a_response_without_area_is_refused(observation):
    blind = dataclasses.replace(observation.response, area=np.zeros(120))
    with pytest.raises(ValueError, match=r"toy: .*some energy.*effective area zero\?"):
        Folder(dataclasses.replace(observation, response=blind))
