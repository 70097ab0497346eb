"""Scores: what the likelihood's slope at a chosen place says about the parameters."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float

from jsbi.compress.compressor import Compressor
from jsbi.simulate import Simulator

BATCH = 64  # places whose Jacobians are held at once


class FisherScores(Compressor):
    """The gradient of the log-likelihood at fiducial parameters, whitened.

    As many numbers as parameters for each fiducial, whatever the number of channels,
    and sufficient as far as the expected counts are linear in the parameters:
    `F^(-1/2) J^T (counts - expected) / expected`, where J is the Jacobian of the
    expected counts and F the information of the counts and of the prior N(0, I).

    Args:
        simulator: The model.
        fiducials: Coordinates z, best where the posterior is expected to be. Several
            help where the posterior is broad or has several modes.

        compressed: Whether to take the inverse hyperbolic sine of the scores. They
            grow with the counts, and far from the fiducial a network sees them better
            in logarithm. Nothing is lost.

    Raises:
        ValueError: If the model has no value or slope at a fiducial.

    Source: Alsing & Wandelt (2018), MNRAS 476, L60, with Poisson noise.
    """

    weight: Float[Array, "feature channel"]
    offset: Float[Array, " feature"]
    compressed: bool = eqx.field(static=True)

    def __init__(
        self,
        simulator: Simulator,
        fiducials: Float[Array, "fiducial dim"],
        *,
        compressed: bool = False,
    ):
        expected, jacobian = (
            np.asarray(array, np.float64) for array in linearise(simulator, fiducials)
        )
        bad = ~(np.isfinite(expected).all(1) & np.isfinite(jacobian).all((1, 2)))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                "Scores need finite expected counts and slopes at every fiducial; not "
                f"so at fiducial {row}, z = {np.asarray(fiducials)[row]}. Does the "
                "model have no value there?"
            )
        weight = np.concatenate(
            [_score_weight(m, j) for m, j in zip(expected, jacobian, strict=True)]
        )
        dimension = jacobian.shape[2]
        offset = (weight * np.repeat(expected, dimension, axis=0)).sum(1)
        self.weight = jnp.asarray(weight, jnp.result_type(float))
        self.offset = jnp.asarray(offset, jnp.result_type(float))
        self.compressed = compressed

    def __call__(self, counts: Float[Array, " channel"]) -> Float[Array, " feature"]:
        """The summary of one spectrum, or of all spectra of a joint fit."""
        weight, offset = jax.lax.stop_gradient((self.weight, self.offset))
        scores = jnp.matmul(weight, counts, precision=Precision.HIGHEST) - offset
        return jnp.arcsinh(scores) if self.compressed else scores


def _score_weight(
    expected: Float[np.ndarray, " channel"], jacobian: Float[np.ndarray, "channel dim"]
) -> Float[np.ndarray, "dim channel"]:
    slope = _log_slope(expected, jacobian)
    information = slope.T @ jacobian + np.eye(jacobian.shape[1])
    value, vector = np.linalg.eigh(information)
    return vector / np.sqrt(value) @ vector.T @ slope.T


def _log_slope(
    expected: Float[np.ndarray, " channel"], jacobian: Float[np.ndarray, "channel dim"]
) -> Float[np.ndarray, "channel dim"]:
    """The slope of ln(expected), zero where nothing is expected."""
    # Below the smallest normal number slopes have lost their digits.
    some = expected > np.finfo(np.float32).tiny
    return jacobian * (some / np.where(some, expected, 1.0))[:, None]


def fisher_information(
    simulator: Simulator, z: Float[Array, "place dim"]
) -> Float[np.ndarray, "place dim dim"]:
    """Information of the counts alone about z, without the prior's, at each place."""
    information = []
    size = min(BATCH, len(z))
    for first in range(0, len(z), size):
        # The last batch repeats the last place, so that one shape is compiled.
        rows = np.minimum(np.arange(first, first + size), len(z) - 1)
        expected, jacobian = (
            np.asarray(array, np.float64) for array in linearise(simulator, z[rows])
        )
        information += [
            _log_slope(m, j).T @ j for m, j in zip(expected, jacobian, strict=True)
        ]
    return np.stack(information[: len(z)])


@eqx.filter_jit
def linearise(
    simulator: Simulator, z: Float[Array, "place dim"]
) -> tuple[Float[Array, "place channel"], Float[Array, "place channel dim"]]:
    """Expected counts and their Jacobian at each place."""

    def at(row: Array) -> tuple[Array, Array]:
        expected = simulator.expected_counts(row)
        return expected, jax.jacfwd(simulator.expected_counts)(row)

    return jax.lax.map(at, z, batch_size=16)
