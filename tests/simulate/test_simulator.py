"""Prior, model and instruments as one function, and the density it defines."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jsbi.data import gaussian_response, observation_from_counts
from jsbi.instrument import Folder
from jsbi.model import Constant, PowerLaw
from jsbi.simulate import (
    LogNormal,
    Normal,
    Prior,
    Simulator,
    Target,
    poisson_log_likelihood,
)


@eqx.filter_jit
def simulate(key, simulator, number):
    return jax.vmap(simulator)(jax.random.split(key, number))


def make_folder(channels, exposure):
    energy = np.geomspace(0.3, 10.0, 81)
    response = gaussian_response(
        energy,
        np.linspace(0.5, 8.0, channels + 1),
        np.full(80, 300.0),
        np.full(80, 0.1),
    )
    return Folder(observation_from_counts("x", np.ones(channels), exposure, response))


FOLDERS = make_folder(12, 100.0), make_folder(7, 250.0)
PRIOR = Prior({"index": Normal(1.7, 0.2), "norm": LogNormal(-4.0, 0.3)})


def one_model(index, norm):
    return PowerLaw(index, norm)


def two_models(index, norm):
    return PowerLaw(index, norm), Constant(0.8) * PowerLaw(index, norm)


@pytest.fixture(scope="module")
def single():
    return Simulator(PRIOR, one_model, FOLDERS[:1])


@pytest.fixture(scope="module")
def joint():
    return Simulator(PRIOR, two_models, FOLDERS)


@pytest.fixture(scope="module")
def counts(joint):
    """One observation, from other parameters than `Z`."""
    expected = np.asarray(joint.expected_counts(jnp.array([0.0, -0.5])))
    return jnp.asarray(np.random.default_rng(5).poisson(expected), jnp.float32)


Z = jnp.array([0.4, -1.1])


def test_expected_counts_are_the_folded_model(single):
    index, norm = 1.7 + 0.2 * 0.4, np.exp(-4.0 - 0.3 * 1.1)
    flux = PowerLaw(index, norm)(FOLDERS[0].grid)
    np.testing.assert_allclose(single.expected_counts(Z), FOLDERS[0](flux), rtol=1e-5)


def test_a_joint_fit_puts_counts_behind_one_another(joint, single):
    both = Simulator(PRIOR, one_model, FOLDERS).expected_counts(Z)
    assert both.shape == (19,)
    np.testing.assert_allclose(both[:12], single.expected_counts(Z), rtol=1e-6)
    own = joint.expected_counts(Z)
    np.testing.assert_allclose(own[:12], both[:12], rtol=1e-6)
    np.testing.assert_allclose(own[12:], 0.8 * both[12:], rtol=1e-6)


def test_models_must_be_one_or_one_per_observation(single):
    wrong = Simulator(PRIOR, two_models, FOLDERS[:1])
    with pytest.raises(ValueError, match="or one per observation; got 2 for 1 obs"):
        wrong.expected_counts(Z)


def test_posterior_is_prior_times_likelihood(joint, counts):
    likelihood = poisson_log_likelihood(counts, joint.expected_counts(Z))
    np.testing.assert_allclose(joint.log_likelihood(Z, counts), likelihood, rtol=1e-6)
    prior = stats.norm.logpdf(np.asarray(Z)).sum()
    np.testing.assert_allclose(joint.log_prior(Z), prior, rtol=1e-6)
    np.testing.assert_allclose(
        joint.log_posterior(Z, counts), likelihood + prior, rtol=1e-6
    )


def test_likelihood_of_a_joint_fit_is_the_product(joint, counts):
    first, second = (
        Simulator(PRIOR, lambda index, norm, i=i: two_models(index, norm)[i], (folder,))
        for i, folder in enumerate(FOLDERS)
    )
    apart = first.log_likelihood(Z, counts[:12]) + second.log_likelihood(Z, counts[12:])
    np.testing.assert_allclose(joint.log_likelihood(Z, counts), apart, rtol=1e-5)


def test_gradient_of_the_posterior_is_its_derivative(joint):
    with jax.enable_x64(True):
        simulator = Simulator(
            Prior({"index": Normal(1.7, 0.2), "norm": LogNormal(-4.0, 0.3)}),
            two_models,
            (make_folder(12, 100.0), make_folder(7, 250.0)),
        )
        z = jnp.array([0.4, -1.1])
        counts = jnp.round(simulator.expected_counts(z + 0.3))
        posterior = jax.jit(lambda z, counts: simulator.log_posterior(z, counts))
        slope = jax.jit(jax.grad(posterior))(z, counts)
        for i, step in enumerate(1e-5 * jnp.eye(2)):
            rise = posterior(z + step, counts) - posterior(z - step, counts)
            np.testing.assert_allclose(slope[i], rise / 2e-5, rtol=1e-6)


NUMBER = 20_000


@pytest.fixture(scope="module")
def draws(joint):
    z, counts = simulate(jax.random.key(2), joint, NUMBER)
    return np.asarray(z, float), np.asarray(counts, float)


def test_simulated_coordinates_are_standard_normal(draws):
    z, _ = draws
    assert z.shape == (NUMBER, 2)
    for column in z.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(z.T)[0, 1]) < 4 / np.sqrt(NUMBER)


def test_simulated_counts_are_poisson_around_what_is_expected(joint, draws):
    z, counts = draws
    rows = jnp.asarray(z, jnp.float32)
    expected = np.asarray(jax.jit(jax.vmap(joint.expected_counts))(rows), float)
    assert counts.shape == (NUMBER, 19)
    np.testing.assert_array_equal(counts, np.round(counts))
    pull = (counts - expected) / np.sqrt(expected)
    assert np.all(np.abs(pull.mean(0)) < 5 / np.sqrt(NUMBER))
    excess = (1 / expected).mean(0)  # of the fourth moment
    assert np.all(np.abs((pull**2).mean(0) - 1) < 5 * np.sqrt((2 + excess) / NUMBER))
    correlation = np.corrcoef(pull.T) - np.eye(19)
    assert np.abs(correlation).max() < 5.5 / np.sqrt(NUMBER)


def test_a_simulation_is_reproducible_and_keys_differ(joint):
    first, again = (simulate(jax.random.key(3), joint, NUMBER) for _ in range(2))
    other = simulate(jax.random.key(4), joint, NUMBER)
    np.testing.assert_array_equal(first[1], again[1])
    assert np.any(np.asarray(first[1]) != np.asarray(other[1]))


def test_batches_of_a_target_equal_single_evaluations(joint, counts):
    target = Target(joint, np.asarray(counts, float))
    assert target.dimension == 2
    z = np.random.default_rng(0).normal(size=(target.batch + 37, 2))
    batched = target.log_likelihood(z)
    assert batched.shape == (len(z),)
    assert batched.dtype == np.float64
    likelihood = jax.jit(lambda z: joint.log_likelihood(z, counts))
    for row in (0, 5, target.batch - 1, target.batch, len(z) - 1):
        single = likelihood(jnp.asarray(z[row], jnp.float32))
        assert batched[row] == pytest.approx(float(single), rel=1e-5, abs=1e-3)
    np.testing.assert_array_equal(target.log_likelihood(z[:3]), batched[:3])
    np.testing.assert_allclose(
        target.log_prior(z), stats.norm.logpdf(z).sum(1), rtol=1e-12
    )
    physical = target.physical(z[:10])
    expected = np.stack([1.7 + 0.2 * z[:10, 0], np.exp(-4 + 0.3 * z[:10, 1])], 1)
    np.testing.assert_allclose(physical, expected, rtol=1e-6)


def test_a_target_counts_the_draws_that_were_asked_for(single):
    target = Target(single, np.ones(12))
    for number in (1, 10, target.batch, target.batch + 1):
        before = target.evaluations
        target.log_likelihood(np.zeros((number, 2)))
        assert target.evaluations == before + number


def test_a_model_without_a_value_has_no_likelihood():
    def broken(index, norm):
        return PowerLaw(index, jnp.sqrt(index))

    target = Target(Simulator(PRIOR, broken, FOLDERS[:1]), np.ones(12))
    values = target.log_likelihood(np.array([[0.0, 0.0], [-20.0, 0.0]]))
    assert np.isfinite(values[0])
    assert values[1] == -np.inf
