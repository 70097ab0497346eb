"""Training a network and applying it to spectra, all through the shell."""

import contextlib
import csv
import dataclasses
import io
import shutil

import jax
import numpy as np
import pytest
from astropy.io import fits

import jsbi
from jsbi.api import make_target
from jsbi.cli import main
from jsbi.config import read_config
from jsbi.data import write_arf, write_response, write_spectrum
from jsbi.estimate import untrained
from tests.targets import grid_answer, make_observation, power_law

pytestmark = [
    pytest.mark.slow,
    pytest.mark.network,
    pytest.mark.usefixtures("reused_keys"),
]
MODEL, PRIOR = power_law()
CONFIG = """
model = "tbabs*powerlaw"

[[observation]]
spectrum = "first.pha"
energy = [0.6, 7.0]
group = { constant = 2 }

[prior]
"tbabs.nH" = 0.1
"powerlaw.PhoIndex" = { uniform = [0.0, 4.0] }
"powerlaw.norm" = { loguniform = [1e-4, 1e-1] }

[amortize]
exposure = [1000, 4e3]
simulations = 1024
steps = 100
"""
SPECTRA = {
    "first": (2000.0, {"powerlaw.PhoIndex": 1.8, "powerlaw.norm": 5e-3}),
    "second": (1000.0, {"powerlaw.PhoIndex": 2.5, "powerlaw.norm": 2e-2}),
    "third": (3500.0, {"powerlaw.PhoIndex": 1.2, "powerlaw.norm": 1e-3}),
}


def write_spectra(folder):
    """Three spectra of different exposure, with their responses."""
    for seed, (name, (exposure, truth)) in enumerate(SPECTRA.items()):
        empty = make_observation(exposure=exposure)
        parameters = {"tbabs.nH": 0.1} | truth
        fake = jsbi.simulate(jax.random.key(seed), empty, MODEL, parameters)
        write_spectrum(folder / f"{name}.pha", fake, response="t.rmf", arf="t.arf")
    response = make_observation().response
    write_response(folder / "t.rmf", response)
    write_arf(folder / "t.arf", response)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def leave_untrained(key, *problem, compressor, members, simulations, **_):
    """In place of the training: weights make up for what the networks do not know."""
    estimator = untrained(key, *problem, compressor=compressor, members=members)
    record = {"compressor": compressor, "members": members, "simulations": simulations}
    return estimator, record


@pytest.fixture(scope="module")
def trained(tmp_path_factory, reused_keys):
    """A folder with spectra, a configuration, and a network for them."""
    folder = tmp_path_factory.mktemp("train")
    write_spectra(folder)
    (folder / "fit.toml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jsbi.training.train_amortized", leave_untrained)
        assert run("train", folder / "fit.toml", "--out", folder / "net.jsbi") == 0
    return folder


@pytest.fixture(scope="module")
def spectra(trained):
    """All three spectra, and one of them again in another folder."""
    (trained / "copy").mkdir()
    for name in ("first.pha", "t.rmf", "t.arf"):
        shutil.copy(trained / name, trained / "copy" / name)
    files = [trained / f"{name}.pha" for name in SPECTRA]
    return [*files, trained / "copy" / "first.pha"]


@pytest.fixture(scope="module")
def applied(trained, spectra):
    """Status, printed lines and table of `apply`."""
    arguments = "apply", trained / "net.jsbi", *spectra, "--draws", 4000
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        status = run(*arguments, "--out", trained / "out")
    with (trained / "out" / "posteriors.csv").open(newline="") as file:
        return status, printed.getvalue().splitlines(), list(csv.DictReader(file))


def refused(capsys, *arguments):
    """Run, insist on status 2 and one message without a traceback; return it."""
    capsys.readouterr()
    assert run(*arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("jsbi: error: ")
    assert "Traceback" not in message
    return message


def check_against_quadrature(folder, rows):
    for row in rows:
        config = read_config(folder / "fit.toml")
        (observation,) = config.read_observations(spectrum=row["file"])
        log_z, mean, sd = grid_answer(make_target((observation,), MODEL, PRIOR))
        log_z += observation.perfect_log_likelihood
        posterior = jsbi.Posterior.load(folder / "out" / row["posterior"])
        found = posterior.weights @ posterior.z
        spread = np.sqrt(posterior.weights @ (posterior.z - found) ** 2)
        error = 5 / np.sqrt(posterior.effective_draws)
        assert posterior.effective_draws >= 400
        assert np.all(np.abs(found - mean) / sd < error)
        assert np.all(np.abs(spread / sd - 1) < error)
        assert abs(posterior.log_evidence - log_z) < 5 * posterior.log_evidence_error


def test_each_spectrum_gets_its_exact_posterior(trained, applied):
    check_against_quadrature(trained, applied[2][:3])


def test_a_trained_network_needs_no_other_method(tmp_path):
    write_spectra(tmp_path)
    (tmp_path / "fit.toml").write_text(CONFIG)
    network, out = tmp_path / "net.jsbi", tmp_path / "out"
    assert run("train", tmp_path / "fit.toml", "--out", network) == 0
    spectra = [tmp_path / f"{name}.pha" for name in SPECTRA]
    assert run("apply", network, *spectra, "--out", out) == 0
    with (out / "posteriors.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {"amortised"}
    check_against_quadrature(tmp_path, rows)


def test_the_table_agrees_with_the_saved_posteriors(trained, spectra, applied):
    status, _, rows = applied
    assert [row["file"] for row in rows] == [str(spectrum) for spectrum in spectra]
    assert status == (3 if "not trusted" in {row["verdict"] for row in rows} else 0)
    for row in rows:
        posterior = jsbi.Posterior.load(trained / "out" / row["posterior"])
        report = posterior.report
        assert report is not None
        texts = row["verdict"], row["method"], row["reasons"]
        assert texts == (report.verdict, posterior.method, "; ".join(report.reasons))
        assert report.seed == 0
        assert report.seconds["total"] > 0
        expected = {
            "ess": posterior.effective_draws,
            "efficiency": posterior.efficiency,
            "pareto_k": posterior.pareto_k,
            "log_evidence": posterior.log_evidence,
            "log_evidence_error": posterior.log_evidence_error,
            "exposure": jsbi.read_observation(row["file"]).exposure,
            "bins": report.bins,
            "cstat": report.cstat,
            "cstat_expected": report.cstat_expected,
            "cstat_sd": report.cstat_sd,
        }
        for name, statistics in posterior.summary().items():
            expected |= {f"{name}_{key}": value for key, value in statistics.items()}
        others = {"file", "verdict", "method", "posterior", "reasons"}
        assert set(row) == {*expected, *others}
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(value, rel=1e-8)


def test_files_of_equal_name_are_kept_apart(applied):
    names = [row["posterior"] for row in applied[2]]
    assert names == ["first.jsbi", "second.jsbi", "third.jsbi", "first-2.jsbi"]


def test_no_temporary_files_stay(trained, applied):
    assert not list(trained.rglob(".*"))


def test_a_line_for_each_spectrum_is_printed(spectra, applied):
    _, printed, rows = applied
    assert len(printed) == 5
    for spectrum, line, row in zip(spectra, printed, rows, strict=False):
        assert line.startswith(f"{spectrum}: powerlaw.PhoIndex ")
        assert line.endswith(f"by {row['method']}: {row['verdict']}")
    assert "posteriors.csv" in printed[-1]


def test_a_verdict_of_not_trusted_is_status_3(trained, spectra, monkeypatch):
    each = jsbi.AmortizedPosterior.each

    def doubtful(*arguments, **options):
        for posterior in each(*arguments, **options):
            assert posterior.report is not None
            report = dataclasses.replace(posterior.report, verdict="not trusted")
            yield dataclasses.replace(posterior, report=report)

    monkeypatch.setattr(jsbi.AmortizedPosterior, "each", doubtful)
    arguments = "apply", trained / "net.jsbi", *spectra, "--draws", 4000
    assert run(*arguments, "--out", trained / "doubtful") == 3
    assert len(list((trained / "doubtful").iterdir())) == 5


def test_info_tells_what_a_network_holds(trained, capsys):
    assert run("info", trained / "net.jsbi") == 0
    text = capsys.readouterr().out
    for expected in (
        "network for tbabs*powerlaw, abundances wilm",
        "1000 to 4000 s",
        "powerlaw.PhoIndex ~ uniform [0, 4]",
        "tbabs.nH = 0.1",
    ):
        assert expected in text


def test_posteriors_are_saved_as_they_come_and_the_table_last(
    trained, spectra, monkeypatch
):
    each, out = jsbi.AmortizedPosterior.each, trained / "halfway"

    def interrupted(*arguments, **options):
        for row, posterior in enumerate(each(*arguments, **options)):
            assert len(list(out.glob("*.jsbi"))) == row
            if row == 2:
                raise KeyboardInterrupt
            yield posterior

    monkeypatch.setattr(jsbi.AmortizedPosterior, "each", interrupted)
    arguments = "apply", trained / "net.jsbi", *spectra, "--draws", 4000
    assert run(*arguments, "--out", out) == 130
    assert sorted(file.name for file in out.iterdir()) == ["first.jsbi", "second.jsbi"]


def test_responses_in_place_of_those_of_the_header(trained, tmp_path, capsys):
    shutil.copy(trained / "first.pha", tmp_path / "alone.pha")
    arguments = "apply", trained / "net.jsbi", tmp_path / "alone.pha"
    arguments += ("--out", tmp_path / "out", "--draws", 4000)
    assert "t.rmf" in refused(capsys, *arguments)
    given = "--response", trained / "t.rmf", "--arf", trained / "t.arf"
    assert run(*arguments, *given) in (0, 3)
    assert (tmp_path / "out" / "alone.jsbi").exists()


def test_posteriors_do_not_replace_what_they_are_made_from(trained, capsys):
    network = trained / "first.jsbi"
    shutil.copy(trained / "net.jsbi", network)
    before = network.read_bytes()
    arguments = "apply", network, trained / "first.pha", "--out", trained
    assert "is among the input" in refused(capsys, *arguments)
    assert network.read_bytes() == before
    network.unlink()
    out = "--out", trained / "first.pha"
    assert "among the input" in refused(capsys, "train", trained / "fit.toml", *out)


def spoil_counts(table):
    table.data["COUNTS"][30] = -2


def spoil_rate(table):
    table.columns.change_name("COUNTS", "RATE")
    table.header["EXPOSURE"] = 1000.5


def spoil_quality(table):
    table.data["QUALITY"][30] = 5


def spoil_exposure(table):
    table.header["EXPOSURE"] = 5000.0


def spoil_area(table):
    table.data["SPECRESP"] *= 1.1


def spoil_energies(table):
    table.data["ENERG_LO"] *= 1.1
    table.data["ENERG_HI"] *= 1.1


def subtract(table):
    table.header["HDUCLAS2"] = "NET"


SPOILED = {
    "counts": (["bad.pha"], spoil_counts, "negative"),
    "rate": (["bad.pha"], spoil_rate, "must be whole numbers"),
    "quality": (["bad.pha"], spoil_quality, "marked bad by QUALITY"),
    "exposure": (["bad.pha"], spoil_exposure, "1000 to 4000 s; it has 5000 s"),
    "area": (["t.arf"], spoil_area, "Another ARF?"),
    "energies": (["t.arf", "t.rmf"], spoil_energies, "the response"),
    "net": (["bad.pha"], subtract, "background has been subtracted"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_one_bad_spectrum_stops_all_before_anything_is_written(
    trained, tmp_path, capsys, case
):
    files, spoil, reason = SPOILED[case]
    shutil.copy(trained / "second.pha", tmp_path / "bad.pha")
    for name in ("t.rmf", "t.arf"):
        shutil.copy(trained / name, tmp_path / name)
    for name in files:
        with fits.open(tmp_path / name, mode="update") as file:
            spoil(file[1])
    spectra = trained / "first.pha", tmp_path / "bad.pha"
    out = tmp_path / "out"
    message = refused(capsys, "apply", trained / "net.jsbi", *spectra, "--out", out)
    assert str(tmp_path / "bad.pha") in message
    assert reason in message
    assert not out.exists()


def test_what_cannot_be_applied(trained, tmp_path, capsys):
    network, spectrum = trained / "net.jsbi", trained / "first.pha"
    out = ["--out", tmp_path / "out"]
    cases = {
        "absent.pha": ["apply", network, spectrum, "absent.pha", *out],
        "absent.jsbi": ["apply", "absent.jsbi", spectrum, *out],
        "fit.toml": ["apply", trained / "fit.toml", spectrum, *out],
        "`draws` must be positive": ["apply", network, spectrum, "--draws", 0, *out],
        "The seed must be": ["apply", network, spectrum, "--seed", -1, *out],
        "Cannot write into": ["apply", network, spectrum, "--out", spectrum / "out"],
    }
    for reason, arguments in cases.items():
        assert reason in refused(capsys, *arguments)
    assert not (tmp_path / "out").exists()


BROKEN = {
    "typo": ("exposure", "exposre", "Did you mean 'exposure'?"),
    "not a range": ("[1000, 4e3]", "1000", "must be [low, high] in s"),
    "range": ("[1000, 4e3]", "[4e3, 1000]", "low before high"),
    "counts": ("steps", "counts = [10, 5]\nsteps", "expected counts must lie"),
    "zero": ("steps = 100", "steps = 0", "`steps` must be positive"),
    "kind": ("steps = 100", "steps = 1.5", "`amortize.steps` must be an integer"),
    "members": ("steps", "members = 0\nsteps", "`members` must be positive"),
    "compressor": (
        "steps",
        'compressor = "netwrk"\nsteps',
        "Did you mean 'network'?",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_choices_are_refused_with_their_reason(tmp_path, capsys, case):
    old, new, reason = BROKEN[case]
    write_spectra(tmp_path)
    (tmp_path / "fit.toml").write_text(CONFIG.replace(old, new))
    out = tmp_path / "net.jsbi"
    message = refused(capsys, "train", tmp_path / "fit.toml", "--out", out)
    assert reason in message
    assert not out.exists()


def test_where_a_network_cannot_be_written(tmp_path, capsys, monkeypatch):
    """Refused before the training, which would fail here."""
    monkeypatch.delattr("jsbi.cli.amortize")
    write_spectra(tmp_path)
    config = tmp_path / "fit.toml"
    config.write_text(CONFIG)
    assert "is a folder" in refused(capsys, "train", config, "--out", tmp_path)
    below = config / "net.jsbi"
    assert "Cannot write into" in refused(capsys, "train", config, "--out", below)


def test_an_interrupted_training_writes_nothing(tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("jsbi.cli.amortize", interrupted)
    write_spectra(tmp_path)
    (tmp_path / "fit.toml").write_text(CONFIG)
    before = sorted(tmp_path.iterdir())
    out = tmp_path / "net.jsbi"
    assert run("train", tmp_path / "fit.toml", "--out", out) == 130
    assert sorted(tmp_path.iterdir()) == before
