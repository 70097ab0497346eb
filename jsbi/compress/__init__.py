"""From counts to a summary that a density estimator can be conditioned on."""

from jsbi.compress.networks import Compressor as Compressor
from jsbi.compress.networks import StabilisedMLP as StabilisedMLP
