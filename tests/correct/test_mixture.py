"""The rung without a network against quadrature, on friendly and unfriendly targets."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_t

from jsbi.baseline import find_modes
from jsbi.correct import StudentMixture, adaptive_mixture, mixture_at, refit
from jsbi.correct.mixture import MENDS
from jsbi.correct.student import DEGREES
from jsbi.weights import effective_draws, log_evidence, pareto_k
from tests.targets import (
    banana,
    bend,
    edge,
    flat,
    grid_answer,
    landscape_target,
    paired_answer,
    paired_target,
    power_law_target,
    relief_target,
    ridge,
    two_modes,
    unequal,
)

TARGETS = {
    "power law": power_law_target,
    "two modes": lambda: landscape_target(two_modes),
    "banana": lambda: landscape_target(banana),
}


def run(target, seed, enough=4000.0):
    modes = find_modes(jax.random.key(seed), target)
    generator = np.random.default_rng(seed)
    return modes, adaptive_mixture(generator, target, mixture_at(modes), enough=enough)


def test_density_is_that_of_scipy():
    generator = np.random.default_rng(0)
    factor = np.tril(generator.normal(size=(2, 3, 3))) + 2 * np.eye(3)
    mixture = StudentMixture(
        np.array([0.3, 0.7]), generator.normal(size=(2, 3)), factor
    )
    z = generator.normal(size=(50, 3))
    parts = [
        share * multivariate_t(location, f @ f.T, DEGREES).pdf(z)
        for share, location, f in zip(
            mixture.share, mixture.location, mixture.factor, strict=True
        )
    ]
    np.testing.assert_allclose(mixture.log_prob(z), np.log(sum(parts)), rtol=1e-10)


def test_draws_follow_the_density():
    factor = np.array([[[1.0, 0.0], [0.5, 0.2]], [[0.3, 0.0], [0.0, 0.3]]])
    mixture = StudentMixture(
        np.array([0.5, 0.5]), np.array([[0.0, 0.0], [4.0, 1.0]]), factor
    )
    z = mixture.sample(np.random.default_rng(0), 40_000)
    # The mean of any density ratio to the mixture is 1.
    other = multivariate_t([1.0, 0.3], np.diag([4.0, 0.5]), 6)
    ratio = other.pdf(z) / np.exp(mixture.log_prob(z))
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(z))


@pytest.mark.parametrize("case", TARGETS)
def test_evidence_and_moments_are_those_of_quadrature(case):
    target = TARGETS[case]()
    log_z, mean, sd = grid_answer(target)
    _, draws = run(target, 1)
    evidence, error = log_evidence(draws.log_ratio)
    weight = np.exp(draws.log_ratio - draws.log_ratio.max())
    weight /= weight.sum()
    assert pareto_k(draws.log_ratio) < 0.5
    assert abs(evidence - log_z) < 5 * error + 2e-3
    found = weight @ draws.z
    assert np.all(np.abs(found - mean) / sd < 0.08)
    np.testing.assert_allclose(np.sqrt(weight @ (draws.z - found) ** 2), sd, rtol=0.04)


def test_both_modes_are_found_with_their_weights():
    modes, draws = run(landscape_target(two_modes), 0)
    assert sorted(np.sign(modes.z[:, 0])) == [-1, 1]
    weight = np.exp(draws.log_ratio - draws.log_ratio.max())
    right = weight[draws.z[:, 0] > 0].sum() / weight.sum()
    assert abs(right - 0.5) < 0.03


def test_a_refit_puts_density_where_the_last_proposal_lacked_it():
    """A far, light tail of the target that the first proposal hardly reaches."""
    generator = np.random.default_rng(0)
    narrow = StudentMixture(np.ones(1), np.zeros((1, 2)), 0.3 * np.eye(2)[None])
    z = narrow.sample(generator, 4000)
    tail = multivariate_t([1.8, 0.0], 0.05 * np.eye(2), 30)
    bulk = multivariate_t([0.0, 0.0], 0.09 * np.eye(2), 30)
    target = np.log(0.99 * bulk.pdf(z) + 0.01 * tail.pdf(z))
    again = refit(generator, z, target - narrow.log_prob(z))
    there = np.array([[1.8, 0.0]])
    assert again.log_prob(there) > narrow.log_prob(there) + 2


def test_effective_draws_reach_what_was_asked_and_progress_tells_them():
    target = power_law_target()
    ticks = []
    draws = adaptive_mixture(
        np.random.default_rng(0),
        target,
        mixture_at(find_modes(jax.random.key(0), target)),
        enough=5000.0,
        tick=ticks.append,
    )
    assert effective_draws(draws.log_ratio) >= 5000
    assert ticks[-1] == int(effective_draws(draws.log_ratio))


def test_rounds_are_bounded():
    target = power_law_target()
    draws = adaptive_mixture(
        np.random.default_rng(0),
        target,
        mixture_at(find_modes(jax.random.key(0), target)),
        enough=1.0,
        batch=200,
        rounds=2,
    )
    assert draws.rounds <= 2 + 1 + MENDS
    assert len(draws.z) <= 200 * (1 + MENDS)


STRESS = {
    "prior edges": (edge, edge),
    "unequal modes": (unequal, unequal),
    "bent, narrow and flat": (bend, ridge, flat),
    "twenty parameters": (ridge,) * 7 + (flat,) * 3,
}


@pytest.mark.slow
@pytest.mark.parametrize("case", STRESS)
def test_evidence_is_unbiased_however_unfriendly(case):
    pairs = STRESS[case]
    target, rotation = paired_target(pairs)
    log_z, mean, sd = paired_answer(pairs)
    _, draws = run(target, 3)
    evidence, error = log_evidence(draws.log_ratio)
    weight = np.exp(draws.log_ratio - np.logaddexp.reduce(draws.log_ratio))
    own = draws.z @ rotation
    found = weight @ own
    assert pareto_k(draws.log_ratio) < 0.5
    assert effective_draws(draws.log_ratio) > 0.3 * len(draws.z)
    assert abs(evidence - log_z) < 4 * error
    assert np.all(np.abs(found - mean) / sd < 0.08)
    np.testing.assert_allclose(np.sqrt(weight @ (own - found) ** 2), sd, rtol=0.08)


@pytest.mark.slow
def test_the_answer_is_not_what_the_proposal_was_fitted_to():
    """Fitted proposals are too high at the draws that shaped them."""
    target, _ = paired_target((ridge,) * 8)
    log_z, _, _ = paired_answer((ridge,))
    off = []
    for seed in range(4):
        _, draws = run(target, seed, 1000.0)
        evidence, error = log_evidence(draws.log_ratio)
        off.append((evidence - 8 * log_z) / error)
    assert abs(np.mean(off)) < 3 / math.sqrt(len(off))


@pytest.mark.slow
def test_a_hopeless_target_is_refused_after_few_draws():
    """A likelihood that is noise on the scale of any proposal."""

    def rough(z):
        return 4 + 3 * jnp.sin(40 * z)

    draws = run(relief_target(rough, 8), 0)[1]
    assert effective_draws(draws.log_ratio) < 0.1 * len(draws.z)
    assert len(draws.z) < 10_000
