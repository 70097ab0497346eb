"""The energy bins of an unfolded spectrum, and the spectra that train an unfolding."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from jsbi.data import Observation
from jsbi.data.optimal import resolution_in_channels
from jsbi.instrument import EnergyGrid
from jsbi.model import TBabs
from jsbi.simulate import Simulator

MOST_BINS = 600  # matrices of so many rows are inverted for every spectrum
SPLIT = 6  # of each bin, to make training spectra finer than the result
LEAST_SHARE = 1e-6  # of all counts; what is added to every bin before the logarithm
PART = 500  # training spectra made at once
# Shares of the training spectra: the model, the model with what it may lack, neither.
SHARES = (0.25, 0.35, 0.40)


class Grid(NamedTuple):
    """Energy bins of an unfolded spectrum and how they are seen.

    Attributes:
        edges: Edges [keV].
        inside: Whether a bin lies in the energy range of the fit bins. Those outside
            are there because their photons are counted in the fit bins, too.
        fine: Finer edges, of which every sixth is one of `edges` [keV].
        matrix: Counts per photon flux of a fine bin [cm^2 s].
    """

    edges: Float[np.ndarray, " edge"]
    inside: Bool[np.ndarray, " bin"]
    fine: Float[np.ndarray, " fine_edge"]
    matrix: Float[np.ndarray, "channel fine"]


def unfolding_grid(
    observations: tuple[Observation, ...],
    simulator: Simulator,
    *,
    per_resolution: float = 2.0,
) -> Grid:
    """Bins of a fixed part of the resolution, the best of all observations.

    Args:
        observations: What the simulator's folders were made of.
        simulator: Gives the folded responses.
        per_resolution: Bins in a full width at half maximum. Outside of the energies of
            the fit bins they are four times wider.

    Raises:
        ValueError: If there are too many bins.
    """
    ends = [np.asarray(each.grid.edges, np.float64) for each in simulator.folders]
    lowest, highest = min(e[0] for e in ends), max(e[-1] for e in ends)
    low = max(min(each.bin_low.min() for each in observations), lowest)
    high = min(max(each.bin_high.max() for each in observations), highest)
    resolution = [_resolution(each) for each in observations]
    edges = [lowest]
    while edges[-1] < highest:
        energy = edges[-1]
        step = min(np.interp(energy, *each) for each in resolution) / per_resolution
        inside = low <= energy < high
        limit = low if energy < low else high if inside else highest
        reach = energy + step * (1 if inside else 4)
        edges.append(limit if reach + 0.5 * step > limit else reach)
    if len(edges) > MOST_BINS + 1:
        raise ValueError(
            f"An unfolding must have at most {MOST_BINS} bins; {len(edges) - 1} are "
            "needed. Lower `per_resolution`, or select fewer energies?"
        )
    coarse = np.array(edges)
    parts = np.linspace(coarse[:-1], coarse[1:], SPLIT, endpoint=False, axis=1)
    fine = np.append(parts.ravel(), coarse[-1])
    matrix = np.concatenate(
        [
            np.asarray(folder.matrix, np.float64) @ _overlap(end, fine)
            for folder, end in zip(simulator.folders, ends, strict=True)
        ]
    )
    inside = (coarse[:-1] >= low * (1 - 1e-6)) & (coarse[1:] <= high * (1 + 1e-6))
    return Grid(coarse, inside, fine, matrix)


def _resolution(
    observation: Observation,
) -> tuple[Float[np.ndarray, " detector"], Float[np.ndarray, " detector"]]:
    """Rising energies, and the full width at half maximum of the response [keV]."""
    response = observation.response
    width = response.channel_high - response.channel_low
    middle = (response.channel_high + response.channel_low) / 2
    order = np.argsort(middle, kind="stable")
    resolution = resolution_in_channels(response.redistribution) * width
    return middle[order], resolution[order]


def _overlap(
    response: Float[np.ndarray, " response_edge"], fine: Float[np.ndarray, " fine_edge"]
) -> Float[np.ndarray, "response_bin fine"]:
    """Share of each fine bin's photons, spread evenly, in each bin of a response."""
    low = np.maximum(response[:-1, None], fine[:-1])
    high = np.minimum(response[1:, None], fine[1:])
    return np.maximum(high - low, 0.0) / np.diff(fine)


def training_spectra(
    key: Key[Array, ""], grid: Grid, simulator: Simulator, number: int
) -> tuple[Float[np.ndarray, "spectrum bin"], Float[np.ndarray, "spectrum channel"]]:
    """Spectra of many shapes, the prior of an unfolding; each of one expected count.

    A quarter are the model over its prior. 35 % are the model times smooth random
    deviations and lines. 40 % owe the model nothing: an absorbed cut-off power law of
    random index times such deviations and lines.

    Args:
        key: Random key.
        grid: The bins.
        simulator: Model and prior. Where the model is one per observation, the first
            is used: unfolding supposes the same source for all.
        number: How many; those of which the model has no value are left out.

    Returns: Log flux in each bin, and expected counts in each channel.
    """
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    parts = []
    for start in range(0, number, PART):
        size = min(PART, number - start)
        flux = _some_spectra(generator, grid, simulator, size)
        expected = flux @ grid.matrix.T
        total = expected.sum(1, keepdims=True)
        known = np.isfinite(total[:, 0]) & (total[:, 0] > 0)
        flux, expected = flux[known] / total[known], expected[known] / total[known]
        photons = flux.reshape(len(flux), -1, SPLIT).sum(2)
        parts.append((np.log(photons + _faintest(grid)), expected))
    log_flux, expected = map(np.concatenate, zip(*parts, strict=True))
    return log_flux, expected


def _faintest(grid: Grid) -> Float[np.ndarray, " bin"]:
    """Flux that would give a negligible share of the counts."""
    area = grid.matrix.sum(0).reshape(-1, SPLIT).mean(1)
    return LEAST_SHARE / np.maximum(area, 1e-3 * area.max())


def _some_spectra(
    generator: np.random.Generator, grid: Grid, simulator: Simulator, number: int
) -> Float[np.ndarray, "spectrum fine"]:
    energies = EnergyGrid(grid.fine)
    z = generator.standard_normal((number, simulator.prior.dimension))
    flux = np.asarray(
        _model_flux(simulator, energies, jnp.asarray(z, jnp.result_type(float))),
        np.float64,
    )
    kind = generator.choice(3, number, p=SHARES)
    others = _random_continua(generator, grid.fine, number)
    flux = np.where((kind == 2)[:, None], others, flux)
    deviation = _random_deviations(generator, grid, number)
    return flux * np.where((kind == 0)[:, None], 1.0, deviation)


@eqx.filter_jit
def _model_flux(simulator: Simulator, energies: EnergyGrid, z: Array) -> Array:
    def one(row):
        model = simulator.model(**simulator.prior(row))
        return (model[0] if isinstance(model, tuple) else model)(energies)

    return jax.vmap(one)(z)


def _random_continua(
    generator: np.random.Generator, edges: np.ndarray, number: int
) -> Float[np.ndarray, "spectrum fine"]:
    """Absorbed cut-off power laws."""
    thin = TBabs(jnp.asarray(0.01))(EnergyGrid(edges))
    depth = -np.log(np.asarray(thin, np.float64))
    energy = (edges[1:] + edges[:-1]) / 2
    index = generator.uniform(-1, 5, (number, 1))
    cutoff = np.exp(generator.uniform(0, np.log(100), (number, 1)))
    column = 10 ** generator.uniform(-2, 0.5, (number, 1))
    column = column * (generator.random((number, 1)) < 0.7)
    log_density = -index * np.log(energy) - energy / cutoff - 100 * column * depth
    return np.exp(log_density) * np.diff(edges)


def _random_deviations(
    generator: np.random.Generator, grid: Grid, number: int
) -> Float[np.ndarray, "spectrum fine"]:
    """Factors: the exponential of a random smooth curve, and up to three lines."""
    energy = (grid.fine[1:] + grid.fine[:-1]) / 2
    log_factor = np.zeros((number, len(energy)))
    length = np.exp(generator.uniform(np.log(0.15), np.log(1.5), number))
    height = generator.uniform(0, 1, number) * np.sqrt(2 / 16)
    for _ in range(16):
        frequency = generator.standard_normal(number) / length
        phase = generator.uniform(0, 2 * np.pi, number)
        angle = frequency[:, None] * np.log(energy) + phase[:, None]
        log_factor += height[:, None] * np.cos(angle)
    factor = np.exp(log_factor)
    coarse = np.diff(grid.edges)
    present = generator.choice(4, number, p=(0.4, 0.3, 0.2, 0.1))
    for line in range(3):
        place = generator.integers(0, len(energy), number)
        bin_width = coarse[place // SPLIT]
        sigma = bin_width * np.exp(generator.uniform(np.log(0.2), np.log(8), number))
        width = bin_width * np.exp(generator.uniform(np.log(0.1), np.log(50), number))
        emission = width / (sigma * np.sqrt(2 * np.pi))
        absorbed = generator.random(number) < 0.25
        depth = np.where(absorbed, generator.uniform(-0.95, -0.1, number), emission)
        depth = depth * (line < present)
        apart = (energy - energy[place][:, None]) / sigma[:, None]
        factor *= 1 + depth[:, None] * np.exp(-0.5 * apart**2)
    return factor
