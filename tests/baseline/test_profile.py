"""Best fits and their errors against dense grids, scipy and a measured posterior."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from jsbi.api import make_target
from jsbi.baseline.profile import find_best_fits
from jsbi.data import read_observation
from jsbi.model import spectral_model
from jsbi.simulate import LogUniform, Prior, Uniform
from tests.targets import (
    Landscape,
    bend,
    edge,
    landscape_target,
    power_law_target,
    relief_target,
)


def by_brute_force(target, place, best, delta):
    """Ends of one of two parameters in z: scipy minimises over the other."""

    def cstat(value, other):
        z = np.array([[value, other]] if place == 0 else [[other, value]])
        return -2 * target.log_likelihood(z).item()

    def profile(value):
        found: Any = minimize_scalar(
            lambda other: cstat(value, other),
            bounds=(best[1 - place] - 1.5, best[1 - place] + 1.5),
            method="bounded",
            options={"xatol": 1e-5},
        )
        return found.fun

    least = profile(best[place])
    return [
        brentq(
            lambda value: profile(value) - least - delta,
            best[place],
            best[place] + side * 1.5,
            xtol=1e-4,
        )
        for side in (-1, 1)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "delta"),
    [
        (0, 1.0),
        pytest.param(1, 1.0, marks=pytest.mark.slow),
        pytest.param(0, 2.706, marks=pytest.mark.slow),
        pytest.param(1, 2.706, marks=pytest.mark.slow),
    ],
)
def test_ends_are_where_scipy_finds_that_the_profile_has_risen(place, delta):
    target = power_law_target()
    fits = find_best_fits(jax.random.key(0), target, delta=delta)
    assert not fits.pegged.any()
    z = np.tile(fits.z[0], (2, 1))
    z[:, place] = by_brute_force(target, place, fits.z[0], delta)
    expected = target.physical(z)[:, place]
    found = fits.low[place], fits.high[place]
    width = expected[1] - expected[0]
    np.testing.assert_allclose(found, expected, atol=0.01 * width)


@pytest.mark.slow
def test_no_point_of_a_dense_grid_is_better_and_the_prior_does_not_pull():
    target = power_law_target()
    fits = find_best_fits(jax.random.key(0), target)
    axes = [np.linspace(c - 0.2, c + 0.2, 161) for c in fits.z[0]]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    least = -2 * target.log_likelihood(grid).max()
    assert -2e-3 < least - fits.cstat[0] < 0.05


def test_fisher_errors_are_those_of_the_expected_curvature_in_physical_units():
    """Against numerical derivatives of the expected counts in float64."""
    target = power_law_target()
    fits = find_best_fits(jax.random.key(0), target)
    simulator = target.simulator
    step = 1e-3 * fits.values[0]
    slopes = []
    for place in range(2):
        there = np.tile(fits.values[0], (2, 1)) + np.outer(
            [-1, 1], step * np.eye(2)[place]
        )
        counts = []
        for values in there:
            names = dict(zip(fits.names, map(float, values), strict=True))
            counts.append(
                np.asarray(
                    simulator.fold(simulator.model(**{"tbabs.nH": 0.1} | names)),
                    np.float64,
                )
            )
        slopes.append((counts[1] - counts[0]) / (2 * step[place]))
    expected = target.expected_counts(fits.z[0])
    information = np.array(slopes) @ (np.array(slopes) / expected).T
    error = np.sqrt(np.diag(np.linalg.inv(information)))
    np.testing.assert_allclose(fits.fisher[0], error, rtol=5e-3)


def test_intervals_of_a_straight_model_are_its_standard_errors():
    """Correlated, and normal in z: all three answers are the same."""
    slope = np.array([[10.0, -8.0, 1.0], [2.0, 3.0, 0.5], [0.0, 1.0, 4.0]])
    offset = np.array([1.0, -0.5, 0.3])

    def shape(z):
        return jnp.matmul(jnp.asarray(slope, z.dtype), z, precision="highest") - offset

    fits = find_best_fits(jax.random.key(1), relief_target(shape, 3))
    error = np.sqrt(np.diag(np.linalg.inv(slope.T @ slope)))
    centre = np.linalg.solve(slope, offset)
    np.testing.assert_allclose(fits.values[0], centre, atol=0.01 * error.max())
    np.testing.assert_allclose(fits.fisher[0], error, rtol=0.02)
    np.testing.assert_allclose(fits.high - centre, error, rtol=0.03)
    np.testing.assert_allclose(centre - fits.low, error, rtol=0.03)


@pytest.mark.slow
def test_a_bent_ridge_has_uneven_ends_that_the_curvature_does_not_know():
    """b follows a^2 / 2, and a is 0.5 +- 1: the profile of b is bent."""
    fits = find_best_fits(jax.random.key(0), relief_target(lambda z: bend(*z), 2))
    np.testing.assert_allclose([fits.low[0], fits.high[0]], [-0.5, 1.5], atol=0.03)
    grid = np.stack(np.meshgrid(np.linspace(-3, 4, 701), np.linspace(-1, 3, 801)), -1)
    deviation = np.asarray(bend(jnp.asarray(grid[..., 0]), jnp.asarray(grid[..., 1])))
    # The counts are 1e4 exp(deviation / 100), nearly so many deviations off.
    profile = (deviation**2).sum(0).min(1)
    inside = grid[:, 0, 1][profile < 1]
    np.testing.assert_allclose(
        [fits.low[1], fits.high[1]], [inside.min(), inside.max()], atol=0.03
    )
    minus, plus = fits.values[0, 1] - fits.low[1], fits.high[1] - fits.values[0, 1]
    assert plus > 2 * minus


@pytest.mark.slow
def test_the_ends_of_the_prior_are_said_to_be_pegs():
    """One parameter wants to be beyond 1, another below 0; a third is not known."""
    target = relief_target(lambda z: jnp.concatenate([edge(z[0], z[1]), 0 * z[2:]]), 3)
    fits = find_best_fits(jax.random.key(0), target)
    assert fits.pegged.tolist() == [[False, True], [True, False], [True, True]]
    assert fits.low[0] < fits.values[0, 0] <= fits.high[0] == 5.0
    assert np.isinf(fits.fisher[0, 2])
    assert np.isfinite(fits.fisher[0, :2]).all()
    # What is inside is where it must be: 60 (1.02 - x) has risen by 1 in its square.
    inside = jax.scipy.special.ndtr(jnp.asarray(fits.low[0]))
    assert float(inside) == pytest.approx(1.02 - np.sqrt(1.2**2 + 1) / 60, abs=5e-4)
    assert "pegged: low, high" in str(fits)


def unequal(a, b):
    """Two modes, the second worse by 4 in the C statistic."""
    return Landscape(12 * (jnp.abs(a) - 1), 2 * jax.nn.sigmoid(20 * a) + 0 * b)


def test_all_modes_are_listed_with_the_best_first():
    fits = find_best_fits(jax.random.key(0), landscape_target(unequal))
    assert len(fits.cstat) == 2
    assert fits.cstat[1] - fits.cstat[0] == pytest.approx(4.0, rel=0.1)
    np.testing.assert_allclose(fits.values[:, 0], [-1.0, 1.0], atol=0.03)
    assert fits.hits.sum() <= fits.starts
    assert "another maximum" in str(fits)


def low_wall(a, b):
    """The better of two modes lies behind a wall of less than the rise."""
    return Landscape(0.7 * (jnp.abs(a) - 1), 2 * jax.nn.sigmoid(20 * a) + 0 * b)


@pytest.mark.slow
def test_a_better_fit_of_the_last_restart_is_the_best_fit(monkeypatch):
    target = landscape_target(low_wall)
    worse = SimpleNamespace(z=np.array([[1.0, 0.0]]), hits=np.array([1]), starts=1)
    monkeypatch.setattr("jsbi.baseline.profile.find_modes", lambda *_: worse)
    for restarts, known in ((1, False), (4, True)):
        monkeypatch.setattr("jsbi.baseline.profile.RESTARTS", restarts)
        fits = find_best_fits(jax.random.key(0), target)
        assert fits.cstat[0] == pytest.approx(0.0, abs=0.05)
        assert np.isfinite(fits.low[0]) == known


def test_an_end_that_is_not_reached_is_not_known(monkeypatch):
    monkeypatch.setattr("jsbi.baseline.profile.EXPANSIONS", 1)
    monkeypatch.setattr("jsbi.baseline.profile.REFINEMENTS", 0)
    fits = find_best_fits(jax.random.key(0), landscape_target(unequal), delta=1e4)
    assert np.isnan(fits.low[0])
    assert np.isnan(fits.high[0])
    assert not fits.pegged[0].any()


def test_a_rise_that_is_none_is_refused():
    with pytest.raises(ValueError, match="must be > 0: 0.0"):
        find_best_fits(jax.random.key(0), power_law_target(), delta=0.0)


@pytest.mark.slow
def test_profiles_of_a_real_spectrum_have_the_widths_of_its_posterior(test_data):
    """To the tenth or so by which a posterior of 10,000 counts is not normal."""
    path = test_data("ngc7793_ulx4_xmm/PN_spectrum_grp20.fits")
    prior = Prior(
        {
            "tbabs.nH": Uniform(0.0, 0.5),
            "bbodyrad.kT": Uniform(0.02, 2.0),
            "bbodyrad.norm": LogUniform(1e-2, 1.0),
            "powerlaw.PhoIndex": Uniform(0.0, 5.0),
            "powerlaw.norm": LogUniform(1e-5, 1e-2),
        }
    )
    model = spectral_model("tbabs*(bbodyrad + powerlaw)")
    target = make_target((read_observation(path, energy=(0.5, 10.0)),), model, prior)
    fits = find_best_fits(jax.random.key(0), target)
    # Widths of the posterior as in tests/test_reference.py, by an independent program.
    sd = np.array([0.0258, 0.0319, 0.0347, 0.0838, 0.257e-4])
    np.testing.assert_allclose((fits.high - fits.low) / 2, sd, rtol=0.15)
    np.testing.assert_allclose(fits.fisher[0], sd, rtol=0.25)
    assert fits.cstat[0] == pytest.approx(96.4, abs=0.3)
    assert not fits.pegged.any()
