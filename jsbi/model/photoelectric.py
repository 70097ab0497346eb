"""Photoelectric cross sections of neutral matter, as XSPEC's absorbers use them.

NumPy in float64, on the host; `jsbi.model.absorption_table` makes of them what runs on
the device. Energies are in keV, cross sections in cm^2.
"""

import csv
import functools
from collections.abc import Callable
from importlib import resources

import numpy as np
from jaxtyping import Float
from scipy.special import erf

# The elements of XSPEC's absorbers, in its order.
ELEMENTS = (
    *("H", "He", "C", "N", "O", "Ne", "Na", "Mg", "Al"),
    *("Si", "S", "Cl", "Ar", "Ca", "Cr", "Fe", "Co", "Ni"),
)
# Nothing absorbs outside: no photon below ionises hydrogen, XSPEC has no data above.
LOWEST_ENERGY, HIGHEST_ENERGY = 0.0136, 100.0  # [keV]
LOWEST_POLYNOMIAL_ENERGY = 0.03  # [keV]
MEGABARN = 1e-18  # [cm^2]
ATOMIC_MASS_UNIT = 1.6605655e-24  # [g]

Energies = Float[np.ndarray, " energy"]
Knots = Float[np.ndarray, " knot"]
Abundances = Float[np.ndarray, " element"]

# Wilms, Allen & McCray (2000), ApJ 542, 914: table 2 (fraction in the gas, 1 where not
# listed) and section 2 (grain radii in cm, density in g/cm^3, H atoms bound in H2).
_IN_GAS = {"C": 0.5, "O": 0.6, "Na": 0.25, "Mg": 0.2, "Al": 0.02, "Si": 0.1, "S": 0.6}
_IN_GAS |= {"Cl": 0.5, "Ca": 0.003, "Cr": 0.03, "Fe": 0.3, "Co": 0.05, "Ni": 0.04}
GAS_FRACTION = np.array([_IN_GAS.get(element, 1.0) for element in ELEMENTS])
ATOMIC_WEIGHT = np.array(
    [1, 4, 12, 14, 16, 20, 23, 24, 27, 28, 32, 35, 40, 40, 52, 56, 59, 59], float
)
GRAIN_RADII = np.array([0.025e-4, 0.25e-4])
GRAIN_DENSITY = 1.0
MOLECULAR_FRACTION = 0.2

# Per autoionising resonance of helium the asymmetry q, the effective quantum number and
# the width: Oza (1986), PRA 33, 824; Fernley, Taylor & Seaton (1987), J. Phys. B 20,
# 6457. In units of this Rydberg energy [eV]; the series converges to the limit.
RYDBERG = 13.598
HELIUM_LIMIT = 3 + 1.807317
HELIUM_RESONANCES = np.array(
    [
        [2.81, 1.610, 2.64061e-3],
        [2.51, 2.795, 6.20116e-4],
        [2.45, 3.817, 2.56061e-4],
        [2.44, 4.824, 1.320159e-4],
    ]
)


@functools.lru_cache
def _read_table(name: str) -> dict[str, np.ndarray]:
    """Columns of a packaged table: words for elements and shells, else numbers."""
    text = resources.files("jsbi.model").joinpath(name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    header, *rows = csv.reader(lines)
    return {
        title: np.array(column, str if title in ("element", "shell") else float)
        for title, column in zip(header, zip(*rows, strict=True), strict=True)
    }


def read_abundances(name: str) -> Abundances:
    """Atoms per hydrogen atom of each of `ELEMENTS`.

    Args:
        name: XSPEC's name of the table, such as `wilm` or `angr`.

    Raises:
        ValueError: If there is no such table.
    """
    table = _read_table("abundances.csv")
    known = [title for title in table if title != "element"]
    if name not in known:
        raise ValueError(
            f"Unknown abundance table {name!r}. Known: {', '.join(known)}."
        )
    rows = [table["element"].tolist().index(element) for element in ELEMENTS]
    return table[name][rows]


@functools.lru_cache
def fit_starts() -> Float[np.ndarray, " fit"]:
    """Energy [eV] from which each Verner fit counts."""
    fits = _read_table("verner.csv")
    outer = fits["shell"] == "outer"
    end = dict(zip(fits["element"][outer], fits["upper"][outer], strict=True))
    replaced = [end.get(element, 0.0) for element in fits["element"]]
    return np.where(outer, fits["threshold"], np.maximum(fits["threshold"], replaced))


def verner_cross_sections(energy: Energies) -> Float[np.ndarray, "element energy"]:
    """Cross section of each of `ELEMENTS`, summed over shells [cm^2].

    Both families of fits have one form; that of the inner shells lacks the shifts `y_0`
    and `y_1` and has the power `orbital` besides.

    Source: Verner & Yakovlev (1995), A&AS 109, 125, eq. 1; Verner et al. (1996), ApJ
    465, 487, eq. 1.
    """
    table, electron_volts = _read_table("verner.csv"), 1e3 * energy
    counts = electron_volts >= fit_starts()[:, None]
    counts &= electron_volts < table["upper"][:, None]
    counts &= (energy >= LOWEST_ENERGY) & (energy < HIGHEST_ENERGY)
    used = counts.any(axis=1)
    fit = {name: column[used, None] for name, column in table.items()}
    x = electron_volts / fit["energy"] - fit["y_0"]
    y = np.sqrt(x**2 + fit["y_1"] ** 2)
    sigma = MEGABARN * fit["cross_section"] * ((x - 1) ** 2 + fit["y_w"] ** 2)
    sigma *= y ** (fit["power"] / 2 - 5.5 - fit["orbital"])
    sigma *= (1 + np.sqrt(y / fit["y_a"])) ** -fit["power"]
    belongs = np.array(ELEMENTS)[:, None] == table["element"][used]
    return belongs.astype(float) @ np.where(counts[used], sigma, 0.0)


@functools.lru_cache
def polynomial_starts() -> Float[np.ndarray, " fit"]:
    """Energy [eV] from which each polynomial of Balucinska-Church & McCammon counts."""
    return _read_table("balucinska_church_mccammon.csv")["threshold"]


def balucinska_church_mccammon_cross_sections(
    energy: Energies,
) -> Float[np.ndarray, "element energy"]:
    """Cross section of each of `ELEMENTS` by `xsect bcmc` [cm^2].

    Polynomials, but for helium, which is that of Yan et al. (1998), as in XSPEC. They
    were made for 0.03 to 10 keV. Above, they are continued, as in XSPEC. Below,
    XSPEC continues them too and has 1e13 times too much chlorine at 14 eV; here cross
    sections go on as E^-3 instead.

    Source: Balucinska-Church & McCammon (1992), ApJ 400, 699.
    """
    table = _read_table("balucinska_church_mccammon.csv")
    log_energy = np.log(1e3 * np.maximum(energy, LOWEST_POLYNOMIAL_ENERGY))
    inside = (energy >= LOWEST_ENERGY) & (energy < HIGHEST_ENERGY)
    sigma = np.zeros((len(ELEMENTS), len(energy)))
    for row, element in zip(sigma, ELEMENTS, strict=True):
        if element == "He":
            row[:] = np.where(inside, _helium(energy), 0.0)
            continue
        (fits,) = np.nonzero(table["element"] == element)
        starts = table["threshold"][fits]
        fit = fits[np.searchsorted(starts, 1e3 * energy, "right") - 1]
        powers = sum(table[f"c_{n}"][fit] * log_energy**n for n in range(9))
        mass = 1e-24 * table["mass"][fits[0]]
        row[:] = np.where(inside, mass * np.exp(powers) / (1e3 * energy) ** 3, 0.0)
    return sigma


def _hydrogen(energy: Energies) -> Energies:
    """Atomic hydrogen: Band et al. (1990), ApJ 362, 90."""
    y = 2e3 * energy / 13.599
    return 605 * MEGABARN / (y**1.5 * (1 + np.sqrt(y)) ** 4)


def _helium(energy: Energies) -> Energies:
    """Helium: Yan et al. (1998), ApJ 496, 1044, eq. 14, times its resonances."""
    coefficients = [1, -4.7416, 14.82, -30.8678, 37.3584, -23.4585, 5.9133]
    smooth = np.polynomial.Polynomial(coefficients)(np.sqrt(0.02458 / energy))
    sigma = 733e-6 * MEGABARN * energy**-3.5 * smooth
    for q, number, width in HELIUM_RESONANCES:
        centre = HELIUM_LIMIT - 1 / number**2
        x = 2 * (1e3 * energy / RYDBERG - centre) / width
        sigma *= (x - q) ** 2 / (1 + x**2)
    return np.where(energy >= 0.02458, sigma, 0.0)


def _molecular_hydrogen(energy: Energies) -> Energies:
    """A hydrogen molecule: Yan et al. (1998), with the refit of Wilms et al. (2000)."""
    polynomial = np.polynomial.Polynomial
    x = energy / 0.0154
    threshold = polynomial([-37.895, 99.723, -87.227, 25.4])(x)
    low = polynomial([0.071, -0.673, 1.977, -0.692])(1 / x) * x**-0.252
    middle = polynomial([0.664, -11.768, 78.118, -231.339, 368.053, -189.953])(1 / x)
    high = polynomial([1, -2.003, -4.806, 50.577, -171.044, 231.608, -81.885])(x**-0.5)
    ends = [energy < 0.0154, energy < 0.018, energy < 0.03, energy <= 0.085]
    megabarns = [0.0 * x, 100 * threshold, 20 * low, middle]
    return MEGABARN * np.select(ends, megabarns, 45.57e-6 * energy**-3.5 * high)


def near_edge(element: str) -> tuple[Knots, Knots]:
    """Tabulated energies [keV] and cross sections [cm^2] across an absorption edge."""
    table = _read_table("near_edge.csv")
    rows = table["element"] == element
    return 1e-3 * table["energy"][rows], table["cross_section"][rows]


def _replace_near_edge(element: str, energy: Energies, sigma: Energies) -> Energies:
    """Put the tabulated cross section of an edge in place of the fitted one."""
    knots, values = near_edge(element)
    tabulated = np.exp(np.interp(np.log(energy), np.log(knots), np.log(values)))
    return np.where((energy >= knots[0]) & (energy <= knots[-1]), tabulated, sigma)


def tbabs_cross_sections(energy: Energies) -> Float[np.ndarray, "species energy"]:
    """Cross section of each of `ELEMENTS`, then of a hydrogen molecule [cm^2].

    Verner's fits, but for hydrogen, helium and the resonances at the edges of oxygen,
    neon and iron.

    Source: Wilms, Allen & McCray (2000), ApJ 542, 914, in the version that XSPEC has
    had since 2016.
    """
    sigma = verner_cross_sections(energy)
    inside = (energy >= LOWEST_ENERGY) & (energy < HIGHEST_ENERGY)
    sigma[0] = np.where(inside, _hydrogen(energy), 0.0)
    sigma[1] = np.where(inside, _helium(energy), 0.0)
    iron = ELEMENTS.index("Fe")
    joined = 1.645 * MEGABARN * (energy / 0.72074) ** -3.2
    above_edge = (energy >= near_edge("Fe")[0][-1]) & (energy < 0.795)
    sigma[iron] = np.where(above_edge, joined, sigma[iron])
    for element in ("O", "Ne", "Fe"):
        row = ELEMENTS.index(element)
        sigma[row] = _replace_near_edge(element, energy, sigma[row])
    molecule = np.where(inside, _molecular_hydrogen(energy), 0.0)
    return np.vstack([sigma, molecule])


def _grain_cross_section(sigma: Energies, mass: float) -> Energies:
    """Cross section of all grains per hydrogen atom, each shading its inside [cm^2].

    Grains have radii `a` distributed as a^-3.5. The mean path through one is 4/3 a, so
    that it absorbs the fraction 1 - exp(-a k) of the light on its disk pi a^2; the
    integral over `a` has a closed form with the error function.

    Args:
        sigma: Sum of the cross sections of the atoms in grains, per hydrogen atom.
        mass: Mass of these atoms per hydrogen atom [g].

    Source: Wilms, Allen & McCray (2000), appendix A.
    """
    k = 4 / 3 * GRAIN_DENSITY * sigma / mass
    root = np.sqrt(GRAIN_RADII)
    per_volume = mass / (4 / 3 * np.pi * GRAIN_DENSITY * 2 * (root[1] - root[0]))
    small, large = (
        2 * np.expm1(-k * r**2) / r + 2 * np.sqrt(np.pi * k) * erf(np.sqrt(k) * r)
        for r in root
    )
    return np.pi * per_volume * (large - small)


# Cross sections of atoms, by XSPEC's name of the choice.
CROSS_SECTIONS: dict[str, Callable[[Energies], Float[np.ndarray, "element energy"]]] = {
    "vern": verner_cross_sections,
    "bcmc": balucinska_church_mccammon_cross_sections,
}


def check_cross_sections(name: str) -> None:
    """Refuse cross sections that are not among `CROSS_SECTIONS`.

    Raises:
        ValueError: If there are none of this name.
    """
    if name not in CROSS_SECTIONS:
        known = ", ".join(CROSS_SECTIONS)
        raise ValueError(f"Unknown cross sections {name!r}. Known: {known}.")


def phabs_parts(
    energy: Energies, abundances: Abundances, cross_sections: str = "vern"
) -> Float[np.ndarray, "element energy"]:
    """Cross section per hydrogen atom of the atoms of each of `ELEMENTS` [cm^2]."""
    return abundances[:, None] * CROSS_SECTIONS[cross_sections](energy)


def phabs_total(
    energy: Energies, abundances: Abundances, cross_sections: str = "vern"
) -> Energies:
    """Cross section per hydrogen atom of XSPEC's `phabs` [cm^2]."""
    return abundances @ CROSS_SECTIONS[cross_sections](energy)


def morrison_mccammon() -> tuple[Float[np.ndarray, " fit"], ...]:
    """Where each polynomial of `wabs` starts [keV], and its three coefficients."""
    return tuple(_read_table("morrison_mccammon.csv").values())


def tbabs_total(
    energy: Energies,
    abundances: Abundances,
    *,
    grains: bool = True,
    molecular_fraction: float = MOLECULAR_FRACTION,
) -> Energies:
    """Cross section per hydrogen atom of XSPEC's `TBabs` family [cm^2].

    Args:
        energy: Photon energies [keV].
        abundances: Atoms per hydrogen atom of each of `ELEMENTS`.
        grains: Whether part of the metals is in dust grains, else all is gas.
        molecular_fraction: Part of the hydrogen atoms that is bound in molecules.

    Source: Wilms, Allen & McCray (2000), ApJ 542, 914.
    """
    *atoms, molecule = tbabs_cross_sections(energy)
    gas = abundances * GAS_FRACTION if grains else abundances.copy()
    dust = abundances - gas
    gas[0] -= molecular_fraction * abundances[0]
    total = gas @ np.stack(atoms) + molecular_fraction / 2 * abundances[0] * molecule
    if not grains:
        return total
    mass = ATOMIC_MASS_UNIT * float(dust @ ATOMIC_WEIGHT)
    return total + _grain_cross_section(dust @ np.stack(atoms), mass)


def tbabs_parts(
    energy: Energies, abundances: Abundances
) -> Float[np.ndarray, "part energy"]:
    """What `tbabs_total` is made of, per hydrogen atom [cm^2].

    Returns: The cross sections of atomic hydrogen, of half as many molecules, of the
        other elements but oxygen and iron as far as they are gas, of oxygen, of iron,
        and of the other elements as far as they are dust.
    """
    *atoms, molecule = tbabs_cross_sections(energy)
    sigma = abundances[:, None] * np.stack(atoms)
    oxygen, iron = ELEMENTS.index("O"), ELEMENTS.index("Fe")
    others = np.delete(sigma, [0, oxygen, iron], axis=0)
    fraction = np.delete(GAS_FRACTION, [0, oxygen, iron])
    half = 0.5 * abundances[0] * molecule
    gas, dust = fraction @ others, (1 - fraction) @ others
    return np.stack([sigma[0], half, gas, sigma[oxygen], sigma[iron], dust])


def dust_masses(abundances: Abundances) -> tuple[float, float, float]:
    """Mass in grains per hydrogen atom, of all elements but two, of oxygen, of iron.

    Returns: The masses [atomic mass units].
    """
    mass = abundances * (1 - GAS_FRACTION) * ATOMIC_WEIGHT
    oxygen, iron = (float(mass[ELEMENTS.index(element)]) for element in ("O", "Fe"))
    return float(mass.sum()) - oxygen - iron, oxygen, iron


# Total cross section per kind of absorber, by XSPEC's name of its simplest component,
# with the choice of cross sections behind it where that is not `vern`.
TOTALS: dict[str, Callable[[Energies, Abundances], Energies]] = {
    "phabs": phabs_total,
    "phabs bcmc": functools.partial(phabs_total, cross_sections="bcmc"),
    "TBabs": tbabs_total,
    "zTBabs": functools.partial(tbabs_total, grains=False),
    "TBgas": functools.partial(tbabs_total, grains=False, molecular_fraction=0.0),
}

# The same in parts, for components whose parameters weigh them.
PARTS: dict[str, Callable[[Energies, Abundances], Float[np.ndarray, "part energy"]]] = {
    "vphabs": phabs_parts,
    "vphabs bcmc": functools.partial(phabs_parts, cross_sections="bcmc"),
    "TBgrain": tbabs_parts,
}


def kind_of_atoms(component: str, cross_sections: str) -> str:
    """The key of `TOTALS` or `PARTS` of an absorber of atoms with these sections."""
    return component if cross_sections == "vern" else f"{component} {cross_sections}"
