"""A model-free view of a spectrum, and where a fitted model differs from it.

A diagnostic only: the unfolded spectrum carries the prior of the spectra that its
network was trained on, and nothing here enters a posterior.
"""

import math
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Float, Key
from scipy.special import ndtri

from jsbi.diagnose.bootstrap import fit_each
from jsbi.diagnose.unfolder import Unfolder, unfold_many
from jsbi.simulate import Simulator

LEAST_SPREAD = 3e-3  # of ln(flux): what is known better is not told apart
SHOWN = 5  # deviations in the table
APART = 3  # bins between two of them


@dataclass(frozen=True, eq=False)
class Unfolding:
    """An unfolded spectrum, and what becomes of it when it is observed again.

    Attributes:
        edges: Bin edges [keV], within the energies of the fit bins.
        log_density: ln of the photon flux density [photons / cm^2 / s / keV].
        width: Its standard deviation under the Gaussian prior of the training spectra.
        simulated: The log density of spectra that were simulated from this one and
            unfolded.
    """

    edges: Float[np.ndarray, " edge"]
    log_density: Float[np.ndarray, " bin"]
    width: Float[np.ndarray, " bin"]
    simulated: Float[np.ndarray, "simulation bin"]

    @property
    def energy(self) -> Float[np.ndarray, " bin"]:
        """Centres of the bins [keV]."""
        return (self.edges[1:] + self.edges[:-1]) / 2

    @property
    def density(self) -> Float[np.ndarray, " bin"]:
        """Photon flux density [photons / cm^2 / s / keV]."""
        return np.exp(self.log_density)

    @property
    def bias(self) -> Float[np.ndarray, " bin"]:
        """How far the simulations come out from where they began, of ln(density)."""
        return self.simulated.mean(0) - self.log_density

    @property
    def spread(self) -> Float[np.ndarray, " bin"]:
        """Standard deviation of the simulations, of ln(density)."""
        return self.simulated.std(0, ddof=1)

    def band(
        self,
        level: float = 0.68,
        *,
        simultaneous: bool = False,
        simulated: bool = False,
    ) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
        """Limits of the flux density [photons / cm^2 / s / keV].

        Either so many widths under the Gaussian prior, which know that the unfolding
        does not see everything; or the deviations of the simulations from where they
        began, turned round, which know of the noise and of such bias as repeats itself,
        not of what the unfolding has smoothed away.

        Args:
            level: Probability inside.
            simultaneous: Whether of all bins together; else of each. The factor on the
                widths is that of the simulations, in which bins are correlated.
            simulated: Whether to take the simulations' deviations, not the widths.
        """
        apart = self.simulated - self.log_density
        if simultaneous:
            spread = np.maximum(self.spread, 1e-12)
            largest = (np.abs(apart - self.bias) / spread).max(1)
            factor = float(np.quantile(largest, level))
        else:
            factor = float(ndtri(0.5 + level / 2))
        if not simulated:
            below, above = -factor * self.width, factor * self.width
        elif simultaneous:
            reach = factor * self.spread
            below, above = self.bias - reach, self.bias + reach
        else:
            below, above = np.quantile(apart, [0.5 - level / 2, 0.5 + level / 2], 0)
        return np.exp(self.log_density - above), np.exp(self.log_density - below)


@dataclass(frozen=True, eq=False)
class UnfoldedComparison:
    """An unfolded spectrum beside a fitted model that was folded and unfolded, too.

    Attributes:
        unfolding: The unfolded spectrum.
        log_model: ln of the flux density of the model after the same unfolding, with
            the mean effect of noise on it.
        pull: Spectrum minus model, of the logarithms, in units of the spread that
            simulations of the fitted model, fitted again, have.
        spread: That spread.
        p_value: Share of such simulations that deviate anywhere as much as the
            observation does where it deviates most.
        threshold: Largest pull that all but a share `false_alarm` of them stay below.
        false_alarm: That share, of whole spectra.
        simulations: How many the p-value is from; it is at least 1 / (1 + simulations).
    """

    unfolding: Unfolding
    log_model: Float[np.ndarray, " bin"]
    pull: Float[np.ndarray, " bin"]
    spread: Float[np.ndarray, " bin"]
    p_value: float
    threshold: float
    false_alarm: float
    simulations: int

    @property
    def largest(self) -> float:
        """The largest pull, without its sign."""
        return float(np.abs(self.pull).max())

    def deviations(self, number: int = SHOWN) -> list[int]:
        """Bins where the two differ most, each a few bins from those before it."""
        chosen: list[int] = []
        for place in np.argsort(-np.abs(self.pull)):
            if all(abs(int(place) - other) >= APART for other in chosen):
                chosen.append(int(place))
            if len(chosen) == number:
                break
        return chosen

    def __str__(self) -> str:
        """Where model and unfolded spectrum differ most, and how often that happens."""
        title = ("energy [keV]", "unfolded", "model", "ratio", "pull")
        lines = ["".join(f"{text:>14}" for text in title)]
        energy, density = self.unfolding.energy, self.unfolding.density
        for place in self.deviations():
            model = math.exp(self.log_model[place])
            row = (energy[place], density[place], model, density[place] / model)
            numbers = "".join(f"{value:>14.4g}" for value in row)
            lines.append(f"{numbers}{self.pull[place]:>14.2f}")
        verdict = "differ" if self.p_value <= self.false_alarm else "agree"
        lines.append(
            f"largest pull {self.largest:.2f}, p-value {self.p_value:.3g} from "
            f"{self.simulations} simulations; {100 * self.false_alarm:g} % exceed "
            f"{self.threshold:.2f}: they {verdict}"
        )
        lines.append("densities in photons / cm^2 / s / keV; a diagnostic only: both")
        lines.append("sides carry the prior of the spectra that trained the unfolding")
        return "\n".join(lines)


def unfold(
    key: Key[Array, ""],
    unfolder: Unfolder,
    counts: Float[np.ndarray, " channel"],
    *,
    simulations: int = 400,
) -> Unfolding:
    """Unfold a spectrum, and spectra simulated from the result.

    Args:
        key: Random key.
        unfolder: Trained for these fit bins.
        counts: Observed counts in all fit bins, background included: it is unfolded as
            if it came from the source.
        simulations: How many.

    Raises:
        ValueError: If the counts are of other fit bins.
    """
    counts = _checked(unfolder, counts)
    log_flux, width = unfold_many(unfolder, counts[None])
    expected = unfolder.expected_counts(log_flux[0])
    again = _generator(key).poisson(expected, (simulations, len(counts)))
    simulated, _ = unfold_many(unfolder, again.astype(np.float64))
    return Unfolding(
        edges=_edges(unfolder),
        log_density=_log_density(unfolder, log_flux)[0],
        width=width[0, unfolder.inside],
        simulated=_log_density(unfolder, simulated),
    )


def compare_unfolded(
    key: Key[Array, ""],
    unfolder: Unfolder,
    simulator: Simulator,
    counts: Float[np.ndarray, " channel"],
    z: Float[np.ndarray, " dim"],
    *,
    simulations: int = 400,
    false_alarm: float = 0.01,
) -> UnfoldedComparison:
    """Compare an unfolded spectrum with a fitted model, bin by bin and as a whole.

    The fitted model is folded and unfolded as the observation is, so that resolution
    and prior are the same on both sides. Spectra simulated from the fit are fitted
    and unfolded in the same way: half of them give mean and spread of the difference,
    the other half the distribution of its largest deviation. Since they are fitted
    too, the p-value is right but for the unknown true parameters.

    Args:
        key: Random key.
        unfolder: Trained for these fit bins, by this or a similar model.
        simulator: The model.
        counts: Observed counts in all fit bins.
        z: Where all fits start: the best fit, such as `find_modes(key, target).z[0]`
            or the likeliest draw of a posterior.
        simulations: In each half.
        false_alarm: Share of spectra of a right model that may be called different.

    Raises:
        ValueError: If the counts are of other fit bins.
    """
    counts = _checked(unfolder, counts)
    key_unfold, key_fit = jax.random.split(key)
    fitted = fit_each(simulator, counts[None], z[None])[1]
    shape = 2 * simulations, len(counts)
    again = _generator(key_fit).poisson(fitted[0], shape).astype(np.float64)
    everyone = np.concatenate([counts[None], again])
    refitted = fit_each(simulator, again, np.tile(z, (len(again), 1)))[1]
    models = np.concatenate([fitted, refitted])
    model = _log_density(unfolder, unfold_many(unfolder, models)[0])
    apart = _log_density(unfolder, unfold_many(unfolder, everyone)[0]) - model
    first, second = np.split(apart[1:], 2)
    centre = first.mean(0)
    spread = np.hypot(first.std(0, ddof=1), LEAST_SPREAD)
    pull = (apart[0] - centre) / spread
    largest = np.abs((second - centre) / spread).max(1)
    above = int((~(largest < np.abs(pull).max())).sum())
    return UnfoldedComparison(
        unfolding=unfold(key_unfold, unfolder, counts, simulations=simulations),
        log_model=model[0] + centre,
        pull=pull,
        spread=spread,
        p_value=(1 + above) / (1 + simulations),
        threshold=float(np.quantile(largest, 1 - false_alarm)),
        false_alarm=false_alarm,
        simulations=simulations,
    )


def _checked(unfolder: Unfolder, counts: np.ndarray) -> np.ndarray:
    channels = len(unfolder.frame.tree.columns)
    if np.shape(counts) != (channels,):
        raise ValueError(
            f"`counts` must have one entry for each of the {channels} fit bins of the "
            f"unfolding; got shape {np.shape(counts)}. Another selection or grouping?"
        )
    return np.asarray(counts, np.float64)


def _generator(key: Array) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def _edges(unfolder: Unfolder) -> Float[np.ndarray, " edge"]:
    """Edges of the bins in the energy range of the fit bins."""
    inside = np.flatnonzero(unfolder.inside)
    return unfolder.edges[inside[0] : inside[-1] + 2]


def _log_density(
    unfolder: Unfolder, log_flux: Float[np.ndarray, "spectrum bin"]
) -> Float[np.ndarray, "spectrum inner"]:
    """Log flux density in the energy range of the fit bins."""
    density = log_flux - np.log(np.diff(unfolder.edges))
    return density[:, unfolder.inside]
