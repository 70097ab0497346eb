"""Power laws and what bends them."""

import numpy as np
from scipy.integrate import quad

from tests.model.entries.entry import Entry


def power_law(energy, index):
    return energy**-index


def cutoff_power_law(energy, index, cutoff):
    return energy**-index * np.exp(-energy / cutoff)


def redshifted_power_law(energy, index, redshift):
    return (energy * (1 + redshift)) ** -index


def broken_power_law(energy, first, end, second):
    if energy <= end:
        return energy**-first
    return end ** (second - first) * energy**-second


def twice_broken_power_law(energy, first, end, second, last, third):
    if energy <= last:
        return broken_power_law(energy, first, end, second)
    level = broken_power_law(last, first, end, second)
    return level * (energy / last) ** -third


def pegged_power_law(energy, index, low, high):
    flux = quad(lambda place: place ** (1 - index), low, high, epsrel=1e-12)[0]
    return energy**-index / (1602.0 * flux)


def exponential_decay(energy, factor):
    return np.exp(-factor * energy)


def log_parabola(energy, alpha, beta, pivot):
    ratio = energy / pivot
    return ratio ** (-alpha - beta * np.log10(ratio))


def peaked_log_parabola(energy, peak, beta):
    return 10 ** (-beta * np.log10(energy / peak) ** 2) / energy**2


ENTRIES = {
    # XSPEC integrates exactly; 1e-6 is its cancellation near index 1.
    "powerlaw": Entry(
        (1.0,), ((1.0,), (1.0001,), (1.7,), (-2.0,), (4.5,)), (1e-6, 0.0), power_law
    ),
    # XSPEC's incomplete gamma function is off by up to 3e-4 per bin.
    "cutoffpl": Entry(
        (1.0, 15.0),
        ((1.0, 15.0), (1.7, 5.0), (-1.0, 0.5), (2.5, 200.0)),
        (5e-4, 0.0),
        cutoff_power_law,
    ),
    # XSPEC integrates the rest exactly, but for cancellation and Simpson's rule.
    "zpowerlw": Entry(
        (1.0, 0.0),
        ((1.0, 0.0), (1.7, 0.1), (1.0, 2.0), (3.0, 5.0), (-2.0, -0.3)),
        (1e-9, 0.0),
        redshifted_power_law,
    ),
    "bknpower": Entry(
        (1.0, 5.0, 2.0),
        ((1.0, 5.0, 2.0), (0.5, 2.345, 3.0), (1.7, 6.4, 4.0), (2.5, 30.0, -1.0)),
        (1e-9, 0.0),
        broken_power_law,
    ),
    "bkn2pow": Entry(
        (1.0, 5.0, 2.0, 10.0, 3.0),
        (
            (1.0, 5.0, 2.0, 10.0, 3.0),
            (1.0, 0.05, 2.0, 5.0, 3.0),
            (1.5, 3.0, 2.0, 3.001, -1.0),
        ),
        (1e-9, 0.0),
        twice_broken_power_law,
    ),
    "pegpwrlw": Entry(
        (1.0, 2.0, 10.0),
        ((1.0, 2.0, 10.0), (1.7, 0.5, 8.0), (2.0, 0.3, 10.0), (-2.0, 1.0, 1.01)),
        (1e-9, 0.0),
        pegged_power_law,
    ),
    "expdec": Entry((1.0,), ((1.0,), (5.0,), (0.01,)), (1e-9, 0.0), exponential_decay),
    "logpar": Entry(
        (1.5, 0.2, 1.0),
        ((1.5, 0.2, 1.0), (1.0, 0.0, 1.0), (2.5, 1.0, 3.0), (3.0, -1.0, 1.0)),
        (1e-9, 0.0),
        log_parabola,
    ),
    "eplogpar": Entry(
        (0.1, 0.2),
        ((0.1, 0.2), (5.0, 1.0), (2.0, 4.0), (1.0, -1.0)),
        (1e-9, 0.0),
        peaked_log_parabola,
    ),
}
