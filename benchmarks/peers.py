"""Other tools on the same data, model and prior; used where they are installed."""

import dataclasses
import importlib.util
from collections.abc import Callable

from benchmarks.case import Case
from benchmarks.methods import Prepared
from benchmarks.npe import sbi, sbijax
from benchmarks.samplers import emcee, jaxspec, numpyro, ultranest


@dataclasses.dataclass(frozen=True)
class Peer:
    """Another tool.

    Attributes:
        package: What must be importable.
        prepare: Makes it ready, given a case and the effective draws to ask for.
    """

    package: str
    prepare: Callable[[Case, int], Prepared]

    @property
    def installed(self) -> bool:
        """Whether it can be used here."""
        return importlib.util.find_spec(self.package) is not None


# `sbi` is also what this package calls its own network ladder.
PEERS = {
    "ultranest": Peer("ultranest", ultranest),
    "emcee": Peer("emcee", emcee),
    "numpyro": Peer("numpyro", numpyro),
    "jaxspec": Peer("jaxspec", jaxspec),
    "npe-sbi": Peer("sbi", sbi),
    "npe-sbijax": Peer("sbijax", sbijax),
}
