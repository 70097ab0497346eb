"""Photons that free electrons scatter out of the line of sight."""

from tests.model.entries.entry import Entry

ENTRIES = {
    # XSPEC takes the middle of a bin, and a series good to 5e-8 times the depth.
    "cabs": Entry((1.0,), ((1.0,), (0.01,), (0.3,), (100.0,)), (1e-7, 0.0)),
}
