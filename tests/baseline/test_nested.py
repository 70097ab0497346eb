"""Nested sampling against quadrature and closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.baseline import nested, sample_nested
from jsbi.baseline.nested import weigh
from jsbi.correct.ladder import cut_short_doubt
from tests.targets import (
    Landscape,
    banana,
    grid_answer,
    landscape_target,
    power_law_target,
    relief_target,
    two_modes,
)


def moments(posterior):
    mean = posterior.weights @ posterior.z
    return mean, np.sqrt(posterior.weights @ (posterior.z - mean) ** 2)


@pytest.fixture(scope="module")
def sampled():
    target = power_law_target()
    ticks = []
    posterior, _ = sample_nested(jax.random.key(0), target, live=400, tick=ticks.append)
    return target, posterior, ticks, target.evaluations


def agrees(target, posterior):
    evidence, mean, sd = grid_answer(target)
    found, spread = moments(posterior)
    error = 4 / np.sqrt(posterior.effective_draws)
    assert abs(posterior.log_evidence - evidence) < 4 * posterior.log_evidence_error
    assert posterior.log_evidence_error < 0.25
    assert np.all(np.abs(found - mean) / sd < error)
    assert np.all(np.abs(spread / sd - 1) < error)


def test_evidence_and_moments_are_those_of_quadrature(sampled):
    target, posterior, *_ = sampled
    agrees(target, posterior)


def test_draws_are_weighted_points_in_the_order_of_their_likelihood(sampled):
    target, posterior, ticks, evaluations = sampled
    assert np.logaddexp.reduce(posterior.log_weight) == pytest.approx(0, abs=1e-9)
    assert posterior.draws == sum(ticks) + 400
    assert 400 < posterior.effective_draws < posterior.draws
    assert evaluations > 4 * sum(ticks)
    assert math.isnan(posterior.pareto_k)
    assert posterior.method == "nested"
    np.testing.assert_allclose(
        posterior.log_likelihood, target.log_likelihood(posterior.z), atol=1e-2
    )
    batches = posterior.log_likelihood[: sum(ticks)].reshape(-1, 400 // 8)
    assert np.all(np.diff(batches, axis=1) >= 0)
    assert np.all(batches[1:, 0] >= batches[:-1, -1])


@pytest.mark.slow
@pytest.mark.parametrize("shape", [two_modes, banana])
def test_modes_and_bends_have_their_shares(shape):
    target = landscape_target(shape)
    posterior, cut_short = sample_nested(jax.random.key(1), target, live=400)
    assert cut_short < 0.001
    agrees(target, posterior)
    if shape is two_modes:
        right = posterior.weights @ (posterior.z[:, 0] > 0)
        assert abs(right - 0.5) < 0.15


@pytest.mark.slow
def test_evidence_scatters_as_its_error_says(sampled):
    target, *_ = sampled
    evidence, *_ = grid_answer(target)
    runs = [sample_nested(jax.random.key(s), target, live=100)[0] for s in range(2, 22)]
    pulls = [(run.log_evidence - evidence) / run.log_evidence_error for run in runs]
    assert abs(np.mean(pulls)) < 4 / math.sqrt(len(pulls))
    assert 0.5 < np.std(pulls) < 1.6


@pytest.mark.slow
def test_the_offset_of_the_perfect_fit_is_added(sampled):
    target, posterior, *_ = sampled
    runs = [
        sample_nested(jax.random.key(3), target, live=100, log_perfect=offset)[0]
        for offset in (0.0, -123.0)
    ]
    assert runs[1].log_evidence - runs[0].log_evidence == pytest.approx(-123)


@pytest.fixture(scope="module")
def many_dimensions():
    """Thirty, each with a normal likelihood at 0.5 half as wide as the prior."""
    return relief_target(lambda z: 2 * (z - 0.5), 30)


@pytest.mark.slow
def test_chains_come_to_their_end_in_many_dimensions(many_dimensions):
    """And take the jumps there: trials are more than any fixed limit for a chain."""
    runs = [
        sample_nested(jax.random.key(seed), many_dimensions, live=200)
        for seed in range(5)
    ]
    assert all(cut_short < 0.001 for _, cut_short in runs)
    evidence = 30 * (0.5 * math.log(0.2) - 0.1)
    off = [posterior.log_evidence - evidence for posterior, _ in runs]
    error = runs[0][0].log_evidence_error
    assert abs(np.mean(off)) < 4 * error / math.sqrt(len(runs))


@pytest.mark.slow
def test_chains_that_are_cut_short_are_counted(many_dimensions, monkeypatch):
    monkeypatch.setattr(nested, "LONGEST", 50)
    monkeypatch.setattr(nested, "LONGEST_PER_DIRECTION", 0)
    # Another number of live points, so that the chains are compiled anew.
    _, cut_short = sample_nested(jax.random.key(0), many_dimensions, live=120)
    assert cut_short == 1.0
    assert "100.0 % of the chains" in cut_short_doubt(cut_short)[0]
    assert cut_short_doubt(0.01) == ()


def test_weights_of_a_known_likelihood_integrate_to_the_evidence():
    # A likelihood exp(-20 X) of the enclosed prior mass X; points die as X falls.
    alive, deaths = 500, 6000
    generator = np.random.default_rng(0)
    counts = np.full(deaths, alive)
    log_mass = np.cumsum(-generator.standard_exponential(deaths) / alive)
    values = -20 * np.exp(log_mass)
    log_weight, evidence, error = weigh(generator, values, counts)
    truth = math.log((1 - math.exp(-20)) / 20)
    assert abs(evidence - truth) < 4 * error
    # The information is about 2: the error is its root over that of the points.
    assert error == pytest.approx(math.sqrt(2 / alive), rel=0.3)
    assert np.logaddexp.reduce(log_weight) == pytest.approx(0, abs=1e-9)


def cut(a, b):
    """A model without a value in half of the prior."""
    return Landscape(10 * a, jnp.where(b < 0, jnp.nan, 2 * b))


def nowhere(a, b):
    """A model without a value."""
    return Landscape(a * jnp.nan, b)


@pytest.mark.slow
def test_where_the_model_has_no_value_there_is_prior_mass_but_no_evidence():
    target = landscape_target(cut)
    posterior, _ = sample_nested(jax.random.key(4), target, live=400)
    agrees(target, posterior)
    assert posterior.z[:, 1].min() >= 0
    with pytest.raises(ValueError, match="it was at 0 of 1280 draws"):
        sample_nested(jax.random.key(4), landscape_target(nowhere), live=20)


def test_too_few_live_points_are_refused():
    with pytest.raises(ValueError, match="at least 16 in 2 dimensions; got 10"):
        sample_nested(jax.random.key(0), power_law_target(), live=10)
