"""Best fits against scipy, and the bookkeeping of modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from jsbi.baseline import find_modes
from jsbi.baseline.optimize import _exchanges
from tests.targets import Landscape, landscape_target, power_law_target, relief_target


def test_all_starts_reach_the_optimum_that_scipy_finds():
    target = power_law_target()
    modes = find_modes(jax.random.key(0), target, 32)

    def loss(z):
        density = target.log_likelihood(z[None]) + target.log_prior(z[None])
        return -density.item()

    best = minimize(loss, modes.z[0] + 0.1, method="Nelder-Mead")
    assert modes.hits.tolist() == [modes.starts]
    np.testing.assert_allclose(modes.z[0], best.x, atol=2e-3)
    assert abs(modes.log_posterior[0] + best.fun) < 1e-3


@pytest.mark.slow
def test_covariance_is_the_inverse_hessian():
    target = power_law_target()
    modes = find_modes(jax.random.key(0), target, 16)
    hessian = jax.hessian(lambda z: -target.simulator.log_posterior(z, target.counts))(
        jnp.asarray(modes.z[0])
    )
    np.testing.assert_allclose(
        modes.covariance[0], np.linalg.inv(np.asarray(hessian)), rtol=0.1
    )


def test_work_is_counted():
    target = power_law_target()
    find_modes(jax.random.key(0), target, 16)
    assert target.evaluations > 1024 + 16 * 4


@pytest.mark.slow
def test_a_hidden_mode_is_reached_from_the_optimum_of_the_rest():
    """A line fits in one place only, and only once the continuum fits."""

    def hidden(z):
        near = jnp.exp(-0.5 * ((z[0] - 1.0) / 0.1) ** 2)
        return jnp.concatenate([4 * (1 - near)[None], 10 * z[1:] - 15])

    for seed in range(5):
        modes = find_modes(jax.random.key(seed), relief_target(hidden, 5))
        assert abs(modes.z[0, 0] - 1.0) < 0.05
        assert modes.hits[0] > 2


@pytest.mark.slow
def test_eight_modes_of_unequal_mass_and_width_are_all_found():
    def corners(z):
        side = jax.nn.sigmoid(20 * z)
        return jnp.concatenate([(8 + 10 * side) * (jnp.abs(z) - 1), side])

    for seed in range(5):
        modes = find_modes(jax.random.key(seed), relief_target(corners, 3))
        assert len({tuple(signs) for signs in np.sign(modes.z)}) == 8


@pytest.mark.parametrize("seed", range(5))
def test_parameters_that_may_swap_have_both_modes(seed):
    def swap(a, b):
        return Landscape(40 * (a * b + 1.44), 40 * (a + b))

    modes = find_modes(jax.random.key(seed), landscape_target(swap), 8)
    np.testing.assert_allclose(
        modes.z[np.argsort(modes.z[:, 0])], [[-1.2, 1.2], [1.2, -1.2]], atol=0.02
    )


def test_components_of_one_kind_are_told_by_name():
    names = ("tbabs.nH", "gaussian.LineE", "gaussian_2.norm", "gaussian.norm")
    (order,) = _exchanges((*names, "gaussian_2.LineE"))
    np.testing.assert_array_equal(order, [0, 4, 3, 2, 1])
    assert _exchanges(("kT", "bb_norm", "pl_norm")) == []
