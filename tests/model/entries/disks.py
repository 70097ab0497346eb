"""Disks of many temperatures."""

import numpy as np
from scipy.integrate import quad

from tests.model.entries.entry import Entry


def disk(energy, Tin):
    """The sum over rings of temperature t * Tin, with XSPEC's normalisation."""

    def ring(log_t):
        return np.exp(-8 / 3 * log_t) / np.expm1(energy / Tin * np.exp(-log_t))

    lowest = min(np.log(energy / Tin / 600), -1e-3)
    total = quad(ring, lowest, 0, epsabs=0, epsrel=1e-9, limit=200)[0]
    return 1.00424 * 8 / 3 * 1.0344e-3 * energy**2 * total


def power_law_disk(energy, Tin, p):
    """The same for T proportional to radius^-p, over u = E / (t * Tin)."""
    x = energy / Tin

    def ring(u):
        return u ** (2 / p - 1) * np.exp(-u) / -np.expm1(-u)

    total = sum(
        quad(ring, low * x, high * x, epsabs=0, epsrel=1e-10, limit=200)[0]
        for low, high in ((1, 1 + 3 / x), (1 + 3 / x, 1 + 60 / x))
    )
    return 2.78e-3 * 0.75 / p * Tin**2 * x ** (2 - 2 / p) * total


ENTRIES = {
    # XSPEC interpolates a table, good to 9e-5; ours fits the integral to 3e-6.
    "diskbb": Entry(
        (1.0,), ((1.0,), (0.05,), (0.5,), (10.0,)), (1e-4, 0.0), disk, quadrature=3e-6
    ),
    # XSPEC sums over rings, too few just above 0.2 Tin.
    "diskpbb": Entry(
        (1.0, 0.75),
        ((1.0, 0.75), (0.1, 0.5), (2.0, 0.6), (8.0, 1.0)),
        (1.4e-2, 0.0),
        power_law_disk,
        quadrature=2e-6,
    ),
}
