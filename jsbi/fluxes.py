"""Photon flux, energy flux and luminosity of every draw of a posterior."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import astropy.units as u
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from astropy.cosmology import Planck18
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model import SpectralModel, suggest, terms
from jsbi.posterior import QUANTILES, Posterior
from jsbi.simulate import Prior, in_batches
from jsbi.weights import weighted_quantile

BINS = 2000  # of the band, equal in ln E
BESIDE = 500  # on either side, for what convolutions bring in from there
REACH = 10.0  # how far those go, as a factor of energy
BATCH = 256
KEV = 1.602176634e-9  # erg
PHOTONS, ENERGY = u.photon / u.cm**2 / u.s, u.erg / u.cm**2 / u.s


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Flux:
    """What each draw of a posterior sends through a band; draws keep their weights.

    Attributes:
        band: Its ends [keV].
        photons: Photon flux of each draw [photons / cm^2 / s].
        energy: Energy flux of each draw [erg / cm^2 / s].
        luminosity: Of each draw, if all directions get the same [erg / s]; None where
            no distance is known.
        log_weight: Of the draws, normalised.
        part: The component that it is of, or all.
    """

    band: tuple[float, float]
    photons: u.Quantity
    energy: u.Quantity
    luminosity: u.Quantity | None
    log_weight: Float[np.ndarray, " draw"]
    part: str = "all"

    def quantile(self, probability: float) -> dict[str, u.Quantity]:
        """Weighted quantiles of the quantities."""
        return {
            name: u.Quantity(
                weighted_quantile(values.value, self.log_weight, probability),
                values.unit,
            )
            for name, values in self._quantities().items()
        }

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean, standard deviation and quantiles, in the units of the attributes."""
        weights = np.exp(self.log_weight)
        rows: dict[str, dict[str, float]] = {}
        for name, values in self._quantities().items():
            mean = weights @ values.value
            sd = np.sqrt(weights @ (values.value - mean) ** 2)
            rows[name] = {"mean": float(mean), "sd": float(sd)}
        for row, probability in QUANTILES.items():
            for name, value in self.quantile(probability).items():
                rows[name][row] = float(value.value)
        return rows

    def _quantities(self) -> dict[str, u.Quantity]:
        every = {
            "photons": self.photons,
            "energy": self.energy,
            "luminosity": self.luminosity,
        }
        return {name: values for name, values in every.items() if values is not None}

    def __str__(self) -> str:
        lines = [f"{self.part}, {self.band[0]:g} to {self.band[1]:g} keV"]
        for name, row in self.summary().items():
            unit = self._quantities()[name].unit
            lines.append(
                f"{name:<11}{row['median']:11.4g}  {row['q16']:.4g} to {row['q84']:.4g}"
                f" (68 %)  {row['q05']:.4g} to {row['q95']:.4g} (90 %)  {unit}"
            )
        return "\n".join(lines)


def flux(
    posterior: Posterior,
    model: Callable[..., Any],
    prior: Prior,
    band: tuple[float, float],
    *,
    part: str | None = None,
    absorbed: bool = True,
    without: Sequence[str] = (),
    redshift: float | str | None = None,
    distance: u.Quantity | None = None,
    cosmology: Any = Planck18,
    observation: int = 0,
) -> Flux:
    """The flux of a model through a band, at every draw of a posterior.

    The model is integrated over 2000 bins of the band, whatever the instrument; sharp
    edges of absorbers fall into bins and make that good to a few 1e-4. Convolutions see
    a decade more on either side.

    Args:
        posterior: Weighted draws.
        model: The model that the posterior is of.
        prior: The prior that the posterior is of.
        band: Ends of the band [keV]: as observed, or with `redshift` in the frame of
            the source.
        part: An additive component by its name in an expression, such as `powerlaw_2`,
            with the factors before it; None for all of them.
        absorbed: Whether absorbers such as `tbabs` stay in the model.
        without: Other factors to leave out, by their names in the expression.
        redshift: Of the source, or the name of the parameter that is it. Gives the
            luminosity distance where no distance is given.
        distance: Of the source, as a length of astropy.
        cosmology: Makes a distance of the redshift; XSPEC's own is
            `FlatLambdaCDM(70, 0.27)` of astropy.
        observation: Which one's model, where the model returns one for each.

    Raises:
        ValueError: If the band is empty, or a name is not in the model.
    """
    low, high = _check_band(band)
    posterior.check_names(prior.names)
    frame = _redshifts(posterior, prior, redshift)
    choice = _Choice(part, absorbed, tuple(without), observation)
    inner = np.geomspace(low, high, BINS + 1)
    below = np.geomspace(low / REACH, low, BESIDE, endpoint=False)
    above = np.geomspace(high, high * REACH, BESIDE + 1)[1:]
    grid = EnergyGrid(np.concatenate([below, inner, above]))
    rows = np.column_stack([posterior.z, frame])
    values = in_batches(
        lambda part_rows: _fluxes(model, prior, grid, choice, part_rows), rows, BATCH
    ).astype(np.float64)
    energy = values[:, 1] * KEV * ENERGY
    return Flux(
        band=(low, high),
        photons=values[:, 0] * PHOTONS,
        energy=energy,
        luminosity=_luminosity(energy, frame, redshift, distance, cosmology),
        log_weight=posterior.log_weight,
        part=part or "all",
    )


@dataclasses.dataclass(frozen=True)
class _Choice:
    """What of a model is asked for."""

    part: str | None
    absorbed: bool
    without: tuple[str, ...]
    observation: int

    def __call__(self, model: Any) -> SpectralModel:
        chosen = model[self.observation] if isinstance(model, tuple) else model
        known = terms.factors(chosen)
        for name in self.without:
            if name not in known:
                raise ValueError(
                    f"{name!r} is no factor of the model. {suggest(name, list(known))}"
                )
        dropped = [known[name] for name in self.without]

        def unwanted(factor):
            absorber = factor.absorbs and not self.absorbed
            return absorber or any(factor is each for each in dropped)

        return terms.without(_term(chosen, self.part), unwanted)


def _term(model: SpectralModel, part: str | None) -> SpectralModel:
    if part is None:
        return model
    every = terms.additive_terms(model)
    named = dict(zip(terms.term_names(every), every, strict=True))
    if part not in named:
        raise ValueError(
            f"{part!r} is no additive term of the model. {suggest(part, list(named))}"
        )
    return named[part]


@eqx.filter_jit
def _fluxes(
    model: Callable[..., Any],
    prior: Prior,
    grid: EnergyGrid,
    choice: _Choice,
    rows: Array,
) -> Array:
    """Photons / cm^2 / s and keV / cm^2 / s of each row of z and redshift."""

    def one(row):
        seen = grid.shifted(-row[-1] / (1 + row[-1]))
        spectrum = choice(model(**prior(row[:-1])))(seen)
        inside = slice(BESIDE, BESIDE + BINS)
        photons = spectrum[inside]
        middle = (0.5 * (seen.low + seen.high))[inside]
        return jnp.stack([photons.sum(), (middle * photons).sum()])

    return jax.vmap(one)(rows)


def _check_band(band: tuple[float, float]) -> tuple[float, float]:
    low, high = map(float, band)
    if not (0 < low < high < math.inf):
        raise ValueError(
            "The band must have a positive lower end and a larger upper one [keV]; got "
            f"{low:g} to {high:g}."
        )
    return low, high


def _redshifts(
    posterior: Posterior, prior: Prior, redshift: float | str | None
) -> Float[np.ndarray, " draw"]:
    """The redshift of every draw; 0 where none is given."""
    if not isinstance(redshift, str):
        value = 0.0 if redshift is None else float(redshift)
        if not value > -1:
            raise ValueError(f"The redshift must be above -1; got {value:g}.")
        return np.full(posterior.draws, value)
    if redshift not in prior.all_names:
        raise ValueError(
            f"{redshift!r} is no parameter of the prior. "
            f"{suggest(redshift, list(prior.all_names))}"
        )
    named = jax.jit(jax.vmap(lambda z: prior(z)[redshift]))
    return in_batches(named, posterior.z, BATCH).astype(np.float64)


def _luminosity(
    energy: u.Quantity,
    frame: Float[np.ndarray, " draw"],
    redshift: float | str | None,
    distance: u.Quantity | None,
    cosmology: Any,
) -> u.Quantity | None:
    if distance is None and redshift is None:
        return None
    length = _distance(frame, cosmology) if distance is None else distance
    return u.Quantity(4 * np.pi * length**2 * energy, u.erg / u.s)


def _distance(frame: Float[np.ndarray, " draw"], cosmology: Any) -> u.Quantity:
    if not (frame > 0).all():
        raise ValueError(
            "A luminosity needs a distance, or a positive redshift to make one of; "
            f"the smallest redshift is {frame.min():g}. Give `distance`."
        )
    each, back = np.unique(frame, return_inverse=True)
    return cosmology.luminosity_distance(each)[back]
