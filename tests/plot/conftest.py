"""A small instrument with counts, and posteriors of known shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.data.synthetic import gaussian_response, observation_from_counts
from jsbi.model import spectral_model
from jsbi.posterior import Posterior, Report
from jsbi.simulate import LogUniform, Prior, Uniform
from jsbi.weights import effective_draws, pareto_k

PARAMETERS = {
    "tbabs.nH": Uniform(0.0, 0.5),
    "powerlaw.PhoIndex": Uniform(0.0, 5.0),
    "powerlaw.norm": LogUniform(1e-4, 1e-2),
    "bbodyrad.norm": LogUniform(1.0, 100.0),
}


@pytest.fixture(scope="session")
def model():
    return spectral_model("tbabs*(powerlaw + bbodyrad)")


@pytest.fixture(scope="session")
def prior():
    return Prior(PARAMETERS | {"bbodyrad.kT": 0.5})


@pytest.fixture(scope="session")
def observation():
    edges = np.linspace(0.3, 9.0, 88)
    area = np.full(87, 300.0)
    response = gaussian_response(edges, np.linspace(0.5, 8.0, 31), area, edges[1:] / 10)
    counts = np.random.default_rng(0).poisson(np.geomspace(300, 2, 30))
    return observation_from_counts("toy", counts, 1000.0, response)


@pytest.fixture(scope="session")
def posterior(prior):
    """Normal draws in z around 0.3 with uneven weights, of known quantiles."""
    generator = np.random.default_rng(1)
    z = 0.3 + 0.2 * generator.standard_normal((4000, prior.dimension))
    log_weight = 0.4 * generator.standard_normal(4000)
    return make_posterior(prior, z, log_weight)


def make_posterior(prior, z, log_weight, **changes):
    log_weight = log_weight - np.logaddexp.reduce(log_weight)
    values = jax.vmap(prior.free)(jnp.asarray(z, jnp.result_type(float)))
    fields = {
        "names": prior.names,
        "z": z,
        "values": np.asarray(values, np.float64),
        "log_weight": log_weight,
        "log_likelihood": -15 - 0.5 * (z**2).sum(1),
        "effective_draws": effective_draws(log_weight),
        "log_evidence": -123.4,
        "log_evidence_error": 0.01,
        "method": "mixture",
        "pareto_k": pareto_k(log_weight),
        "report": report("usable"),
    }
    return Posterior(**(fields | changes))


def report(verdict):
    reasons = ("few effective draws", "the tail of the weights is heavy")
    return Report(
        model="tbabs*(powerlaw + bbodyrad)",
        rungs=(),
        cstat=31.5,
        cstat_expected=30.2,
        cstat_sd=7.7,
        bins=30,
        verdict=verdict,
        reasons=reasons,
        simulations=0,
        likelihood_evaluations=4000,
        seconds={},
        seed=0,
        versions={},
        device="cpu",
    )


@pytest.fixture(scope="session")
def remake():
    return make_posterior
