"""Emulators: a slow model's spectra, or its likelihood, as smooth functions of z."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float, Key

from jsbi.descent import descend
from jsbi.simulate import Simulator
from jsbi.simulate.source import Batch

STEPS = 3000
ROWS = 256  # simulations in one step of the descent
WIDTH = 64
BASIS_ROWS = 1000  # simulations that define the basis: enough for tens of coefficients
EDGE = 0.99  # share of the training draws inside of which the map is not extrapolated
LEAST_COUNTS = 1e-6  # expected counts that no likelihood can tell from none
# Range of the log-likelihood that decides, and that over which weights fall off.
NEAR = 15.0


class SmoothMap(eqx.Module):
    """A quadratic plus a small network, continued linearly where it was not trained.

    With a log link the likelihood of a linear map is concave, so that it goes on
    falling away from the training draws and no mode is invented there.

    Attributes:
        centre: Mean of the training draws.
        whitener: Makes their deviations uncorrelated, of unit variance.
        edge: Whitened radius beyond which the map is linear.
        coefficients: Of the terms of `quadratic_terms`.
        network: The rest, in units of `scale`.
        scale: Root mean square of the rest.
    """

    centre: Float[Array, " dim"]
    whitener: Float[Array, "dim dim"]
    edge: Float[Array, ""]
    coefficients: Float[Array, "term output"]
    network: eqx.nn.MLP
    scale: Float[Array, " output"]

    def __call__(self, z: Float[Array, " dim"]) -> Float[Array, " output"]:
        """Value at `z`."""
        white = self.whitener @ (z - self.centre)
        square, limit = white @ white, self.edge**2
        outside = square > limit
        # The root has no derivative at the centre, where it is not needed.
        radius = jnp.sqrt(jnp.where(outside, square, limit))
        nearest = white * (self.edge / radius)
        value, rise = jax.jvp(self._inside, (nearest,), (white - nearest,))
        return value + rise

    def _inside(self, white: Array) -> Array:
        quadratic = jnp.matmul(
            quadratic_terms(white), self.coefficients, precision=Precision.HIGHEST
        )
        return quadratic + self.scale * self.network(white)


def quadratic_terms(white: Float[Array, " dim"]) -> Float[Array, " term"]:
    """One, the coordinates, and their products."""
    first, second = np.triu_indices(len(white))
    return jnp.concatenate(
        [jnp.ones(1, white.dtype), white, white[first] * white[second]]
    )


def fit_smooth_map(
    key: Key[Array, ""],
    z: Float[np.ndarray, "draw dim"],
    values: Float[np.ndarray, "draw output"],
    weight: Float[np.ndarray, " draw"],
    *,
    steps: int = STEPS,
    tick: Callable[[int], Any] = lambda steps: None,
) -> SmoothMap:
    """Fit the quadratic by least squares, then train the network on what it leaves.

    Args:
        key: Random key.
        z: Where the values are known.
        values: Outputs whose squared errors count alike.
        weight: Importance of each draw.
        steps: Steps of descent; 0 leaves the quadratic alone.
        tick: Called with the number of steps after each part of the work.

    Raises:
        ValueError: If there are fewer draws than the quadratic has terms.
    """
    number, dimension = z.shape
    terms = (dimension + 1) * (dimension + 2) // 2
    if number <= terms:
        raise ValueError(
            f"A quadratic in {dimension} parameters has {terms} terms and needs more "
            f"simulations than that; got {number}. Were most of them without a value?"
        )
    centre = z.mean(0)
    covariance = np.cov(z.T).reshape(dimension, -1)
    whitener = np.linalg.inv(np.linalg.cholesky(covariance))
    white = (z - centre) @ whitener.T
    first, second = np.triu_indices(dimension)
    design = np.column_stack(
        [np.ones(number), white, white[:, first] * white[:, second]]
    )
    root = np.sqrt(weight)[:, None]
    coefficients = np.linalg.lstsq(design * root, values * root, rcond=None)[0]
    rest = values - design @ coefficients
    scale = np.sqrt((weight[:, None] * rest**2).sum(0) / weight.sum()) + 1e-12
    key_network, key_descent = jax.random.split(key)
    network = eqx.nn.MLP(
        dimension, values.shape[1], WIDTH, 2, jax.nn.silu, key=key_network
    )
    dtype = jnp.result_type(float)
    importance = scale**2 / (scale**2).sum()
    if steps:
        data = (white, rest / scale, importance, weight / weight.mean())
        network, _ = descend(
            key_descent,
            network,
            _squared_error,
            tuple(jnp.asarray(each, dtype) for each in data),
            steps=steps,
            tick=tick,
        )
    edge = np.quantile(np.linalg.norm(white, axis=1), EDGE)
    parts = (centre, whitener, edge, coefficients)
    return SmoothMap(
        *(jnp.asarray(part, dtype) for part in parts),
        network=network,
        scale=jnp.asarray(scale if steps else 0 * scale, dtype),
    )


def _squared_error(network: eqx.nn.MLP, key: Array, data: tuple) -> Array:
    white, rest, importance, weight = data
    rows = jax.random.randint(key, (ROWS,), 0, len(white))
    square = (jax.vmap(network)(white[rows]) - rest[rows]) ** 2
    return (weight[rows] * (square @ importance)).mean()


class EmulatedSimulator(Simulator):
    """A simulator whose expected counts come from a reduced basis of their logarithm.

    The likelihood is Poisson's own, so that the emulator serves any counts of the same
    instruments. Prior, model and folders are those of the simulator it stands for.

    Attributes:
        surface: Coefficients of the basis as functions of z.
        basis: Directions of ln(expected counts).
        mean: Their mean over the training simulations.
    """

    surface: SmoothMap
    basis: Float[Array, "coefficient channel"]
    mean: Float[Array, " channel"]

    def expected_counts(self, z: Float[Array, " dim"]) -> Float[Array, " channel"]:
        """Model counts in all fit bins of all observations."""
        rise = jnp.matmul(self.surface(z), self.basis, precision=Precision.HIGHEST)
        return jnp.exp(self.mean + rise)


class LikelihoodEmulator(Simulator):
    """A simulator whose log-likelihood at one observation's counts is a smooth map.

    Its spectra are still those of the model.

    Attributes:
        surface: The log-likelihood as a function of z.

    Source: Barret & Dupourqué (2026), SIXSA, talk at the Lumière workshop.
    """

    surface: SmoothMap

    def log_likelihood(
        self, z: Float[Array, " dim"], counts: Float[Array, " channel"]
    ) -> Float[Array, ""]:
        """Log-likelihood at the counts of the training, whatever `counts` are."""
        return self.surface(z)[0]


def train_emulator(
    key: Key[Array, ""],
    simulator: Simulator,
    batch: Batch,
    *,
    retained: float = 0.02,
    steps: int = STEPS,
    tick: Callable[[int], Any] = lambda steps: None,
) -> EmulatedSimulator:
    """Train a spectrum emulator on simulations without noise.

    The basis is found in units of each bin's Poisson noise. There a squared error is
    about the variance that it brings to the log-likelihood of counts drawn nearby.

    Args:
        key: Random key.
        simulator: What is emulated; it is not evaluated.
        batch: Simulations from where the emulator will be used.
        retained: Error of the log-likelihood that leaving out directions may bring.
        steps: Steps of descent; 0 leaves the quadratic alone.
        tick: Called with the number of steps after each part of the work.

    Raises:
        ValueError: If too few simulations are finite.
    """
    z, expected = (np.asarray(part, np.float64) for part in (batch.z, batch.expected))
    kept = np.isfinite(expected).all(1)
    z, expected = z[kept], np.maximum(expected[kept], LEAST_COUNTS)
    noise = 1 / np.sqrt(expected.mean(0))  # of ln(expected counts)
    logarithm = np.log(expected)
    mean = logarithm.mean(0)
    scaled = (logarithm - mean) / noise
    directions = _directions(scaled, retained)
    surface = fit_smooth_map(
        key, z, scaled @ directions.T, np.ones(len(z)), steps=steps, tick=tick
    )
    dtype = jnp.result_type(float)
    return EmulatedSimulator(
        simulator.prior,
        simulator.model,
        simulator.folders,
        surface=surface,
        basis=jnp.asarray(directions * noise, dtype),
        mean=jnp.asarray(mean, dtype),
    )


def _directions(scaled: np.ndarray, retained: float) -> np.ndarray:
    """The fewest principal directions that leave an rms norm below `retained`."""
    some = scaled[:BASIS_ROWS]
    _, singular, directions = np.linalg.svd(some, full_matrices=False)
    left = np.sqrt(np.cumsum(singular[::-1] ** 2)[::-1] / len(some))
    return directions[: max(1, int((left > retained).sum()))]


def train_likelihood_emulator(
    key: Key[Array, ""],
    simulator: Simulator,
    z: Float[np.ndarray, "draw dim"],
    log_likelihood: Float[np.ndarray, " draw"],
    *,
    steps: int = STEPS,
    tick: Callable[[int], Any] = lambda steps: None,
) -> LikelihoodEmulator:
    """Train a scalar emulator of the log-likelihood at one observation's counts.

    Draws lose weight as their C statistic rises past the smallest plus 30.

    Args:
        key: Random key.
        simulator: What is emulated; it is not evaluated.
        z: Where the likelihood is known.
        log_likelihood: Relative to the perfect fit.
        steps: Steps of descent; 0 leaves the quadratic alone.
        tick: Called with the number of steps after each part of the work.

    Raises:
        ValueError: If too few log-likelihoods are finite.
    """
    kept = np.isfinite(log_likelihood)
    z, log_likelihood = z[kept], log_likelihood[kept]
    below = log_likelihood.max(initial=-math.inf) - log_likelihood
    weight = 1 / (1 + (below / NEAR) ** 2)
    surface = fit_smooth_map(
        key, z, log_likelihood[:, None], weight, steps=steps, tick=tick
    )
    return LikelihoodEmulator(
        simulator.prior, simulator.model, simulator.folders, surface=surface
    )
