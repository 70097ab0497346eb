"""The auto-encoder's reconstructions against the true spectra."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.compress import AutoEncoder, draw_examples, train_autoencoder
from jsbi.diagnose import cstat_moments

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def trained(narrow):
    _, example = draw_examples(jax.random.key(0), narrow, 512)
    start = AutoEncoder(jax.random.key(1), example, latent=8, width=64)
    return (
        start,
        example,
        *train_autoencoder(jax.random.key(2), start, narrow, steps=600),
    )


@pytest.fixture(scope="module")
def trial(narrow):
    """Expected counts, and exact Poisson counts of them."""
    batch, _ = draw_examples(jax.random.key(3), narrow, 500)
    counts = np.random.default_rng(0).poisson(batch.expected)
    return batch, jnp.asarray(counts, jnp.float32)


@pytest.mark.slow
def test_the_start_is_the_mean_of_the_examples(trained):
    start, example, _, _ = trained
    wanted = np.asarray(example.mean(0)) + 0.5 / 512
    np.testing.assert_allclose(start.reconstruct(example[7]), wanted, rtol=1e-5)


def test_the_loss_falls_to_the_parameters_worth(trained):
    """Two parameters cost a C statistic of about two, spread over 60 channels."""
    _, _, _, losses = trained
    assert losses[:5].mean() > 0.5
    assert losses[-50:].mean() < 4 / 60
    assert losses.min() > 0.5 / 60


def test_reconstructions_have_the_expected_cstat(trained, trial):
    _, _, autoencoder, _ = trained
    batch, counts = trial
    cstat = np.asarray(jax.vmap(autoencoder.cstat)(counts), np.float64)
    moments = np.array(
        [cstat_moments(np.asarray(row, np.float64)) for row in batch.expected]
    )
    pull = (cstat - moments[:, 0]) / moments[:, 1]
    assert abs(pull.mean()) < 0.35  # two of 60 degrees of freedom are 0.18
    assert abs(pull.std() - 1) < 0.15


def test_reconstructions_are_close_to_the_true_spectra(trained, trial):
    """Much closer than the counts are."""
    _, _, autoencoder, _ = trained
    batch, counts = trial
    found = jax.vmap(autoencoder.reconstruct)(counts)
    root = np.sqrt(batch.expected)
    error = np.mean((np.sqrt(found) - root) ** 2)
    assert error < 0.1 * np.mean((np.sqrt(counts) - root) ** 2)


def test_a_line_unlike_all_simulations_stands_out(trained, trial):
    _, _, autoencoder, _ = trained
    counts = trial[1][:50]
    usual = jax.vmap(autoencoder.cstat)(counts)
    odd = jax.vmap(autoencoder.cstat)(counts.at[:, 30].add(100.0))
    assert np.min(odd - usual) > 0
    assert np.mean(odd - usual) > 100


def test_training_moves_no_scale(trained):
    start, _, end, _ = trained
    np.testing.assert_array_equal(start.log_mean, end.log_mean)
    for field in dataclasses.fields(start.encoder.summary.tree):
        if field.name != "summary":
            np.testing.assert_array_equal(
                getattr(start.encoder.summary.tree, field.name),
                getattr(end.encoder.summary.tree, field.name),
            )
