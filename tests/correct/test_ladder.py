"""The order of the rungs, their gates and their bookkeeping."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.baseline import Modes, find_modes
from jsbi.correct import (
    MixtureDraws,
    Training,
    best_rung,
    climb,
    judge_draws,
    ladder,
    mixture_rung,
    weighted_posterior,
)
from jsbi.correct import rung as gates
from jsbi.correct.network import cover
from jsbi.correct.rung import Fault, missed_modes
from jsbi.estimate import Region
from jsbi.progress import Progress
from tests.targets import grid_answer, landscape_target, power_law_target, two_modes

pytestmark = pytest.mark.usefixtures("reused_keys")


def take(target, method="auto", enough=1000.0, **options):
    return climb(
        jax.random.key(0),
        target,
        method=method,
        enough=enough,
        most=20_000,
        log_perfect=0.0,
        progress=Progress(False),
        **options,
    )


def names(rungs):
    return [rung.record["rung"] for rung in rungs]


@pytest.mark.slow
@pytest.mark.network
def test_a_refused_rung_leads_to_the_next_and_all_are_told(monkeypatch):
    target = power_law_target()
    monkeypatch.setattr(gates, "ACCEPTED_EFFICIENCY", 2.0)
    monkeypatch.setattr(gates, "SURE_EVIDENCE", 0.0)
    rungs = take(target, training=Training(steps=200))
    assert names(rungs) == ["mixture", "network", "smc", "nuts"]
    assert [rung.passed for rung in rungs] == [False, False, False, True]
    chosen = best_rung(rungs).posterior
    _, mean, sd = grid_answer(target)
    error = 5 / np.sqrt(chosen.effective_draws)
    assert chosen.method == "nuts"
    assert np.all(np.abs(chosen.z.mean(0) - mean) / sd < error)


def test_the_first_rung_that_passes_is_the_last():
    assert names(take(power_law_target())) == ["mixture"]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize(
    "method",
    [
        "nested",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("network", "smc", "transported")
        ),
    ],
)
def test_every_rung_alone_is_right(method):
    target = power_law_target()
    (rung,) = take(target, method, training=Training(steps=300))
    assert rung.record["rung"] == rung.posterior.method
    assert rung.passed
    truth, mean, sd = grid_answer(target)
    posterior = rung.posterior
    error = 5 / np.sqrt(posterior.effective_draws)
    assert np.all(np.abs(posterior.weights @ posterior.z - mean) / sd < error)
    if not np.isnan(posterior.log_evidence):
        off = abs(posterior.log_evidence - truth)
        assert off < max(5 * posterior.log_evidence_error, 1e-3)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("restriction", ["classifier", "rounds", "prior"])
def test_wherever_simulations_come_from_the_weights_make_it_exact(restriction):
    target = power_law_target()
    training = Training(restriction=restriction, steps=600, members=2)
    (rung,) = take(target, "network", training=training)
    assert rung.passed
    assert -0.01 < rung.record["disagreement"] < np.log(2)
    truth, _, _ = grid_answer(target)
    posterior = rung.posterior
    off = abs(posterior.log_evidence - truth)
    assert off < 5 * posterior.log_evidence_error


def test_no_rung_begins_after_the_budget(monkeypatch):
    monkeypatch.setattr(gates, "ACCEPTED_EFFICIENCY", 2.0)
    assert names(take(power_law_target(), budget=1000)) == ["mixture"]


@pytest.mark.parametrize(
    "wrong", [{"restriction": "rond"}, {"steps": 0}, {"members": -1}]
)
def test_a_training_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        Training(**wrong)


@pytest.mark.slow
@pytest.mark.network
def test_sbi_never_uses_the_mixture():
    assert names(take(power_law_target(), "sbi")) == ["network"]


def test_without_a_rung_that_passes_the_most_effective_is_kept():
    (rung,) = take(power_law_target())
    failed = dataclasses.replace(rung, record=rung.record | {"passed": False})
    fewer = dataclasses.replace(failed.posterior, effective_draws=3.0)
    poor = dataclasses.replace(failed, posterior=fewer)
    assert best_rung([failed, poor]) is failed


def test_draws_where_the_model_has_no_value_count_as_made():
    target = power_law_target()
    (rung,) = take(target)
    draws = rung.posterior
    half = MixtureDraws(
        draws.z, draws.log_likelihood, np.where(draws.z[:, 0] > 0, -np.inf, 0.0), 1
    )
    posterior = weighted_posterior(target, half, method="x", log_perfect=0.0)
    assert posterior.proposed == draws.draws
    assert posterior.efficiency == posterior.effective_draws / draws.draws < 1
    doubted = judge_draws(target, half, method="x", enough=10.0, log_perfect=0.0)
    assert not doubted.passed
    assert "has no likelihood at" in doubted.doubts[0]


def test_a_mode_that_one_fit_found_is_a_doubt():
    target = landscape_target(two_modes)
    rung = mixture_rung(
        jax.random.key(0),
        target,
        enough=500.0,
        log_perfect=0.0,
        progress=Progress(False),
    )
    assert rung.doubts == ()
    assert rung.record["modes"] == 2
    modes = Modes(
        z=np.zeros((2, 2)),
        covariance=np.tile(np.eye(2), (2, 1, 1)),
        log_posterior=np.array([0.0, -1.0]),
        log_mass=np.array([0.0, -1.0]),
        hits=np.array([63, 1]),
        starts=64,
    )
    quiet = MixtureDraws(np.zeros((1, 2)), np.array([-5.0]), np.zeros(1), 1)
    assert "1 of 2 modes" in ladder._doubts(modes, quiet, target)[0]
    better = dataclasses.replace(quiet, log_likelihood=np.array([5.0]))
    assert "better than every fit" in ladder._doubts(modes, better, target)[1]
    light = dataclasses.replace(modes, log_mass=np.array([0.0, -9.0]))
    assert ladder._doubts(light, quiet, target) == ()


def test_draws_that_hold_nothing_of_a_mode_are_doubted():
    modes = find_modes(jax.random.key(0), landscape_target(two_modes))
    assert len(modes.z) == 2
    normal = np.random.default_rng(0).standard_normal((1000, 2))
    factor = np.linalg.cholesky(modes.covariance)
    one, two = (at + normal @ f.T for at, f in zip(modes.z, factor, strict=True))
    even = np.full(1000, 1e-3)
    (doubt,) = missed_modes(modes, one, even)
    assert "1 of 2 modes" in doubt
    assert isinstance(doubt, Fault)
    light = dataclasses.replace(modes, log_mass=np.array([0.0, np.log(0.05)]))
    heavier = int(np.linalg.norm(modes.z[0] - one.mean(0)) > 1)
    (doubt,) = missed_modes(light, (one, two)[heavier], even)
    assert "with about 4.8 % of the posterior" in doubt
    assert not isinstance(doubt, Fault)
    assert missed_modes(modes, np.concatenate([one, two]), np.tile(even, 2) / 2) == ()


def test_the_fault_of_a_rung_is_only_a_doubt_about_the_next():
    posterior = mixture_rung(
        jax.random.key(0),
        power_law_target(),
        enough=500.0,
        log_perfect=0.0,
        progress=Progress(False),
    ).posterior
    missed = gates.judge_weighted(posterior, 500.0, (Fault("Half."),))
    (doubt,) = gates.all_doubts([missed, gates.judge_weighted(posterior, 500.0)])
    assert doubt == "Half."
    assert not isinstance(doubt, Fault)
    assert isinstance(gates.all_doubts([missed])[0], Fault)


def test_a_region_is_widened_to_hold_every_mode():
    target = landscape_target(two_modes)
    modes = find_modes(jax.random.key(0), target)
    narrow = Region(
        jnp.asarray(modes.z[0], jnp.float32), 0.05 * jnp.eye(2, dtype=jnp.float32)
    )
    wide = cover(narrow, modes)
    for place in modes.z:
        assert np.linalg.norm(wide.whiten(jnp.asarray(place, jnp.float32))) < 2
    assert cover(wide, modes) is wide
