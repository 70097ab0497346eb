"""Contexts stand for exposures and backgrounds, and nothing else."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jsbi.simulate import (
    Batch,
    Conditioned,
    Stored,
    make_conditions,
    under,
    without_context,
)
from tests.targets import power_law_target

BACKGROUND = np.array([0.0, 1.0, 5.0])
SOURCE = jnp.array([10.0, 0.0, 3.0])


def conditions():
    return make_conditions(
        3, exposure=(0.1, 40.0), background=BACKGROUND, scale=(0.25, 2)
    )


@pytest.mark.parametrize("exposure", [0.1, 1, 7.5, 40.0])
@pytest.mark.parametrize("scale", [0.25, 1, 2.0])
def test_counts_are_exposure_times_source_and_scaled_background(exposure, scale):
    context = conditions().context(exposure, scale)
    assert np.all(np.abs(context) <= 1)
    counts = conditions().expected_counts(SOURCE, jnp.asarray(context, jnp.float32))
    truth = exposure * (np.asarray(SOURCE) + scale * BACKGROUND)
    np.testing.assert_allclose(counts, truth, rtol=5e-6)


def test_the_ends_of_the_ranges_are_the_ends_of_the_context():
    np.testing.assert_allclose(conditions().context(0.1, 2), [-1, 1], atol=1e-6)
    np.testing.assert_allclose(conditions().context(40, 0.25), [1, -1], atol=1e-6)
    np.testing.assert_allclose(conditions().context(2.0, 0.5**0.5), 0, atol=1e-6)


def test_without_ranges_nothing_is_changed():
    none = make_conditions(3)
    np.testing.assert_array_equal(none.context(1, 1.0), [0, 0])
    for context in none.draw(jax.random.key(0), 5):
        np.testing.assert_array_equal(none.expected_counts(SOURCE, context), SOURCE)


@pytest.mark.parametrize(
    ("exposure", "scale", "message"),
    [
        (0.09, 1.0, r"exposure must be within .* 0.1 to 40 .*got 0.09"),
        (41, 1.0, "exposure must be within"),
        (0.0, 1.0, "exposure must be within"),
        (-1.0, 1.0, "exposure must be within"),
        (float("nan"), 1.0, "exposure must be within"),
        (1.0, 2.1, r"background scale must be within .* 0.25 to 2 .*got 2.1"),
        (1.0, 0, "background scale must be within"),
    ],
)
def test_what_is_outside_the_ranges_is_refused(exposure, scale, message):
    with pytest.raises(ValueError, match=message):
        conditions().context(exposure, scale)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exposure": (0.0, 1.0)}, "exposure must be positive, low before high; got 0"),
        ({"exposure": (2, 1)}, "got 2 to 1"),
        ({"scale": (1.0, np.inf)}, "background scale must be positive"),
        ({"scale": (np.nan, 1.0)}, "background scale must be positive"),
        ({"background": np.ones(4)}, "must be 3 counts, one per fit bin.*got 4"),
        ({"background": np.array([1.0, -1.0, 0.0])}, "not negative.* -1 to 1"),
        ({"background": np.array([1.0, np.nan, 0.0])}, "finite"),
        ({"background": np.array([1.0, np.inf, 0.0])}, "finite"),
    ],
)
def test_impossible_conditions_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        make_conditions(3, **change)


def test_drawn_contexts_are_uniform_and_independent():
    context = np.asarray(conditions().draw(jax.random.key(1), 4000))
    for column in context.T:
        assert stats.kstest(column, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(context.T)[0, 1]) < 0.06


def test_stored_rows_stay_together_and_all_are_drawn():
    number = jnp.arange(7.0)
    source = Stored(Batch(number[:, None], number[:, None] * 10, number[:, None] + 1))
    batch = source.draw(jax.random.key(0), 500)
    np.testing.assert_array_equal(batch.expected, batch.z * 10)
    np.testing.assert_array_equal(batch.context, batch.z + 1)
    assert set(np.asarray(batch.z[:, 0])) == set(range(7))
    # Seven shares of 500: chi-square with 6 degrees, false alarm 1e-4.
    hits = np.bincount(np.asarray(batch.z[:, 0], int))
    assert stats.chisquare(hits).pvalue > 1e-4


def test_conditioned_simulations_are_those_of_the_source_under_their_context():
    z = jnp.arange(4.0)[:, None]
    source = Stored(without_context(z, jnp.outer(z[:, 0], jnp.ones(3))))
    batch = Conditioned(source, conditions()).draw(jax.random.key(2), 50)
    assert batch.context.shape == (50, 2)
    assert len(np.unique(batch.context[:, 0])) == 50
    for row in range(50):
        truth = conditions().expected_counts(
            jnp.full(3, batch.z[row, 0]), batch.context[row]
        )
        np.testing.assert_allclose(batch.expected[row], truth, rtol=1e-6)


def test_a_simulator_under_a_context_knows_its_likelihood():
    """Ten times the exposure adds up ten spectra."""
    plain = power_law_target().simulator
    background = np.full(60, 3.0)
    ranges = make_conditions(60, exposure=(1, 10.0), background=background)
    context = jnp.asarray(ranges.context(10.0, 1.0), jnp.float32)
    longer = under(plain, ranges, context)
    z = jnp.array([0.3, -0.2])
    expected = eqx.filter_jit(lambda each: each.expected_counts(z))
    truth = 10 * (np.asarray(expected(plain)) + background)
    np.testing.assert_allclose(expected(longer), truth, rtol=5e-6)
    counts = jnp.round(jnp.asarray(truth, jnp.float32))
    log_likelihood = eqx.filter_jit(lambda each: each.log_likelihood(z, counts))
    exact = stats.poisson.logpmf(counts, truth) - stats.poisson.logpmf(counts, counts)
    np.testing.assert_allclose(log_likelihood(longer), exact.sum(), atol=1e-3)
