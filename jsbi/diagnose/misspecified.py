"""Could the observation come from the model at all? Tests against its simulations.

Simulations of two kinds answer two questions. Those from a fitted posterior, of
`posterior_spectra`: could the fitted model have made these data? They have seen the
data, so that most tests on them reject too seldom; `fit_test` and `evidence_test` fit
every simulation anew and do not. Those from a prior, of `source_spectra`: is this
spectrum like those that a network was trained for? There a p-value is exact.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from scipy.spatial.distance import cdist

from jsbi.compress import AutoEncoder, Compressor, fisher_information, summarise
from jsbi.diagnose.bootstrap import NO_VALUE, fit_each
from jsbi.diagnose.goodness import deviance
from jsbi.diagnose.rank_test import Misspecification as Misspecification
from jsbi.diagnose.rank_test import RankTest as RankTest
from jsbi.diagnose.rank_test import combine as combine
from jsbi.estimate import PosteriorEstimator, expected_spectra
from jsbi.posterior import Posterior
from jsbi.simulate import Source, Target

SHRINK = 0.1  # of covariances towards their diagonal


def posterior_spectra(
    key: Key[Array, ""], target: Target, posterior: Posterior, number: int
) -> tuple[
    Float[np.ndarray, "simulation dim"], Float[np.ndarray, "simulation channel"]
]:
    """Spectra that the fitted model makes: coordinates of posterior draws, and counts.

    Args:
        key: Random key.
        target: The posterior density.
        posterior: Its posterior.
        number: How many.
    """
    key_rows, key_noise = jax.random.split(key)
    z = posterior.z[posterior.resampled_rows(key_rows, number)]
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_noise)))
    expected = expected_spectra(target, z).astype(np.float64)
    return z, generator.poisson(expected).astype(np.float64)


def source_spectra(
    key: Key[Array, ""], source: Source, number: int
) -> tuple[
    Float[np.ndarray, "simulation channel"], Float[np.ndarray, "simulation context"]
]:
    """Spectra like those of a network's training: counts, and what is known besides.

    Args:
        key: Random key.
        source: Simulations without noise.
        number: How many.
    """
    key_draw, key_noise = jax.random.split(key)
    batch = eqx.filter_jit(source.draw)(key_draw, number)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_noise)))
    counts = generator.poisson(np.asarray(batch.expected, np.float64))
    return counts.astype(np.float64), np.asarray(batch.context, np.float64)


def distance_test(
    compressor: Compressor,
    observed: Float[np.ndarray, " channel"],
    simulated: Float[np.ndarray, "simulation channel"],
    *,
    neighbours: int | None = None,
) -> RankTest:
    """How far is the observation from simulations, in the space of summaries?

    Half of the simulations say what is usual; the distance of the observation from them
    is ranked among those of the other half, which makes the p-value exact.

    Args:
        compressor: Makes the summaries.
        observed: Counts of the observation.
        simulated: Counts of simulations, at least 4.
        neighbours: The distance is that of the nearest but so many, in units of the
            spread of each feature; Mahalanobis' unless given.

    Source: for summaries, Schmitt et al. (2023), arXiv 2112.08866; for neighbours,
        Ramaswamy, Rastogi & Shim (2000), SIGMOD Record 29, 427.
    """
    usual, others = _halves(compressor, observed[None], simulated)
    if neighbours is None:
        apart = usual - usual.mean(0)
        covariance = apart.T @ apart / max(len(usual) - 1, 1)
        diagonal = np.diag(np.diagonal(covariance) + 1e-12)
        factor = np.linalg.cholesky((1 - SHRINK) * covariance + SHRINK * diagonal)
        white = np.linalg.solve(factor, (others - usual.mean(0)).T)
        distance, name = np.sqrt((white**2).sum(0)), "distance of the summary"
    else:
        distance = np.partition(cdist(others, usual), neighbours - 1, axis=1)
        distance = distance[:, neighbours - 1]
        name = "distance to the nearest summaries"
    return RankTest(name, float(distance[0]), distance[1:])


def discrepancy_test(
    compressor: Compressor,
    observed: Float[np.ndarray, "spectrum channel"],
    simulated: Float[np.ndarray, "simulation channel"],
) -> RankTest:
    """Maximum mean discrepancy of one or more observations from simulations.

    With a Gaussian kernel as wide as the median distance. Half of the simulations stand
    for the model; the other half, in groups of as many as there are observations, say
    how far apart two sets of the same kind are.

    Args:
        compressor: Makes the summaries.
        observed: Counts of each observation.
        simulated: Counts of simulations.

    Source: Gretton et al. (2012), JMLR 13, 723; Schmitt et al. (2023), arXiv
        2112.08866.
    """
    size = len(observed)
    usual, others = _halves(compressor, observed, simulated)
    between = cdist(usual, usual)
    width = np.median(between[np.triu_indices(len(usual), 1)])

    def kernel(distance: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * (distance / width) ** 2)

    own = kernel(between).mean()
    groups = others[: len(others) // size * size].reshape(-1, size, others.shape[1])
    discrepancy = np.array(
        [
            kernel(cdist(group, group)).mean()
            - 2 * kernel(cdist(group, usual)).mean()
            + own
            for group in groups
        ]
    )
    return RankTest("maximum mean discrepancy", float(discrepancy[0]), discrepancy[1:])


def _halves(
    compressor: Compressor, observed: np.ndarray, simulated: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Summaries of half of the simulations; of the observations and the other half.

    In units of the spread of each feature over the first half.
    """
    half = len(simulated) // 2
    if half < 2:
        raise ValueError(
            f"At least 4 simulations are needed to compare with; got {len(simulated)}."
        )
    counts = jnp.asarray(np.concatenate([observed, simulated]), float)
    summary = np.asarray(summarise(compressor, counts), np.float64)
    usual = summary[len(observed) : len(observed) + half]
    spread = usual.std(0)
    summary = (summary - usual.mean(0)) / np.where(spread > 0, spread, 1.0)
    usual = summary[len(observed) : len(observed) + half]
    rest = summary[len(observed) + half :]
    return usual, np.concatenate([summary[: len(observed)], rest])


def reconstruction_test(
    autoencoder: AutoEncoder,
    observed: Float[np.ndarray, " channel"],
    simulated: Float[np.ndarray, "simulation channel"],
) -> RankTest:
    """Can an auto-encoder tell the spectrum again as well as spectra it was made for?

    Args:
        autoencoder: Trained on spectra of the same kind as the simulations.
        observed: Counts of the observation.
        simulated: Counts of simulations.

    Source: Barret & Dupourqué (2026), A&A 708, A280.
    """
    counts = jnp.asarray(np.concatenate([observed[None], simulated]), float)
    cstat = np.asarray(_reconstruct(autoencoder, counts), np.float64)
    return RankTest("C-stat of the reconstruction", float(cstat[0]), cstat[1:])


@eqx.filter_jit
def _reconstruct(autoencoder: AutoEncoder, counts: Array) -> Array:
    return jax.vmap(autoencoder.cstat)(counts)


def disagreement_test(
    key: Key[Array, ""],
    estimator: PosteriorEstimator,
    observed: Float[np.ndarray, " channel"],
    simulated: Float[np.ndarray, "simulation channel"],
    *,
    context: Float[np.ndarray, " context"] | None = None,
    contexts: Float[np.ndarray, "simulation context"] | None = None,
    draws: int = 512,
) -> RankTest:
    """Do the members of an ensemble disagree more than on spectra like the training's?

    Args:
        key: Random key.
        estimator: An ensemble of at least two networks.
        observed: Counts of the observation.
        simulated: Counts of simulations.
        context: What else is known of the observation; None for nothing.
        contexts: The same of each simulation.
        draws: From the ensemble, for each spectrum.

    Raises:
        ValueError: If there is a single network, or only one of the contexts is given.

    Source: Lakshminarayanan, Pritzel & Blundell (2017), NeurIPS 30.
    """
    if estimator.members < 2:
        raise ValueError(
            "An ensemble of at least two networks is needed to disagree; got "
            f"{estimator.members}. Train with more members."
        )
    if (context is None) != (contexts is None):
        raise ValueError(
            "The contexts of the observation and of the simulations must be given "
            "together; one is missing."
        )
    counts = jnp.asarray(np.concatenate([observed[None], simulated]), float)
    known = np.zeros((len(counts), 0))
    if context is not None and contexts is not None:
        known = np.concatenate([context[None], contexts])
    keys = jax.random.split(key, len(counts))
    apart = _disagree(keys, estimator, counts, jnp.asarray(known, counts.dtype), draws)
    apart = np.asarray(apart, np.float64)
    return RankTest("disagreement of the ensemble", float(apart[0]), apart[1:])


@eqx.filter_jit
def _disagree(
    keys: Array,
    estimator: PosteriorEstimator,
    counts: Array,
    contexts: Array,
    draws: int,
) -> Array:
    def one(spectrum: tuple[Array, Array, Array]) -> Array:
        key, counts, context = spectrum
        return estimator.at(counts, context).disagreement(key, draws)

    return jax.lax.map(one, (keys, counts, contexts))


def fit_test(
    target: Target,
    posterior: Posterior,
    z: Float[np.ndarray, "simulation dim"],
    simulated: Float[np.ndarray, "simulation channel"],
) -> RankTest:
    """Is the best fit as good as those of spectra that the fitted model makes?

    Every simulation is fitted anew, as the observation was, so that the p-value is
    uniform as far as the statistic depends little on the parameters. This is the test
    for a fitted model.

    Args:
        target: The posterior density.
        posterior: Its posterior; its best draw is where the fit begins.
        z: Coordinates of each simulation, where its fit begins.
        simulated: Counts of each, from `posterior_spectra`.

    Raises:
        ValueError: If the model has no value where the fit to the observation ends.

    Source: parametric bootstrap; Kaastra (2017), A&A 605, A51, for the C statistic.
    """
    counts, _, expected = _refitted(target, posterior, z, simulated)
    cstat = deviance(counts, expected).sum(1)
    return RankTest("C-stat of the best fit", float(cstat[0]), cstat[1:])


def evidence_test(
    target: Target,
    posterior: Posterior,
    z: Float[np.ndarray, "simulation dim"],
    simulated: Float[np.ndarray, "simulation channel"],
) -> RankTest:
    """Is ln Z as high as those of spectra that the fitted model makes?

    The statistic is what ln Z, by Laplace's approximation at the best fit, falls short
    of the ln likelihood of the perfect fit: half the C statistic, and what the priors
    cost. Observation and simulations are treated alike, so that the p-value does not
    depend on how good the approximation is.

    Args:
        target: The posterior density.
        posterior: Its posterior; its best draw is where the fit begins.
        z: Coordinates of each simulation, where its fit begins.
        simulated: Counts of each, from `posterior_spectra`.

    Raises:
        ValueError: If the model has no value where the fit to the observation ends.

    Source: as `fit_test`; MacKay (1992), Neural Computation 4, 415, for the
        approximation.
    """
    counts, ends, expected = _refitted(target, posterior, z, simulated)
    information = fisher_information(target.simulator, jnp.asarray(ends, float))
    _, log_det = np.linalg.slogdet(information + np.eye(ends.shape[1]))
    deficit = 0.5 * (deviance(counts, expected).sum(1) + (ends**2).sum(1) + log_det)
    return RankTest("ln Z deficit", float(deficit[0]), deficit[1:])


def _refitted(
    target: Target,
    posterior: Posterior,
    z: Float[np.ndarray, "simulation dim"],
    simulated: Float[np.ndarray, "simulation channel"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, best fits and model counts of the observation, then of simulations."""
    best = posterior.z[int(np.argmax(posterior.log_likelihood))]
    counts = np.concatenate([np.asarray(target.counts, np.float64)[None], simulated])
    ends, expected = fit_each(target.simulator, counts, np.concatenate([best[None], z]))
    if not np.isfinite(expected[0]).all():
        raise ValueError(NO_VALUE)
    return counts, ends, expected
