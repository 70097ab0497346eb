"""The harness of the benchmarks: what is kept, skipped, stopped, and what is said."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from benchmarks import harness
from benchmarks.__main__ import parser
from benchmarks.accuracy import accuracy, is_right
from benchmarks.case import Case
from benchmarks.harness import REFERENCE, Answer, Job, Prepared, run_all, run_one
from benchmarks.npe import weigh_cube
from benchmarks.peers import PEERS, Peer
from benchmarks.plain import answer, counted
from benchmarks.report import write_report
from benchmarks.scaling import Several, find_case, summed, with_counts
from jsbi.api import simulate
from jsbi.correct.draws import weigh
from jsbi.posterior import Posterior
from jsbi.simulate import log_prior
from tests.targets import grid_answer, make_observation, power_law

pytestmark = pytest.mark.usefixtures("reused_keys")


@pytest.fixture(scope="module")
def case():
    """An absorbed power law of two parameters and some thousand counts."""
    model, prior = power_law()
    truth = {"tbabs.nH": 0.1, "powerlaw.PhoIndex": 1.9, "powerlaw.norm": 3e-3}
    seen = simulate(jax.random.key(0), make_observation(), model, truth)
    return Case("tiny", (seen,), model, prior, truth)


@pytest.fixture
def no_classifier(monkeypatch):
    """Spare the training of the classifier, which takes most of the time."""
    monkeypatch.setattr("benchmarks.accuracy.LEAST_SPLIT", math.inf)


@pytest.fixture
def no_figures(monkeypatch):
    """Empty figures, where only the words matter."""
    for name in ("draw_case", "draw_scaling"):
        monkeypatch.setattr(f"benchmarks.report.{name}", lambda given: Figure())


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


@pytest.mark.slow
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
@pytest.mark.usefixtures("no_classifier")
def test_a_fit_is_right_if_means_and_widths_are(shift, width, right):
    row = {"effective": 4000.0, "accuracy": accuracy(normal(shift, width), normal())}
    assert is_right(row, 4000.0) is right
    # A few effective draws could be as far off by chance, and fewer tell nothing.
    assert is_right(row | {"effective": 100.0}, 4000.0) is True
    assert is_right(row | {"effective": 30.0}, 4000.0) is None
    assert is_right(row | {"accuracy": None}, 4000.0) is None
    assert is_right(row | {"accuracy": NEAR | {"shift": None}}, 4000.0) is False


@pytest.mark.slow
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
        assert 0 <= row["compile [s]"] < row["seconds"]
        assert row["effective"] >= 500
        assert 0 < row["evaluations"] < 100_000
        assert row["ln Z"] == pytest.approx(evidence + perfect, abs=0.1)
        assert row["accuracy"]["shift"] < 0.2


@pytest.mark.usefixtures("no_classifier")
def test_compilation_is_measured_for_everyone_and_rows_are_written_at_once(
    case, tmp_path, monkeypatch
):
    there = []

    def solve(seed):
        # Compiled anew, as by tools that make a new function for every fit.
        jax.jit(lambda x: x + seed)(jnp.zeros(3))
        return Answer(normal(), "trusted", (), {}, 100)

    def watched(*given):
        there.append(json.loads(job(tmp_path).path.read_text())["rows"])
        return accuracy(*given)

    monkeypatch.setattr(harness, "find_case", lambda name: case)
    monkeypatch.setattr(harness, "_prepare", lambda *given: Prepared(solve))
    monkeypatch.setattr(harness, "reference", lambda case, draws: solve(99))
    monkeypatch.setattr(harness, "accuracy", watched)
    run_one(job(tmp_path), started=0.0)
    assert not there
    run_one(job(tmp_path, REFERENCE, repeats=1), started=0.0)
    run_one(job(tmp_path), started=0.0)
    assert [row["accuracy"] is None for row in there[0]] == [True]
    assert [row["accuracy"] is None for row in there[1]] == [False, True]
    found = json.loads(job(tmp_path).path.read_text())
    assert [row["seed"] for row in found["rows"]] == [0, 1]
    for row in found["rows"]:
        assert 0 < row["compile [s]"] <= row["seconds"]
        assert row["accuracy"]["shift"] == 0
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
    assert not job(tmp_path, limit=61.0).settled()


def test_a_reference_that_comes_later_or_is_another_makes_all_run_again(tmp_path):
    invented(tmp_path, "nuts", 20.0, 6.0)
    nuts = job(tmp_path, "nuts")
    assert nuts.settled()
    invented(tmp_path, REFERENCE, 10.0, 10.0)
    assert not nuts.settled()
    invented(tmp_path, "nuts", 20.0, 6.0)
    assert nuts.settled()
    invented(tmp_path, REFERENCE, 10.0, 10.0, row={"effective": 8000.0})
    assert not nuts.settled()
    assert job(tmp_path, REFERENCE).settled()
    job(tmp_path, REFERENCE).path.unlink()
    assert nuts.settled()


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
    this = job(tmp_path, limit=2.0)
    partial = tmp_path / "partial.json"
    partial.write_text(json.dumps(harness.blank(this) | {"rows": [{"seed": 0}]}))
    rest = {"hang": "exec sleep 60", "broke": "echo the method broke >&2; exit 1"}
    fake = tmp_path / "python"
    said = tmp_path / "arguments"
    copy = f'echo "$@" > "{said}"; cp "{partial}" "{this.path}"'
    fake.write_text(f"#!/bin/sh\n{copy}\n{rest[end]}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(harness.sys, "executable", str(fake))
    ((_, line),) = run_all([this])
    assert line.startswith(status)
    found = harness.read(this.path)
    assert found is not None
    assert found["rows"] == [{"seed": 0}]
    assert found["status"] == status
    assert ("the method broke" in found["note"]) == (end == "broke")
    given = parser().parse_args(said.read_text().split()[2:])
    assert (given.limit, given.draws, given.repeats) == (2.0, 500, 2)


def test_an_earlier_result_stays_until_there_is_a_new_one(tmp_path, monkeypatch):
    invented(tmp_path, "nuts", 20.0, 6.0)
    this = job(tmp_path, "nuts", draws=600)
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\ncp "{this.path}" "{tmp_path}/seen"\nexit 3\n')
    fake.chmod(0o755)
    monkeypatch.setattr(harness.sys, "executable", str(fake))
    list(run_all([this]))
    assert len(json.loads((tmp_path / "seen").read_text())["rows"]) == 2
    found = harness.read(this.path)
    assert found is not None
    assert (found["draws"], found["rows"]) == (600, [])
    assert (found["status"], found["note"]) == ("failed", "exit status 3")


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
        "rung": {"sbi": "network"}.get(method, method),
        "verdict": "trusted",
        "effective": 4000.0,
        "seconds": warm + 1.0,
        "compile [s]": 1.0,
        "evaluations": 8000,
        "simulations": 0,
        "phases [s]": {},
        "accuracy": near,
        "ln Z": -10.0,
        "error of ln Z": 0.1,
    } | changes.pop("row", {})
    name = changes.pop("case", "tiny")
    this = dataclasses.replace(job(tmp_path, method), case=name)
    full = harness.blank(this) | {
        "status": "done",
        "note": "",
        "first answer [s]": first,
        "machine": {"device": "cpu", "load": 1.0},
        "problem": {"parameters": 2},
        "rows": [row, row],
    }
    harness.write(this.path, full | changes)


@pytest.mark.parametrize(
    ("first", "said", "faster"),
    [(100.0, "**SBI loses**", "0 of the 1"), (5.0, "SBI wins", "1 of the 1")],
)
def test_who_loses_is_said_from_the_numbers(first, said, faster, tmp_path):
    invented(tmp_path, REFERENCE, 10.0, 10.0)
    invented(tmp_path, "nuts", 20.0, 6.0)
    invented(tmp_path, "sbi", first, 4.0)
    training = {"prepared [s]": {"total": 45.0, "compile": 4.0}}
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


def test_cases_without_distances_have_words_and_no_figure(tmp_path):
    invented(tmp_path, "nuts", 20.0, 6.0, row={"accuracy": None})
    assert "There is no reference" in write_report(tmp_path).read_text()
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.usefixtures("no_figures")
def test_trusted_answers_that_are_wrong_are_named(tmp_path):
    invented(tmp_path, REFERENCE, 10.0, 10.0)
    invented(tmp_path, "nuts", 20.0, 6.0)
    invented(tmp_path, "sbi", 5.0, 4.0, accuracy={"shift": 0.7})
    doubted = {"verdict": "usable"}
    invented(tmp_path, "smc", 5.0, 4.0, accuracy={"shift": 0.7}, row=doubted)
    training = {"prepared [s]": {"total": 41.0}}
    off = {"greatest width": 2.0}
    invented(tmp_path, "amortised", 60.0, 2.0, accuracy=off, **training)
    report = write_report(tmp_path).read_text()
    assert "yet trusted: `sbi` (2 of 2), `amortised` (2 of 2).\n" in report
    assert "**SBI loses**: no network gave a sound answer" in report
    assert "First sound answer: `nuts`" in report
    assert "pays" not in report


@pytest.mark.usefixtures("no_figures")
def test_the_verdict_and_the_error_of_the_same_fit_go_together(tmp_path):
    """One fit is trusted and right, the other neither: nobody was fooled."""
    invented(tmp_path, REFERENCE, 10.0, 10.0)
    invented(tmp_path, "sbi", 5.0, 4.0)
    path = job(tmp_path, "sbi").path
    found = json.loads(path.read_text())
    wrong = {"verdict": "usable", "accuracy": NEAR | {"shift": 0.7}}
    found["rows"][1] |= wrong
    harness.write(path, found)
    report = write_report(tmp_path).read_text()
    assert "No sound answer: `sbi` (not right)" in report
    assert "yet trusted" not in report


@pytest.mark.usefixtures("no_figures")
def test_what_made_the_draws_counts_not_what_was_asked_for(tmp_path):
    invented(tmp_path, REFERENCE, 10.0, 10.0)
    invented(tmp_path, "nuts", 20.0, 6.0)
    invented(tmp_path, "sbi", 5.0, 4.0, row={"rung": "nuts", "simulations": 1000})
    report = write_report(tmp_path).read_text()
    assert "**SBI loses**: no network gave a sound answer" in report
    assert "in which both were sound" not in report


@pytest.mark.usefixtures("no_figures")
def test_a_doubted_reference_judges_nobody(tmp_path):
    invented(tmp_path, REFERENCE, 10.0, 10.0, row={"verdict": "not trusted"})
    invented(tmp_path, "nuts", 20.0, 6.0, accuracy={"shift": 0.7})
    report = write_report(tmp_path).read_text()
    assert "It judges nobody" in report
    assert "`nuts` after 20 s; it is not known to be wrong" in report
    assert "yet trusted" not in report


def test_answers_without_numbers_and_without_reasons_are_reported(tmp_path):
    invented(tmp_path, REFERENCE, 10.0, 10.0)
    nothing = {"shift": None, "least width": None, "greatest width": None}
    nothing |= {"KS limit": None, "KS": None}
    row = {"effective": None, "verdict": "not trusted"}
    invented(tmp_path, "nuts", 20.0, 6.0, accuracy=nothing, row=row)
    invented(tmp_path, "smc", 20.0, 6.0, accuracy=nothing)
    invented(tmp_path, "sbi", 20.0, 6.0, status="failed", note="\n", rows=[])
    report = write_report(tmp_path).read_text()
    said = "No sound answer: `sbi` (failed), `smc` (not right), `nuts` (0 of 2 trusted)"
    assert said in report
    assert "\n- sbi: failed\n" in report


def test_growth_counts_the_training_and_names_the_sizes_without_answer(tmp_path):
    def grown(size, seconds, **changes):
        name = f"scaling_spectra_{size}"
        invented(tmp_path, "amortised", 9.0, seconds, case=name, **changes)

    grown(1, 2.0, **{"prepared [s]": {"total": 10.0, "compile": 4.0}})
    grown(10, 5.0, **{"prepared [s]": {"total": 11.0, "compile": 4.0}})
    grown(100, 9.0, status="time limit", rows=[])
    report = write_report(tmp_path).read_text()
    assert (
        "- spectra, `amortised`: from 1 to 10, 8 to 12 s, 8,000 to 8,000 evaluations "
        "and simulations; no sound answer at 100 (time limit)." in report
    )


def test_other_tools_are_judged_by_the_predictive_checks_too(case):
    """Draws of a power law that is far too steep."""
    target = case.target()
    z = 0.5 + 0.01 * np.random.default_rng(2).standard_normal((600, 2))
    posterior = dataclasses.replace(
        normal(draws=600),
        names=case.prior.names,
        z=z,
        values=target.physical(z),
        log_likelihood=target.log_likelihood(z),
    )
    found = answer(case, target, posterior, 500)
    assert found.verdict == "not trusted"
    assert any("Bands of energies" in reason for reason in found.reasons)


def test_draws_in_the_cube_have_the_weights_of_draws_in_z(case):
    target = case.target()
    generator = np.random.default_rng(3)
    cube = generator.uniform(-0.1, 1.1, (200, 2))
    log_density = generator.standard_normal(200)
    found = weigh_cube(target, cube, log_density)
    inside = ((cube > 0) & (cube < 1)).all(1)
    assert 100 < inside.sum() < 200
    # The density in z is that in the cube, times that of the prior.
    log_proposal = log_density + log_prior(found.z)
    same = weigh(found.z, found.log_likelihood, log_proposal)
    np.testing.assert_allclose(found.log_ratio[inside], same.log_ratio[inside])
    assert np.all(found.log_ratio[~inside] == -np.inf)


def test_the_plain_likelihood_is_the_exact_one_for_any_number_of_points(case):
    target, other = case.target(), case.target()
    evaluate = counted(other)
    z = np.random.default_rng(0).standard_normal((5, 2))
    for number in (3, 5):
        expected = target.log_likelihood(z[:number])
        np.testing.assert_allclose(evaluate(z[:number]), expected, rtol=1e-5, atol=1e-2)
    assert other.evaluations == 8


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # what other tools warn of is theirs
@pytest.mark.parametrize("name", PEERS)
def test_every_other_tool_that_is_here_agrees_with_quadrature(name, case):
    peer = PEERS[name]
    if not peer.installed:
        pytest.skip(f"{peer.package} is not installed")
    found = peer.prepare(case, 1000).solve(0)
    evidence, mean, sd = grid_answer(case.target())
    posterior = found.posterior
    centre = posterior.weights @ posterior.z
    spread = np.sqrt(posterior.weights @ (posterior.z - centre) ** 2)
    error = max(4 / math.sqrt(posterior.effective_draws), 0.05)
    assert posterior.effective_draws > 400
    assert np.all(np.abs(centre - mean) / sd < error)
    assert np.all(np.abs(spread / sd - 1) < error)
    if not math.isnan(posterior.log_evidence):
        evidence += case.observations[0].perfect_log_likelihood
        off = posterior.log_evidence - evidence
        assert abs(off) < 4 * posterior.log_evidence_error
    assert found.evaluations > 1000


@pytest.mark.slow
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
    one = Answer(normal(), "trusted", (), {}, 100, 10, "mixture")
    other = dataclasses.replace(one, verdict="usable", evaluations=50)
    row = summed([one, other])
    assert (row["evaluations"], row["simulations"]) == (150, 20)
    assert row["verdict"] == "50 % trusted"
