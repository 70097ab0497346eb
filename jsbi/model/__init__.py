"""Photon flux as a function of parameters."""

from jsbi.model.additive.black_bodies import BlackBody as BlackBody
from jsbi.model.additive.black_bodies import BlackBodyRad as BlackBodyRad
from jsbi.model.additive.disks import DiskBlackBody as DiskBlackBody
from jsbi.model.additive.lines import Gaussian as Gaussian
from jsbi.model.additive.power_laws import CutoffPowerLaw as CutoffPowerLaw
from jsbi.model.additive.power_laws import PowerLaw as PowerLaw
from jsbi.model.component import Component as Component
from jsbi.model.component import Convolution as Convolution
from jsbi.model.component import Multiplicative as Multiplicative
from jsbi.model.component import Parameter as Parameter
from jsbi.model.component import SpectralModel as SpectralModel
from jsbi.model.component import parameter as parameter
from jsbi.model.expression import ExpressionModel as ExpressionModel
from jsbi.model.expression import evaluate as evaluate
from jsbi.model.expression import spectral_model as spectral_model
from jsbi.model.multiplicative.absorption import Phabs as Phabs
from jsbi.model.multiplicative.absorption import TBabs as TBabs
from jsbi.model.multiplicative.simple import Constant as Constant
from jsbi.model.registry import COMPONENTS as COMPONENTS
from jsbi.model.registry import find_component as find_component
from jsbi.model.registry import suggest as suggest
