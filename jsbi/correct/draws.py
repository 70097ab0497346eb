"""Draws with exact weights: what every importance sampler returns."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jsbi.simulate import log_prior


@dataclass(frozen=True)
class WeightedDraws:
    """Independent draws from a proposal.

    Attributes:
        z: [draw, dim].
        log_likelihood: Relative to the perfect fit, [draw].
        log_ratio: Log of target over proposal, [draw].
    """

    z: Float[np.ndarray, "draw dim"]
    log_likelihood: Float[np.ndarray, " draw"]
    log_ratio: Float[np.ndarray, " draw"]

    def joined(self, more: "WeightedDraws") -> "WeightedDraws":
        """These draws and more of the same proposal."""
        return WeightedDraws(
            np.concatenate([self.z, more.z]),
            np.concatenate([self.log_likelihood, more.log_likelihood]),
            np.concatenate([self.log_ratio, more.log_ratio]),
        )


def weigh(
    z: Float[np.ndarray, "draw dim"],
    log_likelihood: Float[np.ndarray, " draw"],
    log_proposal: Float[np.ndarray, " draw"],
) -> WeightedDraws:
    """Weight draws of a proposal by prior times likelihood.

    A draw at which the model, the prior or the proposal has no value has no weight.

    Args:
        z: Draws.
        log_likelihood: Relative to the perfect fit.
        log_proposal: Log density of the proposal.
    """
    log_ratio = log_likelihood + log_prior(z) - log_proposal
    known = np.isfinite(log_ratio)
    return WeightedDraws(z, log_likelihood, np.where(known, log_ratio, -np.inf))
