"""Exponential cutoffs at high and low energies."""

from tests.model.entries.entry import Entry

ENTRIES = {
    # XSPEC has exp(-0.001 / foldE) instead of 1 below the cutoff.
    "highecut": Entry(
        (10.0, 15.0), ((10.0, 15.0), (0.05, 1.0), (1.0, 100.0), (2.0, 0.7)), (6e-4, 0.0)
    ),
    "zhighect": Entry(
        (10.0, 15.0, 0.0),
        ((10.0, 15.0, 0.0), (0.05, 1.0, 0.1), (1.0, 100.0, 3.0), (3.0, 1.0, -0.5)),
        (2e-4, 0.0),
    ),
    # XSPEC takes the mean of both edges of a bin.
    "expabs": Entry((2.0,), ((2.0,), (0.1,), (10.0,)), (1e-4, 0.0)),
}
