"""P-values from simulations, and several of them together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from jsbi.diagnose.uniformity import holm

LEVEL = 0.01  # probability of any rejection if the model is right


@dataclass(frozen=True)
class RankTest:
    """A statistic of the observation among those of simulations.

    Attributes:
        name: What was measured.
        observed: The statistic; large where the model is wrong.
        simulated: The same of simulations.
    """

    name: str
    observed: float
    simulated: Float[np.ndarray, " simulation"]

    @property
    def p_value(self) -> float:
        """Probability of a statistic as large, if the observation is one of them.

        A statistic that is not a number speaks for the model, simulated or observed.

        Source: Davison & Hinkley (1997), Bootstrap Methods, section 4.2.
        """
        above = int((~(self.simulated < self.observed)).sum())
        return (1 + above) / (1 + len(self.simulated))

    def __str__(self) -> str:
        """One line."""
        low, high = np.quantile(self.simulated, [0.16, 0.84])
        return (
            f"{self.name}: {self.observed:.4g}, simulations {low:.4g} to {high:.4g}, "
            f"p = {self.p_value:.3g}"
        )


@dataclass(frozen=True)
class Misspecification:
    """Several tests of one observation, taken together.

    Attributes:
        tests: The tests.
        adjusted: Their p-values after Holm: any may be compared with the level.
        level: Probability that any is below, if the model is right.
    """

    tests: tuple[RankTest, ...]
    adjusted: tuple[float, ...]
    level: float

    @property
    def rejected(self) -> bool:
        """Whether the model is rejected."""
        return min(self.adjusted) <= self.level

    @property
    def sentence(self) -> str:
        """The finding in words."""
        worst = self.tests[int(np.argmin(self.adjusted))]
        how = "cannot have been" if self.rejected else "could have been"
        return (
            f"The observation {how} made by the model: smallest of {len(self.tests)} "
            f"p-values, corrected, {min(self.adjusted):.3g} ({worst.name}); rejected "
            f"at {self.level:g}."
        )

    def record(self) -> dict[str, Any]:
        """All numbers as plain values; JSON."""
        rows = zip(self.tests, self.adjusted, strict=True)
        return {
            "rejected": self.rejected,
            "level": self.level,
            "sentence": self.sentence,
            "tests": [
                {
                    "name": test.name,
                    "observed": test.observed,
                    "simulated_median": float(np.median(test.simulated)),
                    "simulations": len(test.simulated),
                    "p_value": test.p_value,
                    "adjusted": adjusted,
                }
                for test, adjusted in rows
            ],
        }

    def __str__(self) -> str:
        """One line per test, then the finding."""
        return "\n".join([*map(str, self.tests), self.sentence])


def combine(tests: Sequence[RankTest], level: float = LEVEL) -> Misspecification:
    """Correct p-values for their number, however they depend on each other.

    Args:
        tests: The tests.
        level: Probability of any rejection if the model is right.

    Raises:
        ValueError: If there are none, or too few simulations to reach the level.

    Source: Holm (1979), Scandinavian Journal of Statistics 6, 65.
    """
    if not tests:
        raise ValueError("There must be at least one test to combine; got none.")
    fewest = min(len(test.simulated) for test in tests)
    if len(tests) / (1 + fewest) > level:
        raise ValueError(
            f"{len(tests)} tests at {level:g} need {math.ceil(len(tests) / level) - 1} "
            f"simulations each to be able to reject; one has {fewest}. Distances in "
            "the space of summaries use half of the simulations they are given."
        )
    p_values = np.array([test.p_value for test in tests])
    adjusted = holm(p_values)
    return Misspecification(tuple(tests), tuple(adjusted.tolist()), level)
