"""NUTS against quadrature."""

import jax
import numpy as np
import pytest

from jsbi.baseline import find_modes, from_chains, sample_nuts
from tests.targets import grid_answer, power_law_target


@pytest.fixture(scope="module")
def sampled(reused_keys):
    target = power_law_target()
    modes = find_modes(jax.random.key(0), target, 16)
    start = modes.z[[0, 0, 0]] + np.array([[0.05], [0.0], [-0.05]])
    ticks = []
    posterior, divergent = sample_nuts(
        jax.random.key(1),
        target,
        start,
        modes.covariance[0],
        draws=950,
        warmup=400,
        tick=ticks.append,
    )
    assert divergent == 0
    return target, posterior, ticks


@pytest.mark.slow
def test_moments_are_those_of_quadrature(sampled):
    target, posterior, _ = sampled
    _, mean, sd = grid_answer(target)
    error = 4 / np.sqrt(posterior.effective_draws)
    assert np.all(np.abs(posterior.z.mean(0) - mean) / sd < error)
    assert np.all(np.abs(posterior.z.std(0) / sd - 1) < error)


@pytest.mark.slow
def test_diagnostics_tell_of_good_mixing(sampled):
    _, posterior, _ = sampled
    assert posterior.r_hat < 1.01
    assert 500 < posterior.effective_draws <= posterior.draws
    assert np.isnan(posterior.log_evidence)
    assert np.isnan(posterior.pareto_k)


@pytest.mark.slow
def test_draws_are_rounded_up_to_whole_parts_and_progress_adds_up(sampled):
    _, posterior, ticks = sampled
    assert posterior.draws == 3 * 1000
    assert sum(ticks) == 400 + 1000


@pytest.mark.slow
def test_chains_that_disagree_are_seen(sampled):
    target, _, _ = sampled
    apart = np.random.default_rng(0).normal(size=(4, 500, 2))
    apart[0] += 3
    assert from_chains(target, apart, "nuts").r_hat > 1.1
