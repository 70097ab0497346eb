"""Photoelectric absorption by neutral interstellar matter."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.absorption_table import (
    RESONANCES,
    has_resonances,
    parts_table,
    resonance_integral,
)
from jsbi.model.component import (
    Component,
    Multiplicative,
    Scalar,
    parameter,
    redshift,
)
from jsbi.model.integrate import NODES, WEIGHTS
from jsbi.model.photoelectric import (
    HIGHEST_ENERGY,
    LOWEST_ENERGY,
    check_cross_sections,
    kind_of_atoms,
    morrison_mccammon,
    read_abundances,
)

Parts = Float[Array, "part energy"]


def _at_edges(kind: str, abundances: str, edges: Float[Array, " edge"]) -> Parts:
    """Cross section of each part at energies, from its table [1e-22 cm^2]."""
    knots, values = (
        jnp.asarray(column, edges.dtype) for column in parts_table(kind, abundances)
    )
    inside = (edges >= LOWEST_ENERGY) & (edges < HIGHEST_ENERGY)
    log_energy = jnp.log(edges)
    right = jnp.searchsorted(knots, log_energy, side="right")
    right = jnp.clip(right, 1, len(knots) - 1)
    start, low, high = knots[right - 1], values[:, right - 1], values[:, right]
    fraction = jnp.clip((log_energy - start) / (knots[right] - start), 0.0, 1.0)
    return jnp.where(inside[None], jnp.exp(low + fraction[None] * (high - low)), 0.0)


def _among_resonances(
    kind: str,
    abundances: str,
    edges: Float[Array, " edge"],
    total: Callable[[Parts], Float[Array, " energy"]] | None,
) -> tuple[Float[Array, " bin"], Float[Array, " bin"]]:
    """Cross section averaged over the bins among resonances; and which these are.

    Returns: The cross sections [1e-22 cm^2], 0 elsewhere, and 1 or 0 per bin.
    """
    # Of the edges as they are, since the integrals are between these.
    width = jnp.diff(edges)
    mean, among = jnp.zeros_like(width), jnp.zeros_like(width)
    for element in RESONANCES:
        energy, integrals = resonance_integral(kind, abundances, element)
        integral = jnp.asarray(integrals[0], edges.dtype)
        if total is not None:
            step = np.diff(energy)
            parts = jnp.asarray(np.diff(integrals) / step, edges.dtype)
            areas = total(parts) * jnp.asarray(step, edges.dtype)
            integral = jnp.pad(jnp.cumsum(areas), (1, 0))
        here = (edges[:-1] >= energy[0]) & (edges[1:] <= energy[-1]) & (width > 0)
        at_edges = jnp.interp(edges, jnp.asarray(energy, edges.dtype), integral)
        mean = jnp.where(here, jnp.diff(at_edges) / jnp.where(here, width, 1.0), mean)
        among = jnp.where(here, 1.0, among)
    return mean, among


def mean_cross_section(
    kind: str,
    abundances: str,
    edges: Float[Array, " edge"],
    total: Callable[[Parts], Float[Array, " energy"]] | None = None,
) -> Float[Array, " bin"]:
    """Cross section per hydrogen atom, averaged over each bin.

    XSPEC's rule is the mean of the two edges of the bin, and so is ours where the cross
    section is smooth or jumps. Among the resonances of oxygen, iron and neon, where it
    changes severalfold within an electronvolt, the edges are a matter of luck: there we
    average over the whole bin. On bins of 1 eV the two differ by tens of per cent in
    a dozen bins around 0.53 and 0.54 keV. XSPEC also shades grains after its mean, we
    before; with the edge rule that matters by up to 4e-3 at the L edges of iron, 7e-4
    at the K edge of carbon and less than 1e-4 elsewhere. For `xsect bcmc` XSPEC takes
    the cross section at the middle of the bin, and a geometric mean where the bin holds
    an edge; the mean of the edges is 1e-5 more on 2000 bins from 0.1 to 12 keV.

    Args:
        kind: A key of `jsbi.model.photoelectric.TOTALS` or `PARTS`.
        abundances: Name of the abundance table.
        edges: Bin edges in the frame of the absorber [keV].
        total: The cross section as a function of its parts, where there are several.

    Returns: Cross sections [1e-22 cm^2], 0 below 13.6 eV and from 100 keV.
    """
    parts = _at_edges(kind, abundances, edges)
    sigma = parts[0] if total is None else total(parts)
    mean = 0.5 * (sigma[:-1] + sigma[1:])
    if not has_resonances(kind):
        return mean
    resonant, among = _among_resonances(kind, abundances, edges, total)
    return jnp.where(among > 0, resonant, mean)


def covered(fraction: Scalar, transmission: Float[Array, " bin"]) -> Array:
    """What passes an absorber with holes."""
    return 1 - fraction + fraction * transmission


def column_density() -> Any:
    """Declare the column density, the first parameter of every absorber."""
    return parameter("nH", 1.0, (0.0, 1e6), "1e22 / cm^2")


def covering_fraction(name: str = "CvrFract") -> Any:
    """Declare the fraction of the source that the absorber covers."""
    return parameter(name, 0.5, (0.0, 1.0))


def _known_abundances(name: str) -> str:
    read_abundances(name)  # refuses an unknown table
    return name


def abundance_table() -> Any:
    """Declare the table of abundances, one of XSPEC's."""
    return eqx.field(static=True, default="wilm", converter=_known_abundances)


def _known_cross_sections(name: str) -> str:
    check_cross_sections(name)
    return name


def choice_of_cross_sections() -> Any:
    """Declare the cross sections of atoms, `vern` or `bcmc`."""
    return eqx.field(static=True, default="vern", converter=_known_cross_sections)


class Absorber(Component, Multiplicative):
    """Matter in front of a source."""

    absorbs: ClassVar[bool] = True


class TBabs(Absorber):
    """Absorption by the interstellar medium: atoms, hydrogen molecules and dust.

    Photoelectric cross sections with resonances at the O K, Ne K and Fe L edges; 20 %
    of the hydrogen is in molecules, and the metals in dust grains are partly shaded.
    There is no choice of cross sections: XSPEC's `xsect` does not change them either.

    Source: Wilms, Allen & McCray (2000), ApJ 542, 914; XSPEC manual, `TBabs`.
    """

    nH: Scalar = column_density()
    abundances: str = abundance_table()
    xspec_name: ClassVar[str] = "TBabs"

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        sigma = mean_cross_section("TBabs", self.abundances, grid.edges)
        return jnp.exp(-self.nH * sigma)


class RedshiftedTBabs(Absorber):
    """Absorption by gas at a redshift: atoms and hydrogen molecules, without dust.

    As in XSPEC, this is not `TBabs` at redshift 0: all metals are gas, which absorbs
    more than grains that shade their inside. 20 % of the hydrogen is in molecules.

    Source: Wilms, Allen & McCray (2000), ApJ 542, 914; XSPEC manual, `zTBabs`.
    """

    nH: Scalar = column_density()
    redshift: Scalar = redshift()
    abundances: str = abundance_table()
    xspec_name: ClassVar[str] = "zTBabs"

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        edges = grid.shifted(self.redshift).edges
        sigma = mean_cross_section(self.xspec_name, self.abundances, edges)
        return jnp.exp(-self.nH * sigma)


class TBgas(RedshiftedTBabs):
    """Absorption by atoms at a redshift, with neither dust nor molecules.

    XSPEC's hard limits allow a redshift of -1, which leaves no energy.

    Source: Wilms, Allen & McCray (2000), ApJ 542, 914; XSPEC manual, `TBgas`.
    """

    xspec_name: ClassVar[str] = "TBgas"


class TBpcf(Absorber):
    """`TBabs` at a redshift, which covers a fraction of the source.

    Unlike `zTBabs` it has dust, as in XSPEC, whose hard limits allow a redshift of -1,
    which leaves no energy.

    Source: Wilms, Allen & McCray (2000), ApJ 542, 914; XSPEC manual, `TBpcf`.
    """

    nH: Scalar = column_density()
    covering: Scalar = covering_fraction("pcf")
    redshift: Scalar = redshift()
    abundances: str = abundance_table()
    xspec_name: ClassVar[str] = "TBpcf"

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        plain = TBabs(self.nH, self.abundances)
        return covered(self.covering, plain(grid.shifted(self.redshift)))


class Phabs(Absorber):
    """Photoelectric absorption by atoms.

    Cross sections are those of Verner et al. (`vern`) or of Balucinska-Church &
    McCammon (`bcmc`), as of XSPEC's command `xsect`. Its helium in `bcmc` is 9e-5 less
    than Yan et al. (1998) give, from rounding, so that depths are up to 5e-5 less.

    Source: Verner et al. (1996), ApJ 465, 487; Balucinska-Church & McCammon (1992),
        ApJ 400, 699; XSPEC manual, `phabs` and `xsect`.
    """

    nH: Scalar = column_density()
    abundances: str = abundance_table()
    cross_sections: str = choice_of_cross_sections()
    xspec_name: ClassVar[str] = "phabs"

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        kind = kind_of_atoms("phabs", self.cross_sections)
        sigma = mean_cross_section(kind, self.abundances, grid.edges)
        return jnp.exp(-self.nH * sigma)


class RedshiftedPhabs(Absorber):
    """`phabs` at a redshift.

    Source: as `Phabs`; XSPEC manual, `zphabs`.
    """

    nH: Scalar = column_density()
    redshift: Scalar = redshift()
    abundances: str = abundance_table()
    cross_sections: str = choice_of_cross_sections()
    xspec_name: ClassVar[str] = "zphabs"

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        plain = Phabs(self.nH, self.abundances, self.cross_sections)
        return plain(grid.shifted(self.redshift))


class PartialPhabs(Absorber):
    """`phabs` that covers a fraction of the source.

    Source: as `Phabs`; XSPEC manual, `pcfabs`.
    """

    nH: Scalar = column_density()
    covering: Scalar = covering_fraction()
    abundances: str = abundance_table()
    cross_sections: str = choice_of_cross_sections()
    xspec_name: ClassVar[str] = "pcfabs"

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        plain = Phabs(self.nH, self.abundances, self.cross_sections)
        return covered(self.covering, plain(grid))


class RedshiftedPartialPhabs(Absorber):
    """`phabs` at a redshift that covers a fraction of the source.

    Source: as `Phabs`; XSPEC manual, `zpcfabs`.
    """

    nH: Scalar = column_density()
    covering: Scalar = covering_fraction()
    redshift: Scalar = redshift()
    abundances: str = abundance_table()
    cross_sections: str = choice_of_cross_sections()
    xspec_name: ClassVar[str] = "zpcfabs"

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        plain = Phabs(self.nH, self.abundances, self.cross_sections)
        return covered(self.covering, plain(grid.shifted(self.redshift)))


def _mean_wabs(nH: Scalar, edges: Float[Array, " edge"]) -> Float[Array, " bin"]:
    """Transmission of `wabs`, averaged over bins that are cut where its fits join."""
    columns = (jnp.asarray(column, edges.dtype) for column in morrison_mccammon())
    starts, *coefficients = columns
    cuts = jnp.append(starts[1:], jnp.asarray(LOWEST_ENERGY, edges.dtype))
    pieces = jnp.sort(jnp.append(edges, jnp.clip(cuts, edges[0], edges[-1])))
    step, middle = jnp.diff(pieces), 0.5 * (pieces[1:] + pieces[:-1])
    fit = jnp.searchsorted(starts, middle, side="right") - 1
    c_0, c_1, c_2 = (column[fit] for column in coefficients)
    absorbs = middle > LOWEST_ENERGY
    passed = jnp.zeros_like(step)
    for node, weight in zip(NODES.tolist(), WEIGHTS.tolist(), strict=True):
        energy = jnp.where(absorbs, pieces[:-1] + node * step, 1.0)
        sigma = 1e-2 * (c_0 + energy * (c_1 + energy * c_2)) / energy**3
        passed += weight * jnp.where(absorbs, jnp.exp(-nH * sigma), 1.0)
    number = len(edges) - 1
    home = jnp.clip(jnp.searchsorted(edges, middle, side="right") - 1, 0, number - 1)
    total = jax.ops.segment_sum(passed * step, home, number)
    return total / jax.ops.segment_sum(step, home, number)


class Wabs(Absorber):
    """Absorption by matter of solar abundances, in the fits of Morrison & McCammon.

    The abundances are those of Anders & Ebihara (1982) and cannot be chosen, as in
    XSPEC. The transmission is averaged over each bin by quadrature between the energies
    where the fits join; XSPEC's trapezoid is (3 t d)^2 / 12 more, t being the optical
    depth and d the relative width of the bin, and its transmission is 0 below e^-50.
    The fits were made for 0.03 to 10 keV and are continued as E^-3 above and below, as
    in XSPEC; there is no absorption below 13.6 eV.

    Source: Morrison & McCammon (1983), ApJ 270, 119; XSPEC manual, `wabs`.
    """

    nH: Scalar = column_density()
    xspec_name: ClassVar[str] = "wabs"

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        return _mean_wabs(self.nH, grid.edges)


class RedshiftedWabs(Absorber):
    """`wabs` at a redshift.

    Nothing absorbs below 13.6 eV in the frame of the absorber, as in `wabs`; XSPEC's
    `zwabs` continues its fit there.

    Source: Morrison & McCammon (1983), ApJ 270, 119; XSPEC manual, `zwabs`.
    """

    nH: Scalar = column_density()
    redshift: Scalar = redshift()
    xspec_name: ClassVar[str] = "zwabs"

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The fraction of the photons of each bin that passes."""
        return _mean_wabs(self.nH, grid.shifted(self.redshift).edges)
