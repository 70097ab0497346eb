"""Energy bins keep in float32 what float64 edges know."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.instrument import EnergyGrid


@pytest.mark.parametrize(
    "edges", [np.arange(5.5, 7.5, 5e-4), np.geomspace(0.1, 12, 20_001)]
)
def test_widths_of_narrow_bins_keep_all_digits(edges):
    grid = EnergyGrid(edges)
    assert grid.width.dtype == jnp.float32
    np.testing.assert_allclose(grid.width, np.diff(edges), rtol=1e-7)
    np.testing.assert_allclose(
        grid.log_ratio, np.log(edges[1:] / edges[:-1]), rtol=1e-7
    )
    from_float32 = np.diff(edges.astype(np.float32))
    assert np.max(np.abs(from_float32 / np.diff(edges) - 1)) > 1e-4


def test_low_and_high_are_neighbouring_edges():
    grid = EnergyGrid(np.array([1, 2, 4]))
    np.testing.assert_array_equal(grid.low, [1, 2])
    np.testing.assert_array_equal(grid.high, [2, 4])
    np.testing.assert_array_equal(grid.width, [1, 2])


def test_precision_follows_the_users_setting():
    with jax.enable_x64(True):
        grid = EnergyGrid(np.array([1.0, 1.1]))
        assert grid.edges.dtype == grid.width.dtype == jnp.float64


@pytest.mark.parametrize(
    ("edges", "place"),
    [
        ([0.0, 1.0, 2.0], "bin 0 spans 0 to 1"),
        ([-1.0, 1.0, 2.0], "bin 0 spans -1 to 1"),
        ([1.0, 2.0, 2.0], "bin 1 spans 2 to 2"),
        ([3.0, 2.0, 1.0], "bin 0 spans 3 to 2"),
        ([1.0, np.nan, 3.0], "bin 0 spans 1 to nan"),
        ([1.0, 2.0, np.inf], "bin 1 spans 2 to inf"),
    ],
)
def test_bad_edges_are_refused_with_their_place(edges, place):
    with pytest.raises(ValueError, match=rf"positive, finite and increasing.*{place}"):
        EnergyGrid(np.array(edges))


@pytest.mark.parametrize("edges", [np.array(1.0), np.array([1.0]), np.ones((2, 3))])
def test_edges_must_be_a_vector_of_two_or_more(edges):
    with pytest.raises(ValueError, match="vector of at least two energies"):
        EnergyGrid(edges)
