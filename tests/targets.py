"""Small problems with known answers, shared by the tests of inference."""

import math

import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float
from scipy.special import logsumexp

from jsbi.data import Response, gaussian_response, observation_from_counts
from jsbi.instrument import EnergyGrid, Folder
from jsbi.model import SpectralModel, spectral_model
from jsbi.simulate import LogUniform, Normal, Prior, Simulator, Target, Uniform


def make_observation(counts=None, exposure=2e3):
    """A small CCD: 60 bins from 0.5 to 8 keV."""
    edges = np.geomspace(0.4, 9.0, 161)
    channels = np.geomspace(0.5, 8.0, 61)
    centre = np.sqrt(edges[1:] * edges[:-1])
    area = 300 * np.exp(-(np.log(centre / 1.5) ** 2))
    response = gaussian_response(edges, channels, area, 0.1 * np.sqrt(centre))
    counts = np.zeros(60) if counts is None else counts
    return observation_from_counts("test", counts, exposure, response)


def power_law():
    """A model with two parameters and their prior."""
    prior = Prior(
        {
            "tbabs.nH": 0.1,
            "powerlaw.PhoIndex": Uniform(0.0, 4.0),
            "powerlaw.norm": LogUniform(1e-4, 1e-1),
        }
    )
    return spectral_model("tbabs*powerlaw"), prior


def power_law_target(seed=0, z=(0.1, 0.2)):
    """The target of a power law, and its simulator."""
    model, prior = power_law()
    simulator = Simulator(prior, model, (Folder(make_observation()),))
    expected = np.asarray(simulator.expected_counts(jnp.array(z)))
    counts = np.random.default_rng(seed).poisson(expected)
    return Target(simulator, counts.astype(float))


def grid_answer(target, points=241, width=8.0):
    """Evidence, means and widths in z of a two-parameter target, by quadrature."""
    centre, scale = np.zeros(2), np.full(2, 1.5)
    for _ in range(6):
        axes = [
            c + s * np.linspace(-width, width, points)
            for c, s in zip(centre, scale, strict=True)
        ]
        z = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        density = target.log_likelihood(z) + target.log_prior(z)
        weight = np.exp(density - logsumexp(density))
        centre = weight @ z
        scale = np.maximum(np.sqrt(weight @ (z - centre) ** 2), scale / 8)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    return logsumexp(density) + math.log(cell), centre, scale


class Landscape(SpectralModel):
    """Photons in two bins that make the log-likelihood any shape in two parameters."""

    first: Float[Array, ""]
    second: Float[Array, ""]

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """1e4 photons in each bin, off by so many standard deviations."""
        return 1e4 + 100 * jnp.stack([self.first, self.second])


def two_modes(a, b):
    """Ridges at a = -1 and 1 of equal mass."""
    return Landscape(12 * (jnp.abs(a) - 1), 8 * b)


def banana(a, b):
    """A bent ridge."""
    return Landscape(10 * (b - a**2), a - 0.5)


def landscape_target(shape):
    """A target whose likelihood is one of the shapes above."""
    response = Response(
        energy_edges=np.array([1.0, 2.0, 3.0]),
        redistribution=scipy.sparse.csc_array(np.eye(2)),
        area=np.ones(2),
        channel=np.arange(2),
        channel_low=np.array([1.0, 2.0]),
        channel_high=np.array([2.0, 3.0]),
    )
    observation = observation_from_counts("shape", np.full(2, 1e4), 1.0, response)
    prior = Prior({"a": Normal(0.0, 1.0), "b": Normal(0.0, 1.0)})
    simulator = Simulator(prior, shape, (Folder(observation),))
    return Target(simulator, observation.binned_counts)
