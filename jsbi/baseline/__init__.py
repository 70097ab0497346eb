"""The answer without a network: best fits, Markov chains and nested sampling."""

from jsbi.baseline.nested import sample_nested as sample_nested
from jsbi.baseline.nuts import Density as Density
from jsbi.baseline.nuts import from_chains as from_chains
from jsbi.baseline.nuts import run_chains as run_chains
from jsbi.baseline.nuts import sample_nuts as sample_nuts
from jsbi.baseline.optimize import Modes as Modes
from jsbi.baseline.optimize import find_modes as find_modes
from jsbi.baseline.profile import BestFits as BestFits
from jsbi.baseline.profile import find_best_fits as find_best_fits
