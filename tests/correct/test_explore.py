"""Simulations around an observation's posterior, found without knowing it."""

import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.correct.explore import SPREAD, Gaussian, explore, log_weight, simulate
from tests.targets import grid_answer, landscape_target, power_law_target, two_modes


def nothing(simulations):
    pass


def test_the_c_statistic_is_as_far_above_its_minimum_as_is_wanted():
    target = power_law_target()
    generator = np.random.default_rng(0)
    found, gaussian = explore(generator, target, 20_000, nothing)
    assert len(found.z) == target.evaluations < 5000
    z = gaussian.centre + generator.standard_normal((500, 2)) @ gaussian.factor.T
    excess = -2 * (target.log_likelihood(z) - target.log_likelihood(found.z).max())
    assert SPREAD / 2 < excess.mean() < 2 * SPREAD


def test_weights_with_the_full_likelihood_give_the_evidence():
    target = power_law_target()
    evidence, mean, sd = grid_answer(target)
    wide = [Gaussian(mean, np.diag(3 * sd)), Gaussian(mean, np.diag(6 * sd))]
    generator = np.random.default_rng(1)
    z = np.concatenate([each.sample(generator, 2048) for each in wide])
    found = simulate(target, z, nothing)
    weight = log_weight(found.log_likelihood, z, wide, 1.0)
    total = np.logaddexp.reduce(weight)
    assert abs(total - np.log(len(z)) - evidence) < 0.2
    assert np.all(np.abs(np.exp(weight - total) @ z - mean) < 0.2 * sd)


def test_both_modes_stay_inside():
    target = landscape_target(two_modes)
    _, gaussian = explore(np.random.default_rng(0), target, 20_000, nothing)
    width = np.sqrt((gaussian.factor @ gaussian.factor.T)[0, 0])
    assert abs(gaussian.centre[0]) < 0.5
    assert 0.8 < width < 1.3


def test_a_model_without_a_value_is_told():
    target = landscape_target(lambda a, b: two_modes(jnp.nan * a, b))
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="positive somewhere in the prior"):
        explore(generator, target, 20_000, nothing)
