"""The packaged example: a spectrum as NICER would see an accreting source."""

from pathlib import Path

import jax
import numpy as np

from jsbi.api import simulate
from jsbi.config import Config, parse_config
from jsbi.data import (
    Observation,
    nicer_like,
    observation_from_counts,
    write_arf,
    write_response,
    write_spectrum,
)
from jsbi.store import atomic_path

_EXPOSURE = 60.0  # [s]
_CONFIG = """\
# The packaged example. Fit it again: jsbi fit demo.toml
model = "tbabs*(bbodyrad + powerlaw)"

[[observation]]
name = "demo"
spectrum = "demo.pha"
energy = [0.3, 10.0]

[prior]
"tbabs.nH" = { uniform = [0.0, 1.0] }
"bbodyrad.kT" = { uniform = [0.1, 2.0] }
"bbodyrad.norm" = { loguniform = [1.0, 1000.0] }
"powerlaw.PhoIndex" = { uniform = [0.5, 4.0] }
"powerlaw.norm" = { loguniform = [0.01, 1.0] }

[truth]
"tbabs.nH" = 0.2
"bbodyrad.kT" = 0.6
"bbodyrad.norm" = 100.0
"powerlaw.PhoIndex" = 1.8
"powerlaw.norm" = 0.15
"""


def make_example(folder: Path) -> tuple[Observation, Config]:
    """The example's spectrum, simulated from the truth of its configuration.

    Args:
        folder: Where `write_example` will put it.
    """
    config = parse_config(_CONFIG.encode(), folder / "demo.toml")
    response = nicer_like()
    empty = observation_from_counts(
        "demo",
        np.zeros(response.detectors),
        _EXPOSURE,
        response,
        group={"constant": 5},
        energy=config.observations[0]["energy"],
    )
    return simulate(jax.random.key(0), empty, config.model, config.truth), config


def write_example(observation: Observation, config: Config) -> list[Path]:
    """Write the example as OGIP files, with the configuration that fits them."""
    spectrum, response, area = (
        config.path.with_suffix(suffix) for suffix in (".pha", ".rmf", ".arf")
    )
    write_spectrum(spectrum, observation, response=response.name, arf=area.name)
    write_response(response, observation.response)
    write_arf(area, observation.response)
    with atomic_path(config.path) as temporary:
        temporary.write_text(_CONFIG)
    return [spectrum, response, area, config.path]
