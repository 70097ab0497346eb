"""Statistics against scipy, uniform p-values of true models, small ones of others."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom, kstest, kstwobign, norm

from jsbi.diagnose.bootstrap import (
    SIDES,
    count_runs,
    fit_each,
    fit_statistics,
    fitted_goodness,
    known_goodness,
    longest_run,
    ranked,
)
from jsbi.diagnose.goodness import cstat_moments, equal_bands
from jsbi.diagnose.uniformity import holm
from jsbi.instrument import Folder
from jsbi.posterior import Posterior
from jsbi.simulate import Simulator, Target
from tests.targets import make_observation, power_law, power_law_target

KS, AD, RUNS, LONGEST, WORST = range(1, 6)


def statistics(counts, expected, sizes=None):
    sizes = (len(expected),) if sizes is None else sizes
    bands = equal_bands(expected, sizes, 4)
    return fit_statistics(counts, expected[None], sizes, bands)


def laplace(target, draws=400):
    """Draws around the best fit of a power law."""
    counts = np.asarray(target.counts, np.float64)[None]
    best = fit_each(target.simulator, counts, np.array([[0.1, 0.2]]))[0][0]
    z = best + 0.01 * np.random.default_rng(0).standard_normal((draws, 2))
    return Posterior(
        names=("a", "b"),
        z=z,
        values=z,
        log_weight=np.full(draws, -np.log(draws)),
        log_likelihood=target.log_likelihood(z),
        effective_draws=float(draws),
    )


def test_statistics_of_many_fine_bins_are_those_of_scipy():
    """Each of 200 events has a bin of its own, as without binning."""
    edges = np.linspace(-5, 5, 20_001)
    expected = 200 * np.diff(norm.cdf(edges))
    values = np.random.default_rng(3).normal(0.1, 1.0, 200)
    counts = np.histogram(values, edges)[0].astype(float)
    found = statistics(counts[None], expected)[0]
    assert found[KS] / np.sqrt(200) == pytest.approx(
        kstest(values, "norm").statistic, abs=1e-3
    )
    ordered, odd = np.sort(values), 2 * np.arange(1, 201) - 1
    logs = norm.logcdf(ordered) + norm.logsf(ordered[::-1])
    assert found[AD] == pytest.approx(-200 - (odd * logs).sum() / 200, abs=0.02)


def test_kolmogorov_smirnov_has_its_limiting_distribution():
    expected = np.full(4000, 50.0)
    counts = np.random.default_rng(4).poisson(expected, (500, 4000)).astype(float)
    assert kstest(statistics(counts, expected)[:, KS], kstwobign.cdf).pvalue > 1e-3


def test_runs_of_signs():
    sign = np.array([[1, 1, 0, 0, 0, 1], [0, 1, 0, 1, 0, 1], [1, 1, 1, 1, 1, 1]]) > 0
    np.testing.assert_array_equal(count_runs(sign), [3, 6, 1])
    np.testing.assert_array_equal(longest_run(sign), [3, 1, 6])


def test_changes_of_sign_of_a_fair_coin_are_binomial():
    sign = np.random.default_rng(5).random((20_000, 12)) > 0.5
    share = np.bincount(count_runs(sign).astype(int), minlength=13)[1:] / 20_000
    np.testing.assert_allclose(share, binom.pmf(np.arange(12), 11, 0.5), atol=0.015)


def test_runs_and_the_c_statistic_do_not_depend_on_how_many_counts_there_are():
    """Of true models, from bins that are mostly empty to bins that rarely are."""
    generator = np.random.default_rng(10)
    for level in (0.05, 0.3, 2.0):
        counts = generator.poisson(level, (4000, 200)).astype(float)
        found = statistics(counts, np.full(200, level))[:, [0, RUNS]]
        np.testing.assert_allclose(found.mean(0), 0, atol=0.15)
        np.testing.assert_allclose(found.std(0), 1, atol=0.1)


def test_the_longest_run_is_told_by_how_many_of_its_length_are_expected():
    sign = np.array([[1, 0, 1, 1, 1, 0, 0, 1]]) > 0
    share = 5 / 8
    expected = max(
        -np.log(8 * share**3 * (1 - share)), -np.log(8 * (1 - share) ** 2 * share)
    )
    counts = np.where(sign, 3.0, 1.0)
    found = statistics(counts, np.full(8, 2.0))[0, LONGEST]
    assert found == pytest.approx(expected)


def on_a_grid(target):
    """The posterior of two parameters, as weighted places."""
    axis = np.linspace(-4, 4, 61)
    z = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    log_likelihood = target.log_likelihood(z)
    log_weight = log_likelihood + target.log_prior(z)
    return Posterior(
        names=("a", "b"),
        z=z,
        values=z,
        log_weight=log_weight - np.logaddexp.reduce(log_weight),
        log_likelihood=log_likelihood,
        effective_draws=1000.0,
    )


@pytest.mark.slow
def test_p_values_of_faint_fits_are_uniform():
    """At 0.15 counts per bin, where C-stat is mostly how many counts there are."""
    model, prior = power_law()
    folder = Folder(make_observation(exposure=2.0))
    simulator = Simulator(prior, model, (folder,))
    expected = np.asarray(simulator.expected_counts(jnp.array([0.1, 0.2])), float)
    assert 0.05 < expected.mean() < 0.3
    generator = np.random.default_rng(11)
    found = []
    for key in jax.random.split(jax.random.key(2), 80):
        faint = Target(simulator, generator.poisson(expected).astype(float))
        choices = {"simulations": 119, "false_alarm": 0.1}
        found.append(fitted_goodness(key, faint, on_a_grid(faint), **choices).p_value)
    p_values = [kstest(column, "uniform").pvalue for column in np.array(found).T]
    assert holm(np.array(p_values)).min() > 1e-3


def test_observations_are_cumulated_by_themselves():
    generator = np.random.default_rng(6)
    expected = np.concatenate([np.full(30, 5.0), np.full(20, 50.0)])
    counts = generator.poisson(expected, (7, 50)).astype(float)
    joint = statistics(counts, expected, (30, 20))
    one = statistics(counts[:, :30], expected[:30])
    other = statistics(counts[:, 30:], expected[30:])
    np.testing.assert_allclose(joint[:, KS], np.maximum(one[:, KS], other[:, KS]))
    for column in (AD, RUNS):
        np.testing.assert_allclose(joint[:, column], one[:, column] + other[:, column])
    np.testing.assert_allclose(
        joint[:, LONGEST], np.maximum(one[:, LONGEST], other[:, LONGEST])
    )


def test_the_worst_band_is_in_standard_deviations_of_its_exact_moments():
    expected = np.full(40, 3.0)
    counts = np.full(40, 3.0)
    counts[10:20] = 9.0
    mean, sd = cstat_moments(expected[:10])
    excess = 10 * 2 * (3 - 9 + 9 * np.log(3)) - mean
    found = statistics(counts[None], expected)[0, WORST]
    assert found == pytest.approx(excess / sd)


def test_ranks_of_tied_values_are_uniform():
    generator = np.random.default_rng(7)
    for sides in (-1, 0, 1):
        values = generator.poisson(0.5, (4000, 20)).astype(float)
        found = [
            ranked(generator, row[:1], row[1:, None], np.array([sides]))[0]
            for row in values
        ]
        allowed, counts = np.unique(np.round(20 * np.array(found)), return_counts=True)
        step = 1 if sides else 2
        np.testing.assert_array_equal(allowed, np.arange(step, 21, step))
        expected = 4000 / len(allowed)
        assert ((counts - expected) ** 2 / expected).sum() < 60


@pytest.mark.parametrize("level", [0.1, 1.0, 30.0])
def test_p_values_of_true_models_are_uniform(level):
    expected = np.geomspace(0.3, 3, 50) * level
    generator = np.random.default_rng(8)
    keys = jax.random.split(jax.random.key(0), 200)
    found = np.array(
        [
            known_goodness(
                key,
                generator.poisson(expected).astype(float),
                expected,
                simulations=119,
                false_alarm=0.1,
            ).p_value
            for key in keys
        ]
    )
    assert holm(np.array([kstest(c, "uniform").pvalue for c in found.T])).min() > 1e-3


def test_a_line_that_the_model_lacks_is_found():
    expected = np.full(100, 30.0)
    line = 300 * norm.pdf(np.arange(100), 60, 4)
    counts = np.random.default_rng(9).poisson(expected + line).astype(float)
    found = known_goodness(jax.random.key(0), counts, expected)
    assert found.misfit
    assert found.corrected[WORST] <= 0.01
    text = str(found)
    assert "a misfit, at 1 % false alarms, from 1,999" in text
    assert all(name in text for name in SIDES)


def test_fitted_parameters_are_accounted_for():
    """Two fitted parameters make the cumulative statistics smaller, p-values not."""
    target = power_law_target()
    posterior = laplace(target)
    choices = {"simulations": 599, "false_alarm": 0.02}
    key_fit, key_known = jax.random.split(jax.random.key(0))
    fitted = fitted_goodness(key_fit, target, posterior, **choices)
    counts = np.asarray(target.counts, np.float64)
    expected = target.expected_counts(posterior.z.mean(0))
    known = known_goodness(key_known, counts, expected, **choices)
    assert fitted.fitted
    assert fitted.failed == 0
    assert not fitted.misfit
    lower = fitted.simulated[:, 0].mean() - known.simulated[:, 0].mean()
    sd = cstat_moments(expected)[1]
    assert lower * sd == pytest.approx(-2, abs=4 * sd / 599**0.5)
    medians = (np.median(each.simulated, 0)[[KS, AD]] for each in (fitted, known))
    assert np.all(next(medians) < 0.8 * next(medians))


def test_a_broken_fit_is_found():
    target = power_law_target()
    counts = np.asarray(target.counts, np.float64)
    dip = np.where((np.arange(60) > 20) & (np.arange(60) < 26), 0.75, 1.0)
    broken = type(target)(target.simulator, np.round(counts * dip))
    found = fitted_goodness(
        jax.random.key(1),
        broken,
        laplace(broken),
        parameters="best",
        simulations=599,
        false_alarm=0.02,
    )
    assert found.misfit


def test_fits_side_by_side_end_at_the_maximum():
    """Also the slow ones, which go on when most have converged."""
    target = power_law_target()
    counts = np.asarray(target.counts, np.float64)
    starts = np.random.default_rng(2).standard_normal((70, 2))
    z, model = fit_each(target.simulator, np.tile(counts, (70, 1)), starts)
    density = target.log_likelihood(z) + target.log_prior(z)
    np.testing.assert_allclose(density, np.full(70, density.max()), atol=0.01)
    np.testing.assert_allclose(model[3], target.expected_counts(z[3]), rtol=1e-5)


@pytest.mark.parametrize("choices", [{}, {"simulations": 1199}])
def test_too_good_a_fit_alone_can_be_a_misfit(choices):
    """Its p-value is of both sides, so that it is not below 2 / (1 + simulations)."""
    expected = np.full(100, 100.0)
    counts = expected + np.where(np.arange(100) % 2, 1.0, -1.0)
    found = known_goodness(jax.random.key(0), counts, expected, **choices)
    assert found.p_value[0] == 2 / (1 + len(found.simulated))
    assert found.misfit
    assert (found.corrected <= 0.01).sum() == 1


def test_lost_fits_count_as_no_simulations(monkeypatch):
    target = power_law_target()
    posterior = laplace(target)

    def fit(simulator, counts, start):
        model = np.tile(target.expected_counts(start[0]), (len(counts), 1))
        model[5:15] = np.nan
        return start, model

    monkeypatch.setattr("jsbi.diagnose.bootstrap.fit_each", fit)
    choices = {"parameters": "best", "simulations": 1210}
    assert fitted_goodness(jax.random.key(0), target, posterior, **choices).failed == 10
    choices["simulations"] = 1205
    with pytest.raises(
        ValueError, match="at least 1199, .*1205, of which 10 were lost"
    ):
        fitted_goodness(jax.random.key(0), target, posterior, **choices)


def test_wrong_choices_are_named():
    expected = np.ones(3)
    with pytest.raises(ValueError, match="at least 1199"):
        known_goodness(jax.random.key(0), expected, expected, simulations=100)
    target = power_law_target()
    posterior = dataclasses.replace(laplace(target), method="mixture")
    with pytest.raises(ValueError, match="`parameters` must be one of"):
        fitted_goodness(jax.random.key(0), target, posterior, parameters="prior")
