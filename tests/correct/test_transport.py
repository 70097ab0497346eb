"""NUTS in the base coordinates of a flow against quadrature."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from jsbi.baseline import sample_nuts
from jsbi.correct.transport import sample_transported
from tests.targets import banana, grid_answer, landscape_target, power_law_target

pytestmark = pytest.mark.usefixtures("reused_keys")


class Base(eqx.Module):
    """Base coordinates of two dimensions."""

    def sample_base(self, key, number):
        """Draw from the standard normal."""
        return jax.random.normal(key, (number, 2))


class Bend(Base):
    """Straightens the banana: b - a**2 and a are independent, but for the prior."""

    def transport(self, white):
        """A ridge around b = a**2, with a around 0.5."""
        a = 0.5 * white[0]
        return jnp.stack([a, a**2 + 0.1 * white[1]]), jnp.log(jnp.asarray(0.05))


class Affine(Base):
    """A shift and a scale, as of a flow that has learnt little."""

    centre: Float[Array, " dim"]
    factor: Float[Array, "dim dim"]

    def transport(self, white):
        """The factor is a lower triangle."""
        log_det = jnp.log(jnp.diagonal(self.factor)).sum()
        return self.centre + self.factor @ white, log_det


def agrees(target, posterior):
    _, mean, sd = grid_answer(target)
    error = 4 / np.sqrt(posterior.effective_draws)
    assert np.all(np.abs(posterior.z.mean(0) - mean) / sd < error)
    assert np.all(np.abs(posterior.z.std(0) / sd - 1) < error)


@pytest.mark.slow
def test_a_bend_that_the_map_knows_mixes_in_few_steps():
    target = landscape_target(banana)
    ticks = []
    posterior, divergent = sample_transported(
        jax.random.key(0), target, Bend(), draws=950, warmup=300, tick=ticks.append
    )
    straight = target.evaluations
    agrees(target, posterior)
    assert divergent == 0
    assert posterior.r_hat < 1.01
    assert posterior.effective_draws > 0.3 * posterior.draws
    assert posterior.draws == 4 * 1000
    assert sum(ticks) == 300 + 1000
    bent = landscape_target(banana)
    start, guess = np.tile([0.5, 0.25], (4, 1)), np.diag([0.2, 0.2])
    sample_nuts(jax.random.key(0), bent, start, guess, draws=950, warmup=300)
    assert straight < 0.7 * bent.evaluations


@pytest.mark.slow
def test_a_poor_map_is_corrected():
    target = power_law_target()
    _, mean, sd = grid_answer(target)
    factor = np.array([[0.4 * sd[0], 0.0], [sd[1], 2 * sd[1]]])
    poor = Affine(
        jnp.asarray(mean + 2 * sd, jnp.float32), jnp.asarray(factor, jnp.float32)
    )
    start = np.array([[-2.0, 0.0], [0.0, -1.0], [1.0, 1.0]])
    posterior, divergent = sample_transported(
        jax.random.key(1), target, poor, draws=1000, warmup=400, start=start
    )
    assert divergent == 0
    assert posterior.method == "transported nuts"
    assert posterior.draws == 3 * 1000
    agrees(target, posterior)
