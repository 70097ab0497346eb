"""What unfolding recovers, what it says about itself, and what it finds."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest

from jsbi.data import gaussian_response, observation_from_counts
from jsbi.diagnose.unfold import (
    UnfoldedComparison,
    Unfolding,
    compare_unfolded,
    unfold,
)
from jsbi.diagnose.unfold_spectra import SPLIT, training_spectra, unfolding_grid
from jsbi.diagnose.unfolder import Unfolder, make_frame, train_unfolder, unfold_many
from jsbi.instrument import Folder
from jsbi.simulate import Simulator, poisson_log_likelihood
from tests.targets import make_observation, power_law

pytestmark = pytest.mark.network
BEST = np.array([0.1, 0.2])


@pytest.fixture(scope="module")
def observations():
    return (make_observation(exposure=1e5),)


@pytest.fixture(scope="module")
def simulator(observations):
    model, prior = power_law()
    return Simulator(prior, model, tuple(Folder(each) for each in observations))


@pytest.fixture(scope="module")
def grid(observations, simulator):
    return unfolding_grid(observations, simulator, per_resolution=1.0)


@pytest.fixture(scope="module")
def spectra(grid, simulator):
    return training_spectra(jax.random.key(1), grid, simulator, 1500)


@pytest.fixture(scope="module")
def untrained(grid, spectra):
    return Unfolder(jax.random.key(2), make_frame(grid, spectra[0]), iterations=5)


@pytest.fixture(scope="module")
def trained(observations, simulator):
    return train_unfolder(
        jax.random.key(0),
        observations,
        simulator,
        spectra=1000,
        steps=120,
        batch=16,
        per_resolution=1.0,
    )


@pytest.fixture(scope="module")
def held_out(grid, simulator):
    """Log fluxes of other spectra with 3000 counts, and counts."""
    log_flux, expected = training_spectra(jax.random.key(7), grid, simulator, 128)
    counts = np.random.default_rng(3).poisson(3e3 * expected)
    return log_flux + np.log(3e3), counts.astype(float)


def error(log_flux, true, grid):
    return np.sqrt(((log_flux - true)[:, grid.inside] ** 2).mean())


def test_bins_are_the_resolution_and_no_photon_is_lost(simulator):
    edges, channels = np.geomspace(0.4, 9.0, 801), np.linspace(0.5, 8.0, 751)
    resolution = 0.1 * np.sqrt(edges[1:])
    response = gaussian_response(edges, channels, np.ones(800), resolution)
    observation = observation_from_counts("fine", np.zeros(750), 1.0, response)
    folder = Folder(observation)
    fine = Simulator(simulator.prior, simulator.model, (folder,))
    grid = unfolding_grid((observation,), fine, per_resolution=2.0)
    inner = (grid.edges[:-1] > 0.6) & (grid.edges[1:] < 7.5)
    width = np.diff(grid.edges)[inner]
    expected = 0.05 * np.sqrt(grid.edges[:-1][inner])
    np.testing.assert_allclose(width, expected, rtol=0.1)
    assert grid.edges[np.flatnonzero(grid.inside)[0]] == pytest.approx(0.5)
    assert grid.edges[np.flatnonzero(grid.inside)[-1] + 1] == pytest.approx(8.0)
    np.testing.assert_allclose(grid.fine[::SPLIT], grid.edges)
    flat = np.asarray(folder(folder.grid.width), np.float64)
    np.testing.assert_allclose(grid.matrix @ np.diff(grid.fine), flat, rtol=1e-5)


def test_channels_of_falling_energy_have_the_same_bins(observations, simulator, grid):
    (observation,) = observations
    response = observation.response
    falling = dataclasses.replace(
        response,
        redistribution=response.redistribution[::-1],
        channel_low=response.channel_low[::-1],
        channel_high=response.channel_high[::-1],
    )
    other = dataclasses.replace(observation, response=falling)
    folders = (Folder(other),)
    own = dataclasses.replace(simulator, folders=folders)
    found = unfolding_grid((other,), own, per_resolution=1.0)
    np.testing.assert_allclose(found.edges, grid.edges, rtol=1e-6)


def test_too_many_bins_are_refused(observations, simulator):
    with pytest.raises(ValueError, match="at most 600 bins; [0-9]+ are needed"):
        unfolding_grid(observations, simulator, per_resolution=50.0)


def test_training_spectra_are_of_one_count_and_fold_to_it(grid, spectra):
    log_flux, expected = spectra
    np.testing.assert_allclose(expected.sum(1), 1.0)
    coarse = grid.matrix.reshape(len(grid.matrix), -1, SPLIT).mean(2)
    # Bins are as wide as the resolution, in which most spectra change little.
    apart = np.abs(np.exp(log_flux) @ coarse.T - expected).sum(1)
    assert np.median(apart) < 0.03


@pytest.mark.slow
def test_two_like_observations_are_one_of_twice_the_counts(
    observations, simulator, grid, spectra, untrained
):
    both = Simulator(simulator.prior, simulator.model, simulator.folders * 2)
    double = unfolding_grid(observations * 2, both, per_resolution=1.0)
    # A spectrum of one expected count in both has half as much flux.
    two = make_frame(double, spectra[0] - np.log(2))
    counts = jnp.asarray(simulator.expected_counts(jnp.asarray(BEST)))
    v, total = jnp.zeros(len(two.reference)), 2 * counts.sum()
    ours = eqx.filter_jit(two.newton)(v, jnp.concatenate([counts, counts]), total)
    theirs = eqx.filter_jit(untrained.frame.tree.newton)(v, 2 * counts, total)
    for value, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(value, expected, rtol=2e-3, atol=2e-3)


def test_score_is_the_gradient_of_the_poisson_likelihood(untrained, spectra):
    frame = untrained.frame.tree
    generator = np.random.default_rng(0)
    counts = jnp.asarray(generator.poisson(500 * spectra[1][0]), jnp.float32)
    v = jnp.asarray(0.3 * generator.standard_normal(len(frame.reference)), jnp.float32)
    total = counts.sum()

    def log_likelihood(v):
        return poisson_log_likelihood(counts, frame.expected(v, total))

    expected = np.asarray(jax.grad(log_likelihood)(v))
    # In the units of the photon flux it is A^T (y / A x - 1), times x.
    flux = np.exp(np.asarray(v + frame.reference, np.float64)) * float(total)
    matrix = np.asarray(frame.columns, np.float64) / np.exp(frame.reference)
    textbook = flux * (matrix.T @ (np.asarray(counts) / (matrix @ flux) - 1))
    score = np.asarray(frame.score(v, counts, total))
    np.testing.assert_allclose(score, expected, rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(score, textbook, rtol=1e-3, atol=2e-3)


def test_untrained_it_ends_at_the_posterior_mode_of_its_gaussian_prior(
    untrained, spectra
):
    frame = untrained.frame.tree
    counts = jnp.asarray(
        np.random.default_rng(0).poisson(1e4 * spectra[1][1]), jnp.float32
    )
    total = counts.sum()
    v = untrained.steps(counts)[0][-1]
    at_mode = frame.root.T @ frame.score(v, counts, total) - frame.inverse @ v
    at_mean = frame.root.T @ frame.score(jnp.zeros_like(v), counts, total)
    assert jnp.linalg.norm(at_mode) < 0.02 * jnp.linalg.norm(at_mean)


@pytest.mark.slow
def test_one_spectrum_or_many_compiled_or_not(trained, held_out):
    _, counts = held_out
    many = unfold_many(trained, counts[:65])[0]
    single = eqx.filter_jit(trained)(jnp.asarray(counts[64], jnp.float32))[0]
    np.testing.assert_allclose(single, many[64], atol=2e-3)
    assert many.shape == (65, len(trained.inside))


def test_without_noise_every_step_comes_nearer(untrained, spectra, grid):
    log_flux, expected = spectra
    counts = jnp.asarray(1e6 * expected[:64], jnp.float32)
    v, _ = jax.vmap(untrained.steps)(counts)
    true = log_flux[:64] - np.asarray(untrained.frame.tree.reference)
    apart = np.abs(np.asarray(v) - true[:, None])[:, :, grid.inside]
    middle = np.median(apart, axis=(0, 2))
    start = np.median(np.abs(true[:, grid.inside]))
    assert start > 50 * middle[0] > 60 * middle[1]
    assert np.all(np.diff(middle) < 0.02 * middle[:-1])


def test_training_improves_and_beats_counts_over_area(
    trained, untrained, held_out, grid
):
    true, counts = held_out
    area = grid.matrix.reshape(len(grid.matrix), -1, SPLIT).mean(2)
    share = area / area.sum(1, keepdims=True)
    ratio = np.log(np.maximum(counts, 0.5) @ share / area.sum(0))
    after = error(unfold_many(trained, counts)[0], true, grid)
    assert after < error(unfold_many(untrained, counts)[0], true, grid)
    assert after < 0.6 * error(ratio, true, grid)


def test_exposure_is_amortised(trained, grid, simulator):
    """The error falls with the counts over four decades."""
    log_flux, expected = training_spectra(jax.random.key(8), grid, simulator, 128)
    errors = []
    for total in (1e2, 1e4, 1e6):
        counts = np.random.default_rng(3).poisson(total * expected).astype(float)
        apart = unfold_many(trained, counts)[0] - log_flux - np.log(total)
        errors.append(np.median(np.abs(apart[:, grid.inside])))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def observed(simulator, line=0.0, seed=5):
    """Counts of the model, with a line of so many photons at 3 keV."""
    expected = np.asarray(simulator.expected_counts(jnp.asarray(BEST)), np.float64)
    (folder,) = simulator.folders
    place = int(np.searchsorted(np.asarray(folder.grid.edges), 3.0))
    photons = jnp.zeros(len(folder.grid.width)).at[place].set(line)
    expected = expected + np.asarray(folder(photons), np.float64)
    return np.random.default_rng(seed).poisson(expected).astype(float)


def test_a_line_that_the_model_lacks_is_found(trained, simulator):
    continuum = observed(simulator)
    flux = simulator.model(**simulator.prior(jnp.asarray(BEST)))
    grid = simulator.folders[0].grid
    near = np.abs(np.asarray(grid.low) - 3.0) < 0.1
    line = 1.0 * float(np.asarray(flux(grid))[near].sum())
    results = [
        compare_unfolded(
            jax.random.key(1), trained, simulator, counts, BEST, simulations=100
        )
        for counts in (continuum, observed(simulator, line))
    ]
    right, wrong = results
    assert right.p_value > 0.05
    assert wrong.p_value < 0.02
    assert wrong.unfolding.energy[wrong.deviations()[0]] == pytest.approx(3.0, abs=0.2)
    assert wrong.pull[wrong.deviations()[0]] > wrong.threshold
    assert "they agree" in str(right)
    assert "they differ" in str(wrong)


@pytest.mark.slow
def test_p_values_of_the_right_model_are_uniform_enough(trained, simulator):
    below = [
        compare_unfolded(
            jax.random.key(seed),
            trained,
            simulator,
            observed(simulator, seed=seed),
            BEST,
            simulations=60,
        ).p_value
        < 0.2
        for seed in range(60)
    ]
    assert binomtest(sum(below), len(below), 0.2).pvalue > 1e-3


def test_widths_cover_the_truth_of_the_training_family(trained, held_out):
    """Of all bins of all spectra, which are correlated within a spectrum."""
    true, counts = held_out
    log_flux, width = unfold_many(trained, counts)
    inside = (np.abs(log_flux - true) < width)[:, trained.inside].mean(1)
    error = inside.std() / np.sqrt(len(inside))
    assert abs(inside.mean() - 0.68) < 4 * error + 0.05


def known(pull, p_value):
    bins = len(pull)
    unfolding = Unfolding(
        edges=np.linspace(1.0, 2.0, bins + 1),
        log_density=np.zeros(bins),
        width=np.full(bins, 0.2),
        simulated=0.1 * np.random.default_rng(0).standard_normal((4000, bins)),
    )
    return UnfoldedComparison(
        unfolding=unfolding,
        log_model=np.full(bins, np.log(2.0)),
        pull=np.asarray(pull),
        spread=np.ones(bins),
        p_value=p_value,
        threshold=3.5,
        false_alarm=0.01,
        simulations=400,
    )


def test_bands_of_normal_simulations():
    unfolding = known(np.zeros(10), 0.5).unfolding
    low, high = unfolding.band(0.68, simulated=True)
    np.testing.assert_allclose(np.log(high), 0.0994, atol=0.006)
    np.testing.assert_allclose(np.log(low), -0.0994, atol=0.006)
    low, high = unfolding.band(0.68)
    np.testing.assert_allclose(np.log(high), 0.1989, atol=1e-4)
    np.testing.assert_allclose(np.log(low), -0.1989, atol=1e-4)
    # All of ten: each with 0.68^(1/10), 2.05 standard deviations.
    for simulated, size in ((True, 0.2071), (False, 0.4142)):
        low, high = unfolding.band(0.68, simultaneous=True, simulated=simulated)
        np.testing.assert_allclose(np.log(high / low) / 2, size, atol=0.012)


def test_simulated_bands_turn_the_bias_round():
    unfolding = known(np.zeros(10), 0.5).unfolding
    shifted = dataclasses.replace(unfolding, simulated=unfolding.simulated + 0.3)
    for simultaneous in (False, True):
        low, high = shifted.band(simultaneous=simultaneous, simulated=True)
        np.testing.assert_allclose(np.log(low * high) / 2, -0.3, atol=0.01)


def test_the_table_lists_separate_deviations_largest_first():
    pull = np.zeros(20)
    pull[[4, 5, 15]] = 5.0, -6.0, 3.0
    comparison = known(pull, 0.0025)
    assert comparison.deviations(2) == [5, 15]
    lines = str(comparison).splitlines()
    assert lines[1].split() == ["1.275", "1", "2", "0.5", "-6.00"]
    assert len(lines) == 1 + 5 + 3
    assert "largest pull 6.00, p-value 0.0025 from 400 simulations" in lines[-3]
    assert "they differ" in lines[-3]


def test_counts_of_other_bins_are_refused(untrained):
    with pytest.raises(ValueError, match=r"60 fit bins .* got shape \(59,\)"):
        unfold(jax.random.key(0), untrained, np.zeros(59))
