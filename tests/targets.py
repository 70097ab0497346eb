"""Small problems with known answers, shared by the tests of inference."""

import math

import jax
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


class Relief(SpectralModel):
    """Photons in any number of bins, off by so many standard deviations."""

    deviation: Float[Array, " bin"]

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Near 1e4 photons in each bin, and positive however far off."""
        return 1e4 * jnp.exp(self.deviation / 100)


def relief_target(shape, dimension):
    """A target whose log-likelihood is minus half the sum of `shape(z)` squared."""
    bins = jax.eval_shape(shape, jnp.zeros(dimension)).size
    edges = np.arange(1.0, bins + 2)
    response = Response(
        energy_edges=edges,
        redistribution=scipy.sparse.csc_array(np.eye(bins)),
        area=np.ones(bins),
        channel=np.arange(bins),
        channel_low=edges[:-1],
        channel_high=edges[1:],
    )
    observation = observation_from_counts("shape", np.full(bins, 1e4), 1.0, response)
    prior = Prior({f"z{place}": Normal(0.0, 1.0) for place in range(dimension)})
    simulator = Simulator(
        prior,
        lambda **values: Relief(shape(jnp.stack(list(values.values())))),
        (Folder(observation),),
    )
    return Target(simulator, observation.binned_counts)


def ridge(a, b):
    """Strongly correlated, nearly Gaussian."""
    return jnp.stack([20 * (a - b), 3 * (a + b - 1)])


def bend(a, b):
    """A bent ridge, as wide as the prior along it."""
    return jnp.stack([6 * (b - a**2 / 2), a - 0.5])


def edge(a, b):
    """Two parameters that want to be beyond the edges of uniform priors."""
    beyond = 1.02 - jax.scipy.special.ndtr(jnp.stack([a, -b]))
    return beyond * jnp.array([60.0, 20.0])


def flat(a, b):
    """Two parameters that the data do not know."""
    return 0 * jnp.stack([a, b])


def unequal(a, b):
    """Two modes that differ in mass and in width."""
    side = jax.nn.sigmoid(20 * a)
    return jnp.stack([(8 + 20 * side) * (jnp.abs(a) - 1), 2 * side, 5 * b])


def paired_target(pairs, seed=0):
    """A product of two-parameter problems in randomly rotated coordinates.

    The prior does not notice a rotation, so that evidences multiply.

    Returns: The target and the rotation; `z @ rotation` are the pairs' coordinates.
    """
    dimension = 2 * len(pairs)
    normal = np.random.default_rng(seed).normal(size=(dimension, dimension))
    rotation = np.linalg.qr(normal)[0]

    def shape(z):
        own = jnp.matmul(z, jnp.asarray(rotation, z.dtype), precision="highest")
        return jnp.concatenate(
            [pair(*own[2 * place : 2 * place + 2]) for place, pair in enumerate(pairs)]
        )

    return relief_target(shape, dimension), rotation


def paired_answer(pairs):
    """Log evidence of the product; means and widths of the pairs' coordinates."""
    answers = {
        pair: grid_answer(relief_target(lambda z, pair=pair: pair(z[0], z[1]), 2))
        for pair in set(pairs)
    }
    log_z, mean, sd = zip(*[answers[pair] for pair in pairs], strict=True)
    return sum(log_z), np.concatenate(mean), np.concatenate(sd)
