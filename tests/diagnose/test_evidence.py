"""Bayes factors against quadrature, Jeffreys' words, and other data refused."""

import dataclasses

import jax
import numpy as np
import pytest

from jsbi.correct import mixture_rung
from jsbi.data import perfect_log_likelihood
from jsbi.diagnose.evidence import BayesFactor, bayes_factor, rank_models
from jsbi.posterior import Posterior
from jsbi.progress import Progress
from jsbi.simulate import LogUniform, Prior, Simulator, Target, Uniform
from tests.targets import grid_answer, power_law_target


def fit(target):
    return mixture_rung(
        jax.random.key(0),
        target,
        enough=2000.0,
        log_perfect=perfect_log_likelihood(np.asarray(target.counts, float)),
        progress=Progress(False),
    ).posterior


@pytest.fixture(scope="module")
def targets():
    """One spectrum under two priors of the same model."""
    wide = power_law_target()
    prior = Prior(
        {
            "tbabs.nH": 0.1,
            "powerlaw.PhoIndex": Uniform(1.5, 2.5),
            "powerlaw.norm": LogUniform(1e-3, 1e-2),
        }
    )
    simulator = Simulator(prior, wide.simulator.model, wide.simulator.folders)
    return wide, Target(simulator, np.asarray(wide.counts))


@pytest.fixture(scope="module")
def posteriors(targets):
    return tuple(map(fit, targets))


def made(log_evidence=-100.0, error=0.01, dimension=2, cstat=60.0, seed=0):
    z = 0.1 * np.random.default_rng(seed).normal(size=(500, dimension))
    return Posterior(
        names=tuple(f"p{i}" for i in range(dimension)),
        z=z,
        values=z,
        log_weight=np.full(500, -np.log(500)),
        log_likelihood=-0.5 * cstat - 50 * (z**2).sum(1),
        effective_draws=500.0,
        log_evidence=log_evidence,
        log_evidence_error=error,
        method="mixture",
    )


def test_it_is_the_difference_of_the_evidences_by_quadrature(targets, posteriors):
    wide, narrow = (grid_answer(target)[0] for target in targets)
    factor = bayes_factor(posteriors[1], posteriors[0], ("narrow", "wide"))
    assert 0 < factor.error < 0.05
    assert abs(factor.log - (narrow - wide)) < 4 * factor.error + 1e-3
    # The data know both parameters: only the widths of the priors differ.
    assert abs(factor.log_fit) < 0.1
    np.testing.assert_allclose(factor.log_occam, np.log(4 * 3), atol=0.1)


def test_the_other_way_round_it_is_the_opposite(posteriors):
    there = bayes_factor(*posteriors, ("a", "b"))
    back = bayes_factor(*posteriors[::-1], ("b", "a"))
    np.testing.assert_allclose(there.log, -back.log)
    np.testing.assert_allclose(there.probability + back.probability, 1.0)
    assert there.sentence == back.sentence


@pytest.mark.parametrize(
    ("factor", "grade"),
    [(2.9, "not worth"), (3.3, "substantial"), (11, "strong"), (40, "very strong")],
)
def test_grades_end_at_the_half_powers_of_ten(factor, grade):
    assert BayesFactor(np.log(factor), 0.01, 0.0).grade.startswith(grade)
    assert BayesFactor(-np.log(factor), 0.01, 0.0).grade.startswith(grade)
    assert BayesFactor(np.log(101), 0.01, 0.0).grade == "decisive"


def test_an_error_as_large_as_the_factor_is_said():
    assert "not let" in BayesFactor(2.0, 1.5, 0.0).sentence
    assert "decisive" in BayesFactor(-500.0, 1.5, 0.0).sentence


def test_probabilities_of_far_apart_models_do_not_overflow():
    assert BayesFactor(5000.0, 0.1, 0.0).probability == 1.0
    assert BayesFactor(-5000.0, 0.1, 0.0).probability == 0.0


def test_the_implied_normalisation_is_that_of_the_data(targets, posteriors):
    from jsbi.diagnose.evidence import _log_perfect

    answer = perfect_log_likelihood(np.asarray(targets[0].counts, float))
    for posterior in posteriors:
        np.testing.assert_allclose(_log_perfect(posterior), answer, atol=0.3)


def test_other_data_are_refused(posteriors):
    other = dataclasses.replace(
        posteriors[1], log_evidence=posteriors[1].log_evidence - 200.0
    )
    with pytest.raises(ValueError, match="same data"):
        bayes_factor(posteriors[0], other)


def test_an_unknown_evidence_is_refused():
    with pytest.raises(ValueError, match=r"ln Z and its error.*chains"):
        bayes_factor(made(), made(log_evidence=np.nan))
    with pytest.raises(ValueError, match="that of second"):
        bayes_factor(made(), made(error=np.nan))


def test_without_reports_what_was_not_checked_is_said():
    assert "could not be compared" in bayes_factor(made(), made()).notes[0]


def test_a_ranking_holds_all_differences():
    ranking = rank_models(
        {"a": made(-103.0), "b": made(-100.0), "c": made(-101.0, 0.3)}
    )
    assert ranking.names == ("b", "c", "a")
    np.testing.assert_allclose(ranking.log_bayes, [0.0, -1.0, -3.0])
    np.testing.assert_allclose(ranking.error[1], np.hypot(0.3, 0.01))
    odds = np.exp([0.0, -1.0, -3.0])
    np.testing.assert_allclose(ranking.probability, odds / odds.sum())
    assert [line.split()[0] for line in str(ranking).splitlines()[1:4]] == [*"bca"]
