"""Predictive probabilities and runs against their exact distributions."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from scipy.stats import kstest, poisson

from jsbi.api import infer, make_target, simulate
from jsbi.diagnose import judge
from jsbi.diagnose.predictive import (
    mixture_below,
    predictive_checks,
    prior_predictive,
    runs_distribution,
    runs_test,
)
from jsbi.output import summarise
from jsbi.posterior import Posterior
from jsbi.simulate import Target
from jsbi.store import load_arrays, save_arrays
from tests.targets import make_observation, power_law, power_law_target


def narrow(target, z=(0.1, 0.2), draws=64):
    """Draws close to the truth."""
    z = np.array(z) + 1e-3 * np.random.default_rng(0).standard_normal((draws, 2))
    return Posterior(
        names=target.simulator.prior.names,
        z=z,
        values=z,
        log_weight=np.full(draws, -np.log(draws)),
        log_likelihood=target.log_likelihood(z),
        effective_draws=float(draws),
    )


@pytest.mark.parametrize("level", [0.1, 1.0, 100.0])
def test_probabilities_are_uniform_for_counts_of_the_mixture(level):
    generator = np.random.default_rng(1)
    expected = level * generator.gamma(4.0, 0.25, (5, 3000))
    counts = generator.poisson(expected[generator.integers(5, size=3000), range(3000)])
    below = mixture_below(generator, counts.astype(float), expected)
    assert kstest(below, "uniform").pvalue > 1e-3


def test_probabilities_lie_between_those_of_fewer_and_of_not_more_counts():
    counts, expected = np.array([0.0, 2.0, 7.0]), np.array([0.3, 2.0, 5.0])
    below = mixture_below(np.random.default_rng(0), counts, expected[None])
    assert np.all(below >= poisson.cdf(counts - 1, expected))
    assert np.all(below <= poisson.cdf(counts, expected))


@pytest.mark.parametrize(("positive", "negative"), [(3, 4), (1, 5), (4, 4), (0, 3)])
def test_runs_have_the_distribution_of_all_orders(positive, negative):
    places = range(positive + negative)
    found = []
    for chosen in itertools.combinations(places, positive):
        sign = np.isin(places, chosen)
        found.append(1 + (sign[1:] != sign[:-1]).sum())
    counted = np.bincount(found) / len(found)
    expected = runs_distribution(positive, negative)
    np.testing.assert_allclose(expected[: len(counted)], counted, atol=1e-12)
    np.testing.assert_allclose(expected[len(counted) :], 0, atol=1e-12)


def test_runs_of_several_observations_add_up():
    one, other = np.array([1, 1, 0, 0, 1]) > 0, np.array([0, 1, 1, 1]) > 0
    total, mean, p_value = runs_test((one, other))
    first, second = runs_distribution(3, 2), runs_distribution(3, 1)
    assert total == 5
    assert mean == pytest.approx(
        first @ np.arange(len(first)) + second @ np.arange(len(second))
    )
    pairs = itertools.product(enumerate(first), enumerate(second))
    exact = sum(p * q for (i, p), (j, q) in pairs if i + j <= 5)
    assert p_value == pytest.approx(exact)


def test_checks_of_true_parameters_are_not_surprising():
    """The corrected p-value of a true model is not too small too often."""
    simulator = power_law_target().simulator
    posterior = narrow(power_law_target())
    expected = power_law_target().expected_counts(np.array([0.1, 0.2]))
    generator = np.random.default_rng(2)
    found = []
    for key in jax.random.split(jax.random.key(0), 100):
        target = Target(simulator, generator.poisson(expected).astype(float))
        checks = predictive_checks(key, target, posterior, draws=8)
        found.append(checks.p_value)
    # Binomial: 100 of 0.05 exceed 12 once in 700.
    assert np.mean(np.array(found) < 0.05) <= 0.12


def test_a_missing_line_surprises():
    target = power_law_target()
    posterior = narrow(target)
    counts = np.asarray(target.counts, np.float64)
    counts[30:36] *= 1.6
    good = predictive_checks(jax.random.key(0), target, posterior)
    bad = predictive_checks(
        jax.random.key(0), Target(target.simulator, np.round(counts)), posterior
    )
    assert good.p_value > 1e-3
    assert bad.p_value < 1e-6
    assert bad.band_p_value.min() < 1e-7


def test_checks_of_a_joint_fit_know_energies_and_records():
    model, prior = power_law()
    parameters = {"tbabs.nH": 0.1, "powerlaw.PhoIndex": 1.8, "powerlaw.norm": 5e-3}
    keys = jax.random.split(jax.random.key(0))
    pair = tuple(simulate(key, make_observation(), model, parameters) for key in keys)
    target = make_target(pair, model, prior)
    z = (-0.126, 0.172)  # where the parameters are
    checks = predictive_checks(
        jax.random.key(1), target, narrow(target, z), observations=pair, bands=4
    )
    rows = checks.band_rows()
    assert [row["observation"] for row in rows] == [0] * 4 + [1] * 4
    assert rows[0]["low"] == pair[0].bin_low[0]
    assert rows[-1]["high"] == pair[1].bin_high[-1]
    assert sum(row["counts"] for row in rows) == checks.counts.sum()
    assert checks.record()["runs"] == checks.runs
    assert checks.p_value > 1e-3
    assert "runs of residuals" in str(checks)
    by_energy = predictive_checks(
        jax.random.key(1),
        target,
        narrow(target, z),
        observations=pair,
        bands=(0.5, 2.0, 9.0),
    )
    assert len(by_energy.band_rows()) == 4
    with pytest.raises(ValueError, match="need `observations`"):
        predictive_checks(
            jax.random.key(0), target, narrow(target, z), bands=(1.0, 2.0)
        )


def test_the_prior_makes_its_own_spectra():
    """P-values of spectra from the prior are small as often as they say."""
    target = power_law_target()
    generator = np.random.default_rng(3)
    found = []
    for key in jax.random.split(jax.random.key(4), 40):
        expected = target.expected_counts(generator.standard_normal(2))
        counts = generator.poisson(expected).astype(float)
        other = Target(target.simulator, counts)
        check = prior_predictive(key, other, simulations=199)
        found.append([check.total, check.shape, check.band.min() * len(check.band)])
    # Binomial: 40 of 0.1 exceed 11 once in 2600.
    assert np.all((np.array(found) <= 0.1).sum(0) <= 11)


@pytest.mark.parametrize("kind", ["bright", "line"])
def test_a_spectrum_beyond_the_prior_is_told(kind):
    target = power_law_target()
    counts = np.asarray(target.counts, np.float64)
    if kind == "bright":
        counts = np.round(1e4 * target.expected_counts(np.array([0.1, 0.2])))
    else:
        counts = np.where(np.arange(60) == 45, 3000.0, counts)
    check = prior_predictive(jax.random.key(0), Target(target.simulator, counts))
    if kind == "bright":
        assert check.total <= 0.01
        assert check.shape > 0.01
    else:
        assert check.total > 0.01
        assert check.shape <= 0.01
    assert check.smallest <= 0.05
    assert f"{check.simulations:,} spectra of the prior" in str(check)


@pytest.mark.parametrize(
    ("surprise", "verdict"),
    [(2e-4, "trusted"), (5e-5, "usable"), (5e-8, "not trusted")],
)
def test_a_surprise_lowers_the_verdict(surprise, verdict):
    posterior = dataclasses.replace(
        narrow(power_law_target()), pareto_k=0.1, effective_draws=2000.0
    )
    found, reasons = judge(
        posterior, enough=500.0, cstat=60.0, expected=60.0, sd=11.0, surprise=surprise
    )
    assert found == verdict
    assert reasons == () or "misses something" in reasons[0]


@pytest.mark.usefixtures("reused_keys")
def test_every_fit_reports_bands_and_runs(tmp_path):
    model, prior = power_law()
    parameters = {"tbabs.nH": 0.1, "powerlaw.PhoIndex": 1.8, "powerlaw.norm": 5e-3}
    observation = simulate(jax.random.key(0), make_observation(), model, parameters)
    posterior = infer(
        jax.random.key(1), observation, model, prior, draws=500, progress=False
    )
    report = posterior.report
    assert report.verdict == "trusted"
    assert sum(row["counts"] for row in report.bands) == observation.binned_counts.sum()
    assert sum(row["cstat"] for row in report.bands) == pytest.approx(
        report.cstat, rel=1e-3
    )
    assert report.predictive["p_value"] > 1e-3
    assert summarise(posterior)["predictive"]["runs"] == report.predictive["runs"]
    posterior.save(tmp_path / "new.jsbi")
    assert Posterior.load(tmp_path / "new.jsbi").report == report


def test_reports_of_earlier_versions_are_read(tmp_path):
    target = power_law_target()
    posterior = narrow(target)
    posterior.save(tmp_path / "some.jsbi")
    header, arrays = load_arrays(tmp_path / "some.jsbi", "posterior")
    header["report"] = {
        "rungs": [],
        "cstat": 1.0,
        "cstat_expected": 1.0,
        "cstat_sd": 1.0,
        "bins": 60,
        "verdict": "usable",
        "reasons": ["few"],
        "simulations": 0,
        "likelihood_evaluations": 0,
        "versions": {},
        "device": "cpu",
    }
    save_arrays(tmp_path / "old.jsbi", "posterior", header, arrays)
    report = Posterior.load(tmp_path / "old.jsbi").report
    assert report is not None
    assert report.bands == ()
    assert report.predictive == {}
