"""Calibration before and after reweighting."""

import dataclasses
from typing import Any

import numpy as np

from jsbi.diagnose.calibration import LEVELS, Calibration


@dataclasses.dataclass(frozen=True, eq=False)
class Compared:
    """Calibration over one set of simulated spectra.

    Attributes:
        before: Of the draws as they were proposed, by a network or a mixture; draws of
            chains are the same before and after.
        after: Of the posteriors, exactly weighted.
        verdicts: On each spectrum that has a posterior.
        failures: Why the others have none.
    """

    before: Calibration
    after: Calibration
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

    def summary(self) -> dict[str, Any]:
        """Everything but the ranks, as JSON can hold it."""
        kinds = {"after": self.after, "before": self.before}
        return {
            "spectra": self.spectra,
            "outcomes": self.outcomes,
            "failures": list(self.failures),
        } | {
            name: {
                "displacement": each.displacement(),
                "coverage": dict(
                    zip(map(str, LEVELS), each.coverage(np.array(LEVELS)), strict=True)
                ),
                "quantities": each.summary(),
            }
            for name, each in kinds.items()
        }

    def rows(self) -> list[dict[str, Any]]:
        """A row for every spectrum that has a posterior."""
        columns: dict[str, Any] = {
            "verdict": self.verdicts,
            "ess": self.after.effective_draws.tolist(),
        }
        for name, each in (("after", self.after), ("before", self.before)):
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
        """What speaks against the posteriors."""
        failed = (
            f"{len(self.failures)} of {self.spectra} spectra have no posterior; the "
            f"first: {each}"
            for each in self.failures[:1]
        )
        return (*failed, *self.after.reasons(false_alarm))
