"""Best fits against scipy, and the bookkeeping of modes."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from jsbi.baseline import find_modes
from tests.targets import power_law_target


def test_all_starts_reach_the_optimum_that_scipy_finds():
    target = power_law_target()
    modes = find_modes(jax.random.key(0), target, 32)

    def loss(z):
        density = target.log_likelihood(z[None]) + target.log_prior(z[None])
        return -density.item()

    best = minimize(loss, modes.z[0] + 0.1, method="Nelder-Mead")
    assert modes.hits.tolist() == [32]
    np.testing.assert_allclose(modes.z[0], best.x, atol=2e-3)
    assert abs(modes.log_posterior[0] + best.fun) < 1e-3


def test_covariance_is_the_inverse_hessian():
    target = power_law_target()
    modes = find_modes(jax.random.key(0), target, 16)
    simulator, counts = target.simulator, target.counts
    with jax.enable_x64(True):
        hessian = jax.hessian(
            lambda z: -simulator.log_posterior(z, counts.astype(z.dtype))
        )(jnp.asarray(modes.z[0], jnp.float32))
    np.testing.assert_allclose(
        modes.covariance[0], np.linalg.inv(np.asarray(hessian)), rtol=0.1
    )


def test_work_is_counted():
    target = power_law_target()
    find_modes(jax.random.key(0), target, 16)
    assert target.evaluations > 1024 + 16 * 4
