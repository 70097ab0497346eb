"""The fit ends at the mode, with the curvature there, and never gets worse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.simulate import fit_mode
from tests.targets import Relief, grid_answer, power_law_target, relief_target

STARTS = np.array([[0.0, 0.0], [2.0, 2.0], [-2.0, 2.0], [2.5, -1.0], [-3.0, -3.0]])


@eqx.filter_jit
def fits(simulator, counts, starts, most=60):
    return jax.vmap(lambda start: fit_mode(simulator, counts, start, most=most))(starts)


@eqx.filter_jit
def values(simulator, counts, z):
    return jax.vmap(lambda row: simulator.log_posterior(row, counts))(z)


def starts():
    return jnp.asarray(STARTS, jnp.float32)


def test_every_start_ends_at_the_mode_of_the_quadrature():
    """The posterior of 4000 counts is Gaussian to a few per cent of its width."""
    target = power_law_target()
    found = fits(target.simulator, target.counts, starts())
    _, mean, sd = grid_answer(target)
    scaled = (np.asarray(found.z, float) - mean) / sd
    assert np.all(np.ptp(scaled, axis=0) < 0.02)
    assert np.all(np.abs(scaled) < 0.15)
    for hessian in np.asarray(found.hessian, float):
        width = np.sqrt(np.diag(np.linalg.inv(hessian)))
        np.testing.assert_allclose(width, sd, rtol=0.08)


def test_no_neighbour_of_the_mode_is_better():
    target = power_law_target()
    found = fits(target.simulator, target.counts, starts())
    mode, hessian = np.asarray(found.z[0], float), np.asarray(found.hessian[0], float)
    step = np.linalg.cholesky(np.linalg.inv(hessian)) * 0.3
    around = np.concatenate([mode[None], mode + step.T, mode - step.T])
    density = target.log_likelihood(around) + target.log_prior(around)
    drop = density[0] - density[1:]
    np.testing.assert_allclose(drop, 0.5 * 0.3**2, rtol=0.2)


def test_the_curvature_is_fisher_information_for_data_without_noise():
    """At z = 0 data and prior agree, so that the residuals have no part in it."""
    target = power_law_target()
    simulator = target.simulator
    expected = jnp.asarray(target.expected_counts(np.zeros(2)), jnp.float32)
    found = fits(simulator, expected, starts())
    np.testing.assert_allclose(found.z, np.zeros((5, 2)), atol=2e-3)
    slope = np.asarray(
        jax.jit(jax.jacfwd(simulator.expected_counts))(jnp.zeros(2)), float
    )
    information = (slope.T / np.asarray(expected)) @ slope + np.eye(2)
    np.testing.assert_allclose(found.hessian[0], information, rtol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("most", [1, 3])
def test_passes_are_limited_and_never_make_it_worse(most):
    target = power_law_target()
    found = fits(target.simulator, target.counts, starts(), most)
    assert np.all(np.asarray(found.passes) <= most)
    before = values(target.simulator, target.counts, starts())
    after = values(target.simulator, target.counts, found.z)
    assert np.all(np.asarray(after >= before))
    if most == 1:
        np.testing.assert_array_equal(found.z, starts())


def test_passes_are_few():
    target = power_law_target()
    passes = np.asarray(fits(target.simulator, target.counts, starts()).passes)
    assert np.all(passes < 25)


def test_a_model_without_a_value_beside_the_path_does_no_harm():
    """The best fit is where the root begins to exist, and steps beyond are refused."""

    def shape(z):
        return jnp.stack([10 * jnp.sqrt(z[0] + 0.5), 3 * (z[1] - 1)])

    target = relief_target(shape, 2)
    assert isinstance(target.simulator.model(z0=jnp.ones(()), z1=jnp.ones(())), Relief)
    found = fits(target.simulator, target.counts, jnp.asarray([[2.0, 0.0]]))
    assert np.all(np.isfinite(found.z))
    assert np.all(np.isfinite(found.hessian))
    assert -0.5 <= float(found.z[0, 0]) < -0.3
    np.testing.assert_allclose(found.z[0, 1], 0.9, atol=0.05)
