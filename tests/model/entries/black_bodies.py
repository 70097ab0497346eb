"""Black bodies of one temperature."""

import numpy as np

from tests.model.entries.entry import Entry


def black_body(energy, kT):
    return 8.0525 * energy**2 / kT**4 / np.expm1(energy / kT)


def black_body_rad(energy, kT):
    return 1.0344e-3 * energy**2 / np.expm1(energy / kT)


def redshifted_black_body(energy, kT, redshift):
    return black_body(energy * (1 + redshift), kT)


ENTRIES = {
    # XSPEC takes the trapezoid, and nothing above 60 kT.
    "bbody": Entry(
        (3.0,), ((3.0,), (0.1,), (1.0,), (50.0,)), (6e-4, 1e-20), black_body
    ),
    "bbodyrad": Entry(
        (3.0,), ((3.0,), (0.1,), (1.0,), (50.0,)), (6e-4, 1e-20), black_body_rad
    ),
    "zbbody": Entry(
        (3.0, 0.0),
        ((3.0, 0.0), (0.1, 0.5), (2.0, 7.0), (1.0, -0.5)),
        (6e-4, 1e-20),
        redshifted_black_body,
    ),
}
