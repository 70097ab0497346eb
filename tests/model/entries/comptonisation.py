"""Comptonisation by thermal electrons."""

import functools

import numpy as np
from scipy.optimize import root_scalar
from scipy.special import gammainc, gammaln, hyperu

from tests.model.entries.entry import Entry


def log_scattered(x, index):
    """Logarithm of J(x), by Tricomi's function."""
    return (
        gammaln(index)
        + (2 * index + 3) * np.log(x)
        + np.log(hyperu(index, 2 * index + 4, x))
    )


@functools.cache
def titarchuk_index(kT, taup, approx):
    """Titarchuk's transcendental equation, with his escape from a disk or a sphere."""
    disk, theta = abs(approx) <= 1, kT / 511
    steepness, scale, thin, log_of, size = (
        (1.35, 12, 3.7, 10, 0.45) if disk else (0.7, 3, 1.4, 4, 1.0)
    )
    escape = np.pi**2 * (1 - np.exp(-steepness * taup)) / scale / (taup + 2 / 3) ** 2
    escape += size * np.exp(-thin * taup) * np.log(log_of / (3 * taup))
    if approx < 0:
        points = ((0.7, 0.335), (1.0, 0.234), (1.5, 0.147))
        depths, values = np.array(points).T
        escape = np.exp(np.interp(taup, depths, np.log(values)))

    def excess(a):
        moment = 3 * ((a + 3) * a + 4) * np.exp(gammaln(2 * a + 2))
        moment = (moment / (a + 3) / (a + 2) ** 2) ** (1 / a)
        gain = (a + 3) * theta / (1 + theta) + 4 * moment * theta**2
        return a * np.log1p(gain) - escape

    return root_scalar(excess, bracket=(1e-3, 12), xtol=1e-13).root


def titarchuk(energy, redshift, T0, kT, taup, approx):
    index = titarchuk_index(kT, taup, approx)
    depth = taup / (1 + (kT / 39.2) ** 0.86)
    part = 1 - (1 - np.exp(-depth)) / depth
    if abs(approx) > 1:
        part = 1 - 3 / depth * (1 - 2 / depth + 2 / depth**2 * (1 - np.exp(-depth)))
    power = index + 3
    z, x = energy * (1 + redshift) / T0, energy * (1 + redshift) / kT
    up = log_scattered(part ** (1 / power) * x, index) - gammaln(2 * index + 3)
    below = gammainc(power, z) * np.exp(gammaln(power + 1)) / z**power
    photons = z**2 * (np.exp(-z) + below * np.exp(up - x))
    return kT / T0 * index / (4 * index + 6) * photons


def sunyaev(energy, kT, tau):
    product = np.pi**2 / 3 * 511 / kT / (tau + 2 / 3) ** 2
    index = np.sqrt(2.25 + product) - 1.5

    def logarithm(at):
        return log_scattered(at / kT, index) - (index + 1) * np.log(at) - at / kT

    return np.exp(logarithm(energy) - logarithm(1.0))


ENTRIES = {
    # XSPEC iterates the index to 1e-4 and sums the integral with ten points. At an
    # `approx` of 1 a disk becomes a sphere: no derivative there.
    "compTT": Entry(
        (0.0, 0.1, 50.0, 1.0, 1.0),
        (
            (0.0, 0.1, 50.0, 1.0, 0.5),
            (0.0, 0.1, 50.0, 1.2, -0.5),
            (1.0, 0.2, 20.0, 3.0, 0.5),
            (0.0, 1.0, 5.0, 10.0, 0.7),
            (0.0, 0.5, 3.0, 20.0, 1.5),
        ),
        (3.2e-3, 0.0),
        titarchuk,
        quadrature=1e-5,
    ),
    # XSPEC takes the trapezoid of the edges.
    "compST": Entry(
        (2.0, 10.0),
        ((2.0, 10.0), (5.0, 1.0), (10.0, 20.0)),
        (5e-5, 0.0),
        sunyaev,
        quadrature=2e-6,
    ),
    # The polynomials of XSPEC's Gaunt factor jump between ranges of energy.
    "compLS": Entry((2.0, 10.0), ((2.0, 10.0), (5.0, 3.0), (0.5, 30.0)), (4e-3, 0.0)),
    # XSPEC's differences in steps of 0.02 dex have not converged; see test_kompaneets.
    "nthComp": Entry(
        (1.7, 100.0, 0.1, 0.0, 0.0),
        (
            (1.7, 100.0, 0.1, 0.0, 0.1),
            (2.0, 50.0, 0.5, 0.0, 0.1),
            (1.2, 5.0, 0.05, 0.0, -0.1),
            (2.5, 300.0, 0.3, 0.0, 0.5),
            (2.4, 3.0, 0.2, 1.0, 0.2),
        ),
        (1.8e-2, 0.0),
        additivity=1e-5,
        points=300,
    ),
}
