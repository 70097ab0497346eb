"""A case as other tools want it, and their draws judged by the rules for our own.

Each sees jsbi's exact likelihood as a plain function of numpy arrays or of JAX, in the
coordinates in which the prior is N(0, I), so that all answer the very same question.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.case import Case
from benchmarks.methods import Answer, answer_of
from jsbi.api import make_report
from jsbi.correct import judge_samples
from jsbi.posterior import Posterior
from jsbi.simulate import Target

EDGE = 1e-7  # what the unit cube keeps off its faces


def counted(target: Target) -> Callable[[np.ndarray], np.ndarray]:
    """The exact log-likelihood of any number of z, as a plain function of numpy.

    Batches are padded to powers of two, so that few shapes are compiled and small
    batches stay cheap. The target counts the evaluations.
    """
    simulator, counts = target.simulator, target.counts

    @eqx.filter_jit
    def compiled(z):
        return jax.vmap(lambda row: simulator.log_likelihood(row, counts))(z)

    def log_likelihood(z: np.ndarray) -> np.ndarray:
        padded = np.zeros((2 ** math.ceil(math.log2(len(z))), z.shape[1]))
        padded[: len(z)] = z
        values = np.asarray(compiled(jnp.asarray(padded, counts.dtype)), np.float64)
        target.evaluations += len(z)
        # A finite number, for tools that cannot rank infinities.
        return np.nan_to_num(values[: len(z)], nan=-1e30, neginf=-1e30)

    return log_likelihood


def answer(
    case: Case, target: Target, posterior: Posterior, draws: int, simulations: int = 0
) -> Answer:
    """Judge a tool's draws by the rules for our own."""
    rung = judge_samples(posterior)
    report = make_report(target, [rung], draws, (), case.observations)
    found = answer_of(dataclasses.replace(posterior, report=report))
    return dataclasses.replace(found, phases={}, simulations=simulations)


def log_perfect(case: Case) -> float:
    """Log-likelihood of the perfect fit, which tools add to their evidence."""
    return sum(each.perfect_log_likelihood for each in case.observations)


@contextlib.contextmanager
def usual_promotion() -> Iterator[None]:
    """Types and ranks of arrays mix as JAX lets them unless told otherwise."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
