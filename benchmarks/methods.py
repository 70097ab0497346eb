"""Each method on the packaged example: `python -m benchmarks.methods`.

Time to a judged posterior, of which compilation, with likelihood evaluations and the
distance of the means from a long run, all in one process. The first method pays for the
start of JAX.
"""

from pathlib import Path

import jax
import numpy as np

from benchmarks.measure import save
from jsbi.api import infer
from jsbi.demo import make_example


def main() -> None:
    """Run every method, two seeds each."""
    observation, config = make_example(Path())
    arguments = (observation, config.model, config.prior)
    long = infer(jax.random.key(99), *arguments, draws=200_000, progress=False)
    rows = []
    for method in ("auto", "sbi", "nuts"):
        for seed in (0, 1):
            posterior = infer(
                jax.random.key(seed), *arguments, method=method, progress=False
            )
            report = posterior.report
            assert report is not None
            shift = np.abs(posterior.mean() - long.mean()) / long.sd()
            rows.append(
                {
                    "method": method,
                    "seed": seed,
                    "verdict": report.verdict,
                    "effective": posterior.effective_draws,
                    "efficiency": posterior.efficiency,
                    "total [s]": report.seconds["total"],
                    "compile [s]": report.seconds["compile"],
                    "likelihood evaluations": report.likelihood_evaluations,
                    "simulations": report.simulations,
                    "largest shift of a mean [sd]": float(shift.max()),
                    "ln Z - long run": posterior.log_evidence - long.log_evidence,
                }
            )
    save("methods", rows)


if __name__ == "__main__":
    main()
