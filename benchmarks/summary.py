"""Results of `run` in the numbers that a report is made of."""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

from benchmarks.accuracy import is_right
from benchmarks.harness import DONE, REFERENCE, SKIPPED
from benchmarks.methods import LEARNED, METHODS
from benchmarks.peers import PEERS
from benchmarks.scaling import FAMILIES

TRUSTED, NOT_TRUSTED = "trusted", "not trusted"
LEAST = 1e-3  # seconds that a fit counts for
ORDER = (*METHODS, *PEERS)
# Methods that are asked for draws of a network; another rung may answer in the end.
SBI = (*LEARNED, "npe-sbi", "npe-sbijax")
# What makes draws with a trained network, and what makes them by plain HMC.
NETWORKS = {"network", "smc", "transported nuts", "amortised"} | {
    "npe-sbi",
    "npe-sbijax",
}
CHAINS = {"nuts", "nuts, numpyro", "nuts, jaxspec"}


@dataclasses.dataclass(frozen=True)
class Summary:
    """One method on one case.

    Attributes:
        case: Name of the case.
        method: Name of the method.
        result: All that was written of it.
        rights: Whether each fit agrees with the reference; None if unknown.
    """

    case: str
    method: str
    result: dict[str, Any]
    rights: tuple[bool | None, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One for each seed."""
        return self.result["rows"]

    @property
    def trusted(self) -> int:
        """How many fits were."""
        return sum(row["verdict"] == TRUSTED for row in self.rows)

    @property
    def right(self) -> bool | None:
        """Whether all fits agree with the reference; None if unknown."""
        if False in self.rights:
            return False
        return True if self.rights and None not in self.rights else None

    @property
    def fooled(self) -> int:
        """How many fits were trusted that do not agree with the reference."""
        return sum(
            row["verdict"] == TRUSTED and right is False
            for row, right in zip(self.rows, self.rights, strict=True)
        )

    @property
    def fault(self) -> str:
        """What is wrong with its answer; nothing if it is sound, or was not run."""
        if self.result["status"] in (DONE, SKIPPED):
            if self.right is False:
                return "not right"
            unsure = self.trusted < len(self.rows)
            return f"{self.trusted} of {len(self.rows)} trusted" if unsure else ""
        return self.result["status"]

    @property
    def sound(self) -> bool:
        """Whether all fits were made and trusted, and none is known to be wrong."""
        return bool(self.rows) and not self.fault

    @property
    def rungs(self) -> set[str]:
        """What the draws were made by, in all fits."""
        return {row["rung"] for row in self.rows}

    @property
    def learned(self) -> bool:
        """Whether all draws come from trained networks."""
        return bool(self.rows) and self.rungs <= NETWORKS

    @property
    def trains(self) -> bool:
        """Whether anything was simulated for training, used in the end or not."""
        before = self.result.get("prepared simulations", 0)
        return bool(before or any(row["simulations"] for row in self.rows))

    @property
    def first_trusted(self) -> float | None:
        """Seconds from the start of the process to the first trusted answer."""
        spent = self.result.get("first answer [s]")
        for place, row in enumerate(self.rows):
            if place:
                spent += row["seconds"]
            if row["verdict"] == TRUSTED:
                return spent
        return None

    @property
    def warm(self) -> list[float]:
        """Seconds of the fits after the first, without compilation."""
        return [max(r["seconds"] - r["compile [s]"], LEAST) for r in self.rows[1:]]

    @property
    def rates(self) -> list[float]:
        """Effective draws per second of the fits after the first, as they are timed."""
        return [
            (row["effective"] or 0.0) / seconds
            for row, seconds in zip(self.rows[1:], self.warm, strict=True)
        ]

    @property
    def cost(self) -> list[float]:
        """Likelihood evaluations and simulations of a fit, per effective draw."""
        return [
            (row["evaluations"] + row["simulations"])
            / max(row["effective"] or 0.0, 1.0)
            for row in self.rows
        ]

    @property
    def training(self) -> float:
        """Seconds of the training before all spectra, without compilation."""
        before = self.result.get("prepared [s]", {})
        return before.get("total", 0.0) - before.get("compile", 0.0)

    @property
    def grown(self) -> tuple[float, float] | None:
        """Seconds and work of a warm fit, training beforehand included.

        Work is evaluations and simulations. None where there is no second fit.
        """
        if not self.warm:
            return None
        before = self.result.get("prepared simulations", 0)
        work = [row["evaluations"] + row["simulations"] for row in self.rows]
        seconds = self.training + statistics.median(self.warm)
        return seconds, before + statistics.median(work)

    def phase(self, name: str) -> float | None:
        """Seconds of a phase in the first answer, training beforehand included.

        None where nobody counted them.
        """
        if not self.rows:
            return None
        row = self.rows[0]
        first = row.get("phases [s]", {}) | {"compile": row["compile [s]"]}
        before = self.result.get("prepared [s]", {})
        found = [part[name] for part in (before, first) if name in part]
        return sum(found) if found else None

    def distances(self, name: str) -> list[float]:
        """One of the distances from the reference, of every fit that has it."""
        found = [row["accuracy"] for row in self.rows if row.get("accuracy")]
        return [each[name] for each in found if each[name] is not None]


@dataclasses.dataclass(frozen=True)
class Study:
    """Everything in a folder.

    Attributes:
        references: The long run of each case.
        cases: Summaries of each case, in the order of the methods.
        families: Summaries of each size of each family, by method.
    """

    references: dict[str, dict[str, Any]]
    cases: dict[str, list[Summary]]
    families: dict[str, dict[str, list[tuple[int, Summary]]]]


def read_study(out: Path) -> Study:
    """Read what `run` has written.

    Raises:
        FileNotFoundError: If there is nothing.
    """
    found = [json.loads(path.read_text()) for path in sorted(out.glob("runs/*.json"))]
    if not found:
        raise FileNotFoundError(
            f"{out} must hold results in {out / 'runs'}; there are none. Was it the "
            "folder given to `python -m benchmarks run --out`?"
        )
    references = {
        path.stem: json.loads(path.read_text())
        for path in sorted(out.glob(f"{REFERENCE}/*.json"))
    }
    found.sort(key=lambda each: (each["case"], ORDER.index(each["method"])))
    # What never began does not know how large its problem is; the others do.
    problems = {each["case"]: each["problem"] for each in found if "problem" in each}
    cases: dict[str, list[Summary]] = {}
    families: dict[str, dict[str, list[tuple[int, Summary]]]] = {}
    for result in found:
        summary = summarise(result, references.get(result["case"]))
        head, _, size = result["case"].rpartition("_")
        family = head.removeprefix("scaling_")
        if head.startswith("scaling_") and family in FAMILIES:
            members = families.setdefault(family, {}).setdefault(summary.method, [])
            grown = problems.get(result["case"], {}).get(family, int(size))
            members.append((grown, summary))
        else:
            cases.setdefault(summary.case, []).append(summary)
    for methods in families.values():
        for members in methods.values():
            members.sort(key=lambda pair: pair[0])
    return Study(references, cases, families)


def summarise(result: dict[str, Any], reference: dict[str, Any] | None) -> Summary:
    """One result, held against the reference of its case."""
    rights: tuple[bool | None, ...] = (None,) * len(result["rows"])
    if judges(reference):
        effective = reference["rows"][0]["effective"]
        rights = tuple(is_right(row, effective) for row in result["rows"])
    return Summary(result["case"], result["method"], result, rights)


def judges(reference: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
    """Whether others may be held against a reference: it is there and not doubted."""
    if not reference or not reference["rows"]:
        return False
    row = reference["rows"][0]
    return bool(row["effective"]) and row["verdict"] != NOT_TRUSTED


def spread(values: Sequence[float | None], digits: int = 3) -> str:
    """A median, with the least and greatest in brackets where they differ."""
    values = [value for value in values if value is not None]
    if not values:
        return "-"
    middle, ends = statistics.median(values), (min(values), max(values))
    texts = [number(each, digits) for each in (middle, *ends)]
    if texts[1] == texts[2]:
        return texts[0]
    return f"{texts[0]} ({texts[1]} to {texts[2]})"


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    return f"{float(text):g}" if "e" in text and abs(value) > 1e-4 else text
