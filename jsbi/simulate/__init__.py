"""Everything random about the data: priors, noise and the simulator."""

from jsbi.simulate.noise import deviance_residuals as deviance_residuals
from jsbi.simulate.noise import fast_poisson_counts as fast_poisson_counts
from jsbi.simulate.noise import poisson_counts as poisson_counts
from jsbi.simulate.noise import poisson_log_likelihood as poisson_log_likelihood
from jsbi.simulate.noise import variance_stabilised as variance_stabilised
from jsbi.simulate.prior import LogNormal as LogNormal
from jsbi.simulate.prior import LogUniform as LogUniform
from jsbi.simulate.prior import Marginal as Marginal
from jsbi.simulate.prior import Normal as Normal
from jsbi.simulate.prior import Prior as Prior
from jsbi.simulate.prior import TruncatedNormal as TruncatedNormal
from jsbi.simulate.prior import Uniform as Uniform
from jsbi.simulate.prior import truncate_normal as truncate_normal
from jsbi.simulate.simulator import Simulator as Simulator
from jsbi.simulate.target import Target as Target
