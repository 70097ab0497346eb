"""Slow models: emulated, sampled and corrected, against quadrature."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from jsbi.correct import mixture_rung
from jsbi.correct.emulate import (
    correct_draws,
    emulate,
    mark_emulated,
)
from jsbi.posterior import Posterior
from jsbi.progress import Progress
from tests.targets import grid_answer, landscape_target, power_law_target, two_modes

pytestmark = pytest.mark.usefixtures("reused_keys")


def sample(target, enough=5000.0):
    return mixture_rung(
        jax.random.key(1),
        target,
        enough=enough,
        log_perfect=0.0,
        progress=Progress(False),
    ).posterior


def assert_exact(posterior, target):
    evidence, mean, sd = grid_answer(target)
    error = 4 / np.sqrt(posterior.effective_draws)
    assert np.all(np.abs(posterior.weights @ posterior.z - mean) / sd < error)
    width = np.sqrt(posterior.weights @ (posterior.z - mean) ** 2)
    np.testing.assert_allclose(width, sd, rtol=error)
    apart = abs(posterior.log_evidence - evidence)
    assert apart < 4 * posterior.log_evidence_error + 1e-3


@pytest.fixture(scope="module", params=["spectrum", "likelihood"])
def emulated(request, reused_keys):
    """An exact target, its emulation, the report, and draws from the emulation."""
    target = power_law_target()
    stand_in, report = emulate(jax.random.key(0), target, kind=request.param)
    return target, stand_in, report, sample(stand_in)


@pytest.mark.slow
def test_the_tolerance_is_met_and_every_simulation_counted(emulated):
    target, _, report, _ = emulated
    assert report.met
    assert report.error.rms < 0.1
    assert report.simulations == target.evaluations
    assert report.history[-1] == (
        report.trained,
        report.error.rms,
        report.error.largest,
    )


@pytest.mark.slow
def test_before_correction_the_answer_is_within_the_reported_error(emulated):
    target, _, report, posterior = emulated
    evidence, mean, sd = grid_answer(power_law_target())
    marked = mark_emulated(posterior, report)
    assert "emulated" in marked.method
    assert abs(marked.log_evidence - evidence) < 3 * marked.log_evidence_error
    offset = np.abs(posterior.weights @ posterior.z - mean) / sd
    assert np.all(offset < 3 * report.error.rms + 4 / math.sqrt(5000))


@pytest.mark.slow
def test_after_correction_the_answer_is_exact_for_few_evaluations(emulated):
    target, stand_in, report, posterior = emulated
    before = target.evaluations
    corrected, error = correct_draws(jax.random.key(2), posterior, target)
    assert target.evaluations - before <= 2000
    assert report.simulations + 2000 < stand_in.evaluations / 2
    assert error.rms < 0.2
    assert corrected.pareto_k < 0.7
    assert corrected.effective_draws > 1500
    assert corrected.method == "mixture, emulated, corrected"
    np.testing.assert_allclose(np.exp(corrected.log_weight).sum(), 1.0)
    assert_exact(corrected, power_law_target())


@pytest.fixture(scope="module")
def poor(reused_keys):
    """Draws whose emulated log-likelihood tilts and shifts the exact one."""
    target = power_law_target()
    posterior = sample(target)
    tilt = 3 + 0.8 * (posterior.z[:, 0] - posterior.z[:, 0].mean()) / np.std(
        posterior.z[:, 0]
    )
    log_weight = posterior.log_weight + tilt
    shift = np.logaddexp.reduce(log_weight)
    return target, dataclasses.replace(
        posterior,
        log_weight=log_weight - shift,
        log_likelihood=posterior.log_likelihood + tilt,
        log_evidence=posterior.log_evidence + shift,
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [4000, 10**9])
def test_a_poor_emulator_is_corrected_and_its_error_told(poor, number):
    target, posterior = poor
    corrected, error = correct_draws(
        jax.random.key(2), posterior, target, number=number
    )
    assert error.rms > 2
    assert_exact(corrected, target)


def test_an_emulator_that_is_too_narrow_is_flagged_by_the_tail(poor):
    target, posterior = poor
    first = posterior.z[:, 0]
    lost = 6 * ((first - first.mean()) / first.std()) ** 2
    log_weight = posterior.log_weight - lost
    narrow = dataclasses.replace(
        posterior,
        log_weight=log_weight - np.logaddexp.reduce(log_weight),
        log_likelihood=posterior.log_likelihood - lost,
    )
    corrected, error = correct_draws(jax.random.key(2), narrow, target)
    assert error.largest > 3
    assert corrected.pareto_k > 0.7


def test_chains_keep_their_effective_draws_and_an_unknown_evidence(poor):
    target, posterior = poor
    chain = Posterior(
        names=posterior.names,
        z=posterior.z[:1000],
        values=posterior.values[:1000],
        log_weight=np.full(1000, -math.log(1000)),
        log_likelihood=target.log_likelihood(posterior.z[:1000]) + 7.0,
        effective_draws=300.0,
        method="nuts",
        r_hat=1.001,
    )
    corrected, error = correct_draws(jax.random.key(0), chain, target)
    assert corrected.effective_draws == pytest.approx(300.0)
    assert math.isnan(corrected.log_evidence)
    assert error.rms == pytest.approx(7.0)
    assert corrected.r_hat == chain.r_hat


@pytest.mark.slow
def test_both_modes_are_emulated():
    target = landscape_target(two_modes)
    stand_in, report = emulate(jax.random.key(0), target, tolerance=1.0)
    assert report.error.number > 30
    z = np.array([[-1.0, 0.0], [1.0, 0.0]])
    exact = target.log_likelihood(z)
    np.testing.assert_allclose(stand_in.log_likelihood(z), exact, atol=3.0)


def test_a_budget_that_is_spent_is_told():
    target = power_law_target()
    _, report = emulate(
        jax.random.key(0), target, tolerance=1e-9, simulations=1500, kind="likelihood"
    )
    assert not report.met
    assert report.simulations == target.evaluations <= 1500


def test_bad_choices_are_refused():
    target = power_law_target()
    with pytest.raises(ValueError, match="spectrum, likelihood; got 'pca'"):
        emulate(jax.random.key(0), target, kind="pca")
    with pytest.raises(ValueError, match="need .* or more to begin; got 10"):
        emulate(jax.random.key(0), target, simulations=10)
