"""Lines from disks around black holes."""

from tests.model.entries.entry import Entry

ENTRIES = {
    # Of XSPEC's 99 rings one sees each: tests/model/test_relativistic.py compares.
    "diskline": Entry(
        (6.7, -2.0, 10.0, 1000.0, 30.0),
        (
            (6.7, -2.0, 10.0, 1000.0, 30.0),
            (6.4, -3.1, 6.1, 90.0, 61.0),
            (1.0, 10.0, 20.0, 400.0, 12.0),
        ),
        points=500,
    ),
}
