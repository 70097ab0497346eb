"""Other tools that sample the exact likelihood."""

import dataclasses
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.special import ndtri

from benchmarks.case import Case
from benchmarks.methods import Answer, Prepared
from benchmarks.plain import EDGE, answer, counted, log_perfect, usual_promotion
from jsbi.baseline import from_chains
from jsbi.data import write_arf, write_response, write_spectrum
from jsbi.instrument import EnergyGrid
from jsbi.posterior import Posterior

LIVE = 400  # of UltraNest
LEAST_SLICED = 9  # parameters from which UltraNest moves by slices, not by regions
WALKERS, BURN, LENGTH = 32, 1000, 6000  # of emcee: walkers, and steps of each
CHAINS, WARMUP = 4, 1000  # of numpyro


def ultranest(case: Case, draws: int) -> Prepared:
    """Nested sampling as in BXA, with vectorised calls.

    Source: Buchner (2021), JOSS 6, 3001; Buchner et al. (2014), A&A 564, A125.
    """

    def solve(seed: int) -> Answer:
        from ultranest import ReactiveNestedSampler  # pyright: ignore[reportMissingImports]

        target = case.target()
        # UltraNest draws from numpy's global generator.
        np.random.seed(seed)  # noqa: NPY002
        sampler = ReactiveNestedSampler(
            list(case.prior.names),
            counted(target),
            transform=lambda cube: ndtri(np.clip(cube, EDGE, 1 - EDGE)),
            vectorized=True,
        )
        if target.dimension >= LEAST_SLICED:
            from ultranest import stepsampler  # pyright: ignore[reportMissingImports]

            sampler.stepsampler = stepsampler.SliceSampler(
                nsteps=2 * target.dimension,
                generate_direction=stepsampler.generate_mixture_random_direction,
            )
        result: Any = sampler.run(
            min_num_live_points=LIVE, show_status=False, viz_callback=False
        )
        weighted = result["weighted_samples"]
        kept = weighted["weights"] > 0
        z = np.asarray(weighted["points"], np.float64)[kept]
        posterior = Posterior(
            names=case.prior.names,
            z=z,
            values=target.physical(z),
            log_weight=np.log(weighted["weights"][kept]),
            log_likelihood=np.asarray(weighted["logl"], np.float64)[kept],
            effective_draws=float(result["ess"]),
            log_evidence=float(result["logz"]) + log_perfect(case),
            log_evidence_error=float(result["logzerr"]),
            method="nested, ultranest",
            proposed=int(result["ncall"]),
        )
        return answer(case, target, posterior, draws)

    return Prepared(solve)


def emcee(case: Case, draws: int) -> Prepared:
    """The affine-invariant ensemble, as XSPEC's `chain`, from the best of many draws.

    Source: Goodman & Weare (2010), CAMCoS 5, 65; Foreman-Mackey et al. (2013), PASP
        125, 306.
    """

    def solve(seed: int) -> Answer:
        from emcee import EnsembleSampler  # pyright: ignore[reportMissingImports]

        target = case.target()
        evaluate = counted(target)
        generator = np.random.default_rng(seed)
        dimension = target.dimension
        walkers = max(WALKERS, 4 * dimension)
        tries = generator.standard_normal((16 * walkers, dimension))
        start = tries[np.argsort(-evaluate(tries))[:walkers]]
        sampler = EnsembleSampler(
            walkers,
            dimension,
            lambda z: evaluate(z) - 0.5 * (z**2).sum(1),
            vectorize=True,
        )
        sampler.random_state = np.random.RandomState(seed).get_state()  # noqa: NPY002
        state = sampler.run_mcmc(start, BURN, store=False)
        sampler.run_mcmc(state, LENGTH)
        chains = np.swapaxes(np.asarray(sampler.get_chain()), 0, 1)
        posterior = from_chains(target, chains, "ensemble, emcee")
        # Walkers depend on one another: their own measure of autocorrelation.
        times = sampler.get_autocorr_time(tol=0)
        effective = walkers * LENGTH / float(np.max(times))
        # Chains that never moved have none.
        effective = float(np.nan_to_num(effective))
        posterior = dataclasses.replace(posterior, effective_draws=effective)
        return answer(case, target, posterior, draws)

    return Prepared(solve)


def numpyro(case: Case, draws: int) -> Prepared:
    """NUTS as jaxspec uses it: four chains from draws of the prior.

    Source: Phan et al. (2019), arXiv 1912.11554; Dupourque et al. (2024), A&A 690,
        A317.
    """

    def solve(seed: int) -> Answer:
        from numpyro.infer import NUTS  # pyright: ignore[reportMissingImports]

        target = case.target()
        key_start, key_run = jax.random.split(jax.random.key(seed))

        def potential(z):
            return -target.simulator.log_posterior(z, target.counts)

        start = jax.random.normal(key_start, (CHAINS, target.dimension))
        kernel = NUTS(potential_fn=potential, dense_mass=True)
        samples, steps = _run_numpyro(kernel, key_run, draws, start)
        target.evaluations += steps
        z = np.asarray(samples, np.float64)
        posterior = from_chains(target, z, "nuts, numpyro")
        return answer(case, target, posterior, draws)

    return Prepared(solve)


def _run_numpyro(
    kernel: Any, key: Array, draws: int, start: Array | None = None
) -> tuple[Any, int]:
    """Samples of all chains, and the steps that they took, warmup included."""
    from numpyro.infer import MCMC  # pyright: ignore[reportMissingImports]

    chains = MCMC(
        kernel,
        num_warmup=WARMUP,
        num_samples=max(1000, draws // CHAINS),
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    fields = ("num_steps",)
    with usual_promotion():
        chains.warmup(key, init_params=start, extra_fields=fields, collect_warmup=True)
        steps = int(chains.get_extra_fields()["num_steps"].sum())
        state: Any = chains.last_state
        chains.run(state.rng_key, extra_fields=fields)
    steps += int(chains.get_extra_fields()["num_steps"].sum())
    return chains.get_samples(group_by_chain=True), steps


def jaxspec(case: Case, draws: int) -> Prepared:
    """The package jaxspec: its reading, folding, priors and NUTS, with its settings.

    The spectrum itself is of our components, since its absorbers fetch their tables at
    run time. jaxspec 0.4 asks for older versions of JAX, astropy and scipy than jsbi,
    but runs with these: `pip install --no-deps jaxspec`, and what it imports.

    Source: Dupourque et al. (2024), A&A 690, A317.

    Raises:
        ValueError: If there are several observations, which would share a spectrum.
    """
    if len(case.observations) > 1:
        raise ValueError(
            "jaxspec is given the spectrum of one observation; got "
            f"{len(case.observations)}."
        )

    def solve(seed: int) -> Answer:
        from numpyro.infer import NUTS  # pyright: ignore[reportMissingImports]

        target = case.target()
        with usual_promotion():
            kernel = NUTS(_jaxspec_model(case).numpyro_model)
        samples, steps = _run_numpyro(kernel, jax.random.key(seed), draws)
        target.evaluations += steps
        places = [f"spectrum.whole_1.z{i}" for i in range(target.dimension)]
        z = np.stack([np.asarray(samples[each], np.float64) for each in places], -1)
        posterior = from_chains(target, z, "nuts, jaxspec")
        return answer(case, target, posterior, draws)

    return Prepared(solve)


def _jaxspec_model(case: Case) -> Any:
    """The case as jaxspec reads it from OGIP files, with all of our spectrum."""
    import numpyro.distributions as priors  # pyright: ignore[reportMissingImports]
    from flax import nnx  # pyright: ignore[reportMissingImports]
    from jaxspec.data import ObsConfiguration  # pyright: ignore[reportMissingImports]
    from jaxspec.fit import BayesianModel  # pyright: ignore[reportMissingImports]
    from jaxspec.model.abc import AdditiveComponent  # pyright: ignore[reportMissingImports]

    (observation,) = case.observations
    with tempfile.TemporaryDirectory() as folder:
        spectrum, rmf, arf = (f"{folder}/{each}" for each in ("pha", "rmf", "arf"))
        write_response(rmf, observation.response)
        write_arf(arf, observation.response)
        write_spectrum(spectrum, observation)
        seen = ObsConfiguration.from_pha_file(spectrum, rmf_path=rmf, arf_path=arf)
    if not np.array_equal(seen.folded_counts, observation.binned_counts):
        raise ValueError(
            "jaxspec must see the same counts in the same bins; it does not."
        )
    low, high = seen.in_energies
    grid = EnergyGrid(np.append(low, high[-1]))
    names = [f"z{i}" for i in range(case.prior.dimension)]

    class Whole(AdditiveComponent):
        def __init__(self):
            for name in names:
                setattr(self, name, nnx.Param(0.0))

        def integrated_continuum(self, e_low, e_high):
            z = jnp.stack([jnp.asarray(getattr(self, name)[...]) for name in names])
            return case.model(**case.prior(z))(grid)

    normal = {f"spectrum.whole_1.{name}": priors.Normal(0.0, 1.0) for name in names}
    return BayesianModel(Whole(), normal, seen)
