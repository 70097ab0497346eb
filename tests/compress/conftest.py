"""Simulations of a power law, all over its prior or near one place."""

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import Array, Float

from jsbi.compress import draw_examples
from jsbi.simulate import Simulator
from jsbi.simulate.source import Source, without_context
from tests.targets import power_law_target


class NormalSource(Source):
    """Coordinates around a centre, with one width for all."""

    simulator: Simulator
    centre: Float[Array, " dim"]
    width: Float[Array, ""]

    def draw(self, key, number):
        normal = jax.random.normal(key, (number, len(self.centre)))
        z = self.centre[None] + self.width * normal
        return without_context(z, jax.vmap(self.simulator.expected_counts)(z))


@pytest.fixture(scope="session")
def simulator():
    return power_law_target().simulator


@pytest.fixture(scope="session")
def broad(simulator):
    return NormalSource(simulator, jnp.zeros(2), jnp.asarray(1.0))


@pytest.fixture(scope="session")
def narrow(simulator):
    return NormalSource(simulator, jnp.array([0.1, 0.2]), jnp.asarray(0.2))


@pytest.fixture(scope="session")
def example(broad):
    _, counts = draw_examples(jax.random.key(11), broad, 512)
    return counts
