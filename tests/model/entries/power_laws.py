"""Power laws and what bends them."""

import numpy as np

from tests.model.entries.entry import Entry


def power_law(energy, index):
    return energy**-index


def cutoff_power_law(energy, index, cutoff):
    return energy**-index * np.exp(-energy / cutoff)


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
}
