"""The TOML file of the shell as a typed object, with errors that name the key."""

import dataclasses
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsbi.api import check_choices, check_parameters
from jsbi.data import Observation, read_observation
from jsbi.model import ExpressionModel, spectral_model, suggest
from jsbi.simulate import Prior, prior_from
from jsbi.training import check_training

_TOP = (
    "model",
    "abundances",
    "cross_sections",
    "method",
    "seed",
    "draws",
    "observation",
    "prior",
    "truth",
    "amortize",
)
_OBSERVATION = (
    "name",
    "spectrum",
    "energy",
    "background",
    "response",
    "arf",
    "background_file",
    "group",
    "row",
)
_AMORTIZE = {
    "exposure": list,
    "counts": list,
    "compressor": str,
    "members": int,
    "simulations": int,
    "steps": int,
}
_FILES = ("spectrum", "response", "arf", "background_file")


@dataclass(frozen=True)
class Config:
    """What one configuration file asks for.

    Attributes:
        path: The file; names of spectra and table models are relative to its folder.
        model: The spectral model.
        prior: Priors, fixed values and ties.
        names: What the spectra are called; empty for the names of their files.
        observations: Keyword arguments of `read_observation`, one set per spectrum.
        method: As in `infer`.
        seed: Seed of the random key.
        draws: Effective draws to reach.
        truth: Parameters to simulate with; empty where there are none.
        amortize: Keyword arguments of `amortize`.
    """

    path: Path
    model: ExpressionModel
    prior: Prior
    names: tuple[str, ...]
    observations: tuple[dict[str, Any], ...]
    method: str
    seed: int
    draws: int
    truth: dict[str, float]
    amortize: dict[str, Any]

    def read_observations(self, **changes: Any) -> tuple[Observation, ...]:
        """Read the spectra with their responses.

        Args:
            changes: Arguments of `read_observation` that replace those of the file.

        Raises:
            ValueError: If a file is damaged or does not fit the others.
            OSError: If a file is missing.
        """
        found = (read_observation(**each | changes) for each in self.observations)
        return tuple(
            dataclasses.replace(each, name=name or each.name)
            for name, each in zip(self.names, found, strict=True)
        )


def read_config(path: str | os.PathLike) -> Config:
    """Read and check a configuration file; its spectra are not read yet.

    Raises:
        ValueError: If it is not TOML, or a key, parameter or value is wrong; the
            message names the file and the key.
        OSError: If it cannot be read.
    """
    path = Path(path)
    return parse_config(path.read_bytes(), path)


def parse_config(content: bytes, path: Path) -> Config:
    """Check the content of a configuration file.

    Args:
        content: TOML.
        path: Where it stands or would stand; names of spectra and table models are
            relative to that folder.

    Raises:
        ValueError: As `read_config`.
    """
    try:
        table = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from None
    try:
        return _config(path, table)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _config(path: Path, table: dict[str, Any]) -> Config:
    _check_keys(table, _TOP, "")
    for key in ("model", "observation", "prior"):
        if key not in table:
            raise ValueError(f"`{key}` is missing.")
    model = spectral_model(
        _typed(table["model"], str, "model"),
        abundances=_typed(table.get("abundances", "wilm"), str, "abundances"),
        cross_sections=_typed(
            table.get("cross_sections", "vern"), str, "cross_sections"
        ),
        folder=path.parent,
    )
    prior = prior_from(_typed(table["prior"], dict, "prior"))
    check_parameters(model, prior)
    method = _typed(table.get("method", "auto"), str, "method")
    draws = _typed(table.get("draws", 10_000), int, "draws")
    check_choices(method, draws)
    tables = _observations(table["observation"])
    return Config(
        path=path,
        model=model,
        prior=prior,
        names=tuple(
            _typed(each.get("name", ""), str, "observation.name") for each in tables
        ),
        observations=tuple(_observation(path.parent, each) for each in tables),
        method=method,
        seed=_typed(table.get("seed", 0), int, "seed"),
        draws=draws,
        truth=_truth(model, _typed(table.get("truth", {}), dict, "truth")),
        amortize=_amortize(_typed(table.get("amortize", {}), dict, "amortize")),
    )


def _typed(value: Any, kind: type, key: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = {str: "a string", int: "an integer", dict: "a table"}[kind]
        raise ValueError(f"`{key}` must be {wanted}; got {value!r}.")
    return value


def _check_keys(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"Unknown key `{where}{key}`. {suggest(key, list(known))}")


def _observations(tables: Any) -> list[dict[str, Any]]:
    if isinstance(tables, dict):
        tables = [tables]
    if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise ValueError("`observation` must be a table, [[observation]].")
    if len(tables) != 1:
        raise ValueError(
            f"One [[observation]] is needed; got {len(tables)}. Joint fits are in the "
            "Python interface: give `infer` a tuple of observations."
        )
    return tables


def _observation(folder: Path, table: dict[str, Any]) -> dict[str, Any]:
    _check_keys(table, _OBSERVATION, "observation.")
    if "spectrum" not in table:
        raise ValueError("`observation.spectrum` is missing.")
    arguments = {key: value for key, value in table.items() if key != "name"}
    for key in _FILES:
        if key in arguments:
            name = _typed(arguments[key], str, f"observation.{key}")
            arguments[key] = name if name.lower() == "none" else str(folder / name)
    if not isinstance(arguments.get("group", "none"), str | dict):
        raise ValueError(
            "`observation.group` must be a string or a table such as "
            f"{{ min_counts = 20 }}; got {arguments['group']!r}."
        )
    if "row" in arguments:
        _typed(arguments["row"], int, "observation.row")
    if "energy" in arguments:
        arguments["energy"] = _range(arguments["energy"], "observation.energy", "keV")
    return arguments


def _range(value: Any, key: str, unit: str) -> tuple[float, float]:
    good = isinstance(value, list) and len(value) == 2
    if not good or not all(type(limit) in (int, float) for limit in value):
        raise ValueError(f"`{key}` must be [low, high] in {unit}; got {value!r}.")
    return float(value[0]), float(value[1])


def _amortize(table: dict[str, Any]) -> dict[str, Any]:
    _check_keys(table, tuple(_AMORTIZE), "amortize.")
    arguments = {}
    for key, value in table.items():
        if _AMORTIZE[key] is list:
            unit = "s" if key == "exposure" else "counts"
            arguments[key] = _range(value, f"amortize.{key}", unit)
        else:
            arguments[key] = _typed(value, _AMORTIZE[key], f"amortize.{key}")
    try:
        check_training(**arguments)
    except ValueError as error:
        raise ValueError(f"[amortize]: {error}") from None
    return arguments


def _truth(model: ExpressionModel, table: dict[str, Any]) -> dict[str, float]:
    known = list(model.parameters)
    for name, value in table.items():
        if name not in known:
            raise ValueError(
                f"Unknown parameter {name!r} in [truth]. {suggest(name, known)}"
            )
        if type(value) not in (int, float):
            raise ValueError(f"`truth.{name}` must be a number; got {value!r}.")
        model.check_limits(name, value)
    return {name: float(value) for name, value in table.items()}
