"""Spectrum and likelihood emulators against the functions that they learn."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.correct.emulator import (
    fit_smooth_map,
    quadratic_terms,
    train_emulator,
    train_likelihood_emulator,
)
from jsbi.simulate import Target
from jsbi.simulate.source import without_context
from tests.targets import power_law_target

RNG = np.random.default_rng(0)


@eqx.filter_jit
def evaluate(function, z):
    return jax.vmap(function)(z)


def on_device(z):
    return jnp.asarray(z, jnp.float32)


def quadratic(z):
    return np.stack([1 + z[:, 0] - 2 * z[:, 0] * z[:, 1], 3 * z[:, 1] ** 2], 1)


@pytest.fixture(scope="module")
def target():
    return power_law_target()


@pytest.fixture(scope="module")
def batch(target):
    """Noise-free simulations around the parameters that made the counts."""
    z = np.array([0.1, 0.2]) + 0.1 * RNG.standard_normal((600, 2))
    rows = on_device(z)
    return without_context(rows, evaluate(target.simulator.expected_counts, rows))


@pytest.fixture(scope="module")
def emulated(target, batch):
    return train_emulator(jax.random.key(0), target.simulator, batch, steps=1000)


def test_the_terms_are_those_of_a_quadratic():
    terms = quadratic_terms(jnp.array([2.0, 3.0]))
    np.testing.assert_array_equal(terms, [1, 2, 3, 4, 6, 9])


def test_a_quadratic_is_found_exactly():
    z = np.array([5.0, -2.0]) + RNG.standard_normal((200, 2)) @ [[2, 1], [0, 0.01]]
    surface = fit_smooth_map(jax.random.key(0), z, quadratic(z), np.ones(200), steps=0)
    inside = z[np.linalg.norm((z - z.mean(0)) @ surface.whitener.T, axis=1) < 2]
    values = evaluate(surface, on_device(inside))
    np.testing.assert_allclose(values, quadratic(inside), rtol=1e-4, atol=1e-3)


def test_beyond_the_edge_the_map_is_its_own_tangent():
    z = RNG.standard_normal((300, 2))
    surface = fit_smooth_map(jax.random.key(0), z, quadratic(z), np.ones(300), steps=0)
    direction = jnp.linalg.solve(surface.whitener, jnp.array([0.6, 0.8]))
    along = jax.jit(lambda t: surface(surface.centre + t * direction))
    slope = jax.jit(jax.jacfwd(along))
    edge = surface.edge
    for far in (1.001, 1.5, 4.0):
        linear = along(edge) + slope(0.999 * edge) * edge * (far - 1)
        np.testing.assert_allclose(along(far * edge), linear, rtol=0.01, atol=0.05)
    assert np.all(np.isfinite(slope(0.0)))


@pytest.mark.slow
def test_spectra_are_learned_within_their_noise(target, emulated):
    z = on_device(np.array([0.1, 0.2]) + 0.1 * RNG.standard_normal((300, 2)))
    exact = np.asarray(evaluate(target.simulator.expected_counts, z))
    counts = np.asarray(evaluate(emulated.expected_counts, z))
    pull = (counts - exact) / np.sqrt(exact)
    assert np.sqrt((pull**2).sum(1).mean()) < 0.1
    assert len(emulated.basis) < 10  # of 60 bins, from two parameters


def test_an_emulated_simulator_serves_other_counts_of_the_instrument(emulated):
    other = power_law_target(seed=9, z=(0.15, 0.15))
    z = np.array([0.15, 0.15]) + 0.05 * RNG.standard_normal((200, 2))
    counts = np.asarray(other.counts)
    difference = Target(emulated, counts).log_likelihood(z) - other.log_likelihood(z)
    assert np.sqrt((difference**2).mean()) < 0.1


def test_more_directions_are_kept_for_a_smaller_error(target, batch):
    numbers = [
        len(
            train_emulator(
                jax.random.key(0), target.simulator, batch, retained=retained, steps=0
            ).basis
        )
        for retained in (8.0, 0.02, 1e-4)
    ]
    assert numbers == [1, 2, 3]


def test_rows_without_a_value_are_left_out(target, batch):
    broken = batch._replace(expected=batch.expected.at[7].set(jnp.nan))
    first, second = (
        train_emulator(jax.random.key(0), target.simulator, each, steps=0)
        for each in (
            broken,
            without_context(
                jnp.delete(batch.z, 7, axis=0), jnp.delete(batch.expected, 7, axis=0)
            ),
        )
    )
    np.testing.assert_array_equal(first.mean, second.mean)


def test_too_few_simulations_are_refused(target, batch):
    few = without_context(batch.z[:6], batch.expected[:6])
    with pytest.raises(ValueError, match="has 6 terms .* got 6"):
        train_emulator(jax.random.key(0), target.simulator, few)


@pytest.mark.slow
def test_the_likelihood_is_learned_where_it_matters(target, batch):
    z = np.asarray(batch.z, float)
    exact = target.log_likelihood(z)
    emulator = train_likelihood_emulator(
        jax.random.key(0), target.simulator, z[:400], exact[:400]
    )
    emulated = Target(emulator, np.asarray(target.counts)).log_likelihood(z[400:])
    near = exact[400:] > exact.max() - 15
    assert near.sum() > 20
    difference = (emulated - exact[400:])[near]
    assert np.sqrt((difference**2).mean()) < 0.5
    np.testing.assert_array_equal(
        emulator.expected_counts(batch.z[0]),
        target.simulator.expected_counts(batch.z[0]),
    )
