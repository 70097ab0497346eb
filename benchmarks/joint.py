"""Two instruments with a free factor between them: `python -m benchmarks.joint`.

EPIC-pn and MOS1 by every method, against one long run of "auto" and drawn over NUTS.
"""

import argparse
from typing import Any

from benchmarks.cases import epic_joint
from benchmarks.engine import compared
from benchmarks.measure import RESULTS, save
from benchmarks.methods import fit
from jsbi.plot import corner
from jsbi.posterior import Posterior

METHODS = ("auto", "sbi", "nuts")
UNITS = {
    "nH": "1e22 / cm^2",
    "kT": "keV",
    "black_body_norm": "(km / 10 kpc)^2",
    "power_law_norm": "photons / keV / cm^2 / s",
}


def parameter_rows(
    method: str, posterior: Posterior, long: Posterior
) -> list[dict[str, Any]]:
    """Mean and width of each parameter, and their distance from the long run."""
    columns = posterior.mean(), posterior.sd(), long.mean(), long.sd()
    return [
        {
            "method": method,
            "parameter": name,
            "mean": float(mean),
            "sd": float(sd),
            "shift from long run [sd]": float((mean - long_mean) / long_sd),
            "sd / sd of long run": float(sd / long_sd),
        }
        for name, mean, sd, long_mean, long_sd in zip(
            posterior.names, *columns, strict=True
        )
    ]


def main() -> None:
    """Fit by every method; save numbers and overlays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--long", type=int, default=200_000, help="draws of long run")
    given = parser.parse_args()
    case = epic_joint()
    long = fit(case, "auto", 99, given.long)
    fits = {method: fit(case, method, 0, given.draws) for method in METHODS}
    rows = [compared(method, 0, each, long) for method, each in fits.items()]
    save("joint", rows)
    shifts = [parameter_rows(method, each, long) for method, each in fits.items()]
    save("joint_parameters", [row for part in shifts for row in part])
    for method in ("auto", "sbi"):
        figure = corner(fits[method], reference=fits["nuts"], units=UNITS)
        figure.savefig(RESULTS / f"joint_{method}.png", dpi=60)


if __name__ == "__main__":
    main()
