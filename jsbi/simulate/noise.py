"""Poisson noise: draws, likelihood, and the residuals that a least-squares fit needs.

Everything is written in terms of the deviance, relative to the perfect fit
`expected == counts`, which keeps float32 exact enough at any number of counts.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, Key


def poisson_log_likelihood(
    counts: Float[Array, " channel"], expected: Float[Array, " channel"]
) -> Float[Array, ""]:
    """Poisson log-likelihood relative to the perfect fit; minus half the C statistic.

    The form `n (ln(1 + r) - r)`, `r = (expected - n) / n`, keeps float32 accurate to
    1e-3 at 1e9 total counts, where the textbook sum is wrong by about 90.

    Args:
        counts: Observed counts, integers stored as floats.
        expected: Model counts. Below 5e-31 times the observed counts (in float32) they
            count as that, so that underflow is neither an impossibility nor a NaN in
            the gradient.

    Returns: At most 0, reached where `expected == counts`.

    Source: Cash (1979), ApJ 228, 939; offset as in the XSPEC manual's `cstat`.
    """
    return -0.5 * _deviance(counts, expected).sum()


def _deviance(counts: Array, expected: Array) -> Array:
    safe = jnp.where(counts > 0, counts, 1.0)
    expected = jnp.maximum(expected, safe * jnp.finfo(expected.dtype).tiny ** 0.8)
    r = (expected - safe) / safe
    # At r = -1 + tiny, 1 + r rounds to 0; the ratio itself does not.
    low = r < -0.5
    log_ratio = jnp.where(
        low, jnp.log(expected / safe), jnp.log1p(jnp.where(low, 0.0, r))
    )
    return jnp.where(counts > 0, 2 * safe * (r - log_ratio), 2 * expected)


def deviance_residuals(
    counts: Float[Array, " channel"], expected: Float[Array, " channel"]
) -> Float[Array, " channel"]:
    """Signed roots of the deviance: their squares add up to the C statistic.

    Close to standard normal for many counts. Smooth where expected equals observed,
    where the root of the textbook form has no derivative.

    Args:
        counts: Observed counts.
        expected: Model counts.
    """
    safe = jnp.where(counts > 0, counts, 1.0)
    r = (expected - safe) / safe
    near = jnp.abs(r) < 0.03
    small = jnp.where(near, r, 0.0)
    # 2 (r - ln(1 + r)) / r^2 as a series
    series = 1 - small * (2 / 3 - small * (1 / 2 - small * (2 / 5 - small / 3)))
    root_near = small * jnp.sqrt(safe * series)
    away = jnp.where(near & (counts > 0), 2 * safe, expected)
    root_away = jnp.sign(away - counts) * jnp.sqrt(_deviance(counts, away))
    return jnp.where(near & (counts > 0), root_near, root_away)


def variance_stabilised(counts: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Anscombe's `2 sqrt(n + 3/8)`, of nearly unit variance above three counts.

    Source: Anscombe (1948), Biometrika 35, 246.
    """
    return 2 * jnp.sqrt(counts + 0.375)


def poisson_counts(
    key: Key[Array, ""], expected: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Draw exact Poisson counts, stored as floats."""
    return jax.random.poisson(key, expected).astype(expected.dtype)


def fast_poisson_counts(
    key: Key[Array, ""], expected: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Draw nearly Poisson counts, several times faster than exact ones.

    Below 12 the distribution function is inverted term by term (up to 40 counts);
    above, a normal deviate is mapped by the Cornish-Fisher expansion and rounded, whose
    mean and variance are right to 0.1 % and whose skewness is right to 2 %. Made for
    training data, which need not be exact since the likelihood corrects what is learned
    from them.

    Source: Cornish & Fisher (1938), Revue de l'Institut International de Statistique 5.
    """
    uniform = jax.random.uniform(
        key, expected.shape, expected.dtype, jnp.finfo(expected.dtype).eps / 4
    )
    low = jnp.minimum(expected, 12.0)

    def add(n, state):
        count, term, total = state
        return (
            jnp.where(uniform > total, count + 1, count),
            term * low / (n + 1),
            total + term * low / (n + 1),
        )

    start = jnp.exp(-low)
    few, _, _ = jax.lax.fori_loop(
        0, 40, add, (jnp.zeros_like(expected), start, start), unroll=8
    )
    w = ndtri(uniform)
    root = jnp.sqrt(jnp.maximum(expected, 1.0) - 1 / 12)  # rounding adds 1 / 12
    shape = root * w + (w**2 - 1) / 6 + (w - w**3) / (72 * root)
    many = jnp.maximum(jnp.round(expected + shape), 0.0)
    return jnp.where(expected < 12, few, many)
