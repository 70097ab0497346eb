"""From an approximate posterior to the exact one."""

from jsbi.correct.mixture import MixtureDraws as MixtureDraws
from jsbi.correct.mixture import StudentMixture as StudentMixture
from jsbi.correct.mixture import adaptive_mixture as adaptive_mixture
from jsbi.correct.mixture import mixture_at as mixture_at
from jsbi.correct.mixture import refit as refit
