"""Emission lines."""

import numpy as np

from tests.model.entries.entry import Entry


def rounding_in_wavelength(wavelength, sigma, redshift=0.0):
    """At 5.3 sigma, 1e-6 of the peak, the slope of ln(density) is 5.3 / sigma."""
    return max(1e-4, 5.3 * 2**-23 * wavelength / sigma)


def lorentzian(energy, LineE, Width):
    whole = 0.5 + np.arctan(2 * LineE / Width) / np.pi
    return Width / 2 / np.pi / ((energy - LineE) ** 2 + Width**2 / 4) / whole


ENTRIES = {
    # XSPEC stops 1e-8 of the line short of its ends.
    "gaussian": Entry(
        (6.5, 0.1),
        ((6.5, 0.1), (6.4, 0.003), (1.0, 0.3), (3.0, 5.0)),
        (0.0, 1e-8),
    ),
    "zgauss": Entry(
        (6.5, 0.1, 0.0),
        ((6.5, 0.1, 0.0), (6.4, 0.003, 0.01), (1.0, 0.3, -0.2), (10.0, 5.0, 2.0)),
        (0.0, 1e-8),
    ),
    # XSPEC stops 1e-6 of the line short of its ends.
    "agauss": Entry(
        (10.0, 1.0),
        ((10.0, 1.0), (1.9372, 0.03), (18.97, 0.01), (60.0, 30.0)),
        (0.0, 1e-6),
        single=rounding_in_wavelength,
    ),
    "zagauss": Entry(
        (10.0, 1.0, 0.0),
        ((10.0, 1.0, 0.0), (1.9372, 0.03, 0.1), (10.0, 1.0, 1.0)),
        (0.0, 1e-6),
    ),
    # XSPEC stops 1e-6 of the line short of its ends.
    "lorentz": Entry(
        (6.5, 0.1),
        ((6.5, 0.1), (1.0, 0.3), (3.0, 5.0), (0.05, 0.1), (25.0, 3.0)),
        (0.0, 1e-6),
        lorentzian,
    ),
}
