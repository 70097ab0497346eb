"""Frames whiten: their Gaussian is Laplace's, their description says all of it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.compress import ScaledCounts
from jsbi.estimate import FixedFrame, ModeFrame, PointEstimate, Region
from jsbi.estimate.frame import CLOSEST, PASSES, inverse_factor
from jsbi.simulate import fit_mode, make_conditions, under
from tests.targets import grid_answer, power_law_target


def constant(value, inputs):
    """A head that always answers the same."""
    head = eqx.nn.MLP(inputs, len(value), 4, 1, key=jax.random.key(0))
    last = head.layers[-1]
    return eqx.tree_at(
        lambda head: (head.layers[-1].weight, head.layers[-1].bias),
        head,
        (jnp.zeros_like(last.weight), jnp.asarray(value)),
    )


def frame_at(target, guess, conditions=None):
    """A mode frame that starts at the same place for all spectra."""
    example = jnp.ones((10, len(target.counts)))
    summary = ScaledCounts(example)
    estimate = PointEstimate(summary, constant(guess, len(target.counts) + 3))
    if conditions is None:
        conditions = make_conditions(len(target.counts))
    return ModeFrame(estimate, target.simulator, conditions)


@eqx.filter_jit
def region_of(frame, counts, context):
    return frame(counts, context)


@pytest.mark.slow
@pytest.mark.parametrize("dimension", [1, 2, 5, 12])
def test_inverse_factor_is_the_factor_of_the_inverse(dimension):
    generator = np.random.default_rng(dimension)
    root = generator.normal(size=(dimension, dimension + 3))
    matrix = root @ root.T * np.geomspace(1, 30, dimension)[:, None]
    matrix = matrix * np.geomspace(1, 30, dimension)
    with jax.enable_x64(True):
        factor = np.asarray(inverse_factor(jnp.asarray(matrix)))
    np.testing.assert_array_equal(factor, np.tril(factor))
    assert np.all(np.diag(factor) > 0)
    np.testing.assert_allclose(
        factor, np.linalg.cholesky(np.linalg.inv(matrix)), rtol=1e-9, atol=1e-12
    )
    single = np.asarray(inverse_factor(jnp.asarray(matrix, jnp.float32)))
    np.testing.assert_allclose(single @ single.T @ matrix, np.eye(dimension), atol=2e-3)


def test_a_fixed_frame_sees_nothing():
    region = Region(jnp.array([1.0, 2.0]), jnp.eye(2))
    frame = FixedFrame(region)
    assert frame(jnp.ones(5), jnp.zeros(2)) is region
    assert frame.describe(region).shape == (0,)


@pytest.mark.slow
def test_the_gaussian_is_that_of_the_quadrature():
    target = power_law_target()
    region = region_of(frame_at(target, [0.0, 0.0]), target.counts, jnp.zeros(2))
    _, mean, sd = grid_answer(target)
    width = np.linalg.norm(np.asarray(region.factor), axis=1)
    assert np.all(np.abs(np.asarray(region.centre) - mean) / sd < 0.2)
    np.testing.assert_allclose(width, sd, rtol=0.08)


@pytest.mark.slow
def test_the_frame_is_that_of_the_observation_under_its_context():
    """A hundred times the exposure leaves a tenth of the width."""
    target = power_law_target()
    conditions = make_conditions(60, exposure=(1, 100), background=np.ones(60))
    frame = frame_at(target, [0.1, 0.2], conditions)
    widths = []
    for exposure in (1, 100):
        context = jnp.asarray(conditions.context(exposure, 1), jnp.float32)
        simulator = under(target.simulator, conditions, context)
        counts = simulator.expected_counts(jnp.array([0.1, 0.2]))
        region = region_of(frame, counts, context)
        # A tenth of its width from the truth: the prior pulls a little.
        np.testing.assert_allclose(region.centre, [0.1, 0.2], atol=5e-3)
        again = fit_mode(simulator, counts, region.centre, most=1)
        np.testing.assert_allclose(
            region.factor, inverse_factor(again.hessian), rtol=1e-3, atol=1e-5
        )
        widths.append(np.diag(np.asarray(region.factor)))
    np.testing.assert_allclose(widths[0] / widths[1], 10.0, rtol=0.03)


def test_guesses_far_out_are_brought_back():
    target = power_law_target()
    far, near = (
        region_of(frame_at(target, guess), target.counts, jnp.zeros(2))
        for guess in ([1e6, -50.0], [CLOSEST, -CLOSEST])
    )
    np.testing.assert_array_equal(far.centre, near.centre)
    assert PASSES > 1


def test_the_description_determines_the_gaussian():
    generator = np.random.default_rng(0)
    factor = np.tril(generator.normal(size=(4, 4)))
    np.fill_diagonal(factor, [0.1, 2.0, 30.0, 0.5])
    centre = generator.normal(size=4)
    region = Region(jnp.asarray(centre, jnp.float32), jnp.asarray(factor, jnp.float32))
    frame = frame_at(power_law_target(), [0.0, 0.0])
    description = np.asarray(frame.describe(region))
    place, log_width, share = np.split(description, [4, 8])
    unit = np.zeros((4, 4))
    unit[np.tril_indices(4, -1)] = share
    np.fill_diagonal(unit, np.sqrt(1 - (unit**2).sum(1)))
    np.testing.assert_allclose(place, centre, rtol=1e-6)
    np.testing.assert_allclose(
        np.exp(log_width)[:, None] * unit, factor, rtol=1e-3, atol=1e-4
    )


def test_where_the_fit_has_no_value_the_prior_is_the_frame():
    target = power_law_target()
    counts = target.counts.at[3].set(jnp.nan)
    region = region_of(frame_at(target, [0.0, 0.0]), counts, jnp.zeros(2))
    np.testing.assert_array_equal(region.centre, np.zeros(2))
    np.testing.assert_array_equal(region.factor, np.eye(2))
