"""Rounds end at the posterior itself: no mass lost, no likelihood counted twice."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jsbi.estimate.restrict import WholePrior, expected_spectra
from jsbi.estimate.rounds import IMPROVEMENT, Filled, _draw, narrow, run_rounds
from jsbi.estimate.train import make_estimator, train
from jsbi.estimate.truncate import EllipsoidUnion, truncate
from jsbi.simulate import without_context
from jsbi.weights import effective_draws, log_evidence
from tests.targets import grid_answer, landscape_target, power_law_target, two_modes

pytestmark = [pytest.mark.network, pytest.mark.usefixtures("reused_keys")]
STEPS = 500


def mass_inside(target, region):
    """Posterior mass in a region, by quadrature."""
    _, mean, sd = grid_answer(target)
    axes = [m + s * np.linspace(-8, 8, 401) for m, s in zip(mean, sd, strict=True)]
    z = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    density = target.log_likelihood(z) + target.log_prior(z)
    return np.exp(density - logsumexp(density)) @ region.accepts(z)


def draws_at(estimator, target):
    """Draws from the estimator at the observation, and their log densities."""
    z, log_prob = _draw(jax.random.key(7), estimator, target.counts)
    return np.asarray(z, np.float64), np.asarray(log_prob, np.float64)


@pytest.fixture(scope="module")
def finished(reused_keys):
    target = power_law_target()
    ticks = []
    result = run_rounds(
        jax.random.key(0), target, rounds=3, number=2000, steps=STEPS, tick=ticks.append
    )
    return target, result, ticks


@pytest.mark.slow
def test_the_last_part_of_the_prior_holds_the_posterior(finished):
    target, result, _ = finished
    assert mass_inside(target, result.region) > 0.999
    assert result.region.log_volume < -4


@pytest.mark.slow
def test_the_posterior_is_as_wide_before_reweighting_as_it_should_be(finished):
    """A likelihood counted twice would make it narrower by the square root of 2."""
    target, result, _ = finished
    z, _ = draws_at(result.estimator, target)
    _, mean, sd = grid_answer(target)
    assert np.all(np.abs(z.std(0) / sd - 1) < 0.1)
    assert np.all(np.abs(z.mean(0) - mean) / sd < 0.3)


@pytest.mark.slow
def test_a_proposal_taken_for_the_prior_does_make_it_narrower():
    """What the test above would see if draws from the posterior were trained on."""
    target = power_law_target()
    _, mean, sd = grid_answer(target)
    z = mean + sd * np.random.default_rng(0).standard_normal((6000, 2))
    draws = (jnp.asarray(part, float) for part in (z, expected_spectra(target, z)))
    source = Filled(without_context(*draws), jnp.asarray(len(z)))
    start = make_estimator(jax.random.key(0), source, target.simulator)
    wrong, _ = train(jax.random.key(1), start, source, steps=STEPS)
    z, _ = draws_at(wrong, target)
    assert np.all(z.std(0) / sd < 0.85)


@pytest.mark.slow
def test_reweighted_draws_are_the_posterior(finished):
    target, result, _ = finished
    z, log_prob = draws_at(result.estimator, target)
    log_ratio = target.log_likelihood(z) + target.log_prior(z) - log_prob
    truth, mean, sd = grid_answer(target)
    evidence, error = log_evidence(log_ratio)
    weight = np.exp(log_ratio - logsumexp(log_ratio))
    assert effective_draws(log_ratio) / len(z) > 0.6
    assert abs(evidence - truth) < 5 * error + 1e-3
    assert np.all(np.abs(weight @ z - mean) / sd < 0.05)


@pytest.mark.slow
def test_the_record_tells_what_was_done(finished):
    _, result, ticks = finished
    assert sum(ticks) == STEPS * len(result.rounds)
    assert result.simulations == 2000 * len(result.rounds)
    first, second = result.rounds[:2]
    assert (first.log_volume, first.acceptance, first.kept) == (0.0, 1.0, 0)
    share = math.exp(second.log_volume)
    assert abs(second.kept - 2000 * share) < 5 * math.sqrt(2000 * share) + 1
    volumes = [each.log_volume for each in result.rounds]
    assert np.all(np.diff(volumes) < 0.05)
    assert result.rounds[-1].log_volume == result.region.log_volume
    for each in result.rounds:
        assert len(each.losses) == STEPS
        assert each.loss_after < each.loss_before + 0.05


@pytest.mark.slow
def test_rounds_stop_when_nothing_is_gained(finished):
    """Hardly any shrinking counts here, and training soon gains nothing."""
    target, result, _ = finished
    again = run_rounds(
        jax.random.key(1),
        target,
        start=result.region,
        rounds=5,
        number=1200,
        steps=STEPS,
        shrink=0.999,
    )
    assert 1 < len(again.rounds) < 5
    gains = np.array([each.improvement for each in again.rounds])
    assert np.all(gains[:-1] >= IMPROVEMENT)
    assert gains[-1] < IMPROVEMENT
    assert again.rounds[0].log_volume == result.region.log_volume


@pytest.mark.slow
def test_narrowing_stays_within_the_part_before(finished):
    target, result, _ = finished
    inner = narrow(jax.random.key(2), result.estimator, target, result.region)
    z = inner.sample(jax.random.key(3), 1000)
    assert result.region.accepts(z).all()


def test_kept_simulations_follow_the_truncated_prior():
    """Draws from a larger part that lie in a smaller one, beside fresh ones."""
    whole = WholePrior(2)
    union = EllipsoidUnion(np.array([[1.0, 0.5]]), 0.8 * np.eye(2)[None])
    part = truncate(jax.random.key(0), union, whole)
    earlier = whole.sample(jax.random.key(1), 40_000)
    kept, fresh = earlier[part.accepts(earlier)], part.sample(jax.random.key(2), 20_000)
    error = np.hypot(fresh.std(0) / len(fresh) ** 0.5, kept.std(0) / len(kept) ** 0.5)
    assert np.all(np.abs(kept.mean(0) - fresh.mean(0)) < 4 * error)


def test_rows_that_are_not_filled_are_never_drawn():
    z = jnp.concatenate([jnp.ones((5, 2)), jnp.zeros((95, 2))])
    source = Filled(without_context(z, z), jnp.asarray(5))
    assert np.all(source.draw(jax.random.key(0), 1000).z == 1)


@pytest.mark.slow
def test_spectra_are_the_simulators():
    target = power_law_target()
    z = np.random.default_rng(0).standard_normal((5, 2))
    single = np.stack([target.expected_counts(row) for row in z])
    np.testing.assert_allclose(expected_spectra(target, z), single, rtol=1e-5)


@pytest.mark.slow
def test_both_modes_are_kept():
    target = landscape_target(two_modes)
    result = run_rounds(jax.random.key(0), target, rounds=3, number=4000, steps=1000)
    assert mass_inside(target, result.region) > 0.999
    z, _ = draws_at(result.estimator, target)
    assert 0.4 < (z[:, 0] > 0).mean() < 0.6
    assert np.all(np.abs(z[:, 0]).mean() - 1 < 0.05)


@pytest.mark.parametrize(("rounds", "number"), [(0, 1000), (2, 50)])
def test_too_little_is_refused(rounds, number):
    with pytest.raises(ValueError, match=f"got {rounds} of {number}"):
        run_rounds(jax.random.key(0), power_law_target(), rounds=rounds, number=number)
