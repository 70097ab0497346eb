"""The components that expressions, `jsbi models` and the tests know by name."""

import difflib
import os
from collections.abc import Iterator
from types import ModuleType

from jsbi.model.additive import (
    black_bodies,
    bremsstrahlung,
    comptonisation,
    disks,
    kompaneets,
    lines,
    power_laws,
    relativistic,
    scattered_black_body,
    steps,
)
from jsbi.model.component import Component, Convolution, SpectralModel
from jsbi.model.convolution import (
    covering,
    flux,
    scattering,
    shifts,
    smoothing,
)
from jsbi.model.multiplicative import (
    absorption,
    absorption_lines,
    cutoffs,
    edges,
    electrons,
    shapes,
    simple,
    variable_absorption,
)

# Every component that one of these modules defines is known.
FAMILIES: tuple[ModuleType, ...] = (
    black_bodies,
    bremsstrahlung,
    comptonisation,
    disks,
    kompaneets,
    lines,
    power_laws,
    relativistic,
    scattered_black_body,
    steps,
    covering,
    flux,
    scattering,
    shifts,
    smoothing,
    absorption,
    absorption_lines,
    cutoffs,
    edges,
    electrons,
    shapes,
    simple,
    variable_absorption,
)


def _components(family: ModuleType) -> Iterator[type[Component]]:
    """The classes of a module that have a name of XSPEC's."""
    for value in vars(family).values():
        named = isinstance(value, type) and hasattr(value, "xspec_name")
        if named and value.__module__ == family.__name__:
            yield value


COMPONENTS: tuple[type[Component], ...] = tuple(
    sorted(
        (component for family in FAMILIES for component in _components(family)),
        key=lambda component: component.xspec_name.lower(),
    )
)
_BY_NAME = {component.xspec_name.lower(): component for component in COMPONENTS}


def suggest(name: str, known: list[str]) -> str:
    """A sentence that names the nearest known word, or all if none is near."""
    near = difflib.get_close_matches(name, known, 3, 0.6)
    if near:
        # Of equals the one that begins alike: powerlaw, not zpowerlw, for powerlow.
        nearest = max(
            near,
            key=lambda word: (
                difflib.SequenceMatcher(None, word, name).ratio(),
                len(os.path.commonprefix([word, name])),
            ),
        )
        return f"Did you mean {nearest!r}?"
    return f"Known: {', '.join(known)}."


def find_component(name: str) -> type[Component]:
    """The component of this XSPEC name, in any case.

    Raises:
        ValueError: If there is none; the nearest name is suggested.
    """
    try:
        return _BY_NAME[name.lower()]
    except KeyError:
        raise ValueError(
            f"Unknown component {name!r}. {suggest(name.lower(), sorted(_BY_NAME))}"
        ) from None


def kind_of(component: type[Component]) -> str:
    """What XSPEC calls the kind of a component."""
    if issubclass(component, SpectralModel):
        return "additive"
    return "convolution" if issubclass(component, Convolution) else "multiplicative"
