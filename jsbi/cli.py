"""The shell: parses arguments, calls the library and prints."""

import argparse
import dataclasses
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jsbi import __version__
from jsbi.amortized import AmortizedPosterior
from jsbi.api import METHODS, check_choices, infer, make_target, simulate
from jsbi.check import METHODS as CHECKED_METHODS
from jsbi.check import check, check_effort
from jsbi.config import Config, read_config
from jsbi.data import describe, write_arf, write_response, write_spectrum
from jsbi.data.spectrum import read_spectrum
from jsbi.data.tables import file_named_in_header
from jsbi.demo import make_example, write_example
from jsbi.diagnose import compare
from jsbi.model import COMPONENTS
from jsbi.model.registry import kind_of
from jsbi.network_file import KIND, describe_network
from jsbi.output import (
    check_file,
    check_folder,
    check_overwriting,
    posterior_files,
    save_posterior,
    write_check,
    write_results,
    write_table,
)
from jsbi.posterior import Posterior
from jsbi.store import read_header
from jsbi.training import amortize

USAGE_ERROR, NOT_TRUSTED, INTERRUPTED = 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Command line without the program's name; that of the process if None.

    Returns: 0 on success, 2 for a wrong input, 3 for a result not to be trusted.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except np.linalg.LinAlgError:
        raise  # a ValueError, but not the user's
    except ValueError as error:
        print(f"jsbi: error: {error}", file=sys.stderr)
    except BrokenPipeError:
        # Who reads our lines has had enough; the interpreter would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        known = error.filename is not None and error.strerror is not None
        text = f"{error.filename}: {error.strerror}" if known else error
        print(f"jsbi: error: {text}", file=sys.stderr)
    except KeyboardInterrupt:
        print("jsbi: interrupted", file=sys.stderr)
        return INTERRUPTED
    return USAGE_ERROR


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

    train = commands.add_parser(
        "train", help="train one network for all spectra of an instrument and model"
    )
    train.add_argument("config", metavar="CONFIG.toml")
    train.add_argument("--out", required=True, metavar="NETWORK")
    train.add_argument("--seed", type=int)
    train.set_defaults(run=_train)

    apply = commands.add_parser("apply", help="fit spectra with a trained network")
    apply.add_argument("network", metavar="NETWORK")
    apply.add_argument("spectra", nargs="+", metavar="SPECTRUM")
    apply.add_argument(
        "--out", metavar="DIR", help="default: the network's name + '-apply'"
    )
    apply.add_argument(
        "--draws", type=int, default=10_000, help="from the network, per spectrum"
    )
    apply.add_argument("--seed", type=int, default=0)
    for option in ("--response", "--arf"):
        apply.add_argument(
            option, metavar="FILE", help="of all spectra; default: as in their headers"
        )
    apply.set_defaults(run=_apply)

    calibrate = commands.add_parser(
        "check", help="check by simulated spectra whether posteriors are calibrated"
    )
    calibrate.add_argument("config", metavar="CONFIG.toml")
    calibrate.add_argument("--out", metavar="DIR", help="default: CONFIG-check")
    calibrate.add_argument("--seed", type=int)
    calibrate.add_argument("--method", choices=CHECKED_METHODS)
    calibrate.add_argument("--spectra", type=int, default=50)
    calibrate.set_defaults(run=_check)

    info = commands.add_parser("info", help="say what a file holds")
    info.add_argument("file", metavar="FILE")
    info.set_defaults(run=_info)

    models = commands.add_parser("models", help="list the model components")
    models.set_defaults(run=_models)
    return parser


def _fit(options: argparse.Namespace) -> int:
    config = read_config(options.config)
    seed = _seed(options.seed, config.seed)
    draws = config.draws if options.draws is None else options.draws
    method = options.method or config.method
    check_choices(method, draws)
    (observation,) = config.read_observations()
    folder = check_folder(options.out or Path(options.config).stem + "-fit")
    print(observation)
    model = config.model
    print(
        f"model {model.expression}, abundances {model.abundances}, cross sections "
        f"{model.cross_sections}"
    )
    if options.dry_run:
        # Folds the response, as a fit would; the rest has been checked.
        make_target((observation,), config.model, config.prior)
        print(
            f"{method}, {draws} draws, seed {seed}: all input is good; nothing was run"
        )
        return 0
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
    check_folder(folder)
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
    files = write_results(
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
    files += write_example(observation, config)
    print(compare(posterior, reference, config.truth))
    return _finish(posterior, files)


def _check(options: argparse.Namespace) -> int:
    config = read_config(options.config)
    seed = _seed(options.seed, config.seed)
    method = options.method or config.method
    check_effort(method, options.spectra, config.draws)
    (observation,) = config.read_observations()
    folder = check_folder(options.out or Path(options.config).stem + "-check")
    print(observation)
    result = check(
        jax.random.key(seed),
        observation,
        config.model,
        config.prior,
        method=method,
        spectra=options.spectra,
        draws=config.draws,
        amortization=config.amortize,
        seed=seed,
    )
    print(result)
    print("files:", *(f"  {file}" for file in write_check(folder, result)), sep="\n")
    return 0 if result.calibrated else NOT_TRUSTED


def _finish(posterior: Posterior, files: list[Path]) -> int:
    """Print table, verdict and files; the status says whether to trust them."""
    print(posterior)
    print("files:", *(f"  {file}" for file in files), sep="\n")
    if not any(file.suffix == ".png" for file in files):
        print('no plots: pip install "jsbi[plot]"')
    report = posterior.report
    assert report is not None
    return NOT_TRUSTED if report.verdict == "not trusted" else 0


def _seed(given: int | None, default: int = 0) -> int:
    seed = default if given is None else given
    if not 0 <= seed < 2**63:
        raise ValueError(f"The seed must be from 0 to 2^63 - 1; got {seed}.")
    return seed


def _simulate(options: argparse.Namespace) -> int:
    config = read_config(options.config)
    missing = [
        name
        for name, declared in config.model.parameters.items()
        if not declared.frozen and name not in config.truth
    ]
    if missing:
        raise ValueError(
            f"{options.config}: [truth] must give every parameter that is not frozen; "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing."
        )
    path = check_file(options.out)
    files = [path, path.with_suffix(".rmf"), path.with_suffix(".arf")]
    check_overwriting(map(check_file, files), _input_files(config))
    # The whole spectrum is simulated: the energy range of the fit is for the fit.
    (observation,) = config.read_observations(energy=None)
    key = jax.random.key(_seed(options.seed, config.seed))
    fake = simulate(key, observation, config.model, config.truth)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_spectrum(path, fake, response=files[1].name, arf=files[2].name)
    write_response(files[1], observation.response)
    write_arf(files[2], observation.response)
    print(fake, *(f"  {file}" for file in files), sep="\n")
    return 0


def _input_files(config: Config) -> list[Path]:
    """The configuration, and all files that it or a spectrum's header names."""
    files = [config.path, *map(Path, config.model.files)]
    for each in config.observations:
        source = read_spectrum(each["spectrum"], row=each.get("row"))
        given = (each.get(key) for key in ("response", "arf", "background_file"))
        named = (
            file_named_in_header(value, source.path) for value in source.files.values()
        )
        files += [source.path, *(Path(file) for file in (*given, *named) if file)]
    return files


def _train(options: argparse.Namespace) -> int:
    config = read_config(options.config)
    seed = _seed(options.seed, config.seed)
    path = check_file(options.out)
    check_overwriting([path], _input_files(config))
    (observation,) = config.read_observations()
    print(observation)
    network = amortize(
        jax.random.key(seed),
        observation,
        config.model,
        config.prior,
        **config.amortize,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    network.save(path)
    print(describe_network(path))
    return 0


def _apply(options: argparse.Namespace) -> int:
    seed = _seed(options.seed)
    network = AmortizedPosterior.load(options.network)
    folder = check_folder(options.out or Path(options.network).stem + "-apply")
    *files, table = posterior_files(folder, options.spectra)
    given = [file for file in (options.response, options.arf) if file]
    check_overwriting([*files, table], [options.network, *options.spectra, *given])
    counts, exposure, names = network.match(
        network.read(spectrum, response=options.response, arf=options.arf)
        for spectrum in options.spectra
    )
    posteriors = network.each(
        counts,
        exposure=exposure,
        names=names,
        key=jax.random.key(seed),
        draws=options.draws,
        progress=True,
        seed=seed,
    )
    rows, lines = [], []
    for spectrum, seconds, file, posterior in zip(
        options.spectra, exposure, files, posteriors, strict=True
    ):
        rows.append(save_posterior(file, posterior, spectrum, float(seconds)))
        lines.append(_line(spectrum, posterior))
    write_table(table, rows)
    print(*lines, sep="\n")
    print(f"files: {table} and {len(files)} posteriors beside it")
    return NOT_TRUSTED if "not trusted" in {row["verdict"] for row in rows} else 0


def _line(spectrum: str, posterior: Posterior) -> str:
    values = ", ".join(
        f"{name} {row['mean']:.4g} +- {row['sd']:.2g}"
        for name, row in posterior.summary().items()
    )
    assert posterior.report is not None
    return (
        f"{spectrum}: {values}; effective draws {posterior.effective_draws:,.0f} "
        f"({100 * posterior.efficiency:.0f} %), Pareto k {posterior.pareto_k:.2f}, "
        f"by {posterior.method}: {posterior.report.verdict}"
    )


def _info(options: argparse.Namespace) -> int:
    path = Path(options.file)
    if path.suffix == ".toml":
        print(_describe_config(read_config(path)))
    elif zipfile.is_zipfile(path):
        print(_describe_saved(path))
    else:
        print(describe(path))
    return 0


def _describe_saved(path: Path) -> str:
    kind = read_header(path)["kind"]
    if kind == KIND:
        return describe_network(path)
    return f"{path}: {kind}" + (
        f"\n{Posterior.load(path)}" if kind == "posterior" else ""
    )


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
    for component in COMPONENTS:
        summary = (component.__doc__ or "").strip().splitlines()[0]
        print(f"{component.xspec_name} ({kind_of(component)}): {summary}")
        for parameter in component.parameters().values():
            row = dataclasses.astuple(parameter)
            frozen = "  (frozen)" if parameter.frozen else ""
            print(
                "    {:<10} default {:<8g} from {:g} to {:g}  {}".format(*row) + frozen
            )
    print(
        "atable{FILE}, mtable{FILE}, etable{FILE}: table models; "
        "`jsbi info FILE` lists their parameters"
    )
    return 0
