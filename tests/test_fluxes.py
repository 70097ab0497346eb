"""Fluxes against closed forms, quadrature and each other."""

import astropy.units as u
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM, Planck18
from scipy.integrate import quad

from jsbi.fluxes import flux
from jsbi.model import evaluate, spectral_model
from jsbi.posterior import Posterior
from jsbi.simulate import Prior, Target, Uniform
from tests.targets import power_law_target

KEV = 1.602176634e-9
ABSORBED = spectral_model("tbabs*(powerlaw + bbodyrad)")
PRIOR = {
    "tbabs.nH": Uniform(0.0, 1.0),
    "powerlaw.PhoIndex": Uniform(1.0, 3.0),
    "powerlaw.norm": Uniform(0.5, 2.0),
    "bbodyrad.kT": 0.6,
    "bbodyrad.norm": 100.0,
}


def posterior_of(prior, draws=40):
    """Weighted draws that no data have made."""
    generator = np.random.default_rng(0)
    z = generator.standard_normal((draws, prior.dimension))
    log_weight = generator.standard_normal(draws)
    return Posterior(
        names=prior.names,
        z=z,
        values=np.array([prior.free(jnp.asarray(row, jnp.float32)) for row in z]),
        log_weight=log_weight - np.logaddexp.reduce(log_weight),
        log_likelihood=np.zeros(draws),
        effective_draws=1.0,
    )


def named(prior, posterior):
    """Every parameter of each draw."""
    return [prior(jnp.asarray(row, jnp.float32)) for row in posterior.z]


def integral(expression, values, low, high):
    """Photons and erg by the trapezoid on a million bins, of what is smooth."""
    edges = np.geomspace(low, high, 20_001)
    photons = evaluate(expression, values, edges)
    middle = 0.5 * (edges[1:] + edges[:-1])
    return photons.sum(), KEV * (middle * photons).sum()


def test_a_power_law_has_the_flux_of_its_formula():
    prior = Prior({"powerlaw.PhoIndex": Uniform(1.0, 3.0), "powerlaw.norm": 2.0})
    posterior = posterior_of(prior)
    found = flux(posterior, spectral_model("powerlaw"), prior, (0.5, 8.0))
    for row, index in enumerate(posterior.values[:, 0]):
        photons = quad(lambda e, g=index: 2 * e**-g, 0.5, 8)[0]
        energy = quad(lambda e, g=index: 2 * e ** (1 - g), 0.5, 8)[0]
        assert found.photons[row].value == pytest.approx(photons, rel=3e-6)
        assert found.energy[row].value == pytest.approx(KEV * energy, rel=3e-6)
    assert found.photons.unit == u.photon / u.cm**2 / u.s
    assert found.energy.unit == u.erg / u.cm**2 / u.s
    assert found.luminosity is None


@pytest.mark.parametrize(
    ("choice", "expression"),
    [
        ({}, "tbabs*(powerlaw + bbodyrad)"),
        ({"absorbed": False}, "powerlaw + bbodyrad"),
        ({"part": "bbodyrad"}, "tbabs*bbodyrad"),
        ({"part": "powerlaw", "absorbed": False}, "powerlaw"),
        ({"part": "powerlaw", "without": ["tbabs"]}, "powerlaw"),
    ],
)
def test_parts_are_those_of_the_expression(choice, expression):
    prior = Prior(PRIOR)
    posterior = posterior_of(prior, 5)
    found = flux(posterior, ABSORBED, prior, (0.3, 10.0), **choice)
    parameters = spectral_model(expression).parameters
    for row, values in enumerate(named(prior, posterior)):
        own = {name: values[name] for name in parameters}
        photons, energy = integral(expression, own, 0.3, 10.0)
        # The mean cross section of a bin near an edge depends on the bins.
        tolerance = 4e-4 if "tbabs" in expression else 1e-5
        assert found.photons[row].value == pytest.approx(photons, rel=tolerance)
        assert found.energy[row].value == pytest.approx(energy, rel=tolerance)


def test_parts_add_up_and_a_function_is_as_good_as_an_expression():
    prior = Prior(PRIOR)
    posterior = posterior_of(prior)

    def function(**values):
        return ABSORBED(**values)

    whole = flux(posterior, function, prior, (0.3, 10.0)).energy
    parts = [
        flux(posterior, function, prior, (0.3, 10.0), part=part).energy
        for part in ("powerlaw", "bbodyrad")
    ]
    np.testing.assert_allclose(sum(parts).value, whole.value, rtol=1e-5)


def test_bands_add_up():
    prior = Prior(PRIOR)
    posterior = posterior_of(prior)
    low, high, both = (
        flux(posterior, ABSORBED, prior, band, absorbed=False).photons.value
        for band in ((0.5, 2.0), (2.0, 8.0), (0.5, 8.0))
    )
    np.testing.assert_allclose(low + high, both, rtol=1e-5)


def test_luminosity_is_flux_times_the_sphere_and_the_band_that_of_the_source():
    prior = Prior({"powerlaw.PhoIndex": Uniform(1.0, 3.0), "powerlaw.norm": 2.0})
    posterior, model = posterior_of(prior), spectral_model("powerlaw")
    near = flux(posterior, model, prior, (2.0, 10.0), distance=8 * u.kpc)
    sphere = 4 * np.pi * (8 * 3.0856775814913673e21) ** 2
    np.testing.assert_allclose(
        near.luminosity.to_value("erg/s"), sphere * near.energy.value, rtol=1e-9
    )
    far = flux(posterior, model, prior, (2.0, 10.0), redshift=0.5)
    seen = flux(posterior, model, prior, (2.0 / 1.5, 10.0 / 1.5))
    np.testing.assert_allclose(far.energy.value, seen.energy.value, rtol=1e-5)
    sphere = 4 * np.pi * Planck18.luminosity_distance(0.5).to_value("cm") ** 2
    np.testing.assert_allclose(
        far.luminosity.value, sphere * seen.energy.value, rtol=1e-5
    )
    other = FlatLambdaCDM(70, 0.27)
    changed = flux(posterior, model, prior, (2.0, 10.0), redshift=0.5, cosmology=other)
    ratio = other.luminosity_distance(0.5) / Planck18.luminosity_distance(0.5)
    np.testing.assert_allclose(
        changed.luminosity / far.luminosity, ratio.value**2, rtol=1e-5
    )


def test_a_redshift_may_be_a_parameter():
    prior = Prior({"index": Uniform(1.0, 3.0), "z": Uniform(0.1, 2.0)})
    posterior = posterior_of(prior, 6)

    def model(index, z):
        return spectral_model("powerlaw")(**{"powerlaw.PhoIndex": index})

    found = flux(posterior, model, prior, (2.0, 10.0), redshift="z")
    for row, values in enumerate(named(prior, posterior)):
        one = dict(redshift=float(values["z"]), observation=0)
        each = flux(posterior, model, prior, (2.0, 10.0), **one)
        assert found.energy[row].value == pytest.approx(
            each.energy[row].value, rel=1e-5
        )
        assert found.luminosity[row].value == pytest.approx(
            each.luminosity[row].value, rel=1e-5
        )


def test_weights_are_kept():
    prior = Prior({"powerlaw.PhoIndex": 2.0, "powerlaw.norm": Uniform(0.5, 2.0)})
    posterior = posterior_of(prior)
    found = flux(posterior, spectral_model("powerlaw"), prior, (1.0, 10.0))
    # The photons are 0.9 times the norm.
    row = posterior.summary()["powerlaw.norm"]
    for name, value in found.summary()["photons"].items():
        assert value == pytest.approx(0.9 * row[name], rel=1e-5)
    assert "1 to 10 keV" in str(found)


def test_a_posterior_of_data_has_fluxes():
    target: Target = power_law_target()
    prior, model = target.simulator.prior, target.simulator.model
    found = flux(posterior_of(prior), model, prior, (1.0, 2.0))
    assert np.all(found.photons.value > 0)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"band": (2.0, 1.0)}, "larger upper one"),
        ({"band": (0.0, 1.0)}, "positive lower end"),
        ({"part": "powerlw"}, "Did you mean 'powerlaw'"),
        ({"without": ["phabs"]}, "no factor of the model"),
        ({"redshift": -2.0}, "above -1"),
        ({"redshift": "zz"}, "no parameter of the prior"),
        ({"redshift": 0.0}, "positive redshift"),
    ],
)
def test_what_is_asked_must_be_there(choice, message):
    prior = Prior(PRIOR)
    band = choice.pop("band", (0.3, 10.0))
    with pytest.raises(ValueError, match=message):
        flux(posterior_of(prior, 3), ABSORBED, prior, band, **choice)


def test_photons_that_are_scaled_together_stay_together():
    expression = "tbabs*cflux*(powerlaw + bbodyrad)"
    parameters = PRIOR | {"cflux.Emin": 0.5, "cflux.Emax": 10.0, "cflux.lg10Flux": -9.0}
    prior = Prior(parameters)
    posterior, model = posterior_of(prior, 5), spectral_model(expression)
    found = flux(posterior, model, prior, (0.5, 10.0), absorbed=False)
    np.testing.assert_allclose(found.energy.value, 1e-9, rtol=1e-4)
    same = flux(posterior, model, prior, (0.5, 10.0), part="cflux", absorbed=False)
    np.testing.assert_array_equal(same.energy, found.energy)
    with pytest.raises(ValueError, match="Known: cflux"):
        flux(posterior, model, prior, (0.5, 10.0), part="powerlaw")
