"""The ensemble is the mixture that it says it is, and its maps are its densities."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flowjax.bijections import Affine, Chain
from flowjax.distributions import Transformed
from scipy import stats

from jsbi.compress import ScaledCounts
from jsbi.estimate import (
    FixedFrame,
    FlowProposal,
    PosteriorEstimator,
    Region,
    make_estimator,
    make_flow,
    stack,
)
from jsbi.estimate.flow import DEGREES
from jsbi.simulate import Batch, Stored
from tests.targets import landscape_target, two_modes

pytestmark = pytest.mark.usefixtures("reused_keys")
DRAWS = 30_000  # in every test, so that each function is compiled once
REGION = Region(jnp.array([1.0, -2.0]), jnp.array([[0.5, 0.0], [0.3, 2.0]]))


def flow(seed, shift=0.0):
    small: Any = make_flow(jax.random.key(seed), 2, 3, layers=2, width=8)
    shifted = Chain([small.bijection, Affine(jnp.array([shift, 0.0]))])
    return Transformed(small.base_dist, shifted)


def mixture(*flows):
    summary = jax.random.normal(jax.random.key(9), (len(flows), 3))
    return FlowProposal(stack(list(flows)), summary, REGION)


@pytest.fixture(scope="module")
def three():
    """Three members whose densities overlap a little."""
    return mixture(flow(0), flow(1, 2.0), flow(2, -1.5))


def single(proposal, member):
    """One member as a proposal of its own."""
    rows = slice(member, member + 1)
    one = jax.tree.map(
        lambda leaf: leaf[rows] if eqx.is_array(leaf) else leaf, proposal.flow
    )
    return FlowProposal(one, proposal.summary[rows], proposal.region)


@eqx.filter_jit
def densities(proposal, z):
    return jax.vmap(proposal.log_prob)(z)


@eqx.filter_jit
def draws(proposal, key, number):
    return proposal.sample(key, number)


@eqx.filter_jit
def transported(proposal, base):
    return jax.vmap(proposal.transport)(base)


@pytest.mark.slow
def test_the_density_is_the_mean_of_the_members(three):
    z = jax.vmap(REGION.sample)(jax.random.split(jax.random.key(0), DRAWS))
    each = np.array([densities(single(three, member), z) for member in range(3)])
    mean = np.logaddexp.reduce(each.astype(float), axis=0) - np.log(3)
    np.testing.assert_allclose(densities(three, z), mean, atol=1e-4)
    assert three.members == 3


def test_draws_follow_the_density(three):
    """Means of density ratios are 1: the masses of a normal, and of each member."""
    z = draws(three, jax.random.key(1), DRAWS)
    assert z.shape == (DRAWS, 2)
    log_prob = np.asarray(densities(three, z), float)
    covariance: Any = np.array([[0.1, 0.05], [0.05, 0.8]])
    others = [stats.multivariate_normal.logpdf(z, [1.2, -1.5], covariance)]
    others += [np.asarray(densities(single(three, m), z), float) for m in range(3)]
    for other in others:
        ratio = np.exp(other - log_prob)
        error = ratio.std() / np.sqrt(len(ratio))
        assert abs(ratio.mean() - 1) < 4 * error
        assert error < 0.05


@pytest.mark.slow
def test_every_member_draws_in_turn_as_if_alone(three):
    z = np.asarray(draws(three, jax.random.key(2), DRAWS))
    seven = jax.eval_shape(lambda key: three.sample(key, 7), jax.random.key(0))
    assert seven.shape == (7, 2)
    for member in range(3):
        alone = np.asarray(draws(single(three, member), jax.random.key(3), DRAWS - 2))
        for column in range(2):
            ours = z[member::3, column]
            test: Any = stats.ks_2samp(ours, alone[:, column])
            assert test.pvalue > 1e-3


@pytest.mark.slow
def test_transport_is_the_density_of_the_first_member(three):
    base = three.sample_base(jax.random.key(4), DRAWS)
    z, log_det = transported(three, base)
    log_base = stats.t.logpdf(np.asarray(base, float), DEGREES).sum(1)
    log_prob = densities(single(three, 0), z)
    np.testing.assert_allclose(log_prob, log_base - log_det, atol=2e-3)
    slope = jax.jit(jax.vmap(jax.jacfwd(lambda u: three.transport(u)[0])))(base[:100])
    truth = np.linalg.slogdet(np.asarray(slope, float))[1]
    np.testing.assert_allclose(log_det[:100], truth, atol=1e-3)
    np.testing.assert_allclose(jax.jit(jax.vmap(three.base))(z), base, atol=2e-3)


def test_base_draws_are_those_of_a_student_t(three):
    base = np.asarray(three.sample_base(jax.random.key(5), DRAWS))
    for column in base.T:
        assert stats.kstest(column, stats.t(DEGREES).cdf).pvalue > 1e-3


@eqx.filter_jit
def disagreement(proposal):
    return proposal.disagreement(jax.random.key(6), 2000)


@pytest.mark.slow
def test_those_who_say_the_same_agree():
    same = mixture(*[flow(0)] * 3)
    same = eqx.tree_at(lambda p: p.summary, same, jnp.ones((3, 3)))
    assert abs(float(disagreement(same))) < 1e-5


def test_those_who_say_different_things_disagree_by_the_log_of_their_number(three):
    apart = mixture(flow(0), flow(1, 100.0), flow(2, -100.0))
    np.testing.assert_allclose(disagreement(apart), np.log(3), atol=1e-4)
    assert 0.1 < float(disagreement(three)) < np.log(3) - 0.1


class Noted(FixedFrame):
    """A frame with something to say."""

    def describe(self, region):
        return region.centre * 10


@pytest.mark.slow
def test_flows_see_summaries_context_and_frame():
    example = jax.random.poisson(jax.random.key(0), 30.0, (50, 4)).astype(jnp.float32)
    compressors = [ScaledCounts(example), ScaledCounts(2 * example)]
    flows = [make_flow(jax.random.key(i), 2, 9, layers=1, width=8) for i in range(2)]
    estimator = PosteriorEstimator(stack(compressors), stack(flows), Noted(REGION), 2)
    counts, context = example[0], jnp.array([0.5, -0.25])
    proposal = eqx.filter_jit(estimator.at)(counts, context)
    for row, compressor in enumerate(compressors):
        parts = [np.asarray(compressor(counts)), context, [10.0, -20.0]]
        np.testing.assert_allclose(
            proposal.summary[row], np.concatenate(parts), rtol=1e-5
        )
    z = jnp.array([0.7, -1.0])
    log_prob = eqx.filter_jit(estimator.log_prob)(z, counts, context)
    again = eqx.filter_jit(proposal.log_prob)(z)
    np.testing.assert_allclose(log_prob, again, rtol=1e-5)


@pytest.mark.slow
def test_a_new_estimator_has_members_of_its_own_in_the_source_frame():
    target = landscape_target(two_modes)
    normal = jax.random.normal(jax.random.key(0), (4000, 2))
    batch = Batch(
        jnp.array([3.0, 0.0])[None] + normal * jnp.array([0.5, 2.0])[None],
        jnp.full((4000, 2), 1e4),
        jnp.zeros((4000, 3)),
    )
    estimator = make_estimator(
        jax.random.key(1),
        Stored(batch),
        target.simulator,
        compressor="counts",
        members=2,
    )
    assert estimator.members == 2
    frame: Any = estimator.frame
    np.testing.assert_allclose(frame.region.centre, [3, 0], atol=0.15)
    np.testing.assert_allclose(frame.region.factor, np.diag([0.5, 2.0]), atol=0.15)
    proposal = eqx.filter_jit(estimator.at)(target.counts, jnp.ones(3))
    # Two channels, their total and the context.
    assert proposal.summary.shape == (2, 6)
    weights = [
        leaf
        for leaf in jax.tree.leaves(eqx.filter(estimator.flow, eqx.is_inexact_array))
        if leaf.ndim == 3 and leaf.std() > 0
    ]
    assert weights
    assert all(np.abs(leaf[0] - leaf[1]).max() > 1e-3 for leaf in weights)
