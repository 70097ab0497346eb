"""Photon flux as a function of parameters."""

from jsbi.model.additive.black_bodies import BlackBody as BlackBody
from jsbi.model.additive.black_bodies import BlackBodyRad as BlackBodyRad
from jsbi.model.additive.black_bodies import RedshiftedBlackBody as RedshiftedBlackBody
from jsbi.model.additive.bremsstrahlung import Bremsstrahlung as Bremsstrahlung
from jsbi.model.additive.bremsstrahlung import (
    RedshiftedBremsstrahlung as RedshiftedBremsstrahlung,
)
from jsbi.model.additive.bremsstrahlung import (
    VariableBremsstrahlung as VariableBremsstrahlung,
)
from jsbi.model.additive.comptonisation import SelfComptonisation as SelfComptonisation
from jsbi.model.additive.comptonisation import (
    SunyaevComptonisation as SunyaevComptonisation,
)
from jsbi.model.additive.comptonisation import (
    TitarchukComptonisation as TitarchukComptonisation,
)
from jsbi.model.additive.disks import DiskBlackBody as DiskBlackBody
from jsbi.model.additive.disks import DiskPowerLaw as DiskPowerLaw
from jsbi.model.additive.kompaneets import (
    ThermalComptonisation as ThermalComptonisation,
)
from jsbi.model.additive.lines import Gaussian as Gaussian
from jsbi.model.additive.lines import Lorentz as Lorentz
from jsbi.model.additive.lines import RedshiftedGaussian as RedshiftedGaussian
from jsbi.model.additive.lines import (
    RedshiftedWavelengthGaussian as RedshiftedWavelengthGaussian,
)
from jsbi.model.additive.lines import WavelengthGaussian as WavelengthGaussian
from jsbi.model.additive.power_laws import BrokenPowerLaw as BrokenPowerLaw
from jsbi.model.additive.power_laws import CutoffPowerLaw as CutoffPowerLaw
from jsbi.model.additive.power_laws import ExponentialDecay as ExponentialDecay
from jsbi.model.additive.power_laws import LogParabola as LogParabola
from jsbi.model.additive.power_laws import PeakedLogParabola as PeakedLogParabola
from jsbi.model.additive.power_laws import PeggedPowerLaw as PeggedPowerLaw
from jsbi.model.additive.power_laws import PowerLaw as PowerLaw
from jsbi.model.additive.power_laws import RedshiftedPowerLaw as RedshiftedPowerLaw
from jsbi.model.additive.power_laws import TwiceBrokenPowerLaw as TwiceBrokenPowerLaw
from jsbi.model.additive.relativistic import DiskLine as DiskLine
from jsbi.model.additive.scattered_black_body import (
    ScatteredBlackBody as ScatteredBlackBody,
)
from jsbi.model.additive.steps import Step as Step
from jsbi.model.component import Component as Component
from jsbi.model.component import Convolution as Convolution
from jsbi.model.component import Multiplicative as Multiplicative
from jsbi.model.component import Parameter as Parameter
from jsbi.model.component import SpectralModel as SpectralModel
from jsbi.model.component import parameter as parameter
from jsbi.model.convolution.covering import PartialCovering as PartialCovering
from jsbi.model.convolution.flux import EnergyFlux as EnergyFlux
from jsbi.model.convolution.flux import PhotonFlux as PhotonFlux
from jsbi.model.convolution.scattering import Simpl as Simpl
from jsbi.model.convolution.shifts import RedshiftFactor as RedshiftFactor
from jsbi.model.convolution.shifts import RedshiftPhotons as RedshiftPhotons
from jsbi.model.convolution.shifts import ShiftPhotons as ShiftPhotons
from jsbi.model.convolution.smoothing import GaussianSmoothing as GaussianSmoothing
from jsbi.model.convolution.smoothing import LorentzianSmoothing as LorentzianSmoothing
from jsbi.model.expression import ExpressionModel as ExpressionModel
from jsbi.model.expression import evaluate as evaluate
from jsbi.model.expression import spectral_model as spectral_model
from jsbi.model.multiplicative.absorption import PartialPhabs as PartialPhabs
from jsbi.model.multiplicative.absorption import Phabs as Phabs
from jsbi.model.multiplicative.absorption import (
    RedshiftedPartialPhabs as RedshiftedPartialPhabs,
)
from jsbi.model.multiplicative.absorption import RedshiftedPhabs as RedshiftedPhabs
from jsbi.model.multiplicative.absorption import RedshiftedTBabs as RedshiftedTBabs
from jsbi.model.multiplicative.absorption import RedshiftedWabs as RedshiftedWabs
from jsbi.model.multiplicative.absorption import TBabs as TBabs
from jsbi.model.multiplicative.absorption import TBgas as TBgas
from jsbi.model.multiplicative.absorption import TBpcf as TBpcf
from jsbi.model.multiplicative.absorption import Wabs as Wabs
from jsbi.model.multiplicative.absorption_lines import (
    CyclotronAbsorption as CyclotronAbsorption,
)
from jsbi.model.multiplicative.absorption_lines import (
    GaussianAbsorption as GaussianAbsorption,
)
from jsbi.model.multiplicative.absorption_lines import Notch as Notch
from jsbi.model.multiplicative.cutoffs import HighEnergyCutoff as HighEnergyCutoff
from jsbi.model.multiplicative.cutoffs import LowEnergyCutoff as LowEnergyCutoff
from jsbi.model.multiplicative.cutoffs import (
    RedshiftedHighEnergyCutoff as RedshiftedHighEnergyCutoff,
)
from jsbi.model.multiplicative.edges import Edge as Edge
from jsbi.model.multiplicative.edges import RedshiftedEdge as RedshiftedEdge
from jsbi.model.multiplicative.edges import SmearedEdge as SmearedEdge
from jsbi.model.multiplicative.electrons import ComptonScattering as ComptonScattering
from jsbi.model.multiplicative.shapes import ExponentialFactor as ExponentialFactor
from jsbi.model.multiplicative.shapes import PowerLawFactor as PowerLawFactor
from jsbi.model.multiplicative.shapes import Spline as Spline
from jsbi.model.multiplicative.simple import Constant as Constant
from jsbi.model.multiplicative.variable_absorption import TBfeo as TBfeo
from jsbi.model.multiplicative.variable_absorption import TBgrain as TBgrain
from jsbi.model.multiplicative.variable_absorption import VariablePhabs as VariablePhabs
from jsbi.model.registry import COMPONENTS as COMPONENTS
from jsbi.model.registry import find_component as find_component
from jsbi.model.registry import suggest as suggest
from jsbi.model.tables import Table as Table
