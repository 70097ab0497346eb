"""Where simulations are drawn: wide enough, and not the prior."""

import jax
import jax.numpy as jnp
import numpy as np

from jsbi.estimate import Region, restrict_prior
from tests.targets import grid_answer, power_law_target


def test_the_region_is_several_times_wider_than_the_posterior():
    target = power_law_target()
    region = restrict_prior(jax.random.key(0), target)
    _, mean, sd = grid_answer(target)
    width = np.sqrt(np.diag(np.asarray(region.factor @ region.factor.T)))
    assert np.all(width > 3 * sd)
    assert np.all(width < 8 * sd)
    assert np.all(np.abs(np.asarray(region.centre) - mean) < 2 * width)


def test_where_the_data_say_nothing_the_region_is_the_prior():
    target = power_law_target()
    target.counts = jnp.zeros_like(target.counts)
    silent = jax.tree.map(lambda leaf: leaf, target.simulator)
    folder = silent.folders[0]
    object.__setattr__(folder, "matrix", folder.matrix * 1e-12)
    target.simulator = silent
    region = restrict_prior(jax.random.key(0), target)
    covariance = np.asarray(region.factor @ region.factor.T)
    np.testing.assert_allclose(covariance, np.eye(2), atol=0.15)


def test_whitening_is_undone_by_colouring():
    region = Region(jnp.array([1.0, -2.0]), jnp.array([[2.0, 0.0], [0.5, 0.1]]))
    z = jnp.array([0.3, -1.7])
    np.testing.assert_allclose(region.colour(region.whiten(z)), z, rtol=1e-5)
    jacobian = jax.jacfwd(region.colour)(z)
    assert np.isclose(region.log_det(), jnp.linalg.slogdet(jacobian)[1], rtol=1e-5)
