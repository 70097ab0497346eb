"""Poisson likelihood and noise against SciPy and exact moments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jsbi.simulate import (
    deviance_residuals,
    fast_poisson_counts,
    poisson_counts,
    poisson_log_likelihood,
    variance_stabilised,
)

COUNTS = np.array([0.0, 0.0, 1.0, 3.0, 20.0, 500.0, 1e5])


def exact(counts, expected):
    """ln L relative to the perfect fit, in NumPy's longest precision."""
    n, mu = np.asarray(counts, np.longdouble), np.asarray(expected, np.longdouble)
    safe = np.where(n > 0, n, 1)
    r = (mu - safe) / safe
    return np.sum(np.where(n > 0, safe * (np.log1p(r) - r), -mu))


@pytest.mark.parametrize("factor", [1e-3, 0.3, 0.9, 1.001, 1.5, 40.0])
def test_differences_of_log_likelihood_are_those_of_scipy(factor):
    first = np.array([0.5, 7.0, 1.2, 2.0, 22.0, 480.0, 1.003e5])
    with jax.enable_x64(True):
        ours = [
            float(poisson_log_likelihood(jnp.asarray(COUNTS), jnp.asarray(expected)))
            for expected in (first, factor * first)
        ]
    scipy = [stats.poisson.logpmf(COUNTS, mu).sum() for mu in (first, factor * first)]
    assert ours[1] - ours[0] == pytest.approx(scipy[1] - scipy[0], rel=1e-9)


def test_the_perfect_fit_is_zero_and_the_maximum():
    counts = jnp.asarray(COUNTS, jnp.float32)
    assert -1e-29 < poisson_log_likelihood(counts, counts) <= 0
    for factor in (0.5, 0.99, 1.01, 2.0):
        assert poisson_log_likelihood(counts, factor * counts) < 0


def test_no_counts_cost_what_was_expected():
    expected = jnp.array([0.0, 0.25, 3.0])
    np.testing.assert_allclose(
        poisson_log_likelihood(jnp.zeros(3), expected), -3.25, rtol=1e-6
    )


@pytest.mark.parametrize("total", [1e7, 1e9])
@pytest.mark.parametrize("shift", [1e-5, -3e-4])
def test_float32_keeps_the_log_likelihood_of_many_counts(total, shift):
    generator = np.random.default_rng(0)
    mean = total / 1000 * np.geomspace(3, 0.3, 1000)
    counts = generator.poisson(mean).astype(np.float32)
    for expected in (mean, mean * (1 + shift)):
        expected = expected.astype(np.float32)
        ours = poisson_log_likelihood(jnp.asarray(counts), jnp.asarray(expected))
        assert abs(float(ours) - exact(counts, expected)) < 2e-3
        textbook = np.sum(counts * np.log(expected) - expected)
        if total == 1e9:
            perfect = np.sum(counts * np.log(counts) - counts)
            assert abs(float(textbook - perfect) - exact(counts, expected)) > 1


def test_a_change_at_a_billion_counts_is_right_to_a_percent():
    mean = 1e6 * np.linspace(0.5, 1.5, 1000)
    counts = np.random.default_rng(1).poisson(mean).astype(np.float32)
    near, far = (np.float32(mean * (1 + shift)) for shift in (0.0, 3e-4))
    change = [
        float(poisson_log_likelihood(jnp.asarray(counts), jnp.asarray(expected)))
        for expected in (near, far)
    ]
    truth = exact(counts, far) - exact(counts, near)
    assert truth < -30
    assert change[1] - change[0] == pytest.approx(truth, abs=5e-3)


@pytest.mark.parametrize(
    "function", [poisson_log_likelihood, lambda n, mu: deviance_residuals(n, mu)[0]]
)
def test_values_and_gradients_are_finite_for_any_expected_counts(function):
    counts = np.array([0.0, 1.0, 3.0, 1e3, 1e6])
    expected = np.array([0.0, 1e-38, 1e-30, 1e-20, 1e-9, 1e-3, 1.0, 1e6, 1e9])
    n, mu = (jnp.asarray(a.ravel(), jnp.float32) for a in np.meshgrid(counts, expected))
    result = jax.jit(
        jax.vmap(
            jax.value_and_grad(lambda mu, n: function(n[None], mu[None])),
        )
    )(mu, n)
    assert np.all(np.isfinite(result))


def test_gradient_of_the_log_likelihood_is_that_of_the_formula_down_to_tiny_counts():
    counts, expected = np.meshgrid([0.0, 1.0, 3.0, 1e3, 1e6], np.geomspace(1e-20, 1e9))
    n, mu = (jnp.asarray(a.ravel(), jnp.float32) for a in (counts, expected))
    slope = jax.jit(jax.grad(poisson_log_likelihood, argnums=1))(n, mu)
    truth = np.asarray(n, float) / np.asarray(mu, float) - 1
    np.testing.assert_allclose(slope, truth, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("factor", [1e-3, 0.6, 0.965, 0.98, 1.0, 1.001, 1.04, 30.0])
def test_squares_of_deviance_residuals_are_the_c_statistic(factor, double):
    expected = factor * np.maximum(COUNTS, 0.5)
    with jax.enable_x64(double):
        counts, expected = jnp.asarray(COUNTS), jnp.asarray(expected)
        residuals = np.asarray(jax.jit(deviance_residuals)(counts, expected), float)
        cstat = -2 * float(jax.jit(poisson_log_likelihood)(counts, expected))
    assert np.sum(residuals**2) == pytest.approx(
        cstat, rel=3e-4 if not double else 1e-8
    )
    sign = np.sign(np.asarray(expected, float) - np.asarray(counts, float))
    np.testing.assert_array_equal(np.sign(residuals), sign)


@pytest.mark.parametrize("counts", [1.0, 30.0, 1e4])
def test_deviance_residuals_are_smooth_where_expected_equals_observed(counts):
    with jax.enable_x64(True):
        n = jnp.full(1, counts)

        @jax.jit
        def residual(expected):
            return deviance_residuals(n, expected[None])[0]

        gradient = jax.jit(jax.grad(residual))
        slope = gradient(jnp.asarray(counts))
        assert slope == pytest.approx(counts**-0.5, rel=1e-12)
        for r in (-0.0301, -0.0299, -1e-3, 0.0, 1e-3, 0.0299, 0.0301):
            at, step = counts * (1 + r), 1e-5 * counts
            difference = (
                residual(jnp.asarray(at + step)) - residual(jnp.asarray(at - step))
            ) / (2 * step)
            ours = gradient(jnp.asarray(at))
            # Across the seam of series and root the difference sees both.
            assert ours == pytest.approx(float(difference), rel=1e-5)


def test_deviance_residuals_of_many_counts_are_nearly_standard_normal():
    draws = np.random.default_rng(2).poisson(200.0, 20_000).astype(np.float32)
    residuals = deviance_residuals(jnp.asarray(draws), jnp.full(20_000, 200.0))
    assert np.mean(residuals) == pytest.approx(0.0, abs=0.05)
    assert np.std(residuals) == pytest.approx(1.0, abs=0.02)


def test_anscombes_transform_has_unit_variance_above_a_few_counts():
    draws = np.random.default_rng(3).poisson([[4.0, 20.0, 300.0]], (100_000, 3))
    assert np.var(variance_stabilised(jnp.asarray(draws, jnp.float32)), 0) == (
        pytest.approx(1.0, abs=0.03)
    )


def test_exact_draws_are_whole_floats_of_the_right_mean():
    expected = jnp.array([0.0, 0.3, 40.0])
    draw = jax.vmap(lambda key: poisson_counts(key, expected))
    counts = np.asarray(draw(jax.random.split(jax.random.key(0), 20_000)))
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts, np.round(counts))
    error = np.sqrt(np.asarray(expected) / 20_000)
    assert np.all(np.abs(counts.mean(0) - expected) <= 5 * error)


NUMBER = 2_000_000
fast = jax.jit(lambda key, mean: fast_poisson_counts(key, jnp.full(NUMBER, mean)))


@functools.cache
def draw_fast(mean):
    return np.asarray(fast(jax.random.key(int(100 * mean)), mean), np.float64)


@pytest.mark.parametrize("mean", [0.01, 0.5, 4.0, 11.9, 12.1, 20.0, 100.0, 3e3, 1e5])
def test_fast_draws_have_the_moments_of_exact_ones(mean):
    counts = draw_fast(mean)
    assert counts.min() >= 0
    np.testing.assert_array_equal(counts, np.round(counts))
    offset = counts - mean
    mean_error = 5 * np.sqrt(mean / NUMBER)
    assert abs(offset.mean()) < 1e-3 * mean + mean_error
    variance_error = 5 * np.sqrt((mean + 2 * mean**2) / NUMBER)
    assert abs(offset.var() - mean) < 1e-3 * mean + variance_error
    if mean <= 100:
        sixth = mean + 25 * mean**2 + 15 * mean**3
        third_error = 5 * np.sqrt(sixth / NUMBER)
        assert abs((offset**3).mean() - mean) < 0.02 * mean + third_error


@pytest.mark.parametrize(
    ("mean", "bound"),
    [(0.01, 5e-4), (0.5, 2e-3), (4.0, 2e-3), (11.9, 3e-3), (12.1, 5e-3), (50.0, 6e-3)],
)
def test_fast_draws_are_distributed_as_exact_ones(mean, bound):
    counts = draw_fast(mean).astype(int)
    share = np.bincount(counts) / NUMBER
    exact_share = stats.poisson.pmf(np.arange(len(share)), mean)
    assert 0.5 * np.abs(share - exact_share).sum() < bound


@pytest.mark.parametrize("mean", [20.0, 1e4])
def test_the_least_and_the_greatest_fast_draw_are_not_impossible(mean, monkeypatch):
    """What `jax.random.uniform` gives once in 1e7 draws must not be an outlier."""
    for end in ("low", "high"):

        def uniform(key, shape, dtype, least, end=end):
            del key
            return jnp.full(shape, least if end == "low" else 1 - 2**-24, dtype)

        monkeypatch.setattr(jax.random, "uniform", uniform)
        count = fast_poisson_counts(jax.random.key(0), jnp.full(1, mean))
        assert 4 < np.abs(count[0] - mean) / np.sqrt(mean) < 7.5


def test_fast_draws_have_finite_gradients():
    @jax.jit
    @jax.value_and_grad
    def total(expected):
        return fast_poisson_counts(jax.random.key(0), expected).sum()

    value, slope = total(jnp.array([0.0, 1e-30, 1e-3, 12.0, 1e6]))
    assert value > 0
    assert np.all(np.isfinite(slope))
    assert total(jnp.zeros(5))[0] == 0
