"""Tables of absorption cross sections, for interpolation on the device."""

import functools
import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jsbi.model.photoelectric import (
    HELIUM_LIMIT,
    HELIUM_RESONANCES,
    HIGHEST_ENERGY,
    LOWEST_ENERGY,
    LOWEST_POLYNOMIAL_ENERGY,
    PARTS,
    RYDBERG,
    TOTALS,
    Energies,
    Knots,
    fit_starts,
    near_edge,
    polynomial_starts,
    read_abundances,
)

Values = Float[np.ndarray, "part knot"]
# Where a part does not absorb; e^-69 cannot be told from 0 beside others.
LEAST = 1e-30  # [1e-22 cm^2]


def has_resonances(kind: str) -> bool:
    """Whether a kind of absorber has the tabulated resonances at edges of metals."""
    return "TB" in kind


def _cross_sections(kind: str, abundances: str, energy: Energies) -> Values:
    """Parts of a kind of absorber, or its total as the only one [1e-22 cm^2]."""
    table = read_abundances(abundances)
    if kind in PARTS:
        return 1e22 * PARTS[kind](energy, table)
    return 1e22 * TOTALS[kind](energy, table)[None]


def _discontinuities(kind: str) -> list[float]:
    """Energies [keV] where a cross section jumps, and the ends of its range."""
    polynomials = "bcmc" in kind
    starts = polynomial_starts() if polynomials else fit_starts()
    jumps = set((1e-3 * starts).tolist())
    if has_resonances(kind):
        ends = [near_edge(element)[0][[0, -1]] for element in ("O", "Ne", "Fe")]
        jumps |= {*np.concatenate(ends).tolist(), 0.795}
        jumps |= {0.0154, 0.018, 0.02458, 0.03, 0.085}
    elif polynomials:
        # Where helium begins, bends, and has its resonances.
        jumps |= {0.02458, LOWEST_POLYNOMIAL_ENERGY, 0.0469, 0.0661}
    inside = [jump for jump in jumps if LOWEST_ENERGY < jump < HIGHEST_ENERGY]
    return sorted({LOWEST_ENERGY, *inside, HIGHEST_ENERGY})


def _corners(kind: str) -> Knots:
    """Energies [keV] of narrow features that a coarse search could miss."""
    if not has_resonances(kind) and "bcmc" not in kind:
        return np.empty(0)
    _, number, width = HELIUM_RESONANCES.T[:, :, None]
    offset = np.concatenate([-np.geomspace(0.1, 100, 7), np.geomspace(0.1, 100, 7)])
    resonance = 1e-3 * RYDBERG * (HELIUM_LIMIT - 1 / number**2 + width * offset)
    elements = ("O", "Ne", "Fe") if has_resonances(kind) else ()
    edges = [near_edge(element)[0][1:-1] for element in elements]
    return np.concatenate([resonance.ravel(), *edges])


def _refine(
    log_sigma: Callable, start: Float[np.ndarray, " start"], tolerance: float
) -> Knots:
    """Add knots until linear interpolation between them is within `tolerance`.

    The error falls with the square of the spacing, which tells in how many parts to
    divide an interval. Knots stay 2e-6 apart, to be distinct in float32.
    """
    low, high = start[:-1], start[1:]
    done = [start[-1:]]
    while low.size:
        width = high - low
        probes = low + np.linspace(0, 1, 5)[:, None] * width
        values = log_sigma(probes.ravel()).reshape(-1, *probes.shape)
        lines = np.linspace(values[:, 0], values[:, -1], 5, axis=1)
        error = abs(values - lines).max(axis=(0, 1))
        parts = np.minimum(np.sqrt(error / tolerance), width / 2e-6)
        parts = np.where(parts > 1, np.ceil(parts.clip(1, 8)), 1).astype(int)
        done.append(low[parts == 1])
        low, width, parts = (array[parts > 1] for array in (low, width, parts))
        first = np.repeat(np.cumsum(parts) - parts, parts)
        step = np.arange(parts.sum()) - first
        low = np.repeat(low, parts) + step * np.repeat(width / parts, parts)
        high = low + np.repeat(width / parts, parts)
    return np.sort(np.concatenate(done))


def _between_jumps(
    sigma: Callable[[Energies], Values],
    low: float,
    high: float,
    corners: Float[np.ndarray, " corner"],
) -> tuple[Knots, Values]:
    """Knots and values of ln(cross section / 1e-22 cm^2) where it is continuous.

    Knots are moved along their lines to the next float32 number below, and the last one
    a step further, so that the upper side of a jump holds at the very energy of it.
    """
    start, end = np.log(low), np.log(high)

    def log_sigma(log_energy: Energies) -> Values:
        # Strictly inside, since a jump belongs to the piece above it.
        inside = np.clip(np.exp(log_energy), low * (1 + 1e-13), high * (1 - 1e-13))
        return np.log(np.maximum(sigma(inside), LEAST))

    inner = np.log(corners[(corners > low) & (corners < high)])
    coarse = np.linspace(start, end, 2 + int(20 * (end - start)))
    # The shapes of resonances are not known to 1e-4; at 1e-6 they cost 15,000 knots.
    tolerance = 1e-4 if inner.size else 1e-6
    x = _refine(log_sigma, np.unique(np.concatenate([coarse, inner])), tolerance)
    y = log_sigma(x)
    moved = x.astype(np.float32)
    moved = np.where(moved > x, np.nextafter(moved, np.float32(-np.inf)), moved)
    moved[-1] = np.nextafter(moved[-1], np.float32(-np.inf))
    slope = np.diff(y) / np.diff(x)
    y += (moved - x) * np.concatenate([slope, slope[:, -1:]], axis=1)
    return moved.astype(float), y


@functools.lru_cache
def parts_table(kind: str, abundances: str) -> tuple[Knots, Values]:
    """Knots for linear interpolation of ln(cross section) in ln(energy), per part.

    Knots lie where the functions bend, and in pairs one float32 step apart where they
    jump; they are float32 numbers and increase strictly. Interpolation agrees with the
    exact cross section of each part to 1e-6, between the samples of resonances to 1e-4.

    Args:
        kind: A key of `PARTS`, or of `TOTALS`, which are tables of one part.
        abundances: Name of the abundance table.

    Returns: ln(energy / keV) and ln(cross section per hydrogen atom / 1e-22 cm^2),
        read-only. The knots span `LOWEST_ENERGY` to `HIGHEST_ENERGY`; there is no
        absorption outside.
    """
    jumps, corners = _discontinuities(kind), _corners(kind)
    sigma = functools.partial(_cross_sections, kind, abundances)
    pieces = [
        _between_jumps(sigma, *ends, corners) for ends in itertools.pairwise(jumps)
    ]
    log_energy = np.concatenate([knots for knots, _ in pieces])
    log_sigma = np.concatenate([values for _, values in pieces], axis=1)
    log_energy.flags.writeable = log_sigma.flags.writeable = False
    return log_energy, log_sigma


def absorption_table(kind: str, abundances: str) -> tuple[Knots, Knots]:
    """As `parts_table`, of the total of a kind of absorber.

    Args:
        kind: A key of `TOTALS`.
        abundances: Name of the abundance table.
    """
    log_energy, (log_sigma,) = parts_table(kind, abundances)
    return log_energy, log_sigma


# Energies [keV] around the tabulated resonances, where cross sections vary within bins.
RESONANCES = {"O": (0.485, 0.6), "Fe": (0.695, 0.8), "Ne": (0.86, 0.875)}


@functools.lru_cache
def resonance_integral(
    kind: str, abundances: str, element: str
) -> tuple[Energies, Float[np.ndarray, "part energy"]]:
    """Cross sections integrated over energy across one range of `RESONANCES`.

    Args:
        kind: A key of `PARTS` or `TOTALS`.
        abundances: Name of the abundance table.
        element: A key of `RESONANCES`.

    Returns: Energies [keV], float32 numbers that resolve the resonances, and per part
        the integral up to each from the lower end of the range [1e-22 cm^2 keV],
        read-only.
    """
    low, high = RESONANCES[element]
    knots = np.exp(parts_table(kind, abundances)[0])
    inner = knots[(knots > low) & (knots < high)]
    energy = np.concatenate([np.arange(low, high, 1e-4), inner, [high]])
    energy = np.unique(energy.astype(np.float32)).astype(float)
    pieces = 8
    fine = np.interp(
        np.arange((len(energy) - 1) * pieces + 1) / pieces,
        np.arange(len(energy)),
        energy,
    )
    middle = 0.5 * (fine[1:] + fine[:-1])
    sigma = _cross_sections(kind, abundances, middle)
    steps = (sigma * np.diff(fine)).reshape(len(sigma), -1, pieces).sum(2)
    integral = np.pad(np.cumsum(steps, axis=1), ((0, 0), (1, 0)))
    energy.flags.writeable = integral.flags.writeable = False
    return energy, integral
