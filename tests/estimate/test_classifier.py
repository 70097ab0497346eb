"""The classifier's part of the prior: exact draws, no loss of what is valid."""

import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import ks_2samp

from jsbi.estimate.classifier import (
    ClassifiedPrior,
    Classifier,
    no_false_negatives,
    restrict_by_classifier,
)
from jsbi.estimate.restrict import (
    LowestStatistic,
    Region,
    TotalCounts,
    expected_spectra,
)
from tests.targets import landscape_target, power_law_target, two_modes

pytestmark = pytest.mark.network

ON_THE_SECOND_DEVICE = """
import jax
from jsbi.estimate.classifier import restrict_by_classifier
from jsbi.estimate.restrict import LowestStatistic
from tests.targets import power_law_target

second = jax.devices()[1]
with jax.default_device(second):
    part = restrict_by_classifier(
        jax.random.key(0), power_law_target(), rule=LowestStatistic(0.25),
        rounds=1, number=300,
    )
print({leaf.device == second for leaf in jax.tree.leaves(part.classifier)})
"""


def normal(number, dimension=2, seed=9):
    return np.random.default_rng(seed).standard_normal((number, dimension))


def posterior_draws(target, number=20_000):
    """Draws by rejection from the prior, weighted: rows and normalised weights."""
    z = normal(number)
    log_likelihood = target.log_likelihood(z)
    weight = np.exp(log_likelihood - log_likelihood.max())
    return z, weight / weight.sum()


@pytest.fixture(scope="module")
def counted():
    target = power_law_target()
    rule = TotalCounts(500, 2000)
    part = restrict_by_classifier(
        jax.random.key(0), target, rule=rule, rounds=4, number=1000
    )
    return target, part


@pytest.mark.slow
def test_what_is_valid_is_kept_and_little_else(counted):
    """Of n draws the least likely is beyond a share 1 / n, and rarely 5 / n, of all."""
    target, part = counted
    z = normal(100_000)
    total = expected_spectra(target, z).sum(1)
    valid = (total > 500) & (total < 2000)
    seen = sum(each.valid * each.simulations for each in part.rounds)
    assert 1 - part.accepts(z[valid]).mean() < 5 / seen
    assert part.accepts(z).mean() < 1.2 * valid.mean()


def test_draws_are_the_prior_times_the_indicator(counted):
    _, part = counted
    direct = normal(100_000)
    direct = direct[part.accepts(direct)]
    drawn = part.sample(jax.random.key(1), 10_000)
    assert part.accepts(drawn).all()
    for direction in ([1.0, 0.0], [0.0, 1.0], [0.6, 0.8]):
        assert ks_2samp(drawn @ direction, direct @ direction).pvalue > 1e-3


def test_the_volume_is_the_share_of_the_prior(counted):
    _, part = counted
    share = part.accepts(normal(200_000)).mean()
    assert abs(part.log_volume - math.log(share)) < 4 * part.log_volume_error
    assert math.isclose(part.volume, math.exp(part.log_volume))


def test_rounds_stop_when_enough_is_valid(counted):
    _, part = counted
    assert len(part.rounds) < 4
    assert part.rounds[-1].valid >= 0.95
    assert part.rounds[0].valid < 0.3


@pytest.mark.slow
def test_the_lowest_statistic_holds_the_posterior_and_cuts_all_rounds_alike():
    target = power_law_target()
    ticks = []
    part = restrict_by_classifier(
        jax.random.key(0),
        target,
        rule=LowestStatistic(0.25),
        rounds=4,
        number=1000,
        tick=ticks.append,
    )
    assert ticks == [1000] * len(part.rounds)
    z, weight = posterior_draws(target, 400_000)
    assert weight @ part.accepts(z) > 0.999
    cuts = [each.high for each in part.rounds]
    assert all(np.diff(cuts) <= 0)
    volumes = [each.log_volume for each in part.rounds]
    assert volumes[-1] < -3
    assert np.all(np.diff(volumes) < 0)


@pytest.mark.slow
def test_both_modes_are_kept():
    target = landscape_target(two_modes)
    part = restrict_by_classifier(
        jax.random.key(0), target, rule=LowestStatistic(0.25), rounds=3, number=2000
    )
    z, weight = posterior_draws(target, 100_000)
    assert weight @ part.accepts(z) > 0.999
    drawn = part.sample(jax.random.key(1), 2000)
    assert 0.4 < (drawn[:, 0] > 0).mean() < 0.6


def test_later_rounds_do_not_cut_into_the_posterior():
    """The cut stays above the lowest statistic by the width of the posterior."""
    rule = LowestStatistic(0.25)
    near = np.linspace(50.0, 60.0, 100)
    assert rule.narrow((-math.inf, 1e3), near, 2)[1] > 75
    far = np.linspace(50.0, 5050.0, 101)
    assert rule.narrow((-math.inf, math.inf), far, 2) == (-math.inf, 1300.0)
    assert rule.narrow((-math.inf, 700.0), far, 2) == (-math.inf, 700.0)


def test_the_threshold_is_below_every_valid_draw_by_the_german_tank_rule():
    odds = np.log(np.array([0.97, 0.98, 0.999]) / (1 - np.array([0.97, 0.98, 0.999])))
    published = 1 - 0.03 * (1 + 1 / 3)
    assert np.isclose(expit(no_false_negatives(odds)), published, atol=1e-3)
    doubtful = np.append(odds, -9.0)
    assert -9.0 * 1.3 < no_false_negatives(doubtful) < -9.0


def test_without_a_threshold_everything_is_accepted():
    region = Region(jnp.zeros(3), jnp.eye(3))
    part = ClassifiedPrior(Classifier(jax.random.key(0), region), -math.inf)
    assert part.accepts(normal(100, 3)).all()
    assert part.volume == 1.0
    assert part.accepts(np.empty((0, 3))).shape == (0,)


def test_a_rule_that_nothing_obeys_is_refused():
    rule = TotalCounts(1e7, 1e8)
    with pytest.raises(ValueError, match="needs 50 valid simulations; got 0 of 500"):
        restrict_by_classifier(
            jax.random.key(0), power_law_target(), rule=rule, number=500
        )


@pytest.mark.parametrize("share", [0.0, 1.0, 25.0])
def test_shares_are_fractions(share):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        LowestStatistic(share)


def test_an_empty_interval_of_counts_is_refused():
    with pytest.raises(ValueError, match="larger `high`; got 100 and 10"):
        TotalCounts(100, 10)


@pytest.mark.slow
def test_the_classifier_lives_on_the_device_that_is_chosen():
    two = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    result = subprocess.run(
        [sys.executable, "-c", ON_THE_SECOND_DEVICE],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | two,
    )
    assert result.stdout.strip() == "{True}"
