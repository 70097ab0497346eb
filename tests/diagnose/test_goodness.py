"""Moments of the C statistic against sums, series and simulations; bands."""

import numpy as np
import pytest
from scipy.stats import poisson

from jsbi.diagnose import cstat_moments, goodness
from tests.targets import make_observation


def deviance(counts, expected):
    """Twice the log ratio of the perfect fit to the model, by scipy."""
    perfect = poisson.logpmf(counts, np.maximum(counts, 1e-300))
    return 2 * (perfect - poisson.logpmf(counts, expected))


@pytest.mark.parametrize("expected", [0.01, 0.3, 1.0, 4.0, 30.0, 99.0, 101.0, 500.0])
def test_moments_are_those_of_the_distribution(expected):
    counts = np.arange(3000)
    weight = poisson.pmf(counts, expected)
    mean = weight @ deviance(counts, expected)
    sd = np.sqrt(weight @ (deviance(counts, expected) - mean) ** 2)
    np.testing.assert_allclose(
        cstat_moments(np.array([expected])), (mean, sd), rtol=3e-5
    )


def test_moments_of_bins_add():
    bins = np.array([0.2, 3.0, 150.0])
    means, sds = zip(*(cstat_moments(each[None]) for each in bins), strict=True)
    total = sum(means), np.sqrt(sum(np.square(sds)))
    np.testing.assert_allclose(cstat_moments(bins), total, rtol=1e-12)


def test_no_expected_counts_make_no_deviance():
    np.testing.assert_allclose(cstat_moments(np.zeros(3)), 0.0, atol=1e-12)


def test_simulated_spectra_scatter_as_predicted():
    expected = np.geomspace(0.05, 300, 80)
    counts = np.random.default_rng(1).poisson(expected, (4000, 80))
    cstat = deviance(counts, expected).sum(1)
    mean, sd = cstat_moments(expected)
    assert abs(cstat.mean() - mean) < 4 * sd / np.sqrt(4000)
    assert abs(cstat.std() / sd - 1) < 4 / np.sqrt(2 * 4000)


def test_shares_of_the_statistic_are_those_of_scipy():
    counts, expected = np.array([0.0, 3.0, 1e6]), np.array([0.2, 5.0, 1.001e6])
    np.testing.assert_allclose(
        goodness.deviance(counts, expected), deviance(counts, expected), rtol=1e-6
    )


def test_equal_bands_hold_equal_expected_counts():
    expected = np.concatenate([np.geomspace(1, 9, 400), np.full(100, 2.0)])
    bands = goodness.equal_bands(expected, (400, 100), 8)
    np.testing.assert_array_equal(bands.member.sum(1), 1)
    np.testing.assert_array_equal(bands.observation, np.repeat([0, 1], 8))
    share = bands.sum(expected).reshape(2, 8)
    np.testing.assert_allclose(
        share, share.mean(1, keepdims=True) * np.ones(8), rtol=0.1
    )


def test_a_bin_that_holds_most_counts_is_a_band_of_its_own():
    expected = np.array([1.0, 1.0, 1000.0, 1.0])
    bands = goodness.equal_bands(expected, (4,), 10)
    assert bands.member.shape == (4, 3)
    np.testing.assert_array_equal(bands.sum(expected), [2.0, 1000.0, 1.0])


def test_bands_by_energy_know_their_ends_and_leave_out_the_rest():
    observation = make_observation()
    bands = goodness.energy_bands((observation, observation), (1.0, 2.0, 2.01, 9.0))
    low, high = observation.bin_low, observation.bin_high
    middle = 0.5 * (low + high)
    first = (middle >= 1) & (middle < 2)
    np.testing.assert_array_equal(bands.member[:60, 0], first)
    np.testing.assert_array_equal(bands.member.sum(1), np.tile(middle >= 1, 2))
    np.testing.assert_array_equal(bands.observation, [0, 0, 1, 1])
    assert bands.low[0] == low[first][0]
    assert bands.high[0] == high[first][-1]


def test_bands_add_up_to_the_moments_of_all_bins():
    expected = np.geomspace(0.05, 300, 60)
    counts = np.random.default_rng(2).poisson(expected).astype(float)
    observation = make_observation()
    bands = goodness.equal_bands(expected, (60,), 5, (observation,))
    fit = goodness.fit_bands(counts, expected, bands)
    mean, sd = cstat_moments(expected)
    assert fit.cstat_expected.sum() == pytest.approx(mean)
    assert np.sqrt((fit.cstat_sd**2).sum()) == pytest.approx(sd)
    assert fit.cstat.sum() == pytest.approx(deviance(counts, expected).sum())
    assert fit.total == pytest.approx((fit.cstat.sum(), mean, sd))
    assert fit.counts.sum() == counts.sum()
    lines = str(fit).splitlines()
    assert len(lines) == 7
    assert f"{fit.bands.low[2]:.4g}-{fit.bands.high[2]:.4g}" in lines[3]


def test_wrong_bands_are_named():
    with pytest.raises(ValueError, match="must be positive; got 0"):
        goodness.equal_bands(np.ones(3), (3,), 0)
    with pytest.raises(ValueError, match="add up to the 3 bins"):
        goodness.equal_bands(np.ones(3), (2,))
    with pytest.raises(ValueError, match="two or more and increase"):
        goodness.energy_bands((make_observation(),), (2.0, 1.0))
    with pytest.raises(ValueError, match="another unit"):
        goodness.energy_bands((make_observation(),), (500.0, 8000.0))
