"""The shell: parses arguments, calls the library and prints."""

import argparse
import dataclasses
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import jax

from jsbi import __version__
from jsbi.api import METHODS, infer, simulate
from jsbi.config import Config, read_config
from jsbi.data import describe, write_spectrum
from jsbi.demo import make_example, write_example
from jsbi.diagnose import compare
from jsbi.model import COMPONENTS, SpectralModel
from jsbi.output import prepare_folder, write_results
from jsbi.posterior import Posterior
from jsbi.store import read_header

USAGE_ERROR, NOT_TRUSTED = 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Command line without the program's name; that of the process if None.

    Returns: 0 on success, 2 for a wrong input, 3 when a fit is not to be trusted.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError) as error:
        print(f"jsbi: error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("jsbi: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jsbi", description="Exact Bayesian X-ray spectral inference."
    )
    parser.add_argument("--version", action="version", version=f"jsbi {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="fit a packaged example, and check by NUTS")
    demo.add_argument("--out", default="jsbi-demo", metavar="DIR")
    demo.add_argument("--seed", type=int, default=0)
    demo.set_defaults(run=_demo)

    fit = commands.add_parser("fit", help="fit the spectrum of a configuration file")
    fit.add_argument("config", metavar="CONFIG.toml")
    fit.add_argument("--out", metavar="DIR", help="default: the config's name + '-fit'")
    fit.add_argument("--seed", type=int)
    fit.add_argument("--method", choices=METHODS)
    fit.add_argument("--draws", type=int)
    fit.add_argument(
        "--dry-run", action="store_true", help="check all input, then stop"
    )
    fit.set_defaults(run=_fit)

    fake = commands.add_parser("simulate", help="simulate a spectrum, like fakeit")
    fake.add_argument("config", metavar="CONFIG.toml")
    fake.add_argument("--out", required=True, metavar="FILE.pha")
    fake.add_argument("--seed", type=int)
    fake.set_defaults(run=_simulate)

    info = commands.add_parser("info", help="say what a file holds")
    info.add_argument("file", metavar="FILE")
    info.set_defaults(run=_info)

    models = commands.add_parser("models", help="list the model components")
    models.set_defaults(run=_models)
    return parser


def _fit(options: argparse.Namespace) -> int:
    config = read_config(options.config)
    (observation,) = config.read_observations()
    seed = config.seed if options.seed is None else options.seed
    draws = config.draws if options.draws is None else options.draws
    method = options.method or config.method
    print(observation)
    print(f"model {config.model.expression}, abundances {config.model.abundances}")
    if options.dry_run:
        print(
            f"{method}, {draws} draws, seed {seed}: all input is good; nothing was run"
        )
        return 0
    folder = prepare_folder(options.out or Path(options.config).stem + "-fit")
    posterior = infer(
        jax.random.key(seed),
        observation,
        config.model,
        config.prior,
        method=method,
        draws=draws,
        seed=seed,
    )
    files = write_results(
        folder,
        posterior,
        observation,
        config.model,
        config.prior,
        rows=draws,
        seed=seed,
    )
    return _finish(posterior, files)


def _demo(options: argparse.Namespace) -> int:
    folder = Path(options.out)
    observation, config = make_example(folder)
    prepare_folder(folder)
    print(f"{config.model.expression} on {observation}")
    keys = jax.random.split(jax.random.key(options.seed))
    posterior, reference = (
        infer(
            key,
            observation,
            config.model,
            config.prior,
            method=method,
            draws=config.draws,
            seed=options.seed,
        )
        for key, method in zip(keys, ("sbi", "nuts"), strict=True)
    )
    files = write_example(observation, config)
    files += write_results(
        folder,
        posterior,
        observation,
        config.model,
        config.prior,
        rows=config.draws,
        seed=options.seed,
        reference=reference,
        truth=config.truth,
    )
    print(compare(posterior, reference, config.truth))
    return _finish(posterior, files)


def _finish(posterior: Posterior, files: list[Path]) -> int:
    """Print table, verdict and files; the status says whether to trust them."""
    print(posterior)
    print("files:", *(f"  {file}" for file in files), sep="\n")
    if not any(file.suffix == ".png" for file in files):
        print('no plots: pip install "jsbi[plot]"')
    report = posterior.report
    assert report is not None
    return NOT_TRUSTED if report.verdict == "not trusted" else 0


def _simulate(options: argparse.Namespace) -> int:
    config = read_config(options.config)
    missing = [name for name in config.model.parameters if name not in config.truth]
    if missing:
        raise ValueError(
            f"{options.config}: [truth] must give every parameter to simulate; "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing."
        )
    (observation,) = config.read_observations()
    seed = config.seed if options.seed is None else options.seed
    fake = simulate(jax.random.key(seed), observation, config.model, config.truth)
    write_spectrum(options.out, fake)
    print(f"{fake}\n{options.out}")
    return 0


def _info(options: argparse.Namespace) -> int:
    path = Path(options.file)
    if path.suffix == ".toml":
        print(_describe_config(read_config(path)))
    elif zipfile.is_zipfile(path):
        kind = read_header(path)["kind"]
        print(f"{path}: {kind}")
        if kind == "posterior":
            print(Posterior.load(path))
    else:
        print(describe(path))
    return 0


def _describe_config(config: Config) -> str:
    lines = [f"{config.path}: fit of {config.model.expression}"]
    lines += [f"  spectrum {each['spectrum']}" for each in config.observations]
    lines += [
        f"  {name} ~ {type(marginal).__name__}"
        for name, marginal in zip(
            config.prior.names, config.prior.marginals, strict=True
        )
    ]
    lines += [f"  {name} = {float(value):g}" for name, value in config.prior.fixed]
    lines += [
        f"  {name} = {float(factor):g} * {other}"
        for name, factor, other in config.prior.ties
    ]
    return "\n".join(lines)


def _models(_: argparse.Namespace) -> int:
    for component in sorted(COMPONENTS, key=lambda each: each.xspec_name.lower()):
        kind = "additive" if issubclass(component, SpectralModel) else "multiplicative"
        summary = (component.__doc__ or "").strip().splitlines()[0]
        print(f"{component.xspec_name} ({kind}): {summary}")
        for parameter in component.parameters().values():
            row = dataclasses.astuple(parameter)
            print("    {:<10} default {:<8g} from {:g} to {:g}  {}".format(*row))
    return 0
