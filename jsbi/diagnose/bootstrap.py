"""Goodness of fit against simulated spectra, with or without the fit of each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from jsbi.diagnose.goodness import Bands, bin_moments, deviance, equal_bands
from jsbi.diagnose.uniformity import holm
from jsbi.estimate import expected_spectra
from jsbi.posterior import Posterior
from jsbi.simulate import Simulator, Target, fit_mode

# Which values speak against the model: 1 for large ones, -1 for small ones, 0 for both.
SIDES = {
    "C-stat": 0,
    "Kolmogorov-Smirnov": 1,
    "Anderson-Darling": 1,
    "runs": -1,
    "longest run": 1,
    "worst band": 1,
}
PARAMETERS = ("posterior", "best")
FITS = 64  # side by side; all wait for the slowest
PASSES, ROUNDS = 6, 12  # passes, after which those that have not converged go on
TOLERANCE = 1e-3  # of ln posterior, promised by the last step
NO_VALUE = (
    "The model must have a value at its best fit; the fit from the likeliest draw "
    "ended where it has none."
)


@dataclass(frozen=True, eq=False)
class Goodness:
    """Statistics of a spectrum among those of spectra that the model made.

    Attributes:
        names: The statistics.
        observed: Their values.
        simulated: Their values for each simulated spectrum.
        p_value: Share of the spectra, observed one included, that are at least as far
            off. Uniform between 0 and 1 if the model is true.
        fitted: Whether the model was fitted anew to every simulated spectrum.
        failed: Simulated spectra that were left out, since their fit had no value.
        false_alarm: Chance that a true model is called a misfit.
    """

    names: tuple[str, ...]
    observed: Float[np.ndarray, " statistic"]
    simulated: Float[np.ndarray, "simulation statistic"]
    p_value: Float[np.ndarray, " statistic"]
    fitted: bool
    failed: int
    false_alarm: float

    @property
    def corrected(self) -> Float[np.ndarray, " statistic"]:
        """P-values after Holm's correction for the number of statistics."""
        return holm(self.p_value)

    @property
    def misfit(self) -> bool:
        """Whether the model is rejected, at the stated rate of false alarms."""
        return bool(self.corrected.min() <= self.false_alarm)

    def __str__(self) -> str:
        """A table with one line per statistic, and the conclusion."""
        titles = ("observed", "median", "5 %", "95 %", "p-value", "corrected")
        lines = [f"{'statistic':<20}" + "".join(f"{each:>11}" for each in titles)]
        quantiles = np.quantile(self.simulated, (0.5, 0.05, 0.95), axis=0)
        columns = (self.observed, *quantiles, self.p_value, self.corrected)
        for name, *row in zip(self.names, *columns, strict=True):
            lines.append(f"{name:<20}" + "".join(f"{value:>11.4g}" for value in row))
        kind = "refitted" if self.fitted else "with known expected counts"
        found = "a misfit" if self.misfit else "no misfit"
        lines.append(
            f"{found}, at {100 * self.false_alarm:g} % false alarms, from "
            f"{len(self.simulated):,} simulated spectra, {kind}"
            + (f"; {self.failed} left out" if self.failed else "")
        )
        return "\n".join(lines)


def known_goodness(
    key: Key[Array, ""],
    counts: Float[np.ndarray, " bin"],
    expected: Float[np.ndarray, " bin"],
    *,
    sizes: Sequence[int] | None = None,
    bands: Bands | None = None,
    simulations: int = 1999,
    false_alarm: float = 0.01,
) -> Goodness:
    """Goodness of fit of known expected counts; p-values are exact at any counts.

    Args:
        key: Random key.
        counts: Observed counts in all bins.
        expected: Model counts, which must not have been fitted to the counts.
        sizes: Bins of each observation of a joint fit; one observation unless given.
        bands: For the worst band; ten of equal expected counts unless given.
        simulations: Simulated spectra. P-values are multiples of 1 / (1 + simulations),
            and exact for odd numbers.
        false_alarm: Chance that a true model is called a misfit.

    Raises:
        ValueError: If there are too few simulations for that chance.

    Source: Barnard (1963), Journal of the Royal Statistical Society B 25, 294; the
        random order of ties, Dufour (2006), Journal of Econometrics 133, 443.
    """
    _check(simulations, false_alarm)
    sizes = (len(counts),) if sizes is None else tuple(sizes)
    bands = equal_bands(expected, sizes) if bands is None else bands
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    drawn = generator.poisson(expected, (simulations, len(expected)))
    every = np.concatenate([counts[None], drawn])
    values = fit_statistics(every, expected[None], sizes, bands)
    return _goodness(generator, values, False, 0, false_alarm)


def fitted_goodness(
    key: Key[Array, ""],
    target: Target,
    posterior: Posterior,
    *,
    parameters: str = "posterior",
    bands: Bands | None = None,
    simulations: int = 1999,
    false_alarm: float = 0.01,
) -> Goodness:
    """Goodness of a fit: spectra are simulated and fitted as the observed one was.

    Every simulated spectrum is fitted from the parameters that made it, the observed
    one from its likeliest draw; the prior is part of all fits. So the p-values account
    for the fitted parameters. They are exact where the distribution of a statistic
    does not depend on the parameters within the posterior, and close to it otherwise.

    Args:
        key: Random key.
        target: The posterior density.
        posterior: Its draws.
        parameters: Where the simulated spectra come from: "posterior" for its draws,
            "best" for the best fit.
        bands: For the worst band; ten of equal expected counts unless given.
        simulations: Simulated spectra; see `known_goodness`.
        false_alarm: Chance that a true model is called a misfit.

    Raises:
        ValueError: If the choice of parameters is unknown, there are too few
            simulations, or too few that have a fit, or the model has no value at its
            best fit.

    Source: the parametric bootstrap of Efron (1979), Annals of Statistics 7, 1; for
        spectra, Protassov et al. (2002), ApJ 571, 545.
    """
    _check(simulations, false_alarm)
    if parameters not in PARAMETERS:
        raise ValueError(f"`parameters` must be one of {PARAMETERS}; got {parameters}.")
    simulator, counts = target.simulator, np.asarray(target.counts, np.float64)
    key_rows, key_counts = jax.random.split(key)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_counts)))
    density = posterior.log_likelihood + target.log_prior(posterior.z)
    start = posterior.z[np.argmax(density)][None]
    if parameters == "best":
        z = np.repeat(fit_each(simulator, counts[None], start)[0], simulations, 0)
    else:
        z = posterior.z[posterior.resampled_rows(key_rows, simulations)]
    expected = expected_spectra(target, z).astype(np.float64)
    finite = np.isfinite(expected)
    drawn = generator.poisson(np.where(finite, expected, 0.0)).astype(np.float64)
    every = np.concatenate([counts[None], drawn])
    model = fit_each(simulator, every, np.concatenate([start, z]))[1]
    # The fit to counts that mean nothing is no fit.
    model[1:] = np.where(finite, model[1:], np.nan)
    known = np.flatnonzero(np.isfinite(model).all(axis=1))
    if 0 not in known:
        raise ValueError(NO_VALUE)
    failed = len(every) - len(known)
    _check(simulations, false_alarm, failed)
    sizes, best = simulator.sizes, model[0]
    bands = equal_bands(best, sizes) if bands is None else bands
    values = fit_statistics(every[known], model[known], sizes, bands)
    return _goodness(generator, values, True, failed, false_alarm)


def _check(simulations: int, false_alarm: float, lost: int = 0) -> None:
    # Twice, for the p-value of both sides.
    least = math.ceil(2 * len(SIDES) / false_alarm - 1 - 1e-6)
    if simulations - lost < least:
        left = f", of which {lost} were lost: their fit has no value" if lost else ""
        raise ValueError(
            f"`simulations` must be at least {least}, so that each of {len(SIDES)} "
            f"statistics can be surprising at {false_alarm:g}; got {simulations}{left}."
        )


def fit_each(
    simulator: Simulator,
    counts: Float[np.ndarray, "spectrum bin"],
    start: Float[np.ndarray, "spectrum dim"],
) -> tuple[Float[np.ndarray, "spectrum dim"], Float[np.ndarray, "spectrum bin"]]:
    """Fit many spectra side by side, each from its own start.

    Args:
        simulator: Model and prior, which is part of the fit.
        counts: Observed counts.
        start: Where to begin.

    Returns: Where the fits ended, and the model counts there.
    """
    number = counts.shape[1]
    model, z = np.full(counts.shape, np.nan), np.array(start, np.float64)
    rows = np.arange(len(z))
    for _ in range(ROUNDS):
        found = _fit_in_parts(simulator, np.concatenate([counts[rows], z[rows]], 1))
        model[rows], z[rows] = found[:, :number], found[:, number:-1]
        # The slowest go on together, so that few wait for them.
        rows = rows[found[:, -1] >= PASSES]
        if not len(rows):
            break
    return z, model


def _fit_in_parts(simulator: Simulator, rows: np.ndarray) -> np.ndarray:
    """Fit rows of counts and start, always as many side by side, in float64."""
    parts = []
    for first in range(0, len(rows), FITS):
        part = rows[first : first + FITS]
        # Repeats of a row end no later than the row itself.
        padded = jnp.asarray(np.resize(part, (FITS, rows.shape[1])), float)
        parts.append(np.asarray(_fit(simulator, padded), np.float64)[: len(part)])
    return np.concatenate(parts)


@eqx.filter_jit
def _fit(simulator: Simulator, rows: Array) -> Array:
    number = sum(simulator.sizes)

    def fit(row):
        counts, start = row[:number], row[number:]
        fit = fit_mode(simulator, counts, start, most=PASSES, tolerance=TOLERANCE)
        passes = fit.passes.astype(row.dtype)[None]
        return jnp.concatenate([simulator.expected_counts(fit.z), fit.z, passes])

    return jax.vmap(fit)(rows)


def fit_statistics(
    counts: Float[np.ndarray, "spectrum bin"],
    expected: Float[np.ndarray, "model bin"],
    sizes: Sequence[int],
    bands: Bands,
) -> Float[np.ndarray, "spectrum statistic"]:
    """All statistics of `SIDES` for many spectra.

    The C statistic is given as its excess over the exact expectation for the spectrum's
    own model, in standard deviations: at few counts per bin the statistic itself
    depends on how many counts there are more than on the fit. The worst band is that
    with the largest such excess. Kolmogorov-Smirnov's is the largest distance of the
    cumulative shares of counts and model, times the root of the counts; the largest of
    several observations. Anderson-Darling's is its weighted mean square; the sum of
    several observations. Runs are those of the signs of the residuals, less what as
    many of each sign in any order have, in standard deviations; the sum of several
    observations. The longest run is given as -ln of how many as long as it are expected
    for such shares of signs; the largest of several observations.

    Args:
        counts: Of each spectrum.
        expected: Of the model of each spectrum, or of one model for all.
        sizes: Bins of each observation.
        bands: For the worst band.

    Source: Kaastra (2017), A&A 605, A51, for the C statistic; Choulakian, Lockhart &
        Stephens (1994), Canadian Journal of Statistics 22, 125, for cumulative
        statistics of binned counts; Wald & Wolfowitz (1940), Annals of Mathematical
        Statistics 11, 147, for runs.
    """
    each = deviance(counts, expected)
    mean, variance = _interpolated_moments(expected)
    cuts = np.cumsum(sizes)[:-1]
    pairs = zip(np.split(counts, cuts, 1), np.split(expected, cuts, 1), strict=True)
    parts = [_ordered_statistics(*pair) for pair in pairs]
    distance, square, runs, longest = zip(*parts, strict=True)
    return np.stack(
        [
            (each - mean).sum(1) / _root(variance.sum(1)),
            np.max(distance, axis=0),
            np.sum(square, axis=0),
            np.sum(runs, axis=0),
            np.max(longest, axis=0),
            (bands.sum(each - mean) / _root(bands.sum(variance))).max(1),
        ],
        1,
    )


def _root(variance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(variance, 1e-30))


def _interpolated_moments(expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `bin_moments`, of many models; good to 1e-5."""
    place = np.log(np.clip(expected, 1e-12, None))
    grid = np.linspace(place.min(), max(place.max(), place.min() + 1), 4000)
    mean, variance = bin_moments(np.exp(grid))
    return np.interp(place, grid, mean), np.interp(place, grid, variance)


def _ordered_statistics(
    counts: np.ndarray, expected: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Statistics of one observation that depend on the order of its bins."""
    total = counts.sum(1, keepdims=True)
    share = expected / np.maximum(expected.sum(1, keepdims=True), 1e-30)
    below = np.cumsum(share, 1)
    apart = np.cumsum(counts - share * total, 1)  # [counts]
    scale = np.maximum(total, 1.0)
    distance = np.abs(apart).max(1) / np.sqrt(scale[:, 0])
    spread = below * (1 - below)
    weight = np.where(spread > 1e-12, share / np.maximum(spread, 1e-12), 0.0)
    square = (weight * apart**2 / scale).sum(1)
    above = counts > expected
    return distance, square, _excess_of_runs(above), _surprise_of_longest(above)


def _excess_of_runs(
    sign: Bool[np.ndarray, "spectrum bin"],
) -> Float[np.ndarray, " spectrum"]:
    """Runs less their mean over all orders of the signs, in standard deviations."""
    number, ups = sign.shape[1], sign.sum(1)
    mixed = 2.0 * ups * (number - ups) / number
    variance = mixed * (mixed - 1) / max(number - 1, 1)
    return (count_runs(sign) - 1 - mixed) / np.sqrt(np.where(variance > 0, variance, 1))


def _surprise_of_longest(
    sign: Bool[np.ndarray, "spectrum bin"],
) -> Float[np.ndarray, " spectrum"]:
    """-ln of the expected number of runs as long as the longest, of either sign."""
    number = sign.shape[1]
    share = np.clip(sign.mean(1), 0.5 / number, 1 - 0.5 / number)
    return np.maximum(
        -_longest_of(sign) * np.log(share) - np.log(number * (1 - share)),
        -_longest_of(~sign) * np.log(1 - share) - np.log(number * share),
    )


def count_runs(
    sign: Bool[np.ndarray, "spectrum bin"],
) -> Float[np.ndarray, " spectrum"]:
    """Number of runs of equal signs in each row."""
    return 1.0 + (sign[:, 1:] != sign[:, :-1]).sum(1)


def longest_run(
    sign: Bool[np.ndarray, "spectrum bin"],
) -> Float[np.ndarray, " spectrum"]:
    """Length of the longest run of equal signs in each row."""
    return np.maximum(_longest_of(sign), _longest_of(~sign))


def _longest_of(
    sign: Bool[np.ndarray, "spectrum bin"],
) -> Float[np.ndarray, " spectrum"]:
    """Length of the longest run of true values in each row."""
    length = longest = np.zeros(len(sign))
    for here in sign.T:
        length = np.where(here, length + 1, 0.0)
        longest = np.maximum(longest, length)
    return longest


def _goodness(
    generator: np.random.Generator,
    values: np.ndarray,
    fitted: bool,
    failed: int,
    false_alarm: float,
) -> Goodness:
    observed, simulated = values[0], values[1:]
    p_value = ranked(generator, observed, simulated, np.array(list(SIDES.values())))
    return Goodness(
        tuple(SIDES), observed, simulated, p_value, fitted, failed, false_alarm
    )


def ranked(
    generator: np.random.Generator,
    observed: Float[np.ndarray, " statistic"],
    simulated: Float[np.ndarray, "simulation statistic"],
    sides: np.ndarray,
) -> Float[np.ndarray, " statistic"]:
    """P-values from the rank of an observed value among simulated ones and itself.

    Values that are equal are put into random order, so that the rank is uniform.

    Args:
        generator: Orders ties.
        observed: Values of the observation.
        simulated: Values of simulations.
        sides: What counts as far off, as in `SIDES`.
    """
    sign = np.where(sides < 0, -1.0, 1.0)
    ours, theirs = sign * observed, sign[None] * simulated
    ties = (theirs == ours[None]).sum(0)
    rank = 1 + (theirs > ours[None]).sum(0) + generator.integers(0, ties + 1)
    number = len(simulated) + 1
    both = np.minimum(1.0, 2 * np.minimum(rank, number + 1 - rank) / number)
    return np.where(sides == 0, both, rank / number)
