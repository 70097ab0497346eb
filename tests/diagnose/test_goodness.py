"""Moments of the C statistic against sums, series and simulations."""

import numpy as np
import pytest
from scipy.stats import poisson

from jsbi.diagnose import cstat_moments


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
