"""Absorption by matter."""

from tests.model.entries.entry import Entry

ENTRIES = {
    "TBabs": Entry((1.0,), ((0.0,), (0.1,), (3.0,))),
    "phabs": Entry((1.0,), ((0.0,), (0.1,), (3.0,))),
}
