"""Can the parameters be read back from a summary?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.compress import (
    Compressor,
    Embedding,
    draw_examples,
    fisher_information,
    summarise,
)
from jsbi.descent import descend
from jsbi.posterior import Posterior
from jsbi.simulate import Simulator, fast_poisson_counts
from jsbi.simulate.source import Source

EXAMPLES = 1024  # simulations that set the scales and the prior's covariance


@dataclass(frozen=True)
class Retrieval:
    """True parameters of simulations, and what a network read from their summaries.

    All are coordinates z, in which the prior is N(0, I).

    Attributes:
        names: The parameters.
        true: Of each held-out simulation.
        retrieved: By the network, which estimates the posterior mean.
        prior_sd: Standard deviation over all simulations that the source makes.
        bound_sd: Van Trees' bound: no summary can be read with a smaller error. From
            the Fisher information of the counts, averaged over the simulations, and
            of a normal prior with the covariance of the simulations.
        local_sd: The error that is expected where posteriors are normal and the summary
            keeps all: root of the mean variance that the same informations leave at
            each simulation. As large as the bound if the information is the same
            everywhere; over a wide prior the bright spectra make the bound useless.
        posterior_sd: Widths of the posterior of one observation; None if not given.
    """

    names: tuple[str, ...]
    true: Float[np.ndarray, "simulation dim"]
    retrieved: Float[np.ndarray, "simulation dim"]
    prior_sd: Float[np.ndarray, " dim"]
    bound_sd: Float[np.ndarray, " dim"]
    local_sd: Float[np.ndarray, " dim"]
    posterior_sd: Float[np.ndarray, " dim"] | None = None

    @property
    def slope(self) -> Float[np.ndarray, " dim"]:
        """Slope of retrieved against true: 1 if well constrained, 0 if not at all."""
        apart = self.true - self.true.mean(0)
        return (apart * self.retrieved).sum(0) / (apart**2).sum(0)

    @property
    def correlation(self) -> Float[np.ndarray, " dim"]:
        """Correlation of retrieved with true, 0 where nothing is retrieved."""
        spread = self.retrieved.std(0)
        return self.slope * self.true.std(0) / np.where(spread > 0, spread, np.inf)

    @property
    def residual_sd(self) -> Float[np.ndarray, " dim"]:
        """Root mean square of retrieved minus true."""
        return np.sqrt(((self.retrieved - self.true) ** 2).mean(0))

    @property
    def residual_to_prior(self) -> Float[np.ndarray, " dim"]:
        """Residual in units of the prior's deviation: 1 if nothing was learned."""
        return self.residual_sd / self.prior_sd

    @property
    def residual_to_bound(self) -> Float[np.ndarray, " dim"]:
        """Residual in units of van Trees' bound.

        At least 1, apart from chance, where the simulations are normal in z.
        """
        return self.residual_sd / self.bound_sd

    @property
    def residual_to_local(self) -> Float[np.ndarray, " dim"]:
        """Residual in units of the expected one: near 1 if the summary keeps all.

        Well above 1, the summary has lost information, or the training was too short
        for a posterior so much narrower than the prior.
        """
        return self.residual_sd / self.local_sd

    @property
    def residual_to_posterior(self) -> Float[np.ndarray, " dim"] | None:
        """Residual in units of the posterior's width; None where that is not known.

        To be compared with 1 if the source makes spectra like the observed one.
        """
        if self.posterior_sd is None:
            return None
        return self.residual_sd / self.posterior_sd

    def __str__(self) -> str:
        """A table with one line per parameter."""
        width = max(map(len, (*self.names, "parameter")))
        columns = {
            "slope": self.slope,
            "correlation": self.correlation,
            "residual/prior": self.residual_to_prior,
            "residual/bound": self.residual_to_bound,
            "residual/local": self.residual_to_local,
            "residual/posterior": self.residual_to_posterior,
        }
        known = {title: each for title, each in columns.items() if each is not None}
        lines = [f"{'parameter':<{width}}" + "".join(f"{t:>20}" for t in known)]
        for name, *row in zip(self.names, *known.values(), strict=True):
            lines.append(f"{name:<{width}}" + "".join(f"{v:>20.3f}" for v in row))
        return "\n".join(lines)


def retrieve_parameters(
    key: Key[Array, ""],
    compressor: Compressor,
    source: Source,
    simulator: Simulator,
    *,
    posterior: Posterior | None = None,
    steps: int = 2000,
    batch: int = 256,
    held_out: int = 1000,
    width: int = 128,
    rate: float = 3e-3,
    tick: Callable[[int], Any] = lambda steps: None,
) -> Retrieval:
    """Train a network that reads the parameters from a summary, and try it.

    The compressor stays as it is: one with a network must have been trained before.

    Args:
        key: Random key.
        compressor: The summary to examine.
        source: Simulations without noise. Of stored ones the same are used for the
            trial as for the training, with other noise.
        simulator: The model that they come from.
        posterior: Of an observation near which the simulations are, to compare with.
        steps: Steps of training, rounded up to a multiple of 100.
        batch: Simulations per step.
        held_out: Simulations of the trial.
        width: Hidden units of each of two layers.
        rate: Initial learning rate.
        tick: Called with the number of steps after each part of the work.

    Raises:
        ValueError: If the posterior is of other parameters.

    Source: the parameter retriever of Barret & Dupourqué (2026), A&A 708, A280; the
        bound of van Trees (1968), "Detection, Estimation, and Modulation Theory", part
        I, section 2.4; see Gill & Levit (1995), Bernoulli 1, 59.
    """
    posterior_sd = None if posterior is None else _widths(posterior, simulator)
    key_example, key_network, key_train, key_trial = jax.random.split(key, 4)
    known, example = draw_examples(key_example, source, EXAMPLES)
    dimension = known.z.shape[1]
    centre, spread = known.z.mean(0), known.z.std(0)
    network = Embedding(
        key_network, compressor, example, features=dimension, width=width
    )
    data = (source, centre, spread, batch)
    network, _ = descend(
        key_train, network, _square_error, data, steps=steps, rate=rate, tick=tick
    )
    trial, counts = draw_examples(key_trial, source, held_out)
    scaled = np.asarray(summarise(network, counts), np.float64)
    covariance = np.cov(np.asarray(known.z, np.float64), rowvar=False)
    counts_information = fisher_information(simulator, trial.z)
    prior_information = np.linalg.inv(covariance.reshape(dimension, dimension))
    return Retrieval(
        names=simulator.prior.names,
        true=np.asarray(trial.z, np.float64),
        retrieved=np.asarray(centre) + np.asarray(spread) * scaled,
        prior_sd=np.asarray(spread, np.float64),
        bound_sd=van_trees_bound(counts_information, prior_information),
        local_sd=_local_width(counts_information, prior_information),
        posterior_sd=posterior_sd,
    )


def _square_error(
    network: Embedding, key: Array, data: tuple[Source, Array, Array, int]
) -> Array:
    source, centre, spread, number = data
    key_draw, key_noise = jax.random.split(key)
    drawn = source.draw(key_draw, number)
    counts = fast_poisson_counts(key_noise, drawn.expected)
    apart = jax.vmap(network)(counts) - (drawn.z - centre[None]) / spread[None]
    return jnp.mean(apart**2)


def _widths(posterior: Posterior, simulator: Simulator) -> Float[np.ndarray, " dim"]:
    """Standard deviations in z."""
    if posterior.names != simulator.prior.names:
        raise ValueError(
            "The posterior must be of the simulator's parameters, "
            f"{', '.join(simulator.prior.names)}; got {', '.join(posterior.names)}. "
            "Is it of another model?"
        )
    apart = posterior.z - posterior.weights @ posterior.z
    return np.sqrt(posterior.weights @ apart**2)


def van_trees_bound(
    counts_information: Float[np.ndarray, "place dim dim"],
    prior_information: Float[np.ndarray, "dim dim"],
) -> Float[np.ndarray, " dim"]:
    """Least root mean square error of any estimate, averaged over the prior.

    Args:
        counts_information: Of the data, at places drawn from the prior.
        prior_information: Of the prior; if it is normal, the inverse covariance.

    Source: van Trees (1968), "Detection, Estimation, and Modulation Theory", part I,
        section 2.4.
    """
    information = counts_information.mean(0) + prior_information
    return np.sqrt(np.diagonal(np.linalg.inv(information)))


def _local_width(
    counts_information: Float[np.ndarray, "place dim dim"],
    prior_information: Float[np.ndarray, "dim dim"],
) -> Float[np.ndarray, " dim"]:
    """Root mean variance of posteriors that are normal at each place."""
    inverse = np.linalg.inv(counts_information + prior_information)
    return np.sqrt(np.diagonal(inverse, axis1=1, axis2=2).mean(0))
