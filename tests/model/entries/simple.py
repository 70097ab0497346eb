"""Factors of a few lines."""

from tests.model.entries.entry import Entry

ENTRIES = {
    "constant": Entry((1.0,), ((1.0,), (0.0,), (0.87,)), (0.0, 0.0)),
}
