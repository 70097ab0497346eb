"""Absorption edges."""

from tests.model.entries.entry import Entry

# XSPEC takes the mean of both edges of a bin.
ENTRIES = {
    "edge": Entry(
        (7.0, 1.0), ((7.0, 1.0), (0.5, 5.0), (0.05, 1.0), (0.0, 1.0)), (1e-4, 0.0)
    ),
    "zedge": Entry(
        (7.0, 1.0, 0.0),
        ((7.0, 1.0, 0.0), (0.5, 5.0, 1.0), (13.0, 2.0, 1.0), (3.0, 1.0, -0.5)),
        (1e-4, 0.0),
    ),
    "smedge": Entry(
        (7.0, 1.0, -2.67, 10.0),
        ((7.0, 1.0, -2.67, 10.0), (6.0, 2.0, -3.0, 5.0), (2.0, 0.5, 1.0, 0.1)),
        (2e-5, 0.0),
    ),
}
