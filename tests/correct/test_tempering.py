"""Sequential Monte Carlo from poor proposals against quadrature."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from jsbi.correct.tempering import _effective, _next_step, _resample, temper_draws
from jsbi.simulate import Target
from jsbi.weights import effective_draws
from tests.targets import (
    banana,
    grid_answer,
    landscape_target,
    power_law_target,
    two_modes,
)

pytestmark = pytest.mark.usefixtures("reused_keys")


class Normals(eqx.Module):
    """A mixture of normals of the same width."""

    share: Float[Array, " part"]
    centre: Float[Array, "part dim"]
    width: Float[Array, " dim"]

    def log_prob(self, z):
        """Log density."""
        apart = (z[None] - self.centre) / self.width[None]
        parts = jax.scipy.stats.norm.logpdf(apart).sum(1) + jnp.log(self.share)
        return jax.scipy.special.logsumexp(parts) - jnp.log(self.width).sum()

    def sample(self, key, number):
        """Draw."""
        key_part, key_noise = jax.random.split(key)
        rows = jax.random.choice(key_part, len(self.share), (number,), p=self.share)
        noise = jax.random.normal(key_noise, (number, len(self.width)))
        return self.centre[rows] + self.width[None] * noise


def normals(share, centre, width):
    return Normals(*(jnp.asarray(each, jnp.float32) for each in (share, centre, width)))


@functools.cache
def power_law_case():
    target = power_law_target()
    return target, *grid_answer(target)


def agrees(answer, posterior):
    evidence, mean, sd = answer
    error = 4 / np.sqrt(posterior.effective_draws)
    assert abs(posterior.log_evidence - evidence) < 4 * posterior.log_evidence_error
    assert posterior.log_evidence_error < 0.2
    found = posterior.weights @ posterior.z
    spread = np.sqrt(posterior.weights @ (posterior.z - found) ** 2)
    assert np.all(np.abs(found - mean) / sd < error)
    assert np.all(np.abs(spread / sd - 1) < error)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shift", "width"), [(8.0, 1.0), (0.0, 0.1), (4.0, 0.3)], ids=str
)
def test_a_proposal_in_the_wrong_place_or_too_narrow_is_rescued(shift, width):
    target, *answer = power_law_case()
    _, mean, sd = answer
    proposal = normals([1.0], [mean + shift * sd], width * sd)
    z = np.asarray(proposal.sample(jax.random.key(9), 1024), np.float64)
    ratio = target.log_likelihood(z) + target.log_prior(z)
    ratio -= np.asarray(jax.vmap(proposal.log_prob)(jnp.asarray(z, jnp.float32)))
    naive = np.exp(ratio - np.logaddexp.reduce(ratio)) @ z
    assert np.abs(naive - mean).max() > 0.5 * sd.min() or width < 1
    posterior, record = temper_draws(jax.random.key(0), target, proposal)
    agrees(answer, posterior)
    assert posterior.effective_draws > 100
    assert record["temperatures"][-1] == 1.0
    assert np.all(np.diff(record["temperatures"]) > 0)
    assert np.all(np.array(record["acceptance"]) > 0.4)


@pytest.mark.slow
def test_a_bent_ridge_is_filled():
    target = landscape_target(banana)
    posterior, _ = temper_draws(
        jax.random.key(1), target, normals([1.0], [[0.0, 0.0]], [1.0, 1.0])
    )
    agrees(grid_answer(target), posterior)


@pytest.mark.slow
def test_a_mode_with_little_of_the_proposal_regains_its_share():
    target = landscape_target(two_modes)
    proposal = normals([0.95, 0.05], [[-1.0, 0.0], [1.0, 0.0]], [0.1, 0.15])
    posterior, _ = temper_draws(jax.random.key(2), target, proposal, particles=2048)
    agrees(grid_answer(target), posterior)
    right = posterior.weights @ (posterior.z[:, 0] > 0)
    assert abs(right - 0.5) < 4 * 0.5 / np.sqrt(posterior.effective_draws)


@pytest.mark.slow
def test_an_exact_proposal_is_taken_in_one_step():
    target, evidence, mean, sd = power_law_case()
    z = np.random.default_rng(0).normal(size=(10, 2))
    prior = normals([1.0], [[0.0, 0.0]], [1.0, 1.0])
    flat = Target(target.simulator, np.zeros(60))
    assert flat.log_prior(z) == pytest.approx(
        np.asarray(jax.vmap(prior.log_prob)(jnp.asarray(z, jnp.float32))), abs=1e-4
    )
    ticks = []
    before = target.evaluations
    posterior, record = temper_draws(
        jax.random.key(3),
        target,
        normals([1.0], [mean], 1.1 * sd),
        particles=1000,
        log_perfect=7.0,
        tick=ticks.append,
    )
    assert record["temperatures"] == [1.0]
    assert sum(ticks) == 100
    assert posterior.draws == 1008
    # Ends at the start, then three rounds of four steps and a beginning, ends, result.
    assert target.evaluations - before == 1008 * (1 + 3 * 5 + 1 + 1)
    assert abs(posterior.log_evidence - 7 - evidence) < 0.1
    assert posterior.method == "smc"


def test_a_step_keeps_half_of_the_draws():
    ratio = 30 * np.random.default_rng(0).normal(size=(16, 64))
    ratio[3, :5] = -np.inf
    step = _next_step(ratio, np.zeros(16), 1.0)
    kept = effective_draws(step * ratio[np.isfinite(ratio)]) / np.isfinite(ratio).sum()
    assert kept == pytest.approx(0.5, abs=1e-3)
    assert _next_step(1e-3 * ratio, np.zeros(16), 0.25) == 0.25


def test_resampling_stays_on_the_island_and_keeps_the_shares():
    log_weight = np.array(
        [[2.0, 1.0, 1.0, -np.inf], [-np.inf, -np.inf, -np.inf, 5.0]]
    ) * np.log(2)
    rows = _resample(np.random.default_rng(0), log_weight)
    assert np.bincount(rows, minlength=8).tolist() == [2, 1, 1, 0, 0, 0, 0, 4]


def test_islands_that_disagree_lower_the_effective_draws():
    z = np.random.default_rng(0).normal(size=(16, 64, 2))
    even = np.full(16, 1 / 16)
    assert 300 < _effective(z, even) <= 1024
    apart = z.copy()
    apart[:8, :, 0] += 3
    assert 10 < _effective(apart, even) < 40
    assert _effective(np.repeat(z[:, :1], 64, axis=1), even) <= 16


def test_a_proposal_elsewhere_is_refused():
    target, *_ = power_law_case()
    with pytest.raises(ValueError, match="none of 1024 draws"):
        temper_draws(
            jax.random.key(0), target, normals([1.0], [[np.nan, 0.0]], [1.0, 1.0])
        )
