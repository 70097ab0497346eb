"""Lines from disks: the formula by quadrature, XSPEC's rings, and single precision."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq, minimize_scalar

from jsbi.instrument import EnergyGrid
from jsbi.model import find_component

line_of = eqx.filter_jit(lambda component, grid: component(grid))
NODES, WEIGHTS = (
    0.5 * (values + shift)
    for values, shift in zip(
        np.polynomial.legendre.leggauss(40), (1.0, 0.0), strict=True
    )
)
STEEP = (6.4, -3.0, 6.0, 400.0, 45.0)


def spectrum(case, edges, double=True):
    with jax.enable_x64(double):
        component = find_component("diskline")(*case)
        return np.asarray(line_of(component, EnergyGrid(edges)), np.float64)


def shifted(radius, azimuth, inclination):
    """Energy over that at rest, by equation A2 of Fabian et al. (1989)."""
    sine, cosine = np.sin(inclination), np.cos(inclination)
    along = sine * np.cos(azimuth)
    tilt = 1 / (cosine**2 + along**2)  # 1 + tan^2(xi)
    z = 1 + along * np.sqrt(tilt) / np.sqrt(radius * tilt - 2)
    return np.sqrt(1 - 3 / radius) / z


def ring(log_radius, energy, slope, inclination):
    """Photons of a ring that come with less than an energy, per ln(radius)."""
    radius = np.exp(log_radius)
    excess = [shifted(radius, side, inclination) - energy for side in (0, np.pi)]
    end = np.pi if excess[1] <= 0 else 0.0
    if excess[0] < 0 < excess[1]:
        end = brentq(
            lambda azimuth: shifted(radius, azimuth, inclination) - energy,
            *(0, np.pi),
            xtol=1e-13,
        )
    emissivity = radius**slope
    if slope >= 9.9:
        emissivity = (1 - np.sqrt(6 / radius)) / radius**3
    cubes = shifted(radius, end * NODES, inclination) ** 3
    return radius**2 * emissivity * end * (WEIGHTS @ cubes)


def turns(energy, inclination, low, high):
    """Where a ring begins or ends to be seen at an energy, in ln(radius)."""
    found = []
    for azimuth in (0, np.pi):

        def excess(log_radius, azimuth=azimuth):
            return shifted(np.exp(log_radius), azimuth, inclination) - energy

        top = minimize_scalar(lambda x: -excess(x), bounds=(low, high)).x
        for a, b in ((low, top), (top, high)):
            if excess(a) * excess(b) < 0:
                found.append(brentq(excess, a, b, xtol=1e-13))
    return sorted(found)


def photons_below(energy, case):
    """Photons with less than an energy, of which the line is that at rest."""
    _, slope, inner, outer, inclination = case
    ends, tilt = (np.log(inner), np.log(outer)), np.radians(inclination)
    places = [ends[0], *turns(energy, tilt, *ends), ends[1]]
    return sum(
        quad(ring, a, b, (energy, slope, tilt), epsrel=1e-9, limit=200)[0]
        for a, b in zip(places[:-1], places[1:], strict=True)
    )


@pytest.mark.parametrize(
    "case",
    [
        STEEP,
        *(
            pytest.param(case, marks=pytest.mark.slow)
            for case in [
                (6.7, -2.0, 10.0, 1000.0, 30.0),
                (6.4, -3.1, 6.1, 90.0, 61.0),
                (6.4, 10.0, 6.0, 300.0, 80.0),
                (1.0, -2.0, 20.0, 1000.0, 10.0),
                (6.4, -2.0, 6.0, 12.0, 20.0),
                (6.4, -1.0, 100.0, 1e5, 50.0),
            ]
        ),
    ],
)
def test_bins_hold_the_integral_over_the_disk(case):
    edges = np.linspace(0.5, 1.3, 17)
    below = np.array([photons_below(energy, case) for energy in edges])
    truth = np.diff(below) / photons_below(3.0, case)
    ours = spectrum(case, case[0] * edges)
    np.testing.assert_allclose(ours, truth, rtol=0, atol=1e-5 * truth.max())


def test_lines_are_those_of_xspec_without_its_ripple(test_data):
    with np.load(test_data("../reference/xspec/diskline.npz")) as file:
        for grid, ripple in (("log", 0.013), ("fine", 0.27)):
            edges = file[f"energies_{grid}"]
            spectra = file[f"flux64_{grid}"]
            for case, truth in zip(file["params"].tolist(), spectra, strict=True):
                ours = spectrum(case, edges)
                if not truth.any():
                    assert not ours.any()
                    continue
                difference = ours / ours.sum() - truth
                assert np.abs(difference).max() < ripple * truth.max()
                assert np.abs(np.cumsum(difference)).max() < 3.5e-4


def test_single_precision_suffices_but_where_the_line_jumps(test_data):
    with np.load(test_data("../reference/xspec/diskline.npz")) as file:
        for grid, tolerance in (("log", 1e-4), ("fine", 1e-3)):
            for case in file["params"].tolist():
                double = spectrum(case, file[f"energies_{grid}"])
                single = spectrum(case, file[f"energies_{grid}"], double=False)
                if not double.any():
                    assert not single.any()
                    continue
                seen = double > 1e-6 * double.max()
                error = np.abs(single[seen] / double[seen] - 1)
                # The energy of a jump is rounded by 1e-3 of a bin of 0.5 eV.
                assert error.max() < tolerance
                assert np.quantile(error, 0.999) < 1e-4


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
def test_no_photon_is_lost(double):
    generator = np.random.default_rng(3)
    for inner in (6.0, 50.0, 5000.0):
        for ratio in (1.01, 3.0, 1000.0):
            slope, angle = generator.uniform(-5, 0), generator.uniform(0, 90)
            case = (6.4, slope, inner, ratio * inner, angle)
            for edges in (np.array([0.1, 6.3, 20.0]), np.linspace(2.0, 10.0, 300)):
                ours = spectrum(case, edges, double)
                assert ours.sum() == pytest.approx(1, abs=1e-9 if double else 3e-6)
                assert np.all(ours >= 0)


@pytest.mark.parametrize("slope", [-2.0, -3.5, 10.0])
def test_the_mean_energy_of_a_line_is_that_of_its_disk(slope):
    inclination = np.radians(40)
    azimuths = np.pi * (np.arange(64) + 0.5) / 64

    def moment(power):
        def of_ring(log_radius):
            radius = np.exp(log_radius)
            emissivity = radius**slope
            if slope >= 9.9:
                emissivity = (1 - np.sqrt(6 / radius)) / radius**3
            energies = shifted(radius, azimuths, inclination)
            return radius**2 * emissivity * np.mean(energies**power)

        return quad(of_ring, np.log(6.5), np.log(300))[0]

    edges = np.linspace(0.3, 1.6, 2001)
    photons = spectrum((1.0, slope, 6.5, 300.0, 40.0), edges)
    mean = np.sum(photons * 0.5 * (edges[1:] + edges[:-1]))
    assert mean == pytest.approx(moment(4) / moment(3), rel=1e-6)


@pytest.mark.slow
def test_derivatives_forwards_and_backwards_are_the_same():
    with jax.enable_x64(True):
        grid = EnergyGrid(np.linspace(3.0, 8.0, 41))
        weights = jnp.cos(jnp.arange(40.0))

        def total(values):
            component = find_component("diskline")(*values[:-1])
            return weights @ component(grid.shifted(values[-1]))

        point = jnp.asarray([*STEEP, 1.0, 0.05])
        steps = jnp.diag(1e-6 * point)
        both = jax.jit(lambda point: (jax.jacfwd(total)(point), jax.grad(total)(point)))
        forwards, backwards = both(point)
        values = jax.jit(jax.vmap(total))
        truth = (values(point[None, :] + steps) - values(point[None, :] - steps)) / (
            2e-6 * point
        )
    np.testing.assert_allclose(forwards, backwards, rtol=1e-9)
    np.testing.assert_allclose(forwards, truth, rtol=1e-5)


def test_a_disk_without_extent_has_no_line():
    for outer in (0.0, 5.0, 10.0):
        ours = spectrum((6.7, -2.0, 10.0, outer, 30.0), np.linspace(1.0, 10.0, 31))
        assert np.all(ours == 0)
