"""A learned prior of background spectra, known by the gradient of its log density."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.descent import descend
from jsbi.diagnose.additions import extended
from jsbi.simulate import Normal, Simulator

LEAST = 2 * 0.375**0.5  # the stabilised value of no counts
PREFIX = "background.component_"  # of the names of parameters


class Backgrounds(eqx.Module):
    """Background spectra as a few numbers `w`, of zero mean and unit variance.

    Principal components of the variance-stabilised counts; what is beyond them, most
    of it the Poisson noise of the blank-sky spectra, is left out.

    Attributes:
        mean: Of the stabilised counts.
        root: Components, times their standard deviations.
        scale: Background counts in the source spectrum per blank-sky count.
    """

    mean: Float[Array, " channel"]
    root: Float[Array, "channel component"]
    scale: Float[Array, ""]

    def __call__(self, w: Float[Array, " component"]) -> Float[Array, " channel"]:
        """Expected background counts in the source spectrum.

        Source: the unbiased inverse of Anscombe's transformation of Makitalo & Foi
            (2011), IEEE Transactions on Image Processing 20, 2697, in closed form.
        """
        root = jnp.maximum(self.mean + self.root @ w, LEAST)
        slow = root**2 / 4 - 1 / 8 - 11 / (8 * root**2)
        fast = 1.5**0.5 * (1 / (4 * root) + 5 / (8 * root**3))
        return self.scale * jnp.maximum(slow + fast, 0.0)


class NoiseScore(eqx.Module):
    """The log density of background spectra up to a constant, and its gradient.

    A standard normal density times what a network adds to its logarithm: the gradient
    of a function, not any vector field, so that samplers which compare densities may
    use it. It is of the spectra as they were given, blurred by a normal deviate of
    standard deviation `blur` in each component.

    Args:
        key: Random key of the weights.
        components: Numbers that make a background spectrum.
        blur: Standard deviation of the noise that the training takes away.
        width: Hidden units of each of two layers.

    Source: SLIC, Legin et al. (2023), arXiv 2302.03046; denoising score matching,
        Vincent (2011), Neural Computation 23, 1661.
    """

    network: eqx.nn.MLP
    blur: float = eqx.field(static=True)

    def __init__(
        self,
        key: Key[Array, ""],
        components: int,
        *,
        blur: float = 0.2,
        width: int = 32,
    ):
        self.network = eqx.nn.MLP(components, 1, width, 2, jax.nn.silu, key=key)
        self.blur = blur

    def log_density(self, w: Float[Array, " component"]) -> Float[Array, ""]:
        """Log density at `w`, up to a constant."""
        return self.network(w)[0] - 0.5 * (w**2).sum() / (1 + self.blur**2)

    def score(self, w: Float[Array, " component"]) -> Float[Array, " component"]:
        """Gradient of the log density."""
        return jax.grad(self.log_density)(w)


def background_components(
    counts: Float[np.ndarray, "spectrum channel"],
    *,
    components: int = 4,
    scale: float | int = 1.0,
) -> tuple[Backgrounds, Float[np.ndarray, "spectrum component"]]:
    """Principal components of blank-sky spectra.

    Args:
        counts: Blank-sky counts, all of the same exposure, with far more of them than
            the background of the source spectrum if their own noise is not to matter.
        components: How many.
        scale: Ratio of exposures times areas, source to blank sky.

    Returns: The components, and each spectrum in them.

    Raises:
        ValueError: If there are not more spectra than components.
    """
    if len(counts) <= components:
        raise ValueError(
            f"Blank-sky spectra must be more than the {components} components; got "
            f"{len(counts)}. Fewer components, or more spectra?"
        )
    stabilised = 2 * np.sqrt(counts + 0.375)
    mean = stabilised.mean(0)
    _, size, axes = np.linalg.svd(stabilised - mean, full_matrices=False)
    deviation = size[:components] / np.sqrt(len(counts))
    w = (stabilised - mean) @ axes[:components].T / deviation
    root = axes[:components].T * deviation
    return Backgrounds(
        jnp.asarray(mean), jnp.asarray(root), jnp.asarray(scale, float)
    ), w


def fit_noise_score(
    key: Key[Array, ""],
    w: Float[np.ndarray, "spectrum component"],
    *,
    steps: int = 2000,
    batch: int = 256,
    blur: float = 0.2,
    width: int = 32,
    rate: float = 3e-3,
    tick: Callable[[int], Any] = lambda steps: None,
) -> NoiseScore:
    """Learn the density of background spectra by denoising score matching.

    Args:
        key: Random key.
        w: The spectra in their components, from `background_components`.
        steps: Steps of training, rounded up to a multiple of 100; 0 for none.
        batch: Spectra per step, half of them another time with the opposite noise.
        blur: Standard deviation of the noise that is added; detail below it is lost.
        width: Hidden units of each layer.
        rate: Initial learning rate.
        tick: Called with the number of steps after each part of the work.
    """
    key_network, key_train = jax.random.split(key)
    score = NoiseScore(key_network, w.shape[1], blur=blur, width=width)
    if not steps:
        return score
    data = (jnp.asarray(w, jnp.result_type(float)), batch)
    score, _ = descend(
        key_train, score, _matching_loss, data, steps=steps, rate=rate, tick=tick
    )
    return score


def _matching_loss(
    score: NoiseScore, key: Key[Array, ""], data: tuple[Array, int]
) -> Array:
    """Square error of the noise that the score takes away, in units of the blur."""
    w, number = data
    key_row, key_noise = jax.random.split(key)
    half = number // 2
    rows = jax.random.randint(key_row, (half,), 0, len(w))
    noise = jax.random.normal(key_noise, (half, w.shape[1]), w.dtype)
    # Both signs of each, whose large errors cancel.
    noise = jnp.concatenate([noise, -noise])
    blurred = jnp.concatenate([w[rows], w[rows]]) + score.blur * noise
    return jnp.mean((score.blur * jax.vmap(score.score)(blurred) + noise) ** 2)


class ScoredSimulator(Simulator):
    """A simulator whose last coordinates are a background with a learned prior.

    `Target(simulator, counts)` is then the joint posterior of model and background, for
    samplers that need its density and gradient only, such as
    `jsbi.baseline.sample_nuts`. The prior of the last coordinates is the learned one,
    not N(0, I), and they are not to be drawn from the latter.

    Attributes:
        backgrounds: What the last coordinates mean.
        score: Their prior.
    """

    backgrounds: Backgrounds
    score: NoiseScore

    def expected_counts(self, z: Float[Array, " dim"]) -> Float[Array, " channel"]:
        """Counts of model and background in all fit bins."""
        values = self.prior(z)
        model = {key: each for key, each in values.items() if _is_of_model(key)}
        own = z[-self.backgrounds.root.shape[1] :]
        return self.fold(self.model(**model)) + self.backgrounds(own)

    def log_prior(self, z: Float[Array, " dim"]) -> Float[Array, ""]:
        """Log density of the coordinates, up to a constant."""
        start = len(z) - self.backgrounds.root.shape[1]
        normal = jax.scipy.stats.norm.logpdf(z[:start]).sum()
        return normal + self.score.log_density(z[start:])


def _is_of_model(name: str) -> bool:
    return not name.startswith(PREFIX)


def with_background(
    simulator: Simulator, backgrounds: Backgrounds, score: NoiseScore
) -> ScoredSimulator:
    """Add a background with a learned prior, its components as parameters.

    Args:
        simulator: The model without background.
        backgrounds: From `background_components`, in the fit bins of all observations.
        score: From `fit_noise_score`.

    Raises:
        ValueError: If the background is of other fit bins.
    """
    bins = sum(simulator.sizes)
    if len(backgrounds.mean) != bins:
        raise ValueError(
            f"The background must have the {bins} fit bins of the simulator; got "
            f"{len(backgrounds.mean)}. Spectra per channel, or of another grouping?"
        )
    number = backgrounds.root.shape[1]
    names = [f"{PREFIX}{place + 1}" for place in range(number)]
    prior = extended(simulator.prior, {name: Normal(0.0, 1.0) for name in names})
    return ScoredSimulator(
        prior, simulator.model, simulator.folders, backgrounds, score
    )
