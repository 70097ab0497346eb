"""Emission lines."""

from tests.model.entries.entry import Entry


def rounding_of_a_line(energy, sigma):
    """At 5.3 sigma, 1e-6 of the peak, the slope of ln(density) is 5.3 / sigma."""
    return max(1e-4, 5.3 * 2**-23 * energy / sigma if sigma > 0 else 0.0)


ENTRIES = {
    # XSPEC stops 1e-8 of the line short of its ends.
    "gaussian": Entry(
        (6.5, 0.1),
        ((6.5, 0.1), (6.4, 0.003), (1.0, 0.3), (3.0, 5.0)),
        (0.0, 1e-8),
        single=rounding_of_a_line,
    ),
}
