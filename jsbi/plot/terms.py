"""What the spectrum plot computes: additive terms and errors of counts."""

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2

from jsbi.model import SpectralModel
from jsbi.model.component import Absorbed, Sum


def additive_terms(model: SpectralModel) -> list[SpectralModel]:
    """The terms of a sum, each with the factors before it; the model itself if none."""
    if isinstance(model, Sum):
        return [term for part in model.terms for term in additive_terms(part)]
    if isinstance(model, Absorbed):
        terms = additive_terms(model.model)
        return [Absorbed(model.factor, term) for term in terms]
    return [model]


def term_names(terms: list[SpectralModel]) -> list[str]:
    """XSPEC's name of each term, numbered from the second of its kind: `powerlaw_2`."""
    stems: list[str] = []
    for term in terms:
        while isinstance(term, Absorbed):
            term = term.model
        stems.append(getattr(term, "xspec_name", type(term).__name__).lower())
    counts = [stems[: index + 1].count(stem) for index, stem in enumerate(stems)]
    return [
        f"{stem}_{count}" if count > 1 else stem
        for stem, count in zip(stems, counts, strict=True)
    ]


def poisson_interval(
    counts: Float[np.ndarray, " bin"],
) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
    """Central 68.3 % interval of a Poisson mean, given integer counts.

    Source: Garwood (1936), Biometrika 28, 437.
    """
    tail = 0.158655
    low = np.where(counts > 0, chi2.ppf(tail, 2 * np.maximum(counts, 0.5)) / 2, 0.0)
    return low, chi2.ppf(1 - tail, 2 * (counts + 1)) / 2
