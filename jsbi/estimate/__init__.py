"""From simulations to an approximate posterior."""

from jsbi.estimate.estimator import PosteriorEstimator as PosteriorEstimator
from jsbi.estimate.flow import make_flow as make_flow
from jsbi.estimate.restrict import Region as Region
from jsbi.estimate.restrict import restrict_prior as restrict_prior
from jsbi.estimate.train import make_estimator as make_estimator
from jsbi.estimate.train import make_optimizer as make_optimizer
from jsbi.estimate.train import train as train
from jsbi.estimate.train import trainable as trainable
