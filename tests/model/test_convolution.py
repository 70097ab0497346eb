"""What convolutions keep, what they make of simple spectra, where they may stand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from jsbi.instrument import EnergyGrid
from jsbi.model import evaluate, find_component, spectral_model

EDGES = np.geomspace(0.1, 12.0, 401)
UNEVEN = np.concatenate(
    [np.arange(1, 2, 0.1), np.arange(2, 3, 0.004), np.arange(3, 9.1, 0.5)]
)


@eqx.filter_jit
def convolved(component, spectrum, grid):
    return component(grid, spectrum)


def values(name, case, spectrum, edges=EDGES):
    grid, spectrum = EnergyGrid(edges), jnp.asarray(spectrum, float)
    return np.asarray(
        convolved(find_component(name)(*case), spectrum, grid), np.float64
    )


def delta_line(energy, edges=EDGES):
    return np.histogram(energy, edges)[0].astype(float)


@pytest.mark.parametrize("edges", [EDGES, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize(
    ("name", "case", "kept"),
    [
        ("gsmooth", (0.1, 0.0), 1.0),
        ("gsmooth", (0.003, 1.0), 1.0),
        ("vashift", (-3000.0,), 1.0),
        ("zashift", (0.3,), 1 / 1.3),
        ("zashift", (-0.3,), 1 / 0.7),
    ],
)
def test_photons_that_stay_on_the_grid_are_kept(name, case, kept, edges):
    total = values(name, case, delta_line(4.2, edges), edges).sum()
    assert total == pytest.approx(kept, rel=1e-5)


@pytest.mark.parametrize("name", ["gsmooth", "lsmooth"])
@pytest.mark.parametrize("edges", [EDGES, UNEVEN], ids=["even", "uneven"])
def test_smoothing_with_no_width_changes_nothing(name, edges):
    given = np.random.default_rng(1).uniform(size=len(edges) - 1)
    smooth = values(name, (0.0, 0.5), given, edges)
    np.testing.assert_allclose(smooth, given, rtol=2e-7)


@pytest.mark.parametrize("edges", [EDGES, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("name", ["gsmooth", "lsmooth"])
@pytest.mark.parametrize("index", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("width", [0.002, 0.05, 3.0])
def test_a_smoothed_bin_is_spread_by_the_kernel(name, index, width, edges):
    bin_of_line = np.searchsorted(edges, 4.2) - 1
    low, high = edges[bin_of_line : bin_of_line + 2]
    width_there = width * ((low + high) / 12) ** index
    nodes, weights = np.polynomial.legendre.leggauss(400)
    places = (edges - 0.5 * (low + high + (high - low) * nodes[:, None])) / width_there
    below = {
        "gsmooth": 0.5 * erf(places / np.sqrt(2)),
        "lsmooth": np.arctan(2 * places) / np.pi,
    }[name]
    truth = np.diff(weights @ below / 2)
    with jax.enable_x64(True):
        ours = values(name, (width, index), delta_line(4.2, edges), edges)
    np.testing.assert_allclose(ours, truth, rtol=2e-6, atol=1e-7 * truth.max())


def test_a_shifted_power_law_is_the_redshifted_power_law():
    edges = np.geomspace(0.1, 12.0, 10_001)
    given = evaluate("powerlaw", {"powerlaw.PhoIndex": 2.0}, edges)
    ours = values("zashift", (0.5,), given, edges)
    inside = edges[1:] * 1.5 < 12
    truth = given * 1.5**-2
    np.testing.assert_allclose(ours[inside], truth[inside], rtol=1e-4)


def test_the_faint_end_of_a_steep_spectrum_survives_in_float32():
    edges = np.geomspace(0.1, 12.0, 10_001)
    given = np.diff(-np.exp(-3 * edges))
    single = values("zashift", (0.1234,), given, edges)
    with jax.enable_x64(True):
        double = values("zashift", (0.1234,), given, edges)
    np.testing.assert_allclose(single, double, rtol=3e-5)


def test_the_asked_flux_is_what_the_band_holds():
    model = "cflux*(powerlaw + gaussian)"
    edges = np.linspace(0.5, 10.0, 2001)
    photons = evaluate(model, {"cflux.lg10Flux": -11.0}, edges)
    energy_flux = np.sum(photons * 0.5 * (edges[1:] + edges[:-1])) * 1.602192e-9
    assert energy_flux == pytest.approx(1e-11, rel=1e-5)
    photons = evaluate("cpflux*powerlaw", {"cpflux.Flux": 0.3}, edges)
    assert photons.sum() == pytest.approx(0.3, rel=1e-5)


def test_a_band_without_flux_gives_no_photons():
    given = delta_line(4.2)
    assert np.all(values("cflux", (5.0, 10.0, -12.0), given) == 0)
    assert np.all(values("cflux", (5.0, 2.0, -12.0), given) == 0)


@pytest.mark.parametrize("case", [(2.3, 0.05, 1.0), (1.5, 0.5, 1.0), (2.0, 1.0, 0.0)])
def test_scattered_photons_are_those_of_xspec(case, test_data):
    with np.load(test_data("../reference/xspec/simpl.npz")) as file:
        edges, given = file["energies_log"], file["input_flux_log"]
        truth = file["flux_log"][file["params"].tolist().index(list(case))]
    index, fraction, only_up = case
    if only_up <= 0:  # XSPEC loses the photons that stay in their bin
        density = (index - 1) * (index + 2) / (1 + 2 * index)
        stays = density * 2 * np.diff(edges) / (edges[1:] + edges[:-1])
        truth = truth + fraction * given * stays
    with jax.enable_x64(True):
        ours = values("simpl", case, given, edges)
    np.testing.assert_allclose(ours, truth, rtol=3e-6)


@pytest.mark.parametrize("only_up", [0.0, 1.0])
def test_all_scattered_photons_of_a_wide_grid_are_kept(only_up):
    edges = np.geomspace(1e-3, 1e5, 801)
    total = values("simpl", (3.0, 0.7, only_up), delta_line(4.2, edges), edges).sum()
    assert total == pytest.approx(1, rel=1e-5)


def test_a_convolution_changes_all_that_follows_it():
    values = {"gsmooth.Sig_6keV": 0.3, "gaussian.Sigma": 0.0, "tbabs.nH": 3.0}
    absorbed_last = evaluate("tbabs*gsmooth*(powerlaw + gaussian)", values, EDGES)
    absorbed_first = evaluate("gsmooth*tbabs*(powerlaw + gaussian)", values, EDGES)
    factor = evaluate("tbabs", {"tbabs.nH": 3.0}, EDGES)
    values.pop("tbabs.nH")
    smooth = evaluate("gsmooth*(powerlaw + gaussian)", values, EDGES)
    np.testing.assert_allclose(absorbed_last, factor * smooth, rtol=2e-6, atol=1e-30)
    assert absorbed_first[100] > 2 * absorbed_last[100]


def test_a_covered_fraction_is_a_partial_absorber():
    covered = {"partcov.CvrFract": 0.3, "phabs.nH": 2.0}
    ours = evaluate("(partcov*phabs)*powerlaw", covered, EDGES)
    factor = evaluate("phabs", {"phabs.nH": 2.0}, EDGES)
    truth = (0.7 + 0.3 * factor) * evaluate("powerlaw", {}, EDGES)
    np.testing.assert_allclose(ours, truth, rtol=1e-6)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("partcov*phabs*powerlaw", r"partcov changes a factor, .*\(partcov\*phabs\)"),
        ("powerlaw*gsmooth", "nothing follows gsmooth. Put it before"),
        ("gsmooth*tbabs", "gsmooth changes photons, but what follows is a factor"),
        ("gsmooth", "changes what follows it, but 'gsmooth' is all there is"),
        ("powerlaw + gsmooth", "gsmooth is a convolution"),
    ],
)
def test_a_convolution_in_the_wrong_place_is_refused(expression, message):
    with pytest.raises(ValueError, match=message):
        spectral_model(expression)
