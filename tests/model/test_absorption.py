"""Transmissions against those that XSPEC 12.9.1 computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from jsbi.instrument import EnergyGrid
from jsbi.model import spectral_model
from jsbi.model.absorption_table import RESONANCES
from jsbi.model.multiplicative.absorption import (
    Phabs,
    RedshiftedTBabs,
    RedshiftedWabs,
    TBabs,
    TBpcf,
    Wabs,
    mean_cross_section,
)
from jsbi.model.multiplicative.variable_absorption import (
    TBfeo,
    TBgrain,
    VariablePhabs,
    mean_transparency,
)
from jsbi.model.photoelectric import (
    TOTALS,
    fit_starts,
    morrison_mccammon,
    polynomial_starts,
    read_abundances,
)

ABSORBERS = {"TBabs": TBabs, "phabs": Phabs}
CASES = [
    ("TBabs", "wilm", ""),
    ("TBabs", "angr", "_vern_angr"),
    ("phabs", "wilm", ""),
    ("phabs", "angr", "_vern_angr"),
    ("phabs", "aspl", "_vern_aspl"),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case[:2]))
def case(request, test_data):
    """The component, its abundances, and per grid edges, columns and transmissions."""
    name, abundances, suffix = request.param
    with np.load(test_data(f"../reference/xspec/{name}.npz")) as file:
        grids = {
            grid: (
                file[f"energies_{grid}"],
                file["params"][:, 0],
                file[f"flux64_{grid}{suffix}"],
            )
            for grid in ("log", "fine")
        }
    return name, abundances, grids


def at_jump(edges):
    """Bins with an edge at an absorption edge, where rounding picks the side."""
    near = np.abs(edges / (1e-3 * fit_starts()[:, None]) - 1).min(axis=0) < 1e-6
    return near[:-1] | near[1:]


def among_resonances(name, edges):
    """Bins where we average over the bin and XSPEC over its edges."""
    low, high = edges[:-1], edges[1:]
    inside = np.zeros(len(low), bool)
    for start, end in RESONANCES.values() if name != "phabs" else ():
        inside |= (low >= start * (1 - 1e-6)) & (high <= end * (1 + 1e-6))
    return inside


def depth_tolerance(name, edges):
    """Relative tolerance of the optical depth per bin.

    Tight but where grains shade and the cross section varies inside a bin: XSPEC
    takes the mean of the edges before the shading, we after.
    """
    tolerance = np.full(len(edges) - 1, 3e-6)
    if name == "phabs":
        return tolerance
    low, high = edges[:-1], edges[1:]
    for jump in 1e-3 * fit_starts():
        tolerance[(low < jump) & (high >= jump)] = 1e-4
    tolerance[(low < 0.291) & (high >= 0.291)] = 1e-3  # K edge of carbon
    return tolerance


@pytest.mark.parametrize("grid", ["log", "fine"])
def test_transmission_is_that_of_xspec(case, grid):
    name, abundances, grids = case
    edges, columns, truth = grids[grid]
    keep = ~at_jump(edges) & ~among_resonances(name, edges)
    tolerance = depth_tolerance(name, edges)
    with jax.enable_x64(True):
        for column, expected in zip(columns, truth, strict=True):
            ours = ABSORBERS[name](column, abundances)(EnergyGrid(edges))
            seen = keep & (expected > 1e-200)
            error = np.log(np.asarray(ours)[seen]) - np.log(expected[seen])
            # Half the last digits of XSPEC's transmission near 1.
            limit = 1e-14 - tolerance[seen] * np.log(expected[seen])
            if name == "phabs":
                limit = limit + 1e-7  # XSPEC's is in float32
            assert np.all(np.abs(error) <= limit)


def test_most_bins_are_tight(case):
    name, _, grids = case
    for edges, _, _ in grids.values():
        tight = (depth_tolerance(name, edges) < 5e-6) & ~at_jump(edges)
        assert (tight & ~among_resonances(name, edges)).mean() > 0.9


@pytest.mark.slow
def test_resonances_are_averaged_over_the_bin():
    edges = np.arange(0.49, 0.595, 1e-3)
    table = read_abundances("wilm")
    inside = edges[:-1] + (np.arange(2000)[:, None] + 0.5) / 2000 * np.diff(edges)
    truth = 1e22 * TOTALS["TBabs"](inside.ravel(), table).reshape(inside.shape).mean(0)
    ours = mean_cross_section("TBabs", "wilm", jnp.asarray(edges))
    np.testing.assert_allclose(ours, truth, rtol=2e-4)
    at_edges = 1e22 * TOTALS["TBabs"](edges, table)
    xspec = 0.5 * (at_edges[1:] + at_edges[:-1])
    assert np.abs(xspec / truth - 1).max() > 0.2  # the rule that we do not follow there


@pytest.mark.slow
def test_the_mean_over_resonances_does_not_depend_on_the_binning():
    """Optical depth times width is additive there, as it is not by XSPEC's rule."""
    fine, coarse = np.arange(0.49, 0.5945, 5e-4), np.arange(0.49, 0.5945, 4e-3)
    depth = [
        np.asarray(mean_cross_section("TBabs", "wilm", jnp.asarray(edges)))
        * np.diff(edges)
        for edges in (fine[: 8 * (len(coarse) - 1) + 1], coarse)
    ]
    np.testing.assert_allclose(depth[0].reshape(-1, 8).sum(1), depth[1], rtol=1e-4)


@pytest.mark.parametrize("grid", ["log", "fine"])
def test_float32_suffices(case, grid):
    name, abundances, grids = case
    edges, columns, _ = grids[grid]
    away = ~at_jump(edges)
    for column in columns[1:]:
        single = ABSORBERS[name](column, abundances)(EnergyGrid(edges))
        assert single.dtype == jnp.float32
        with jax.enable_x64(True):
            double = ABSORBERS[name](column, abundances)(EnergyGrid(edges))
        seen = away & (np.asarray(double) > 1e-6)
        ratio = np.asarray(single, float)[seen] / np.asarray(double)[seen]
        # Among resonances a bin is the difference of two rounded integrals.
        limit = np.where(among_resonances(name, edges)[seen], 3e-4, 1e-4)
        assert np.all(np.abs(ratio - 1) < limit)


@pytest.mark.parametrize("absorber", [TBabs, Phabs])
@pytest.mark.parametrize("column", [0.0, 1e-3, 1.0, 1e4])
def test_transmission_and_gradient_are_finite(absorber, column):
    grid = EnergyGrid(np.geomspace(0.01, 150.0, 500))

    def total(value):
        return absorber(value)(grid).sum()

    transmission = absorber(column)(grid)
    assert np.all((transmission >= 0) & (transmission <= 1))
    slope = jax.grad(total)(jnp.asarray(column, jnp.float32))
    assert np.isfinite(slope)
    assert slope < 0


@pytest.mark.slow
@pytest.mark.parametrize("absorber", [TBabs, Phabs])
def test_gradient_with_respect_to_the_column(absorber):
    grid, column = EnergyGrid(np.geomspace(0.2, 12.0, 300)), 0.3
    slope = jax.jacfwd(lambda value: absorber(value)(grid))(jnp.asarray(column))
    sigma = mean_cross_section(absorber.xspec_name, "wilm", grid.edges)
    np.testing.assert_allclose(slope, -sigma * jnp.exp(-column * sigma), rtol=1e-5)


@pytest.mark.parametrize("absorber", [TBabs, Phabs])
def test_columns_add(absorber):
    grid = EnergyGrid(np.geomspace(0.3, 12.0, 300))
    together = absorber(0.7)(grid)
    np.testing.assert_allclose(
        (absorber(0.2) * absorber(0.5))(grid), together, rtol=2e-5
    )


@pytest.mark.parametrize("absorber", [TBabs, Phabs])
def test_transparent_outside_the_data(absorber):
    below, above = (
        EnergyGrid(np.array([0.005, 0.013])),
        EnergyGrid(np.array([100, 120.0])),
    )
    np.testing.assert_array_equal(absorber(1e3)(below), 1)
    np.testing.assert_array_equal(absorber(1e3)(above), 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zTBabs", "TBgas"])
def test_kinds_without_grains_are_those_of_xspec_at_any_redshift(kind, test_data):
    with np.load(test_data(f"../reference/xspec/{kind}.npz")) as file:
        edges, cases, truth = (
            file[name] for name in ("energies_log", "params", "flux64_log")
        )
    with jax.enable_x64(True):
        for (column, redshift), expected in zip(cases[1:], truth[1:], strict=True):
            shifted = edges * (1 + redshift)
            sigma = mean_cross_section(kind, "wilm", jnp.asarray(shifted))
            seen = (expected > 1e-200) & ~among_resonances(kind, shifted)
            depth = -np.log(expected[seen])
            np.testing.assert_allclose(column * sigma[seen], depth, rtol=6e-6)


@pytest.mark.slow
def test_dust_and_molecules_change_the_absorption():
    edges = np.geomspace(0.3, 0.48, 10)
    kinds = ("TBabs", "zTBabs", "TBgas")
    tbabs, no_grains, gas = (
        mean_cross_section(kind, "wilm", jnp.asarray(edges)) for kind in kinds
    )
    assert np.all(tbabs < no_grains)  # grains shade
    assert np.all(no_grains > gas)  # a bound atom absorbs more than a free one


def test_unknown_abundances_are_refused():
    with pytest.raises(ValueError, match="Unknown abundance table 'solar'"):
        TBabs(1.0, "solar")


@pytest.mark.parametrize("abundances", ["wilm", "angr"])
def test_transmission_with_polynomial_cross_sections_is_that_of_xspec(
    abundances, test_data
):
    """But in bins with an edge, where XSPEC averages logarithms.

    Its helium is 9e-5 less than published, and it takes the middle of a bin, we the
    mean of its edges.
    """
    with np.load(test_data("../reference/xspec/phabs.npz")) as file:
        columns, edges = file["params"][:, 0], file["energies_log"]
        truth = file[f"flux64_log_bcmc_{abundances}"]
    jumps = 1e-3 * polynomial_starts()[:, None]
    jump = np.any((edges[:-1] <= jumps) & (edges[1:] >= jumps), axis=0)
    assert jump.sum() < 30
    with jax.enable_x64(True):
        sigma = np.asarray(
            mean_cross_section("phabs bcmc", abundances, jnp.asarray(edges))
        )
    for column, expected in zip(columns[1:], truth[1:], strict=True):
        seen = ~jump & (expected > 1e-200) & (expected < 0.999)
        depth = -np.log(expected[seen])
        np.testing.assert_allclose(column * sigma[seen], depth, rtol=7e-5)
        hard = edges[:-1][seen] > 1
        np.testing.assert_allclose(column * sigma[seen][hard], depth[hard], rtol=5e-5)


def test_unknown_cross_sections_are_refused():
    with pytest.raises(ValueError, match="Unknown cross sections 'bcmd'"):
        Phabs(1.0, "wilm", "bcmd")


def test_the_choice_of_cross_sections_is_not_for_tbabs():
    edges = np.geomspace(0.3, 10, 50)
    grid = EnergyGrid(edges)
    chosen = spectral_model("tbabs", cross_sections="bcmc")()(grid)
    np.testing.assert_array_equal(chosen, TBabs()(grid))


WIDE = EnergyGrid(np.append(np.geomspace(0.02, 0.484, 200), np.geomspace(0.9, 50, 200)))


@pytest.mark.slow
def test_variable_absorbers_are_the_plain_ones_by_default():
    for ours in (TBfeo(0.3), TBgrain(0.3), TBpcf(0.3, 1.0)):
        np.testing.assert_allclose(ours(WIDE), TBabs(0.3)(WIDE), rtol=3e-5, atol=1e-12)
    for choice in ("vern", "bcmc"):
        ours = VariablePhabs(nH=0.3, cross_sections=choice)(WIDE)
        plain = Phabs(0.3, cross_sections=choice)(WIDE)
        np.testing.assert_allclose(ours, plain, rtol=3e-5, atol=1e-12)


@pytest.mark.slow
def test_grains_among_resonances_shade_as_in_tbabs():
    with jax.enable_x64(True):
        grid = EnergyGrid(np.arange(0.5, 0.58, 1e-3))
        plain, ours = (np.log(each(grid)) for each in (TBabs(0.3), TBgrain(0.3)))
    np.testing.assert_allclose(ours, plain, rtol=3e-4)


@pytest.mark.slow
def test_grains_without_density_are_gas():
    molecules = mean_cross_section("zTBabs", "wilm", WIDE.edges)
    gas = TBgrain(0.3, rho=0.0)(WIDE)
    np.testing.assert_allclose(gas, jnp.exp(-0.3 * molecules), rtol=3e-5, atol=1e-12)
    gas = RedshiftedTBabs(0.3)(WIDE)
    np.testing.assert_allclose(gas, jnp.exp(-0.3 * molecules), rtol=1e-6, atol=1e-30)


def test_an_absorber_that_covers_nothing_takes_nothing():
    np.testing.assert_array_equal(TBpcf(10.0, 0.0)(WIDE), 1)


@pytest.mark.parametrize("slope", [0.0, 2.0, 3.0, 3.5, 4.0, 4.5, 5.0])
@pytest.mark.parametrize(
    ("small", "large"), [(0.025, 0.25), (0.1, 0.1), (0.25, 0.03), (1e-6, 1.0)]
)
def test_transparency_is_the_mean_over_the_mass_of_the_grains(slope, small, large):
    opacity = np.array([0.0, 1e-3, 0.3, 3.0, 30.0])

    def transparency(depth):
        return -np.expm1(-depth) / depth if depth > 0 else 1.0

    def mean(opacity):
        if small == large:
            return transparency(opacity * small)
        ends = np.log(sorted((small, large)))
        weight, total = (
            quad(function, *ends, epsabs=0, epsrel=1e-9, limit=200)[0]
            for function in (
                lambda x: np.exp((4 - slope) * x),
                lambda x: np.exp((4 - slope) * x) * transparency(opacity * np.exp(x)),
            )
        )
        return total / weight

    truth = np.array([mean(each) for each in opacity])
    with jax.enable_x64(True):
        ours = mean_transparency(
            jnp.asarray(opacity),
            (jnp.asarray(small), jnp.asarray(large)),
            jnp.asarray(slope),
        )
    np.testing.assert_allclose(ours, truth, rtol=3e-5 if small < 1e-3 else 1e-6)


def test_wabs_averages_the_transmission():
    starts, *coefficients = morrison_mccammon()

    def transmission(energy, column=0.3):
        fit = np.searchsorted(starts, energy, "right") - 1
        c_0, c_1, c_2 = (each[fit] for each in coefficients)
        sigma = 1e-2 * (c_0 + c_1 * energy + c_2 * energy**2) / energy**3
        return np.exp(-column * sigma)

    edges = np.array([0.2, 0.25, 0.5, 0.6, 1.0, 2.0, 2.5, 5.0, 9.0, 12.0])
    truth = [
        quad(transmission, *ends, points=starts[1:-1], epsrel=1e-9, limit=200)[0]
        for ends in zip(edges[:-1], edges[1:], strict=True)
    ] / np.diff(edges)
    np.testing.assert_allclose(Wabs(0.3)(EnergyGrid(edges)), truth, rtol=2e-5)


def test_wabs_is_that_of_xspec_by_the_trapezoid(test_data):
    with np.load(test_data("../reference/xspec/wabs.npz")) as file:
        edges, cases = file["energies_log"], file["params"][1:, 0]
        truth = file["flux64_log"][1:]
    starts, *coefficients = morrison_mccammon()
    fit = np.searchsorted(starts, edges, "right") - 1
    c_0, c_1, c_2 = (each[fit] for each in coefficients)
    sigma = 1e-2 * (c_0 + c_1 * edges + c_2 * edges**2) / edges**3
    jump = np.any((edges[:-1] <= starts[:, None]) & (edges[1:] >= starts[:, None]), 0)
    for column, expected in zip(cases, truth, strict=True):
        at_edges = np.exp(-column * sigma)
        seen = ~jump & (expected > 1e-20)
        rule = 0.5 * (at_edges[1:] + at_edges[:-1])[seen]
        np.testing.assert_allclose(rule, expected[seen], rtol=1e-6)


def test_wabs_at_a_redshift_is_wabs_at_the_energies_there():
    edges = np.geomspace(0.1, 12, 100)
    there = Wabs(0.3)(EnergyGrid(1.5 * edges))
    shifted = RedshiftedWabs(0.3, 0.5)(EnergyGrid(edges))
    np.testing.assert_allclose(shifted, there, rtol=2e-5)


def test_wabs_is_transparent_below_the_ionisation_of_hydrogen():
    np.testing.assert_array_equal(Wabs(1e6)(EnergyGrid(np.array([0.01, 0.013]))), 1)


def test_jit_and_vmap():
    grid = EnergyGrid(np.geomspace(0.3, 12.0, 100))
    columns = jnp.array([0.1, 1.0, 3.0])
    many = jax.jit(jax.vmap(lambda column: TBabs(column)(grid)))(columns)
    for row, column in zip(many, columns, strict=True):
        np.testing.assert_allclose(row, TBabs(column)(grid), rtol=1e-5, atol=1e-30)
