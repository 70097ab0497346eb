"""What a benchmark problem is, and how its data are found or simulated."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.sparse

from jsbi.api import make_target, simulate
from jsbi.data import Observation, Response
from jsbi.simulate import Prior, Target


@dataclasses.dataclass(frozen=True)
class Case:
    """Data, model and prior of one problem.

    Attributes:
        name: Short name.
        observations: What was observed.
        model: A function of named parameters that returns a spectral model.
        prior: The priors.
        truth: All parameters, where the data are simulated.
    """

    name: str
    observations: tuple[Observation, ...]
    model: Callable[..., Any]
    prior: Prior
    truth: Mapping[str, float] | None = None

    def target(self) -> Target:
        """The exact posterior density."""
        return make_target(self.observations, self.model, self.prior)


def data_file(name: str) -> Path:
    """A file among the real data sets.

    Raises:
        FileNotFoundError: If it is not there.
    """
    beside = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("JSBI_TEST_DATA", beside)) / name
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is absent; set JSBI_TEST_DATA to the folder of the data sets."
        )
    return path


def simulated(
    name: str,
    seed: int,
    setting: Observation,
    model: Callable[..., Any],
    prior: dict[str, Any],
    truth: dict[str, float],
) -> Case:
    """A case whose spectrum is simulated with the instrument of an observation.

    Args:
        name: Short name.
        seed: Seed of the Poisson noise.
        setting: Gives response, exposure and fit bins.
        model: See `Case`.
        prior: As for `Prior`; numbers are fixed, in the truth too.
        truth: The free parameters.
    """
    fixed = {key: value for key, value in prior.items() if isinstance(value, float)}
    observation = simulate(jax.random.key(seed), setting, model, fixed | truth)
    return Case(name, (observation,), model, Prior(prior), fixed | truth)


def merged(response: Response, energy: np.ndarray, channel: np.ndarray) -> Response:
    """A response with fewer bins; the spectrum is taken as flat in each of energy.

    Args:
        response: The response.
        energy: First energy bin of each run to merge, and the end of the last.
        channel: The same of the channels.
    """
    width = np.diff(response.energy_edges)
    weight = runs(energy).multiply((response.area * width)[None, :]).tocsr()
    total = weight.sum(1)
    share = weight.multiply(1 / np.maximum(total, 1e-30)[:, None]).tocsr()
    redistribution = runs(channel) @ response.redistribution @ share.T
    edges = response.energy_edges[energy]
    return Response(
        energy_edges=edges,
        redistribution=scipy.sparse.csc_array(redistribution),
        area=total / np.diff(edges),
        channel=np.arange(len(channel) - 1),
        channel_low=response.channel_low[channel[:-1]],
        channel_high=response.channel_high[channel[1:] - 1],
    )


def coarser(observation: Observation, number: int) -> Observation:
    """The observation with runs of so many energy bins merged, to fold faster.

    Args:
        observation: The observation.
        number: Energy bins in each run.
    """
    response = observation.response
    bins = len(response.area)
    energy = np.append(np.arange(0, bins, number), bins)
    channel = np.arange(response.detectors + 1)
    return dataclasses.replace(observation, response=merged(response, energy, channel))


def runs(edge: np.ndarray) -> scipy.sparse.csr_array:
    """Matrix [run, bin] that adds up the bins of each run."""
    size = np.diff(edge)
    index = np.repeat(np.arange(len(size)), size), np.arange(edge[-1])
    return scipy.sparse.csr_array((np.ones(edge[-1]), index))
