"""Absorption by matter."""

import numpy as np

from jsbi.model.absorption_table import RESONANCES
from jsbi.model.photoelectric import fit_starts
from tests.model.entries.entry import Entry


def _among_resonances(edges, *case):
    """Bins where we average over the bin and XSPEC over its edges, at a redshift."""
    shifted = edges * (1 + case[-1])
    low, high = shifted[:-1], shifted[1:]
    ranges = RESONANCES.values()
    return np.any([(low >= a) & (high <= b) for a, b in ranges], axis=0)


def _with_grains(edges, *case):
    """Also bins with a jump: there XSPEC shades grains after its mean, we before.

    That matters by 5e-3 at most, at the K edge of carbon.
    """
    jumps = 1e-3 * fit_starts()[:, None] / (1 + case[-1])
    jump = np.any((edges[:-1] <= jumps) & (edges[1:] >= jumps), axis=0)
    return jump | _among_resonances(edges, *case)


def _grains_at_rest(edges, *case):
    return _with_grains(edges, 0.0)


# XSPEC computes `phabs` and its kin in float32, and our tables are good to 1e-6 of the
# optical depth, which is up to 14 where the transmission counts.
_ATOMS = (2e-5, 0.0)
# XSPEC averages the transmission by a trapezoid: an excess of (3 t d)^2 / 12 at the
# optical depth t, with bins of d = 0.24 %.
_TRAPEZOID = (1e-3, 1e-20)
_SOLAR = (1.0,) * 17


# The cases of components with tabulated resonances have these below the energies of the
# test, since redshifts are where the samples of the tables show in derivatives.


ENTRIES = {
    "TBabs": Entry((1.0,), ((0.0,), (0.1,), (3.0,))),
    "TBfeo": Entry(
        (1.0, 1.0, 1.0, 0.0),
        ((0.3, 2.0, 0.5, 9.5), (0.2, 0.5, 3.0, 9.2)),
        xspec=(1e-5, 0.0),
        unlike=_with_grains,
        points=500,
    ),
    "TBgas": Entry(
        (1.0, 0.0),
        ((0.3, 9.5), (0.05, 9.0)),
        xspec=(1e-5, 0.0),
        unlike=_among_resonances,
        points=500,
    ),
    "TBgrain": Entry(
        (1.0, 0.2, 1.0, 0.025, 0.25, 3.5),
        (
            (0.3, 0.2, 1.0, 0.025, 0.25, 3.5),
            (0.3, 0.5, 2.0, 0.01, 0.4, 3.0),
            (0.3, 0.1, 3.0, 0.02, 0.3, 4.0),
        ),
        xspec=(1e-5, 0.0),
        unlike=_grains_at_rest,
        points=500,
    ),
    "TBpcf": Entry(
        (1.0, 0.5, 0.0),
        ((1.0, 0.5, 9.5), (0.1, 0.3, 9.0), (0.5, 1.0, 10.0)),
        xspec=(1e-5, 0.0),
        unlike=_with_grains,
        points=500,
    ),
    "pcfabs": Entry((1.0, 0.5), ((1.0, 0.5), (10.0, 0.95), (0.3, 1.0)), xspec=_ATOMS),
    "phabs": Entry((1.0,), ((0.0,), (0.1,), (3.0,))),
    "vphabs": Entry(
        (1.0, *_SOLAR),
        ((1.0, *_SOLAR), (0.3, 0.0, *np.linspace(0, 2, 16).tolist())),
        xspec=_ATOMS,
        points=100,
    ),
    "wabs": Entry((1.0,), ((0.0,), (0.1,), (3.0,)), xspec=_TRAPEZOID),
    "zTBabs": Entry(
        (1.0, 0.0),
        ((0.3, 9.5), (0.05, 9.0)),
        xspec=(1e-5, 0.0),
        unlike=_among_resonances,
        points=500,
    ),
    "zpcfabs": Entry(
        (1.0, 0.5, 0.0), ((1.0, 0.5, 0.1), (10.0, 0.95, 1.0)), xspec=_ATOMS
    ),
    "zphabs": Entry((1.0, 0.0), ((0.3, 0.5), (0.05, 0.01)), xspec=_ATOMS),
    "zwabs": Entry((1.0, 0.0), ((0.3, 0.5), (0.05, 0.01)), xspec=_TRAPEZOID),
}
