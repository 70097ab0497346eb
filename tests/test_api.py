"""The whole job through `infer`, against quadrature, on small problems."""

import dataclasses

import jax
import numpy as np
import pytest

import jsbi
from jsbi.api import make_target
from tests.targets import grid_answer, make_observation, power_law

pytestmark = pytest.mark.usefixtures("reused_keys")
MODEL, PRIOR = power_law()
TRUTH = {"tbabs.nH": 0.1, "powerlaw.PhoIndex": 1.8, "powerlaw.norm": 5e-3}


@pytest.fixture(scope="module")
def observation():
    return jsbi.simulate(jax.random.key(0), make_observation(), MODEL, TRUTH)


@pytest.fixture(scope="module")
def answer(observation):
    """Evidence with the full normalisation, means and widths in z."""
    target = make_target((observation,), MODEL, PRIOR)
    log_z, mean, sd = grid_answer(target)
    return log_z + observation.perfect_log_likelihood, mean, sd


@pytest.mark.network
@pytest.mark.parametrize(
    "method",
    ["auto", *(pytest.param(each, marks=pytest.mark.slow) for each in ("sbi", "nuts"))],
)
def test_every_method_gives_the_exact_posterior(observation, answer, method):
    posterior = jsbi.infer(
        jax.random.key(1),
        observation,
        MODEL,
        PRIOR,
        method=method,
        draws=3000,
        progress=False,
        seed=1,
    )
    log_z, mean, sd = answer
    found = posterior.weights @ posterior.z
    spread = np.sqrt(posterior.weights @ (posterior.z - found) ** 2)
    error = 5 / np.sqrt(posterior.effective_draws)
    assert np.all(np.abs(found - mean) / sd < error)
    assert np.all(np.abs(spread / sd - 1) < error)
    assert posterior.report.verdict == "trusted"
    assert posterior.report.seed == 1
    if method == "nuts":
        assert posterior.r_hat < 1.01
    else:
        assert posterior.effective_draws >= 3000
        assert abs(posterior.log_evidence - log_z) < 5 * posterior.log_evidence_error
    assert posterior.method == {"auto": "mixture", "sbi": "network"}.get(method, method)


@pytest.mark.slow
def test_a_function_of_named_parameters_is_a_model_too(observation):
    def model(photon_index, norm):
        return jsbi.TBabs(0.1) * jsbi.PowerLaw(photon_index, norm)

    prior = jsbi.Prior(
        {
            "photon_index": jsbi.Uniform(0.0, 4.0),
            "norm": jsbi.LogUniform(1e-4, 1e-1),
        }
    )
    ours, theirs = (
        jsbi.infer(jax.random.key(2), observation, *each, draws=500, progress=False)
        for each in ((model, prior), (MODEL, PRIOR))
    )
    np.testing.assert_allclose(ours.mean(), theirs.mean(), rtol=1e-4)
    assert ours.names == ("photon_index", "norm")


@pytest.mark.slow
def test_a_joint_fit_is_the_product_of_its_likelihoods(observation):
    """Two spectra of one source constrain as one of twice the exposure."""
    other = jsbi.simulate(jax.random.key(7), make_observation(), MODEL, TRUTH)
    joint = jsbi.infer(
        jax.random.key(0),
        (observation, other),
        MODEL,
        PRIOR,
        draws=4000,
        progress=False,
    )
    target = make_target((observation, other), MODEL, PRIOR)
    log_z, mean, sd = grid_answer(target)
    perfect = observation.perfect_log_likelihood + other.perfect_log_likelihood
    assert abs(joint.log_evidence - log_z - perfect) < 5 * joint.log_evidence_error
    found = joint.weights @ joint.z
    assert np.all(np.abs(found - mean) / sd < 0.08)
    assert joint.report.bins == 120


@pytest.mark.slow
def test_evidence_prefers_the_model_that_made_the_data(observation):
    wrong = jsbi.spectral_model("tbabs*bbody")
    prior = jsbi.Prior(
        {
            "tbabs.nH": 0.1,
            "bbody.kT": jsbi.Uniform(0.05, 3.0),
            "bbody.norm": jsbi.LogUniform(1e-6, 1e-1),
        }
    )
    right, poor = (
        jsbi.infer(jax.random.key(3), observation, *each, draws=500, progress=False)
        for each in ((MODEL, PRIOR), (wrong, prior))
    )
    assert right.log_evidence > poor.log_evidence + 10
    assert poor.report.verdict == "not trusted"
    assert "the model misses something" in poor.report.reasons[-1]
    assert right.report.verdict == "trusted"


def test_simulated_counts_follow_the_model():
    empty = make_observation()
    folded = make_target((empty,), MODEL, PRIOR).simulator.fold(MODEL(**TRUTH))
    draws = [
        jsbi.simulate(key, empty, MODEL, TRUTH).binned_counts
        for key in jax.random.split(jax.random.key(0), 200)
    ]
    pull = (np.mean(draws, 0) - folded) / np.sqrt(folded / 200)
    assert np.abs(pull).max() < 5
    assert abs(np.mean(np.square(pull)) - 1) < 0.6
    assert np.all(np.array(draws) == np.round(draws))
    outside = TRUTH | {"powerlaw.PhoIndex": 99.0}
    with pytest.raises(ValueError, match="got 99"):
        jsbi.simulate(jax.random.key(0), empty, MODEL, outside)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "mcmc"}, "Unknown method 'mcmc'"),
        ({"draws": 0}, "`draws` must be positive"),
    ],
)
def test_wrong_arguments(observation, change, message):
    with pytest.raises(ValueError, match=message):
        jsbi.infer(jax.random.key(0), observation, MODEL, PRIOR, **change)


def test_parameters_without_a_prior_are_named(observation):
    prior = jsbi.Prior({"powerlaw.PhoIndex": jsbi.Uniform(0.0, 4.0)})
    with pytest.raises(ValueError, match=r"tbabs.nH, powerlaw.norm have none"):
        jsbi.infer(jax.random.key(0), observation, MODEL, prior)

    def model(index, norm, scale=1.0):
        return jsbi.PowerLaw(index, norm * scale)

    with pytest.raises(ValueError, match="norm has none"):
        jsbi.infer(
            jax.random.key(0),
            observation,
            model,
            jsbi.Prior({"index": jsbi.Uniform(0.0, 4.0)}),
        )


def test_a_subtracted_spectrum_is_never_trusted_fully(observation):
    net = dataclasses.replace(observation, net=True)
    posterior = jsbi.infer(
        jax.random.key(0), net, MODEL, PRIOR, draws=500, progress=False
    )
    assert posterior.report.verdict == "usable"
    assert "background-subtracted" in posterior.report.reasons[0]


def test_a_model_must_give_photons(observation):
    with pytest.raises(ValueError, match="at least one additive component"):
        jsbi.infer(
            jax.random.key(0),
            observation,
            jsbi.spectral_model("tbabs"),
            jsbi.Prior({"tbabs.nH": jsbi.Uniform(0.0, 1.0)}),
        )

    def model(nH):
        return jsbi.TBabs(nH)

    with pytest.raises(ValueError, match="got TBabs"):
        jsbi.infer(
            jax.random.key(0),
            observation,
            model,
            jsbi.Prior({"nH": jsbi.Uniform(0.0, 1.0)}),
            progress=False,
        )


@pytest.mark.parametrize(
    ("marginal", "message"),
    [
        (jsbi.Uniform(-50.0, 4.0), "got -50"),
        (jsbi.Normal(2.0, 3.0), "truncated_normal"),
        (50.0, "got 50"),
        ("-1e3*powerlaw.norm", "got -99"),
    ],
)
def test_priors_stay_inside_the_hard_limits(observation, marginal, message):
    prior = jsbi.Prior(
        {
            "powerlaw.PhoIndex": marginal,
            "powerlaw.norm": jsbi.LogUniform(1e-4, 1e-1),
        }
    )
    with pytest.raises(ValueError, match=message):
        jsbi.infer(
            jax.random.key(0), observation, jsbi.spectral_model("powerlaw"), prior
        )


def test_observations_may_come_in_a_list(observation):
    posterior = jsbi.infer(
        jax.random.key(0), [observation], MODEL, PRIOR, draws=300, progress=False
    )
    assert posterior.report.bins == 60
