"""Smooth changes of the shape of a spectrum, without a physical model."""

from tests.model.entries.entry import Entry

# XSPEC averages exactly.
ENTRIES = {
    "expfac": Entry(
        (1.0, 1.0, 0.5),
        ((1.0, 1.0, 0.5), (2.0, 0.1, 3.0), (0.0, 1.0, 0.5), (10.0, 0.5, 2.345)),
        (1e-9, 0.0),
    ),
    "plabs": Entry((2.0, 1.0), ((2.0, 1.0), (1.0, 0.5), (0.3, 3.0)), (1e-9, 0.0)),
    "spline": Entry(
        (0.1, 1.0, 1.0, 0.0, 0.0, 15.0),
        (
            (0.15, 1.0, 1.0, 0.1, -0.1, 15.0),
            (0.3, 1.0, 3.0, 0.5, 0.2, 10.0),
            (2.0, 0.5, 2.0, -0.1, 0.3, 8.0),
        ),
        (1e-9, 0.0),
    ),
}
