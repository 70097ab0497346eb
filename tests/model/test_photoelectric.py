"""Cross sections against those of XSPEC 12.9.1 in double precision."""

import time

import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.model.absorption_table import LEAST, absorption_table, parts_table
from jsbi.model.photoelectric import (
    ATOMIC_MASS_UNIT,
    ATOMIC_WEIGHT,
    ELEMENTS,
    GAS_FRACTION,
    GRAIN_DENSITY,
    GRAIN_RADII,
    HIGHEST_ENERGY,
    LOWEST_ENERGY,
    MOLECULAR_FRACTION,
    PARTS,
    TOTALS,
    _read_table,
    balucinska_church_mccammon_cross_sections,
    check_cross_sections,
    dust_masses,
    fit_starts,
    morrison_mccammon,
    near_edge,
    phabs_parts,
    phabs_total,
    polynomial_starts,
    read_abundances,
    tbabs_cross_sections,
    tbabs_parts,
    tbabs_total,
    verner_cross_sections,
)

ATOMIC_NUMBERS = [1, 2, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 20, 24, 26, 27, 28]
TABLES = ("wilm", "angr", "aspl")


@pytest.fixture(scope="module")
def reference(test_data):
    with np.load(test_data("../reference/cross_sections.npz")) as file:
        return dict(file)


def relative(value, truth):
    return np.abs(value / truth - 1)


def resonant(energy):
    """Whether the cross section has narrow resonances here [keV]."""
    ranges = [(0.0469, 0.0661), (0.49, 0.5846), (0.7, 0.7465), (0.865, 0.8703)]
    return np.any([(energy > low) & (energy < high) for low, high in ranges], axis=0)


def random_energies(number, low=LOWEST_ENERGY, high=HIGHEST_ENERGY):
    """Energies [keV] that are not within 1e-6 of a jump."""
    rng = np.random.default_rng(1)
    energy = np.exp(rng.uniform(np.log(low), np.log(high), number))
    tables = np.concatenate([near_edge(name)[0][[0, -1]] for name in ("O", "Ne", "Fe")])
    starts = 1e-3 * np.append(fit_starts(), polynomial_starts().clip(1))
    jumps = np.concatenate(
        [starts, tables, [0.795, 0.0154, 0.018, 0.02458, 0.03, 0.085]]
    )
    return energy[np.abs(energy / jumps[:, None] - 1).min(axis=0) > 1e-6]


def test_verner_cross_section_of_every_element(reference):
    truth = reference["verner96_cm2_f64"][np.array(ATOMIC_NUMBERS) - 1]
    ours = verner_cross_sections(reference["energy_keV"])
    np.testing.assert_allclose(ours, truth, rtol=1e-13)


def test_polynomial_cross_section_of_every_element(reference):
    truth = reference["bcmc_cm2_f64"][np.array(ATOMIC_NUMBERS) - 1]
    ours = balucinska_church_mccammon_cross_sections(reference["energy_keV"])
    error = relative(ours, truth).max(axis=1)
    helium = ELEMENTS.index("He")
    # XSPEC's units are cut after seven digits; its helium goes through a rounded mass.
    assert np.delete(error, helium).max() < 2.5e-6
    assert error[helium] < 1e-4


def test_polynomials_go_on_smoothly_below_the_data_they_were_made_for():
    energy = np.array([0.0136, 0.02, 0.0299, 0.03])
    atoms = balucinska_church_mccammon_cross_sections(energy)
    without_helium = np.delete(atoms, ELEMENTS.index("He"), axis=0)
    scaled = without_helium * energy**3
    np.testing.assert_allclose(scaled, np.broadcast_to(scaled[:, -1:], scaled.shape))


def test_fits_of_morrison_and_mccammon(reference):
    energy = reference["energy_keV"]
    starts, *coefficients = morrison_mccammon()
    fit = np.searchsorted(starts, energy, "right") - 1
    c_0, c_1, c_2 = (column[fit] for column in coefficients)
    ours = 1e-24 * (c_0 + c_1 * energy + c_2 * energy**2) / energy**3
    away = np.abs(energy / starts[1:, None] - 1).min(axis=0) > 1e-9
    truth = reference["wabs_total_cm2_per_H"]
    np.testing.assert_allclose(ours[away], truth[away], rtol=1e-10)


def test_tbabs_cross_section_of_every_species(reference):
    assert (*ELEMENTS, "H2") == tuple(reference["tbnew_species"])
    error = relative(
        tbabs_cross_sections(reference["energy_keV"]),
        reference["tbnew_species_cm2_f64"],
    ).max(axis=1)
    tabulated = np.isin(ELEMENTS, ("O", "Ne", "Fe"))
    assert error[:-1][~tabulated].max() < 1e-13
    assert error[-1] < 1e-13
    assert error[:-1][tabulated].max() < 5e-6  # six digits on steep flanks


@pytest.mark.parametrize("abundances", TABLES)
def test_totals_per_hydrogen_atom(reference, abundances):
    energy, table = reference["energy_keV"], read_abundances(abundances)
    for ours, name, tolerance in (
        (phabs_total(energy, table), "phabs_vern_total", 1e-13),
        (phabs_total(energy, table, "bcmc"), "phabs_bcmc_total", 1e-4),
        (tbabs_total(energy, table), "tbabs_total", 4e-6),
        (tbabs_total(energy, table, grains=False), "tbabs_nograin_total", 4e-6),
    ):
        truth = reference[f"{name}_{abundances}_cm2_per_H"]
        assert relative(ours, truth).max() < tolerance
        if name != "phabs_bcmc_total":
            assert relative(ours, truth)[~resonant(energy)].max() < 1e-12


def test_total_at_one_kev():
    total = tbabs_total(np.array([1.00066]), read_abundances("wilm"))
    assert total[0] == pytest.approx(1.7345e-22, rel=1e-4)


@pytest.mark.parametrize(
    "name", ["angr", "wilm", "aspl", "feld", "aneb", "grsa", "lodd"]
)
def test_abundance_tables(reference, name):
    truth = reference[f"abund_{name}"][np.array(ATOMIC_NUMBERS) - 1]
    np.testing.assert_array_equal(read_abundances(name), truth)


def test_unknown_abundance_table_is_refused():
    with pytest.raises(ValueError, match="'wilms'. Known: angr, wilm"):
        read_abundances("wilms")


def test_unknown_cross_sections_are_refused():
    with pytest.raises(ValueError, match="'obcm'. Known: vern, bcmc"):
        check_cross_sections("obcm")


@pytest.mark.parametrize("cross_sections", ["vern", "bcmc"])
def test_elements_add_up_to_the_total_of_atoms(cross_sections):
    energy, table = np.geomspace(0.02, 90, 50), read_abundances("lodd")
    parts = phabs_parts(energy, table, cross_sections)
    total = phabs_total(energy, table, cross_sections)
    np.testing.assert_allclose(parts.sum(0), total, rtol=1e-13)


def test_parts_add_up_to_the_total_without_shading():
    energy, table = np.geomspace(0.02, 90, 50), read_abundances("lodd")
    atoms, molecules, *others = tbabs_parts(energy, table)
    hydrogen = (1 - MOLECULAR_FRACTION) * atoms + MOLECULAR_FRACTION * molecules
    total = tbabs_total(energy, table, grains=False)
    np.testing.assert_allclose(hydrogen + sum(others), total, rtol=1e-13)
    mass = float(table @ ((1 - GAS_FRACTION) * ATOMIC_WEIGHT))
    assert sum(dust_masses(table)) == pytest.approx(mass)


def test_resonance_tables_join_the_fits():
    for element, end in (("O", -1), ("Fe", 0)):
        around = near_edge(element)[0][end] * np.array([1 - 1e-7, 1 + 1e-7])
        below, above = tbabs_cross_sections(around)[ELEMENTS.index(element)]
        assert below == pytest.approx(above, rel=5e-3)


def test_threshold_cross_sections():
    """Below the reference's 0.1 keV: hydrogen 6.3 Mb and helium 7.4 Mb at threshold."""
    energy = np.array([0.013601, 0.02459])
    for sigma in (verner_cross_sections(energy), tbabs_cross_sections(energy)):
        assert sigma[0, 0] == pytest.approx(6.3e-18, rel=0.01)
        assert sigma[1, 0] == 0
        assert sigma[1, 1] == pytest.approx(7.4e-18, rel=0.02)


def test_outer_fits_end_where_an_inner_shell_begins():
    fits = _read_table("verner.csv")
    outer = fits["shell"] == "outer"
    for element, end in zip(fits["element"][outer], fits["upper"][outer], strict=True):
        inner = fits["threshold"][(fits["element"] == element) & ~outer]
        assert np.isinf(end) if element in ("H", "He") else end in inner


def test_grains_shade_their_inside():
    energy, table = np.geomspace(0.1, 90, 50), read_abundances("wilm")
    shaded, gas = tbabs_total(energy, table), tbabs_total(energy, table, grains=False)
    assert np.all(shaded < gas)
    assert shaded[-1] == pytest.approx(gas[-1], rel=1e-6)  # transparent grains


def test_grain_shading_is_the_integral_over_their_sizes():
    energy, table = np.array([0.3, 0.55, 1.0, 7.2]), read_abundances("wilm")
    dust = table * (1 - GAS_FRACTION)
    sigma = dust @ tbabs_cross_sections(energy)[:-1]
    mass = ATOMIC_MASS_UNIT * dust @ ATOMIC_WEIGHT
    nodes, weights = np.polynomial.legendre.leggauss(200)
    low, high = GRAIN_RADII
    radius = low + (high - low) * (nodes + 1) / 2
    grain_mass = 4 / 3 * np.pi * radius**3 * GRAIN_DENSITY
    number = mass / (weights @ (radius**-3.5 * grain_mass))
    depth = 4 / 3 * GRAIN_DENSITY * radius * sigma[:, None] / mass
    disk = np.pi * radius**2 * -np.expm1(-depth)
    truth = number * (disk * radius**-3.5) @ weights
    difference = tbabs_total(energy, table) - tbabs_total(energy, table, grains=False)
    np.testing.assert_allclose(difference + sigma, truth, rtol=1e-10)


@pytest.mark.parametrize("kind", TOTALS)
def test_nothing_absorbs_outside_the_range(kind):
    energy = np.array([1e-3, 0.0135, 100.0, 500.0])
    np.testing.assert_array_equal(TOTALS[kind](energy, read_abundances("wilm")), 0)


@pytest.mark.parametrize("kind", TOTALS)
def test_table_reproduces_the_total(kind):
    energy = random_energies(20_000)
    truth = 1e22 * TOTALS[kind](energy, read_abundances("wilm"))
    error = relative(
        np.exp(np.interp(np.log(energy), *absorption_table(kind, "wilm"))), truth
    )
    narrow = resonant(energy) & (kind != "phabs")
    assert error[~narrow].max() < 1.01e-6
    assert narrow.any() == (kind != "phabs")
    if narrow.any():
        assert error[narrow & (energy > 0.1)].max() < 1.1e-4
        assert error[narrow].max() < 1e-2  # the narrowest resonances of helium


@pytest.mark.parametrize("kind", TOTALS)
def test_table_works_in_float32(kind):
    energy = random_energies(20_000, 0.1)
    energy = energy[~resonant(energy)].astype(np.float32)
    truth = 1e22 * TOTALS[kind](energy.astype(float), read_abundances("angr"))
    knots, values = (
        jnp.asarray(x, jnp.float32) for x in absorption_table(kind, "angr")
    )
    assert knots.dtype == jnp.float32
    assert np.all(np.diff(np.asarray(knots)) > 0)
    ours = np.exp(np.asarray(jnp.interp(jnp.log(energy), knots, values), float))
    jumps = 1e-3 * np.append(fit_starts(), polynomial_starts().clip(1))
    far = np.abs(energy / jumps[:, None] - 1).min(axis=0) > 1e-6
    assert relative(ours, truth)[far].max() < 5e-6


def test_tables_are_small_quick_cached_and_read_only():
    parts_table.cache_clear()
    start = time.process_time()
    table = parts_table("TBabs", "wilm")
    assert (
        time.process_time() - start < 2.0
    )  # of this process; 0.2 s where nothing else runs
    assert parts_table("TBabs", "wilm") is table
    assert len(table[0]) < 6000
    assert len(absorption_table("phabs", "wilm")[0]) < 2000
    with pytest.raises(ValueError, match="read-only"):
        table[0][0] = 0.0


@pytest.mark.parametrize("kind", PARTS)
def test_table_reproduces_every_part(kind):
    energy = random_energies(5000)
    truth = 1e22 * PARTS[kind](energy, read_abundances("wilm"))
    knots, values = parts_table(kind, "wilm")
    for line, part in zip(values, truth, strict=True):
        ours = np.exp(np.interp(np.log(energy), knots, line))
        seen = (part > 2 * LEAST) & ~resonant(energy)
        assert relative(ours[seen], part[seen]).max() < 5e-6
        assert np.all(ours[part == 0] < 2 * LEAST)
    assert len(knots) < 12_000
