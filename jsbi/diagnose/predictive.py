"""Predictive checks: could the posterior, or the prior, have made these data?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Key
from scipy.special import gammaincc, gammaln
from scipy.stats import kstest

from jsbi.data import Observation
from jsbi.diagnose.bootstrap import count_runs, longest_run
from jsbi.diagnose.goodness import (
    BandFit,
    Bands,
    energy_bands,
    equal_bands,
    fit_bands,
)
from jsbi.estimate import expected_spectra
from jsbi.posterior import Posterior
from jsbi.simulate import Target


@dataclass(frozen=True, eq=False)
class Predictive:
    """What the posterior predicts for the data that it was made from.

    The probability below each count, with a uniform random share of the probability of
    the count itself, would be uniform for counts that had no part in the fit. As they
    had, it lies nearer to 0.5: p-values are too large rather than too small.

    Attributes:
        counts: Observed counts.
        expected: Model counts of the likeliest draw.
        below: Predicted probability of fewer counts, randomised, in each bin.
        bands: The C statistic by bands.
        band_below: As `below`, of the counts of each band.
        sizes: Bins of each observation.
        energy: Middle of each bin [keV]; its number where energies are not known.
        runs: Runs of bins that hold more, or fewer, counts than the median prediction.
        runs_expected: Mean of the number of runs in a random order.
        runs_p_value: Probability of as few runs in a random order.
        longest_run: Length of the longest run [bin].
    """

    counts: Float[np.ndarray, " bin"]
    expected: Float[np.ndarray, " bin"]
    below: Float[np.ndarray, " bin"]
    bands: BandFit
    band_below: Float[np.ndarray, " band"]
    sizes: tuple[int, ...]
    energy: Float[np.ndarray, " bin"]
    runs: int
    runs_expected: float
    runs_p_value: float
    longest_run: int

    @property
    def band_p_value(self) -> Float[np.ndarray, " band"]:
        """Probability of a band's counts as far off, on either side."""
        return 2 * np.minimum(self.band_below, 1 - self.band_below)

    @property
    def uniform_p_value(self) -> float:
        """Kolmogorov-Smirnov p-value of `below` over the bins."""
        return float(kstest(self.below, "uniform").pvalue)

    @property
    def p_value(self) -> float:
        """Smallest p-value of bands and runs, times how many there are (Bonferroni)."""
        bands = len(self.band_below) * float(self.band_p_value.min())
        return min(1.0, 2 * min(bands, self.runs_p_value))

    def band_rows(self) -> tuple[dict[str, Any], ...]:
        """One record of plain numbers per band."""
        rows = zip(self.bands.rows(), self.band_below.tolist(), strict=True)
        return tuple(row | {"below": below} for row, below in rows)

    def record(self) -> dict[str, Any]:
        """Plain numbers about all bins."""
        return {
            "p_value": self.p_value,
            "uniform_p_value": self.uniform_p_value,
            "runs": self.runs,
            "runs_expected": self.runs_expected,
            "runs_p_value": self.runs_p_value,
            "longest_run": self.longest_run,
        }

    def __str__(self) -> str:
        """The table of bands, and the runs."""
        return (
            f"{self.bands}\nworst band: p-value "
            f"{min(1.0, len(self.band_below) * self.band_p_value.min()):.2g} after "
            "correction; "
            f"{self.runs} runs of residuals, expected {self.runs_expected:.1f}, "
            f"p-value {self.runs_p_value:.2g}; bins: p-value "
            f"{self.uniform_p_value:.2g}"
        )


def predictive_checks(
    key: Key[Array, ""],
    target: Target,
    posterior: Posterior,
    *,
    observations: Sequence[Observation] = (),
    bands: int | Sequence[float | int] = 10,
    draws: int = 200,
) -> Predictive:
    """Compare the counts of bins and bands with the posterior's predictions.

    Predictions are mixtures of Poisson distributions over draws of the posterior.

    Args:
        key: Random key.
        target: The posterior density.
        posterior: Its draws.
        observations: Those of the target; they give the energies.
        bands: Number of bands of equal expected counts in each observation, or edges
            [keV], for which the observations must be given.
        draws: Equal-weight draws for the mixture.

    Raises:
        ValueError: If edges are given without observations, or hold no bin.

    Source: Gelman, Meng & Stern (1996), Statistica Sinica 6, 733; the randomised
        transform, Smith (1985), Journal of Forecasting 4, 283.
    """
    key_rows, key_uniform = jax.random.split(key)
    counts = np.asarray(target.counts, np.float64)
    best = target.expected_counts(posterior.z[np.argmax(posterior.log_likelihood)])
    rows = posterior.resampled_rows(key_rows, draws)
    # One by one: this function has been compiled by the report.
    expected = np.stack([target.expected_counts(z) for z in posterior.z[rows]])
    sizes = target.simulator.sizes
    groups = _bands(bands, best, sizes, observations)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_uniform)))
    below = mixture_below(generator, counts, expected)
    above = np.split(below > 0.5, np.cumsum(sizes)[:-1])
    runs, mean, p_value = runs_test(above)
    return Predictive(
        counts=counts,
        expected=best,
        below=below,
        bands=fit_bands(counts, best, groups),
        band_below=mixture_below(generator, groups.sum(counts), groups.sum(expected)),
        sizes=sizes,
        energy=_energies(len(counts), observations),
        runs=runs,
        runs_expected=mean,
        runs_p_value=p_value,
        longest_run=int(max(longest_run(each[None])[0] for each in above)),
    )


def _bands(
    bands: int | Sequence[float | int],
    expected: np.ndarray,
    sizes: tuple[int, ...],
    observations: Sequence[Observation],
) -> Bands:
    if isinstance(bands, int):
        return equal_bands(expected, sizes, bands, observations)
    if not observations:
        raise ValueError(
            "Bands by energy need `observations`, which know the energies of the bins; "
            "none were given."
        )
    return energy_bands(observations, bands)


def _energies(number: int, observations: Sequence[Observation]) -> np.ndarray:
    if not observations:
        return np.arange(number, dtype=np.float64)
    return np.concatenate(
        [0.5 * (each.bin_low + each.bin_high) for each in observations]
    )


def mixture_below(
    generator: np.random.Generator,
    counts: Float[np.ndarray, " bin"],
    expected: Float[np.ndarray, "draw bin"],
) -> Float[np.ndarray, " bin"]:
    """Randomised probability of fewer counts under a mixture of Poisson distributions.

    Exactly uniform if the counts come from the mixture.

    Args:
        generator: Draws the uniform shares.
        counts: Observed counts.
        expected: Expected counts of each part of the mixture, of equal weights.
    """
    safe = np.maximum(expected, 1e-300)
    fewer = gammaincc(counts[None], safe).mean(0)
    not_more = gammaincc(counts[None] + 1, safe).mean(0)
    return fewer + generator.random(len(counts)) * (not_more - fewer)


def runs_test(signs: Sequence[np.ndarray]) -> tuple[int, float, float]:
    """Number of runs of equal signs, its mean, and the probability of as few.

    Given how many signs of each kind there are, all orders are equally likely if the
    residuals are independent. Counted in each observation and added up.

    Args:
        signs: Of the residuals of each observation, as booleans.

    Source: Wald & Wolfowitz (1940), Annals of Mathematical Statistics 11, 147.
    """
    total, probability = 0, np.ones(1)
    for each in signs:
        total += int(count_runs(each[None])[0])
        positive = int(each.sum())
        parts = runs_distribution(positive, len(each) - positive)
        probability = np.convolve(probability, parts)
    mean = probability @ np.arange(len(probability))
    return total, float(mean), float(min(1.0, probability[: total + 1].sum()))


def runs_distribution(positive: int, negative: int) -> Float[np.ndarray, " runs"]:
    """Probability of each number of runs, from 0, in random orders of two kinds.

    Args:
        positive: How many there are of one kind.
        negative: How many there are of the other.
    """
    if not positive or not negative:
        return np.array([0.0, 1.0])
    runs = np.arange(positive + negative + 1)
    half = runs // 2
    even = _log_choose(positive - 1, half - 1) + _log_choose(negative - 1, half - 1)
    first = _log_choose(positive - 1, half) + _log_choose(negative - 1, half - 1)
    second = _log_choose(positive - 1, half - 1) + _log_choose(negative - 1, half)
    odd = np.logaddexp(first, second)
    log_ways = np.where(runs % 2, odd, even + np.log(2.0))
    everything = _log_choose(positive + negative, np.array(positive))
    return np.exp(log_ways - everything)


def _log_choose(total: int, part: np.ndarray) -> np.ndarray:
    """Log of the binomial coefficient; -inf outside its range."""
    inside = (part >= 0) & (part <= total)
    safe = np.where(inside, part, 0)
    value = gammaln(total + 1) - gammaln(safe + 1) - gammaln(total - safe + 1)
    return np.where(inside, value, -np.inf)


@dataclass(frozen=True, eq=False)
class PriorPredictive:
    """Where an observation lies among spectra that the prior makes.

    Shares are p-values on both sides, of the simulated spectra with the observed one
    included; small ones say that the prior hardly allows such data.

    Attributes:
        total: Share of spectra with total counts as far from the median.
        band: The same for the counts in each band.
        shape: Share of spectra whose shape is as far from all shapes of the prior: the
            C statistic at the nearest of them, once they have the observed total.
        distance: That C statistic of the observation.
        distance_median: Its median for spectra of the prior with as many counts.
        bands: The bands.
        simulations: Simulated spectra.
        failed: Draws of the prior at which the model has no value; left out.
    """

    total: float
    band: Float[np.ndarray, " band"]
    shape: float
    distance: float
    distance_median: float
    bands: Bands
    simulations: int
    failed: int

    @property
    def smallest(self) -> float:
        """Smallest share, times how many there are (Bonferroni)."""
        shares = np.append(self.band, [self.total, self.shape])
        return float(min(1.0, len(shares) * shares.min()))

    def __str__(self) -> str:
        return (
            f"of {self.simulations:,} spectra of the prior, {100 * self.total:.3g} % "
            f"have totals and {100 * self.band.min():.3g} % have counts of the worst "
            f"band as far off; {100 * self.shape:.3g} % have a shape as far from the "
            f"prior's (C-stat {self.distance:.4g}, median {self.distance_median:.4g})"
        )


def prior_predictive(
    key: Key[Array, ""],
    target: Target,
    *,
    observations: Sequence[Observation] = (),
    bands: int | Sequence[float | int] = 10,
    simulations: int = 999,
) -> PriorPredictive:
    """Compare an observation with spectra simulated from the prior.

    Args:
        key: Random key.
        target: Model, prior and observed counts.
        observations: Those of the target; they give the energies.
        bands: As for `predictive_checks`; equal counts are those of the prior's mean.
        simulations: Spectra to simulate.

    Raises:
        ValueError: If the model has a value at no draw of the prior, or as
            `predictive_checks`.

    Source: Box (1980), Journal of the Royal Statistical Society A 143, 383.
    """
    key_z, key_counts = jax.random.split(key)
    shape = simulations, target.dimension
    z = np.asarray(jax.random.normal(key_z, shape), np.float64)
    expected = expected_spectra(target, z).astype(np.float64)
    known = np.isfinite(expected).all(1)
    if not known.any():
        raise ValueError(
            "The model must have a value somewhere in the prior; it has none at "
            f"{simulations} draws."
        )
    expected = expected[known]
    groups = _bands(bands, expected.mean(0), target.simulator.sizes, observations)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_counts)))
    drawn = generator.poisson(expected).astype(float)
    counts = np.asarray(target.counts, np.float64)
    share, distance, median = _shape_share(generator, counts, expected)
    return PriorPredictive(
        total=float(_share(counts.sum(keepdims=True), drawn.sum(1, keepdims=True))[0]),
        band=_share(groups.sum(counts), groups.sum(drawn)),
        shape=share,
        distance=distance,
        distance_median=median,
        bands=groups,
        simulations=len(expected),
        failed=int((~known).sum()),
    )


def _share(observed: np.ndarray, simulated: np.ndarray) -> np.ndarray:
    """Share of simulated values as far out, on both sides."""
    number = len(simulated) + 1
    low = (1 + (simulated <= observed[None]).sum(0)) / number
    high = (1 + (simulated >= observed[None]).sum(0)) / number
    return np.minimum(1.0, 2 * np.minimum(low, high))


def _shape_share(
    generator: np.random.Generator, counts: np.ndarray, expected: np.ndarray
) -> tuple[float, float, float]:
    """Distance to the nearest shape: share as far, the observed one, the median."""
    brightness = expected.sum(1, keepdims=True)
    shape = expected[brightness[:, 0] > 0] / brightness[brightness[:, 0] > 0]
    total = counts.sum()
    drawn = generator.poisson(total * shape).astype(float)
    observed = _nearest(counts[None], shape, np.zeros((1, len(shape)), bool))[0]
    simulated = _nearest(drawn, shape, np.eye(len(shape), dtype=bool))
    share = (1 + (simulated >= observed).sum()) / (len(simulated) + 1)
    return float(share), float(observed), float(np.median(simulated))


def _nearest(counts: np.ndarray, shape: np.ndarray, barred: np.ndarray) -> np.ndarray:
    """C statistic at the nearest shape of the same total, but for those barred."""
    total = counts.sum(1, keepdims=True)
    own = np.where(counts > 0, counts / np.maximum(total, 1.0), 1.0)
    cross = counts @ np.log(np.maximum(shape, 1e-30)).T
    distance = 2 * ((counts * np.log(own)).sum(1)[:, None] - cross)
    return np.where(barred, np.inf, distance).min(1)
