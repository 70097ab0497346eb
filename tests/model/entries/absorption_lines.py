"""Absorption lines of given shape."""

from tests.model.entries.entry import Entry

ENTRIES = {
    # XSPEC stops at 1e-6, and 6 sigma from the line.
    "gabs": Entry(
        (1.0, 0.01, 1.0),
        ((1.0, 0.01, 1.0), (6.7, 0.005, 0.01), (2.0, 0.5, 1.0), (0.05, 0.1, 1.0)),
        (1e-6, 0.0),
    ),
    # Float32 rounds edges at 6.4 keV to 5e-4 of a bin of 0.5 eV.
    "notch": Entry(
        (3.5, 1.0, 1.0),
        ((3.5, 1.0, 1.0), (6.4, 2e-4, 1.0), (0.1, 0.2, 0.3)),
        (1e-12, 1e-12),
    ),
    # XSPEC takes the mean of both edges of a bin.
    "cyclabs": Entry(
        (2.0, 30.0, 10.0, 0.0, 20.0),
        (
            (2.0, 30.0, 10.0, 1.0, 20.0),
            (2.0, 5.0, 2.0, 0.1, 4.0),
            (0.5, 10.0, 1.0, 0.5, 2.0),
        ),
        (1e-4, 0.0),
    ),
}
