"""Every component: XSPEC's numbers, quadrature of its formula, and shared laws."""

import dataclasses
import importlib
import itertools
import math
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erf, erfc

import jsbi.model
from jsbi.instrument import EnergyGrid
from jsbi.model import (
    COMPONENTS,
    Convolution,
    SpectralModel,
    evaluate,
    find_component,
)
from tests.model.entries.entry import applied

EDGES = np.geomspace(0.1, 12.0, 301)
NARROW = np.arange(6.3, 6.5, 5e-4)


FILES = sorted((Path(__file__).parent / "entries").glob("*.py"))
ENTRIES = [
    importlib.import_module(f"tests.model.entries.{path.stem}")
    for path in FILES
    if path.stem != "entry"
]
REGISTRY = {name: entry for part in ENTRIES for name, entry in part.ENTRIES.items()}
CASES = [(name, case) for name, entry in REGISTRY.items() for case in entry.cases]
ADDITIVE = [
    (name, case)
    for name, case in CASES
    if issubclass(find_component(name), SpectralModel)
]
FORMULAE = [(name, case) for name, case in CASES if REGISTRY[name].density]
XSPEC = [name for name, entry in REGISTRY.items() if entry.xspec]
# One or more of every kind, for which all laws are tested in the quick run too.
QUICK = {"powerlaw", "gaussian", "TBabs", "edge", "cflux"}


def laws(cases):
    """Cases, or names; those of components that are not quick carry `long`."""
    rows = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [
        pytest.param(*row, marks=() if row[0] in QUICK else pytest.mark.long)
        for row in rows
    ]


@eqx.filter_jit
def spectrum_of(model, grid, *changed):
    return model(grid, *changed)


def values(name, case, edges=EDGES, changed=None):
    """The component on these bins, in float64 whatever the precision."""
    component, grid = find_component(name)(*case), EnergyGrid(edges)
    if changed is None:
        return np.asarray(spectrum_of(applied(component), grid), np.float64)
    given = jnp.asarray(changed, float)
    return np.asarray(spectrum_of(component, grid, given), np.float64)


def arguments(name, case):
    """Parameters with a norm of 1 where there is one, as arrays."""
    number = len(find_component(name).parameters())
    return tuple(map(jnp.asarray, (*case, 1.0)[:number]))


@dataclasses.dataclass(frozen=True)
class Reference:
    """A spectrum of XSPEC: edges, parameters, what it changed if anything, result."""

    edges: np.ndarray
    case: tuple
    changed: np.ndarray | None
    truth: np.ndarray


def read_reference(path):
    """Names of the parameters, and every spectrum."""
    with np.load(path) as file:
        spectra = [
            Reference(
                file[f"energies_{key.split('_')[1]}"],
                tuple(case),
                file.get(f"input_flux_{key.split('_')[1]}"),
                np.float64(spectrum),
            )
            for key in file
            if key.startswith("flux") and len(key.split("_")) == 2
            for case, spectrum in zip(file["params"].tolist(), file[key], strict=True)
        ]
        return file["param_names"].tolist(), spectra


def test_every_component_is_in_the_registry():
    assert {component.xspec_name for component in COMPONENTS} == set(REGISTRY)
    assert {getattr(jsbi.model, each.__name__) for each in COMPONENTS} == {*COMPONENTS}


@pytest.mark.parametrize("name", XSPEC)
def test_spectra_are_those_of_xspec(name, test_data):
    entry = REGISTRY[name]
    relative, absolute = entry.xspec
    _, spectra = read_reference(test_data(f"../reference/xspec/{name}.npz"))
    assert len(spectra) >= 2
    with jax.enable_x64(True):
        for each in spectra:
            ours = values(name, each.case, each.edges, each.changed)
            seen = np.ones(len(ours), bool)
            if entry.unlike is not None:
                seen = ~entry.unlike(each.edges, *each.case)
                assert seen.mean() > 0.5
            floor = relative * 1e-6 * each.truth.max() + absolute
            np.testing.assert_allclose(
                ours[seen], each.truth[seen], rtol=relative, atol=floor
            )


@pytest.mark.parametrize("name", laws(XSPEC))
def test_float32_suffices_where_there_is_flux(name, test_data):
    _, spectra = read_reference(test_data(f"../reference/xspec/{name}.npz"))
    for each in spectra:
        # At the parameters as float32 holds them.
        case = tuple(np.float32(each.case).tolist())
        with jax.enable_x64(True):
            double = values(name, case, each.edges, each.changed)
        seen = (double >= 1e-6 * double.max()) & (each.truth > 1e-30)
        single = values(name, case, each.edges, each.changed)
        tolerance = REGISTRY[name].single(*case)
        np.testing.assert_allclose(single[seen], double[seen], rtol=tolerance)


@pytest.mark.parametrize(("name", "case"), laws(FORMULAE))
def test_bins_hold_the_integral_of_the_formula(name, case):
    density = REGISTRY[name].density
    bins = np.arange(0, 300, 23)
    truth = [
        quad(density, *EDGES[i : i + 2], case, epsabs=0, epsrel=1e-8)[0] for i in bins
    ]
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            values(name, case)[bins], truth, rtol=REGISTRY[name].quadrature
        )


@pytest.mark.parametrize("edges", [EDGES, NARROW], ids=["wide bins", "narrow bins"])
@pytest.mark.parametrize(
    ("energy", "sigma"),
    [(6.4, 0.1), (6.4, 5e-5), (6.4, 2e-3), (1.0, 0.3), (0.0, 0.5), (6.5, 20.0)],
)
def test_a_line_is_a_difference_of_error_functions(energy, sigma, edges):
    low, high = (
        (side - energy) / sigma / np.sqrt(2) for side in (edges[:-1], edges[1:])
    )
    truth = 0.5 * np.where(low > 0, erfc(low) - erfc(high), erf(high) - erf(low))
    with jax.enable_x64(True):
        ours = values("gaussian", (energy, sigma), edges)
    np.testing.assert_allclose(ours, truth, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("sigma", "tolerance"), [(0.0, 0), (1e-9, 0), (1e-4, 1e-6), (0.05, 2e-6)]
)
def test_a_line_inside_the_grid_keeps_its_photons(sigma, tolerance):
    line = find_component("gaussian")(6.4, sigma, 3.0)
    total = line(EnergyGrid(EDGES)).sum()
    np.testing.assert_allclose(total, 3.0, rtol=tolerance)


def test_a_line_without_width_is_in_the_bin_that_ends_at_its_energy():
    line = values("gaussian", (6.5, 0.0), np.array([6.0, 6.5, 7.0]))
    np.testing.assert_array_equal(line, [1, 0])
    assert values("gaussian", (13.0, 0.0)).sum() == 0


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "case"), laws(each for each in ADDITIVE if REGISTRY[each[0]].additivity)
)
def test_photons_do_not_depend_on_the_binning(name, case, double):
    with jax.enable_x64(double):
        coarse = values(name, case, EDGES[::10])
        fine = values(name, case, EDGES).reshape(-1, 10).sum(1)
    entry = REGISTRY[name]
    tolerance = entry.additivity if double else entry.single(*case) / 10
    np.testing.assert_allclose(
        fine, coarse, rtol=tolerance, atol=tolerance * 1e-6 * coarse.max()
    )


@pytest.mark.parametrize(("name", "case"), laws(ADDITIVE))
def test_flux_is_linear_in_the_norm(name, case):
    one = values(name, (*case, 1.0))
    np.testing.assert_allclose(
        values(name, (*case, 2.5)), 2.5 * one, rtol=1e-6, atol=1e-36
    )
    assert np.all(values(name, (*case, 0.0)) == 0)
    assert np.all(one >= 0)


def places(ranges, most):
    """All combinations of the values, or a random part of them."""
    if math.prod(map(len, ranges)) <= most:
        return jnp.asarray(list(itertools.product(*ranges)), jnp.float32)
    generator = np.random.default_rng(0)
    columns = [generator.choice(values, most) for values in ranges]
    return jnp.asarray(np.stack(columns, 1), jnp.float32)


@pytest.mark.parametrize("name", laws(REGISTRY))
def test_value_and_gradient_are_finite_everywhere_in_range(name):
    component = find_component(name)
    ranges = []
    for declared in component.parameters().values():
        low, high = declared.low, declared.high
        if low < 0:
            ranges.append([low, 0.0, 1.0, 1 + 1e-4, 1 + 1e-7, 2.0, high])
        else:
            inner = np.geomspace(max(low, 1e-5), high, 7)
            ranges.append([low, declared.default, 6.4, *inner])
    points = places(ranges, REGISTRY[name].points)
    if "norm" in (declared.name for declared in component.parameters().values()):
        points = points[points[:, -1] <= 1]
    grid = EnergyGrid(np.append(EDGES[::5], [20.0, 40.0, 150.0]))

    def spectrum(point):
        return applied(component(*point))(grid)

    def total(point):
        return spectrum(point).sum()

    forward = jax.jacfwd(spectrum)
    value, rows, slope = jax.jit(
        jax.vmap(
            lambda point: (spectrum(point), forward(point), jax.grad(total)(point))
        )
    )(points)
    for result in (value, rows, slope):
        bad = ~np.isfinite(result).reshape(len(points), -1).all(1)
        assert not bad.any(), points[bad][:5]


@pytest.mark.parametrize("name", laws(REGISTRY))
def test_gradient_is_the_derivative(name):
    component = find_component(name)
    with jax.enable_x64(True):
        grid = EnergyGrid(EDGES[::6])

        def spectrum(point):
            return applied(component(*point))(grid)

        def difference(point, step):
            return (spectrum(point + step) - spectrum(point - step)) / (2 * step.sum())

        @jax.jit
        def both(point):
            steps = jnp.diag(1e-6 * jnp.maximum(1e-3, jnp.abs(point)))
            differences = jax.vmap(difference, (None, 0), 1)(point, steps)
            return jax.jacfwd(spectrum)(point), differences

        for case in REGISTRY[name].cases:
            point = jnp.stack(arguments(name, case))
            ours, truth = both(point)
            scale = np.abs(truth).max(0)
            # Of the difference, where the spectrum does not depend on a switch.
            step = 1e-6 * np.maximum(1e-3, np.abs(point))
            rounding = 1e-14 * np.abs(spectrum(point)).max() / step
            tolerance = 1e-6 * (np.abs(truth) + scale) + rounding
            assert np.all(np.abs(ours - truth) <= tolerance)


@pytest.mark.parametrize("name", laws(REGISTRY))
def test_constructor_and_expression_take_the_defaults_of_xspec(name):
    defaults = REGISTRY[name].defaults
    component = find_component(name)
    declared = [declared.default for declared in component.parameters().values()]
    assert tuple(declared) == (*defaults, 1.0)[: len(declared)]
    expected = values(name, defaults)
    ours = spectrum_of(applied(component()), EnergyGrid(EDGES))
    np.testing.assert_array_equal(ours, expected)
    if not issubclass(component, Convolution):
        np.testing.assert_allclose(evaluate(name, {}, EDGES), expected, rtol=1e-5)


@pytest.mark.parametrize("name", REGISTRY)
def test_parameters_have_the_names_and_the_order_of_xspec(name, test_data):
    names, _ = read_reference(test_data(f"../reference/xspec/{name}.npz"))
    component = find_component(name)
    ours = [declared.name for declared in component.parameters().values()]
    additive = issubclass(component, SpectralModel)
    assert ours == [*names, "norm"] if additive else ours == names


@pytest.mark.parametrize("name", REGISTRY)
def test_defaults_lie_within_the_limits(name):
    for declared in find_component(name).parameters().values():
        assert declared.low <= declared.default <= declared.high


@pytest.mark.parametrize("name", laws(REGISTRY))
def test_jit_and_vmap_change_nothing(name):
    component, cases = find_component(name), REGISTRY[name].cases
    grid = EnergyGrid(EDGES)
    columns = map(
        jnp.stack, zip(*(arguments(name, case) for case in cases), strict=True)
    )
    many = jax.jit(jax.vmap(lambda *row: applied(component(*row))(grid)))(*columns)
    eager = applied(component(*arguments(name, cases[-1])))(grid)
    floor = 1e-8 * np.asarray(eager).max()
    np.testing.assert_allclose(many[-1], eager, rtol=2e-5, atol=floor)
    for row, case in zip(many, cases, strict=True):
        jitted = values(name, case)
        floor = 1e-8 * jitted.max()
        np.testing.assert_allclose(row, jitted, rtol=2e-5, atol=floor)


@pytest.mark.parametrize("name", laws(REGISTRY))
def test_another_value_of_a_parameter_does_not_recompile(name):
    traces = []
    grid = EnergyGrid(EDGES)

    @eqx.filter_jit
    def spectrum(model):
        traces.append(name)
        return model(grid)

    component = find_component(name)
    for case in REGISTRY[name].cases:
        spectrum(applied(component(*case)))
    assert len(traces) == 1


@pytest.mark.parametrize("name", ["TBabs", "phabs"])
def test_absorption_takes_away_photons(name):
    one, two = values(name, (0.2,)), values(name, (0.4,))
    assert np.all((two >= 0) & (two <= one) & (one <= 1))
    np.testing.assert_allclose(two, one**2, rtol=1e-5, atol=1e-36)
    np.testing.assert_array_equal(values(name, (0.0,)), 1)


def test_integer_parameters_are_numbers_too():
    component = find_component("powerlaw")
    np.testing.assert_array_equal(
        component(2, 3)(EnergyGrid(EDGES)), component(2.0, 3.0)(EnergyGrid(EDGES))
    )


def test_black_bodies_of_one_temperature_differ_in_norm_only():
    ratio = values("bbody", (0.7,)) / values("bbodyrad", (0.7,))
    np.testing.assert_allclose(ratio, 8.0525 / 1.0344e-3 / 0.7**4, rtol=1e-5)


def test_a_disk_is_a_power_law_of_index_two_thirds_below_its_temperature():
    edges = np.array([0.010, 0.01001, 0.020, 0.02002])
    low, _, high = values("diskbb", (50.0,), edges) / np.diff(edges)
    assert np.log(high / low) / np.log(2) == pytest.approx(-2 / 3, abs=2e-3)
