"""A trained estimator against the exact posterior."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.compress import Embedding, ScaledCounts
from jsbi.correct import StudentMixture, adapt, defend, draw_from_flow
from jsbi.correct.adapt import DEFENCE
from jsbi.estimate import (
    FixedFrame,
    FlowProposal,
    FromRegion,
    Region,
    add_noise,
    draw_batch,
    gaussian,
    make_estimator,
    make_flow,
    restrict_prior,
    stack,
    train,
)
from jsbi.promotion import lenient_promotion
from jsbi.weights import effective_draws, log_evidence, pareto_k
from tests.targets import grid_answer, power_law_target

pytestmark = [pytest.mark.network, pytest.mark.usefixtures("reused_keys")]


@pytest.fixture(scope="module")
def trained(reused_keys):
    target = power_law_target()
    source = FromRegion(target.simulator, restrict_prior(jax.random.key(0), target))
    start = make_estimator(jax.random.key(1), source, target.simulator)
    ticks = []
    estimator, losses = train(
        jax.random.key(2), start, source, steps=550, tick=ticks.append
    )
    return target, start, estimator, losses, ticks


@eqx.filter_jit
def _log_prob(estimator, counts, z):
    return jax.vmap(lambda row: estimator.log_prob(row, counts))(z)


def log_prob(estimator, counts, z):
    return np.asarray(_log_prob(estimator, counts, jnp.asarray(z, jnp.float32)), float)


@pytest.mark.slow
def test_the_loss_falls_and_steps_are_whole_parts(trained):
    _, _, _, losses, ticks = trained
    assert len(losses) == sum(ticks) == 600
    assert np.all(np.isfinite(losses))
    assert losses[-50:].mean() < losses[:20].mean() - 1


@pytest.mark.slow
def test_training_moves_neither_scales_nor_region(trained):
    _, start, estimator, _, _ = trained
    before, after = (
        jax.tree.leaves((each.compressor.summary, each.frame))
        for each in (start, estimator)
    )
    for leaf, moved in zip(before, after, strict=True):
        np.testing.assert_array_equal(leaf, moved)
    weight, moved = (
        each.compressor.network.layers[0].weight for each in (start, estimator)
    )
    assert np.abs(weight - moved).max() > 1e-3


@pytest.mark.slow
def test_the_density_is_normalised(trained):
    target, _, estimator, _, _ = trained
    _, mean, sd = grid_answer(target)
    axes = [m + 12 * s * np.linspace(-1, 1, 161) for m, s in zip(mean, sd, strict=True)]
    z = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    density = np.exp(log_prob(estimator, target.counts, z))
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    assert abs(float(density.sum()) * cell - 1) < 0.02


@pytest.mark.slow
def test_draws_carry_the_density_of_flow_and_defence(trained):
    target, _, estimator, _, _ = trained
    proposal = estimator.at(target.counts)
    defence = StudentMixture(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
    draws = draw_from_flow(jax.random.key(3), target, proposal, defence)
    z = np.concatenate([draws.z[:50], draws.z[-50:]])
    again = np.logaddexp(
        np.log1p(-DEFENCE) + log_prob(estimator, target.counts, z),
        np.log(DEFENCE) + defence.log_prob(z),
    )
    log_target = draws.log_likelihood + target.log_prior(draws.z)
    carried = log_target - draws.log_ratio
    np.testing.assert_allclose(np.delete(carried, np.s_[50:-50]), again, atol=2e-3)
    np.testing.assert_allclose(
        draws.log_likelihood[:50], target.log_likelihood(z[:50]), rtol=1e-6
    )


@pytest.mark.slow
def test_reweighted_draws_are_the_exact_posterior(trained):
    target, _, estimator, _, _ = trained
    proposal = estimator.at(target.counts)
    first = draw_from_flow(jax.random.key(4), target, proposal)
    draws = draw_from_flow(jax.random.key(5), target, proposal, defend(first))
    truth, mean, sd = grid_answer(target)
    evidence, error = log_evidence(draws.log_ratio)
    weight = np.exp(draws.log_ratio - np.logaddexp.reduce(draws.log_ratio))
    assert effective_draws(draws.log_ratio) / len(draws.z) > 0.3
    assert pareto_k(draws.log_ratio) < 0.5
    assert abs(evidence - truth) < 5 * error
    assert np.all(np.abs(weight @ draws.z - mean) / sd < 0.06)


@pytest.mark.slow
def test_adapting_mends_a_poor_flow():
    """A flow that knows only the region's place is refitted on its weighted draws."""
    target = power_law_target()
    _, mean, sd = grid_answer(target)
    region = Region(
        jnp.asarray(mean + 1.5 * sd, jnp.float32),
        jnp.asarray(np.diag(2.5 * sd), jnp.float32),
    )
    flow = stack([make_flow(jax.random.key(0), 2, 8)])
    poor = FlowProposal(flow, jnp.zeros((1, 8)), region)
    before = draw_from_flow(jax.random.key(1), target, poor)
    better = adapt(jax.random.key(2), poor, before)
    after = draw_from_flow(jax.random.key(3), target, better)
    gain = effective_draws(after.log_ratio) / effective_draws(before.log_ratio)
    assert gain > 2
    truth, _, _ = grid_answer(target)
    evidence, error = log_evidence(after.log_ratio)
    assert abs(evidence - truth) < 5 * error


def network(features):
    example = jax.random.poisson(jax.random.key(0), 30.0, (200, 12)).astype(jnp.float32)
    summary = ScaledCounts(example)
    return Embedding(jax.random.key(1), summary, example, features=features), example


@pytest.mark.slow
def test_the_compressor_is_blind_to_no_channel():
    compressor, example = network(5)
    jacobian = jax.jit(jax.jacfwd(compressor))(example[0])
    assert jacobian.shape == (5, 12)
    assert np.all(np.abs(jacobian).max(0) > 0)


@pytest.mark.parametrize("counts", [0.0, 1.0, 1e7])
def test_summaries_are_finite_far_from_the_training_data(counts):
    compressor, _ = network(5)
    assert np.all(np.isfinite(eqx.filter_jit(compressor)(jnp.full(12, counts))))


@pytest.mark.slow
def test_one_parameter_is_enough_for_a_flow():
    flow = make_flow(jax.random.key(0), 1, 3, layers=2, width=16)
    with lenient_promotion():
        z = flow.sample(jax.random.key(1), (10,), jnp.zeros(3))
    assert z.shape == (10, 1)


def test_the_whitening_is_that_of_the_draws():
    factor = jnp.array([[2.0, 0.0], [-1.0, 0.5]])
    normal = jax.random.normal(jax.random.key(0), (20_000, 2))
    region = gaussian(jnp.array([1.0, -3.0])[None] + normal @ factor.T)
    np.testing.assert_allclose(region.centre, [1.0, -3.0], atol=0.05)
    np.testing.assert_allclose(region.factor, factor, atol=0.05)


@pytest.mark.slow
def test_examples_are_what_an_estimator_sees(trained):
    """Coordinates in the frame, and counts with noise."""
    target, _, estimator, _, _ = trained
    source = FromRegion(target.simulator, estimator.frame.region)
    examples = add_noise(jax.random.key(0), source, estimator.frame, 4000)
    assert abs(float(examples.white.mean())) < 0.05
    assert abs(float(examples.white.std()) - 1) < 0.05
    assert examples.beside.shape == (4000, 0)
    np.testing.assert_array_equal(examples.counts, np.round(examples.counts))
    batch = source.draw(jax.random.split(jax.random.key(0))[0], 4000)
    pull = (examples.counts - batch.expected) / jnp.sqrt(batch.expected)
    assert abs(float(pull.mean())) < 0.02
    assert abs(float(pull.std()) - 1) < 0.02
    again = jax.vmap(estimator.frame.region.colour)(examples.white)
    np.testing.assert_allclose(again, batch.z, atol=1e-5)
    np.testing.assert_allclose(
        examples.log_det, float(estimator.frame.region.log_det()), rtol=1e-5
    )


@pytest.mark.slow
def test_the_default_frame_is_the_gaussian_of_the_source(trained):
    target, start, _, _, _ = trained
    region = start.frame.region
    source = FromRegion(target.simulator, region)
    again = gaussian(draw_batch(jax.random.key(9), source, 20_000).z)
    assert isinstance(start.frame, FixedFrame)
    np.testing.assert_allclose(again.factor, region.factor, atol=0.03)
