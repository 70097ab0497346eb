"""Compressors made of others, and the scales set by examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.compress import (
    BandRatios,
    Compressor,
    Concatenated,
    Jointly,
    ScaledCounts,
    Standardised,
    summarise,
    summary_length,
)


class Raw(Compressor):
    """The counts themselves, times a factor."""

    factor: float

    def __call__(self, counts):
        return self.factor * counts


COUNTS = jnp.arange(6.0)


def test_parts_follow_one_another():
    both = Concatenated((Raw(1.0), Raw(2.0)))
    np.testing.assert_array_equal(both(COUNTS), [0, 1, 2, 3, 4, 5, 0, 2, 4, 6, 8, 10])
    assert summary_length(both, 6) == 12


def test_each_observation_has_its_own_compressor():
    joint = Jointly((Raw(1.0), Raw(10.0), Raw(100.0)), (1, 2, 3))
    np.testing.assert_array_equal(joint(COUNTS), [0, 10, 20, 300, 400, 500])


def test_counts_of_another_selection_are_refused():
    with pytest.raises(ValueError, match="5 channels together; got 6 counts"):
        Jointly((Raw(1.0), Raw(1.0)), (2, 3))(COUNTS)


def test_every_observation_needs_a_compressor():
    with pytest.raises(ValueError, match="got 3 for 2 compressors"):
        Jointly((Raw(1.0), Raw(1.0)), (1, 2, 3))


def test_standardised_examples_have_no_mean_and_unit_spread(example):
    standard = Standardised(ScaledCounts(example), example)
    values = summarise(standard, example)
    np.testing.assert_allclose(values.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(values.std(0), 1.0, atol=1e-4)


def test_rare_and_constant_features_are_not_blown_up():
    example = jnp.zeros((400, 3)).at[0, 1].set(1.0).at[:, 2].set(1e6)
    values = summarise(Standardised(Raw(1.0), example), example)
    assert np.abs(values[:, 0]).max() == 0
    np.testing.assert_allclose(np.abs(values[:, 1]).max(), 10.0, rtol=1e-5)
    assert np.abs(values[:, 2]).max() < 1


def test_many_spectra_are_summarised_like_one(example):
    bands = BandRatios(60, (0, 20, 60))
    np.testing.assert_allclose(
        summarise(bands, example)[3], bands(example[3]), rtol=1e-6
    )


def test_length_is_that_of_the_summary(example):
    scaled = ScaledCounts(example)
    assert summary_length(scaled, 60) == len(scaled(example[0])) == 61
    assert jax.tree.leaves(scaled)[0].shape == (61,)
