"""Draws from parts of the prior are exact, and their volumes are right."""

import math

import jax
import numpy as np
import pytest
from scipy.stats import chi2, ks_2samp, kstest, ncx2

from jsbi.estimate.restrict import WholePrior
from jsbi.estimate.truncate import EllipsoidUnion, fit_ellipsoids, truncate


def ball(centre, radius):
    """One ball as a union."""
    centre = np.asarray(centre, float)
    return EllipsoidUnion(centre[None], radius * np.eye(len(centre))[None])


def rotated(angle, axes):
    """A map of the unit disc to an ellipse."""
    turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    return np.array(turn) @ np.diag(axes)


OVERLAPPING = EllipsoidUnion(
    np.array([[0.5, 0.3], [0.9, -0.4], [-1.5, 1.0]]),
    np.stack([rotated(0.5, [1.2, 0.3]), rotated(-0.7, [0.9, 0.5]), 0.5 * np.eye(2)]),
)


@pytest.mark.parametrize(
    ("dimension", "offset", "radius"),
    [(1, 2.5, 0.3), (2, 0.0, 0.5), (2, 4.0, 1.0), (10, 1.0, 2.0), (20, 3.0, 1.5)],
)
def test_a_ball_holds_the_share_of_a_chi_square_distribution(dimension, offset, radius):
    """The squared distance from any point is chi-square, noncentral by the offset."""
    centre = np.full(dimension, offset / math.sqrt(dimension))
    part = truncate(jax.random.key(0), ball(centre, radius), WholePrior(dimension))
    law = chi2(dimension) if offset == 0 else ncx2(dimension, offset**2)
    truth = law.logcdf(radius**2)
    assert part.log_volume_error < 0.03
    assert abs(part.log_volume - truth) < 4 * part.log_volume_error + 1e-6
    z = part.sample(jax.random.key(1), 4000)
    squared = ((z - centre) ** 2).sum(1)
    assert kstest(law.cdf(squared) / law.cdf(radius**2), "uniform").pvalue > 1e-3


def test_draws_from_overlapping_ellipsoids_match_rejection_from_the_prior():
    part = truncate(jax.random.key(0), OVERLAPPING, WholePrior(2))
    normal = np.random.default_rng(1).standard_normal((400_000, 2))
    direct = normal[OVERLAPPING.contains(normal)]
    error = math.hypot(part.log_volume_error, 1 / math.sqrt(len(direct)))
    assert abs(part.log_volume - math.log(len(direct) / len(normal))) < 4 * error
    z = part.sample(jax.random.key(2), 20_000)
    assert OVERLAPPING.contains(z).all()
    for direction in ([1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.6, -0.8]):
        assert ks_2samp(z @ direction, direct @ direction).pvalue > 1e-3
    multiple = [(OVERLAPPING.distances(each) <= 1).sum(0) > 1 for each in (z, direct)]
    share = multiple[1].mean()
    assert abs(multiple[0].mean() - share) < 4 * math.sqrt(share / len(z))


@pytest.mark.parametrize("dimension", [5, 10, 20])
def test_a_small_ball_accepts_one_candidate_in_a_few(dimension):
    union = ball(np.full(dimension, 0.4), 1e-3)
    part = truncate(jax.random.key(0), union, WholePrior(dimension))
    assert np.isclose(part.acceptance, 1 / math.sqrt(math.pi * dimension), rtol=0.1)


def test_a_ball_around_everything_is_the_prior():
    part = truncate(jax.random.key(0), ball([0.0, 0.0], 30.0), WholePrior(2))
    assert abs(part.log_volume) < 1e-9
    assert part.log_volume_error == 0.0
    assert math.isclose(part.acceptance, 1.0)
    assert kstest(part.sample(jax.random.key(1), 5000)[:, 0], "norm").pvalue > 1e-3


def test_a_part_within_a_part_is_their_intersection():
    outer = truncate(jax.random.key(0), ball([0.0, 0.0], 1.0), WholePrior(2))
    inner = truncate(jax.random.key(1), ball([1.0, 0.0], 1.0), outer)
    normal = np.random.default_rng(2).standard_normal((400_000, 2))
    direct = normal[inner.accepts(normal)]
    assert np.all((direct**2).sum(1) <= 1)
    assert np.all(((direct - [1.0, 0.0]) ** 2).sum(1) <= 1)
    assert abs(inner.log_volume - math.log(len(direct) / len(normal))) < 0.03
    z = inner.sample(jax.random.key(3), 20_000)
    for axis in range(2):
        assert ks_2samp(z[:, axis], direct[:, axis]).pvalue > 1e-3


def test_parts_with_nothing_in_common_are_refused():
    outer = truncate(jax.random.key(0), ball([0.0, 0.0], 1.0), WholePrior(2))
    with pytest.raises(ValueError, match="only 0 lie in them and in the part"):
        truncate(jax.random.key(1), ball([3.0, 0.0], 1.0), outer)


def test_separate_modes_get_their_own_ellipsoids():
    generator = np.random.default_rng(0)
    normal = generator.standard_normal((4000, 4))
    modes = np.array([[0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0], [0.0, 4.0, 0.0, 0.0]])
    which = generator.choice(3, len(normal), p=[0.6, 0.37, 0.03])
    z = modes[which] + 0.15 * normal
    union = fit_ellipsoids(jax.random.key(0), z)
    assert len(union.centre) == 3
    assert union.contains(z).all()
    assert not union.contains(
        np.array([[1.5, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]])
    ).any()


def test_one_mode_stays_one_ellipsoid():
    z = np.random.default_rng(0).standard_normal((5000, 6))
    assert len(fit_ellipsoids(jax.random.key(0), z).centre) == 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dimension", [2, 5, 10, 20])
def test_ellipsoids_outlast_an_estimate_that_is_off_and_too_narrow(dimension, seed):
    """Draws a fifth too narrow and a third of a width off; 0.999 of the truth stays."""
    generator = np.random.default_rng(seed)
    draws = generator.standard_normal((10_000, dimension))
    radius = (draws**2).sum(1)
    draws = 0.8 * draws[radius < np.quantile(radius, 1 - 1e-4)]
    draws[:, 0] += 0.33
    truth = generator.standard_normal((100_000, dimension))
    union = fit_ellipsoids(jax.random.key(0), draws)
    assert union.contains(truth).mean() > 0.999


def test_too_few_draws_are_refused():
    with pytest.raises(ValueError, match="more than 6 draws; got 6"):
        fit_ellipsoids(jax.random.key(0), np.zeros((6, 3)))
