"""The components that expressions, `jsbi models` and the tests know by name."""

import difflib

from jsbi.model.additive.black_bodies import BlackBody, BlackBodyRad
from jsbi.model.additive.disks import DiskBlackBody
from jsbi.model.additive.lines import Gaussian
from jsbi.model.additive.power_laws import CutoffPowerLaw, PowerLaw
from jsbi.model.component import Component
from jsbi.model.multiplicative.absorption import Phabs, TBabs
from jsbi.model.multiplicative.simple import Constant

COMPONENTS: tuple[type[Component], ...] = (
    BlackBody,
    BlackBodyRad,
    Constant,
    CutoffPowerLaw,
    DiskBlackBody,
    Gaussian,
    Phabs,
    PowerLaw,
    TBabs,
)
_BY_NAME = {component.xspec_name.lower(): component for component in COMPONENTS}


def suggest(name: str, known: list[str]) -> str:
    """A sentence that names the nearest known word, or all if none is near."""
    nearest = difflib.get_close_matches(name, known, 1, 0.6)
    if nearest:
        return f"Did you mean {nearest[0]!r}?"
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
