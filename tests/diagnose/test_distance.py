"""Distances against closed forms for normal distributions, and their sampling error."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import ks_2samp, norm, wasserstein_distance

from jsbi.diagnose.distance import classifier_accuracy, distances, marginal_distances
from jsbi.posterior import Posterior
from jsbi.weights import effective_draws


def normal(seed, draws=6000, shift=0.0, spread=1.0, dimension=2, uneven=0.0):
    """Draws of normals; with weights, from a wider proposal."""
    z = np.random.default_rng(seed).standard_normal((draws, dimension))
    z = z * (1 + uneven)
    log_weight = (norm.logpdf(z) - norm.logpdf(z, scale=1 + uneven)).sum(1)
    log_weight -= np.logaddexp.reduce(log_weight)
    z = spread * z
    z[:, 0] += shift
    return Posterior(
        names=tuple(f"p{place}" for place in range(dimension)),
        z=z,
        values=z,
        log_weight=log_weight,
        log_likelihood=np.zeros(draws),
        effective_draws=effective_draws(log_weight),
        pareto_k=0.0,
    )


def test_equal_weights_agree_with_scipy():
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=300), generator.normal(0.3, 1.2, 500).round(1)
    values = np.concatenate([one, other])
    weights = np.concatenate([np.full(300, 1 / 300), np.full(500, 1 / 500)])
    owner = np.repeat([0, 1], [300, 500])
    found = marginal_distances(values, weights, owner)
    assert found[0] == pytest.approx(ks_2samp(one, other).statistic)
    assert found[1] == pytest.approx(wasserstein_distance(one, other))


def test_weights_count_as_copies():
    values = np.array([0.0, 1.0, 2.0, 0.5, 1.5])
    weights = np.array([0.25, 0.5, 0.25, 0.5, 0.5])
    copies = np.array([0.0, 1.0, 1.0, 2.0, 0.5, 0.5, 1.5, 1.5])
    found = marginal_distances(values, weights, np.array([0, 0, 0, 1, 1]))
    same = marginal_distances(copies, np.full(8, 0.25), np.repeat([0, 1], 4))
    np.testing.assert_allclose(found, same)


@pytest.mark.parametrize("uneven", [0.0, 0.4])
def test_shifted_normals_have_their_known_distances(uneven):
    shift = 0.5
    found = distances(
        jax.random.key(0),
        normal(1, 40_000, shift, uneven=uneven),
        normal(2, 40_000, uneven=uneven),
        classify=False,
    )

    def integrand(x):
        p, q = norm.pdf(x, shift), norm.pdf(x)
        return 0.5 * (p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q)))

    divergence = quad(integrand, -8, 8)[0]
    assert found.wasserstein[0] == pytest.approx(shift, abs=0.03)
    assert found.ks[0] == pytest.approx(2 * norm.cdf(shift / 2) - 1, abs=0.02)
    assert found.jensen_shannon[0] == pytest.approx(divergence, rel=0.1)
    assert np.all(found.ks_limit < 0.03)
    assert "(0.5 if equal)" not in str(found)


def test_limits_hold_for_equal_posteriors():
    """Of 40 pairs about 2 exceed a limit of 95 %; more than 7 do once in 1000."""
    beyond = np.zeros(3)
    for seed in range(20):
        pair = normal(2 * seed, 1500, uneven=0.4), normal(2 * seed + 1, 4000)
        found = distances(jax.random.key(seed), *pair, classify=False)
        beyond += [
            (found.ks > found.ks_limit).sum(),
            (found.wasserstein > found.wasserstein_limit).sum(),
            (found.jensen_shannon > found.jensen_shannon_limit).sum(),
        ]
    assert np.all(beyond <= 7)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_a_classifier_is_right_as_often_as_it_can_be(shift):
    pair = normal(1, shift=shift, uneven=0.3), normal(2)
    accuracy, error = classifier_accuracy(jax.random.key(0), *pair)
    best = norm.cdf(shift / 2)
    assert accuracy - best < 4 * error
    assert accuracy - best > -4 * error - 0.02
    assert 0.4 / np.sqrt(12_000) < error < 0.8 / np.sqrt(8000)


def test_a_classifier_sees_what_marginals_do_not():
    one, other = normal(3), normal(4)
    z = other.z @ np.array([[1.0, 0.8], [0.0, 0.6]])
    turned = dataclasses.replace(other, z=z, values=z)
    found = distances(jax.random.key(0), one, turned)
    assert np.all(found.wasserstein < 2 * found.wasserstein_limit)
    assert found.accuracy > 0.5 + 10 * found.accuracy_error
    assert f"{found.accuracy:.3f}" in str(found)


def test_copies_of_draws_are_not_learnt_by_heart():
    """Each draw eight times: eight times fewer are independent."""
    one, other = (
        dataclasses.replace(
            each,
            z=np.repeat(each.z, 8, 0),
            values=np.repeat(each.z, 8, 0),
            log_weight=np.full(8000, -np.log(8000)),
            log_likelihood=np.zeros(8000),
            effective_draws=1000.0,
        )
        for each in (normal(5, 1000), normal(6, 1000))
    )
    accuracy, error = classifier_accuracy(jax.random.key(0), one, other)
    assert error == pytest.approx(0.5 / np.sqrt(2000), rel=0.1)
    assert abs(accuracy - 0.5) < 4 * error


def test_chains_are_thinned():
    """Neighbours of an autocorrelated chain are not in training and trial alike."""
    chains = []
    for seed in (7, 8):
        noise = np.random.default_rng(seed).standard_normal((20_000, 2))
        z = np.zeros((20_000, 2))
        for place in range(1, 20_000):
            z[place] = 0.95 * z[place - 1] + np.sqrt(1 - 0.95**2) * noise[place]
        chain = dataclasses.replace(
            normal(0, 20_000),
            z=z,
            values=z,
            log_weight=np.full(20_000, -np.log(20_000)),
            effective_draws=20_000 * 0.05 / 1.95,
            pareto_k=np.nan,
            r_hat=1.0,
        )
        chains.append(chain)
    accuracy, error = classifier_accuracy(jax.random.key(0), *chains)
    assert error == pytest.approx(0.5 / np.sqrt(2 * 513), rel=0.1)
    assert abs(accuracy - 0.5) < 4 * error


def test_only_comparable_posteriors_are_compared():
    one = normal(0, 500)
    with pytest.raises(ValueError, match="same parameters"):
        distances(jax.random.key(0), one, dataclasses.replace(one, names=("a", "b")))
    with pytest.raises(ValueError, match="100 effective draws"):
        classifier_accuracy(jax.random.key(0), one, normal(1, 50))
