"""Learned densities of backgrounds, against those that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import poisson

from jsbi.baseline import sample_nuts
from jsbi.diagnose.noise_score import (
    Backgrounds,
    background_components,
    fit_noise_score,
    with_background,
)
from jsbi.simulate import Target
from tests.targets import power_law_target, relief_target

pytestmark = pytest.mark.network
BLUR = 0.2
# Two normal densities of equal mass with standard deviation 0.5, of unit variance
# along the first component.
APART = np.sqrt(0.75)


def mixture_log_density(w, sd):
    centres = jnp.array([[-APART, 0.0], [APART, 0.0]])
    squares = ((w[None] - centres) ** 2).sum(1)
    return jax.scipy.special.logsumexp(-0.5 * squares / sd**2)


def error(score, w, known):
    """Root mean square of the error over that of the known score."""
    places = jnp.asarray(w, jnp.float32)
    ours, theirs = jax.vmap(score.score)(places), jax.vmap(known)(places)
    return float(jnp.sqrt(((ours - theirs) ** 2).mean() / (theirs**2).mean()))


@pytest.mark.slow
def test_score_of_a_normal_density():
    generator = np.random.default_rng(0)
    w = generator.standard_normal((4000, 3))
    score = fit_noise_score(jax.random.key(0), w, steps=1000, blur=BLUR)
    fresh = generator.standard_normal((1000, 3))
    assert error(score, fresh, lambda w: -w / (1 + BLUR**2)) < 0.1


@pytest.mark.slow
def test_score_of_a_mixture_of_normal_densities():
    generator = np.random.default_rng(0)
    side = generator.choice([-APART, APART], 4000)
    w = 0.5 * generator.standard_normal((4000, 2))
    w[:, 0] += side
    score = fit_noise_score(jax.random.key(0), w, steps=2000, blur=BLUR)
    fresh = 0.5 * generator.standard_normal((1000, 2))
    fresh[:, 0] += generator.choice([-APART, APART], 1000)
    known = jax.grad(lambda w: mixture_log_density(w, np.hypot(0.5, BLUR)))
    assert error(score, fresh, known) < 0.15
    # The normal density that it starts from is far off.
    normal = fit_noise_score(jax.random.key(0), w, steps=0, blur=BLUR)
    assert error(normal, fresh, known) > 0.5


def sky(generator, number, shape):
    """Backgrounds of 1000 counts per bin with normal deviations, seen 100 times."""
    w = generator.standard_normal((number, len(shape)))
    background = 1000 + 150 * w @ shape
    return w, background, generator.poisson(100 * background).astype(float)


def test_components_give_the_backgrounds_back():
    generator = np.random.default_rng(0)
    shape = np.array([[1.0, 1.0, 0.5, 0.2], [0.5, -0.5, 0.5, -0.2]])
    _, background, counts = sky(generator, 500, shape)
    backgrounds, w = background_components(counts, components=2, scale=0.01)
    np.testing.assert_allclose(w.mean(0), 0.0, atol=1e-9)
    np.testing.assert_allclose(np.cov(w, rowvar=False, bias=True), np.eye(2), atol=1e-9)
    again = jax.vmap(backgrounds)(jnp.asarray(w, jnp.float32))
    np.testing.assert_allclose(again, background, rtol=0.03)


def test_faint_backgrounds_are_not_too_faint():
    """From the mean stabilised counts, which are below the stabilised mean."""
    faint = np.array([0.3, 1.0, 2.0, 5.0, 20.0])
    seen = np.arange(200)[:, None]
    mean = (2 * np.sqrt(seen + 0.375) * poisson.pmf(seen, faint)).sum(0)
    root, scale = jnp.zeros((5, 1)), jnp.asarray(0.5)
    found = Backgrounds(jnp.asarray(mean, jnp.float32), root, scale)(jnp.zeros(1))
    np.testing.assert_allclose(found, 0.5 * faint, atol=0.02)
    none = Backgrounds(jnp.zeros(5), root, scale)(jnp.zeros(1))
    np.testing.assert_allclose(none, 0.0, atol=1e-6)


def test_too_few_blank_skies_are_refused():
    with pytest.raises(ValueError, match="more than the 4 components; got 4"):
        background_components(np.ones((4, 10)))


def test_a_background_of_other_bins_is_refused():
    simulator = power_law_target().simulator
    _, _, counts = sky(np.random.default_rng(0), 20, np.ones((1, 4)))
    backgrounds, w = background_components(counts, components=1)
    score = fit_noise_score(jax.random.key(0), w, steps=0)
    with pytest.raises(ValueError, match="the 60 fit bins .* got 4"):
        with_background(simulator, backgrounds, score)


@pytest.fixture(scope="module")
def joint():
    """A linear normal problem: its target, and mean and covariance in closed form."""
    generator = np.random.default_rng(1)
    slope = np.array([[2.0, 0.5], [1.0, -1.0], [0.5, 2.0], [-1.0, 1.0]])

    def deviation(z):
        return jnp.matmul(jnp.asarray(slope, z.dtype), z, precision="highest")

    simulator = relief_target(deviation, 2).simulator
    _, _, skies = sky(generator, 3000, np.array([[1.0, 1.0, 0.5, 0.2]]))
    backgrounds, w = background_components(skies, components=1, scale=0.01)
    score = fit_noise_score(jax.random.key(0), w, steps=1000, blur=BLUR)
    both = with_background(simulator, backgrounds, score)
    assert both.prior.names == ("z0", "z1", "background.component_1")
    true = jnp.array([0.5, -0.4, 0.8])
    counts = generator.poisson(np.asarray(both.expected_counts(true), np.float64))
    target = Target(both, counts.astype(float))

    centre = np.asarray(both.expected_counts(jnp.zeros(3)), np.float64)
    jacobian = np.asarray(jax.jacfwd(both.expected_counts)(jnp.zeros(3)), np.float64)
    prior = np.diag([1.0, 1.0, 1 / (1 + BLUR**2)])
    information = jacobian.T @ (jacobian / counts[:, None]) + prior
    covariance = np.linalg.inv(information)
    mean = covariance @ jacobian.T @ ((counts - centre) / counts)
    sd = np.sqrt(np.diag(covariance))
    alone = np.linalg.inv(information[:2, :2])
    # Without the background it is narrower.
    assert sd[0] > 1.2 * np.sqrt(alone[0, 0])
    return target, mean, covariance


@pytest.mark.slow
def test_the_joint_density_of_a_linear_normal_problem(joint):
    target, mean, covariance = joint
    apart = np.random.default_rng(2).standard_normal((40, 3))
    z = mean + apart @ np.linalg.cholesky(covariance).T
    density = target.log_likelihood(z) + np.asarray(
        jax.vmap(target.simulator.log_prior)(jnp.asarray(z, jnp.float32))
    )
    normal = -0.5 * (apart**2).sum(1)
    np.testing.assert_allclose(
        density - density.mean(), normal - normal.mean(), atol=0.3
    )


@pytest.mark.slow
@pytest.mark.usefixtures("reused_keys")
def test_parameters_and_background_together_of_a_linear_normal_problem(joint):
    target, mean, covariance = joint
    sd = np.sqrt(np.diag(covariance))
    generator = np.random.default_rng(3)
    start = mean + 0.5 * sd * generator.standard_normal((4, 3))
    posterior, divergent = sample_nuts(
        jax.random.key(2), target, start, covariance, draws=800, warmup=300
    )
    assert divergent == 0
    assert posterior.r_hat < 1.02
    np.testing.assert_allclose((posterior.z.mean(0) - mean) / sd, 0.0, atol=0.15)
    np.testing.assert_allclose(posterior.z.std(0) / sd, 1.0, atol=0.1)
