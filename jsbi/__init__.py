"""Exact Bayesian X-ray spectral inference at simulation speed."""

from jsbi.amortized import AmortizedPosterior as AmortizedPosterior
from jsbi.api import infer as infer
from jsbi.api import simulate as simulate
from jsbi.check import Check as Check
from jsbi.check import check as check
from jsbi.correct import Training as Training
from jsbi.data import Observation as Observation
from jsbi.data import Response as Response
from jsbi.data import TableParameter as TableParameter
from jsbi.data import read_observation as read_observation
from jsbi.data import read_table_model as read_table_model
from jsbi.data import write_table_model as write_table_model
from jsbi.fluxes import Flux as Flux
from jsbi.fluxes import flux as flux
from jsbi.model import BlackBody as BlackBody
from jsbi.model import BlackBodyRad as BlackBodyRad
from jsbi.model import Constant as Constant
from jsbi.model import CutoffPowerLaw as CutoffPowerLaw
from jsbi.model import DiskBlackBody as DiskBlackBody
from jsbi.model import Gaussian as Gaussian
from jsbi.model import Phabs as Phabs
from jsbi.model import PowerLaw as PowerLaw
from jsbi.model import TBabs as TBabs
from jsbi.model import evaluate as evaluate
from jsbi.model import spectral_model as spectral_model
from jsbi.model.host import HostModel as HostModel
from jsbi.posterior import Posterior as Posterior
from jsbi.simulate import LogNormal as LogNormal
from jsbi.simulate import LogUniform as LogUniform
from jsbi.simulate import Normal as Normal
from jsbi.simulate import Prior as Prior
from jsbi.simulate import TruncatedNormal as TruncatedNormal
from jsbi.simulate import Uniform as Uniform
from jsbi.training import amortize as amortize

__version__ = "0.1.0"


def __getattr__(name: str):
    """Import `jsbi.plot` on first use, since it needs the extra `plot`."""
    if name == "plot":
        import importlib

        return importlib.import_module("jsbi.plot")
    raise AttributeError(f"module 'jsbi' has no attribute {name!r}")
