"""A trained estimator against the exact posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.compress import StabilisedMLP
from jsbi.correct import adapt, draw_from_flow, propose
from jsbi.correct.adapt import FlowProposal
from jsbi.estimate import Region, make_estimator, make_flow, restrict_prior, train
from jsbi.promotion import lenient_promotion
from jsbi.weights import effective_draws, log_evidence, pareto_k
from tests.targets import grid_answer, power_law_target

pytestmark = [pytest.mark.network, pytest.mark.usefixtures("reused_keys")]


@pytest.fixture(scope="module")
def trained(reused_keys):
    target = power_law_target()
    region = restrict_prior(jax.random.key(0), target)
    start = make_estimator(jax.random.key(1), target.simulator, region)
    ticks = []
    estimator, losses = train(
        jax.random.key(2), start, target.simulator, steps=550, tick=ticks.append
    )
    return target, start, estimator, losses, ticks


def test_the_loss_falls_and_steps_are_whole_parts(trained):
    _, _, _, losses, ticks = trained
    assert len(losses) == sum(ticks) == 600
    assert np.all(np.isfinite(losses))
    assert losses[-50:].mean() < losses[:20].mean() - 1


def test_training_moves_neither_scales_nor_region(trained):
    _, start, estimator, _, _ = trained
    for before, after in (
        (start.compressor.centre, estimator.compressor.centre),
        (start.compressor.spread, estimator.compressor.spread),
        (start.region.factor, estimator.region.factor),
    ):
        np.testing.assert_array_equal(before, after)


def test_the_density_is_normalised(trained):
    target, _, estimator, _, _ = trained
    _, mean, sd = grid_answer(target)
    axes = [m + 12 * s * np.linspace(-1, 1, 161) for m, s in zip(mean, sd, strict=True)]
    z = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    density = jnp.exp(
        jax.vmap(lambda row: estimator.log_prob(row, target.counts))(
            jnp.asarray(z, jnp.float32)
        )
    )
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    assert abs(float(density.sum()) * cell - 1) < 0.02


def test_draws_carry_their_density(trained):
    target, _, estimator, _, _ = trained
    z, log_prob = estimator.sample_and_log_prob(jax.random.key(3), target.counts, 50)
    again = jax.vmap(lambda row: estimator.log_prob(row, target.counts))(z)
    np.testing.assert_allclose(log_prob, again, atol=2e-3)


def test_reweighted_draws_are_the_exact_posterior(trained):
    target, _, estimator, _, _ = trained
    proposal = propose(estimator, target.counts)
    draws = draw_from_flow(jax.random.key(4), target, proposal)
    draws = draw_from_flow(jax.random.key(5), target, proposal, draws)
    truth, mean, sd = grid_answer(target)
    evidence, error = log_evidence(draws.log_ratio)
    weight = np.exp(draws.log_ratio - np.logaddexp.reduce(draws.log_ratio))
    assert effective_draws(draws.log_ratio) / len(draws.z) > 0.3
    assert pareto_k(draws.log_ratio) < 0.5
    assert abs(evidence - truth) < 5 * error
    assert np.all(np.abs(weight @ draws.z - mean) / sd < 0.06)


def test_adapting_mends_a_poor_flow():
    """A flow that knows only the region's place is refitted on its weighted draws."""
    target = power_law_target()
    _, mean, sd = grid_answer(target)
    region = Region(
        jnp.asarray(mean + 1.5 * sd, jnp.float32),
        jnp.asarray(np.diag(2.5 * sd), jnp.float32),
    )
    flow = make_flow(jax.random.key(0), 2, 8)
    poor = FlowProposal(flow, jnp.zeros(8), region)
    before = draw_from_flow(jax.random.key(1), target, poor)
    better = adapt(jax.random.key(2), poor, before)
    after = draw_from_flow(jax.random.key(3), target, better)
    gain = effective_draws(after.log_ratio) / effective_draws(before.log_ratio)
    assert gain > 2
    truth, _, _ = grid_answer(target)
    evidence, error = log_evidence(after.log_ratio)
    assert abs(evidence - truth) < 5 * error


def test_the_compressor_is_blind_to_no_channel():
    example = jax.random.poisson(jax.random.key(0), 30.0, (200, 12)).astype(jnp.float32)
    compressor = StabilisedMLP(jax.random.key(1), example, features=5)
    jacobian = jax.jacfwd(lambda counts: compressor(counts))(example[0])
    assert jacobian.shape == (5, 12)
    assert np.all(np.abs(jacobian).max(0) > 0)


@pytest.mark.parametrize("counts", [0.0, 1.0, 1e7])
def test_summaries_are_finite_far_from_the_training_data(counts):
    example = jax.random.poisson(jax.random.key(0), 30.0, (200, 12)).astype(jnp.float32)
    compressor = StabilisedMLP(jax.random.key(1), example, features=5)
    assert np.all(np.isfinite(compressor(jnp.full(12, counts))))


def test_one_parameter_is_enough_for_a_flow():
    flow = make_flow(jax.random.key(0), 1, 3, layers=2, width=16)
    with lenient_promotion():
        z = flow.sample(jax.random.key(1), (10,), jnp.zeros(3))
    assert z.shape == (10, 1)
