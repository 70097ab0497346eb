"""Steps, as of charge that a detector collects in part."""

from scipy.special import erfc

from tests.model.entries.entry import Entry


def step(energy, place, sigma):
    return 0.5 * erfc((energy - place) / (2**0.5 * sigma))


def coarse(edges, place, sigma):
    """Bins of the slope that are not narrow: XSPEC takes the middle of each."""
    low, high = edges[:-1], edges[1:]
    slope = (high > place - 6 * sigma) & (low < place + 9 * sigma)
    return slope & (high - low > 0.01 * sigma)


ENTRIES = {
    "step": Entry(
        (6.5, 0.1),
        ((6.5, 0.1), (3.0, 1.0), (3.0, 0.1), (5.0, 4.0)),
        (5e-5, 1e-30),
        step,
        quadrature=1e-5,  # at 1e-20 of the step
        unlike=coarse,
    ),
}
