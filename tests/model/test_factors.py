"""Factors that have a formula: their average over each bin, wherever it jumps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from jsbi.instrument import EnergyGrid
from jsbi.model import find_component
from jsbi.model.multiplicative.electrons import klein_nishina

EDGES = np.geomspace(0.3, 12.0, 41)


def edge(energy, place, depth):
    return np.exp(-depth * (energy / place) ** -3) if energy >= place else 1.0


def smeared_edge(energy, place, depth, index, width):
    excess = max(energy - place, 0.0)
    shape = (energy / place) ** index * -np.expm1(-excess / width)
    return np.exp(-depth * shape)


def high_energy_cutoff(energy, cutoff, fold):
    return np.exp(min(cutoff - energy, 0.0) / fold)


def low_energy_cutoff(energy, cutoff):
    return np.exp(-cutoff / energy)


def exponential_factor(energy, amplitude, factor, start):
    return 1 + amplitude * np.exp(-factor * energy) * (energy > start)


def power_law_factor(energy, index, coefficient):
    return coefficient * energy**-index


def spline(energy, start, value, end_value, slope, end_slope, end):
    """The cubic as its line of chords plus what bends it."""
    if not start <= energy <= end:
        return 1.0
    span = end - start
    chord = (end_value - value) / span
    x = (energy - start) / span
    bend = (slope - chord) * (1 - x) - (end_slope - chord) * x
    return value + chord * (energy - start) + span * x * (1 - x) * bend


def gaussian_absorption(energy, line, sigma, strength):
    depth = strength / (sigma * np.sqrt(2 * np.pi))
    return np.exp(-depth * np.exp(-(((energy - line) / sigma) ** 2) / 2))


def notch(energy, line, width, fraction):
    return 1 - fraction * (abs(energy - line) < width / 2)


def cyclotron(energy, depth, line, width, second_depth, second_width):
    first = depth * (width * energy / line) ** 2 / ((energy - line) ** 2 + width**2)
    twice = 2 * line
    distance = (energy - twice) ** 2 + second_width**2
    return np.exp(
        -first - second_depth * (second_width * energy / twice) ** 2 / distance
    )


def scattering(energy, nH):
    """With the cross section of Klein and Nishina as printed, where that holds."""
    w = energy / 510.999
    double = 1 + 2 * w
    bracket = 2 * w * (1 + w) / double - np.log(double)
    section = (1 + w) / w**3 * bracket + np.log(double) / (2 * w)
    section = 0.75 * (section - (1 + 3 * w) / double**2)
    expanded = 1 - 2 * w + 5.2 * w**2 - 13.3 * w**3 + 1144 / 35 * w**4
    return np.exp(-1.21 * 0.665e-2 * nH * np.where(w < 0.01, expanded, section))


def around(line, sigma):
    """Where to cut an integral over a line so that none of it is missed."""
    return [line + number * sigma for number in range(-12, 13)]


# Name, parameters, formula, its jumps, relative tolerance.
CASES = [
    ("edge", (7.1, 2.0), edge, [7.1], 1e-6),
    ("edge", (0.5, 5.0), edge, [0.5], 1e-6),
    ("edge", (0.0, 1.0), lambda energy, place, depth: 1.0, [], 1e-15),
    ("smedge", (7.1, 2.0, -2.67, 0.5), smeared_edge, [7.1], 1e-6),
    ("highecut", (2.2, 0.4), high_energy_cutoff, [2.2], 1e-9),
    ("expabs", (3.0,), low_energy_cutoff, [], 1e-6),
    ("expfac", (3.0, 0.5, 1.234), exponential_factor, [1.234], 1e-9),
    ("expfac", (3.0, 0.0, 1.234), exponential_factor, [1.234], 1e-9),
    ("plabs", (1.0, 2.0), power_law_factor, [], 1e-9),
    ("plabs", (2.7, 2.0), power_law_factor, [], 1e-9),
    ("spline", (0.7, 0.5, 2.0, 0.6, -0.3, 8.2), spline, [0.7, 8.2], 1e-9),
    ("spline", (5.51, 0.5, 2.0, 9.0, -9.0, 5.52), spline, [5.51, 5.52], 1e-9),
    ("spline", (8.0, 0.5, 2.0, 0.6, -0.3, 0.7), lambda *_: 1.0, [], 1e-15),
    ("gabs", (5.6, 0.5, 1.0), gaussian_absorption, [], 1e-6),
    ("gabs", (5.6, 0.1, 0.1), gaussian_absorption, around(5.6, 0.1), 1e-6),
    ("gabs", (5.6, 2e-3, 0.01), gaussian_absorption, around(5.6, 2e-3), 1e-6),
    ("gabs", (5.6, 2e-3, 1e3), gaussian_absorption, around(5.6, 2e-3), 1e-6),
    ("gabs", (5.6, 0.05, 1e3), gaussian_absorption, around(5.6, 0.05), 1e-5),
    ("notch", (5.6, 1e-3, 0.7), notch, [5.5995, 5.6005], 1e-9),
    ("notch", (5.6, 3.3, 0.7), notch, [5.6 - 1.65, 5.6 + 1.65], 1e-9),
    ("cyclabs", (2.0, 5.0, 2.0, 0.5, 4.0), cyclotron, [], 1e-6),
    ("cabs", (50.0,), scattering, [], 2e-6),
]


def averages(name, case, edges):
    factor = find_component(name)(*case)
    return np.asarray(eqx.filter_jit(factor)(EnergyGrid(edges)), np.float64)


@pytest.mark.parametrize(("name", "case", "formula", "jumps", "tolerance"), CASES)
def test_the_factor_of_a_bin_is_the_average_of_the_formula(
    name, case, formula, jumps, tolerance
):
    def average(low, high):
        cuts = [low, *(cut for cut in jumps if low < cut < high), high]
        parts = [
            quad(formula, *cuts[i : i + 2], case, epsabs=1e-13, epsrel=1e-8)[0]
            for i in range(len(cuts) - 1)
        ]
        return sum(parts) / (high - low)

    truth = [average(*EDGES[i : i + 2]) for i in range(len(EDGES) - 1)]
    with jax.enable_x64(True):
        ours = averages(name, case, EDGES)
    np.testing.assert_allclose(ours, truth, rtol=tolerance, atol=1e-12)
    np.testing.assert_allclose(averages(name, case, EDGES), ours, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "case"),
    [("zedge", (7.1, 2.0)), ("zhighect", (7.1, 2.0))],
)
def test_a_redshifted_factor_is_that_at_the_energy_of_the_source(name, case):
    plain = {"zedge": "edge", "zhighect": "highecut"}[name]
    shifted = averages(name, (*case, 0.5), EDGES)
    np.testing.assert_allclose(shifted, averages(plain, case, 1.5 * EDGES), rtol=2e-5)


def test_the_cross_section_of_an_electron_is_that_of_klein_and_nishina():
    energies = np.array([30.0, 100.0, 152.0, 154.0, 511.0, 1e4])
    truth = -np.log(scattering(energies, 1.0)) / (1.21 * 0.665e-2)
    ours = klein_nishina(jnp.asarray(energies))
    np.testing.assert_allclose(ours, truth, rtol=2e-6)
    w = np.array([1e-5, 1e-3])
    ours = klein_nishina(jnp.asarray(510.999 * w))
    np.testing.assert_allclose(ours, 1 - 2 * w + 5.2 * w**2, rtol=3e-7)


@pytest.mark.parametrize(("name", "rest"), [("edge", (2.0,)), ("highecut", (0.5,))])
def test_a_threshold_in_a_bin_has_a_derivative(name, rest):
    """Where the threshold moves through one bin, so does its average."""
    with jax.enable_x64(True):
        grid = EnergyGrid(np.array([4.0, 5.0, 6.0, 7.0]))

        def middle(place):
            return find_component(name)(place, *rest)(grid)[1]

        slope = jax.grad(middle)(5.3)
        step = 1e-6
        truth = (middle(5.3 + step) - middle(5.3 - step)) / (2 * step)
        np.testing.assert_allclose(slope, truth, rtol=1e-6)
        assert slope > 0.1


def test_the_core_of_a_deep_narrow_line_is_black_not_negative_in_float32():
    """Depth 33 on bins of half a sigma, and many more lines."""
    edges = np.arange(0.95, 1.1, 1e-3, np.float32)
    generator = np.random.default_rng(0)
    lines = [(1.046, 2.25e-3, 0.184)]
    lines += list(zip(*np.exp(generator.uniform(-7, -2, (3, 20))), strict=True))
    spectrum = eqx.filter_jit(lambda line, grid: line(grid))
    component = find_component("gabs")
    for energy, sigma, strength in lines:
        case = np.float32([max(energy, 1.0), sigma, strength]).tolist()
        single = spectrum(component(*case), EnergyGrid(edges))
        with jax.enable_x64(True):
            double = spectrum(component(*case), EnergyGrid(edges))
        assert np.all(np.asarray(single) >= 0)
        seen = np.asarray(double) > 1e-6
        np.testing.assert_allclose(single[seen], double[seen], rtol=1e-4)
