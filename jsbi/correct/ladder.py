"""From a cheap approximation to the exact posterior, one rung after another."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key

from jsbi.baseline import Modes, find_modes, sample_nested, sample_nuts
from jsbi.correct.mixture import MixtureDraws, adaptive_mixture, mixture_at
from jsbi.correct.network import (
    CHAINS,
    LEAST_SETTLED,
    Trained,
    Training,
    divergence_doubt,
    network_rung,
    smc_rung,
    train_proposal,
    transported_rung,
)
from jsbi.correct.rung import (
    Rung,
    best_rung,
    judge_draws,
    judge_samples,
    missed_modes,
)
from jsbi.posterior import Posterior
from jsbi.progress import Progress
from jsbi.simulate import Target

# Which rungs each method takes, until one passes its gates.
LADDERS = {
    "auto": ("mixture", "network", "smc", "nuts"),
    "sbi": ("network", "smc", "nuts"),
    "mixture": ("mixture",),
    "network": ("network",),
    "smc": ("smc",),
    "transported": ("transported",),
    "nuts": ("nuts",),
    "nested": ("nested",),
}
# For models that the host evaluates, without gradients.
GRADIENT_FREE = {
    "auto": ("network",),
    "sbi": ("network",),
    "network": ("network",),
    "nested": ("nested",),
}
SHAPELY = 20.0  # effective draws for each dimension that know a posterior's shape
LEAST_LIVE = 400
DRAWS_PER_LIVE = 5.0  # effective draws of nested sampling for each live point
MOST_CUT_SHORT = 0.01  # share of nested sampling's chains


def climb(
    key: Key[Array, ""],
    target: Target,
    *,
    method: str,
    enough: float,
    most: int,
    log_perfect: float,
    progress: Progress,
    training: Training | None = None,
    budget: int | None = None,
) -> list[Rung]:
    """Take one rung after another until one passes its gates.

    Args:
        key: Random key.
        target: The posterior density.
        method: A key of `LADDERS`.
        enough: Effective draws to reach.
        most: Draws to spend at most on one proposal.
        log_perfect: Log-likelihood of the perfect fit.
        progress: Bars and ledger.
        training: How networks are made.
        budget: Likelihood evaluations after which no further rung begins.

    Returns: All rungs taken, in order. What went wrong in others is in the last one's
        record under `failures`.
    """
    ladder = _Ladder(
        target, enough, most, log_perfect, progress, training or Training()
    )
    rungs: list[Rung] = []
    failures: list[str] = []
    steps = _steps(method, target)
    for name, key_rung in zip(steps, jax.random.split(key, len(steps)), strict=True):
        if rungs and budget is not None and target.evaluations >= budget:
            break
        try:
            rung = ladder.take(key_rung, name, _seed(rungs, target.dimension))
        except (ValueError, np.linalg.LinAlgError) as error:
            # What earlier rungs have found is not lost to a later one's failure.
            if name == steps[-1] and not rungs:
                raise
            failures.append(f"{name}: {error}")
            continue
        rungs.append(rung)
        if rung.passed:
            break
    if failures:
        record = rungs[-1].record | {"failures": failures}
        rungs[-1] = dataclasses.replace(rungs[-1], record=record)
    return rungs


def _steps(method: str, target: Target) -> tuple[str, ...]:
    """The rungs of a method that the model allows."""
    if not target.simulator.on_host:
        return LADDERS[method]
    if method not in GRADIENT_FREE:
        raise ValueError(
            "A model that the host evaluates has no gradients, which the method "
            f"{method!r} needs. Others are {', '.join(GRADIENT_FREE)}."
        )
    return GRADIENT_FREE[method]


def _seed(rungs: list[Rung], dimension: int) -> Posterior | None:
    """Earlier draws that say where to look, if they are enough to know the shape.

    None if they may have missed a mode.
    """
    found = [
        rung
        for rung in rungs
        if not rung.doubts and rung.posterior.effective_draws > SHAPELY * dimension
    ]
    return best_rung(found).posterior if found else None


@dataclasses.dataclass
class _Ladder:
    """What the rungs share; the network is trained when the first of them needs it."""

    target: Target
    enough: float
    most: int
    log_perfect: float
    progress: Progress
    training: Training
    trained: Trained | None = None

    def take(self, key: Array, name: str, seed: Posterior | None) -> Rung:
        """Take one rung."""
        key_train, key_run = jax.random.split(key)
        common: dict[str, Any] = {"enough": self.enough, "progress": self.progress}
        evidence: dict[str, Any] = {"log_perfect": self.log_perfect}
        if name == "mixture":
            return mixture_rung(
                key_run, self.target, most=self.most, **common, **evidence
            )
        if name == "nuts":
            return nuts_rung(key_run, self.target, seed=seed, **common)
        if name == "nested":
            return nested_rung(key_run, self.target, **common, **evidence)
        if self.trained is None:
            self.trained = train_proposal(
                key_train, self.target, self.training, self.progress, seed
            )
        at = (key_run, self.target, self.trained)
        if name == "smc":
            return smc_rung(*at, progress=self.progress, **evidence)
        if name == "transported":
            return transported_rung(*at, **common)
        rung, self.trained = network_rung(*at, most=self.most, **common, **evidence)
        return rung


def mixture_rung(
    key: Key[Array, ""],
    target: Target,
    *,
    enough: float,
    log_perfect: float,
    progress: Progress,
    most: float | int = math.inf,
) -> Rung:
    """Find the modes, then adapt a Student-t mixture at them.

    Args:
        key: Random key.
        target: The posterior density.
        enough: Effective draws to stop at.
        log_perfect: Log-likelihood of the perfect fit.
        progress: Bars and ledger.
        most: Draws of the last proposal at most.
    """
    key_modes, key_draws = jax.random.split(key)
    with progress.stage("mixture: best fits", "optimise", 1) as tick:
        modes = find_modes(key_modes, target)
        tick(1)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_draws)))
    with progress.stage("mixture: draws", "draw", int(enough)) as tick:
        seen = 0

        def advance(effective: int) -> None:
            nonlocal seen
            now = max(seen, min(effective, int(enough)))
            tick(now - seen)
            seen = now

        draws = adaptive_mixture(
            generator,
            target,
            mixture_at(modes),
            enough=max(enough, LEAST_SETTLED),
            most=most,
            tick=advance,
        )
    return judge_draws(
        target,
        draws,
        method="mixture",
        enough=enough,
        log_perfect=log_perfect,
        doubts=_doubts(modes, draws, target),
        modes=len(modes.z),
        hits=modes.hits.tolist(),
        rounds=draws.rounds,
    )


def _doubts(modes: Modes, draws: MixtureDraws, target: Target) -> tuple[str, ...]:
    """What the bookkeeping of modes says about modes that were not found."""
    doubts = []
    share = np.exp(modes.log_mass - modes.log_mass.max())
    lonely = int(((modes.hits == 1) & (share > 1e-3)).sum())
    if lonely:
        doubts.append(
            f"{lonely} of {len(modes.z)} modes were reached by a single one of "
            f"{modes.starts} fits, so that others may have been missed."
        )
    best = (draws.log_likelihood + target.log_prior(draws.z)).max()
    if best > modes.log_posterior.max() + 0.5:
        doubts.append("Some draws are better than every fit: a mode was missed.")
    return tuple(doubts)


def nuts_rung(
    key: Key[Array, ""],
    target: Target,
    *,
    enough: float,
    progress: Progress,
    seed: Posterior | None = None,
) -> Rung:
    """Sample with NUTS, from the best draws of an earlier rung or from best fits.

    Args:
        key: Random key.
        target: The posterior density.
        enough: Draws to keep in all; those that are effective are fewer.
        progress: Bars and ledger.
        seed: Draws of an earlier rung.
    """
    key_start, key_run = jax.random.split(key)
    with progress.stage("nuts: starting points", "optimise", 1) as tick:
        start, covariance, modes = _starts(key_start, target, seed)
        tick(1)
    per_chain = max(1000, int(enough / CHAINS))
    warmup = 1000
    with progress.stage("nuts: sample", "sample", per_chain + warmup) as tick:
        posterior, divergent = sample_nuts(
            key_run,
            target,
            start,
            covariance,
            draws=per_chain,
            warmup=warmup,
            tick=tick,
        )
    doubts = divergence_doubt(divergent)
    if modes is not None:
        doubts += missed_modes(modes, posterior.z, posterior.weights)
    return judge_samples(posterior, doubts, divergent=divergent)


def _starts(
    key: Key[Array, ""], target: Target, seed: Posterior | None
) -> tuple[np.ndarray, np.ndarray, Modes | None]:
    """Dispersed starts of the chains, a guess of the covariance, and best fits."""
    key_rows, key_modes = jax.random.split(key)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_rows)))
    if seed is not None:
        rows = generator.choice(seed.draws, CHAINS, p=seed.weights)
        covariance = np.cov(seed.z.T, aweights=seed.weights)
        return seed.z[rows], covariance.reshape(target.dimension, -1), None
    modes = find_modes(key_modes, target)
    rows = generator.choice(len(modes.z), CHAINS, p=modes.share)
    factor = np.linalg.cholesky(modes.covariance[rows])
    normal = generator.standard_normal((CHAINS, target.dimension))
    start = modes.z[rows] + np.einsum("cij,cj->ci", factor, normal)
    return start, modes.covariance[0], modes


def nested_rung(
    key: Key[Array, ""],
    target: Target,
    *,
    enough: float,
    log_perfect: float,
    progress: Progress,
) -> Rung:
    """Nested sampling of the prior.

    Args:
        key: Random key.
        target: The posterior density.
        enough: Effective draws to aim at.
        log_perfect: Log-likelihood of the perfect fit.
        progress: Bars and ledger.
    """
    live = max(LEAST_LIVE, int(enough / DRAWS_PER_LIVE))
    with progress.stage("nested: replace", "sample", 0) as tick:
        posterior, cut_short = sample_nested(
            key, target, live=live, log_perfect=log_perfect, tick=tick
        )
    return judge_samples(
        posterior, cut_short_doubt(cut_short), live=live, cut_short=cut_short
    )


def cut_short_doubt(share: float) -> tuple[str, ...]:
    """What chains of nested sampling that were cut short say about its evidence."""
    if share <= MOST_CUT_SHORT:
        return ()
    return (
        f"{100 * share:.1f} % of the chains of nested sampling were cut short, so that "
        "the evidence may be off.",
    )
