"""A line at every energy: how much more probable would it make the data?"""

import math
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jsbi.diagnose.additions import DEPTHS, WIDTHS, WithLine
from jsbi.instrument import Folder
from jsbi.posterior import Posterior
from jsbi.simulate import Simulator
from jsbi.weights import log_evidence

OVERLAP = 0.84  # Bhattacharyya coefficient of Gaussians half a FWHM apart
SIGMA = 0.42  # of that step: half of the instrument's standard deviation
STRENGTHS = 48  # quantiles of the prior of the strength
DRAWS = 256
NEAR = 3  # steps around the best energy that belong to it


@dataclass(frozen=True)
class LineScan:
    """Bayes factors of a line at each of many energies.

    Attributes:
        emission: Whether it adds photons.
        energies: Where it was tried [keV], half of the resolution apart.
        edges: Of the range of energies that each stands for [keV].
        sigmas: Width of an unresolved line there [keV].
        log_ratio: ln of likelihood with the line, averaged over the prior of its
            strength, over likelihood without, at different draws of the base
            posterior, times the weight of the draw; the mean weight is 1.
        strength: Posterior mean, in the logarithm, of equivalent width [keV] or depth.
    """

    emission: bool
    energies: Float[np.ndarray, " energy"]
    edges: Float[np.ndarray, " edge"]
    sigmas: Float[np.ndarray, " energy"]
    log_ratio: Float[np.ndarray, "draw energy"]
    strength: Float[np.ndarray, " energy"]

    @property
    def log_bayes(self) -> Float[np.ndarray, " energy"]:
        """Ln of the Bayes factor of a line at each energy."""
        return np.array([log_evidence(column)[0] for column in self.log_ratio.T])

    @property
    def log_prior(self) -> Float[np.ndarray, " energy"]:
        """Ln of the prior probability of the range around each energy."""
        width = np.log(self.edges)
        return np.log(np.diff(width) / (width[-1] - width[0]))

    @property
    def best(self) -> int:
        """Where a line is most probable."""
        return int(np.argmax(self.log_bayes + self.log_prior))

    @property
    def window(self) -> slice:
        """The energies that cannot be told from the best."""
        return slice(max(self.best - NEAR, 0), self.best + NEAR + 1)

    def total(self, chosen: Any = slice(None)) -> tuple[float, float]:
        """Ln of the Bayes factor of a line at any of some energies, and its error.

        Args:
            chosen: Index of the energies; their prior probabilities are not scaled up.
        """
        weighted = (self.log_ratio + self.log_prior)[:, chosen]
        if not weighted.shape[1]:
            return -math.inf, 0.0
        return log_evidence(np.logaddexp.reduce(weighted, axis=1))


def scan_lines(
    key: Key[Array, ""],
    simulator: Simulator,
    counts: Float[Array, " channel"],
    posterior: Posterior,
    *,
    emission: bool = True,
    draws: int = DRAWS,
) -> LineScan:
    """Try a line at every energy that the instruments can tell from the next.

    The ratio of evidences is the posterior mean, without the line, of the likelihood
    ratio averaged over the prior of the strength. That is exact and cheap; but where a
    line is so strong that the continuum would move by more than its own uncertainty, no
    draw is where it should be and the ratio comes out too low. The time grows as the
    energies times the bins: a calorimeter, with its 9,000 energies, is out of reach.

    Args:
        key: Random key.
        simulator: The model without the line.
        counts: Observed.
        posterior: Of that model.
        emission: Whether the line adds photons.
        draws: Of the posterior to use.
    """
    energies, edges, sigmas = scan_energies(simulator)
    rows = posterior.resampled_rows(key, draws)
    model = WithLine(
        simulator.model, jnp.asarray(energies), jnp.asarray(sigmas), emission
    )
    weak, strong = WIDTHS if emission else DEPTHS
    quantile = (np.arange(STRENGTHS) + 0.5) / STRENGTHS
    strengths = weak * (strong / weak) ** quantile
    every = np.asarray(
        _log_ratio(
            simulator,
            model,
            counts,
            jnp.asarray(posterior.z[rows], counts.dtype),
            jnp.asarray(energies, counts.dtype),
            jnp.asarray(strengths, counts.dtype),
        ),
        np.float64,
    )
    # Repeats of a draw tell nothing new, and must not make the error smaller.
    _, first, times = np.unique(rows, return_index=True, return_counts=True)
    share = times / times.mean()
    log_ratio = every[first] + np.log(share)[:, None, None]
    overall = np.logaddexp.reduce(log_ratio, axis=0)
    weight = np.exp(overall - np.logaddexp.reduce(overall, axis=1)[:, None])
    return LineScan(
        emission=emission,
        energies=energies,
        edges=edges,
        sigmas=sigmas,
        log_ratio=np.logaddexp.reduce(log_ratio, axis=2) - math.log(STRENGTHS),
        strength=np.exp(weight @ np.log(strengths)),
    )


class _At(eqx.Module):
    """A model with some of its parameters fixed."""

    model: Any
    values: dict[str, Array]

    def __call__(self, **others: Any) -> Any:
        return self.model(**others, **self.values)


@eqx.filter_jit
def _log_ratio(
    simulator: Simulator,
    model: WithLine,
    counts: Array,
    z: Array,
    energies: Array,
    strengths: Array,
) -> Array:
    """Ln of the likelihood ratios, [draw, energy, strength]."""

    def template(row: Array, energy: Array) -> Array:
        """Counts for unit strength; the counts are linear in it."""

        def expected(strength: Array) -> Array:
            values = dict(zip(model.names, (energy, strength), strict=True))
            lined = replace(simulator, model=_At(model, values))
            return lined.expected_counts(row)

        zero = jnp.zeros((), row.dtype)
        return jax.jvp(expected, (zero,), (jnp.ones_like(zero),))[1]

    def at(row: Array) -> Array:
        without = simulator.expected_counts(row)
        line = jax.vmap(lambda energy: template(row, energy))(energies)
        least = jnp.finfo(without.dtype).tiny
        relative = line / jnp.maximum(without, least)[None]
        total = line.sum(1)

        def ratio(strength: Array) -> Array:
            # No photons are left where the depth is 1, but for rounding.
            change = jnp.maximum(strength * relative, -1 + 1e-6)
            gain = jnp.where(counts > 0, counts, 0.0)[None] * jnp.log1p(change)
            return gain.sum(1) - strength * total

        return jax.lax.map(ratio, strengths).T

    return jax.lax.map(at, z)


def scan_energies(
    simulator: Simulator,
) -> tuple[
    Float[np.ndarray, " energy"],
    Float[np.ndarray, " edge"],
    Float[np.ndarray, " energy"],
]:
    """Energies that the instruments can just tell apart.

    Between neighbours the best of the instruments makes a step of half its resolution,
    as it is with the fit bins. There are none in gaps between the instruments.

    Args:
        simulator: Holds the instruments.

    Returns: The energies, the edges of the ranges that they stand for, and the width of
        a line that is unresolved, all in keV.
    """
    own = [_steps(folder) for folder in simulator.folders]
    low = min(at[0] for at in own)
    high = max(at[-1] for at in own)
    energies, steps = [low], []
    while energies[-1] < high:
        here = energies[-1]
        step = min(_step_at(here, at) for at in own)
        if math.isfinite(step):
            following = here + step
        else:
            following, step = min(at[0] for at in own if at[0] > here), steps[-1]
        energies.append(following)
        steps.append(step)
    energies = np.array(energies)
    energies[-1] = high
    between = np.sqrt(energies[1:] * energies[:-1])
    edges = np.concatenate([[low], between, [high]])
    return energies, edges, SIGMA * np.array([*steps, steps[-1]])


def _step_at(energy: float, energies: np.ndarray) -> float:
    """Step of one instrument at an energy; infinite outside its band."""
    if not energies[0] <= energy < energies[-1]:
        return math.inf
    middle = 0.5 * (energies[1:] + energies[:-1])
    return float(np.interp(energy, middle, np.diff(energies)))


def _steps(folder: Folder) -> np.ndarray:
    """Energies in the band of one instrument whose responses overlap little enough."""
    matrix = np.asarray(folder.matrix, np.float64)
    edges = np.asarray(folder.grid.edges, np.float64)
    middle = np.sqrt(edges[1:] * edges[:-1])
    peak = matrix.argmax(1)
    first, last = peak.min(), peak.max()
    root = np.sqrt(matrix / np.maximum(matrix.sum(0), 1e-300))
    chosen = [first]
    for place in range(first + 1, last + 1):
        if root[:, chosen[-1]] @ root[:, place] < OVERLAP:
            chosen.append(place)
    if len(chosen) == 1:
        # One fit bin, or all of the band unresolved: the line is as wide as the band.
        return np.array([edges[0], edges[-1]])
    return middle[chosen]
