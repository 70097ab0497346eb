"""Which flow reaches the asked effective draws first? `python -m benchmarks.flows`.

Trains each architecture on the packaged example in the same way, with the same keys and
steps, and draws until 10,000 draws are effective. Seconds are wall-clock on a shared
machine: compare rows, not machines.
"""

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import StudentT
from flowjax.flows import coupling_flow, masked_autoregressive_flow
from paramax import non_trainable

from benchmarks.measure import save
from jsbi.api import make_target
from jsbi.correct import draw_from_flow
from jsbi.demo import make_example
from jsbi.estimate import FromRegion, make_estimator, restrict_prior, stack, train
from jsbi.promotion import lenient_promotion
from jsbi.simulate import Target
from jsbi.weights import effective_draws, pareto_k

STEPS = 1000
ENOUGH = 10_000
MOST = 200_000


def spline() -> RationalQuadraticSpline:
    """The library's spline."""
    return RationalQuadraticSpline(knots=8, interval=4.0)


FLOWS: dict[str, Callable] = {
    "spline MAF": partial(masked_autoregressive_flow, transformer=spline()),
    "affine MAF": masked_autoregressive_flow,
    "spline coupling": partial(coupling_flow, transformer=spline()),
    "affine coupling": coupling_flow,
}


def run(name: str, layers: int, seed: int, target: Target) -> dict:
    """Train one architecture and draw from it."""
    keys = jax.random.split(jax.random.key(seed), 5)
    source = FromRegion(target.simulator, restrict_prior(keys[0], target))
    estimator = make_estimator(keys[1], source, target.simulator)
    dimension = target.dimension
    with lenient_promotion():
        flow = FLOWS[name](
            keys[2],
            base_dist=non_trainable(
                StudentT(10.0, jnp.zeros(dimension), jnp.ones(dimension))
            ),
            cond_dim=math.prod(estimator.flow.cond_shape or ()),
            flow_layers=layers,
            nn_width=48,
            nn_activation=jax.nn.silu,
        )
    estimator = eqx.tree_at(lambda each: each.flow, estimator, stack([flow]))
    marks = [time.perf_counter()]
    estimator, losses = train(
        keys[3],
        estimator,
        source,
        steps=STEPS,
        tick=lambda _: marks.append(time.perf_counter()),
    )
    start = time.perf_counter()
    proposal = estimator.at(target.counts)
    key, draws = keys[4], None
    while draws is None or (
        effective_draws(draws.log_ratio) < ENOUGH and len(draws.z) < MOST
    ):
        key, key_draw = jax.random.split(key)
        more = draw_from_flow(key_draw, target, proposal)
        draws = more if draws is None else draws.joined(more)
    end = time.perf_counter()
    steady = (marks[-1] - marks[1]) / (len(marks) - 2) * (len(marks) - 1)
    effective = effective_draws(draws.log_ratio)
    return {
        "flow": name,
        "layers": layers,
        "seed": seed,
        "loss": float(losses[-100:].mean()),
        "efficiency": effective / len(draws.z),
        "pareto_k": pareto_k(draws.log_ratio),
        "first part [s]": marks[1] - marks[0],
        "training without compilation [s]": steady,
        "draws with compilation [s]": end - start,
        "all, to 10,000 effective [s]": end - marks[0],
        "effective": effective,
    }


def main() -> None:
    """Compare all architectures, two seeds each."""
    observation, config = make_example(Path())
    target = make_target((observation,), config.model, config.prior)
    cases = [
        ("spline MAF", 4),
        ("spline MAF", 2),
        ("affine MAF", 4),
        ("affine MAF", 8),
        ("spline coupling", 4),
        ("spline coupling", 8),
        ("affine coupling", 8),
    ]
    save("flows", [run(*case, seed, target) for case in cases for seed in (0, 1)])


if __name__ == "__main__":
    main()
