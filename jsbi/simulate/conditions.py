"""What differs between observations with one instrument besides their counts."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.simulate.simulator import Simulator
from jsbi.simulate.source import Batch, Source


class Conditions(eqx.Module):
    """Ranges of exposure and background over which one network serves.

    The context that stands for them runs from -1 to 1 in the logarithm of each.

    Attributes:
        log_exposure: ln of the shortest and the longest exposure, in units of the
            folders' own.
        background: Expected background counts per fit bin at the folders' exposure and
            unit scale, without noise.
        log_scale: ln of the least and the greatest background scale.
    """

    log_exposure: Float[Array, " 2"]
    background: Float[Array, " channel"]
    log_scale: Float[Array, " 2"]

    def draw(self, key: Key[Array, ""], number: int) -> Float[Array, "number 2"]:
        """Contexts, uniform in the logarithms."""
        dtype = self.background.dtype
        return jax.random.uniform(key, (number, 2), dtype, minval=-1, maxval=1)

    def expected_counts(
        self, source: Float[Array, " channel"], context: Float[Array, " 2"]
    ) -> Float[Array, " channel"]:
        """Counts of source and background from those of the source as it was folded."""
        exposure, scale = (
            jnp.exp(0.5 * (ends[0] + ends[1]) + 0.5 * (ends[1] - ends[0]) * at)
            for ends, at in (
                (self.log_exposure, context[0]),
                (self.log_scale, context[1]),
            )
        )
        return exposure * (source + scale * self.background)

    def context(
        self, exposure: float | int, scale: float | int
    ) -> Float[np.ndarray, " 2"]:
        """The context of an exposure and a background scale.

        Args:
            exposure: In units of the folders' own.
            scale: Of the background.

        Raises:
            ValueError: If one is outside the ranges.
        """
        ranges = {
            "exposure": (self.log_exposure, exposure),
            "background scale": (self.log_scale, scale),
        }
        context = []
        for name, (ends, value) in ranges.items():
            low, high = (float(end) for end in ends)
            at = math.log(value) if value > 0 else -math.inf
            if not low - 1e-4 <= at <= high + 1e-4:
                raise ValueError(
                    f"The {name} must be within the range of the training, "
                    f"{math.exp(low):.4g} to {math.exp(high):.4g} of that of the "
                    f"training's observation; got {value:.4g}."
                )
            half = 0.5 * (high - low)
            context.append((at - 0.5 * (low + high)) / half if half else 0.0)
        return np.clip(context, -1.0, 1.0)


def make_conditions(
    channels: int,
    *,
    exposure: tuple[float | int, float | int] = (1.0, 1.0),
    background: Float[np.ndarray, " channel"] | None = None,
    scale: tuple[float | int, float | int] = (1.0, 1.0),
) -> Conditions:
    """Check and hold ranges of exposure and background.

    Args:
        channels: Number of fit bins.
        exposure: Shortest and longest, in units of the folders' own.
        background: Expected counts per fit bin at the folders' exposure, from a model
            or smoothed: the noise of a measured background would be taken for the
            truth. None for none.
        scale: Least and greatest factor of the background.

    Raises:
        ValueError: If a range is not positive and ordered, or the background is
            negative, infinite or of another length.
    """
    for name, ends in (("exposure", exposure), ("background scale", scale)):
        if not 0 < ends[0] <= ends[1] < math.inf:
            raise ValueError(
                f"The range of the {name} must be positive, low before high; got "
                f"{ends[0]:g} to {ends[1]:g}."
            )
    counts = np.zeros(channels) if background is None else np.asarray(background)
    if counts.shape != (channels,):
        raise ValueError(
            f"The background must be {channels} counts, one per fit bin; got "
            f"{counts.size}. Is it per channel?"
        )
    if not np.all(np.isfinite(counts) & (counts >= 0)):
        raise ValueError(
            "The background's counts must be finite and not negative; they reach from "
            f"{counts.min():g} to {counts.max():g}. Is it a subtracted spectrum?"
        )
    dtype = jnp.result_type(float)
    return Conditions(
        jnp.asarray(np.log(exposure), dtype),
        jnp.asarray(counts, dtype),
        jnp.asarray(np.log(scale), dtype),
    )


class ConditionedSimulator(Simulator):
    """A simulator of observations under one context.

    Attributes:
        conditions: What the context means.
        context: Exposure and background of the observation.
    """

    conditions: Conditions
    context: Float[Array, " 2"]

    def expected_counts(self, z: Float[Array, " dim"]) -> Float[Array, " channel"]:
        """Counts of source and background in all fit bins."""
        return self.conditions.expected_counts(super().expected_counts(z), self.context)


def under(
    simulator: Simulator, conditions: Conditions, context: Float[Array, " 2"]
) -> ConditionedSimulator:
    """The simulator under a context."""
    return ConditionedSimulator(
        simulator.prior, simulator.model, simulator.folders, conditions, context
    )


class Conditioned(Source):
    """Simulations under contexts drawn afresh.

    Attributes:
        source: Gives coordinates and counts of the source as it was folded.
        conditions: The ranges.
    """

    source: Source
    conditions: Conditions

    def draw(self, key: Key[Array, ""], number: int) -> Batch:
        """Draw simulations, and put each under its own context."""
        key_source, key_context = jax.random.split(key)
        batch = self.source.draw(key_source, number)
        context = self.conditions.draw(key_context, number)
        expected = jax.vmap(self.conditions.expected_counts)(batch.expected, context)
        return Batch(batch.z, expected, context)
