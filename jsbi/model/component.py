"""The algebra of spectral components: what may be added, multiplied and convolved.

A component is an `eqx.Module` whose array fields are its parameters, in XSPEC's order.
Calling it with an `EnergyGrid` integrates it over every bin.
"""

import dataclasses
from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid

Scalar = Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """What XSPEC says about a parameter: its name, default, hard limits and unit.

    One that is frozen keeps its default in a fit unless it is given another value, or a
    prior; others must be given either.
    """

    name: str
    default: float
    low: float
    high: float
    unit: str
    frozen: bool = False


def _as_scalar(value: Any) -> Array:
    value = jnp.asarray(value)
    if jnp.issubdtype(value.dtype, jnp.inexact):
        return value
    return value.astype(jnp.result_type(float))


def parameter(
    name: str,
    default: float,
    limits: tuple[float, float],
    unit: str = "",
    *,
    frozen: bool = False,
) -> Any:
    """Declare a field as a model parameter.

    Args:
        name: XSPEC's name.
        default: XSPEC's default value, also the default of the constructor.
        limits: XSPEC's hard limits.
        unit: Unit, empty where dimensionless.
        frozen: Whether XSPEC keeps it at its default unless told otherwise.
    """
    return eqx.field(
        default=default,
        converter=_as_scalar,
        metadata={"parameter": Parameter(name, default, *limits, unit, frozen)},
    )


def normalisation(unit: str) -> Any:
    """Declare the normalisation, the last parameter of every additive component."""
    return parameter("norm", 1.0, (0.0, 1e24), unit)


def redshift() -> Any:
    """Declare the redshift of a component that is given in the frame of its source."""
    return parameter("Redshift", 0.0, (-0.999, 10.0), frozen=True)


class Component(eqx.Module):
    """Anything that XSPEC lists by name: a set of parameters."""

    xspec_name: ClassVar[str]

    @classmethod
    def parameters(cls) -> dict[str, Parameter]:
        """Field name to parameter, in XSPEC's order."""
        return {
            field.name: field.metadata["parameter"]
            for field in dataclasses.fields(cls)
            if "parameter" in field.metadata
        }


class SpectralModel(eqx.Module):
    """An additive model: photons / cm^2 / s in each bin of a grid."""

    @abstractmethod
    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Integrate the photon flux over the bins [photons / cm^2 / s]."""

    def __add__(self, other: "SpectralModel") -> "SpectralModel":
        if not isinstance(other, SpectralModel):
            return NotImplemented
        return Sum((self, other))

    def __mul__(self, other: "Multiplicative") -> "SpectralModel":
        if isinstance(other, Multiplicative):
            return Absorbed(other, self, behind=True)
        return NotImplemented


class Multiplicative(eqx.Module):
    """A factor per bin, such as the transmission of an absorber."""

    absorbs: ClassVar[bool] = False  # interstellar or other matter

    @abstractmethod
    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """The factor that multiplies the photons of each bin."""

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, SpectralModel):
            return Absorbed(self, other)
        if isinstance(other, Multiplicative):
            return Product((self, other))
        if isinstance(other, Convolution):
            raise TypeError(
                "A convolution needs what it is to change, before it is multiplied: "
                f"write {type(self).__name__}(...) * ({type(other).__name__}(...) * "
                "model), with parentheses, which Python needs where XSPEC does not."
            )
        return NotImplemented


class Sum(SpectralModel):
    """A sum of additive models."""

    terms: tuple[SpectralModel, ...]

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Add the photons of all terms."""
        return sum((term(grid) for term in self.terms[1:]), self.terms[0](grid))


class Product(Multiplicative):
    """A product of factors."""

    factors: tuple[Multiplicative, ...]

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Multiply the factors of each bin."""
        return jnp.prod(jnp.stack([factor(grid) for factor in self.factors]), axis=0)


class Absorbed(SpectralModel):
    """An additive model times a factor."""

    factor: Multiplicative
    model: SpectralModel
    behind: bool = eqx.field(static=True, default=False)  # whether it was written so

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Multiply the photons of each bin by the factor of that bin."""
        return self.factor(grid) * self.model(grid)


class Convolution(eqx.Module):
    """What makes another spectrum, or another factor, of all bins of one together.

    It changes everything that follows it in a product. Bins outside of the grid are not
    known to it: what it would bring in from there is missing.
    """

    changes_factor: ClassVar[bool] = False  # rather than photons
    linear: ClassVar[bool] = True  # whether it may change the terms of a sum one by one

    @abstractmethod
    def __call__(
        self, grid: EnergyGrid, spectrum: Float[Array, " bin"]
    ) -> Float[Array, " bin"]:
        """Change photons of the bins, or the factor that multiplies them."""

    def along(
        self,
        grid: EnergyGrid,
        part: Float[Array, " bin"],
        whole: Float[Array, " bin"],
    ) -> Float[Array, " bin"]:
        """Change a part of the photons as they are changed within the whole.

        Raises:
            ValueError: If the convolution is not linear and does not say how.
        """
        if self.linear:
            return self(grid, part)
        raise ValueError(
            "A part of the photons must be changed as the whole is, but "
            f"{type(self).__name__} is not linear and does not say how. Leave no "
            "factors out behind it, or give its class a method `along`."
        )

    def needed_band(self) -> tuple[Scalar, Scalar] | None:
        """Energies that the grid must hold [keV], wherever the data are."""
        return None

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, SpectralModel) and not self.changes_factor:
            return Convolved(self, other)
        if isinstance(other, Multiplicative) and self.changes_factor:
            return ConvolvedFactor(self, other)
        return NotImplemented


class Convolved(SpectralModel):
    """An additive model, convolved."""

    convolution: Convolution
    model: SpectralModel

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Convolve the photons of the bins."""
        return self.convolution(grid, self.model(grid))


class ConvolvedFactor(Multiplicative):
    """A factor, changed by a convolution that is meant for factors."""

    convolution: Convolution
    factor: Multiplicative

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Change the factor of the bins."""
        return self.convolution(grid, self.factor(grid))
