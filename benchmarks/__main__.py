"""`python -m benchmarks run` measures methods on cases, `report DIR` writes them up."""

import argparse
import sys
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.harness import REFERENCE, Job, run_all, run_one
from benchmarks.methods import METHODS
from benchmarks.peers import PEERS
from benchmarks.report import write_report
from benchmarks.scaling import FAMILIES, scaling_name

CHOSEN = (
    "paper1_reference_2000",
    "paper1_reference_20000",
    "epic_pn",
    "epic_joint",
    "xifu_complexes",
    "bimodal",
    "many_parameters_20",
)
OUT = Path(__file__).parent / "results" / "run"


def parser() -> argparse.ArgumentParser:
    """What the command line may say."""
    top = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="{run,report}")
    run = commands.add_parser("run", help="measure; what is there already is kept")
    run.add_argument("--cases", nargs="*", choices=CASES, default=list(CHOSEN))
    every = [*METHODS, *PEERS]
    run.add_argument("--methods", nargs="+", choices=every, default=every)
    run.add_argument("--long", type=int, default=200_000, help="draws of references")
    run.add_argument(
        "--scaling",
        nargs="*",
        choices=FAMILIES,
        help="also families that grow: all of them, or those named",
    )
    run.add_argument("--reference-limit", type=float, default=7200.0, help="seconds")
    one = commands.add_parser("one")  # the work of one process of `run`
    one.add_argument("case")
    one.add_argument("method")
    one.add_argument("--started", type=float, required=True)
    for each in (run, one):
        each.add_argument("--out", type=Path, default=OUT)
        each.add_argument("--draws", type=int, default=10_000, help="effective draws")
        each.add_argument("--repeats", type=int, default=3, help="seeds")
        each.add_argument("--limit", type=float, default=1800.0, help="seconds")
    report = commands.add_parser("report", help="write README.md and figures")
    report.add_argument("out", type=Path)
    return top


def jobs(given: argparse.Namespace) -> list[Job]:
    """Everything that `run` is to do, in order."""
    size = {"out": given.out.resolve(), "draws": given.draws}
    common = size | {"repeats": given.repeats, "limit": given.limit}
    long_run = {"draws": given.long, "repeats": 1, "limit": given.reference_limit}
    result = []
    for case in given.cases:
        result.append(Job(case, REFERENCE, **size | long_run))
        result += [Job(case, method, **common) for method in given.methods]
    families = [] if given.scaling is None else given.scaling or list(FAMILIES)
    for family in families:
        sizes, _, methods = FAMILIES[family]
        result += [
            Job(scaling_name(family, number), method, **common)
            for number in sizes
            for method in methods
            if method in given.methods
        ]
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run or report."""
    given = parser().parse_args(arguments)
    if given.command == "report":
        print(write_report(given.out))
        return 0
    if given.command == "one":
        out = given.out.resolve()
        sizes = given.draws, given.repeats, given.limit
        run_one(Job(given.case, given.method, out, *sizes), given.started)
        return 0
    todo = jobs(given)
    for number, (job, line) in enumerate(run_all(todo), start=1):
        print(f"{number}/{len(todo)} {job.case}, {job.method}: {line}", flush=True)
    print(f"python -m benchmarks report {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
