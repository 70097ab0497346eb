"""The file of a trained network: networks, instrument, model and prior."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from jsbi.api import check_parameters
from jsbi.data import Observation, Response
from jsbi.estimate import PosteriorEstimator, untrained
from jsbi.instrument import Folder
from jsbi.model import ExpressionModel, spectral_model
from jsbi.simulate import (
    Conditions,
    Simulator,
    Stored,
    prior_from,
    without_context,
)
from jsbi.store import load_arrays, read_header, save_arrays

KIND = "network"
ROWS = 64  # that stand for simulations, where scales are about to be replaced


class _OtherVersionError(Exception):
    """The arrays of a file are not those of the networks that this version makes."""


class Network(NamedTuple):
    """All that a file holds.

    Attributes:
        simulator: Prior, model and instruments, at the exposure of the templates.
        estimator: The networks.
        conditions: The range of exposures and backgrounds that they were trained for.
        templates: An observation of each instrument; their counts mean nothing.
        record: How the networks were made.
    """

    simulator: Simulator
    estimator: PosteriorEstimator
    conditions: Conditions
    templates: tuple[Observation, ...]
    record: dict[str, Any]


def write_network(
    path: str | os.PathLike, network: Network, exposure: tuple[float, float]
) -> None:
    """Write a network to one file, atomically.

    Args:
        path: The file.
        network: The network.
        exposure: Shortest and longest exposure [s], for `describe_network`.

    Raises:
        ValueError: If the prior is none that a file can describe.
    """
    simulator, estimator, conditions, templates, record = network
    model = simulator.model
    expression = isinstance(model, ExpressionModel)
    header = {
        "model": model.expression if expression else None,
        "abundances": model.abundances if expression else None,
        "cross_sections": model.cross_sections if expression else None,
        "folder": model.folder if expression else None,
        "prior": simulator.prior.table(),
        "names": [each.name for each in templates],
        "exposure": exposure,
        "record": record,
    }
    arrays = {
        f"conditions.{name}": np.asarray(getattr(conditions, name))
        for name in ("log_exposure", "background", "log_scale")
    }
    leaves = jax.tree.leaves(eqx.filter(_alone(estimator), eqx.is_array))
    arrays |= {f"network.{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    for i, template in enumerate(templates):
        arrays |= {
            f"observation.{i}.{name}": value
            for name, value in _template_arrays(template).items()
        }
    save_arrays(path, KIND, header, arrays)


def read_network(
    path: str | os.PathLike, model: Callable[..., Any] | None = None
) -> Network:
    """Read what `write_network` wrote, on any device.

    Args:
        path: The file.
        model: The function, where the network was trained for a function of parameters
            rather than an expression.

    Raises:
        ValueError: If the file is something else, damaged or of another version, or
            the model is needed and was not given, has other parameters, or was given
            and is in the file.
    """
    header, arrays = load_arrays(path, KIND)
    try:
        return _rebuild(header, arrays, model)
    except (_OtherVersionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} was saved by another version of jsbi ({error})."
        ) from None


def _rebuild(
    header: dict[str, Any],
    arrays: dict[str, np.ndarray],
    model: Callable[..., Any] | None,
) -> Network:
    prior = prior_from(header["prior"])
    model = _model(header, model)
    check_parameters(model, prior)
    templates = []
    for i, name in enumerate(header["names"]):
        prefix = f"observation.{i}."
        own = {
            key.removeprefix(prefix): array
            for key, array in arrays.items()
            if key.startswith(prefix)
        }
        templates.append(_template(name, own))
    folders = tuple(Folder(each) for each in templates)
    simulator = Simulator(prior, model, folders)
    conditions = Conditions(
        *(
            jnp.asarray(arrays[f"conditions.{name}"])
            for name in ("log_exposure", "background", "log_scale")
        )
    )
    estimator = _estimator(simulator, conditions, header["record"], arrays)
    return Network(simulator, estimator, conditions, tuple(templates), header["record"])


def _model(
    header: dict[str, Any], given: Callable[..., Any] | None
) -> Callable[..., Any]:
    """The model of the file, or the one that must be given where it has none."""
    expression = header["model"]
    if expression is not None and given is not None:
        raise ValueError(
            f"The network was trained for {expression}, which is in the file; `model` "
            "is for networks of a model that is a function. Leave it out."
        )
    if expression is not None:
        return spectral_model(
            expression,
            abundances=header["abundances"],
            cross_sections=header.get("cross_sections") or "vern",
            folder=header.get("folder") or "",
        )
    if given is None:
        raise ValueError(
            "The network was trained for a model that is a function; give it to `load` "
            "as `model`."
        )
    return given


def _alone(estimator: PosteriorEstimator) -> PosteriorEstimator:
    """The networks without simulator and conditions, which the file holds anyway."""
    return _with(estimator, None, None)


def _with(
    estimator: PosteriorEstimator,
    simulator: Simulator | None,
    conditions: Conditions | None,
) -> PosteriorEstimator:
    return eqx.tree_at(
        lambda each: (each.frame.simulator, each.frame.conditions),
        estimator,
        (simulator, conditions),
        is_leaf=lambda leaf: leaf is None,
    )


def _estimator(
    simulator: Simulator,
    conditions: Conditions,
    record: dict[str, Any],
    arrays: dict[str, np.ndarray],
) -> PosteriorEstimator:
    """Networks with the arrays of a file."""
    blank = _alone(_blank(simulator, conditions, record))
    moving, fixed = eqx.partition(blank, eqx.is_array)
    leaves, structure = jax.tree.flatten(moving)
    held = sum(name.startswith("network.") for name in arrays)
    if held != len(leaves):
        raise _OtherVersionError(
            f"its networks have {held} arrays, and {len(leaves)} are needed"
        )
    saved = [jnp.asarray(arrays[f"network.{i}"]) for i in range(held)]
    estimator = eqx.combine(jax.tree.unflatten(structure, saved), fixed)
    estimator = _with(estimator, simulator, conditions)
    z, counts, context = (
        jnp.zeros(shape)
        for shape in (
            simulator.prior.dimension,
            len(conditions.background),
            len(conditions.log_exposure),
        )
    )
    try:
        eqx.filter_eval_shape(
            PosteriorEstimator.log_prob, estimator, z, counts, context
        )
    except (TypeError, ValueError) as error:
        raise _OtherVersionError(
            f"the arrays of its networks do not fit together: {error}"
        ) from error
    return estimator


def _blank(
    simulator: Simulator, conditions: Conditions, record: dict[str, Any]
) -> PosteriorEstimator:
    """Networks of the right structure, whose arrays are to be replaced.

    Made with rows that are no simulations, in the middle of the prior, where any model
    has a value: every scale that they set is replaced.
    """
    z = jnp.zeros((ROWS, simulator.prior.dimension))
    expected = jnp.ones((ROWS, len(conditions.background)))
    return untrained(
        jax.random.key(0),
        simulator,
        conditions,
        Stored(without_context(z, expected)),
        compressor=record["compressor"],
        members=record["members"],
        autoencoder_steps=0,
    )


def _template_arrays(template: Observation) -> dict[str, np.ndarray]:
    response = template.response
    matrix = response.redistribution
    return {
        "exposure": np.array(template.exposure),
        "area_scale": template.area_scale,
        "back_scale": template.back_scale,
        "group": template.group,
        "energy_edges": response.energy_edges,
        "area": response.area,
        "channel": response.channel,
        "channel_low": response.channel_low,
        "channel_high": response.channel_high,
        "values": matrix.data,
        "indices": matrix.indices,
        "starts": matrix.indptr,
    }


def _template(name: str, arrays: dict[str, np.ndarray]) -> Observation:
    shape = (len(arrays["channel"]), len(arrays["area"]))
    parts = (arrays["values"], arrays["indices"], arrays["starts"])
    response = Response(
        redistribution=scipy.sparse.csc_array(parts, shape=shape),
        **{
            each: arrays[each]
            for each in (
                "energy_edges",
                "area",
                "channel",
                "channel_low",
                "channel_high",
            )
        },
    )
    return Observation(
        name,
        np.zeros(shape[0]),
        float(arrays["exposure"]),
        arrays["area_scale"],
        arrays["back_scale"],
        arrays["group"],
        response,
    )


def describe_network(path: str | os.PathLike) -> str:
    """What a network's file holds, as text of several lines; no network is built.

    Raises:
        ValueError: If the file is something else, damaged or of another version.
    """
    full = read_header(path)
    if full["kind"] != KIND:
        raise ValueError(f"{path} holds a {full['kind']}, where a {KIND} is needed.")
    header, arrays = full["header"], full["arrays"]
    try:
        record = header["record"]
        low, high = header["exposure"]
        (bins,) = arrays["conditions.background"][1]
        lines = [
            f"{path}: network for {header['model'] or 'a function of parameters'}"
            + (
                f", abundances {header['abundances']}, cross sections "
                f"{header.get('cross_sections') or 'vern'}"
                if header["model"]
                else ""
            ),
            f"  trained for {', '.join(header['names'])}, {bins} bins, "
            f"{low:.6g} to {high:.6g} s",
            f"  compressor {record['compressor']}, members {record['members']}, "
            f"{record['simulations']:,} simulations",
        ]
        if record["counts"] is not None:
            lines.append("  for {:g} to {:g} expected counts".format(*record["counts"]))
        lines += [_describe_prior(*row) for row in header["prior"].items()]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} was saved by another version of jsbi ({error})."
        ) from None
    return "\n".join(lines)


def _describe_prior(name: str, value: Any) -> str:
    if isinstance(value, dict):
        ((kind, numbers),) = value.items()
        return f"  {name} ~ {kind} [{', '.join(f'{each:g}' for each in numbers)}]"
    return f"  {name} = {value if isinstance(value, str) else f'{value:g}'}"
