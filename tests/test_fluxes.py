"""Fluxes against closed forms, quadrature and each other."""

import astropy.units as u
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM, Planck18
from scipy.integrate import quad

from jsbi import fluxes
from jsbi.fluxes import flux
from jsbi.model import PowerLaw, TBabs, evaluate, spectral_model
from jsbi.model.component import Convolution
from jsbi.model.host import HostModel
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
        ({"redshift": np.nan}, "above -1"),
        ({"without": "tbabs"}, "list of names, .* got 'tbabs'"),
        ({"distance": 8 * u.s}, "length of astropy"),
        ({"distance": -8 * u.kpc}, "positive and finite; got -8"),
        ({"distance": np.nan * u.kpc}, "positive and finite"),
        ({"distance": u.Quantity([1, 2], "kpc")}, "each of the 3 draws"),
        ({"observation": 3}, "0 to 0; got 3"),
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
    with pytest.raises(ValueError, match="Ask for 'cflux'"):
        flux(posterior, model, prior, (0.5, 10.0), part="powerlaw")


@pytest.mark.parametrize(
    ("check", "given", "message"),
    [
        (fluxes._check_band, (1.0,), r"two energies .* got \(1.0,\)"),
        (fluxes._check_band, 5, "two energies .* got 5"),
        (fluxes._check_band, (1 * u.keV, 2 * u.keV), "without a unit"),
        (fluxes._check_part, ["powerlaw"], "name of one component"),
        (fluxes._check_names, 3, "list of names, .* got 3"),
        (fluxes._check_redshift, [0.1], "a number or the name"),
        (
            lambda distance: fluxes._check_distance(distance, 3),
            8,
            "length of astropy, .* got 8. A number without a unit",
        ),
    ],
)
def test_what_is_given_must_be_of_its_kind(check, given, message):
    # In tests, types are checked at every call: these would not get into `flux`.
    with pytest.raises(ValueError, match=message):
        check(given)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (HostModel(lambda index: np.ones(3), gives="counts"), "got HostCounts"),
        (lambda index: TBabs(index), "must give photons; got TBabs"),
        (lambda index: (PowerLaw(index), PowerLaw(index)), "0 to 1; got 2"),
    ],
)
def test_a_flux_is_that_of_a_source_of_photons(model, message):
    prior = Prior({"index": Uniform(1.0, 2.0)})
    observation = 2 if "got 2" in message else 0
    with pytest.raises(ValueError, match=message):
        flux(posterior_of(prior, 3), model, prior, (1.0, 2.0), observation=observation)


def set_to(flux_parameter, **others):
    """A power law of index 2 whose flux is set by a convolution."""
    return Prior(
        {"powerlaw.PhoIndex": 2.0, "powerlaw.norm": 3.0} | flux_parameter | others
    )


@pytest.mark.parametrize(
    "band", [(2.0, 10.0), (6.0, 10.0), (20.0, 80.0), (100.0, 200.0)]
)
def test_a_flux_that_is_set_holds_for_every_band(band):
    prior = set_to({"cflux.lg10Flux": Uniform(-12.0, -10.0)})
    posterior, model = posterior_of(prior, 3), spectral_model("cflux*powerlaw")
    asked = 10 ** posterior.values[:, 0]
    found = flux(posterior, model, prior, band)
    share = np.log(band[1] / band[0]) / np.log(10.0 / 0.5)
    np.testing.assert_allclose(found.energy.value, asked * share, rtol=1e-4)
    # In the frame of the source the band is narrower than that which is set.
    near = flux(posterior, model, prior, band, redshift=0.5)
    np.testing.assert_allclose(near.energy.value, asked * share, rtol=1e-4)


def test_bands_that_are_parameters_are_held_at_every_draw():
    ends = {"cpflux.Emin": Uniform(0.002, 0.2), "cpflux.Emax": Uniform(500.0, 5000.0)}
    prior = set_to({"cpflux.Flux": 1.0}, **ends)
    posterior, model = posterior_of(prior, 5), spectral_model("cpflux*powerlaw")
    lowest, highest = posterior.values.T
    photons = (1 / 2 - 1 / 8) / (1 / lowest - 1 / highest)
    found = flux(posterior, model, prior, (2.0, 8.0))
    np.testing.assert_allclose(found.photons.value, photons, rtol=1e-4)
    seen = flux(posterior, model, prior, (4.0, 16.0), redshift=1.0)
    np.testing.assert_allclose(seen.photons.value, photons, rtol=1e-4)


@pytest.mark.parametrize("band", [(2.0, 10.0), (10.0, 20.0)])
def test_scattered_photons_come_from_far_below(band):
    values = {"simpl.Gamma": 2.3, "simpl.FracSctr": 0.2, "diskbb.Tin": 0.3}
    prior = Prior(values | {"diskbb.norm": Uniform(500.0, 1500.0)})
    posterior, model = posterior_of(prior, 3), spectral_model("simpl*diskbb")
    below = np.geomspace(1e-4, band[0], 4000, endpoint=False)
    edges = np.concatenate([below, np.geomspace(*band, 1001)])
    photons = evaluate("simpl*diskbb", values, edges)[4000:].sum()
    found = flux(posterior, model, prior, band).photons.value
    np.testing.assert_allclose(found, photons * posterior.values[:, 0], rtol=1e-4)


@pytest.mark.parametrize("choice", [{"absorbed": False}, {"without": ["tbabs"]}])
@pytest.mark.parametrize("scaled", ["cflux.lg10Flux", "cpflux.Flux"])
def test_what_is_set_for_the_whole_stays_without_its_absorber(choice, scaled):
    asked = {"cflux.lg10Flux": -11.0, "cpflux.Flux": 1e-3}[scaled]
    prior = set_to({scaled: asked}, **{"tbabs.nH": Uniform(0.999, 1.001)})
    model = spectral_model(f"{scaled.split('.')[0]}*tbabs*powerlaw")
    found = flux(posterior_of(prior, 3), model, prior, (0.5, 10.0), **choice)
    values = {"tbabs.nH": 1.0, "powerlaw.PhoIndex": 2.0}
    photons, energy = integral("tbabs*powerlaw", values, 0.5, 10.0)
    whole = 1e-11 / energy if "cflux" in scaled else 1e-3 / photons
    true = whole * KEV * np.log(20.0)
    np.testing.assert_allclose(found.energy.value, true, rtol=1e-3)
    if "cflux" in scaled:
        np.testing.assert_allclose(found.energy.value, 1.598e-11, rtol=1e-3)


def test_only_what_is_named_is_left_out_behind_a_flux_that_is_set():
    absorbers = {"tbabs.nH": 2.0, "tbabs_2.nH": 1.0, "tbabs_3.nH": 0.5}
    prior = set_to({"cflux.lg10Flux": Uniform(-11.001, -10.999)}, **absorbers)
    model = spectral_model("tbabs*cflux*tbabs*(tbabs*powerlaw)")
    posterior = posterior_of(prior, 3)
    found = flux(posterior, model, prior, (0.5, 10.0), without=["tbabs", "tbabs_2"])
    whole, rest = (
        integral(
            "tbabs*powerlaw", {"tbabs.nH": nH, "powerlaw.PhoIndex": 2.0}, 0.5, 10.0
        )[1]
        for nH in (1.5, 0.5)
    )
    true = 10 ** posterior.values[:, 0] * rest / whole
    np.testing.assert_allclose(found.energy.value, true, rtol=1e-3)


class Squared(Convolution):
    """One that says nothing about a part of its photons."""

    linear = False

    def __call__(self, grid, spectrum):
        return spectrum**2


def test_a_part_of_what_is_not_linear_is_refused():
    prior = Prior({"nH": Uniform(0.0, 1.0)})
    posterior = posterior_of(prior, 3)

    def model(nH):
        return Squared() * (TBabs(nH) * PowerLaw(2.0, 1.0))

    assert np.all(flux(posterior, model, prior, (1.0, 2.0)).photons.value > 0)
    with pytest.raises(ValueError, match="Squared is not linear"):
        flux(posterior, model, prior, (1.0, 2.0), absorbed=False)


@pytest.mark.parametrize(
    ("expression", "left_out", "kept"),
    [
        ("(tbabs*powerlaw)*tbabs", "tbabs", 5.0),
        ("(tbabs*powerlaw)*tbabs", "tbabs_2", 1.0),
        ("tbabs*powerlaw*tbabs", "tbabs", 5.0),
    ],
)
def test_factors_have_the_names_of_the_expression(expression, left_out, kept):
    absorbers = {"tbabs.nH": Uniform(0.999, 1.001), "tbabs_2.nH": 5.0}
    prior = set_to(absorbers)
    model = spectral_model(expression)
    found = flux(posterior_of(prior, 3), model, prior, (0.5, 10.0), without=[left_out])
    values = {"tbabs.nH": kept, "powerlaw.PhoIndex": 2.0, "powerlaw.norm": 3.0}
    photons = integral("tbabs*powerlaw", values, 0.5, 10.0)[0]
    np.testing.assert_allclose(found.photons.value, photons, rtol=2e-3)


def test_terms_have_the_names_of_the_expression():
    bodies = {"bbody.kT": 1.0, "bbody.norm": 0.01}
    other = {"powerlaw_2.PhoIndex": 3.0, "powerlaw_2.norm": 7.0}
    prior = set_to({"cflux.lg10Flux": Uniform(-11.001, -10.999)}, **bodies, **other)
    model = spectral_model("cflux*(powerlaw + bbody) + powerlaw")
    posterior = posterior_of(prior, 3)
    second = flux(posterior, model, prior, (0.5, 10.0), part="powerlaw_2")
    photons = 3.5 * (0.5**-2 - 10.0**-2)
    np.testing.assert_allclose(second.photons.value, photons, rtol=1e-5)
    together = flux(posterior, model, prior, (0.5, 10.0), part="cflux")
    asked = 10 ** posterior.values[:, 0]
    np.testing.assert_allclose(together.energy.value, asked, rtol=1e-4)
    with pytest.raises(ValueError, match="cflux scales all of powerlaw, bbody"):
        flux(posterior, model, prior, (0.5, 10.0), part="powerlaw")


def test_features_are_no_absorbers():
    parameters = {"edge.edgeE": 2.0, "edge.MaxTau": Uniform(0.5, 2.0)}
    prior, model = set_to(parameters), spectral_model("edge*powerlaw")
    posterior = posterior_of(prior, 3)
    as_it_is, bare, without = (
        flux(posterior, model, prior, (0.5, 10.0), **choice).photons.value
        for choice in ({}, {"absorbed": False}, {"without": ["edge"]})
    )
    np.testing.assert_array_equal(bare, as_it_is)
    np.testing.assert_allclose(without, 3 * (1 / 0.5 - 1 / 10.0), rtol=1e-5)
    assert np.all(without > bare)
