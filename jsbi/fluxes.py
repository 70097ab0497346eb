"""Photon flux, energy flux and luminosity of every draw of a posterior."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
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
BESIDE = 500  # for each decade beside it, from where convolutions bring photons
REACH = 12.0  # how far beside it at least, since redshifts go up to 10
LOWEST = 1e-3  # where a convolution asks for all from 0 keV
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
    a factor of 12 beyond the band, `simpl` 0.001 to 1000 keV for its seed photons, and
    `cflux` the band whose flux it sets. What it sets for the whole stays when factors
    behind it are left out.

    A host model is evaluated anew for each draw, and with a parameter as redshift on
    other bins for each; a `store` keeps those of earlier calls.

    Args:
        posterior: Weighted draws.
        model: The model that the posterior is of.
        prior: The prior that the posterior is of.
        band: Ends of the band [keV]: as observed, or with `redshift` in the frame of
            the source.
        part: An additive component by its name in the expression, such as
            `powerlaw_2`, with the factors before it; `cflux` for all that it scales
            together; None for all of them.
        absorbed: Whether photoelectric absorption stays in the model: all components
            with `absorbs`, such as `tbabs` and `pcfabs`, but not `edge`, `gabs`,
            `cabs` or a factor from a table.
        without: Other factors to leave out, by their names in the expression.
        redshift: Of the source, or the name of the parameter that is it. Gives the
            luminosity distance where no distance is given.
        distance: Of the source, as a length of astropy, or one for each draw.
        cosmology: Makes a distance of the redshift; XSPEC's own is
            `FlatLambdaCDM(70, 0.27)` of astropy.
        observation: Which one's model, where the model returns one for each.

    Raises:
        ValueError: If the band is empty, a name is not in the model, or what is given
            is of another kind.
    """
    low, high = _check_band(band)
    _check_distance(distance, posterior.draws)
    posterior.check_names(prior.names)
    frame = _redshifts(posterior, prior, redshift)
    choice = _Choice(_check_part(part), absorbed, _check_names(without), observation)
    rows = np.column_stack([posterior.z, frame])
    grid, first = _grid((low, high), frame, _seen(model, prior, choice, rows))
    values = in_batches(
        lambda batch: _fluxes(model, prior, grid, first, choice, batch), rows, BATCH
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
        chosen = self._spectrum(model)
        known = terms.factors(chosen)
        for name in self.without:
            if name not in known:
                near = suggest(name, list(known)) if known else "It has none."
                raise ValueError(f"{name!r} is no factor of the model. {near}")
        dropped = [known[name] for name in self.without]

        def unwanted(factor):
            absorber = factor.absorbs and not self.absorbed
            return absorber or any(factor is each for each in dropped)

        return terms.without(_term(chosen, self.part), unwanted)

    def _spectrum(self, model: Any) -> SpectralModel:
        """That of the observation."""
        several = model if isinstance(model, tuple) else (model,)
        if self.observation not in range(len(several)):
            raise ValueError(
                f"`observation` must be one of those the model gives, 0 to "
                f"{len(several) - 1}; got {self.observation!r}. A model that gives one "
                "spectrum gives the same for all."
            )
        chosen = several[int(self.observation)]
        if not isinstance(chosen, SpectralModel):
            raise ValueError(
                f"The model must give photons; got {type(chosen).__name__}. A factor "
                "without a source, or a host model of counts, which knows no energies?"
            )
        return chosen


def _term(model: SpectralModel, part: str | None) -> SpectralModel:
    if part is None:
        return model
    every = terms.additive_terms(model)
    for term, names in zip(every, terms.source_names(every), strict=True):
        if part == names[0]:
            return term
        if part in names:
            raise ValueError(
                f"{part!r} is no additive term of the model: {names[0]} scales all of "
                f"{', '.join(names[1:])} together. Ask for {names[0]!r}."
            )
    raise ValueError(
        f"{part!r} is no additive term of the model. "
        f"{suggest(part, terms.term_names(every))}"
    )


def _seen(
    model: Callable[..., Any], prior: Prior, choice: _Choice, rows: np.ndarray
) -> tuple[float, float] | None:
    """The energies that convolutions must see [keV]; None if there are none."""

    def bands(row):
        found = terms.convolutions(choice(model(**prior(row[:-1]))))
        return jnp.array([each.needed_band() or (jnp.inf, 0.0) for each in found])

    if jax.eval_shape(bands, jnp.zeros(rows.shape[1])).size == 0:
        return None
    ends = in_batches(jax.jit(jax.vmap(bands)), rows, BATCH).astype(np.float64)
    return max(ends[..., 0].min(), LOWEST), ends[..., 1].max()


def _grid(
    band: tuple[float, float],
    frame: Float[np.ndarray, " draw"],
    seen: tuple[float, float] | None,
) -> tuple[EnergyGrid, int]:
    """Bins in the frame of the source, and the first of the band."""
    low, high = band
    inner = np.geomspace(low, high, BINS + 1)
    if seen is None:
        return EnergyGrid(inner), 0
    nearest, farthest = 1 + frame.min(), 1 + frame.max()
    lowest = min(low / REACH, seen[0] * nearest)
    highest = max(high * REACH, seen[1] * farthest)
    first, after = (
        math.ceil(BESIDE * math.log10(ratio))
        for ratio in (low / lowest, highest / high)
    )
    below = np.geomspace(lowest, low, first, endpoint=False)
    above = np.geomspace(high, highest, after + 1)[1:]
    return EnergyGrid(np.concatenate([below, inner, above])), first


@eqx.filter_jit
def _fluxes(
    model: Callable[..., Any],
    prior: Prior,
    grid: EnergyGrid,
    first: int,
    choice: _Choice,
    rows: Array,
) -> Array:
    """Photons / cm^2 / s and keV / cm^2 / s of each row of z and redshift."""

    def one(row):
        seen = grid.shifted(-row[-1] / (1 + row[-1]))
        spectrum = choice(model(**prior(row[:-1])))(seen)
        inside = slice(first, first + BINS)
        photons = spectrum[inside]
        middle = (0.5 * (seen.low + seen.high))[inside]
        return jnp.stack([photons.sum(), (middle * photons).sum()])

    return jax.vmap(one)(rows)


def _check_band(band: Any) -> tuple[float, float]:
    try:
        low, high = map(float, band)
    except (TypeError, ValueError):
        raise ValueError(
            "`band` must be two energies [keV], as numbers without a unit, such as "
            f"(0.5, 10.0); got {band!r}."
        ) from None
    if not (0 < low < high < math.inf):
        raise ValueError(
            "The band must have a positive lower end and a larger upper one [keV]; got "
            f"{low:g} to {high:g}."
        )
    return low, high


def _check_part(part: Any) -> str | None:
    if part is None or isinstance(part, str):
        return part
    raise ValueError(f"`part` must be the name of one component; got {part!r}.")


def _check_names(without: Any) -> tuple[str, ...]:
    single = isinstance(without, str) or not isinstance(without, Iterable)
    names = () if single else tuple(without)
    if single or not all(isinstance(name, str) for name in names):
        raise ValueError(
            "`without` must be a list of names, such as ['tbabs']; got "
            f"{without!r}. A single name without brackets?"
        )
    return names


def _check_distance(distance: Any, draws: int) -> None:
    if distance is None:
        return
    try:
        length = np.asarray(u.Quantity(distance).to_value(u.cm), np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            "`distance` must be a length of astropy, such as 8 * u.kpc; got "
            f"{distance!r}. A number without a unit?"
        ) from None
    if length.shape not in ((), (draws,)):
        raise ValueError(
            f"`distance` must be one length, or one for each of the {draws} draws; got "
            f"an array of shape {length.shape}."
        )
    if not np.all((length > 0) & np.isfinite(length)):
        raise ValueError(f"`distance` must be positive and finite; got {distance}.")


def _redshifts(
    posterior: Posterior, prior: Prior, redshift: float | str | None
) -> Float[np.ndarray, " draw"]:
    """The redshift of every draw; 0 where none is given."""
    if redshift is None:
        return np.zeros(posterior.draws)
    if not isinstance(redshift, str):
        return np.full(posterior.draws, _check_redshift(redshift))
    if redshift not in prior.all_names:
        raise ValueError(
            f"{redshift!r} is no parameter of the prior. "
            f"{suggest(redshift, list(prior.all_names))}"
        )
    named = jax.jit(jax.vmap(lambda z: prior(z)[redshift]))
    frame = in_batches(named, posterior.z, BATCH).astype(np.float64)
    for end in (frame.min(), frame.max()):
        _check_redshift(end)
    return frame


def _check_redshift(redshift: Any) -> float:
    try:
        value = float(redshift)
    except (TypeError, ValueError):
        raise ValueError(
            f"`redshift` must be a number or the name of a parameter; got {redshift!r}."
        ) from None
    if not -1 < value < math.inf:
        raise ValueError(f"The redshift must be above -1; got {value:g}.")
    return value


def _luminosity(
    energy: u.Quantity,
    frame: Float[np.ndarray, " draw"],
    redshift: float | str | None,
    distance: u.Quantity | None,
    cosmology: Any,
) -> u.Quantity | None:
    if distance is None and redshift is None:
        return None
    given = _distance(frame, cosmology) if distance is None else distance
    length = u.Quantity(given)
    return u.Quantity(4 * np.pi * length**2 * energy, u.erg / u.s)


def _distance(frame: Float[np.ndarray, " draw"], cosmology: Any) -> u.Quantity:
    if not (frame > 0).all():
        raise ValueError(
            "A luminosity needs a distance, or a positive redshift to make one of; "
            f"the smallest redshift is {frame.min():g}. Give `distance`."
        )
    each, back = np.unique(frame, return_inverse=True)
    return cosmology.luminosity_distance(each)[back]
