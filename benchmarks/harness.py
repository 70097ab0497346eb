"""Runs methods on cases, each pair in a process of its own, and keeps the results."""

import dataclasses
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy import accuracy
from benchmarks.case import Case
from benchmarks.measure import device_memory, machine, peak_memory
from benchmarks.methods import METHODS, Answer, Prepared, prepare, reference
from benchmarks.peers import PEERS
from benchmarks.scaling import Several, find_case, prepare_several
from jsbi.posterior import Posterior
from jsbi.progress import Progress
from jsbi.store import atomic_path

REFERENCE = "reference"
DONE, LIMIT, FAILED, SKIPPED = "done", "time limit", "failed", "skipped"
TAIL = 2000  # characters of an error that are kept


@dataclasses.dataclass(frozen=True)
class Job:
    """One method on one case.

    Attributes:
        case: Name of the case.
        method: Name of the method, or `REFERENCE`.
        out: Where all results are.
        draws: Effective draws to ask for.
        repeats: Seeds to run.
        limit: Seconds after which the process is stopped.
    """

    case: str
    method: str
    out: Path
    draws: int
    repeats: int
    limit: float

    @property
    def path(self) -> Path:
        """The result."""
        if self.method == REFERENCE:
            return self.out / REFERENCE / f"{self.case}.json"
        return self.out / "runs" / f"{self.case}--{self.method}.json"

    @property
    def long_run(self) -> Path:
        """The draws that the case's results are held against."""
        return self.out / REFERENCE / f"{self.case}.jsbi"

    @property
    def reference_draws(self) -> float | None:
        """Effective draws of the case's reference; None where there is none (yet)."""
        if self.method == REFERENCE:
            return None
        found = read(dataclasses.replace(self, method=REFERENCE).path)
        return found["rows"][0]["effective"] if found and found["rows"] else None

    def settled(self) -> bool:
        """Whether the result is there already.

        It is if it was asked for as many draws and at least as many fits, or stopped at
        no lower limit, and was held against the reference that is there now, if any.
        """
        found = read(self.path)
        if found is None or found["draws"] != self.draws:
            return False
        if self.reference_draws not in (None, found.get("reference draws")):
            return False
        if found["status"] == LIMIT:
            return found["limit [s]"] >= self.limit
        return found["status"] == DONE and len(found["rows"]) >= self.repeats


def read(path: Path) -> dict[str, Any] | None:
    """A result, or None where there is none."""
    return json.loads(path.read_text()) if path.exists() else None


def write(path: Path, result: dict[str, Any]) -> None:
    """Write a result; it is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plain(result), indent=1) + "\n")


def plain(value: Any) -> Any:
    """The same without numbers that JSON does not know, which become null."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def run_all(jobs: Sequence[Job]) -> Iterator[tuple[Job, str]]:
    """Run what is not there yet, one process after another.

    Yields: Each job with a line of how it went.
    """
    for job in jobs:
        if job.settled():
            yield job, "is there already"
            continue
        peer = PEERS.get(job.method)
        if peer is not None and not peer.installed:
            note = f"{peer.package} is not installed"
            write(job.path, blank(job) | {"status": SKIPPED, "note": note})
            yield job, note
            continue
        start = time.perf_counter()
        status = run_process(job)
        yield job, f"{status} after {time.perf_counter() - start:.0f} s"


def blank(job: Job) -> dict[str, Any]:
    """What every result has, before anything is known."""
    return {
        "case": job.case,
        "method": job.method,
        "status": FAILED,
        "note": "not finished",
        "draws": job.draws,
        "limit [s]": job.limit,
        "reference draws": job.reference_draws,
        "rows": [],
    }


def run_process(job: Job) -> str:
    """Run a job in a new process, and stop it at its limit; what it wrote stays.

    An earlier result stays until the process writes, or ends.

    Returns: The status.
    """
    earlier = read(job.path)
    if earlier is None:
        write(job.path, blank(job))
    command = [sys.executable, "-m", "benchmarks", "one", job.case, job.method]
    command += ["--out", str(job.out), "--draws", str(job.draws)]
    command += ["--repeats", str(job.repeats), "--limit", repr(job.limit)]
    command += ["--started", repr(time.time())]
    change: dict[str, Any] = {}
    try:
        subprocess.run(
            command,
            check=True,
            timeout=job.limit,
            cwd=Path(__file__).parents[1],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        change = {"status": DONE, "note": ""}
    except subprocess.TimeoutExpired:
        change = {"status": LIMIT, "note": f"stopped after {job.limit:g} s"}
    except subprocess.CalledProcessError as error:
        note = error.stderr.strip()[-TAIL:] or f"exit status {error.returncode}"
        change = {"status": FAILED, "note": note}
    found = read(job.path)
    if found is None or found == earlier:
        found = blank(job)
    write(job.path, found | change)
    return change["status"]


def run_one(job: Job, started: float) -> None:
    """The work of a job's process: every seed, written as soon as it is known.

    Args:
        job: The job.
        started: When the process was started, by `time.time`.
    """
    case = find_case(job.case)
    result = blank(job) | {"machine": machine(), "problem": problem(case)}
    if job.method == REFERENCE:
        return _run_reference(job, result)
    several = isinstance(case, Several)
    prepared = (
        prepare_several(case, job.method, job.draws)
        if several
        else _prepare(case, job.method, job.draws)
    )
    result["prepared [s]"] = prepared.phases
    result["prepared simulations"] = prepared.simulations
    known = result["reference draws"] is not None
    long_run = Posterior.load(job.long_run) if known else None
    for seed in range(job.repeats):
        bars = Progress(show=False)
        with bars.running():
            answer = prepared.solve(seed)
        row = {"seed": seed, "seconds": bars.spent["total"]}
        row["compile [s]"] = bars.spent["compile"]
        if not seed:
            result["first answer [s]"] = time.time() - started
            result["peak memory [MB]"] = peak_memory()
            result["device memory [MB]"] = device_memory()
        row |= answer if isinstance(answer, dict) else row_of(answer)
        result["rows"].append(row)
        write(job.path, result)
        if long_run is not None and isinstance(answer, Answer):
            row["accuracy"] = accuracy(answer.posterior, long_run)
            write(job.path, result)
    return None


def _prepare(case: Any, method: str, draws: int) -> Prepared:
    if method in PEERS:
        return PEERS[method].prepare(case, draws)
    if method in METHODS:
        return prepare(case, method, draws)
    raise ValueError(
        f"Unknown method {method!r}; known: {', '.join((*METHODS, *PEERS))}."
    )


def _run_reference(job: Job, result: dict[str, Any]) -> None:
    """Make the long run of a case and keep its draws."""
    case = find_case(job.case)
    if isinstance(case, Several):
        raise ValueError(f"{job.case} is of many spectra, which have no one reference.")
    start = time.perf_counter()
    answer = reference(case, job.draws)
    row = {"seed": 99, "seconds": time.perf_counter() - start} | row_of(answer)
    # First the draws: where there is a result, they are there.
    job.long_run.parent.mkdir(parents=True, exist_ok=True)
    answer.posterior.save(job.long_run)
    write(job.path, result | {"rows": [row]})


def problem(case: Case | Several) -> dict[str, int]:
    """How large a case is."""
    if isinstance(case, Several):
        return {"spectra": len(case.cases)}
    return {
        "parameters": case.prior.dimension,
        "bins": sum(each.bins for each in case.observations),
        "counts": int(sum(each.binned_counts.sum() for each in case.observations)),
        "observations": len(case.observations),
    }


def row_of(answer: Answer) -> dict[str, Any]:
    """One fit in plain numbers."""
    posterior = answer.posterior
    return {
        "rung": answer.rung,
        "verdict": answer.verdict,
        "reasons": list(answer.reasons),
        "phases [s]": answer.phases,
        "effective": posterior.effective_draws,
        "efficiency": posterior.efficiency,
        "Pareto k": posterior.pareto_k,
        "R-hat": posterior.r_hat,
        "ln Z": posterior.log_evidence,
        "error of ln Z": posterior.log_evidence_error,
        "evaluations": answer.evaluations,
        "simulations": answer.simulations,
        "accuracy": None,
    }
