"""Many spectra at once: exact weights for each, whatever the others are."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.compress import ScaledCounts
from jsbi.correct import draw_many, many
from jsbi.estimate import (
    FixedFrame,
    ModeFrame,
    PointEstimate,
    PosteriorEstimator,
    Region,
    make_flow,
    stack,
)
from jsbi.simulate import Target, make_conditions, under
from jsbi.weights import effective_draws, log_evidence, pareto_k
from tests.targets import grid_answer, power_law_target

pytestmark = [
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.usefixtures("reused_keys"),
]
DRAWS = 4000
EXPOSURES = (0.2, 1.0, 10.0)
SCALES = (1.0, 0.5, 2.0)


@pytest.fixture(scope="module")
def problem():
    """Three spectra under three conditions."""
    simulator = power_law_target().simulator
    conditions = make_conditions(
        60, exposure=(0.1, 10), background=np.full(60, 4.0), scale=(0.5, 2)
    )
    contexts = np.stack(
        [conditions.context(*each) for each in zip(EXPOSURES, SCALES, strict=True)]
    )
    generator = np.random.default_rng(0)
    targets = []
    for context in contexts:
        here = under(simulator, conditions, jnp.asarray(context, jnp.float32))
        blank = Target(here, np.zeros(60))
        expected = blank.expected_counts(np.array([0.1, 0.2]))
        targets.append(Target(here, generator.poisson(expected).astype(float)))
    return simulator, conditions, contexts, targets


def estimator_of(frame, conditions, example):
    """An untrained flow: of about the frame's width, and wrong in shape."""
    features = example.shape[1] + 1 + 2 + len(frame.describe(Region(*unit())))
    flow = make_flow(jax.random.key(1), 2, features, layers=2, width=8)
    compressor = ScaledCounts(example)
    return PosteriorEstimator(stack([compressor]), stack([flow]), frame, 1)


def unit():
    return jnp.zeros(2), jnp.eye(2)


@pytest.fixture(scope="module")
def estimator(problem):
    simulator, conditions, _, targets = problem
    example = jnp.stack([target.counts for target in targets])
    head = eqx.nn.MLP(63, 2, 4, 1, key=jax.random.key(0))
    head = jax.tree.map(lambda leaf: 0 * leaf if eqx.is_array(leaf) else leaf, head)
    guess = PointEstimate(ScaledCounts(example), head)
    return estimator_of(ModeFrame(guess, simulator, conditions), conditions, example)


@pytest.fixture
def two_at_once(monkeypatch):
    monkeypatch.setattr(many, "SPECTRA", 2)


def drawn(estimator, problem, counts=None, seed=2):
    simulator, conditions, contexts, targets = problem
    if counts is None:
        counts = np.stack([np.asarray(target.counts, float) for target in targets])
    return list(
        draw_many(
            jax.random.key(seed),
            estimator,
            simulator,
            conditions,
            counts,
            contexts,
            draws=DRAWS,
        )
    )


def check(weighted, target):
    truth, mean, sd = grid_answer(target)
    evidence, error = log_evidence(weighted.log_ratio)
    weight = np.exp(weighted.log_ratio - np.logaddexp.reduce(weighted.log_ratio))
    found = weight @ weighted.z
    width = np.sqrt(weight @ (weighted.z - found) ** 2)
    allowed = 5 / np.sqrt(effective_draws(weighted.log_ratio))
    assert abs(evidence - truth) < 5 * error
    assert np.all(np.abs(found - mean) / sd < allowed)
    assert np.all(np.abs(width / sd - 1) < allowed)


def test_every_spectrum_has_the_answer_of_the_quadrature(
    estimator, problem, two_at_once
):
    spectra = drawn(estimator, problem)
    assert len(spectra) == 3
    for weighted, target in zip(spectra, problem[3], strict=True):
        assert weighted.z.shape == (DRAWS, 2)
        check(weighted, target)
        assert effective_draws(weighted.log_ratio) > 0.1 * DRAWS
        assert pareto_k(weighted.log_ratio) < 0.7
        np.testing.assert_allclose(
            weighted.log_likelihood, target.log_likelihood(weighted.z), atol=2e-2
        )


def test_a_spectrum_without_an_answer_does_not_disturb_the_others(
    estimator, problem, two_at_once
):
    counts = np.stack([np.asarray(target.counts, float) for target in problem[3]])
    before = drawn(estimator, problem, counts)
    counts[1, 7] = np.nan
    after = drawn(estimator, problem, counts)
    for row in (0, 2):
        np.testing.assert_array_equal(after[row].log_ratio, before[row].log_ratio)
    assert np.all(after[1].log_ratio == -np.inf)


def test_a_flow_that_is_too_narrow_is_defended(problem, two_at_once):
    """A fifth of the draws is wider than the flow, so that weights stay bounded."""
    _, conditions, _, targets = problem
    _, mean, sd = grid_answer(targets[1])
    region = Region(
        jnp.asarray(mean, jnp.float32), jnp.asarray(np.diag(0.6 * sd), jnp.float32)
    )
    example = jnp.stack([target.counts for target in targets])
    narrow = estimator_of(FixedFrame(region), conditions, example)
    weighted = drawn(narrow, problem)[1]
    check(weighted, targets[1])
    assert pareto_k(weighted.log_ratio) < 0.7
