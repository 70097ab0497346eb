"""Weighted draws for many spectra at once, from one amortised estimator."""

import math
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.correct.adapt import DEFENCE
from jsbi.correct.draws import WeightedDraws, weigh
from jsbi.estimate import PosteriorEstimator
from jsbi.simulate import Conditions, Simulator, under

DEGREES = 4.0  # of freedom of the Student-t that they come from
WIDER = 2.0  # than the flow
SPECTRA = 16  # on the device at once
_ELEMENTS = 4_000_000  # of one intermediate array [draw, bin]


def draw_many(
    key: Key[Array, ""],
    estimator: PosteriorEstimator,
    simulator: Simulator,
    conditions: Conditions,
    counts: Float[np.ndarray, "spectrum channel"],
    contexts: Float[np.ndarray, "spectrum context"],
    *,
    draws: int,
) -> Iterator[WeightedDraws]:
    """Draw from the estimator at every spectrum and weight with the exact likelihood.

    A fifth of the draws comes from a Student-t twice as wide as the flow, so that
    weights stay bounded just outside of it.

    Args:
        key: Random key.
        estimator: The networks.
        simulator: Prior, model and instruments.
        conditions: What contexts mean.
        counts: Of each spectrum.
        contexts: Of each spectrum.
        draws: For each spectrum.

    Yields: The draws of one spectrum after another.

    Source: Hesterberg (1995), Technometrics 37, 185.
    """
    keys = jax.random.split(key, len(counts))
    bins = sum(folder.matrix.shape[1] for folder in simulator.folders)
    rows = int(np.clip(_ELEMENTS // bins, 64, draws))
    dtype = conditions.background.dtype
    size = min(SPECTRA, len(counts))
    for start in range(0, len(counts), size):
        # The last spectra are repeated, so that one compilation serves all parts.
        chosen = np.minimum(np.arange(start, start + size), len(counts) - 1)
        drawn = _draw(
            keys[chosen],
            estimator,
            simulator,
            conditions,
            jnp.asarray(counts[chosen], dtype),
            jnp.asarray(contexts[chosen], dtype),
            draws,
            rows,
        )
        parts = [np.asarray(part, np.float64) for part in drawn]
        for row in range(min(size, len(counts) - start)):
            yield weigh(*(part[row] for part in parts))


@eqx.filter_jit
def _draw(
    keys: Array,
    estimator: PosteriorEstimator,
    simulator: Simulator,
    conditions: Conditions,
    counts: Array,
    contexts: Array,
    draws: int,
    rows: int,
) -> tuple[Array, Array, Array]:
    wide = int(DEFENCE * draws)

    def one(spectrum):
        key, counts, context = spectrum
        key_flow, key_wide = jax.random.split(key)
        proposal = estimator.at(counts, context)
        here = under(simulator, conditions, context)
        z = proposal.sample(key_flow, draws - wide)
        place, factor = _moments(z)
        z = jnp.concatenate([z, _sample_wide(key_wide, place, factor, wide)])

        def densities(z):
            parts = jnp.stack([proposal.log_prob(z), _log_wide(z, place, factor)])
            share = jnp.log(jnp.asarray([draws - wide, wide]) / draws)
            log_proposal = jax.nn.logsumexp(parts + share.astype(z.dtype))
            return here.log_likelihood(z, counts), log_proposal

        return z, *jax.lax.map(densities, z, batch_size=rows)

    return jax.lax.map(one, (keys, counts, contexts))


def _moments(z: Array) -> tuple[Array, Array]:
    """Median and Cholesky factor of the covariance, of all but the stray draws."""
    place = jnp.median(z, axis=0)
    away = z - place[None]
    apart = jnp.abs(away)
    inside = (apart <= jnp.quantile(apart, 0.99, axis=0)[None]).all(1)
    weight = jnp.where(inside, 1.0, 0.0).astype(z.dtype)
    weight = weight / weight.sum()
    covariance = jnp.einsum("n,ni,nj->ij", weight, away, away)
    scale = jnp.diag(covariance)
    jitter = jnp.diag(1e-5 * scale + 1e-12)
    return place, jnp.linalg.cholesky(covariance + jitter)


def _sample_wide(key: Array, place: Array, factor: Array, number: int) -> Array:
    key_normal, key_stretch = jax.random.split(key)
    normal = jax.random.normal(key_normal, (number, len(place)), place.dtype)
    stretch = jax.random.chisquare(key_stretch, DEGREES, (number, 1), place.dtype)
    return place[None] + WIDER * jnp.sqrt(DEGREES / stretch) * (normal @ factor.T)


def _log_wide(z: Array, place: Array, factor: Array) -> Array:
    """Log density of the wide Student-t."""
    white = jax.scipy.linalg.solve_triangular(factor, z - place, lower=True) / WIDER
    dimension = len(z)
    constant = (
        math.lgamma((DEGREES + dimension) / 2)
        - math.lgamma(DEGREES / 2)
        - dimension / 2 * math.log(DEGREES * math.pi)
        - dimension * math.log(WIDER)
    )
    log_det = jnp.log(jnp.diag(factor)).sum()
    tail = (DEGREES + dimension) / 2 * jnp.log1p((white**2).sum() / DEGREES)
    return constant - log_det - tail
