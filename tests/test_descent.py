"""Descent against closed forms: where it ends, how far, what it leaves alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from paramax import NonTrainable

from jsbi.descent import CHUNK, descend

pytestmark = pytest.mark.usefixtures("reused_keys")
TRACES = []


class Line(eqx.Module):
    slope: Array
    fixed: NonTrainable
    stopped: Array
    order: Array
    name: str = "line"


def line():
    return Line(
        jnp.zeros(3), NonTrainable(jnp.ones(3)), jnp.array([2.0]), jnp.arange(2)
    )


def noisy_distance(tree, key, data):
    """Its minimum in the mean is at `data`, shifted by what must not move."""
    TRACES.append(1)
    offset = tree.fixed.tree + jax.lax.stop_gradient(tree.stopped)
    noise = 0.01 * jax.random.normal(key, (3,))
    return ((tree.slope + offset - data + noise) ** 2).sum()


def height(tree, key, data):
    return tree["height"] * data


def only_the_key(tree, key, data):
    return jax.random.uniform(key) + 0 * tree["height"]


def test_it_ends_at_the_minimum_and_leaves_the_rest():
    data = jnp.array([1.0, -2.0, 5.0])
    tree, losses = descend(
        jax.random.key(0), line(), noisy_distance, data, steps=600, rate=0.1
    )
    np.testing.assert_allclose(tree.slope, data - 3, atol=0.01)
    np.testing.assert_array_equal(tree.fixed.tree, 1.0)
    np.testing.assert_array_equal(tree.stopped, [2.0])
    np.testing.assert_array_equal(tree.order, [0, 1])
    assert tree.name == "line"
    assert losses[0] > 20
    assert abs(losses[-100:].mean() / 3e-4 - 1) < 0.4


def test_another_key_or_other_data_are_not_compiled_again():
    start = line()
    descend(jax.random.key(0), start, noisy_distance, jnp.zeros(3), steps=CHUNK)
    before = len(TRACES)
    descend(jax.random.key(1), start, noisy_distance, jnp.ones(3), steps=CHUNK)
    assert len(TRACES) == before


@pytest.mark.parametrize("slope", [1e-3, 1.0, 1e6])
def test_the_path_is_half_of_the_rate_times_the_steps(slope):
    """Adam goes one rate per step on a plane, however steep; the cosine's mean is 1/2.

    The schedule spans the whole path, not each compiled part of it.
    """
    start = {"height": jnp.array(0.0)}
    tree, losses = descend(
        jax.random.key(0), start, height, jnp.array(slope), steps=300, rate=0.01
    )
    np.testing.assert_allclose(tree["height"], -0.01 * 300 / 2, rtol=0.01)
    path = -np.diff(losses) / slope
    assert abs(path[0] / 0.01 - 1) < 0.01
    assert path[-1] < 1e-5
    assert np.all(np.diff(path) < 1e-5)


@pytest.mark.parametrize(("steps", "whole"), [(1, 100), (100, 100), (201, 300)])
def test_steps_are_whole_parts_each_with_its_own_key(steps, whole):
    ticks = []
    start = {"height": jnp.array(0.0)}
    _, losses = descend(
        jax.random.key(3), start, only_the_key, steps=steps, tick=ticks.append
    )
    assert len(losses) == sum(ticks) == whole
    assert len(np.unique(losses)) == whole


def test_the_same_key_gives_the_same_path():
    first, second = (
        descend(jax.random.key(5), line(), noisy_distance, jnp.ones(3), steps=100)[1]
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
