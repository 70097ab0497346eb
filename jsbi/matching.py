"""Is a spectrum one of those that a network was trained for?"""

import dataclasses

import numpy as np
from jaxtyping import Float

from jsbi.data import Observation
from jsbi.instrument import Folder

SAME = 1e-3  # relative difference of two responses that are taken for one
SAME_ENERGY = 1e-5  # relative difference of their energies
WHOLE = 1e-6  # relative distance from whole numbers that single precision leaves


def check_whole(name: str, counts: Float[np.ndarray, "..."]) -> None:
    """Refuse what are no counts.

    Args:
        name: What the message calls them.
        counts: Any numbers of them.

    Raises:
        ValueError: If one is negative, not finite or not whole.
    """
    if not np.all(np.isfinite(counts) & (counts >= 0)):
        raise ValueError(
            f"{name}: counts must be finite and not negative. A background-subtracted "
            "spectrum?"
        )
    broken = np.abs(counts - np.rint(counts)) > WHOLE * (1 + counts)
    if broken.any():
        raise ValueError(
            f"{name}: counts must be whole numbers; got {counts[broken][0]:.7g}. "
            "A rate, or a background-subtracted spectrum?"
        )


def check_channels(observation: Observation, template: Observation) -> None:
    """Refuse other channels, and bad ones among those that are used.

    Raises:
        ValueError: If they differ, or one is bad or absent.
    """
    came, needed = observation.response.detectors, template.response.detectors
    if came != needed:
        raise ValueError(
            f"{observation.name} must have the response of the training, with {needed} "
            f"channels; it has {came}. Another instrument or binning?"
        )
    lost = np.flatnonzero((template.group >= 0) & (observation.group < 0))
    if lost.size:
        raise ValueError(
            f"{observation.name} must have good data in every channel that the network "
            f"uses; {lost.size} are absent, deselected or marked bad by QUALITY, the "
            f"first is {template.response.channel[lost[0]]}. A narrower energy range, "
            "or left over by a grouping? Then take the spectrum as it was before."
        )


def matched_counts(
    observation: Observation, template: Observation, folder: Folder
) -> Float[np.ndarray, " bins"]:
    """Counts in the bins of a template, once the response is known to be the same.

    Args:
        observation: What was observed.
        template: The observation of the training.
        folder: The folding of the template.

    Raises:
        ValueError: If channels, response or area scale differ, or the counts are not
            Poisson.
    """
    check_channels(observation, template)
    if observation.net:
        raise ValueError(
            f"{observation.name} must hold counts as they were detected, which are "
            "Poisson; a background has been subtracted from them."
        )
    here = dataclasses.replace(observation, group=template.group)
    if not _same(Folder(here), folder, template.exposure / here.exposure):
        raise ValueError(
            f"{observation.name} must have the response and area scale of the "
            "training; its folded response differs by more than a part in "
            f"{1 / SAME:.0f} at some energy or in some bin, or its energies do. "
            "Another ARF? Train a network for it."
        )
    return here.binned_counts


def _same(folder: Folder, reference: Folder, ratio: float) -> bool:
    """Whether two foldings are one, at every energy, in every bin, small or large."""
    if folder.matrix.shape != reference.matrix.shape:
        return False
    wanted = np.asarray(reference.matrix, np.float64)
    apart = np.abs(np.asarray(folder.matrix, np.float64) * ratio - wanted)
    alike = all(np.all(apart.sum(i) <= SAME * wanted.sum(i)) for i in (0, 1))
    edges = np.asarray(folder.grid.edges), np.asarray(reference.grid.edges)
    return alike and np.allclose(*edges, rtol=SAME_ENERGY, atol=0.0)
