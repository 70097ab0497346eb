"""Scores keep the information of the counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from jsbi.compress import FisherScores, fisher, fisher_information, summarise
from jsbi.model import SpectralModel
from jsbi.simulate import Simulator
from tests.targets import grid_answer, landscape_target, power_law_target

PLACE = jnp.array([[0.1, 0.2]])


def information(simulator, z):
    """Of the counts, by finite differences in float64."""
    step = 1e-2
    sides = [
        [simulator.expected_counts(z + s * step * e) for s in (1.0, -1.0)]
        for e in jnp.eye(len(z))
    ]
    slope = np.stack(
        [(np.float64(up) - np.float64(down)) / (2 * step) for up, down in sides], 1
    )
    expected = np.asarray(simulator.expected_counts(z), np.float64)
    return slope.T @ (slope / expected[:, None])


def test_information_is_that_of_poisson_counts(simulator):
    found = fisher_information(simulator, PLACE)[0]
    np.testing.assert_allclose(found, information(simulator, PLACE[0]), rtol=2e-3)


@pytest.mark.parametrize("places", [3, 6, 7])
def test_information_does_not_depend_on_the_batches(places, simulator, monkeypatch):
    z = jax.random.normal(jax.random.key(0), (places, 2))
    whole = fisher_information(simulator, z)
    monkeypatch.setattr(fisher, "BATCH", 3)
    np.testing.assert_allclose(fisher_information(simulator, z), whole, rtol=1e-4)
    assert whole.shape == (places, 2, 2)


@pytest.mark.slow
def test_scores_have_no_mean_at_the_fiducial_and_keep_the_information(simulator):
    """Information of normal scores: D^T C^-1 D, with D their slope, C their noise."""
    scores = FisherScores(simulator, PLACE)
    expected = simulator.expected_counts(PLACE[0])
    np.testing.assert_allclose(scores(expected), 0.0, atol=1e-3)
    slope = jax.jacfwd(lambda z: scores(simulator.expected_counts(z)))(PLACE[0])
    weight = jax.jacfwd(scores.__call__)(expected)
    noise = np.asarray((weight * expected[None]) @ weight.T, np.float64)
    kept = slope.T @ np.linalg.solve(noise, slope)
    np.testing.assert_allclose(kept, information(simulator, PLACE[0]), rtol=3e-3)


def test_noise_of_the_scores_is_white_apart_from_the_prior(simulator):
    scores = FisherScores(simulator, PLACE)
    expected = np.asarray(simulator.expected_counts(PLACE[0]))
    counts = np.random.default_rng(0).poisson(expected, (20000, len(expected)))
    values = np.asarray(summarise(scores, jnp.asarray(counts, jnp.float32)))
    np.testing.assert_allclose(values.mean(0), 0.0, atol=0.03)
    np.testing.assert_allclose(np.cov(values.T), np.eye(2), atol=0.04)


@pytest.mark.slow
def test_the_posterior_given_the_scores_is_as_narrow_as_given_the_counts():
    target = power_law_target()
    simulator = target.simulator
    _, mean, sd = grid_answer(target)
    scores = FisherScores(simulator, jnp.asarray(mean, jnp.float32)[None])
    axes = [m + 6 * s * np.linspace(-1, 1, 81) for m, s in zip(mean, sd, strict=True)]
    z = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    expected = jax.vmap(simulator.expected_counts)(jnp.asarray(z, jnp.float32))
    values = np.asarray(summarise(scores, expected), np.float64)
    weight = np.asarray(scores.weight, np.float64)
    noise = np.einsum("fc,zc,gc->zfg", weight, np.asarray(expected), weight)
    apart = np.asarray(scores(target.counts)) - values
    white = np.linalg.solve(noise, apart[..., None])[..., 0]
    square = (apart * white).sum(1)
    density = -0.5 * (square + np.linalg.slogdet(noise)[1] + (z**2).sum(1))
    posterior = np.exp(density - density.max())
    posterior /= posterior.sum()
    found = posterior @ z
    np.testing.assert_allclose(found, mean, atol=0.1 * sd.max())
    np.testing.assert_allclose(np.sqrt(posterior @ (z - found) ** 2), sd, rtol=0.03)


def test_scores_of_a_joint_fit_add_up(simulator):
    """Twice the same observation is one with twice the counts."""
    joint = Simulator(simulator.prior, simulator.model, simulator.folders * 2)
    counts = simulator.expected_counts(jnp.array([0.4, 0.1]))
    alone, both = FisherScores(simulator, PLACE), FisherScores(joint, PLACE)
    whole = np.linalg.inv(_whitener(joint)) @ both(jnp.tile(counts, 2))
    part = np.linalg.inv(_whitener(simulator)) @ alone(counts)
    np.testing.assert_allclose(whole, 2 * part, rtol=1e-3)


def _whitener(simulator):
    value, vector = np.linalg.eigh(information(simulator, PLACE[0]) + np.eye(2))
    return vector / np.sqrt(value) @ vector.T


def test_compressed_scores_are_the_same_scores(simulator):
    counts = simulator.expected_counts(jnp.array([1.0, 0.5]))
    plain = FisherScores(simulator, PLACE)(counts)
    compressed = FisherScores(simulator, PLACE, compressed=True)(counts)
    assert np.abs(plain).max() > 10
    np.testing.assert_allclose(np.sinh(compressed), plain, rtol=1e-4)


def test_each_fiducial_has_its_scores(simulator):
    places = jnp.array([[0.1, 0.2], [-1.0, 0.5]])
    both = FisherScores(simulator, places)
    counts = simulator.expected_counts(jnp.zeros(2))
    apart = [FisherScores(simulator, places[i : i + 1])(counts) for i in range(2)]
    np.testing.assert_allclose(both(counts), jnp.concatenate(apart), rtol=1e-4)


@pytest.mark.parametrize("place", [(0.0, -8.0), (6.0, 0.0), (-6.0, 6.0)])
def test_far_fiducials_give_finite_scores(place, simulator):
    scores = FisherScores(simulator, jnp.array([place]))
    assert np.all(np.isfinite(scores(jnp.full(60, 1e4))))


class HalfDark(SpectralModel):
    """Photons in the first of two bins, none in the second."""

    first: Float[Array, ""]
    second: Float[Array, ""]

    def __call__(self, grid):
        """As many as one parameter says."""
        return jnp.stack([1e4 + 100 * self.first, 0.0 * self.second])


def test_channels_without_expected_counts_do_not_matter():
    def dark(a, b):
        return HalfDark(a, b)

    scores = FisherScores(landscape_target(dark).simulator, jnp.zeros((1, 2)))
    # The noise of 1e4 counts is 100: information 1 of the counts, 1 of the prior.
    np.testing.assert_allclose(
        scores.weight, [[0.01 / np.sqrt(2), 0.0], [0.0, 0.0]], atol=1e-8
    )


def test_a_fiducial_without_a_model_is_named():
    def nowhere(a, b):
        return HalfDark(jnp.log(a), b)

    simulator = landscape_target(nowhere).simulator
    with pytest.raises(ValueError, match="not so at fiducial 1"):
        FisherScores(simulator, jnp.array([[1.0, 0.0], [-1.0, 0.0]]))
