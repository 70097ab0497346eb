"""Things that a model may lack, each an addition to any model, with its prior."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from jsbi.data import Observation
from jsbi.instrument import EnergyGrid
from jsbi.instrument.gain import GainFolder
from jsbi.model import Multiplicative, TBabs
from jsbi.simulate import LogUniform, Marginal, Normal, Prior, Simulator, Uniform

# Equivalent width [keV] of an emission line; depth of an absorption line.
WIDTHS = (1e-3, 3.0)
DEPTHS = (1e-2, 1.0)
GAIN = 0.03  # standard deviation of the slope
COLUMNS = (1e-2, 10.0)  # [1e22 / cm^2]
COVERED_COLUMNS = (0.1, 100.0)


@dataclass(frozen=True)
class Candidate:
    """A model with one thing more.

    Attributes:
        name: What it adds.
        simulator: The whole model; its first coordinates are those of the base model,
            unless it is another model altogether.
        added: Names of the parameters that the base model has not.
        prior: Of these, in words.
    """

    name: str
    simulator: Simulator
    added: tuple[str, ...]
    prior: str


class LineFactor(Multiplicative):
    """A line in whatever spectrum it multiplies, relative to its continuum.

    Emission adds photons of an equivalent width, in the spectrum as it arrives: behind
    all absorbers, so that none weakens it. Absorption takes away a share of the photons
    in the middle of the line. Bins hold the mean of the line's Gaussian profile.

    Attributes:
        energy: Of the middle [keV].
        strength: Equivalent width [keV], or depth.
        sigma: Of the profile [keV].
        emission: Whether photons are added.
    """

    energy: Float[Array, ""]
    strength: Float[Array, ""]
    sigma: Float[Array, ""]
    emission: bool = eqx.field(static=True)

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The factor on the photons of each bin."""
        share = jnp.diff(ndtr((grid.edges - self.energy) / self.sigma))
        profile = share / grid.width
        if self.emission:
            return 1 + self.strength * profile
        return 1 - self.strength * self.sigma * jnp.sqrt(2 * jnp.pi) * profile


class Multiplied(eqx.Module):
    """A model function of the parameters of another and some of its own.

    Attributes:
        model: The other.
    """

    model: Callable[..., Any]

    def factor(self, values: dict[str, Any]) -> Multiplicative:
        """What multiplies all spectra, from own parameters, which are taken out."""
        raise NotImplementedError

    def __call__(self, **values: Any) -> Any:
        """The spectral model, or a tuple of one per observation."""
        factor = self.factor(values)
        model = self.model(**values)
        if isinstance(model, tuple):
            return tuple(factor * each for each in model)
        return factor * model


class WithLine(Multiplied):
    """A model with an unresolved line.

    Attributes:
        energies: Energies at which the width is given [keV], increasing.
        sigmas: Width of the line there [keV].
        emission: Whether it adds photons.
    """

    energies: Float[Array, " energy"]
    sigmas: Float[Array, " energy"]
    emission: bool = eqx.field(static=True)

    @property
    def names(self) -> tuple[str, str]:
        """Of the energy and the strength."""
        return ("line.energy", "line.width" if self.emission else "line.depth")

    def factor(self, values: dict[str, Any]) -> Multiplicative:
        """The line."""
        energy, strength = (values.pop(name) for name in self.names)
        sigma = jnp.interp(energy, self.energies, self.sigmas)
        return LineFactor(energy, strength, sigma, self.emission)


class PartialCover(Multiplicative):
    """An absorber in front of a part of the source.

    Attributes:
        absorber: What covers.
        fraction: Of the source, that it covers.
    """

    absorber: Multiplicative
    fraction: Float[Array, ""]

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The share of the photons of each bin that arrives."""
        return 1 - self.fraction + self.fraction * self.absorber(grid)


class WithAbsorber(Multiplied):
    """A model behind one more absorber.

    Attributes:
        partial: Whether it covers a part of the source only.
    """

    partial: bool = eqx.field(static=True)

    def factor(self, values: dict[str, Any]) -> Multiplicative:
        """The absorber."""
        absorber = TBabs(values.pop("absorber.nH"))
        if not self.partial:
            return absorber
        return PartialCover(absorber, values.pop("absorber.fraction"))


class GainSimulator(Simulator):
    """A simulator whose instruments, if they can be shifted, share an energy scale."""

    def expected_counts(self, z: Float[Array, " dim"]) -> Float[Array, " channel"]:
        """Model counts in all fit bins of all observations."""
        values = self.prior(z)
        shift = values.pop("gain.slope"), values.pop("gain.offset", None)
        folders = tuple(
            folder.shifted(*shift) if isinstance(folder, GainFolder) else folder
            for folder in self.folders
        )
        return replace(self, folders=folders).fold(self.model(**values))


def with_line(
    simulator: Simulator,
    energies: Float[np.ndarray, " energy"],
    sigmas: Float[np.ndarray, " energy"],
    *,
    emission: bool = True,
    within: tuple[float, float] | None = None,
    strength: tuple[float, float] | None = None,
) -> Candidate:
    """An unresolved line, at an energy that is log-uniform.

    Args:
        simulator: The base model.
        energies: Energies at which the width is given [keV], increasing.
        sigmas: Width of the line there, below the instrument's [keV].
        emission: Whether it adds photons.
        within: Lowest and highest energy [keV]; the ends of `energies` unless given.
        strength: Ends of the log-uniform prior of the equivalent width [keV] or of the
            depth; `WIDTHS` or `DEPTHS` unless given.
    """
    low, high = within or (float(energies[0]), float(energies[-1]))
    weak, strong = strength or (WIDTHS if emission else DEPTHS)
    dtype = jnp.result_type(float)
    model = WithLine(
        simulator.model,
        jnp.asarray(energies, dtype),
        jnp.asarray(sigmas, dtype),
        emission,
    )
    what = "equivalent width [keV]" if emission else "depth"
    priors = (LogUniform(low, high), LogUniform(weak, strong))
    return _candidate(
        "emission line" if emission else "absorption line",
        simulator,
        model,
        dict(zip(model.names, priors, strict=True)),
        f"energy log-uniform in {low:.4g} to {high:.4g} keV, {what} log-uniform in "
        f"{weak:g} to {strong:g}",
    )


def with_absorber(
    simulator: Simulator,
    *,
    partial: bool = False,
    column: tuple[float, float] | None = None,
) -> Candidate:
    """A further interstellar absorber in front of everything, at rest.

    Args:
        simulator: The base model.
        partial: Whether it covers only a fraction of the source, uniform from 0 to 1.
        column: Ends of the log-uniform prior of nH [1e22 / cm^2].
    """
    low, high = column or (COVERED_COLUMNS if partial else COLUMNS)
    added: dict[str, Marginal] = {"absorber.nH": LogUniform(low, high)}
    text = f"nH log-uniform in {low:g} to {high:g} x 1e22 / cm^2"
    if partial:
        added["absorber.fraction"] = Uniform(0.0, 1.0)
        text += ", covering fraction uniform in 0 to 1"
    return _candidate(
        "partial absorber" if partial else "absorber",
        simulator,
        WithAbsorber(simulator.model, partial),
        added,
        text,
    )


def with_gain(
    simulator: Simulator,
    observations: Sequence[Observation],
    *,
    slope: float = GAIN,
    offset: float | None = None,
) -> Candidate:
    """An energy scale that is off by the same in all instruments.

    Energies are recorded at `(1 + slope) E + offset`, which is not the convention of
    XSPEC's `gain`, and the effective area is not shifted.

    Args:
        simulator: The base model.
        observations: Those of its folders, in the same order.
        slope: Standard deviation of the relative shift, whose prior is normal.
        offset: That of a shift of all energies alike [keV]; none unless given.

    Raises:
        ValueError: If there are not as many observations as folders.
    """
    if len(observations) != len(simulator.folders):
        raise ValueError(
            "A shift of the energy scale needs the observation of every folder; got "
            f"{len(observations)} for {len(simulator.folders)}."
        )
    folders = tuple(GainFolder(each) for each in observations)
    added: dict[str, Marginal] = {"gain.slope": Normal(0.0, slope)}
    text = f"slope normal, 0 +- {slope:g}"
    if offset is not None:
        added["gain.offset"] = Normal(0.0, offset)
        text += f", offset normal, 0 +- {offset:g} keV"
    prior = extended(simulator.prior, added)
    shifted = GainSimulator(prior, simulator.model, folders)
    return Candidate("gain shift", shifted, tuple(added), text)


def with_own(
    simulator: Simulator, name: str, model: Callable[..., Any], prior: Prior
) -> Candidate:
    """Another model of the same data, given as a whole.

    Args:
        simulator: The base model, for its instruments.
        name: What to call it.
        model: A function of the prior's parameters.
        prior: All of its priors.
    """
    added = tuple(each for each in prior.names if each not in simulator.prior.names)
    other = replace(simulator, model=model, prior=prior)
    return Candidate(name, other, added, "as given")


def extended(prior: Prior, added: Mapping[str, Marginal]) -> Prior:
    """A prior with more free parameters, after those that it has.

    Raises:
        ValueError: If it has one of that name.
    """
    for name in added:
        if name in prior.all_names:
            raise ValueError(
                f"The model must not have a parameter {name!r} of its own, a name that "
                "is given to what is added. Rename it."
            )
    return Prior(prior.parameters | dict(added))


def _candidate(
    name: str,
    simulator: Simulator,
    model: Callable[..., Any],
    added: Mapping[str, Marginal],
    text: str,
) -> Candidate:
    prior = extended(simulator.prior, added)
    return Candidate(
        name, replace(simulator, model=model, prior=prior), tuple(added), text
    )
