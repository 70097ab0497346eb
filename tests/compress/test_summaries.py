"""Fixed summaries against NumPy and by their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.compress import (
    BandRatios,
    PrincipalComponents,
    ScaledCounts,
    geometric_bands,
    summaries,
    summarise,
)
from jsbi.descent import descend
from jsbi.simulate import variance_stabilised

BOUNDARIES = (0, 4, 13, 30, 60)


def make_summaries(example):
    return {
        "counts": ScaledCounts(example),
        "bands": BandRatios(60, BOUNDARIES, windows=[(3, 4, 5, 6)]),
        "raw bands": BandRatios(60, BOUNDARIES, raw=True),
        "components": PrincipalComponents(example, 5),
    }


KINDS = ("counts", "bands", "raw bands", "components")


def loss(summary, key, data):
    return (summary(data) ** 2).sum()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_training_leaves_the_summary_alone(kind, example):
    start = make_summaries(example)[kind]
    end, _ = descend(jax.random.key(0), start, loss, example[0], steps=100)
    for before, after in zip(jax.tree.leaves(start), jax.tree.leaves(end), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("counts", [0.0, 1.0, 1e7])
@pytest.mark.parametrize("kind", KINDS)
def test_summaries_are_finite_far_from_the_examples(kind, counts, example):
    summary = make_summaries(example)[kind]
    assert np.all(np.isfinite(summary(jnp.full(60, counts))))


@pytest.mark.parametrize("kind", KINDS)
def test_slopes_are_finite_without_counts(kind, example):
    slope = jax.jacfwd(make_summaries(example)[kind].__call__)(jnp.full(60, 1e-3))
    assert np.all(np.isfinite(slope))


def test_scaled_counts_have_unit_noise_plus_the_total():
    """Poisson counts of one spectrum: each channel's deviation is 1 / 1.1."""
    counts = jnp.asarray(
        np.random.default_rng(0).poisson(50.0, (4000, 20)), jnp.float32
    )
    scaled = summarise(ScaledCounts(counts), counts)
    np.testing.assert_allclose(scaled[:, :-1].std(0), 1 / 1.1, rtol=0.05)
    expected = np.log1p(counts.sum(1))
    expected = (expected - expected.mean()) / (expected.std() + 0.1)
    np.testing.assert_allclose(scaled[:, -1], expected, atol=1e-4)


def test_raw_bands_are_the_published_numbers():
    counts = np.random.default_rng(0).poisson(30.0, 60).astype(np.float32)
    found = BandRatios(60, BOUNDARIES, windows=[(3, 7), (50, 51, 52)], raw=True)(
        jnp.asarray(counts)
    )
    band = np.add.reduceat(counts, BOUNDARIES[:-1])
    expected = [
        *(counts.mean(), counts.std(), counts.sum()),
        *band,
        *(band[1:] / (band[:-1] + 1)),
        *((band[:-1] - band[1:]) / (band[:-1] + band[1:] + 1)),
        *(counts[3:7].sum(), counts[50], counts[51]),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_band_sums_add_up_to_the_total(simulator):
    boundaries = geometric_bands(simulator.folders[0], 19)
    counts = jnp.asarray(np.random.default_rng(1).poisson(9.0, 60), jnp.float32)
    number = len(boundaries) - 1
    raw = BandRatios(60, boundaries, raw=True)(counts)
    assert raw[3 : 3 + number].sum() == raw[2] == counts.sum()
    scaled = BandRatios(60, boundaries)(counts)
    sums = (scaled[3 : 3 + number] / 2) ** 2 - 0.375
    np.testing.assert_allclose(sums, raw[3 : 3 + number], rtol=1e-4, atol=1e-3)


def test_fifty_edges_make_the_published_number_of_summaries():
    counts = jnp.ones(500)
    assert len(BandRatios(500, range(50))(counts)) == 148


def test_bands_have_equal_ratios_of_energy(simulator):
    """The channels are logarithmic, so that bands hold equal numbers of them."""
    boundaries = geometric_bands(simulator.folders[0], 6)
    assert (boundaries[0], boundaries[-1]) == (0, 60)
    np.testing.assert_allclose(np.diff(boundaries), 10, atol=2)


@pytest.mark.parametrize("block", [1, 7, 60])
def test_bands_do_not_depend_on_the_blocks(block, simulator, monkeypatch):
    whole = geometric_bands(simulator.folders[0], 19)
    monkeypatch.setattr(summaries, "BLOCK", block)
    assert geometric_bands(simulator.folders[0], 19) == whole


def test_more_bands_than_channels_are_one_per_channel_at_most(simulator):
    boundaries = geometric_bands(simulator.folders[0], 500)
    assert len(boundaries) <= 61
    assert np.all(np.diff(boundaries) > 0)


@pytest.mark.parametrize("boundaries", [(0, 4, 4), (5,), (-1, 3), (0, 61), (5, 3)])
def test_impossible_bands_are_refused(boundaries):
    with pytest.raises(ValueError, match="must increase within 0 to 60"):
        BandRatios(60, boundaries)


def test_components_are_those_of_the_covariance(example):
    values = np.asarray(variance_stabilised(example), np.float64)
    values = (values - values.mean(0)) / (values.std(0) + 0.1)
    variance, vector = np.linalg.eigh(values.T @ values / len(values))
    found = PrincipalComponents(example, 4)
    np.testing.assert_allclose(found.variance, variance[::-1][:4], rtol=1e-4)
    overlap = np.abs(found.components @ vector[:, ::-1][:, :4].astype(np.float32))
    np.testing.assert_allclose(overlap, np.eye(4), atol=0.02)
    scores = summarise(found, example)
    np.testing.assert_allclose(scores.var(0), found.variance, rtol=1e-3)


def test_as_many_components_are_kept_as_hold_the_share(example):
    every = PrincipalComponents(example, 60).variance
    for kept in (0.5, 0.9, 0.97):
        number = len(PrincipalComponents(example, kept).variance)
        share = np.cumsum(every) / every.sum()
        assert share[number - 1] >= kept - 1e-6
        assert number == 1 or share[number - 2] < kept


def test_all_components_reconstruct_the_counts(example):
    components = PrincipalComponents(example, 60)
    again = components.reconstruct(components(example[5]))
    np.testing.assert_allclose(again, example[5], rtol=2e-4, atol=2e-3)


def test_few_components_reconstruct_the_spectrum_better_than_the_counts(broad, example):
    """Most of what they leave out is noise."""
    drawn = jax.jit(lambda key: broad.draw(key, 200))(jax.random.key(0))
    counts = np.random.default_rng(0).poisson(drawn.expected).astype(np.float32)
    components = PrincipalComponents(example, 6)
    again = jax.vmap(lambda row: components.reconstruct(components(row)))(
        jnp.asarray(counts)
    )
    root = np.sqrt(np.asarray(drawn.expected))
    assert np.mean((np.sqrt(again) - root) ** 2) < 0.3 * np.mean(
        (np.sqrt(counts) - root) ** 2
    )


@pytest.mark.parametrize("kept", [0, 61, 1.0, 0.0, -3, 1.5])
def test_impossible_numbers_of_components_are_refused(kept, example):
    with pytest.raises(ValueError, match="from 1 to 60; got"):
        PrincipalComponents(example, kept)


def test_examples_fewer_than_channels_are_enough(example):
    components = PrincipalComponents(example[:10], 0.99)
    assert len(components.variance) < 10
