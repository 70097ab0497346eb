"""Compressors by name, for one observation and for several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.compress import (
    KINDS,
    Concatenated,
    Jointly,
    ScaledCounts,
    draw_examples,
    make_compressor,
    spread_fiducials,
    summarise,
    summary_length,
)
from jsbi.instrument import Folder
from jsbi.simulate import Simulator
from tests.compress.conftest import NormalSource
from tests.targets import make_observation, power_law

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def joint():
    """Two exposures of one source."""
    model, prior = power_law()
    folders = (Folder(make_observation()), Folder(make_observation(exposure=200.0)))
    simulator = Simulator(prior, model, folders)
    return NormalSource(simulator, jnp.zeros(2), jnp.asarray(0.3))


@pytest.mark.parametrize("name", [kind for kind in KINDS if kind != "counts"])
def test_every_kind_gives_as_many_features_and_tells_the_counts(name, narrow):
    compressor = make_compressor(
        jax.random.key(0), name, narrow, narrow.simulator, features=4, steps=100
    )
    _, counts = draw_examples(jax.random.key(1), narrow, 50)
    values = np.asarray(summarise(compressor, counts))
    assert values.shape == (50, 4) == (50, summary_length(compressor, 60))
    assert np.all(np.isfinite(values))
    assert np.all(values.std(0) > 1e-3)


def test_counts_are_the_scaled_counts_and_nothing_else(narrow):
    compressor = make_compressor(
        jax.random.key(0), "counts", narrow, narrow.simulator, features=4
    )
    assert isinstance(compressor, ScaledCounts)
    assert summary_length(compressor, 60) == 61


def test_kinds_joined_by_plus_follow_one_another(narrow):
    compressor = make_compressor(
        jax.random.key(0), "network + pca", narrow, narrow.simulator, features=3
    )
    assert isinstance(compressor, Concatenated)
    assert summary_length(compressor, 60) == 6


@pytest.mark.slow
def test_each_observation_of_a_joint_fit_is_summarised_alone(joint):
    compressor = make_compressor(
        jax.random.key(0), "network", joint, joint.simulator, features=3
    )
    assert isinstance(compressor, Jointly)
    assert compressor.sizes == (60, 60)
    jacobian = jax.jacfwd(compressor.__call__)(jnp.full(120, 9.0))
    np.testing.assert_array_equal(jacobian[:3, 60:], 0.0)
    np.testing.assert_array_equal(jacobian[3:, :60], 0.0)
    assert np.all(np.abs(jacobian).max(0) > 0)


@pytest.mark.slow
def test_an_autoencoder_of_a_joint_fit_learns_its_own_observation(joint):
    ticks = []
    compressor = make_compressor(
        jax.random.key(0),
        "autoencoder",
        joint,
        joint.simulator,
        features=2,
        steps=100,
        tick=ticks.append,
    )
    assert summary_length(compressor, 120) == 4
    assert ticks == [100, 100]


def test_scores_of_a_joint_fit_are_of_all_observations(joint):
    compressor = make_compressor(
        jax.random.key(0), "fisher", joint, joint.simulator, features=3
    )
    assert summary_length(compressor, 120) == 3
    jacobian = jax.jacfwd(compressor.__call__)(jnp.full(120, 9.0))
    assert np.abs(jacobian[:, :60]).max() > 0
    assert np.abs(jacobian[:, 60:]).max() > 0


def test_fiducials_are_one_deviation_around_the_mean():
    normal = np.random.default_rng(0).standard_normal((4000, 2))
    z = jnp.asarray(normal * [3.0, 0.5] + [1.0, -2.0], jnp.float32)
    found = np.asarray(spread_fiducials(z))
    assert found.shape == (5, 2)
    np.testing.assert_allclose(found[0], [1.0, -2.0], atol=0.15)
    np.testing.assert_allclose(found.mean(0), found[0], atol=1e-5)
    np.testing.assert_allclose(
        found.std(0), np.sqrt(0.4) * np.array([3.0, 0.5]), rtol=0.05
    )


@pytest.mark.parametrize("name", ["netwrok", "network+", "", "pca+netwrok"])
def test_unknown_names_are_refused(name, narrow):
    with pytest.raises(ValueError, match="must be one of network, counts") as error:
        make_compressor(jax.random.key(0), name, narrow, narrow.simulator, features=2)
    assert ("Did you mean 'network'?" in str(error.value)) == ("netwrok" in name)
