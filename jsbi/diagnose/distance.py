"""How far apart two posteriors are, beside what sampling alone would give."""

import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.descent import descend
from jsbi.diagnose.compare import check_same_parameters
from jsbi.posterior import Posterior
from jsbi.simulate import in_batches
from jsbi.weights import effective_draws

BINS = 30  # of equal weight, for the Jensen-Shannon divergence
REPEATS = 100  # pairs of exact sets
MOST = 2000  # draws of each; distances are scaled from there
LIMIT = 0.95  # share of pairs of exact sets that are no farther apart
EXAMPLES = 4096  # equal-weight draws of each posterior to train the classifier on
STEPS, BATCH, WIDTH, RATE, DECAY = 600, 256, 32, 3e-3, 3e-4


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances of two posteriors, parameter by parameter and in all dimensions.

    A limit is what 95 % of pairs of sets of draws from one and the same posterior,
    with the effective sizes of these two, stay below.

    Attributes:
        names: The parameters.
        effective_draws: Of the two posteriors.
        ks: Largest difference of the distribution functions.
        ks_limit: Its limit.
        wasserstein: Area between the distribution functions, the mean distance that
            probability must be moved, in standard deviations of the reference.
        wasserstein_limit: Its limit.
        jensen_shannon: Divergence of histograms with 30 bins of equal weight [nat]; at
            most ln 2.
        jensen_shannon_limit: Its limit.
        accuracy: Share of held-out draws that a classifier assigns to their posterior:
            0.5 if both are equal, 1 if they do not overlap. Nan if not asked for.
        accuracy_error: Its standard deviation if both are equal.
    """

    names: tuple[str, ...]
    effective_draws: tuple[float, float]
    ks: Float[np.ndarray, " dim"]
    ks_limit: Float[np.ndarray, " dim"]
    wasserstein: Float[np.ndarray, " dim"]
    wasserstein_limit: Float[np.ndarray, " dim"]
    jensen_shannon: Float[np.ndarray, " dim"]
    jensen_shannon_limit: Float[np.ndarray, " dim"]
    accuracy: float = math.nan
    accuracy_error: float = math.nan

    def __str__(self) -> str:
        """A table with one line per parameter; limits are in brackets."""
        width = max(map(len, (*self.names, "parameter")))
        titles = ("KS", "W1 / sd", "JS [nat]")
        lines = [f"{'parameter':<{width}}" + "".join(f"{each:>20}" for each in titles)]
        columns = (
            (self.ks, self.ks_limit),
            (self.wasserstein, self.wasserstein_limit),
            (self.jensen_shannon, self.jensen_shannon_limit),
        )
        for row, name in enumerate(self.names):
            cells = (f"{value[row]:.4f} ({most[row]:.4f})" for value, most in columns)
            lines.append(f"{name:<{width}}" + "".join(f"{cell:>20}" for cell in cells))
        sizes = " and ".join(f"{each:,.0f}" for each in self.effective_draws)
        lines.append(
            f"in brackets: {100 * LIMIT:g} % of equal posteriors with {sizes} "
            "effective draws are closer"
        )
        if not math.isnan(self.accuracy):
            lines.append(
                f"a classifier tells them apart in {self.accuracy:.3f} +- "
                f"{self.accuracy_error:.3f} of the cases (0.5 if equal)"
            )
        return "\n".join(lines)


def distances(
    key: Key[Array, ""],
    posterior: Posterior,
    reference: Posterior,
    *,
    classify: bool = True,
) -> Distances:
    """Measure how far two posteriors are apart, and what sampling explains.

    Args:
        key: Random key.
        posterior: Weighted draws.
        reference: Others, of the same parameters under the same prior.
        classify: Whether to train a classifier, which takes seconds.

    Raises:
        ValueError: If the parameters differ, or a posterior has too few effective
            draws to be split.

    Source: Lin (1991), IEEE Transactions on Information Theory 37, 145, for the
        Jensen-Shannon divergence; Lopez-Paz & Oquab (2017), arXiv 1610.06545, for the
        classifier.
    """
    check_same_parameters(posterior, reference)
    key_limit, key_class = jax.random.split(key)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_limit)))
    both = posterior, reference
    sizes = posterior.effective_draws, reference.effective_draws
    rows = [
        _compare_marginal(generator, both, sizes, index)
        for index in range(len(posterior.names))
    ]
    found, limits = (np.array(part).T for part in zip(*rows, strict=True))
    accuracy = error = math.nan
    if classify:
        accuracy, error = classifier_accuracy(key_class, posterior, reference)
    return Distances(
        names=posterior.names,
        effective_draws=sizes,
        ks=found[0],
        ks_limit=limits[0],
        wasserstein=found[1],
        wasserstein_limit=limits[1],
        jensen_shannon=found[2],
        jensen_shannon_limit=limits[2],
        accuracy=accuracy,
        accuracy_error=error,
    )


def _compare_marginal(
    generator: np.random.Generator,
    both: tuple[Posterior, Posterior],
    sizes: tuple[float, float],
    index: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The three distances of one parameter, and their limits."""
    ours, theirs = (each.values[:, index] for each in both)
    mean = both[1].weights @ theirs
    sd = math.sqrt(both[1].weights @ (theirs - mean) ** 2)
    values = np.concatenate([ours, theirs])
    weights = np.concatenate([each.weights for each in both])
    owner = np.repeat([0, 1], [len(ours), len(theirs)])
    found = marginal_distances(values, weights, owner)
    # Two sets of the same size whose mean would differ as much.
    size = 2 / sum(1 / max(each, 1.0) for each in sizes)
    drawn = max(2, min(MOST, round(size)))
    cumulative = np.cumsum(weights) / weights.sum()
    exact = np.empty((REPEATS, 3))
    for repeat in range(REPEATS):
        rows = np.searchsorted(cumulative, generator.random(2 * drawn))
        rows = np.minimum(rows, len(values) - 1)
        equal = np.full(2 * drawn, 1 / drawn)
        owners = np.repeat([0, 1], drawn)
        exact[repeat] = marginal_distances(values[rows], equal, owners)
    shrink = drawn / size
    limit = np.quantile(exact, LIMIT, axis=0) * [shrink**0.5, shrink**0.5, shrink]
    unit = np.array([1.0, 1 / sd if sd > 0 else math.inf, 1.0])
    return found * unit, limit * unit


def marginal_distances(
    values: Float[np.ndarray, " draw"],
    weights: Float[np.ndarray, " draw"],
    owner: np.ndarray,
) -> Float[np.ndarray, " 3"]:
    """Distances of two weighted sets of numbers, which are given as one.

    Args:
        values: The numbers.
        weights: Their weights, which add up to 1 in each set.
        owner: 0 or 1, the set of each.

    Returns: Kolmogorov-Smirnov, Wasserstein-1 in the unit of the values, and the
        Jensen-Shannon divergence of histograms [nat].
    """
    order = np.argsort(values, kind="stable")
    values, weights, owner = values[order], weights[order], owner[order]
    one = np.cumsum(np.where(owner == 0, weights, 0.0))
    other = np.cumsum(np.where(owner == 1, weights, 0.0))
    # Distribution functions jump once for all equal values.
    step = np.append(values[1:] > values[:-1], True)
    apart = np.abs(one - other)
    width = np.diff(values)
    middle = 0.5 * (one + other)
    cuts = np.searchsorted(middle, np.arange(1, BINS) / BINS)
    # To the last of equal values, so that a bin holds all or none.
    last = np.searchsorted(values, values[np.minimum(cuts, len(values) - 1)], "right")
    ends = np.concatenate([[0], last, [len(values)]])
    shares = [np.diff(np.concatenate([[0.0], part])[ends]) for part in (one, other)]
    return np.array(
        [apart[step].max(), (apart[:-1] * width).sum(), _divergence(*shares)]
    )


def _divergence(p: np.ndarray, q: np.ndarray) -> float:
    middle = np.maximum(0.5 * (p + q), 1e-300)
    parts = (each * np.log(np.maximum(each, 1e-300) / middle) for each in (p, q))
    return float(0.5 * sum(part.sum() for part in parts))


def classifier_accuracy(
    key: Key[Array, ""], posterior: Posterior, reference: Posterior
) -> tuple[float, float]:
    """How often a small network tells draws of two posteriors apart.

    It is trained on one half of the draws, as equal-weight resamples, and tried on the
    other half, with their weights, and the other way round. Equal draws are in one and
    the same half. Chains are thinned to their effective draws first.

    Args:
        key: Random key.
        posterior: Weighted draws.
        reference: Others, of the same parameters.

    Returns: Accuracy, and its binomial standard deviation for equal posteriors.

    Raises:
        ValueError: If a posterior has too few effective draws to be split.

    Source: Lopez-Paz & Oquab (2017), arXiv 1610.06545.
    """
    key_split, *keys = jax.random.split(key, 3)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_split)))
    sets = [_thinned(each) for each in (posterior, reference)]
    every = np.concatenate([z for z, _ in sets])
    weight = np.concatenate([0.5 * each for _, each in sets])
    mean = weight @ every
    sd = np.sqrt(weight @ (every - mean) ** 2)
    scaled = (every - mean) / np.where(sd > 0, sd, 1.0)
    group = np.unique(every, axis=0, return_inverse=True)[1].ravel()
    half = generator.permutation(group.max() + 1)[group] % 2
    owner = np.repeat([0, 1], [len(z) for z, _ in sets])
    scores = []
    for place, key_half in enumerate(keys):
        train, trial = half == place, half != place
        drawn = [
            _resampled(generator, scaled, weight * (train & (owner == which)))
            for which in (0, 1)
        ]
        logit = _trained_logit(key_half, drawn, scaled[trial])
        right = (logit > 0) == (owner[trial] == 1)
        scores += [
            _score(right, weight[trial] * (owner[trial] == which)) for which in (0, 1)
        ]
    accuracy = np.mean([share for share, _ in scores])
    sizes = [
        size * each.effective_draws / max(effective_draws(each.log_weight), 1.0)
        if math.isnan(each.r_hat)
        else size
        for (_, size), each in zip(scores, (posterior, reference) * 2, strict=True)
    ]
    return float(accuracy), float(0.5 * np.sqrt(np.mean(1 / np.array(sizes)) / 4))


def _thinned(posterior: Posterior) -> tuple[np.ndarray, np.ndarray]:
    """Draws that are as good as independent, and their weights."""
    if posterior.effective_draws < 100:
        raise ValueError(
            "Each posterior needs 100 effective draws to be split for training and "
            f"trial; one has {posterior.effective_draws:.0f}."
        )
    rows = np.arange(posterior.draws)
    if not math.isnan(posterior.r_hat):
        number = min(posterior.draws, int(posterior.effective_draws))
        rows = np.linspace(0, posterior.draws - 1, number).astype(int)
    rows = rows[posterior.log_weight[rows] > -math.inf]
    weight = posterior.weights[rows]
    return posterior.z[rows], weight / weight.sum()


def _resampled(
    generator: np.random.Generator, z: np.ndarray, weight: np.ndarray
) -> Array:
    cumulative = np.cumsum(weight) / weight.sum()
    positions = (np.arange(EXAMPLES) + generator.random()) / EXAMPLES
    rows = np.minimum(np.searchsorted(cumulative, positions), len(z) - 1)
    return jnp.asarray(z[rows], float)


def _score(right: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Weighted share of right answers, and the effective number of them."""
    return float(weight @ right / weight.sum()), weight.sum() ** 2 / (weight @ weight)


def _trained_logit(
    key: Array, drawn: list[Array], trial: np.ndarray
) -> Float[np.ndarray, " draw"]:
    """Train on draws of both, and return the logit of the second for others."""
    key_network, key_train = jax.random.split(key)
    network = eqx.nn.MLP(
        trial.shape[1], "scalar", WIDTH, 2, jax.nn.gelu, key=key_network
    )
    network, _ = descend(
        key_train, network, _cross_entropy, tuple(drawn), steps=STEPS, rate=RATE
    )
    return in_batches(lambda rows: _logit(network, rows), trial, 4096)


@eqx.filter_jit
def _logit(network: eqx.nn.MLP, z: Array) -> Array:
    return jax.vmap(network)(z)


def _cross_entropy(network: eqx.nn.MLP, key: Array, data: tuple[Array, ...]) -> Array:
    rows = jax.random.randint(key, (2, BATCH), 0, EXAMPLES)
    one, other = (
        jax.vmap(network)(draws[row]) for draws, row in zip(data, rows, strict=True)
    )
    size = sum((layer.weight**2).sum() for layer in network.layers)
    error = jax.nn.softplus(one).mean() + jax.nn.softplus(-other).mean()
    return error + DECAY * size
