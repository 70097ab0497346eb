"""The parametric instrument has the numbers it says it has."""

import numpy as np
import pytest

from jsbi.data import gaussian_response, nicer_like, observation_from_counts
from jsbi.data.synthetic import nicer_area, nicer_resolution
from jsbi.data.tables import read_tables


@pytest.fixture(scope="module")
def nicer():
    return nicer_like()


def test_resolution_is_the_published_one():
    np.testing.assert_allclose(
        nicer_resolution(np.array([1.0, 6.0])), [0.085, 0.137], atol=5e-4
    )


def test_area_is_the_published_one(nicer):
    assert nicer_area(np.array([1.5]))[0] == pytest.approx(1900, rel=0.02)
    centre = (nicer.energy_edges[1:] + nicer.energy_edges[:-1]) / 2
    assert 1.3 < centre[nicer.area.argmax()] < 1.8
    assert np.all(nicer.area > 0)


def test_area_lies_within_a_few_percent_of_the_missions(test_data):
    path = "sixsa_nicer/pre_burst_Tint200_raw.arf"
    table = read_tables(test_data(path))[0]
    energy = (table.numbers("ENERG_LO") + table.numbers("ENERG_HI")) / 2
    # Away from the edges that the parametric curve leaves out.
    for low, high in [(0.6, 1.7), (2.35, 10.0)]:
        inside = (energy > low) & (energy < high)
        ratio = nicer_area(energy[inside]) / table.numbers("SPECRESP")[inside]
        assert np.all(np.abs(ratio - 1) < 0.12)
        assert abs(ratio.mean() - 1) < 0.03


def test_size_of_the_example(nicer):
    assert nicer.detectors == 1180
    assert len(nicer.area) == 1024
    width = np.diff(nicer.energy_edges)
    assert 0.005 < width.min() < width.max() < 0.021
    np.testing.assert_allclose(nicer.channel_low, nicer.channel / 100, rtol=1e-12)
    observation = observation_from_counts(
        "x",
        np.ones(1180, int),
        1.0,
        nicer,
        group={"constant": 5},
        energy=(0.3, 10),
    )
    assert observation.bins == 194


def test_photons_are_kept_within_the_channels_and_never_multiplied(nicer):
    total = np.asarray(nicer.redistribution.sum(axis=0)).ravel()
    assert total.max() <= 1.0
    energy = nicer.energy_edges[:-1]
    inside = (energy > 0.6) & (energy < 11.0)
    np.testing.assert_allclose(total[inside], 1.0, atol=1e-8)
    assert total[0] == pytest.approx(0.5, abs=0.05)  # half falls below 0.2 keV


@pytest.mark.parametrize("energy", [0.7, 2.0, 6.4])
def test_mean_and_width_of_a_line(nicer, energy):
    bin_ = np.searchsorted(nicer.energy_edges, energy) - 1
    column = nicer.redistribution[:, [bin_]].toarray().ravel()
    centre = (nicer.channel_low + nicer.channel_high) / 2
    mean = column @ centre
    true = nicer.energy_edges[bin_ : bin_ + 2].mean()
    assert mean == pytest.approx(true, abs=1e-6)
    variance = column @ (centre - mean) ** 2
    sigma = nicer_resolution(np.array([true]))[0] / np.sqrt(8 * np.log(2))
    assert variance == pytest.approx(sigma**2 + 0.01**2 / 12, rel=1e-4)


def test_resolution_must_be_positive():
    edges, ones = np.array([1.0, 2.0, 3.0]), np.ones(2)
    with pytest.raises(ValueError, match="`resolution` must be positive"):
        gaussian_response(edges, edges, ones, 0 * ones)


def test_counts_must_match_the_channels(nicer):
    with pytest.raises(ValueError, match=r"response's 1180 channels; got shape \(194,"):
        observation_from_counts("x", np.ones(194), 1.0, nicer)
