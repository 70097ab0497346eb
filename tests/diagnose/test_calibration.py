"""Ranks of the truth in exact, weighted and broken posteriors of a normal problem."""

import dataclasses
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, norm

from jsbi.diagnose.calibration import (
    DENSITY,
    LIKELIHOOD,
    TARP,
    Calibration,
    _distances,
    binomial_band,
    bootstrap_band,
    gather,
    rank_truth,
    unweighted,
)
from jsbi.diagnose.uniformity import (
    POINTS,
    distribution,
    holm,
    uniform_band,
    uniformity,
)
from jsbi.posterior import Posterior
from jsbi.weights import effective_draws

NAMES = ("first", "second")
# Of the data given z: both parameters are correlated in the posterior.
DESIGN = np.array([[3.0, 2.5], [0.0, 0.7]])
COVARIANCE = np.linalg.inv(DESIGN.T @ DESIGN + np.eye(2))
FACTOR = np.linalg.cholesky(COVARIANCE)


def fit(z, data):
    """Log-likelihood of unit normal noise."""
    return -0.5 * ((data - z @ DESIGN.T) ** 2).sum(-1)


def posterior_of(z, data, log_weight=None):
    log_weight = np.zeros(len(z)) if log_weight is None else log_weight
    log_weight = log_weight - np.logaddexp.reduce(log_weight)
    return Posterior(
        names=NAMES,
        z=z,
        values=z,
        log_weight=log_weight,
        log_likelihood=fit(z, data),
        effective_draws=effective_draws(log_weight),
    )


def exact(generator, mean):
    return mean + generator.standard_normal((DRAWS, 2)) @ FACTOR.T


def narrow(generator, mean):
    return mean + 0.8 * (exact(generator, mean) - mean)


def wide(generator, mean):
    return mean + 1.25 * (exact(generator, mean) - mean)


def shifted(generator, mean):
    return exact(generator, mean) + 0.3 * np.sqrt(np.diag(COVARIANCE))


def prior(generator, mean):
    return generator.standard_normal((DRAWS, 2))


def swapped(generator, mean):
    """The second parameter is that of other data."""
    z = exact(generator, mean)
    z[:, 1] = generator.standard_normal(DRAWS)
    return z


def uncorrelated(generator, mean):
    z = exact(generator, mean)
    z[:, 1] = generator.permutation(z[:, 1])
    return z


DRAWS = 200


def problem(generator):
    """A truth from the prior, its data and the posterior mean."""
    truth = generator.standard_normal(2)
    data = DESIGN @ truth + generator.standard_normal(2)
    return truth, data, COVARIANCE @ DESIGN.T @ data


def trials(make, number, seed=0):
    generator = np.random.default_rng(seed)
    for _ in range(number):
        truth, data, mean = problem(generator)
        posterior = posterior_of(make(generator, mean), data)
        yield rank_truth(generator, posterior, truth, float(fit(truth, data)))


@pytest.fixture(scope="module")
def many():
    """Enough trials of exact posteriors to split."""
    return gather(NAMES, trials(exact, 6000))


def test_exact_posteriors_pass_at_the_stated_rate(many):
    parts = np.split(np.arange(many.trials), 100)
    alarms = sum(not many.where(part).passed(0.1) for part in parts)
    assert binom.ppf(1e-3, 100, 0.04) <= alarms <= binom.ppf(0.999, 100, 0.1)
    assert many.passed(1e-3)
    assert many.reasons(1e-3) == ()


def test_what_the_table_says_of_exact_posteriors(many):
    for quantity in many.quantities:
        assert abs(many.of(quantity).mean() - 0.5) < 4 * np.sqrt(1 / 12 / many.trials)
    np.testing.assert_allclose(many.central(0.68), 0.68, atol=0.02)
    levels = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(many.coverage(levels), levels, atol=0.02)
    np.testing.assert_allclose(many.z_score.std(0), 1.0, atol=0.03)
    contraction = 1 - np.diag(COVARIANCE)
    np.testing.assert_allclose(many.contraction.mean(0), contraction, atol=0.01)
    lines = str(many).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == list(NAMES)
    assert len({len(line) for line in lines[:3]}) == 1
    assert "68 % hold the truth in" in lines[-2]


# What each must be caught by, in so many trials, and a word of the reason.
BROKEN = {
    narrow: (500, ("first", "second", DENSITY), "too narrow"),
    wide: (500, ("first", "second", DENSITY), "too wide"),
    shifted: (500, ("first", "second"), "too high"),
    prior: (50, (LIKELIHOOD, DENSITY, TARP), "blind to data"),
    swapped: (500, (LIKELIHOOD, TARP), "displaced"),
    uncorrelated: (500, (LIKELIHOOD, DENSITY, TARP), "displaced"),
}


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_broken_posteriors_are_caught_by_the_right_quantities(make):
    number, blamed, word = BROKEN[make]
    broken = gather(NAMES, trials(make, number, seed=1))
    assert not broken.passed()
    found = dict(zip(broken.quantities, broken.adjusted, strict=True))
    assert all(found[name] <= 0.01 for name in blamed), found
    assert word in " ".join(broken.reasons())
    assert "not" not in repr(broken)


def test_each_parameter_by_itself_sees_neither_the_prior_nor_lost_correlations():
    """Why the quantities that depend on the data are there."""
    for make in (prior, uncorrelated):
        broken = gather(NAMES, trials(make, 500, seed=2))
        assert broken.adjusted[:2].min() > 0.01


def proposed(generator, number, width):
    """Posteriors from a proposal that is too wide, with importance weights."""
    for _ in range(number):
        truth, data, mean = problem(generator)
        white = width * generator.standard_normal((DRAWS, 2))
        own = np.linalg.solve(FACTOR, truth - mean)
        log_weight = -0.5 * (white**2).sum(1) * (1 - width**-2)
        posterior = posterior_of(mean + white @ FACTOR.T, data, log_weight)
        shift = posterior.log_weight[0] - log_weight[0]
        own_weight = -0.5 * (own**2).sum() * (1 - width**-2) + shift
        yield posterior, truth, float(fit(truth, data)), float(own_weight)


def test_weights_make_a_wide_proposal_exact():
    generator = np.random.default_rng(3)
    pairs = [
        (
            rank_truth(generator, posterior, truth, known),
            rank_truth(generator, unweighted(posterior), truth, known),
        )
        for posterior, truth, known, _ in proposed(generator, 1000, 2.0)
    ]
    after, before = (gather(NAMES, part) for part in zip(*pairs, strict=True))
    assert np.median(after.effective_draws) < 100
    assert after.passed()
    assert not before.passed()
    assert "too wide" in " ".join(before.reasons())
    assert before.effective_draws.max() == DRAWS > after.effective_draws.max()


@pytest.mark.slow
@pytest.mark.parametrize("draws", [3, 20])
def test_few_equal_draws_give_uniform_ranks(draws):
    generator = np.random.default_rng(4)

    def ranked():
        for _ in range(5000):
            truth, data, mean = problem(generator)
            z = mean + generator.standard_normal((draws, 2)) @ FACTOR.T
            yield rank_truth(
                generator, posterior_of(z, data), truth, float(fit(truth, data))
            )

    assert gather(NAMES, ranked()).passed(1e-3)


def few_weighted(generator, number, draws, known):
    """Ranks among few weighted draws, with the truth's own weight or without."""
    for posterior, truth, own_fit, own in proposed(generator, number, 3.0):
        kept = posterior.log_weight[:draws]
        total = np.logaddexp.reduce(kept)
        few = dataclasses.replace(
            posterior,
            z=posterior.z[:draws],
            values=posterior.z[:draws],
            log_likelihood=posterior.log_likelihood[:draws],
            log_weight=kept - total,
            effective_draws=effective_draws(kept),
        )
        own = float(own - total) if known else None
        yield rank_truth(generator, few, truth, own_fit, log_weight=own)


def test_the_truths_own_weight_makes_ranks_exact_for_any_number_of_draws():
    generator = np.random.default_rng(5)
    assert gather(NAMES, few_weighted(generator, 5000, 4, True)).passed(1e-3)
    assert not gather(NAMES, few_weighted(generator, 5000, 4, False)).passed(1e-3)


def test_distances_of_tarp_do_not_depend_on_the_scale_of_a_parameter():
    """References live on the scale of the draws, so that no parameter hides others."""
    z = np.random.default_rng(4).standard_normal((200, 2))
    weight, fitted = np.full(200, 1 / 200), -0.5 * (z**2).sum(1)
    plain, scaled = (
        _distances(np.random.default_rng(5), z * scale, weight, fitted)
        for scale in ([1.0, 1.0], [1e-3, 1e3])
    )
    np.testing.assert_allclose(scaled, plain, rtol=1e-9)


def test_ties_are_in_random_order():
    """A likelihood that knows two values only."""
    generator = np.random.default_rng(7)

    def ranked():
        for _ in range(3000):
            truth, z = generator.standard_normal(2), generator.standard_normal((30, 2))
            posterior = dataclasses.replace(
                posterior_of(z, np.zeros(2)), log_likelihood=(z[:, 0] > 0) * 0.0
            )
            yield rank_truth(generator, posterior, truth, 0.0)

    assert gather(NAMES, ranked()).passed(1e-3)


def test_p_values_are_those_of_counting_all_cases():
    """Of two numbers in the hundred parts, which are all as likely."""
    at = np.arange(1, POINTS) / POINTS

    def statistic(ranks):
        below = (ranks[..., None] < at).sum(-2)
        tails = np.minimum(binom.cdf(below, 2, at), binom.sf(below - 1, 2, at))
        return tails.min(-1)

    middles = (np.arange(POINTS) + 0.5) / POINTS
    cases = statistic(np.array(list(product(middles, repeat=2))))
    for own in (middles[[3, 40]], middles[[97, 99]], middles[[20, 30]]):
        chance = (cases <= statistic(own) * (1 + 1e-9)).mean()
        assert 0 < chance < 1
        assert uniformity(own) == pytest.approx(chance, rel=1e-9)


@pytest.mark.parametrize("number", [5, 60, 400])
def test_the_false_alarm_rate_is_exact(number):
    generator = np.random.default_rng(8)
    p_values = np.array([uniformity(generator.random(number)) for _ in range(4000)])
    for level in (0.02, 0.2, 0.6):
        share = (p_values <= level).mean()
        assert share <= level + 4 * np.sqrt(level * (1 - level) / 4000)
        if number > 50:  # discrete numbers of cases reach the level nearly
            assert share >= 0.8 * level - 4 * np.sqrt(level * (1 - level) / 4000)


def test_tiny_p_values_are_neither_zero_nor_negative():
    p_value = uniformity(np.full(1000, 0.5))
    assert 0 < p_value < 1e-100


@pytest.mark.parametrize("number", [1, 30, 250])
def test_leaving_the_band_is_a_small_p_value(number):
    generator = np.random.default_rng(9)
    band = uniform_band(number, 0.095)
    left = []
    for _ in range(300):
        rank = generator.random(number) ** generator.choice([0.7, 1.0, 1.5])
        share = distribution(rank)[1]
        outside = (share < band.low - 1e-9) | (share > band.high + 1e-9)
        left.append(outside.any())
        assert outside.any() == (uniformity(rank) <= 0.095)
    assert number == 1 or 0.05 < np.mean(left) < 0.95


def test_more_power_than_kolmogorov_and_smirnov_against_wrong_widths():
    generator = np.random.default_rng(10)
    ranks = norm.cdf(generator.standard_normal((200, 300)) / 0.8)
    caught = np.mean([uniformity(rank) <= 0.01 for rank in ranks])
    assert caught > 0.7


@pytest.mark.parametrize("number", [12, 50, 500])
def test_a_displacement_by_what_is_stated_is_noticed_in_half_of_all_cases(many, number):
    distance = many.where(np.arange(number)).displacement()
    generator = np.random.default_rng(13)
    rank = norm.cdf(generator.standard_normal((400, number)) + distance)
    p_values = np.array([uniformity(each) for each in rank])
    caught = (p_values <= 0.01 / len(many.quantities)).mean()
    assert caught == pytest.approx(0.5, abs=0.08)


def test_a_single_trial_notices_nothing(many):
    one = many.where(np.arange(1))
    assert one.displacement() == np.inf
    assert "notice no displacement, however large" in str(one)


def test_holm_steps_down():
    adjusted = holm(np.array([0.04, 0.001, 0.03, 0.5]))
    np.testing.assert_allclose(adjusted, [0.09, 0.004, 0.09, 0.5])
    assert holm(np.array([0.9, 0.8])).max() == 1.0


def test_bands_hold_what_they_say():
    levels = np.array([0.1, 0.5, 0.95])
    low, high = binomial_band(50, levels)
    chance = binom.cdf(50 * high, 50, levels) - binom.cdf(50 * low - 1, 50, levels)
    assert np.all((chance >= 0.95) & (chance < 0.99))
    rank = np.random.default_rng(11).random(400)
    low, high = bootstrap_band(rank)
    middle, share = (POINTS - 1) // 2, distribution(rank)[1]
    assert low[middle] < share[middle] < high[middle]
    width = 2 * 1.96 * np.sqrt(0.25 / 400)
    assert high[middle] - low[middle] == pytest.approx(width, rel=0.2)


def test_no_trials_are_refused():
    with pytest.raises(ValueError, match="at least one trial"):
        gather(NAMES, [])


def test_a_summary_that_json_can_hold(many):
    summary = many.summary()
    assert list(summary) == list(many.quantities)
    assert isinstance(many, Calibration)
    for row in summary.values():
        assert all(type(value) is float for value in row.values())
