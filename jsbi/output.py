"""The files of a fit: tables, figures and what other programs read."""

import csv
import dataclasses
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from astropy.io import fits

from jsbi.check import Check
from jsbi.data import Observation
from jsbi.posterior import Posterior, Report
from jsbi.simulate import Prior
from jsbi.store import atomic_path

# Of the table of many spectra; columns of the parameters follow.
_COLUMNS = (
    "verdict",
    "method",
    "ess",
    "efficiency",
    "pareto_k",
    "log_evidence",
    "log_evidence_error",
    "cstat",
    "cstat_expected",
    "cstat_sd",
    "bins",
)


def check_folder(path: str | os.PathLike) -> Path:
    """Check, before long work, that a folder can be written or made; leave no trace.

    Raises:
        OSError: If it cannot.
    """
    folder = Path(path)
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return folder
    except OSError as error:
        raise OSError(
            f"Cannot write into {folder}: {error.strerror}. Choose another folder with "
            "--out."
        ) from None


def check_file(path: str | os.PathLike) -> Path:
    """Check, before long work, that a file can be written; leave no trace.

    Raises:
        OSError: If it cannot.
    """
    file = Path(path)
    if file.is_dir():
        raise OSError(f"Cannot write {file}: it is a folder. Give --out a file.")
    check_folder(file.parent)
    return file


def check_overwriting(
    files: Iterable[str | os.PathLike], inputs: Iterable[str | os.PathLike]
) -> None:
    """Check, before long work, that no file to write is one of the inputs.

    Args:
        files: What is to be written; all different.
        inputs: What has been read; `x` and `x.gz` are taken for one, because either is
            read in place of the other.

    Raises:
        ValueError: If one is, or two files to write are the same.
    """
    kept = {_real(each) for each in inputs}
    seen = set()
    for file in files:
        real = _real(file)
        if real in kept:
            raise ValueError(
                f"{file} is to be written, but is among the input; it would be lost. "
                "Give another name with --out."
            )
        if real in seen:
            raise ValueError(
                f"{file} is to be written twice, with different content. Give another "
                "name with --out."
            )
        seen.add(real)


def _real(path: str | os.PathLike) -> str:
    return os.path.realpath(path).removesuffix(".gz")


def summarise(posterior: Posterior) -> dict[str, Any]:
    """Everything about a judged posterior but its draws, as JSON can hold it."""
    report = _report(posterior)
    return _finite(
        {
            "parameters": posterior.summary(),
            "method": posterior.method,
            "draws": posterior.draws,
            "ess": posterior.effective_draws,
            "efficiency": posterior.efficiency,
            "pareto_k": posterior.pareto_k,
            "r_hat": posterior.r_hat,
            "log_evidence": posterior.log_evidence,
            "log_evidence_error": posterior.log_evidence_error,
        }
        | dataclasses.asdict(report)
    )


def _report(posterior: Posterior) -> Report:
    if posterior.report is None:
        raise ValueError(
            "This posterior has no report; only those of `infer` have one."
        )
    return posterior.report


def _finite(value: Any) -> Any:
    """Replace what JSON has no number for by null."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_results(
    folder: Path,
    posterior: Posterior,
    observation: Observation,
    model: Callable[..., Any],
    prior: Prior,
    *,
    rows: int,
    seed: int,
    reference: Posterior | None = None,
    truth: dict[str, float] | None = None,
) -> list[Path]:
    """Write the files of a fit, each whole or not at all.

    Args:
        folder: Made if it does not exist.
        posterior: A judged posterior.
        observation: What was fitted.
        model: The model.
        prior: Its priors.
        rows: Equal-weight draws in the table and the chain.
        seed: Seed of the resampling.
        reference: Another posterior to draw into the corner plot.
        truth: Parameters to mark in it.

    Returns: The files. Figures are left out where the extra `plot` is not installed.
    """
    kept = posterior.resampled_rows(jax.random.key(seed), rows)
    folder.mkdir(parents=True, exist_ok=True)
    posterior.save(folder / "posterior.jsbi")
    tables = {
        "summary.json": json.dumps(summarise(posterior), indent=1).encode(),
        "posterior.csv": _csv(posterior, kept),
        "chain.fits": _chain(posterior, kept, model),
    }
    written = [folder / "posterior.jsbi", *_write(folder, tables)]
    # Last, so that whatever goes wrong with them loses nothing else.
    figures = _figures(posterior, observation, model, prior, reference, truth)
    return written + _write(folder, figures)


def write_check(folder: Path, result: Check) -> list[Path]:
    """Write the files of a check, each whole or not at all.

    Args:
        folder: Made if it does not exist.
        result: From `jsbi.check`.

    Returns: The files. The figure is left out where the extra `plot` is not installed,
        or no spectrum from the prior has a posterior.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary = json.dumps(_finite(result.summary()), indent=1).encode()
    tables = {"check.json": summary, "ranks.csv": _rows(result.rows())}
    written = _write(folder, tables)
    # Last, so that whatever goes wrong with it loses nothing else.
    return written + _write(folder, _calibration(result))


def _calibration(result: Check) -> dict[str, bytes]:
    try:
        from jsbi.plot.calibration import calibration
    except ImportError:
        return {}
    after, before = result.prior.after, result.prior.before
    if after is None:
        return {}
    local = None if result.observation is None else result.observation.after
    figure = calibration(after, before, local, false_alarm=result.share)
    return {"calibration.png": _png(figure)}


def posterior_files(folder: Path, spectra: Sequence[str]) -> list[Path]:
    """The file for the posterior of each spectrum, and last that for their table.

    Args:
        folder: Where they will be.
        spectra: The file of each spectrum.
    """
    names = [f"{name}.jsbi" for name in _unique_names(spectra)]
    return [folder / name for name in (*names, "posteriors.csv")]


def save_posterior(
    file: Path, posterior: Posterior, spectrum: str, exposure: float
) -> dict[str, Any]:
    """Write the posterior of one of many spectra.

    Args:
        file: Its folder is made if it does not exist.
        posterior: A judged posterior.
        spectrum: The file of the spectrum.
        exposure: Of the spectrum [s].

    Returns: The spectrum's row of the table; empty where a number is unknown.
    """
    summary = summarise(posterior)
    values = {
        f"{name}_{statistic}": value
        for name, statistics in summary["parameters"].items()
        for statistic, value in statistics.items()
    }
    row = {"exposure": exposure} | {name: summary[name] for name in _COLUMNS} | values
    numbers = {
        name: f"{value:.9g}" if isinstance(value, float) else value
        for name, value in row.items()
    }
    reasons = {"reasons": "; ".join(summary["reasons"])}
    file.parent.mkdir(parents=True, exist_ok=True)
    posterior.save(file)
    return {"file": spectrum} | numbers | {"posterior": file.name} | reasons


def write_table(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of the same columns as a table with a header."""
    _write(file.parent, {file.name: _rows(rows)})


def _rows(rows: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0] if rows else (), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()


def _unique_names(spectra: Sequence[str]) -> list[str]:
    """The files' names without folder and ending; equal ones are numbered."""
    stems = [Path(Path(each).name.removesuffix(".gz")).stem for each in spectra]
    names, used = [], set()
    for stem in stems:
        name, number = stem, 1
        # Some file systems do not tell capitals from small letters.
        while name.casefold() in used:
            number += 1
            name = f"{stem}-{number}"
        used.add(name.casefold())
        names.append(name)
    return names


def _write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    for name, content in files.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(content)
    return [folder / name for name in files]


def _csv(posterior: Posterior, rows: np.ndarray) -> bytes:
    text = io.StringIO()
    header = ",".join(posterior.names)
    np.savetxt(text, posterior.values[rows], "%.9g", ",", header=header, comments="")
    return text.getvalue().encode()


def _chain(posterior: Posterior, rows: np.ndarray, model: Callable[..., Any]) -> bytes:
    """An XSPEC chain: a column per parameter, named after its number in the model.

    Source: the files that XSPEC's `chain run` writes; XSPEC manual, `chain`.
    """
    values = dict(zip(posterior.names, posterior.values[rows].T, strict=True))
    # XSPEC counts all parameters of the model, in its order, from 1.
    order = enumerate(getattr(model, "parameters", posterior.names), start=1)
    columns = [
        fits.Column(f"{name.rpartition('.')[2]}__{number}", "D", array=values[name])
        for number, name in order
        if name in values
    ]
    cstat = -2 * posterior.log_likelihood[rows]
    table = fits.BinTableHDU.from_columns(
        [*columns, fits.Column("FIT_STATISTIC", "D", array=cstat)], name="CHAIN"
    )
    table.header["HDUCLASS"] = "OGIP"
    table.header["CHAINTYP"] = "MetropolisHastings"
    table.header["TEMPR001"], table.header["STROW001"] = 1.0, 1
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(buffer)
    return buffer.getvalue()


def _figures(
    posterior: Posterior,
    observation: Observation,
    model: Callable[..., Any],
    prior: Prior,
    reference: Posterior | None,
    truth: dict[str, float] | None,
) -> dict[str, bytes]:
    try:
        from jsbi import plot
    except ImportError:
        return {}
    figures = {
        "corner.png": plot.corner(
            posterior, prior=prior, reference=reference, truth=truth
        ),
        "spectrum.png": plot.spectrum(posterior, observation, model, prior),
        "diagnostics.png": plot.diagnostics(posterior),
    }
    return {name: _png(figure) for name, figure in figures.items()}


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
