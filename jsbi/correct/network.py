"""The rungs that need a network: reweighted, tempered, or as a map for chains."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jsbi.baseline import Modes, find_modes
from jsbi.correct.adapt import BATCH, STEPS, adapt, defend, draw_from_flow
from jsbi.correct.draws import WeightedDraws
from jsbi.correct.rung import (
    SEEN_MASS,
    SOUND_K,
    Rung,
    judge_samples,
    judge_weighted,
    missed_modes,
    weighted_posterior,
)
from jsbi.correct.tempering import temper_draws
from jsbi.correct.transport import sample_transported
from jsbi.estimate import (
    FlowProposal,
    FromRegion,
    LowestStatistic,
    Region,
    expected_spectra,
    make_estimator,
    restrict_by_classifier,
    restrict_prior,
    run_rounds,
    train,
)
from jsbi.estimate.restrict import POWER
from jsbi.model import suggest
from jsbi.posterior import Posterior
from jsbi.progress import Progress
from jsbi.simulate import Source, Target, stored
from jsbi.weights import effective_draws, pareto_k

# A refit costs as much as tens of thousands of draws of a cheap likelihood.
REFIT_EFFICIENCY = 0.3
REFITS = 4
SAFE_K = 0.2  # above it, thin tails are still being found
# Effective draws below which no network stops: tails are not known before.
LEAST_SETTLED = 5000.0
LESSONS = 3  # batches at most that teach where the flow is too low
POOL = 20_000  # spectra from a part of the prior that is sampled by rejection
PARTICLES = 2048
CHAINS = 4
RESTRICTIONS = ("region", "classifier", "rounds", "prior")


@dataclass(frozen=True)
class Training:
    """How a network is made for one observation.

    Attributes:
        restriction: Where simulations come from. "region" is a Gaussian part of the
            prior, found through the likelihood; "classifier" the part whose spectra
            without noise are closest to the observation; "rounds" truncates the prior
            to the network's own posterior, round by round; "prior" is all of it.
        compressor: A name that `jsbi.compress.make_compressor` knows.
        members: Networks trained side by side, whose mixture proposes.
        steps: Steps of descent; in each round, where there are rounds.
        batch: Simulations per step.

    Raises:
        ValueError: If the restriction is unknown, or a number not positive.
    """

    restriction: str = "region"
    compressor: str = "network"
    members: int = 1
    steps: int = 1000
    batch: int = 256

    def __post_init__(self):
        if self.restriction not in RESTRICTIONS:
            raise ValueError(
                f"The restriction must be one of {', '.join(RESTRICTIONS)}; got "
                f"{self.restriction!r}. {suggest(self.restriction, list(RESTRICTIONS))}"
            )
        for name in ("members", "steps", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be positive; got {getattr(self, name)}."
                )


@dataclass(frozen=True)
class Trained:
    """A network for one observation.

    Attributes:
        proposal: The network at the observation.
        numbers: About its training, for the record.
        modes: Best fits, which its draws should hold; None where an earlier rung has
            looked for them.
    """

    proposal: FlowProposal
    numbers: dict[str, Any]
    modes: Modes | None

    def doubts(self, posterior: Posterior) -> tuple[str, ...]:
        """Modes of which a posterior holds next to nothing."""
        if self.modes is None:
            return ()
        return missed_modes(self.modes, posterior.z, posterior.weights)


def train_proposal(
    key: Key[Array, ""],
    target: Target,
    training: Training,
    progress: Progress,
    seed: Posterior | None = None,
) -> Trained:
    """Train an estimator for the observation.

    Args:
        key: Random key.
        target: The posterior density.
        training: How.
        progress: Bars and ledger.
        seed: Draws of an earlier rung that say where to simulate.

    Returns: The estimator at the observation, and what is known about it.
    """
    key_modes, key_source, key_make, key_train, key_members = jax.random.split(key, 5)
    modes = None
    if seed is None and not target.simulator.on_host:
        with progress.stage("network: best fits", "optimise", 1) as tick:
            modes = find_modes(key_modes, target)
            tick(1)
    if training.restriction == "rounds":
        estimator, numbers = _train_rounds(key_source, target, training, progress)
    else:
        with progress.stage("network: restrict prior", "restrict", 1) as tick:
            source, made = _source(key_source, target, training, seed, modes)
            tick(1)
        with progress.stage("network: train", "train", training.steps) as tick:
            estimator, losses = train(
                key_train,
                make_estimator(
                    key_make,
                    source,
                    target.simulator,
                    compressor=training.compressor,
                    members=training.members,
                ),
                source,
                steps=training.steps,
                batch=training.batch,
                tick=tick,
            )
        numbers = {
            "simulations": made or len(losses) * training.batch,
            "final_loss": float(losses[-100:].mean()),
        }
    proposal = estimator.at(target.counts)
    if training.members > 1:
        numbers["disagreement"] = float(proposal.disagreement(key_members, BATCH))
    return Trained(proposal, numbers, modes)


def _train_rounds(
    key: Array, target: Target, training: Training, progress: Progress
) -> tuple[Any, dict[str, Any]]:
    if target.simulator.on_host:
        raise ValueError(
            "The restriction 'rounds' simulates anew in every step, which a model that "
            "the host evaluates is too slow for. Use 'region' or 'classifier'."
        )
    with progress.stage("network: rounds", "train", 5 * training.steps) as tick:
        rounds = run_rounds(
            key,
            target,
            steps=training.steps,
            batch=training.batch,
            compressor=training.compressor,
            members=training.members,
            tick=tick,
        )
    last = rounds.rounds[-1]
    return rounds.estimator, {
        "simulations": rounds.simulations,
        "final_loss": float(last.losses[-100:].mean()),
        "rounds": len(rounds.rounds),
        "log_volume": last.log_volume,
    }


def _source(
    key: Array,
    target: Target,
    training: Training,
    seed: Posterior | None,
    modes: Modes | None,
) -> tuple[Source, int]:
    """Where to simulate, and how many simulations that has made; 0 for none yet."""
    simulator = target.simulator
    if training.restriction == "classifier":
        key_part, key_pool = jax.random.split(key)
        part = restrict_by_classifier(key_part, target, rule=LowestStatistic())
        made = sum(each.simulations for each in part.rounds) + POOL
        return _pool(target, part.sample(key_pool, POOL)), made
    if training.restriction == "prior":
        region = Region.whole(target.dimension)
    elif seed is not None:
        region = region_of(seed, target)
    else:
        region = restrict_prior(key, target)
        region = cover(region, modes) if modes else region
    if simulator.on_host:
        z = jax.vmap(region.sample)(jax.random.split(jax.random.fold_in(key, 1), POOL))
        return _pool(target, np.asarray(z)), POOL
    return FromRegion(simulator, region), 0


def _pool(target: Target, z: np.ndarray) -> Source:
    """Simulations without noise that are made once and used again and again."""
    return stored(z, expected_spectra(target, z))


def cover(region: Region, modes: Modes) -> Region:
    """Widen a region if it leaves out a mode, so that all of them are learnt."""
    centre, factor = (
        np.asarray(part, np.float64) for part in (region.centre, region.factor)
    )
    heavy = modes.log_mass > modes.log_mass.max() + np.log(SEEN_MASS)
    apart = np.linalg.solve(factor, (modes.z[heavy] - centre).T)
    dimension = len(centre)
    if ((apart**2).sum(0) < dimension + 4 * np.sqrt(2 * dimension)).all():
        return region
    places = np.concatenate([centre[None], modes.z[heavy]])
    middle = places.mean(0)
    away = places - middle
    tempered = _tempered(modes.covariance[heavy])
    within = (factor @ factor.T + tempered.sum(0)) / len(places)
    wide = within + away.T @ away / len(places)
    dtype = region.centre.dtype
    return Region(
        jnp.asarray(middle, dtype), jnp.asarray(np.linalg.cholesky(wide), dtype)
    )


def _tempered(covariance: np.ndarray) -> np.ndarray:
    """What the likelihood to the power POWER would leave, at most the prior's width."""
    unit = np.eye(covariance.shape[-1])
    return np.linalg.inv(POWER * np.linalg.inv(covariance) + (1 - POWER) * unit)


def region_of(posterior: Posterior, target: Target) -> Region:
    """Where to simulate, given weighted draws of an earlier rung."""
    centre = posterior.weights @ posterior.z
    apart = posterior.z - centre
    covariance = (apart * posterior.weights[:, None]).T @ apart
    wide = _tempered(covariance + 1e-9 * np.eye(len(centre)))
    dtype = target.counts.dtype
    return Region(
        jnp.asarray(centre, dtype), jnp.asarray(np.linalg.cholesky(wide), dtype)
    )


def network_rung(
    key: Key[Array, ""],
    target: Target,
    trained: Trained,
    *,
    enough: float,
    log_perfect: float,
    progress: Progress,
    most: int,
) -> tuple[Rung, Trained]:
    """Reweight the draws of a network, and refit it while they are poor.

    Args:
        key: Random key.
        target: The posterior density.
        trained: The network.
        enough: Effective draws to stop at.
        log_perfect: Log-likelihood of the perfect fit.
        progress: Bars and ledger.
        most: Draws to spend at most on the last proposal.

    Returns: The rung, and the network as it was refitted.
    """
    key_refine, key_draw = jax.random.split(key)
    proposal, lesson, refits = _refine(key_refine, target, trained.proposal, progress)
    least = max(enough, LEAST_SETTLED)
    draws = _draw_enough(key_draw, target, proposal, lesson, least, most, progress)
    posterior = weighted_posterior(
        target, draws, method="network", log_perfect=log_perfect
    )
    rung = judge_weighted(
        posterior, enough, trained.doubts(posterior), refits=refits, **trained.numbers
    )
    return rung, replace(trained, proposal=proposal, numbers={})


def _refine(
    key: Array, target: Target, proposal: FlowProposal, progress: Progress
) -> tuple[FlowProposal, WeightedDraws, int]:
    """Refit while the weights are poor; the last flow, its draws, how many refits."""
    refits = 0
    while True:
        key, key_draw, key_adapt = jax.random.split(key, 3)
        with progress.stage("network: reweight", "draw", BATCH) as tick:
            draws = draw_from_flow(key_draw, target, proposal)
            tick(BATCH)
        efficiency = effective_draws(draws.log_ratio) / BATCH
        good = efficiency > REFIT_EFFICIENCY and pareto_k(draws.log_ratio) < SOUND_K
        if good or refits == REFITS:
            return proposal, draws, refits
        refits += 1
        with progress.stage(f"network: adapt {refits}", "adapt", STEPS) as tick:
            proposal = adapt(key_adapt, proposal, draws, tick=tick)


def _draw_enough(
    key: Array,
    target: Target,
    proposal: FlowProposal,
    lesson: WeightedDraws,
    enough: float,
    most: int,
    progress: Progress,
) -> WeightedDraws:
    """Draw until enough draws are effective, with a defence that lessons have taught.

    Lessons go on while their weights are heavy-tailed; none is part of the answer, and
    no answer is refused: one chosen for its light tail would have missed the rest.
    """
    newest = lesson
    with progress.stage("network: learn defence", "draw", LESSONS * BATCH) as tick:
        for number in range(LESSONS):
            if number and pareto_k(newest.log_ratio) < SAFE_K:
                break
            key, key_lesson = jax.random.split(key)
            newest = draw_from_flow(key_lesson, target, proposal, defend(lesson))
            lesson = lesson.joined(newest)
            tick(BATCH)
    defence = defend(lesson)
    draws, seen = None, 0
    with progress.stage("network: draws", "draw", int(enough)) as tick:
        while draws is None or (seen < int(enough) and len(draws.z) < most):
            key, key_more = jax.random.split(key)
            more = draw_from_flow(key_more, target, proposal, defence)
            draws = more if draws is None else draws.joined(more)
            now = min(int(effective_draws(draws.log_ratio)), int(enough))
            tick(max(now - seen, 0))
            seen = max(now, seen)
    return draws


def smc_rung(
    key: Key[Array, ""],
    target: Target,
    trained: Trained,
    *,
    log_perfect: float,
    progress: Progress,
) -> Rung:
    """Carry draws of a network to the posterior through the densities between them.

    Args:
        key: Random key.
        target: The posterior density.
        trained: The network.
        log_perfect: Log-likelihood of the perfect fit.
        progress: Bars and ledger.
    """
    with progress.stage("smc: temper", "sample", 100) as tick:
        posterior, record = temper_draws(
            key,
            target,
            trained.proposal,
            particles=PARTICLES,
            log_perfect=log_perfect,
            tick=tick,
        )
    doubts = trained.doubts(posterior)
    return judge_samples(posterior, doubts, **record, **trained.numbers)


def transported_rung(
    key: Key[Array, ""],
    target: Target,
    trained: Trained,
    *,
    enough: float,
    progress: Progress,
) -> Rung:
    """Sample with NUTS in the base coordinates of a network.

    Args:
        key: Random key.
        target: The posterior density.
        trained: The network.
        enough: Draws to keep in all; those that are effective are fewer.
        progress: Bars and ledger.
    """
    draws, warmup = max(1000, int(enough / CHAINS)), 500
    with progress.stage("transported: sample", "sample", draws + warmup) as tick:
        posterior, divergent = sample_transported(
            key,
            target,
            trained.proposal,
            chains=CHAINS,
            draws=draws,
            warmup=warmup,
            tick=tick,
        )
    doubts = divergence_doubt(divergent) + trained.doubts(posterior)
    return judge_samples(posterior, doubts, divergent=divergent, **trained.numbers)


def divergence_doubt(divergent: int) -> tuple[str, ...]:
    """What divergent transitions say about chains."""
    return (f"{divergent} transitions of the chains diverged.",) * bool(divergent)
