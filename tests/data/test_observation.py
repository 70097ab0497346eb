"""The records refuse what cannot be right, and do their sums."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse
from scipy.stats import poisson

from jsbi.data import Background, Observation, Response


@pytest.fixture
def response():
    return Response(
        energy_edges=np.array([1.0, 2.0, 4.0]),
        redistribution=scipy.sparse.csc_array([[0.5, 0], [0.5, 0.2], [0, 0.3], [0, 0]]),
        area=np.array([10.0, 20.0]),
        channel=np.arange(4),
        channel_low=np.array([1.0, 2.0, 3.0, 4.0]),
        channel_high=np.array([2.0, 3.0, 4.0, 5.0]),
    )


@pytest.fixture
def observation(response):
    return Observation(
        name="test",
        counts=np.array([3.0, 4.0, 0.0, np.nan]),
        exposure=10.0,
        area_scale=np.array(1.0),
        back_scale=np.array(1.0),
        group=np.array([0, 0, 1, -1]),
        response=response,
    )


def replace(record, **fields):
    return dataclasses.replace(record, **fields)


def test_fold_multiplies_by_area_and_redistributes(response):
    rate = response.fold(np.array([1.0, 2.0]))
    np.testing.assert_allclose(rate, [5, 5 + 8, 12, 0], rtol=1e-15)
    np.testing.assert_allclose(response.matrix @ np.array([1.0, 2.0]), rate, rtol=1e-15)


def test_fold_conserves_photons_where_columns_sum_to_one(response):
    full = replace(
        response, redistribution=scipy.sparse.csc_array([[1, 0.25]] + [[0, 0.25]] * 3)
    )
    flux = np.array([0.3, 0.7])
    assert full.fold(flux).sum() == pytest.approx(full.area @ flux, rel=1e-15)


def test_grouped_sums_dense_and_sparse_alike(observation):
    values = np.arange(24.0).reshape(4, 3, 2)
    expected = np.stack([values[0] + values[1], values[2]])
    np.testing.assert_array_equal(observation.grouped(values), expected)
    matrix = observation.response.redistribution
    grouped = observation.grouped(matrix)
    assert scipy.sparse.issparse(grouped)
    np.testing.assert_array_equal(
        grouped.toarray(), observation.grouped(matrix.toarray())
    )


def test_bins_drop_what_is_not_in_a_group(observation):
    assert observation.bins == 2
    np.testing.assert_array_equal(observation.binned_counts, [7, 0])
    np.testing.assert_array_equal(observation.bin_low, [1, 3])
    np.testing.assert_array_equal(observation.bin_high, [3, 4])


def test_perfect_log_likelihood_is_that_of_expected_equal_to_counts(observation):
    expected = poisson.logpmf(7, 7)  # and ln 1 for the empty bin
    assert observation.perfect_log_likelihood == pytest.approx(expected, rel=1e-14)


def test_select_keeps_whole_bins(observation):
    selected = observation.select((3.0, 5.0))
    np.testing.assert_array_equal(selected.group, [-1, -1, 0, -1])
    with pytest.raises(ValueError, match=r"\(2, 3\) keV .* good channels cover 1 to 4"):
        observation.select((2.0, 3.0))


def test_short_descriptions(observation):
    text = "Observation('test', 7 counts in 2 bins 1-4 keV, 10 s, background: none)"
    assert repr(observation) == text
    text = "Response(4 channels, 2 energy bins 1-4 keV, area up to 10 cm^2)"
    assert repr(observation.response) == text


def test_records_cannot_be_changed(observation):
    with pytest.raises(dataclasses.FrozenInstanceError):
        observation.exposure = 1.0
    with pytest.raises(ValueError, match="read-only"):
        observation.counts[0] = 1.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"energy_edges": [1, 3, 2]}, "bin 1 spans 3 to 2. Wavelengths"),
        ({"energy_edges": [0, 2, 4]}, "positive and increasing"),
        ({"energy_edges": [1, 2, np.nan]}, "bin 1 spans 2 to nan"),
        ({"energy_edges": [1, 2]}, r"`redistribution` must have shape \(4, 1\)"),
        ({"area": [1, 2, 3]}, r"`area` must have shape \(2,\).* got \(3,\)"),
        ({"area": [1, -2]}, r"`area` \[cm\^2\] .* entry 1 is -2"),
        ({"area": [1, np.inf]}, "entry 1 is inf"),
        ({"channel": [0, 1, 1, 2]}, "increasing channel numbers"),
        ({"channel": [0, 1]}, r"must have shape \(2, 2\), from 2 channels"),
        ({"channel_low": [1, 2, 9, 4]}, "channel 2 spans 9 to 4"),
    ],
)
def test_bad_response(response, fields, message):
    fields = {name: np.array(value) for name, value in fields.items()}
    with pytest.raises(ValueError, match=message):
        replace(response, **fields)


def test_negative_redistribution(response):
    with pytest.raises(ValueError, match=r"`redistribution` must be .* is -1 \(2 such"):
        replace(response, redistribution=-(response.redistribution > 0.4).astype(float))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"counts": [1, 2, 3]}, r"each of the response's 4 channels; got shape \(3,\)"),
        ({"counts": [1, -2, 3, 4]}, "channel 1 holds -2 .*background-subtracted"),
        ({"counts": [1, np.nan, 3, 4]}, "channel 1 holds nan"),
        ({"exposure": 0.0}, r"`exposure` must be positive \[s\]; got 0"),
        ({"exposure": np.nan}, "`exposure` must be positive"),
        ({"area_scale": [1, 2]}, r"`area_scale` must be a number or .* 4 channels"),
        ({"area_scale": [1, np.nan, 1, 1]}, "`area_scale` must be finite"),
        ({"group": [-1, -1, -1, -1]}, "must keep at least one channel"),
        ({"group": [1, -1, 1, -1]}, "OGIP GROUPING flags"),
        ({"group": [0, 2, 2, 2]}, "must number the bins 0, 1, 2"),
        ({"group": [1, 1, 0, 0]}, "in the order of the channels"),
        ({"background_mode": "none"}, "must be one of 'ignore'"),
    ],
)
def test_bad_observation(observation, fields, message):
    fields = {
        name: np.array(value) if isinstance(value, list) else value
        for name, value in fields.items()
    }
    with pytest.raises(ValueError, match=message):
        replace(observation, **fields)


def test_background_has_the_channels_of_the_response(observation):
    one = np.array(1.0)
    background = Background(np.zeros(3), 1.0, one, one)
    with pytest.raises(
        ValueError, match=r"`background.counts` must have .* 4 channels"
    ):
        replace(observation, background=background)
    with pytest.raises(ValueError, match="counts must be finite; 1 is not"):
        Background(np.array([1.0, np.nan]), 1.0, one, one)
