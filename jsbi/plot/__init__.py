"""Figures: the posterior, the data with the folded model, what supports the verdict."""

try:
    import corner as _corner
    import matplotlib as _matplotlib
except ImportError as error:
    raise ImportError(
        f'jsbi.plot needs matplotlib and corner ({error}): pip install "jsbi[plot]"'
    ) from error

from jsbi.plot.calibration import calibration as calibration
from jsbi.plot.missing import missing as missing
from jsbi.plot.posterior import corner as corner
from jsbi.plot.predictive import predictive as predictive
from jsbi.plot.retriever import recovery as recovery
from jsbi.plot.spectrum import spectrum as spectrum
from jsbi.plot.unfold import unfolded as unfolded
from jsbi.plot.verdict import diagnostics as diagnostics
