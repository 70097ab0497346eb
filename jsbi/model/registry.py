"""The components that expressions, `jsbi models` and the tests know by name."""

import difflib
import os

from jsbi.model.additive.black_bodies import (
    BlackBody,
    BlackBodyRad,
    RedshiftedBlackBody,
)
from jsbi.model.additive.bremsstrahlung import (
    Bremsstrahlung,
    RedshiftedBremsstrahlung,
    VariableBremsstrahlung,
)
from jsbi.model.additive.comptonisation import (
    SelfComptonisation,
    SunyaevComptonisation,
    TitarchukComptonisation,
)
from jsbi.model.additive.disks import DiskBlackBody, DiskPowerLaw
from jsbi.model.additive.kompaneets import ThermalComptonisation
from jsbi.model.additive.lines import (
    Gaussian,
    Lorentz,
    RedshiftedGaussian,
    RedshiftedWavelengthGaussian,
    WavelengthGaussian,
)
from jsbi.model.additive.power_laws import (
    BrokenPowerLaw,
    CutoffPowerLaw,
    ExponentialDecay,
    LogParabola,
    PeakedLogParabola,
    PeggedPowerLaw,
    PowerLaw,
    RedshiftedPowerLaw,
    TwiceBrokenPowerLaw,
)
from jsbi.model.additive.steps import Step
from jsbi.model.component import Component, Convolution, SpectralModel
from jsbi.model.convolution.covering import PartialCovering
from jsbi.model.convolution.flux import EnergyFlux, PhotonFlux
from jsbi.model.convolution.scattering import Simpl
from jsbi.model.convolution.shifts import (
    RedshiftFactor,
    RedshiftPhotons,
    ShiftPhotons,
)
from jsbi.model.convolution.smoothing import GaussianSmoothing, LorentzianSmoothing
from jsbi.model.multiplicative.absorption import (
    PartialPhabs,
    Phabs,
    RedshiftedPartialPhabs,
    RedshiftedPhabs,
    RedshiftedTBabs,
    RedshiftedWabs,
    TBabs,
    TBgas,
    TBpcf,
    Wabs,
)
from jsbi.model.multiplicative.absorption_lines import (
    CyclotronAbsorption,
    GaussianAbsorption,
    Notch,
)
from jsbi.model.multiplicative.cutoffs import (
    HighEnergyCutoff,
    LowEnergyCutoff,
    RedshiftedHighEnergyCutoff,
)
from jsbi.model.multiplicative.edges import Edge, RedshiftedEdge, SmearedEdge
from jsbi.model.multiplicative.electrons import ComptonScattering
from jsbi.model.multiplicative.shapes import ExponentialFactor, PowerLawFactor, Spline
from jsbi.model.multiplicative.simple import Constant
from jsbi.model.multiplicative.variable_absorption import (
    TBfeo,
    TBgrain,
    VariablePhabs,
)

COMPONENTS: tuple[type[Component], ...] = (
    BlackBody,
    BlackBodyRad,
    Bremsstrahlung,
    BrokenPowerLaw,
    ComptonScattering,
    Constant,
    CutoffPowerLaw,
    CyclotronAbsorption,
    DiskBlackBody,
    DiskPowerLaw,
    Edge,
    EnergyFlux,
    ExponentialDecay,
    ExponentialFactor,
    Gaussian,
    GaussianAbsorption,
    GaussianSmoothing,
    HighEnergyCutoff,
    LogParabola,
    Lorentz,
    LorentzianSmoothing,
    LowEnergyCutoff,
    Notch,
    PartialCovering,
    PartialPhabs,
    PeakedLogParabola,
    PeggedPowerLaw,
    Phabs,
    PhotonFlux,
    PowerLaw,
    PowerLawFactor,
    RedshiftFactor,
    RedshiftPhotons,
    RedshiftedBlackBody,
    RedshiftedBremsstrahlung,
    RedshiftedEdge,
    RedshiftedGaussian,
    RedshiftedHighEnergyCutoff,
    RedshiftedPartialPhabs,
    RedshiftedPhabs,
    RedshiftedPowerLaw,
    RedshiftedTBabs,
    RedshiftedWabs,
    RedshiftedWavelengthGaussian,
    SelfComptonisation,
    ShiftPhotons,
    Simpl,
    SmearedEdge,
    Spline,
    Step,
    SunyaevComptonisation,
    TBabs,
    TBfeo,
    TBgas,
    TBgrain,
    TBpcf,
    ThermalComptonisation,
    TitarchukComptonisation,
    TwiceBrokenPowerLaw,
    VariableBremsstrahlung,
    VariablePhabs,
    Wabs,
    WavelengthGaussian,
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
