"""The common currency: weighted draws, their evidence, and what is known of both."""

import dataclasses
import math
import os
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.store import load_arrays, save_arrays
from jsbi.weights import weighted_quantile

QUANTILES = {"q05": 0.05, "q16": 0.16, "median": 0.5, "q84": 0.84, "q95": 0.95}


@dataclasses.dataclass(frozen=True)
class Report:
    """How a posterior was made and how far to trust it; all of it JSON.

    Attributes:
        rungs: What was tried, in order, with the numbers that decided.
        cstat: C statistic at the highest-likelihood draw.
        cstat_expected: Its expectation for data drawn from that model.
        cstat_sd: Its standard deviation for such data.
        bins: Fit bins of all observations.
        verdict: "trusted", "usable" or "not trusted".
        reasons: A sentence for everything that speaks against "trusted".
        simulations: Spectra simulated for training.
        likelihood_evaluations: Evaluations of the exact likelihood, by all rungs.
        versions: Of the packages that made it.
        device: Where it was made.
        model: The expression, or the name of the function.
        seconds: Wall-clock time, in all and by phase; phases exclude compilation.
        seed: Seed of the random key, where it is known.
        bands: Counts, model and C statistic of each band of energies; `below` is the
            predicted probability of fewer counts.
        predictive: What the posterior predicts for the data: p-values, and runs of
            residuals; see `jsbi.diagnose.Predictive`.
    """

    rungs: tuple[dict[str, Any], ...]
    cstat: float
    cstat_expected: float
    cstat_sd: float
    bins: int
    verdict: str
    reasons: tuple[str, ...]
    simulations: int
    likelihood_evaluations: int
    versions: dict[str, str]
    device: str
    model: str = ""
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    seed: int | None = None
    bands: tuple[dict[str, Any], ...] = ()
    predictive: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Posterior:
    """Weighted draws from a posterior, with its evidence.

    Attributes:
        names: The free parameters.
        z: Coordinates in which the prior is N(0, I), [draw, dim].
        values: The same draws in physical units, [draw, dim].
        log_weight: Normalised log weights, [draw].
        log_likelihood: Relative to the perfect fit, minus half the C statistic, [draw].
        effective_draws: Kish's number for weighted draws; for chains that of the worst
            parameter, after autocorrelation.
        log_evidence: ln Z with the full Poisson normalisation; nan where unknown.
        log_evidence_error: Its standard deviation.
        method: The rung that made the draws.
        pareto_k: Shape of the tail of the weights; nan for chains.
        r_hat: Split R-hat of the worst parameter; nan for weighted draws.
        proposed: Draws made, more than are kept where the model had no value at some;
            0 for as many as are kept.
        report: How the draws were made; None before `infer` has judged them.
    """

    names: tuple[str, ...]
    z: Float[np.ndarray, "draw dim"]
    values: Float[np.ndarray, "draw dim"]
    log_weight: Float[np.ndarray, " draw"]
    log_likelihood: Float[np.ndarray, " draw"]
    effective_draws: float
    log_evidence: float = math.nan
    log_evidence_error: float = math.nan
    method: str = ""
    pareto_k: float = math.nan
    r_hat: float = math.nan
    proposed: int = 0
    report: Report | None = None

    @property
    def draws(self) -> int:
        """Number of draws."""
        return len(self.z)

    @property
    def efficiency(self) -> float:
        """Effective draws per draw that was made."""
        return self.effective_draws / max(self.proposed, self.draws)

    @property
    def weights(self) -> Float[np.ndarray, " draw"]:
        """Weights that add up to 1."""
        return np.exp(self.log_weight)

    @property
    def samples(self) -> dict[str, Float[np.ndarray, " draw"]]:
        """Each parameter's draws in physical units; they carry `weights`."""
        return dict(zip(self.names, self.values.T, strict=True))

    def mean(self) -> Float[np.ndarray, " dim"]:
        """Posterior means in physical units."""
        return self.weights @ self.values

    def sd(self) -> Float[np.ndarray, " dim"]:
        """Posterior standard deviations in physical units."""
        return np.sqrt(self.weights @ (self.values - self.mean()) ** 2)

    def quantile(self, probability: float) -> Float[np.ndarray, " dim"]:
        """Weighted quantiles of every parameter."""
        return np.array(
            [
                weighted_quantile(each, self.log_weight, probability)
                for each in self.values.T
            ]
        )

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean, standard deviation and quantiles of every parameter."""
        rows = {"mean": self.mean(), "sd": self.sd()}
        rows |= {name: self.quantile(p) for name, p in QUANTILES.items()}
        return {
            name: {row: float(values[i]) for row, values in rows.items()}
            for i, name in enumerate(self.names)
        }

    def resample(
        self, key: Key[Array, ""], number: int
    ) -> dict[str, Float[np.ndarray, " number"]]:
        """Equal-weight draws by systematic resampling, in random order.

        Args:
            key: Random key.
            number: How many.

        Returns: Each parameter's draws in physical units.
        """
        rows = self.resampled_rows(key, number)
        return dict(zip(self.names, self.values[rows].T, strict=True))

    def resampled_rows(self, key: Key[Array, ""], number: int) -> np.ndarray:
        """Row numbers of equal-weight draws, in random order."""
        generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        positions = (np.arange(number) + generator.random()) / number
        cumulative = np.cumsum(self.weights)
        rows = np.searchsorted(cumulative / cumulative[-1], positions)
        return generator.permutation(rows)

    def check_names(self, names: tuple[str, ...]) -> None:
        """Check that a prior is that of the posterior, by its free parameters.

        Raises:
            ValueError: If they are others.
        """
        if self.names != names:
            raise ValueError(
                f"`prior` must be that of the posterior, of {', '.join(self.names)}; "
                f"got one of {', '.join(names)}. Of another fit?"
            )

    def to_arviz(self) -> Any:
        """Equal-weight draws as an `arviz.InferenceData` of one chain.

        Raises:
            ImportError: If arviz is not installed.
        """
        try:
            import arviz  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ImportError("to_arviz needs arviz: pip install arviz") from None
        draws = self.resample(jax.random.key(0), self.draws)
        return arviz.from_dict(
            posterior={name: values[None] for name, values in draws.items()}
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write all of it to one file, atomically; `load` reads it on any device."""
        header, arrays = {}, {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                arrays[field.name] = value
            elif isinstance(value, Report):
                header[field.name] = dataclasses.asdict(value)
            else:
                header[field.name] = value
        save_arrays(path, "posterior", header, arrays)

    @staticmethod
    def load(path: str | os.PathLike) -> "Posterior":
        """Read what `save` wrote.

        Raises:
            ValueError: If the file is something else, damaged or of another version.
        """
        header, arrays = load_arrays(path, "posterior")
        fields: dict[str, Any] = header | arrays
        try:
            if fields["report"] is not None:
                report = fields["report"]
                for name in ("rungs", "reasons"):
                    report[name] = tuple(report[name])
                # Files of earlier versions have none.
                report["bands"] = tuple(report.get("bands", ()))
                fields["report"] = Report(**report)
            fields["names"] = tuple(fields["names"])
            return Posterior(**fields)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path} was saved by another version of jsbi ({error})."
            ) from None

    def __str__(self) -> str:
        lines = [self._table()]
        if not math.isnan(self.pareto_k):
            tail = f", Pareto k {self.pareto_k:.2f}"
        else:
            tail = f", R-hat {self.r_hat:.4f}" if not math.isnan(self.r_hat) else ""
        lines.append(
            f"effective draws {self.effective_draws:,.0f} of {self.draws:,} "
            f"({100 * self.efficiency:.0f} %){tail}, by {self.method}"
        )
        if not math.isnan(self.log_evidence):
            lines.append(
                f"ln Z {self.log_evidence:.3f} +- {self.log_evidence_error:.3f}"
            )
        if self.report is not None:
            report = self.report
            lines.append(
                f"C-stat {report.cstat:.1f} in {report.bins} bins, expected "
                f"{report.cstat_expected:.1f} +- {report.cstat_sd:.1f}"
            )
            lines.append(f"verdict: {report.verdict}")
            lines += [f"  {reason}" for reason in report.reasons]
        return "\n".join(lines)

    def _table(self) -> str:
        width = max(map(len, (*self.names, "parameter")))
        columns = ("mean", "sd", *QUANTILES)
        lines = [f"{'parameter':<{width}}" + "".join(f"{c:>11}" for c in columns)]
        for name, row in self.summary().items():
            numbers = "".join(f"{row[column]:>11.4g}" for column in columns)
            lines.append(f"{name:<{width}}{numbers}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"Posterior({', '.join(self.names)}; {self.draws:,} draws, "
            f"{self.effective_draws:,.0f} effective, ln Z {self.log_evidence:.2f})"
        )
