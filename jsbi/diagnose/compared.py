"""Calibration before and after reweighting."""

import dataclasses
import math
from typing import Any

import numpy as np

from jsbi.diagnose.calibration import LEVELS, Calibration


@dataclasses.dataclass(frozen=True, eq=False)
class Compared:
    """Calibration over one set of simulated spectra.

    Attributes:
        before: Of the draws as they were proposed, by a network or a mixture; draws of
            chains and of nested sampling are the same before and after. None if no
            spectrum has a posterior.
        after: Of the posteriors, exactly weighted; None likewise.
        verdicts: On each spectrum that has a posterior.
        failures: Why the others have none.
    """

    before: Calibration | None
    after: Calibration | None
    verdicts: tuple[str, ...]
    failures: tuple[str, ...]

    @property
    def spectra(self) -> int:
        """How many were simulated."""
        return len(self.verdicts) + len(self.failures)

    @property
    def outcomes(self) -> dict[str, int]:
        """How many spectra have each verdict, or no posterior."""
        found = {each: self.verdicts.count(each) for each in sorted(set(self.verdicts))}
        return found | ({"failed": len(self.failures)} if self.failures else {})

    @property
    def kinds(self) -> dict[str, Calibration]:
        """After and before, by name; empty if no spectrum has a posterior."""
        kinds = {"after": self.after, "before": self.before}
        return {name: each for name, each in kinds.items() if each is not None}

    def table(self, false_alarm: float) -> str:
        """Tables after and before reweighting, and whether the latter is calibrated.

        Args:
            false_alarm: As in `Calibration.passed`.
        """
        if self.after is None or self.before is None:
            return "none of them has a posterior"
        passed = "" if self.before.passed(false_alarm) else "not "
        return "\n".join(
            [
                "after reweighting:",
                self.after.table(false_alarm),
                f"before reweighting: {passed}calibrated",
                self.before.table(false_alarm),
            ]
        )

    def summary(self, false_alarm: float) -> dict[str, Any]:
        """Everything but the ranks, as JSON can hold it.

        Args:
            false_alarm: As in `Calibration.passed`.
        """
        least = {
            name: each.displacement(false_alarm) for name, each in self.kinds.items()
        }
        return {
            "spectra": self.spectra,
            "outcomes": self.outcomes,
            "failures": list(self.failures),
        } | {
            name: {
                "displacement": least[name] if math.isfinite(least[name]) else None,
                "coverage": dict(
                    zip(map(str, LEVELS), each.coverage(np.array(LEVELS)), strict=True)
                ),
                "quantities": each.summary(),
            }
            for name, each in self.kinds.items()
        }

    def rows(self) -> list[dict[str, Any]]:
        """A row for every spectrum that has a posterior."""
        if self.after is None:
            return []
        columns: dict[str, Any] = {
            "verdict": self.verdicts,
            "ess": self.after.effective_draws.tolist(),
        }
        for name, each in self.kinds.items():
            columns |= {
                f"{name} {quantity}": ranks
                for quantity, ranks in zip(
                    each.quantities, each.rank.T.tolist(), strict=True
                )
            }
        return [
            dict(zip(columns, row, strict=True))
            for row in zip(*columns.values(), strict=True)
        ]

    def reasons(self, false_alarm: float) -> tuple[str, ...]:
        """What speaks against the posteriors.

        Args:
            false_alarm: As in `Calibration.passed`.
        """
        failed = (
            f"{len(self.failures)} of {self.spectra} spectra have no posterior; the "
            f"first: {each}"
            for each in self.failures[:1]
        )
        ranks = () if self.after is None else self.after.reasons(false_alarm)
        return (*failed, *ranks)
