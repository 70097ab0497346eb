"""Thermal bremsstrahlung."""

from tests.model.entries.entry import Entry

ENTRIES = {
    # The polynomials of XSPEC jump in energy; test_gaunt.py compares the formulae.
    "bremss": Entry((7.0,), ((7.0,), (0.1,), (0.5,), (3.0,), (50.0,)), (3.5e-3, 0.0)),
    "vbremss": Entry((3.0, 1.0), ((3.0, 1.0), (0.1, 0.0), (7.0, 0.1)), (3.5e-3, 0.0)),
    "zbremss": Entry((7.0, 0.0), ((7.0, 0.0), (0.1, 0.5), (3.0, 3.0)), (3.5e-3, 0.0)),
}
