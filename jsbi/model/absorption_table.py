"""Tables of total absorption cross sections, for interpolation on the device."""

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
    RYDBERG,
    TOTALS,
    Energies,
    Knots,
    fit_starts,
    near_edge,
    read_abundances,
)


def _discontinuities(kind: str) -> list[float]:
    """Energies [keV] where a total cross section jumps, and the ends of its range."""
    jumps = set((1e-3 * fit_starts()).tolist())
    if kind != "phabs":
        ends = [near_edge(element)[0][[0, -1]] for element in ("O", "Ne", "Fe")]
        jumps |= {*np.concatenate(ends).tolist(), 0.795}
        jumps |= {0.0154, 0.018, 0.02458, 0.03, 0.085}
    inside = [jump for jump in jumps if LOWEST_ENERGY < jump < HIGHEST_ENERGY]
    return sorted({LOWEST_ENERGY, *inside, HIGHEST_ENERGY})


def _corners(kind: str) -> Knots:
    """Energies [keV] of narrow features that a coarse search could miss."""
    if kind == "phabs":
        return np.empty(0)
    _, number, width = HELIUM_RESONANCES.T[:, :, None]
    offset = np.concatenate([-np.geomspace(0.1, 100, 7), np.geomspace(0.1, 100, 7)])
    resonance = 1e-3 * RYDBERG * (HELIUM_LIMIT - 1 / number**2 + width * offset)
    edges = [near_edge(element)[0][1:-1] for element in ("O", "Ne", "Fe")]
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
        values = log_sigma(probes.ravel()).reshape(probes.shape)
        lines = np.linspace(values[0], values[-1], 5)
        error = abs(values - lines).max(axis=0)
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
    total: Callable, low: float, high: float, corners: Float[np.ndarray, " corner"]
) -> tuple[Knots, Knots]:
    """Knots and values of ln(cross section / 1e-22 cm^2) where it is continuous.

    Knots are moved along their lines to the next float32 number below, and the last one
    a step further, so that the upper side of a jump holds at the very energy of it.
    """
    start, end = np.log(low), np.log(high)

    def log_sigma(log_energy: Energies) -> Energies:
        # Strictly inside, since a jump belongs to the piece above it.
        inside = np.clip(np.exp(log_energy), low * (1 + 1e-13), high * (1 - 1e-13))
        return np.log(1e22 * total(inside))

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
    y += (moved - x) * np.append(slope, slope[-1])
    return moved.astype(float), y


@functools.lru_cache
def absorption_table(kind: str, abundances: str) -> tuple[Knots, Knots]:
    """Knots for linear interpolation of ln(cross section) in ln(energy).

    Knots lie where the function bends, and in pairs one float32 step apart where it
    jumps; they are float32 numbers and increase strictly. Interpolation agrees with the
    exact total to 1e-6, between the samples of resonances to 1e-4.

    Args:
        kind: A key of `TOTALS`.
        abundances: Name of the abundance table.

    Returns: ln(energy / keV) and ln(cross section per hydrogen atom / 1e-22 cm^2),
        read-only. The knots span `LOWEST_ENERGY` to `HIGHEST_ENERGY`; there is no
        absorption outside.
    """
    table = read_abundances(abundances)
    jumps, corners = _discontinuities(kind), _corners(kind)
    pieces = [
        _between_jumps(lambda energy: TOTALS[kind](energy, table), *ends, corners)
        for ends in itertools.pairwise(jumps)
    ]
    log_energy, log_sigma = (np.concatenate(part) for part in zip(*pieces, strict=True))
    log_energy.flags.writeable = log_sigma.flags.writeable = False
    return log_energy, log_sigma


# Energies [keV] around the tabulated resonances, where cross sections vary within bins.
RESONANCES = {"O": (0.485, 0.6), "Fe": (0.695, 0.8), "Ne": (0.86, 0.875)}


@functools.lru_cache
def resonance_integral(
    kind: str, abundances: str, element: str
) -> tuple[Energies, Energies]:
    """The cross section integrated over energy across one range of `RESONANCES`.

    Args:
        kind: A key of `TOTALS`.
        abundances: Name of the abundance table.
        element: A key of `RESONANCES`.

    Returns: Energies [keV], spaced to resolve the resonances, and the integral up to
        each from the lower end of the range [1e-22 cm^2 keV], read-only.
    """
    low, high = RESONANCES[element]
    knots = np.exp(absorption_table(kind, abundances)[0])
    inner = knots[(knots > low) & (knots < high)]
    energy = np.unique(np.concatenate([np.arange(low, high, 1e-4), inner, [high]]))
    parts = 8
    fine = np.interp(
        np.arange((len(energy) - 1) * parts + 1) / parts, np.arange(len(energy)), energy
    )
    middle = 0.5 * (fine[1:] + fine[:-1])
    sigma = 1e22 * TOTALS[kind](middle, read_abundances(abundances))
    steps = (sigma * np.diff(fine)).reshape(-1, parts).sum(1)
    integral = np.concatenate([[0.0], np.cumsum(steps)])
    energy.flags.writeable = integral.flags.writeable = False
    return energy, integral
