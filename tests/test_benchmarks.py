"""The harness of the benchmarks: what is kept, skipped, stopped, and what is said."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from benchmarks import harness
from benchmarks.accuracy import accuracy, is_right
from benchmarks.case import Case
from benchmarks.harness import REFERENCE, Job, run_all, run_one
from benchmarks.peers import PEERS, Peer, counted
from benchmarks.report import write_report
from benchmarks.scaling import Several, find_case, summed, with_counts
from jsbi.api import simulate
from jsbi.posterior import Posterior
from tests.targets import grid_answer, make_observation, power_law

pytestmark = pytest.mark.usefixtures("reused_keys")


@pytest.fixture(scope="module")
def case():
    """An absorbed power law of two parameters and some thousand counts."""
    model, prior = power_law()
    truth = {"tbabs.nH": 0.1, "powerlaw.PhoIndex": 1.9, "powerlaw.norm": 3e-3}
    seen = simulate(jax.random.key(0), make_observation(), model, truth)
    return Case("tiny", (seen,), model, prior, truth)


def job(tmp_path, method="mixture", **changes):
    full = {"draws": 500, "repeats": 2, "limit": 60.0} | changes
    return Job("tiny", method, tmp_path, **full)


def normal(shift=0.0, width=1.0, draws=4000, log_evidence=-10.0):
    z = shift + width * np.random.default_rng(1).standard_normal((draws, 2))
    return Posterior(
        names=("a", "b"),
        z=z,
        values=3 * z + 1,
        log_weight=np.full(draws, -math.log(draws)),
        log_likelihood=-0.5 * (z**2).sum(1),
        effective_draws=float(draws),
        log_evidence=log_evidence,
        log_evidence_error=0.1,
        pareto_k=0.1,
    )


def test_distances_are_those_that_were_put_in():
    found = accuracy(normal(0.5, 2.0, log_evidence=-10.3), normal())
    assert found.keys() == NEAR.keys()
    assert found["shift"] == pytest.approx(0.5, abs=0.05)
    assert found["least width"] == pytest.approx(2, rel=0.01)
    assert found["ln Z off [sigma]"] == pytest.approx(-0.3 / math.hypot(0.1, 0.1))
    assert found["classifier"] > 0.6 > 0.5 + 3 * found["classifier error"]
    assert found["KS"] > 2 * found["KS limit"]


@pytest.mark.parametrize(
    ("shift", "width", "right"), [(0, 1, True), (0.3, 1, False), (0, 1.3, False)]
)
def test_a_fit_is_right_if_means_and_widths_are(shift, width, right):
    row = {"effective": 4000.0, "accuracy": accuracy(normal(shift, width), normal())}
    assert is_right(row, 4000.0) is right
    # A few effective draws could be as far off by chance.
    assert is_right(row | {"effective": 30.0}, 4000.0) is True
    assert is_right(row | {"accuracy": None}, 4000.0) is None


def test_a_run_is_written_with_its_cost_and_its_accuracy(case, tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "find_case", lambda name: case)
    run_one(job(tmp_path, REFERENCE, draws=4000, repeats=1), started=0.0)
    run_one(job(tmp_path), started=0.0)
    found = json.loads(job(tmp_path).path.read_text())
    assert [row["seed"] for row in found["rows"]] == [0, 1]
    evidence, *_ = grid_answer(case.target())
    perfect = case.observations[0].perfect_log_likelihood
    for row in found["rows"]:
        assert row["verdict"] == "trusted"
        assert row["effective"] >= 500
        assert 0 < row["evaluations"] < 100_000
        assert row["ln Z"] == pytest.approx(evidence + perfect, abs=0.1)
        assert row["accuracy"]["shift"] < 0.2
    assert found["peak memory [MB]"] > 100
    assert found["problem"]["parameters"] == 2
    assert {"commit", "device", "jax"} <= found["machine"].keys()


def test_what_is_there_is_not_run_again(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(harness, "run_process", lambda job: ran.append(job) or "done")
    full = harness.blank(job(tmp_path)) | {"status": "done", "rows": [{}, {}]}
    harness.write(job(tmp_path).path, full)
    others = [
        job(tmp_path, repeats=3),
        job(tmp_path, draws=600),
        job(tmp_path, "nuts"),
    ]
    list(run_all([job(tmp_path), *others]))
    assert ran == others
    harness.write(job(tmp_path).path, full | {"status": "failed"})
    assert not job(tmp_path).settled()
    # It would only be stopped again.
    harness.write(job(tmp_path).path, full | {"status": "time limit", "rows": []})
    assert job(tmp_path).settled()


def test_a_tool_that_is_not_installed_is_skipped_and_said_so(tmp_path, monkeypatch):
    monkeypatch.setitem(PEERS, "emcee", Peer("no_such_package", PEERS["emcee"].prepare))
    ((_, line),) = run_all([job(tmp_path, "emcee")])
    assert line == "no_such_package is not installed"
    report = write_report(tmp_path).read_text()
    assert "emcee: skipped, no_such_package is not installed" in report
    assert not job(tmp_path, "emcee").settled()


@pytest.mark.parametrize(
    ("end", "status"), [("hang", "time limit"), ("broke", "failed")]
)
def test_what_was_done_before_the_end_is_kept(end, status, tmp_path, monkeypatch):
    """A process that writes one fit, then hangs or fails."""
    this = job(tmp_path, limit=3.0)
    partial = tmp_path / "partial.json"
    partial.write_text(json.dumps(harness.blank(this) | {"rows": [{"seed": 0}]}))
    rest = {"hang": "exec sleep 60", "broke": "echo the method broke >&2; exit 1"}
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\ncp "{partial}" "{this.path}"\n{rest[end]}\n')
    fake.chmod(0o755)
    monkeypatch.setattr(harness.sys, "executable", str(fake))
    ((_, line),) = run_all([this])
    assert line.startswith(status)
    found = harness.read(this.path)
    assert found is not None
    assert found["rows"] == [{"seed": 0}]
    assert found["status"] == status
    assert ("the method broke" in found["note"]) == (end == "broke")


NEAR = {
    "shift": 0.01,
    "least width": 0.99,
    "greatest width": 1.01,
    "KS": 0.01,
    "KS limit": 0.02,
    "Wasserstein": 0.01,
    "Wasserstein limit": 0.02,
    "classifier": 0.5,
    "classifier error": 0.01,
    "ln Z off": 0.05,
    "ln Z off [sigma]": 0.4,
}


def invented(tmp_path, method, first, warm, **changes):
    """A result with two fits, as a process would have written it."""
    near = NEAR | changes.pop("accuracy", {})
    row = {
        "rung": method,
        "verdict": "trusted",
        "effective": 4000.0,
        "seconds": warm,
        "cpu [s]": warm,
        "evaluations": 8000,
        "simulations": 0,
        "phases [s]": {"compile": 1.0},
        "accuracy": near,
        "ln Z": -10.0,
        "error of ln Z": 0.1,
    } | changes.pop("row", {})
    full = harness.blank(job(tmp_path, method)) | {
        "status": "done",
        "first answer [s]": first,
        "machine": {"device": "cpu", "load": 1.0},
        "problem": {"parameters": 2},
        "rows": [row, row],
    }
    harness.write(job(tmp_path, method).path, full | changes)


@pytest.mark.parametrize(
    ("first", "said", "faster"),
    [(100.0, "**SBI loses**", "0 of 1"), (5.0, "SBI wins", "1 of 1")],
)
def test_who_loses_is_said_from_the_numbers(first, said, faster, tmp_path):
    invented(tmp_path, REFERENCE, 10.0, 10.0)
    invented(tmp_path, "nuts", 20.0, 6.0)
    invented(tmp_path, "sbi", first, 4.0)
    training = {"prepared [s]": {"total": 41.0}}
    invented(tmp_path, "amortised", 60.0, 2.0, **training)
    path = write_report(tmp_path)
    report = path.read_text()
    assert said in report
    assert f"before the best HMC in {faster} cases" in report
    # 41 s of training, and 4 s less for each spectrum.
    assert "pays against `nuts` from 11 spectra on" in report
    for figure in tmp_path.glob("*.png"):
        assert figure.stat().st_size > 10_000
    assert (tmp_path / "tiny.png").exists()


def test_trusted_answers_that_are_wrong_are_named(tmp_path):
    invented(tmp_path, REFERENCE, 10.0, 10.0)
    invented(tmp_path, "nuts", 20.0, 6.0)
    invented(tmp_path, "sbi", 5.0, 4.0, accuracy={"shift": 0.7})
    report = write_report(tmp_path).read_text()
    assert "Not right, yet some fits say `trusted`: `sbi`" in report
    assert "**SBI loses**: no network gave only trusted, right answers" in report
    assert "First trusted answer: `nuts`" in report


def test_the_plain_likelihood_is_the_exact_one_for_any_number_of_points(case):
    target, other = case.target(), case.target()
    evaluate = counted(other)
    z = np.random.default_rng(0).standard_normal((37, 2))
    for number in (1, 5, 37):
        expected = target.log_likelihood(z[:number])
        np.testing.assert_allclose(evaluate(z[:number]), expected, rtol=1e-5, atol=1e-2)
    assert other.evaluations == 43


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_every_other_tool_that_is_here_agrees_with_quadrature(name, case):
    peer = PEERS[name]
    if not peer.installed:
        pytest.skip(f"{peer.package} is not installed")
    answer = peer.prepare(case, 1000).solve(0)
    evidence, mean, sd = grid_answer(case.target())
    posterior = answer.posterior
    found = posterior.weights @ posterior.z
    spread = np.sqrt(posterior.weights @ (posterior.z - found) ** 2)
    error = max(4 / math.sqrt(posterior.effective_draws), 0.05)
    assert posterior.effective_draws > 400
    assert np.all(np.abs(found - mean) / sd < error)
    assert np.all(np.abs(spread / sd - 1) < error)
    if not math.isnan(posterior.log_evidence):
        evidence += case.observations[0].perfect_log_likelihood
        off = posterior.log_evidence - evidence
        assert abs(off) < 4 * posterior.log_evidence_error
    assert answer.evaluations > 1000


def test_families_have_the_sizes_that_they_say():
    assert with_counts(1000).observations[0].binned_counts.sum() == pytest.approx(
        1000, abs=130
    )
    larger, several = find_case("scaling_parameters_8"), find_case("scaling_spectra_3")
    assert isinstance(larger, Case)
    assert larger.prior.dimension == 8
    assert isinstance(several, Several)
    assert len(several.cases) == 3
    assert (
        len({each.observations[0].binned_counts.sum() for each in several.cases}) == 3
    )
    with pytest.raises(ValueError, match="Unknown case 'scaling_moods_3'"):
        find_case("scaling_moods_3")


def test_many_answers_are_summed():
    answer = harness.Answer(normal(), "trusted", (), {}, 100, 10, "mixture")
    other = dataclasses.replace(answer, verdict="usable", evaluations=50)
    row = summed([answer, other])
    assert (row["evaluations"], row["simulations"]) == (150, 20)
    assert row["verdict"] == "50 % trusted"
