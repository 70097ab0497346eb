"""What each compressor keeps of an X-IFU spectrum: `python -m benchmarks.compression`.

An estimator of the same flow is trained for each compressor, on the same stored
simulations from the part of the prior around the observation, for the same steps.
Draws before any reweighting are then compared at the observation with the exact
posterior and with Fisher's information, both under the proposal of the simulations,
which is what the networks learn. The loss on held-out spectra tells the information
lost on all of them, in nat; a Gaussian of Fisher's information is beside it.

Also drawn: what an auto-encoder makes of the spectrum, and which parameters can be read
from its latent vector (Barret & Dupourque 2026, A&A 708, A280).
"""

import argparse
import dataclasses
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from benchmarks.case import Case
from benchmarks.cases import CASES
from benchmarks.compression_figures import draw_comparison, draw_reconstruction
from benchmarks.measure import save
from benchmarks.panels import picture
from benchmarks.study import INFORMED, Sizes, Study, prepare
from jsbi.compress import (
    AutoEncoder,
    Compressor,
    Concatenated,
    Embedding,
    draw_examples,
    make_compressor,
    summary_length,
    train_autoencoder,
)
from jsbi.compress.registry import EXAMPLES
from jsbi.correct import draw_from_flow
from jsbi.diagnose import retrieve_parameters
from jsbi.estimate import (
    FixedFrame,
    FlowProposal,
    PosteriorEstimator,
    make_flow,
    stack,
    train,
)
from jsbi.plot import recovery
from jsbi.progress import Progress
from jsbi.weights import effective_draws, pareto_k

KINDS = (
    "network",
    "bands",
    "pca",
    "fisher",
    "autoencoder",
    "convolution",
    "counts",
    "fisher+network",
)
DRAWS = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """One compressor's numbers, and its loss at every held-out spectrum."""

    row: dict[str, Any]
    loss: Float[np.ndarray, " simulation"]


def make_autoencoder(study: Study, sizes: Sizes) -> tuple[AutoEncoder, float]:
    """A trained auto-encoder, and the seconds it took without compilation."""
    key_example, key_make, key_train = jax.random.split(jax.random.key(2), 3)
    _, example = draw_examples(key_example, study.source, EXAMPLES)
    bars = Progress(False)
    with bars.running(), bars.stage("auto-encoder", "train", 1):
        trained, losses = train_autoencoder(
            key_train,
            AutoEncoder(key_make, example),
            study.source,
            steps=sizes.autoencoder_steps,
        )
    print(
        f"auto-encoder: C statistic per channel above truth {losses[-100:].mean():.3g}"
    )
    return trained, bars.spent["train"]


def make_summary(
    key: Array, kind: str, study: Study, encoder: Compressor
) -> Compressor:
    """An untrained compressor."""
    features = max(8, 2 * study.target.dimension)
    simulator = study.target.simulator
    if kind != "autoencoder":
        return make_compressor(key, kind, study.source, simulator, features=features)
    key_example, key_network = jax.random.split(key)
    _, example = draw_examples(key_example, study.source, EXAMPLES)
    return Embedding(key_network, encoder, example, features=features)


def length_seen(compressor: Compressor, channels: int) -> int:
    """Numbers that what is trained gets of each spectrum."""
    if isinstance(compressor, Concatenated):
        return sum(length_seen(part, channels) for part in compressor.parts)
    if isinstance(compressor, Embedding):
        standard: Any = compressor.summary
        return len(standard.tree.centre)
    return channels + 1  # with the total


def fit(kind: str, study: Study, sizes: Sizes, autoencoder: AutoEncoder) -> Fitted:
    """Train with one compressor and look at the observation."""
    keys = jax.random.split(jax.random.key(3), 4)
    channels = len(study.target.counts)
    bars = Progress(False)
    with bars.running():
        with bars.stage("compressor", "make", 1):
            summary = make_summary(keys[0], kind, study, autoencoder.encoder)
        length = summary_length(summary, channels)
        flow = make_flow(keys[1], study.target.dimension, length)
        frame = FixedFrame(study.region)
        start = PosteriorEstimator(stack([summary]), stack([flow]), frame, 1)
        with bars.stage("estimator", "train", sizes.steps) as tick:
            estimator, losses = train(
                keys[2], start, study.source, steps=sizes.steps, tick=tick
            )
    row = {
        "compressor": kind,
        "numbers seen": length_seen(summary, channels),
        "summary length": length,
    }
    row |= at_observation(keys[3], study, estimator.at(study.target.counts))
    loss = np.asarray(_losses(estimator, study.z, study.counts), np.float64)
    row |= {
        "held-out loss [nat]": float(loss.mean()),
        "loss above Fisher's [nat]": float(loss[:INFORMED].mean() - study.entropy),
        "made in [s]": bars.spent["make"],
        "trained in [s / 1000 steps]": bars.spent["train"] / len(losses) * 1000,
        "compile [s]": bars.spent["compile"],
    }
    return Fitted(row, loss)


def at_observation(key: Array, study: Study, proposal: FlowProposal) -> dict[str, Any]:
    """Widths before reweighting, and what weights there are."""
    key_widths, key_weights = jax.random.split(key)
    z = np.asarray(_sample(key_widths, proposal), np.float64)
    low, middle, high = np.quantile(z, (0.16, 0.5, 0.84), axis=0)
    width, exact = 0.5 * (high - low), 0.5 * (study.exact[2] - study.exact[0])
    ratio = width / exact
    draws = draw_from_flow(key_weights, study.target, proposal)
    return {
        "width / exact": float(np.exp(np.log(ratio).mean())),
        "widest / exact": float(ratio.max()),
        "width / Fisher": float(np.exp(np.log(width / study.bound).mean())),
        "largest shift [sd]": float((np.abs(middle - study.exact[1]) / exact).max()),
        "efficiency": effective_draws(draws.log_ratio) / len(draws.z),
        "Pareto k": pareto_k(draws.log_ratio),
    }


@eqx.filter_jit
def _sample(key: Array, proposal: FlowProposal) -> Array:
    return proposal.sample(key, DRAWS)


@eqx.filter_jit
def _losses(estimator: PosteriorEstimator, z: Array, counts: Array) -> Array:
    return jax.lax.map(lambda r: -estimator.log_prob(*r), (z, counts), batch_size=100)


def compare(fitted: list[Fitted]) -> list[dict[str, Any]]:
    """Rows with the information that each loses relative to the best."""
    best = min(fitted, key=lambda each: each.loss.mean()).loss
    rows = []
    for each in fitted:
        lost = each.loss - best
        error = lost.std() / np.sqrt(len(lost))
        rows.append(
            each.row | {"lost [nat]": float(lost.mean()), "its error": float(error)}
        )
    return rows


def run(case: Case, sizes: Sizes, kinds: tuple[str, ...]) -> None:
    """Compare compressors on one case, and write its table and figures."""
    study = prepare(case, sizes)
    name = f"compression_{case.name}"
    autoencoder, seconds = make_autoencoder(study, sizes)
    fitted = [fit(kind, study, sizes, autoencoder) for kind in kinds]
    for each in fitted:
        own = seconds if each.row["compressor"] == "autoencoder" else 0.0
        each.row["trained before in [s]"] = own
    rows = compare(fitted)
    save(name, rows)
    picture(name, draw_comparison(rows, case.name))
    reconstructed = autoencoder.reconstruct(study.target.counts)
    figure = draw_reconstruction(case, np.asarray(reconstructed, np.float64))
    picture(f"{name}_reconstruction", figure)
    retrieval = retrieve_parameters(
        jax.random.key(4),
        autoencoder.encoder,
        study.source,
        study.target.simulator,
        steps=sizes.steps,
        held_out=500,
    )
    print(retrieval)
    picture(f"{name}_retrieval", recovery(retrieval), dpi=90)


def main() -> None:
    """Compare on the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = ("xifu_line", "xifu_complexes")
    parser.add_argument("--cases", nargs="+", choices=known, default=known[:1])
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    for field in dataclasses.fields(Sizes):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=int, default=field.default)
    asked = parser.parse_args()
    names = [field.name for field in dataclasses.fields(Sizes)]
    sizes = Sizes(**{name: getattr(asked, name) for name in names})
    for name in asked.cases:
        run(CASES[name](), sizes, tuple(asked.kinds))


if __name__ == "__main__":
    main()
