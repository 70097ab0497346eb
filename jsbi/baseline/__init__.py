"""The answer without a network: best fits and Markov chains."""

from jsbi.baseline.nuts import sample_nuts as sample_nuts
from jsbi.baseline.optimize import Modes as Modes
from jsbi.baseline.optimize import find_modes as find_modes
