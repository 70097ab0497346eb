"""From an approximate posterior to the exact one."""

from jsbi.correct.adapt import FlowDraws as FlowDraws
from jsbi.correct.adapt import FlowProposal as FlowProposal
from jsbi.correct.adapt import adapt as adapt
from jsbi.correct.adapt import draw_from_flow as draw_from_flow
from jsbi.correct.adapt import propose as propose
from jsbi.correct.ladder import Rung as Rung
from jsbi.correct.ladder import mixture_rung as mixture_rung
from jsbi.correct.ladder import network_rung as network_rung
from jsbi.correct.ladder import nuts_rung as nuts_rung
from jsbi.correct.mixture import MixtureDraws as MixtureDraws
from jsbi.correct.mixture import StudentMixture as StudentMixture
from jsbi.correct.mixture import adaptive_mixture as adaptive_mixture
from jsbi.correct.mixture import mixture_at as mixture_at
from jsbi.correct.mixture import refit as refit
