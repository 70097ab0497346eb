"""The rungs from a cheap approximation to the exact posterior."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jsbi.baseline import Modes, find_modes, sample_nuts
from jsbi.correct.adapt import (
    BATCH,
    STEPS,
    FlowDraws,
    FlowProposal,
    adapt,
    draw_from_flow,
    propose,
)
from jsbi.correct.mixture import (
    SAFE_K,
    MixtureDraws,
    adaptive_mixture,
    mixture_at,
)
from jsbi.estimate import Region, make_estimator, restrict_prior, train
from jsbi.estimate.restrict import POWER
from jsbi.posterior import Posterior
from jsbi.progress import Progress
from jsbi.simulate import Target
from jsbi.weights import effective_draws, log_evidence, pareto_k

ACCEPTED_K = 0.7
ACCEPTED_EFFICIENCY = 0.1
MOST_LOST = 1e-3  # share of the draws at which the model may have no value
# A refit costs as much as tens of thousands of draws of a cheap likelihood.
REFIT_EFFICIENCY = 0.3
REFITS = 4
# Effective draws below which no rung stops: tails are not known before.
LEAST_EFFECTIVE = 5000.0
TRAINING_STEPS = 1000
TRAINING_BATCH = 256
CHAINS = 4
LEAST_OF_CHAINS = 400.0  # effective draws
MIXED_R_HAT, SOUND_R_HAT = 1.01, 1.05


@dataclasses.dataclass(frozen=True)
class Rung:
    """What one rung made, and whether it may be the last.

    Attributes:
        posterior: Its draws.
        record: Its numbers, for the report.
        doubts: Why its draws may miss something that their weights cannot show.
    """

    posterior: Posterior
    record: dict[str, Any]
    doubts: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether the draws may represent the posterior, however few they are."""
        if math.isnan(self.posterior.r_hat):
            return self.posterior.pareto_k < ACCEPTED_K
        return self.posterior.r_hat < SOUND_R_HAT

    @property
    def passed(self) -> bool:
        """Whether the draws are good enough to stop here."""
        return bool(self.record["passed"])


def weighted_posterior(
    target: Target,
    draws: FlowDraws | MixtureDraws,
    *,
    method: str,
    log_perfect: float,
) -> Posterior:
    """Turn weighted draws into a Posterior with evidence.

    Args:
        target: The posterior density.
        draws: Draws with log ratios of target over proposal.
        method: The rung's name.
        log_perfect: Log-likelihood of the perfect fit, with the full Poisson
            normalisation.
    """
    evidence, error = log_evidence(draws.log_ratio)
    log_weight = draws.log_ratio - evidence - math.log(len(draws.z))
    kept = np.isfinite(log_weight)
    return Posterior(
        names=target.simulator.prior.names,
        z=draws.z[kept],
        values=target.physical(draws.z[kept]),
        log_weight=log_weight[kept],
        log_likelihood=draws.log_likelihood[kept],
        effective_draws=effective_draws(log_weight[kept]),
        log_evidence=evidence + log_perfect,
        log_evidence_error=error,
        method=method,
        pareto_k=pareto_k(log_weight[kept]),
        proposed=len(draws.z),
    )


def _rung(
    posterior: Posterior, enough: float, doubts: tuple[str, ...] = (), **numbers: Any
) -> Rung:
    lost = 1 - posterior.draws / posterior.proposed
    if lost > MOST_LOST:
        doubts += (f"The model has no likelihood at {100 * lost:.2g} % of the draws.",)
    passed = (
        not doubts
        and posterior.pareto_k < ACCEPTED_K
        and posterior.efficiency > ACCEPTED_EFFICIENCY
        and posterior.effective_draws >= enough
    )
    record = {
        "rung": posterior.method,
        "draws": posterior.draws,
        "ess": posterior.effective_draws,
        "efficiency": posterior.efficiency,
        "pareto_k": posterior.pareto_k,
        "log_evidence": posterior.log_evidence,
        "passed": passed,
        "doubts": list(doubts),
    }
    return Rung(posterior, record | numbers, doubts)


def mixture_rung(
    key: Key[Array, ""],
    target: Target,
    *,
    enough: float,
    log_perfect: float,
    progress: Progress,
) -> Rung:
    """Find the modes, then adapt a Student-t mixture at them.

    Args:
        key: Random key.
        target: The posterior density.
        enough: Effective draws to stop at.
        log_perfect: Log-likelihood of the perfect fit.
        progress: Bars and ledger.
    """
    key_modes, key_draws = jax.random.split(key)
    with progress.stage("mixture: best fits", "optimise", 1) as tick:
        modes = find_modes(key_modes, target)
        tick(1)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_draws)))
    batch = max(2048, int(enough / 5))
    with progress.stage("mixture: draws", "draw", int(enough)) as tick:
        seen = 0

        def advance(effective: int) -> None:
            nonlocal seen
            tick(min(effective, int(enough)) - seen)
            seen = min(effective, int(enough))

        draws = adaptive_mixture(
            generator,
            target,
            mixture_at(modes),
            enough=max(enough, LEAST_EFFECTIVE),
            batch=batch,
            tick=advance,
        )
    posterior = weighted_posterior(
        target, draws, method="mixture", log_perfect=log_perfect
    )
    doubts = _doubts(modes, draws, target)
    return _rung(
        posterior,
        enough,
        doubts,
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


def region_of(posterior: Posterior, target: Target) -> Region:
    """Where to simulate, given weighted draws of an earlier rung."""
    centre = posterior.weights @ posterior.z
    apart = posterior.z - centre
    covariance = (apart * posterior.weights[:, None]).T @ apart
    # The width that the likelihood to the power POWER would leave, at most the prior's.
    precision = np.linalg.inv(covariance + 1e-9 * np.eye(len(centre)))
    wide = np.linalg.inv(POWER * precision + (1 - POWER) * np.eye(len(centre)))
    dtype = target.counts.dtype
    return Region(
        jnp.asarray(centre, dtype), jnp.asarray(np.linalg.cholesky(wide), dtype)
    )


def network_rung(
    key: Key[Array, ""],
    target: Target,
    *,
    enough: float,
    log_perfect: float,
    progress: Progress,
    most: int,
    seed: Posterior | None = None,
) -> Rung:
    """Train an estimator, reweight its draws, and refit it while they are poor.

    Args:
        key: Random key.
        target: The posterior density.
        enough: Effective draws to stop at.
        log_perfect: Log-likelihood of the perfect fit.
        progress: Bars and ledger.
        most: Draws to spend at most on the last proposal.
        seed: Draws of an earlier rung that say where to simulate.
    """
    key_train, key_refine, key_draw = jax.random.split(key, 3)
    proposal, losses = _train_at(key_train, target, progress, seed)
    proposal, draws, refits = _refine(key_refine, target, proposal, progress)
    least = max(enough, LEAST_EFFECTIVE)
    draws = _draw_enough(key_draw, target, proposal, draws, least, most, progress)
    posterior = weighted_posterior(
        target, draws, method="network", log_perfect=log_perfect
    )
    return _rung(
        posterior,
        enough,
        refits=refits,
        simulations=len(losses) * TRAINING_BATCH,
        final_loss=float(losses[-100:].mean()),
    )


def _train_at(
    key: Key[Array, ""], target: Target, progress: Progress, seed: Posterior | None
) -> tuple[FlowProposal, np.ndarray]:
    """Train an estimator around the observation; its density there, and the losses."""
    key_region, key_make, key_train = jax.random.split(key, 3)
    with progress.stage("network: restrict prior", "restrict", 1) as tick:
        region = (
            restrict_prior(key_region, target)
            if seed is None
            else region_of(seed, target)
        )
        tick(1)
    with progress.stage("network: train", "train", TRAINING_STEPS) as tick:
        estimator, losses = train(
            key_train,
            make_estimator(key_make, target.simulator, region),
            target.simulator,
            steps=TRAINING_STEPS,
            batch=TRAINING_BATCH,
            tick=tick,
        )
    return propose(estimator, target.counts), losses


def _refine(
    key: Key[Array, ""], target: Target, proposal: FlowProposal, progress: Progress
) -> tuple[FlowProposal, FlowDraws, int]:
    """Refit while the weights are poor; the last flow, its draws, how many refits."""
    refits = 0
    while True:
        key, key_draw, key_adapt = jax.random.split(key, 3)
        with progress.stage("network: reweight", "draw", BATCH) as tick:
            draws = draw_from_flow(key_draw, target, proposal)
            tick(BATCH)
        efficiency = effective_draws(draws.log_ratio) / BATCH
        good = efficiency > REFIT_EFFICIENCY and pareto_k(draws.log_ratio) < ACCEPTED_K
        if good or refits == REFITS:
            return proposal, draws, refits
        refits += 1
        with progress.stage(f"network: adapt {refits}", "adapt", STEPS) as tick:
            proposal = adapt(key_adapt, proposal, draws, tick=tick)


def _draw_enough(
    key: Key[Array, ""],
    target: Target,
    proposal: FlowProposal,
    draws: FlowDraws,
    enough: float,
    most: int,
    progress: Progress,
) -> FlowDraws:
    """Add batches until enough draws are effective and no weight stands out."""
    seen = 0.0
    with progress.stage("network: draws", "draw", int(enough)) as tick:
        while True:
            now = min(effective_draws(draws.log_ratio), enough)
            tick(max(int(now) - int(seen), 0))
            seen = max(now, seen)
            done = now >= enough and pareto_k(draws.log_ratio) < SAFE_K
            if done or len(draws.z) >= most:
                return draws
            key, key_more = jax.random.split(key)
            draws = draw_from_flow(key_more, target, proposal, draws)


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
        start, covariance = _starts(key_start, target, seed)
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
    record = {
        "rung": "nuts",
        "draws": posterior.draws,
        "ess": posterior.effective_draws,
        "r_hat": posterior.r_hat,
        "divergent": divergent,
        "passed": posterior.r_hat < MIXED_R_HAT
        and posterior.effective_draws >= LEAST_OF_CHAINS
        and not divergent,
        "doubts": [f"{divergent} transitions of the chains diverged."]
        * bool(divergent),
    }
    return Rung(posterior, record, tuple(record["doubts"]))


def _starts(
    key: Key[Array, ""], target: Target, seed: Posterior | None
) -> tuple[np.ndarray, np.ndarray]:
    """Dispersed starts of the chains, and a guess of the covariance."""
    key_rows, key_modes = jax.random.split(key)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key_rows)))
    if seed is not None and seed.effective_draws > 5 * target.dimension:
        rows = generator.choice(seed.draws, CHAINS, p=seed.weights)
        return seed.z[rows], np.cov(seed.z.T, aweights=seed.weights).reshape(
            target.dimension, -1
        )
    modes = find_modes(key_modes, target)
    share = np.exp(modes.log_mass - modes.log_mass.max())
    rows = generator.choice(len(modes.z), CHAINS, p=share / share.sum())
    factor = np.linalg.cholesky(modes.covariance[rows])
    normal = generator.standard_normal((CHAINS, target.dimension))
    start = modes.z[rows] + np.einsum("cij,cj->ci", factor, normal)
    return start, modes.covariance[0]
