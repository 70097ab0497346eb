"""What can be read from a summary, and what cannot."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.compress import Compressor, FisherScores
from jsbi.diagnose.retriever import (
    Retrieval,
    retrieve_parameters,
    van_trees_bound,
)
from jsbi.posterior import Posterior
from jsbi.simulate import Simulator
from jsbi.simulate.source import Source, without_context
from tests.targets import power_law_target

pytestmark = pytest.mark.network
CENTRE, WIDTH = np.array([0.1, 0.2]), 0.03


class Around(Source):
    """Coordinates in a part of the prior where the scores are linear enough."""

    simulator: Simulator

    def draw(self, key, number):
        normal = jax.random.normal(key, (number, 2))
        z = jnp.asarray(CENTRE, normal.dtype)[None] + WIDTH * normal
        return without_context(z, jax.vmap(self.simulator.expected_counts)(z))


class Total(Compressor):
    """The root of the total alone, which is one number for two parameters."""

    def __call__(self, counts):
        return jnp.sqrt(counts.sum())[None]


def retrieve(summary, steps, posterior=None):
    simulator = power_law_target().simulator
    if summary is None:
        place = jnp.asarray(CENTRE, jnp.float32)[None]
        summary = FisherScores(simulator, place)
    return retrieve_parameters(
        jax.random.key(0),
        summary,
        Around(simulator),
        simulator,
        posterior=posterior,
        steps=steps,
        held_out=800,
        width=32,
    )


@pytest.fixture(scope="module")
def complete():
    """With a posterior of two draws, of which one has three quarters of the weight."""
    posterior = Posterior(
        names=("powerlaw.PhoIndex", "powerlaw.norm"),
        z=np.array([[0.0, 1.0], [0.1, 1.0]]),
        values=np.ones((2, 2)),
        log_weight=np.log([0.25, 0.75]),
        log_likelihood=np.zeros(2),
        effective_draws=1.6,
    )
    return retrieve(None, 400, posterior)


@pytest.mark.slow
def test_sufficient_scores_reach_the_bound(complete):
    np.testing.assert_allclose(complete.residual_to_bound, 1.0, atol=0.12)
    np.testing.assert_allclose(complete.local_sd, complete.bound_sd, rtol=0.01)
    assert np.all(complete.residual_to_prior < 0.8)
    assert complete.names == ("powerlaw.PhoIndex", "powerlaw.norm")


@pytest.mark.slow
def test_slope_is_the_share_of_variance_that_the_data_explain(complete):
    """For normal posteriors it is 1 - (posterior sd / prior sd)^2."""
    explained = 1 - (complete.bound_sd / complete.prior_sd) ** 2
    np.testing.assert_allclose(complete.slope, explained, atol=0.05)
    np.testing.assert_allclose(complete.correlation, np.sqrt(explained), atol=0.03)


@pytest.mark.slow
def test_the_bound_is_the_posterior_width_of_a_normal_problem(complete):
    """Between the information at the centre and what grows with the counts around."""
    simulator = power_law_target().simulator
    place = jnp.asarray(CENTRE, jnp.float32)
    slope = np.asarray(jax.jacfwd(simulator.expected_counts)(place), np.float64)
    expected = np.asarray(simulator.expected_counts(place), np.float64)
    information = slope.T @ (slope / expected[:, None]) + np.eye(2) / WIDTH**2
    width = np.sqrt(np.diag(np.linalg.inv(information)))
    np.testing.assert_allclose(complete.bound_sd, width, rtol=0.08)


@pytest.mark.slow
def test_widths_of_the_posterior_are_those_of_its_weighted_draws(complete):
    expected = 0.1 * np.sqrt(0.25 * 0.75)
    np.testing.assert_allclose(complete.posterior_sd, [expected, 0.0], atol=1e-12)


@pytest.mark.slow
def test_a_posterior_of_other_parameters_is_refused(complete):
    other = Posterior(
        names=("a", "b"),
        z=np.zeros((1, 2)),
        values=np.zeros((1, 2)),
        log_weight=np.zeros(1),
        log_likelihood=np.zeros(1),
        effective_draws=1.0,
    )
    with pytest.raises(ValueError, match="powerlaw.norm; got a, b"):
        retrieve(None, 100, other)


def test_no_estimate_beats_van_trees_bound():
    """Not even the posterior mean, here of a datum of mean z and precision e^(2 z / 3).

    It comes near, but the bound is not tight where the information varies.
    """
    generator = np.random.default_rng(0)
    grid = np.linspace(-8, 8, 1601)
    z = generator.standard_normal(4000)
    precision = np.exp(2 * z / 3)
    datum = z + generator.standard_normal(4000) / np.sqrt(precision)
    apart = datum[:, None] - grid
    density = grid / 3 - 0.5 * np.exp(2 * grid / 3) * apart**2 - 0.5 * grid**2
    weight = np.exp(density - density.max(1, keepdims=True))
    error = (weight @ grid) / weight.sum(1) - z
    # Of a normal mean and of its precision, whose logarithm has the slope 2 / 3.
    information = precision + 0.5 * (2 / 3) ** 2
    bound = van_trees_bound(information[:, None, None], np.eye(1))
    exact = np.exp(2 / 9) + 2 / 9 + 1
    np.testing.assert_allclose(bound, exact**-0.5, rtol=0.02)
    assert 1.0 < np.sqrt((error**2).mean()) / bound[0] < 1.25


@pytest.mark.slow
def test_a_summary_that_loses_information_is_found_out():
    lost = retrieve(Total(), 200)
    assert np.max(lost.residual_to_bound) > 1.5
    assert np.all(lost.residual_to_prior < 1.05)


def known(retrieved):
    true = np.random.default_rng(0).standard_normal((5000, 2))
    return Retrieval(
        names=("first", "a_long_name_of_a_parameter"),
        true=true,
        retrieved=retrieved(true),
        prior_sd=np.ones(2),
        bound_sd=np.array([0.1, 1.0]),
        local_sd=np.array([0.2, 1.0]),
    )


def test_numbers_of_perfect_and_of_no_retrieval():
    retrieval = known(lambda true: true * [1.0, 0.0])
    np.testing.assert_allclose(retrieval.slope, [1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(retrieval.correlation, [1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(retrieval.residual_to_prior, [0.0, 1.0], atol=0.03)


def test_numbers_of_noisy_retrieval():
    noise = 0.5 * np.random.default_rng(1).standard_normal((5000, 2))
    retrieval = known(lambda true: 0.8 * true + noise)
    np.testing.assert_allclose(retrieval.slope, 0.8, atol=0.03)
    expected = 0.8 / np.hypot(0.8, 0.5)
    np.testing.assert_allclose(retrieval.correlation, expected, atol=0.02)
    residual = np.hypot(0.2, 0.5)
    np.testing.assert_allclose(retrieval.residual_sd, residual, rtol=0.04)
    np.testing.assert_allclose(
        retrieval.residual_to_bound, [10 * residual, residual], rtol=0.04
    )
    np.testing.assert_allclose(
        retrieval.residual_to_local, [5 * residual, residual], rtol=0.04
    )
    assert retrieval.residual_to_posterior is None
    beside = dataclasses.replace(retrieval, posterior_sd=np.array([0.5, 2.0]))
    assert beside.residual_to_posterior is not None
    np.testing.assert_allclose(
        beside.residual_to_posterior, [2 * residual, 0.5 * residual], rtol=0.04
    )


def test_the_table_has_a_line_per_parameter():
    retrieval = known(lambda true: true)
    beside = dataclasses.replace(retrieval, posterior_sd=np.ones(2))
    for table, numbers in ((retrieval, 3), (beside, 4)):
        lines = str(table).splitlines()
        assert len(lines) == 3
        assert len({len(line) for line in lines}) == 1
        assert lines[1].split() == ["first", "1.000", "1.000", *["0.000"] * numbers]
    assert lines[0].endswith("residual/posterior")
