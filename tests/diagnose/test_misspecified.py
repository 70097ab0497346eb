"""p-values are uniform if the model is right and small if it is not."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2, kstest

from jsbi.compress import AutoEncoder, Compressor, PrincipalComponents, ScaledCounts
from jsbi.correct import mixture_rung
from jsbi.data import perfect_log_likelihood
from jsbi.diagnose.misspecified import (
    RankTest,
    combine,
    disagreement_test,
    discrepancy_test,
    distance_test,
    evidence_test,
    fit_test,
    posterior_spectra,
    reconstruction_test,
    source_spectra,
)
from jsbi.estimate import FixedFrame, PosteriorEstimator, Region, make_flow, stack
from jsbi.progress import Progress
from jsbi.simulate import Target, stored
from tests.targets import power_law_target

CHANNELS = 12


class Root(Compressor):
    """Variance-stabilised counts."""

    def __call__(self, counts):
        return 2 * jnp.sqrt(counts + 0.375)


def draw(generator, number, *, bump=0.0):
    """Spectra of random brightness; with a bump that the model has not."""
    bright = np.exp(generator.normal(3.0, 0.3, (number, 1)))
    expected = bright * np.linspace(2.0, 0.5, CHANNELS)
    expected[:, 5] *= 1 + bump
    return generator.poisson(expected).astype(float)


def p_values(test, trials=60, **change):
    generator = np.random.default_rng(1)
    values = [
        test(draw(generator, 1, **change)[0], draw(generator, 300)).p_value
        for _ in range(trials)
    ]
    return np.array(values)


SPACE = {
    "distance": lambda seen, made: distance_test(Root(), seen, made),
    "neighbours": lambda seen, made: distance_test(Root(), seen, made, neighbours=5),
    "discrepancy": lambda seen, made: discrepancy_test(Root(), seen[None], made),
}


@pytest.mark.parametrize("kind", SPACE)
def test_distances_of_observations_of_the_model_are_uniform(kind):
    assert kstest(p_values(SPACE[kind]), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("kind", SPACE)
def test_distances_of_other_observations_are_large(kind):
    assert np.median(p_values(SPACE[kind], 12, bump=4.0)) < 0.03


def test_the_distance_is_that_of_mahalanobis():
    generator = np.random.default_rng(2)
    made = draw(generator, 4000)
    test = distance_test(Root(), draw(generator, 1)[0], made)
    # Nearly normal summaries: squared distances have as many degrees as features,
    # to the tenth by which correlations are shrunk.
    shrunk = np.corrcoef(np.asarray(jax.vmap(Root())(jnp.asarray(made))).T)
    value = np.linalg.eigvalsh(shrunk)
    mean = (value / (0.9 * value + 0.1)).sum()
    np.testing.assert_allclose((test.simulated**2).mean(), mean, rtol=0.02)
    assert abs(mean / chi2.mean(CHANNELS) - 1) < 0.3


def test_several_observations_are_seen_to_differ_where_one_is_not():
    generator = np.random.default_rng(3)
    made, seen = draw(generator, 1600), draw(generator, 16, bump=0.5)
    one, many = (discrepancy_test(Root(), part, made) for part in (seen[:1], seen))
    assert len(many.simulated) == 50
    assert many.p_value < 0.03 < one.p_value


def test_one_spectrum_far_off_has_the_discrepancy_of_the_closed_form():
    generator = np.random.default_rng(4)
    made = draw(generator, 200)
    far = discrepancy_test(Root(), np.full((1, CHANNELS), 1e6), made)
    # No kernel reaches: 1, and the mean kernel of the simulations among themselves.
    assert 1 < far.observed < 2
    assert far.p_value == 1 / 101


def test_the_rank_counts_the_observation_among_all():
    assert RankTest("", 3.0, np.array([1.0, 2.0, 3.0, 4.0])).p_value == 3 / 5
    assert RankTest("", 9.0, np.arange(9.0)).p_value == 0.1


def test_fits_without_a_value_do_not_make_a_small_p_value():
    made = np.array([1.0, 2.0, np.nan, np.nan])
    assert RankTest("", 3.0, made).p_value == 3 / 5
    assert RankTest("", np.nan, made).p_value == 1.0


def test_holm_corrects_step_by_step():
    made = np.arange(999.0)
    tests = [RankTest(f"{at}", at, made) for at in (989.0, 979.0, 500.0)]
    result = combine(tests, level=0.05)
    np.testing.assert_allclose(result.adjusted, [0.033, 0.042, 0.5])
    assert result.rejected
    assert not combine(tests, level=0.02).rejected
    assert "cannot have been" in result.sentence
    assert result.record()["tests"][1]["adjusted"] == pytest.approx(0.042)


def test_holm_keeps_the_level_for_dependent_tests():
    generator = np.random.default_rng(5)
    made = np.sort(generator.normal(size=400))
    alarms = 0
    for _ in range(400):
        seen = generator.normal() + 0.3 * generator.normal(size=3)
        tests = [RankTest("", value / np.sqrt(1.09), made) for value in seen]
        alarms += combine(tests, level=0.05).rejected
    assert alarms < 35  # 20 at most are expected


def test_too_few_simulations_cannot_reject():
    with pytest.raises(ValueError, match="need 299 simulations"):
        combine([RankTest("", 0.0, np.zeros(200))] * 3, level=0.01)
    with pytest.raises(ValueError, match="at least one"):
        combine([])
    with pytest.raises(ValueError, match="At least 4"):
        distance_test(Root(), np.zeros(CHANNELS), np.zeros((3, CHANNELS)))


@pytest.fixture(scope="module")
def fitted():
    target = power_law_target()
    counts = np.asarray(target.counts, float)
    rung = mixture_rung(
        jax.random.key(0),
        target,
        enough=1000.0,
        log_perfect=perfect_log_likelihood(counts),
        progress=Progress(False),
    )
    return target, rung.posterior


@pytest.mark.slow
def test_spectra_of_the_posterior_are_poisson_around_its_draws(fitted):
    target, posterior = fitted
    z, counts = posterior_spectra(jax.random.key(1), target, posterior, 400)
    expected = np.stack([target.expected_counts(row) for row in z])
    pull = (counts - expected) / np.sqrt(expected)
    np.testing.assert_allclose(pull.mean(), 0.0, atol=0.03)
    np.testing.assert_allclose(pull.std(), 1.0, atol=0.03)
    np.testing.assert_allclose(z.mean(0), posterior.weights @ posterior.z, atol=0.01)


@pytest.mark.parametrize("test", [fit_test, evidence_test])
def test_fits_of_the_model_s_own_spectra_are_uniform(test, fitted):
    target, posterior = fitted
    z, counts = posterior_spectra(jax.random.key(2), target, posterior, 360)
    seen = test(target, posterior, z[60:], counts[60:])
    own = test(target, posterior, z[:60], counts[:60])
    p_values = [RankTest("", each, seen.simulated).p_value for each in own.simulated]
    assert kstest(p_values, "uniform").pvalue > 1e-3
    assert seen.p_value > 0.01


def test_a_fit_that_lacks_a_line_is_rejected(fitted):
    target, posterior = fitted
    wrong = np.asarray(target.counts, float)
    wrong[30] += 8 * np.sqrt(wrong[30])
    z, counts = posterior_spectra(jax.random.key(3), target, posterior, 99)
    other = Target(target.simulator, wrong)
    assert fit_test(other, posterior, z, counts).p_value == 0.01
    assert evidence_test(other, posterior, z, counts).p_value == 0.01
    # The fits are not worse than any draw, and the statistic is C.
    best = target.log_likelihood(posterior.z).max()
    right = fit_test(target, posterior, z[:2], counts[:2])
    assert -0.1 < -2 * best - right.observed < 1.0


def test_the_deficit_is_that_of_ln_z(fitted):
    target, posterior = fitted
    z, counts = posterior_spectra(jax.random.key(4), target, posterior, 2)
    found = evidence_test(target, posterior, z, counts)
    perfect = perfect_log_likelihood(np.asarray(target.counts, np.float64))
    assert found.observed == pytest.approx(perfect - posterior.log_evidence, abs=0.05)


def test_a_fit_without_a_value_is_refused(fitted, monkeypatch):
    target, posterior = fitted
    nowhere = np.full((3, len(target.counts)), np.nan)
    monkeypatch.setattr(
        "jsbi.diagnose.misspecified.fit_each", lambda *_: (np.zeros((3, 2)), nowhere)
    )
    with pytest.raises(ValueError, match="must have a value at its best fit"):
        fit_test(target, posterior, np.zeros((2, 2)), np.ones(nowhere[1:].shape))


def test_spectra_of_a_source_are_exact_and_carry_their_context():
    z, expected = np.zeros((3, 2)), np.full((3, CHANNELS), 7.0, np.float32)
    counts, context = source_spectra(jax.random.key(5), stored(z, expected), 500)
    assert counts.shape == (500, CHANNELS)
    assert context.shape == (500, 0)
    np.testing.assert_allclose(counts.mean(), 7.0, atol=0.15)
    np.testing.assert_allclose(counts.var(), 7.0, atol=0.5)


@pytest.mark.slow
def test_what_cannot_be_reconstructed_stands_out():
    generator = np.random.default_rng(6)
    made = draw(generator, 400)
    autoencoder = AutoEncoder(jax.random.key(6), jnp.asarray(made), latent=2, width=8)
    # Untrained, it gives the mean spectrum.
    test = reconstruction_test(autoencoder, draw(generator, 1)[0], made)
    mean = made.mean(0) + 0.5 / 400
    safe = np.maximum(made, 1)
    cstat = 2 * (mean - made + made * np.log(safe / mean)).sum(1)
    np.testing.assert_allclose(test.simulated, cstat, rtol=1e-3)
    far = reconstruction_test(autoencoder, draw(generator, 1, bump=9.0)[0], made)
    assert far.p_value < 0.05 < test.p_value


@pytest.fixture(scope="module")
def ensemble():
    """Two untrained networks, which disagree more where summaries are large."""
    example = jax.random.poisson(jax.random.key(0), 30.0, (50, 4)).astype(jnp.float32)
    scaled = ScaledCounts(example)
    flows = [make_flow(jax.random.key(i), 2, 6, layers=1, width=8) for i in range(2)]
    region = Region(jnp.zeros(2), jnp.eye(2))
    frame = FixedFrame(region)
    return PosteriorEstimator(stack([scaled, scaled]), stack(flows), frame, 2)


@pytest.mark.usefixtures("reused_keys")
@pytest.mark.slow
def test_an_ensemble_disagrees_most_about_what_is_unlike_the_rest(ensemble):
    generator = np.random.default_rng(8)
    made = generator.poisson(30.0, (60, 4)).astype(float)
    contexts = generator.uniform(-1, 1, (60, 1))
    seen, context = np.array([400.0, 0.0, 400.0, 0.0]), np.array([0.5])
    key = jax.random.key(9)
    test = disagreement_test(
        key, ensemble, seen, made, context=context, contexts=contexts, draws=200
    )
    keys = jax.random.split(key, 61)
    at = ensemble.at(jnp.asarray(made[3]), jnp.asarray(contexts[3]))
    alone = eqx.filter_jit(lambda key: at.disagreement(key, 200))(keys[4])
    np.testing.assert_allclose(test.simulated[3], alone, rtol=1e-3)
    assert test.p_value == 1 / 61


@pytest.mark.slow
def test_an_ensemble_must_be_one_and_contexts_come_together(ensemble):
    one = dataclasses.replace(ensemble, members=1)
    with pytest.raises(ValueError, match="at least two networks"):
        disagreement_test(jax.random.key(0), one, np.ones(4), np.ones((5, 4)))
    with pytest.raises(ValueError, match="together"):
        disagreement_test(
            jax.random.key(0),
            ensemble,
            np.ones(4),
            np.ones((5, 4)),
            context=np.ones(1),
        )


def test_principal_components_serve_as_a_space():
    generator = np.random.default_rng(7)
    made = draw(generator, 600)
    space = PrincipalComponents(jnp.asarray(made), 6)
    assert distance_test(space, draw(generator, 1)[0], made).p_value > 0.003
    assert distance_test(space, 5 * made[0], made).p_value < 0.01
