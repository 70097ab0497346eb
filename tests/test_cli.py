"""The shell as its users meet it: what is printed, written and refused."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import jsbi
from jsbi.cli import main
from jsbi.data import write_arf, write_response, write_spectrum
from tests.targets import make_observation

CONFIG = """
model = "tbabs*powerlaw"
seed = 3
draws = 1500

[[observation]]
name = "test"
spectrum = "test.pha"
energy = [0.6, 7.0]

[prior]
"tbabs.nH" = 0.1
"powerlaw.PhoIndex" = { uniform = [0.0, 4.0] }
"powerlaw.norm" = { loguniform = [1e-4, 1e-1] }

[truth]
"tbabs.nH" = 0.1
"powerlaw.PhoIndex" = 1.9
"powerlaw.norm" = 1.2e-2
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a spectrum, its responses and a configuration."""
    counts = np.random.default_rng(0).poisson(np.geomspace(60, 3, 60))
    observation = make_observation(counts)
    write_spectrum(tmp_path / "test.pha", observation, response="t.rmf", arf="t.arf")
    write_response(tmp_path / "t.rmf", observation.response)
    write_arf(tmp_path / "t.arf", observation.response)
    (tmp_path / "fit.toml").write_text(CONFIG)
    return tmp_path


def change(folder, old, new):
    path = folder / "fit.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(capsys, *arguments):
    """Run, insist on status 2 and one message without a traceback; return it."""
    assert main([str(argument) for argument in arguments]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("jsbi: error: ")
    assert "Traceback" not in output.err
    return output.err


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A spectrum simulated from the truth and fitted, all through the shell."""
    folder = tmp_path_factory.mktemp("fit")
    observation = make_observation(np.ones(60))
    write_spectrum(folder / "empty.pha", observation, response="t.rmf", arf="t.arf")
    write_response(folder / "t.rmf", observation.response)
    write_arf(folder / "t.arf", observation.response)
    (folder / "fit.toml").write_text(CONFIG)
    (folder / "fake.toml").write_text(CONFIG.replace("test.pha", "empty.pha"))
    arguments = [str(folder / "fake.toml"), "--out", str(folder / "test.pha")]
    assert main(["simulate", *arguments]) == 0
    status = main(["fit", str(folder / "fit.toml"), "--out", str(folder / "out")])
    return folder, status


def test_a_fit_recovers_the_truth_and_is_trusted(fitted):
    folder, status = fitted
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert status == 0
    assert summary["verdict"] == "trusted"
    assert list(summary["parameters"]) == ["powerlaw.PhoIndex", "powerlaw.norm"]
    for name, truth in (("powerlaw.PhoIndex", 1.9), ("powerlaw.norm", 1.2e-2)):
        row = summary["parameters"][name]
        assert abs(row["mean"] - truth) < 4 * row["sd"]
        assert row["q05"] < row["q16"] < row["median"] < row["q84"] < row["q95"]


def test_the_summary_holds_what_is_promised(fitted):
    summary = json.loads((fitted[0] / "out" / "summary.json").read_text())
    promised = (
        "parameters method rungs draws ess efficiency pareto_k log_evidence "
        "log_evidence_error cstat cstat_expected cstat_sd bins verdict reasons "
        "simulations likelihood_evaluations seconds seed versions device"
    )
    assert set(promised.split()) <= set(summary)
    assert summary["seed"] == 3
    assert {"total", "compile"} <= set(summary["seconds"])
    assert summary["versions"]["jsbi"] == jsbi.__version__
    assert summary["likelihood_evaluations"] > summary["draws"] >= 1500


def test_the_table_has_equal_weight_draws_under_full_names(fitted):
    path = fitted[0] / "out" / "posterior.csv"
    with path.open() as file:
        assert file.readline() == "powerlaw.PhoIndex,powerlaw.norm\n"
    draws = np.loadtxt(path, delimiter=",", skiprows=1)
    posterior = jsbi.Posterior.load(fitted[0] / "out" / "posterior.jsbi")
    assert draws.shape == (1500, 2)
    error = 4 * posterior.sd() / np.sqrt(500)
    assert np.all(np.abs(draws.mean(0) - posterior.mean()) < error)


def test_the_chain_is_one_that_xspec_loads(fitted):
    with fits.open(fitted[0] / "out" / "chain.fits") as file:
        chain = file["CHAIN"]
        # Numbers count all parameters of tbabs*powerlaw: nH is 1.
        assert chain.columns.names == ["PhoIndex__2", "norm__3", "FIT_STATISTIC"]
        assert len(chain.data) == 1500
        assert chain.header["HDUCLASS"] == "OGIP"
        assert np.all(chain.data["FIT_STATISTIC"] > 0)


def test_figures_are_written(fitted):
    for name in ("corner.png", "spectrum.png", "diagnostics.png"):
        assert (fitted[0] / "out" / name).read_bytes()[:4] == b"\x89PNG"


def test_no_temporary_files_stay(fitted):
    assert not list(fitted[0].rglob(".*"))


def test_the_same_seed_gives_the_same_numbers(fitted):
    folder, _ = fitted
    main(["fit", str(folder / "fit.toml"), "--out", str(folder / "again")])
    first, second = (
        (folder / out / "posterior.csv").read_text() for out in ("out", "again")
    )
    assert first == second


def test_info_tells_what_each_file_holds(fitted, capsys):
    folder, _ = fitted
    files = {
        "test.pha": "spectrum (PHA)",
        "t.rmf": "RMF",
        "fit.toml": "powerlaw.PhoIndex ~ Uniform",
        "out/posterior.jsbi": "verdict: trusted",
    }
    for name, expected in files.items():
        assert main(["info", str(folder / name)]) == 0
        assert expected in capsys.readouterr().out


def test_a_reader_that_has_seen_enough_is_no_error(monkeypatch, capfd):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as output:
        monkeypatch.setattr(sys, "stdout", output)
        assert main(["models"]) == 0
    assert capfd.readouterr().err == ""


def test_models_lists_components_with_units_and_defaults(capsys):
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    for component in jsbi.model.COMPONENTS:
        assert component.xspec_name in text
    assert "PhoIndex" in text
    assert "1e22 / cm^2" in text


def test_dry_run_checks_all_input_and_writes_nothing(folder, capsys):
    before = sorted(folder.iterdir())
    assert main(["fit", str(folder / "fit.toml"), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "abundances wilm, cross sections vern" in text
    assert "nothing was run" in text
    assert sorted(folder.iterdir()) == before


BROKEN = {
    "no such spectrum": ('"test.pha"', '"absent.pha"', "absent.pha"),
    "typo in a key": ("energy =", "enregy =", "Did you mean 'energy'?"),
    "typo in the model": (
        "tbabs*powerlaw",
        "tbabs*powrlaw",
        "Did you mean 'powerlaw'?",
    ),
    "parentheses": ("tbabs*powerlaw", "tbabs*(powerlaw", "unbalanced '('"),
    "two additive": ("tbabs*powerlaw", "bbody*powerlaw", "Did you mean '+'?"),
    "abundances": ("seed", 'abundances = "solar"\nseed', "solar"),
    "cross sections": ("seed", 'cross_sections = "obcm"\nseed', "Known: vern, bcmc"),
    "low above high": ("[0.0, 4.0]", "[4.0, 0.0]", "low < high"),
    "log-uniform at 0": ("[1e-4, 1e-1]", "[0.0, 1e-1]", "low > 0"),
    "missing prior": (
        '"tbabs.nH" = 0.1\n"powerlaw.P',
        '"powerlaw.P',
        "tbabs.nH has none",
    ),
    "unknown parameter": (
        '"tbabs.nH" = 0.1\n"powerlaw.P',
        '"tbabs.NH" = 0.1\n"powerlaw.P',
        "Did you mean 'tbabs.nH'?",
    ),  # noqa: E501
    "unknown prior": ("uniform = [0.0", "unifrm = [0.0", "Did you mean 'uniform'?"),
    "numbers of a prior": ("[0.0, 4.0]", "[0.0]", "needs [low, high]"),
    "nothing in the range": ("[0.6, 7.0]", "[20.0, 30.0]", "20"),
    "background mode": ("energy", 'background = "wstat"\nenergy', "not available yet"),
    "method": ("seed", 'method = "mcmc"\nseed', "Unknown method 'mcmc'"),
    "not TOML": ("seed = 3", "seed = = 3", "not valid TOML"),
    "draws": ("draws = 1500", "draws = 0", "`draws` must be positive"),
    "seed": ("seed = 3", "seed = -1", "The seed must be from 0"),
    "group": ("energy", "group = 20\nenergy", "`observation.group` must be"),
    "kind of a group": ("energy", 'group = { snr = "x" }\nenergy', "finite number"),
    "row": ("energy", 'row = "a"\nenergy', "`observation.row` must be an integer"),
    "no photons": ("tbabs*powerlaw", "tbabs", "at least one additive component"),
    "fixed outside limits": (
        '"tbabs.nH" = 0.1\n"powerlaw.P',
        '"tbabs.nH" = -0.1\n"powerlaw.P',
        "between 0 and",
    ),  # noqa: E501
    "prior outside limits": ("[0.0, 4.0]", "[-50.0, 4.0]", "got -50"),
    "truth outside limits": (
        '"powerlaw.norm" = 1.2e-2',
        '"powerlaw.norm" = -1.0',
        "got -1",
    ),  # noqa: E501
    "too small for float32": ("[1e-4, 1e-1]", "[1e-50, 1e-1]", "float32 can hold"),
    "tie to itself": (
        '"tbabs.nH" = 0.1\n"powerlaw.P',
        '"tbabs.nH" = "tbabs.nH"\n"powerlaw.P',
        "itself tied",
    ),  # noqa: E501
    "kind of a value": ("seed = 3", 'seed = "x"', "`seed` must be an integer"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_input_is_refused_with_its_reason(folder, capsys, case):
    old, new, reason = BROKEN[case]
    change(folder, old, new)
    message = refused(capsys, "fit", folder / "fit.toml", "--out", folder / "out")
    assert reason in message
    assert not (folder / "out").exists()


def edit(path, extension, editor):
    with fits.open(path, mode="update") as file:
        editor(file[extension])


def set_counts(value):
    def editor(table):
        table.data["COUNTS"][30] = value

    return editor


def test_negative_counts(folder, capsys):
    edit(folder / "test.pha", "SPECTRUM", set_counts(-2))
    message = refused(capsys, "fit", folder / "fit.toml", "--out", folder / "out")
    assert "negative" in message
    assert not (folder / "out").exists()


def test_not_a_fits_file(folder, capsys):
    (folder / "test.pha").write_text("hello")
    message = refused(capsys, "fit", folder / "fit.toml", "--out", folder / "out")
    assert "must be a FITS file" in message


def test_truncated_fits(folder, capsys):
    content = (folder / "t.rmf").read_bytes()
    (folder / "t.rmf").write_bytes(content[: len(content) // 2])
    assert "t.rmf" in refused(capsys, "fit", folder / "fit.toml", "--out", folder / "o")


def test_no_response(folder, capsys):
    edit(folder / "test.pha", 1, lambda t: t.header.set("RESPFILE", "none"))
    message = refused(capsys, "fit", folder / "fit.toml", "--out", folder / "out")
    assert "response" in message


def test_energies_that_do_not_match(folder, capsys):
    def shift(table):
        table.data["ENERG_LO"] *= 1.1
        table.data["ENERG_HI"] *= 1.1

    edit(folder / "t.arf", 1, shift)
    message = refused(capsys, "fit", folder / "fit.toml", "--out", folder / "out")
    assert "t.arf" in message


def test_infinite_area(folder, capsys):
    def spoil(table):
        table.data["SPECRESP"][5] = np.inf

    edit(folder / "t.arf", 1, spoil)
    message = refused(capsys, "fit", folder / "fit.toml", "--out", folder / "out")
    assert "finite" in message


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_no_area(folder, capsys, dry):
    def spoil(table):
        table.data["SPECRESP"] *= 0

    edit(folder / "t.arf", 1, spoil)
    out = folder / "out"
    message = refused(capsys, "fit", folder / "fit.toml", "--out", out, *dry)
    assert "Is the effective area zero?" in message
    assert not out.exists()


def test_an_output_folder_that_cannot_be(folder, capsys):
    (folder / "file").write_text("")
    message = refused(
        capsys, "fit", folder / "fit.toml", "--out", folder / "file" / "out"
    )
    assert "Cannot write into" in message


def test_no_such_config(tmp_path, capsys):
    assert "absent.toml" in refused(capsys, "fit", tmp_path / "absent.toml")


def test_simulating_needs_the_whole_truth(folder, capsys):
    change(folder, '"tbabs.nH" = 0.1\n"powerlaw.PhoIndex" = 1.9', "")
    message = refused(
        capsys, "simulate", folder / "fit.toml", "--out", folder / "f.pha"
    )
    assert "tbabs.nH, powerlaw.PhoIndex are missing" in message


def test_simulating_leaves_frozen_parameters_at_their_defaults(folder):
    change(folder, '"tbabs*powerlaw"', '"vashift*tbabs*powerlaw"')
    arguments = ["simulate", folder / "fit.toml", "--out", folder / "f.pha"]
    assert main([str(argument) for argument in arguments]) == 0


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("test.pha", "is among the input"),
        ("t.pha", "t.rmf is to be written, but is among the input"),
        ("other.rmf", "is to be written twice"),
        ("sub/../t.pha", "is among the input"),
        ("fit.toml", "is among the input"),
        (".", "is a folder"),
    ],
)
def test_simulating_replaces_no_input(folder, capsys, out, reason):
    (folder / "sub").mkdir()
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    message = refused(capsys, "simulate", folder / "fit.toml", "--out", folder / out)
    assert reason in message
    after = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert after == before


def test_simulating_replaces_no_response_of_the_configuration(folder, capsys):
    change(folder, "energy =", 'response = "x.rmf"\narf = "x.arf"\nenergy =')
    (folder / "t.rmf").rename(folder / "x.rmf")
    (folder / "t.arf").rename(folder / "x.arf")
    out = "--out", folder / "x.pha"
    assert "among the input" in refused(capsys, "simulate", folder / "fit.toml", *out)
    out = "--out", folder / "y.pha"
    assert main([str(each) for each in ("simulate", folder / "fit.toml", *out)]) == 0


def test_a_figure_that_fails_loses_no_table(fitted, monkeypatch):
    def fail(*_):
        raise RuntimeError("no figure")

    folder, _ = fitted
    monkeypatch.setattr("jsbi.output._figures", fail)
    out = folder / "without"
    with pytest.raises(RuntimeError, match="no figure"):
        main(["fit", str(folder / "fit.toml"), "--out", str(out)])
    names = sorted(file.name for file in out.iterdir())
    assert names == ["chain.fits", "posterior.csv", "posterior.jsbi", "summary.json"]


def test_files_of_the_output_folder_stay(fitted):
    """Checking that the folder can be written must not touch what is in it."""
    folder, _ = fitted
    (folder / "kept").mkdir()
    (folder / "kept" / "test").write_text("mine")
    main(["fit", str(folder / "fit.toml"), "--out", str(folder / "kept")])
    assert (folder / "kept" / "test").read_text() == "mine"


@pytest.mark.parametrize("arguments", [["--draws", "0"], ["--seed", "-1"]])
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_options_are_checked_before_anything_is_made(folder, capsys, arguments, dry):
    out = folder / "out"
    refused(capsys, "fit", folder / "fit.toml", "--out", out, *arguments, *dry)
    assert not out.exists()


def test_wrong_usage_is_status_2():
    with pytest.raises(SystemExit) as stop:
        main(["fit"])
    assert stop.value.code == 2


@pytest.mark.parametrize("name", ["posterior.csv", "summary.json", "posterior.jsbi"])
def test_an_interrupted_run_leaves_whole_files_only(fitted, monkeypatch, name):
    """Fail while one file is being written: earlier content stays."""
    folder, _ = fitted
    posterior = jsbi.Posterior.load(folder / "out" / "posterior.jsbi")
    before = {path: path.read_bytes() for path in (folder / "out").iterdir()}
    import jsbi.store as store

    replace = store.os.replace

    def fail(source, destination):
        if Path(destination).name == name:
            raise KeyboardInterrupt
        replace(source, destination)

    monkeypatch.setattr(store.os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        posterior.save(folder / "out" / name)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in (folder / "out").iterdir()} == before
