"""Convolutions."""

from tests.model.entries.entry import Entry


def cut_by_the_lowest_edge(edges, redshift):
    """XSPEC leaves the bin empty that reaches below the grid with a part of it."""
    moved = edges * (1 + redshift)
    return (moved[:-1] < edges[0]) & (edges[0] < moved[1:])


def cut_by_the_lowest_edge_at_velocity(edges, velocity):
    return cut_by_the_lowest_edge(edges, 1 / (1 - velocity / 299792.458) - 1)


def rounding_of_a_cut_bin(*parameters):
    """A bin at the end of the grid keeps what float32 knows of its edge."""
    return 3e-4


ENTRIES = {
    "cflux": Entry(
        (0.5, 10.0, -12.0),
        ((0.5, 10.0, -12.0), (2.001, 2.003, -13.0), (0.3, 11.0, -8.5)),
        (1e-9, 0.0),
    ),
    "cpflux": Entry(
        (0.5, 10.0, 1.0),
        ((0.5, 10.0, 1.0), (5.123, 6.789, 1e-3), (0.3, 11.0, 3.0)),
        (1e-9, 0.0),
    ),
    # XSPEC interpolates the error function and stops where a bin gets 1e-5 of another.
    "gsmooth": Entry(
        (1.0, 0.0),
        ((1.0, 0.3), (0.1, -0.4), (0.05, -1.0), (0.3, 0.5), (0.004, 1.0)),
        (1.4e-2, 0.0),
    ),
    # XSPEC stops where a bin gets less than 1e-5 of another, far from the end of wings.
    "lsmooth": Entry(
        (1.0, 0.0),
        ((1.0, 0.3), (0.1, -0.4), (0.05, -1.0), (0.3, 0.5), (0.004, 1.0)),
        (0.1, 0.0),
    ),
    "partcov": Entry((0.5,), ((0.5,), (0.123,)), (1e-12, 0.0)),
    # With both directions XSPEC loses the photons that stay in their bin. The switch is
    # at zero, where there is no derivative.
    "simpl": Entry(
        (2.3, 0.05, 1.0),
        ((2.3, 0.05, 1.0), (1.5, 0.5, 1.0), (2.0, 0.9, -1.0), (4.5, 0.4, -1.0)),
        (9e-3, 0.0),
    ),
    "vashift": Entry(
        (0.0,),
        ((1234.5,), (-3456.7,)),
        (1e-9, 0.0),
        single=rounding_of_a_cut_bin,
        unlike=cut_by_the_lowest_edge_at_velocity,
    ),
    "zashift": Entry(
        (0.0,),
        ((0.1234,), (1.2345,), (-0.2345,)),
        (1e-9, 0.0),
        single=rounding_of_a_cut_bin,
        unlike=cut_by_the_lowest_edge,
    ),
    # XSPEC weighs with shares of bins, not with widths.
    "zmshift": Entry((0.0,), ((0.1234,), (1.2345,), (-0.2345,)), (1.1e-3, 0.0)),
}
