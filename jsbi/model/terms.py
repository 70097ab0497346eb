"""The parts of a model that has been built: its terms, and what stands before them."""

from collections.abc import Callable
from typing import Any

from jsbi.model.component import (
    Absorbed,
    Convolved,
    ConvolvedFactor,
    Multiplicative,
    Product,
    SpectralModel,
    Sum,
)


def additive_terms(model: SpectralModel) -> list[SpectralModel]:
    """The terms of a sum, each with what stands before it; the model itself if none.

    They add up to the model. What a convolution changes together, such as the photons
    that `cflux` scales to a flux, stays together.
    """
    if isinstance(model, Sum):
        return [term for part in model.terms for term in additive_terms(part)]
    if isinstance(model, Absorbed):
        terms = additive_terms(model.model)
        return [Absorbed(model.factor, term) for term in terms]
    if isinstance(model, Convolved) and model.convolution.linear:
        terms = additive_terms(model.model)
        return [Convolved(model.convolution, term) for term in terms]
    return [model]


def term_names(terms: list[SpectralModel]) -> list[str]:
    """XSPEC's name of each term, numbered from the second of its kind: `powerlaw_2`."""
    return _numbered([_leaf(term) for term in terms])


def _leaf(term: Any) -> Any:
    """The source of photons of a term, or the convolution that holds several."""
    while isinstance(term, Absorbed | Convolved):
        if isinstance(term, Convolved) and not term.convolution.linear:
            return term.convolution
        term = term.model
    return term


def _numbered(parts: list[Any]) -> list[str]:
    stems = [getattr(each, "xspec_name", type(each).__name__).lower() for each in parts]
    counts = [stems[: index + 1].count(stem) for index, stem in enumerate(stems)]
    return [
        f"{stem}_{count}" if count > 1 else stem
        for stem, count in zip(stems, counts, strict=True)
    ]


def factors(model: Any) -> dict[str, Multiplicative]:
    """Name to factor, of all that multiply photons, numbered as in an expression."""
    found = list(_factors(model))
    return dict(zip(_numbered(found), found, strict=True))


def _factors(model: Any) -> list[Multiplicative]:
    if isinstance(model, Sum):
        return [each for term in model.terms for each in _factors(term)]
    if isinstance(model, Product):
        return [each for factor in model.factors for each in _factors(factor)]
    if isinstance(model, Absorbed):
        return [*_factors(model.factor), *_factors(model.model)]
    if isinstance(model, Convolved):
        return _factors(model.model)
    if isinstance(model, ConvolvedFactor):
        return _factors(model.factor)
    return [model] if isinstance(model, Multiplicative) else []


def without(
    model: SpectralModel, unwanted: Callable[[Multiplicative], bool]
) -> SpectralModel:
    """The model without some of its factors.

    Args:
        model: What gives photons.
        unwanted: Whether a factor is to be left out.
    """
    if isinstance(model, Sum):
        return Sum(tuple(without(term, unwanted) for term in model.terms))
    if isinstance(model, Convolved):
        return Convolved(model.convolution, without(model.model, unwanted))
    if isinstance(model, Absorbed):
        rest, factor = without(model.model, unwanted), _kept(model.factor, unwanted)
        return rest if factor is None else Absorbed(factor, rest)
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
