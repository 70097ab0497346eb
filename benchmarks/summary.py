"""Results of `run` in the numbers that a report is made of."""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy import is_right
from benchmarks.harness import REFERENCE
from benchmarks.methods import LEARNED, METHODS
from benchmarks.peers import PEERS
from benchmarks.scaling import FAMILIES

TRUSTED = "trusted"
ORDER = (*METHODS, *PEERS)
# SBI: those whose draws come from a network, of this package or another.
SBI = (*LEARNED, "npe-sbi")
HMC = ("nuts", "transported", "numpyro")


@dataclasses.dataclass(frozen=True)
class Summary:
    """One method on one case.

    Attributes:
        case: Name of the case.
        method: Name of the method.
        result: All that was written of it.
        right: Whether all its fits agree with the reference; None if unknown.
    """

    case: str
    method: str
    result: dict[str, Any]
    right: bool | None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One for each seed."""
        return self.result["rows"]

    @property
    def trusted(self) -> int:
        """How many fits were."""
        return sum(row["verdict"] == TRUSTED for row in self.rows)

    @property
    def sound(self) -> bool:
        """Whether all fits were trusted and none is known to be wrong."""
        return (
            bool(self.rows)
            and self.trusted == len(self.rows)
            and self.right
            in (
                True,
                None,
            )
        )

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
        """Seconds of the fits after the first, which had compiled."""
        return [row["seconds"] for row in self.rows[1:]]

    @property
    def rates(self) -> list[float]:
        """Effective draws per second, without compilation and training beforehand."""
        if self.warm:
            return [row["effective"] / row["seconds"] for row in self.rows[1:]]
        return [
            row["effective"]
            / max(row["seconds"] - row.get("phases [s]", {}).get("compile", 0.0), 1e-3)
            for row in self.rows
        ]

    @property
    def cost(self) -> list[float]:
        """Likelihood evaluations and simulations of a fit, per effective draw."""
        return [
            (row["evaluations"] + row["simulations"]) / max(row["effective"], 1.0)
            for row in self.rows
        ]

    @property
    def training(self) -> float:
        """Seconds of the training that comes before all spectra."""
        return self.result.get("prepared [s]", {}).get("total", 0.0)

    def phase(self, name: str) -> float | None:
        """Seconds of a phase in the first answer, training beforehand included."""
        if not self.rows or "phases [s]" not in self.rows[0]:
            return None
        before = self.result.get("prepared [s]", {})
        phases = self.rows[0]["phases [s]"]
        if not phases and not before:
            return None
        return phases.get(name, 0.0) + before.get(name, 0.0)

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
    cases: dict[str, list[Summary]] = {}
    families: dict[str, dict[str, list[tuple[int, Summary]]]] = {}
    for result in found:
        summary = summarise(result, references.get(result["case"]))
        head, _, size = result["case"].rpartition("_")
        family = head.removeprefix("scaling_")
        if head.startswith("scaling_") and family in FAMILIES:
            members = families.setdefault(family, {}).setdefault(summary.method, [])
            grown = result.get("problem", {}).get(family, int(size))
            members.append((grown, summary))
        else:
            cases.setdefault(summary.case, []).append(summary)
    for methods in families.values():
        for members in methods.values():
            members.sort(key=lambda pair: pair[0])
    return Study(references, cases, families)


def summarise(result: dict[str, Any], reference: dict[str, Any] | None) -> Summary:
    """One result, held against the reference of its case."""
    right = None
    if reference and reference["rows"] and result["rows"]:
        effective = reference["rows"][0]["effective"]
        verdicts = [is_right(row, effective) for row in result["rows"]]
        right = None if None in verdicts else all(verdicts)
    return Summary(result["case"], result["method"], result, right)


def spread(values: Sequence[float], digits: int = 3) -> str:
    """A median, with the least and greatest in brackets where they differ."""
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
