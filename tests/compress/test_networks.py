"""Networks on summaries: what is trained, what they see, what they cost."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jsbi.compress import Convolution, Embedding, ScaledCounts, summarise
from jsbi.compress.networks import STRIDE, _convolve
from jsbi.descent import descend, trainable


def poisson_example(channels, number=200):
    counts = np.random.default_rng(0).poisson(30.0, (number, channels))
    return jnp.asarray(counts, jnp.float32)


def make_network(kind, key, example, features):
    if kind == "convolution":
        return Convolution(key, example, features=features)
    return Embedding(key, ScaledCounts(example), example, features=features)


KINDS = ("embedding", "convolution")


def loss(network, key, data):
    counts, wanted = data
    return ((jax.vmap(network)(counts) - wanted) ** 2).mean()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 12, 30, 333])
def test_no_channel_is_overlooked(kind, channels):
    example = poisson_example(channels)
    network = make_network(kind, jax.random.key(1), example, 5)
    jacobian = jax.jacfwd(network.__call__)(example[0])
    assert jacobian.shape == (5, channels)
    assert np.all(np.abs(jacobian).max(0) > 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("counts", [0.0, 1.0, 1e7])
def test_networks_are_finite_far_from_the_examples(kind, counts):
    network = make_network(kind, jax.random.key(1), poisson_example(40), 5)
    assert np.all(np.isfinite(network(jnp.full(40, counts))))


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("kind", KINDS)
def test_networks_learn_what_a_line_between_channels_says(kind, example):
    """The logarithm of a ratio of sums, which no single channel tells."""
    wanted = jnp.log1p(example[:, :20].sum(1)) - jnp.log1p(example[:, 40:].sum(1))
    wanted = ((wanted - wanted.mean()) / wanted.std())[:, None]
    start = make_network(kind, jax.random.key(2), example, 1)
    _, losses = descend(jax.random.key(3), start, loss, (example, wanted), steps=300)
    assert losses[0] > 0.5
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.network
@pytest.mark.parametrize("kind", KINDS)
def test_training_moves_the_network_and_no_scale(kind, example):
    start = make_network(kind, jax.random.key(2), example, 1)
    wanted = jnp.ones((len(example), 1))
    end, _ = descend(jax.random.key(3), start, loss, (example, wanted), steps=100)
    for moves, before, after in zip(
        (True, False), trainable(start), trainable(end), strict=True
    ):
        change = ravel_pytree(_arrays(before))[0] - ravel_pytree(_arrays(after))[0]
        assert bool(jnp.any(change != 0)) == moves


def _arrays(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype")]


@pytest.mark.parametrize("length", [17, 60, 61, 64])
def test_windows_are_those_of_a_strided_convolution(length):
    layer = eqx.nn.Linear(2 * STRIDE * 3, 5, key=jax.random.key(0))
    signal = jax.random.normal(jax.random.key(1), (length, 3))
    places = -(-length // STRIDE)
    padded = np.zeros((STRIDE * (places + 1), 3))
    padded[STRIDE // 2 : STRIDE // 2 + length] = signal
    weight = np.asarray(layer.weight).reshape(5, 2 * STRIDE, 3)
    expected = [
        np.einsum("oki,ki->o", weight, padded[STRIDE * at : STRIDE * (at + 2)])
        for at in range(places)
    ] + np.asarray(layer.bias)
    np.testing.assert_allclose(_convolve(layer, signal), expected, atol=1e-5)


def test_convolutions_of_many_channels_have_few_weights():
    example = poisson_example(20_000, 4)
    network = Convolution(jax.random.key(0), example, features=8)
    moving, _ = trainable(network)
    assert sum(leaf.size for leaf in _arrays(moving)) < 60_000
    values = summarise(network, example)
    assert values.shape == (4, 8)
    assert np.abs(values[0] - values[1]).max() > 1e-3
