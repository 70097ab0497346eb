"""The parts of a model that has been built: its terms, and what stands before them."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float

from jsbi.instrument import EnergyGrid
from jsbi.model.component import (
    Absorbed,
    Convolution,
    Convolved,
    ConvolvedFactor,
    Multiplicative,
    Product,
    SpectralModel,
    Sum,
)


class _ConvolvedPart(SpectralModel):
    """A part of what is convolved, changed as it is within the whole."""

    convolution: Convolution
    part: SpectralModel
    whole: SpectralModel

    def __call__(self, grid: EnergyGrid) -> Float[Array, " bin"]:
        """Convolve the photons of the bins."""
        return self.convolution.along(grid, self.part(grid), self.whole(grid))


def additive_terms(model: SpectralModel) -> list[SpectralModel]:
    """The terms of a sum, each with what stands before it; the model itself if none.

    They add up to the model. What a convolution changes together, such as the photons
    that `cflux` scales to a flux, stays together.
    """
    if isinstance(model, Sum):
        return [term for part in model.terms for term in additive_terms(part)]
    if isinstance(model, Absorbed):
        terms = additive_terms(model.model)
        return [Absorbed(model.factor, term, model.behind) for term in terms]
    if isinstance(model, Convolved) and model.convolution.linear:
        terms = additive_terms(model.model)
        return [Convolved(model.convolution, term) for term in terms]
    return [model]


def term_names(terms: list[SpectralModel]) -> list[str]:
    """Name of each of the terms of a model, that of its source in an expression.

    Numbered from the second of its kind: `powerlaw_2`. Terms that a convolution holds
    together have the name of the convolution.
    """
    return [names[0] for names in source_names(terms)]


def source_names(terms: list[SpectralModel]) -> list[list[str]]:
    """Names of all sources in each of the terms of a model.

    A convolution that holds several together stands before them.
    """
    every = [_sources(term) for term in terms]
    names = iter(_numbered([source for term in every for source in term]))
    return [[next(names) for _ in term] for term in every]


def _sources(model: Any) -> list[Any]:
    if isinstance(model, Sum):
        return [source for term in model.terms for source in _sources(term)]
    if isinstance(model, Absorbed):
        return _sources(model.model)
    if isinstance(model, Convolved):
        sources = _sources(model.model)
        return sources if model.convolution.linear else [model.convolution, *sources]
    return [model]


def convolutions(model: SpectralModel) -> list[Convolution]:
    """All convolutions in a model, of photons and of factors."""

    def is_convolution(part):
        return isinstance(part, Convolution)

    return list(filter(is_convolution, jax.tree.leaves(model, is_leaf=is_convolution)))


def _numbered(parts: list[Any]) -> list[str]:
    stems = [getattr(each, "xspec_name", type(each).__name__).lower() for each in parts]
    counts = [stems[: index + 1].count(stem) for index, stem in enumerate(stems)]
    return [
        f"{stem}_{count}" if count > 1 else stem
        for stem, count in zip(stems, counts, strict=True)
    ]


def factors(model: Any) -> dict[str, Multiplicative]:
    """Name to factor, of all that multiply photons, as an expression labels them."""
    found = list(_factors(model))
    return dict(zip(_numbered(found), found, strict=True))


def _factors(model: Any) -> list[Multiplicative]:
    if isinstance(model, Sum):
        return [each for term in model.terms for each in _factors(term)]
    if isinstance(model, Product):
        return [each for factor in model.factors for each in _factors(factor)]
    if isinstance(model, Absorbed):
        parts = model.factor, model.model
        order = reversed(parts) if model.behind else parts
        return [each for part in order for each in _factors(part)]
    if isinstance(model, Convolved):
        return _factors(model.model)
    if isinstance(model, ConvolvedFactor):
        return _factors(model.factor)
    return [model] if isinstance(model, Multiplicative) else []


def without(
    model: SpectralModel, unwanted: Callable[[Multiplicative], bool]
) -> SpectralModel:
    """The model without some of its factors.

    A convolution that is not linear changes what is left as it changes the whole.

    Args:
        model: What gives photons.
        unwanted: Whether a factor is to be left out.
    """
    if isinstance(model, Sum):
        return Sum(tuple(without(term, unwanted) for term in model.terms))
    if isinstance(model, Convolved):
        if not any(map(unwanted, _factors(model.model))):
            return model
        rest = without(model.model, unwanted)
        if model.convolution.linear:
            return Convolved(model.convolution, rest)
        return _ConvolvedPart(model.convolution, rest, model.model)
    if isinstance(model, Absorbed):
        rest, factor = without(model.model, unwanted), _kept(model.factor, unwanted)
        return rest if factor is None else Absorbed(factor, rest, model.behind)
    return model


def _kept(
    factor: Multiplicative, unwanted: Callable[[Multiplicative], bool]
) -> Multiplicative | None:
    """A factor without the unwanted ones in it; None if nothing is left."""
    if isinstance(factor, Product):
        kept = [_kept(each, unwanted) for each in factor.factors]
        rest = tuple(each for each in kept if each is not None)
        return Product(rest) if rest else None
    if isinstance(factor, ConvolvedFactor):
        rest = _kept(factor.factor, unwanted)
        return None if rest is None else ConvolvedFactor(factor.convolution, rest)
    return None if unwanted(factor) else factor
