"""Priors as maps from standard-normal coordinates, accurate far into their tails."""

import math
import re
from abc import abstractmethod
from collections.abc import Mapping
from numbers import Real
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float

from jsbi.model import suggest

Scalar = Float[Array, ""]
REACH = 5.0  # standard deviations


def _as_number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{what} must be a number; got {value!r}.")
    if not math.isfinite(value):
        raise ValueError(f"{what} must be finite; got {value!r}.")
    number, held = float(value), jnp.finfo(jnp.result_type(float))
    if number != 0 and not float(held.tiny) <= abs(number) <= float(held.max):
        raise ValueError(
            f"{what} must be a number that {held.dtype} can hold, "
            f"{float(held.tiny):.1e} to {float(held.max):.1e}; got {value!r}."
        )
    return number


def _ordered(low: float, high: float, kind: str) -> tuple[Array, Array]:
    """Limits on the device, still distinct there."""
    ends = jnp.asarray(low), jnp.asarray(high)
    if not ends[0] < ends[1]:
        near = " They are the same number in single precision." if low < high else ""
        raise ValueError(
            f"A {kind} prior needs low < high; got {low:.12g}, {high:.12g}.{near}"
        )
    return ends


class Marginal(eqx.Module):
    """The prior of one parameter: a monotonic map from z ~ N(0, 1)."""

    @abstractmethod
    def __call__(self, z: Scalar) -> Scalar:
        """The parameter at coordinate `z`."""

    def reach(self) -> tuple[float, float]:
        """The values at five standard deviations, 3e-7 of the prior beyond each."""
        low, high = (float(self(jnp.asarray(z))) for z in (-REACH, REACH))
        return low, high


class Uniform(Marginal):
    """Uniform between `low` and `high`."""

    low: Scalar
    high: Scalar

    def __init__(self, low: float | int, high: float | int):
        low, high = _as_number(low, "`low`"), _as_number(high, "`high`")
        self.low, self.high = _ordered(low, high, "uniform")

    def __call__(self, z: Scalar) -> Scalar:
        """Measure from the nearer edge, so that both tails keep their digits."""
        step = (self.high - self.low) * ndtr(-jnp.abs(z))
        return jnp.where(z < 0, self.low + step, self.high - step)


class LogUniform(Marginal):
    """Uniform in the logarithm between `low` and `high`, both positive."""

    low: Scalar
    high: Scalar
    log_ratio: Scalar  # ln(high / low), from float64

    def __init__(self, low: float | int, high: float | int):
        low, high = _as_number(low, "`low`"), _as_number(high, "`high`")
        if low <= 0:
            raise ValueError(
                f"A log-uniform prior needs low > 0; got {low:g}. The logarithm has no "
                "lower end there: choose the smallest value that would matter."
            )
        self.low, self.high = _ordered(low, high, "log-uniform")
        self.log_ratio = jnp.asarray(math.log(high / low))

    def __call__(self, z: Scalar) -> Scalar:
        """Measure from the nearer edge, so that both tails keep their digits."""
        step = self.log_ratio * ndtr(-jnp.abs(z))
        return jnp.where(z < 0, self.low * jnp.exp(step), self.high * jnp.exp(-step))


class Normal(Marginal):
    """Normal with this mean and standard deviation."""

    mean: Scalar
    sd: Scalar

    def __init__(self, mean: float | int, sd: float | int):
        self.mean = jnp.asarray(_as_number(mean, "`mean`"))
        self.sd = jnp.asarray(_positive(sd))

    def __call__(self, z: Scalar) -> Scalar:
        """Scale and shift."""
        return self.mean + self.sd * z


class LogNormal(Marginal):
    """The exponential of a normal with mean `mean_ln` and deviation `sd_ln`."""

    mean_ln: Scalar
    sd_ln: Scalar

    def __init__(self, mean_ln: float | int, sd_ln: float | int):
        self.mean_ln = jnp.asarray(_as_number(mean_ln, "`mean_ln`"))
        self.sd_ln = jnp.asarray(_positive(sd_ln))

    def __call__(self, z: Scalar) -> Scalar:
        """Scale, shift and exponentiate."""
        return jnp.exp(self.mean_ln + self.sd_ln * z)


class TruncatedNormal(Marginal):
    """Normal restricted to `low`, `high`."""

    mean: Scalar
    sd: Scalar
    low: Scalar
    high: Scalar
    low_deviation: Scalar  # (low - mean) / sd, from float64
    high_deviation: Scalar

    def __init__(
        self,
        mean: float | int,
        sd: float | int,
        low: float | int,
        high: float | int,
    ):
        mean, sd = _as_number(mean, "`mean`"), _positive(sd)
        low, high = _as_number(low, "`low`"), _as_number(high, "`high`")
        self.low, self.high = _ordered(low, high, "truncated normal")
        a, b = (low - mean) / sd, (high - mean) / sd
        if a > 8 or b < -8:
            raise ValueError(
                f"A truncated normal prior must overlap its normal; {low:g} to "
                f"{high:g} lies over 8 standard deviations from {mean:g} +- {sd:g}. "
                "Are mean and sd in the same unit as the limits?"
            )
        self.mean, self.sd = jnp.asarray(mean), jnp.asarray(sd)
        self.low_deviation, self.high_deviation = jnp.asarray(a), jnp.asarray(b)

    def __call__(self, z: Scalar) -> Scalar:
        """Truncate in units of the standard deviation, then scale and shift."""
        deviation = truncate_normal(z, self.low_deviation, self.high_deviation)
        return jnp.clip(self.mean + self.sd * deviation, self.low, self.high)


def truncate_normal(
    z: Float[Array, "*shape"], low: Float[Array, "*shape"], high: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Map z ~ N(0, 1) monotonically onto N(0, 1) restricted to `low`, `high`.

    The smaller of the two tail probabilities, each a sum of positive terms, is
    inverted, so that neither tail loses digits.
    """
    below = ndtr(low) * ndtr(-z) + ndtr(high) * ndtr(z)
    above = ndtr(-low) * ndtr(-z) + ndtr(-high) * ndtr(z)
    # Not `minimum`, whose gradient where both are equal is the mean of +1 and -1.
    smaller = jnp.where(below < above, below, above)
    tail = ndtri(jnp.maximum(smaller, jnp.finfo(smaller.dtype).tiny))
    return jnp.clip(jnp.where(below < above, tail, -tail), low, high)


def _positive(sd: Any) -> float:
    sd = _as_number(sd, "The standard deviation")
    if sd <= 0:
        raise ValueError(f"The standard deviation must be positive; got {sd:g}.")
    return sd


# Name of the prior in files: its class, and what its numbers mean.
MARGINALS: dict[str, tuple[type[Marginal], tuple[str, ...]]] = {
    "uniform": (Uniform, ("low", "high")),
    "loguniform": (LogUniform, ("low", "high")),
    "normal": (Normal, ("mean", "sd")),
    "truncated_normal": (TruncatedNormal, ("mean", "sd", "low", "high")),
    "lognormal": (LogNormal, ("mean_ln", "sd_ln")),
}

_TIE = re.compile(r"^\s*(?:(?P<factor>[-+.\deE]+)\s*\*)?\s*(?P<name>[^*\s]+)\s*$")


class Prior(eqx.Module):
    """Named parameters as functions of z ~ N(0, I).

    Args:
        parameters: Maps each parameter's name to a `Marginal`, to a number that fixes
            it, or to a string that ties it to another: `"powerlaw.norm"` or, with a
            factor, `"2*powerlaw.norm"`.

    Attributes:
        names: The free parameters, in the order of `z`.

    Raises:
        ValueError: If a value is none of these, or a tie names no parameter with a
            prior or a value of its own.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    marginals: tuple[Marginal, ...]
    fixed: tuple[tuple[str, Scalar], ...]
    ties: tuple[tuple[str, Scalar, str], ...]  # name, factor, the other's name

    def __init__(self, parameters: Mapping[str, Any]):
        free, fixed, ties = {}, {}, []
        for name, value in parameters.items():
            if isinstance(value, Marginal):
                free[name] = value
            elif isinstance(value, str):
                ties.append((name, *_parse_tie(name, value)))
            else:
                fixed[name] = jnp.asarray(_as_number(value, f"The prior of {name!r}"))
        own = [*free, *fixed]
        for name, _, other in ties:
            if other in parameters and other not in own:
                raise ValueError(
                    f"{name!r} is tied to {other!r}, which is itself tied. Tie both to "
                    "a parameter that has a prior or a value."
                )
            if other not in own:
                raise ValueError(
                    f"{name!r} is tied to {other!r}, which has no prior or value of "
                    f"its own. {suggest(other, own)}"
                )
        if not free:
            raise ValueError(
                "A prior needs at least one free parameter; all of "
                f"{', '.join(parameters) or 'none'} are fixed or tied."
            )
        self.names, self.marginals = tuple(free), tuple(free.values())
        self.fixed, self.ties = tuple(fixed.items()), tuple(ties)

    @property
    def dimension(self) -> int:
        """Number of free parameters."""
        return len(self.names)

    @property
    def all_names(self) -> tuple[str, ...]:
        """Free, fixed and tied parameters."""
        return (
            *self.names,
            *(name for name, _ in self.fixed),
            *(name for name, _, _ in self.ties),
        )

    def reach(self) -> dict[str, tuple[float, float]]:
        """The lowest and highest value of every parameter, five sigma out."""
        ends = dict(
            zip(self.names, (each.reach() for each in self.marginals), strict=True)
        )
        ends |= {name: (float(value), float(value)) for name, value in self.fixed}
        for name, factor, other in self.ties:
            low, high = sorted(float(factor) * end for end in ends[other])
            ends[name] = low, high
        return ends

    @property
    def parameters(self) -> dict[str, Any]:
        """What the prior was made of: `Prior(prior.parameters)` is the same."""
        free = dict(zip(self.names, self.marginals, strict=True))
        fixed = {name: float(value) for name, value in self.fixed}
        return (
            free
            | fixed
            | {name: f"{float(factor)!r}*{other}" for name, factor, other in self.ties}
        )

    def table(self) -> dict[str, Any]:
        """Plain values that describe the prior; `prior_from` reads them."""
        kinds = {kind: (name, fields) for name, (kind, fields) in MARGINALS.items()}
        table = self.parameters
        for name, marginal in zip(self.names, self.marginals, strict=True):
            if type(marginal) not in kinds:
                raise ValueError(
                    f"The prior of {name!r} must be one of {', '.join(MARGINALS)} to "
                    f"be written to a file; it is {type(marginal).__name__}."
                )
            kind, fields = kinds[type(marginal)]
            table[name] = {kind: [float(getattr(marginal, each)) for each in fields]}
        return table

    def free(self, z: Float[Array, " dim"]) -> Float[Array, " dim"]:
        """The free parameters at `z`, in the order of `names`."""
        return jnp.stack([marginal(z[i]) for i, marginal in enumerate(self.marginals)])

    def __call__(self, z: Float[Array, " dim"]) -> dict[str, Scalar]:
        """All parameters at `z`: free, fixed and tied."""
        values = dict(zip(self.names, self.free(z), strict=True)) | dict(self.fixed)
        return values | {
            name: factor * values[other] for name, factor, other in self.ties
        }


def _parse_tie(name: str, text: str) -> tuple[Scalar, str]:
    match = _TIE.match(text)
    try:
        factor = float(match["factor"] or 1.0)  # type: ignore[index]
    except (TypeError, ValueError):
        raise ValueError(
            f"Cannot read the tie {name!r} = {text!r}; it must be the name of another "
            "parameter, or a factor, '*' and the name."
        ) from None
    factor = _as_number(factor, f"The factor of the tie {name!r} = {text!r}")
    return jnp.asarray(factor), match["name"]  # type: ignore[index]


def prior_from(table: Mapping[str, Any]) -> Prior:
    """The prior that a table of plain values describes.

    Args:
        table: Maps each parameter's name to a number, the name of another parameter,
            or one of `MARGINALS` with its numbers: `{"uniform": [0.0, 1.0]}`.

    Raises:
        ValueError: If a value is none of these; the message names the parameter.
    """
    return Prior({name: _marginal(name, value) for name, value in table.items()})


def _marginal(name: str, value: Any) -> Marginal | float | str:
    if isinstance(value, str):
        return value
    if type(value) in (int, float):
        return float(value)
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(
            f"The prior of {name!r} must be a number, the name of another parameter, "
            f"or one of {', '.join(MARGINALS)} such as {{ uniform = [0.0, 1.0] }}; "
            f"got {value!r}."
        )
    ((kind, numbers),) = value.items()
    if kind not in MARGINALS:
        raise ValueError(
            f"Unknown prior {kind!r} of {name!r}. {suggest(kind, list(MARGINALS))}"
        )
    marginal, meaning = MARGINALS[kind]
    if not isinstance(numbers, list) or len(numbers) != len(meaning):
        raise ValueError(
            f"{kind} of {name!r} needs [{', '.join(meaning)}]; got {numbers!r}."
        )
    try:
        return marginal(*numbers)
    except ValueError as error:
        raise ValueError(f"The prior of {name!r}: {error}") from None
