"""A shifted energy scale moves counts between bins, and neither makes nor loses any."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from jsbi.data import gaussian_response, observation_from_counts
from jsbi.instrument import Folder
from jsbi.instrument.gain import GainFolder

ENERGY = np.linspace(0.3, 12.0, 235)
CHANNEL = np.linspace(0.0, 13.0, 1301)
SIGMA = 0.08
SLOPES = (-0.06, -0.01, 0.0, 0.03)


@pytest.fixture(scope="module")
def observation():
    """Groups of twenty channels of 10 eV between 1 and 9 keV, some dropped."""
    area = np.linspace(300.0, 50.0, len(ENERGY) - 1)
    width = np.full(len(area), SIGMA * np.sqrt(8 * np.log(2)))
    response = gaussian_response(ENERGY, CHANNEL, area, width)
    whole = observation_from_counts(
        "toy", np.ones(1300), 100.0, response, group={"constant": 20}, energy=(1, 9)
    )
    group = whole.group.copy()
    group[410:413] = -1  # in the middle of a bin
    return dataclasses.replace(whole, group=group)


def flux_of(folder, index=1.7):
    energy = np.asarray(folder.grid.edges, float)
    middle = 0.5 * (energy[1:] + energy[:-1])
    return middle**-index * np.diff(energy)


def test_without_a_shift_it_folds_as_the_folder_does(observation):
    plain, gain = Folder(observation), GainFolder(observation)
    start = np.argmin(np.abs(np.asarray(gain.grid.edges) - float(plain.grid.edges[0])))
    flux = flux_of(gain)
    own = flux[start : start + len(plain.grid.width)]
    expected = np.asarray(plain(jnp.asarray(own)))
    np.testing.assert_allclose(gain(jnp.asarray(flux)), expected, rtol=1e-5)
    assert plain.bins == gain.bins == observation.bins < len(gain.matrix)


@pytest.mark.parametrize("slope", SLOPES)
def test_single_channels_of_a_bright_spectrum_are_those_of_double_precision(
    observation, slope
):
    """Ten million counts, of which neither end is known better than the other."""
    single = observation_from_counts(
        "bright", np.ones(1300), 100.0, observation.response, energy=(1, 9)
    )
    folder = GainFolder(single)
    flux = flux_of(folder).astype(np.float32)
    found = folder.shifted(jnp.asarray(slope))(jnp.asarray(flux))
    edges = np.asarray(folder.edges, np.float64)
    counts = np.asarray(folder.matrix, np.float64) @ flux.astype(np.float64)
    below = np.concatenate([[0.0], np.cumsum(counts)])
    ends = np.stack([folder.low, folder.high]).astype(np.float64)
    exact = np.diff(np.interp(ends / (1 + np.float32(slope)), edges, below), axis=0)[0]
    np.testing.assert_allclose(found, exact, rtol=1.5e-4)
    scale = 1e7 / exact.sum()
    seen = np.random.default_rng(0).poisson(scale * exact)
    change = np.log(np.asarray(found, np.float64) / exact)
    gain = (seen * change).sum() - scale * (np.asarray(found) - exact).sum()
    assert abs(gain) < 0.3


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("offset", [0.0, 0.02])
def test_a_shifted_line_is_a_gaussian_at_the_shifted_energy(observation, slope, offset):
    folder = GainFolder(observation)
    edges = np.asarray(folder.grid.edges, float)
    row = np.argmin(np.abs(edges - 5.0))
    energy = 0.5 * (edges[row] + edges[row + 1])
    flux = np.zeros(len(edges) - 1)
    flux[row] = 1.0
    counts = folder.shifted(jnp.asarray(slope), jnp.asarray(offset))(jnp.asarray(flux))
    response = observation.response
    centre, sigma = (1 + slope) * energy + offset, (1 + slope) * SIGMA
    below = ndtr((CHANNEL - centre) / sigma)
    share = observation.grouped(np.diff(below))
    area = response.area[np.argmin(np.abs(response.energy_edges - edges[row]))]
    # Linear within a channel of an eighth of sigma: good to 1e-3 of the peak.
    answer = 100.0 * area * share
    np.testing.assert_allclose(counts, answer, atol=1e-3 * answer.max())


def test_counts_are_conserved_where_all_channels_are_kept(observation):
    detectors = observation.response.detectors
    whole = dataclasses.replace(observation, group=np.arange(detectors) // 20)
    folder = GainFolder(whole)
    flux = np.zeros(len(folder.grid.width))
    flux[40:120] = 1.0  # far from both ends
    totals = [
        float(folder.shifted(jnp.asarray(slope))(jnp.asarray(flux)).sum())
        for slope in SLOPES
    ]
    np.testing.assert_allclose(totals, totals[2], rtol=1e-6)


def test_the_derivative_is_that_of_finite_differences(observation):
    folder = GainFolder(observation)
    flux = jnp.asarray(flux_of(folder))

    def counts(slope):
        return folder.shifted(slope)(flux)

    # Between edges of channels, where the sum of counts has no kink.
    slope, step = jnp.asarray(0.0123), 2e-4
    derivative = jax.jacfwd(counts)(slope)
    difference = (counts(slope + step) - counts(slope - step)) / (2 * step)
    np.testing.assert_allclose(
        derivative, difference, atol=0.02 * np.abs(np.asarray(difference)).max()
    )
    assert np.abs(np.asarray(derivative)).max() > 0


def test_channels_in_descending_order_give_the_same(observation):
    response = observation.response
    backwards = dataclasses.replace(
        response,
        redistribution=response.redistribution[::-1],
        channel_low=response.channel_low[::-1],
        channel_high=response.channel_high[::-1],
    )
    group = observation.group[::-1]
    group = np.where(group >= 0, group.max() - group, -1)
    other = dataclasses.replace(observation, response=backwards, group=group)
    folders = GainFolder(observation), GainFolder(other)
    flux = jnp.asarray(flux_of(folders[0]))
    first, second = (each.shifted(jnp.asarray(0.02))(flux) for each in folders)
    np.testing.assert_allclose(first, second[::-1], rtol=1e-4)


def test_the_area_scale_of_dropped_channels_does_not_matter(observation):
    scale = np.where(observation.group >= 0, 0.7, np.nan)
    other = dataclasses.replace(observation, area_scale=scale)
    folders = GainFolder(observation), GainFolder(other)
    flux = jnp.asarray(flux_of(folders[0]))
    first, second = (each.shifted(jnp.asarray(0.02))(flux) for each in folders)
    np.testing.assert_allclose(0.7 * first, second, atol=1e-6 * float(second.sum()))


def test_channels_with_gaps_are_refused(observation):
    response = observation.response
    high = response.channel_low + 0.5 * (response.channel_high - response.channel_low)
    torn = dataclasses.replace(response, channel_high=high)
    with pytest.raises(ValueError, match="border on each other"):
        GainFolder(dataclasses.replace(observation, response=torn))
