"""Diagnostics of importance weights where their truth is known."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from jsbi.weights import effective_draws, log_evidence, pareto_k, temper


@pytest.mark.parametrize("shape", [0.1, 0.3, 0.5, 0.7, 1.0, 1.5])
def test_pareto_k_is_the_shape_of_the_tail(shape):
    number, repeats = 10_000, 80
    tail = 3 * np.sqrt(number)
    generator = np.random.default_rng(0)
    found = [
        pareto_k(
            np.log(stats.genpareto.rvs(shape, size=number, random_state=generator))
        )
        for _ in range(repeats)
    ]
    # The asymptotic error of a maximum-likelihood fit to the tail, and the prior.
    error = (1 + shape) / np.sqrt(tail)
    prior = (0.5 - shape) * 10 / (tail + 10)
    assert abs(np.mean(found) - shape - prior) < 4 * error / np.sqrt(repeats) + 0.01
    assert np.std(found) == pytest.approx(error, rel=0.3)


def test_pareto_k_of_weights_with_a_known_tail():
    """N(0, s^2) as a proposal for N(0, 1) gives weights of shape 1 - s^2."""
    generator = np.random.default_rng(1)
    found = []
    for _ in range(20):
        z = generator.normal(scale=0.6, size=40_000)
        found.append(pareto_k(stats.norm.logpdf(z) - stats.norm.logpdf(z, scale=0.6)))
    assert np.mean(found) == pytest.approx(1 - 0.6**2, abs=0.1)


def test_pareto_k_of_bounded_weights_is_small():
    z = np.random.default_rng(2).normal(scale=1.5, size=20_000)
    weights = stats.norm.logpdf(z) - stats.norm.logpdf(z, scale=1.5)
    assert pareto_k(weights) < 0.3


def test_pareto_k_does_not_depend_on_normalisation_or_order():
    log_weight = np.random.default_rng(3).gumbel(size=1000)
    k = pareto_k(log_weight)
    assert pareto_k(log_weight - 1e5) == pytest.approx(k, abs=1e-6)
    assert pareto_k(log_weight[::-1]) == k


@pytest.mark.parametrize(
    "log_weight",
    [np.zeros(1000), np.r_[np.zeros(996), 1.0, 2.0, 3.0, 4.0], np.arange(20.0)],
)
def test_pareto_k_is_infinite_without_five_weights_in_the_tail(log_weight):
    assert pareto_k(log_weight) == np.inf


def test_pareto_k_of_impossible_draws_is_that_of_the_others():
    log_weight = np.random.default_rng(4).gumbel(size=4000)
    log_weight[:100] = -np.inf
    assert np.isfinite(pareto_k(log_weight))


def test_effective_draws():
    assert effective_draws(np.full(50, -300.0)) == pytest.approx(50)
    assert effective_draws(np.array([0.0, -np.inf, -np.inf])) == pytest.approx(1)
    assert effective_draws(np.r_[np.zeros(7), np.full(5, -1e4)]) == pytest.approx(7)
    weights = np.random.default_rng(5).random(100)
    kish = weights.sum() ** 2 / (weights**2).sum()
    assert effective_draws(np.log(weights)) == pytest.approx(kish)
    assert effective_draws(np.log(weights) + 1e6) == pytest.approx(kish, rel=1e-6)


def test_evidence_and_its_error_are_calibrated():
    generator = np.random.default_rng(6)
    truth, draws, repeats = -3.0, 1000, 2000
    z = generator.normal(0.5, 1.5, (repeats, draws))
    log_ratio = truth + stats.norm.logpdf(z) - stats.norm.logpdf(z, 0.5, 1.5)
    found = np.array([log_evidence(row) for row in log_ratio])
    pull = (found[:, 0] - truth) / found[:, 1]
    assert abs(pull.mean()) < 0.15
    assert pull.std() == pytest.approx(1.0, abs=0.06)
    assert np.mean(np.abs(pull) < 1) == pytest.approx(0.683, abs=0.04)
    assert np.mean(np.abs(pull) < 2) == pytest.approx(0.954, abs=0.02)


def test_evidence_of_a_perfect_proposal_has_no_error():
    value, error = log_evidence(np.full(100, -1234.5))
    assert value == pytest.approx(-1234.5)
    assert error == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("least", [50.0, 400.0, 900.0])
def test_temper_reaches_the_target(least):
    log_weight = 30 * np.random.default_rng(7).normal(size=1000)
    tempered = temper(log_weight, least)
    assert effective_draws(tempered) == pytest.approx(least, rel=1e-6)
    assert logsumexp(tempered) == pytest.approx(0.0, abs=1e-12)
    power = np.diff(tempered) / np.diff(log_weight)
    np.testing.assert_allclose(power, power[0], rtol=1e-6)
    assert 0 < power[0] < 1


def test_temper_leaves_good_weights_as_they_are():
    log_weight = 0.1 * np.random.default_rng(8).normal(size=1000)
    tempered = temper(log_weight, 500.0)
    np.testing.assert_allclose(tempered, log_weight - logsumexp(log_weight), rtol=1e-12)


def test_temper_gives_impossible_draws_no_weight():
    log_weight = np.r_[np.full(10, -np.inf), 1e6 * np.arange(20.0)]
    tempered = temper(log_weight, 12.0)
    assert np.all(tempered[:10] == -np.inf)
    assert effective_draws(tempered) == pytest.approx(12, rel=1e-4)
    assert effective_draws(temper(log_weight, 30.0)) == pytest.approx(20, rel=1e-6)


def test_temper_needs_one_possible_draw():
    with pytest.raises(ValueError, match="Some draw must have a weight"):
        temper(np.full(5, -np.inf), 2.0)
