"""The components that expressions, `jsbi models` and the tests know by name."""

import difflib
import importlib
import os
import pkgutil
from collections.abc import Iterator
from types import ModuleType

from jsbi.model import additive, convolution, multiplicative
from jsbi.model.component import Component, Convolution, SpectralModel


def _components(package: ModuleType) -> Iterator[type[Component]]:
    """The classes of all modules of a package that have a name of XSPEC's."""
    for each in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        for value in vars(importlib.import_module(each.name)).values():
            named = isinstance(value, type) and hasattr(value, "xspec_name")
            if named and value.__module__ == each.name:
                yield value


COMPONENTS: tuple[type[Component], ...] = tuple(
    sorted(
        (
            component
            for package in (additive, multiplicative, convolution)
            for component in _components(package)
        ),
        key=lambda component: component.xspec_name.lower(),
    )
)
_BY_NAME = {component.xspec_name.lower(): component for component in COMPONENTS}


def suggest(name: str, known: list[str]) -> str:
    """A sentence that names the nearest known word, or all if none is near.

    Those that begin with what was written, as XSPEC's abbreviations do, come first.
    """
    longer = [repr(word) for word in known if name and word.startswith(name)]
    if longer:
        return f"Did you mean {' or '.join(longer[:3])}?"
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
