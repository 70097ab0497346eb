"""Thermal bremsstrahlung."""

from tests.model.entries.entry import Entry

ENTRIES = {
    # XSPEC joins the coarse table for cool gas by straight lines, 2.6 % off between
    # its values; test_gaunt.py compares the formulae.
    "bremss": Entry((7.0,), ((7.0,), (0.1,), (0.5,), (3.0,), (50.0,)), (2.7e-2, 0.0)),
    "vbremss": Entry((3.0, 1.0), ((3.0, 1.0), (0.1, 0.0), (7.0, 0.1)), (2.7e-2, 0.0)),
    "zbremss": Entry((7.0, 0.0), ((7.0, 0.0), (0.1, 0.5), (3.0, 3.0)), (2.7e-2, 0.0)),
}
