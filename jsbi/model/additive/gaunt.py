"""Gaunt factors of thermal bremsstrahlung from hydrogen and helium."""

import functools
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import k0e

from jsbi.model.additive.curve import cubics, on_cubics
from jsbi.model.component import Scalar

_FOLDER = Path(__file__).parent
_IONISATION = 0.01358  # of hydrogen [keV]
_PER_DECADE = 8
_LOWEST = -4.0  # log10 of E / kT
_POINTS = 47
# Abramowitz & Stegun (1964), 9.8.6: e^x sqrt(x) K0(x) in powers of 2 / x for x > 2.
_BESSEL = (
    1.25331414,
    -0.07832358,
    0.02189568,
    -0.01062446,
    0.00587872,
    -0.00251540,
    0.00053208,
)
_EULER = 0.5772156649015329


def _scaled_bessel(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """e^x K0(x): its series below 2, a polynomial good to 2e-7 above."""
    small, large = jnp.minimum(x, 2.0), jnp.maximum(x, 2.0)
    square, term, harmonic = (small / 2) ** 2, jnp.ones_like(x), 0.0
    logarithm = jnp.log(small / 2) + _EULER
    series = -logarithm
    for order in range(1, 9):
        term = term * square / order**2
        harmonic = harmonic + 1 / order
        series = series + term * (harmonic - logarithm)
    tail = jnp.polyval(jnp.asarray(_BESSEL[::-1], x.dtype), 2 / large)
    return jnp.where(x < 2, jnp.exp(small) * series, tail / jnp.sqrt(large))


def born_gaunt(reduced: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The Gaunt factor in the Born approximation at E / kT."""
    return 0.5513 * _scaled_bessel(reduced / 2)


@functools.cache
def _reduced_energies() -> Float[np.ndarray, " point"]:
    return 10 ** (_LOWEST + np.arange(_POINTS) / _PER_DECADE)


@functools.cache
def _hot_table() -> tuple[
    Float[np.ndarray, " gamma"], Float[np.ndarray, "gamma point"]
]:
    """Ratio to the Born approximation at the reduced energies, for each gamma."""
    rows = np.loadtxt(_FOLDER / "gaunt_hot.csv", delimiter=",").reshape(7, 6, 5)
    starts = rows[0, :, 1]
    reduced = np.maximum(_reduced_energies(), starts[0])
    cell = np.maximum(np.searchsorted(starts, reduced) - 1, 0)
    constant, linear, quadratic = np.moveaxis(rows[:, cell, 2:], 2, 0)
    return rows[:, 0, 0], constant + reduced * (linear + reduced * quadratic)


@functools.cache
def _cool_table() -> tuple[
    Float[np.ndarray, " gamma"], Float[np.ndarray, "gamma point"]
]:
    """The same of cool gas, for each log10 of gamma / 1000; linear in log10 of u."""
    table = np.loadtxt(_FOLDER / "gaunt_cool.csv", delimiter=",").T
    steps = _LOWEST + 0.5 * np.arange(table.shape[1])
    reduced = _reduced_energies()
    gaunt = [np.interp(np.log10(reduced), steps, row) for row in table]
    return 0.5 * np.arange(len(table)) - 1, gaunt / (0.5513 * k0e(reduced / 2))


def _between_rows(
    rows: tuple[np.ndarray, np.ndarray], place: Scalar
) -> Float[Array, " point"]:
    """Linear between the rows of a table, the first and the last beyond its ends."""
    places, table = (jnp.asarray(part, place.dtype) for part in rows)
    row = jnp.clip(jnp.searchsorted(places, place) - 1, 0, len(places) - 2)
    part = (place - places[row]) / (places[row + 1] - places[row])
    part = jnp.clip(part, 0, 1)
    return (1 - part) * table[row] + part * table[row + 1]


def gaunt_over_born(
    temperature: Scalar, charge: int, tabulated_when_cool: bool = True
) -> Float[Array, " point"]:
    """The Gaunt factor of an ion over its Born approximation, at points of u = E / kT.

    With gamma = 1000 Z^2 0.01358 keV / kT: the Born approximation below 1, the
    polynomials of Kellogg et al. to 100, the table of Kurucz above. It jumps at these
    temperatures, by up to 10 % at gamma = 1 and 3 % at 100.

    Args:
        temperature: kT [keV].
        charge: Z of the ion.
        tabulated_when_cool: Or a Gaunt factor of 1 there.
    """
    gamma = 1000 * _IONISATION * charge**2 / temperature
    hot = jnp.where(gamma < 1, jnp.ones_like(gamma), _between_rows(_hot_table(), gamma))
    if tabulated_when_cool:
        cool = _between_rows(_cool_table(), jnp.log10(gamma / 1000))
    else:
        cool = 1 / born_gaunt(jnp.asarray(_reduced_energies(), gamma.dtype))
    return jnp.where(gamma > 100, cool, hot)


def gaunt_factor(
    over_born: Float[Array, " point"], reduced: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """The Gaunt factor at u = E / kT, by cubics in ln u through its points."""
    place = _PER_DECADE * (jnp.log10(reduced) - _LOWEST)
    return born_gaunt(reduced) * on_cubics(cubics(over_born), place)
