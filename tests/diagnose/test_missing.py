"""Evidences of additions against quadrature; a planted line is found where it is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jsbi.correct import mixture_rung
from jsbi.correct.rung import judge_samples, judge_weighted
from jsbi.data import perfect_log_likelihood
from jsbi.diagnose.additions import (
    LineFactor,
    extended,
    with_absorber,
    with_gain,
    with_line,
)
from jsbi.diagnose.line_scan import scan_energies, scan_lines
from jsbi.diagnose.missing import Addition, Missing, false_alarms, find_missing
from jsbi.instrument import EnergyGrid, Folder
from jsbi.model import Gaussian, spectral_model
from jsbi.posterior import Posterior
from jsbi.progress import Progress
from jsbi.simulate import LogUniform, Prior, Simulator, Target, Uniform
from tests.targets import grid_answer, make_observation, power_law

LINE = 4.0  # keV
MODEL = spectral_model("tbabs*powerlaw")


def one_parameter():
    prior = Prior(
        {
            "tbabs.nH": 0.1,
            "powerlaw.PhoIndex": 1.8,
            "powerlaw.norm": LogUniform(1e-4, 1e-1),
        }
    )
    return Simulator(prior, MODEL, (Folder(make_observation()),))


def spectrum(simulator, seed=0, norm=5e-3, line=0.0):
    """Counts of a power law, with a line of so many photons."""
    model = MODEL(**{"tbabs.nH": 0.1, "powerlaw.PhoIndex": 1.8, "powerlaw.norm": norm})
    expected = simulator.fold(model + Gaussian(LINE, 0.0, line))
    counts = np.random.default_rng(seed).poisson(np.asarray(expected, float))
    return Target(simulator, counts.astype(float))


def fit(target):
    return mixture_rung(
        jax.random.key(0),
        target,
        enough=1000.0,
        log_perfect=perfect_log_likelihood(np.asarray(target.counts, float)),
        progress=Progress(False),
    ).posterior


def perfect(target):
    return perfect_log_likelihood(np.asarray(target.counts, float))


def grid(target, *widths):
    """ln Z by the midpoint rule in the quantiles of the prior of each parameter."""
    shares = [(np.arange(number) + 0.5) / number for number in widths]
    mesh = np.stack(np.meshgrid(*shares, indexing="ij"), -1).reshape(-1, len(widths))
    z = np.asarray(jax.scipy.special.ndtri(jnp.asarray(mesh)))
    return logsumexp(target.log_likelihood(z)) - np.log(len(mesh))


@pytest.fixture(scope="module")
def clean():
    target = spectrum(one_parameter())
    return target, fit(target)


@pytest.fixture(scope="module")
def lined():
    target = spectrum(one_parameter(), line=4e-4)
    return target, fit(target)


def test_a_line_adds_its_equivalent_width_and_takes_its_depth():
    energy = EnergyGrid(np.linspace(1.0, 3.0, 401))
    at, width = jnp.asarray(2.0), jnp.asarray(0.05)
    added = LineFactor(at, jnp.asarray(0.3), width, True)(energy) - 1
    np.testing.assert_allclose((added * energy.width).sum(), 0.3, rtol=1e-4)
    left = LineFactor(at, jnp.asarray(0.6), width, False)(energy)
    np.testing.assert_allclose(left.min(), 0.4, atol=1e-3)
    assert left.max() <= 1


def test_added_parameters_come_last_and_keep_ties_and_fixed_values():
    base = Prior({"a": LogUniform(1, 2), "b": "2*a", "c": 0.5, "d": LogUniform(1, 3)})
    more = extended(base, {"e": LogUniform(1, 4)})
    assert more.names == ("a", "d", "e")
    z = jnp.array([0.3, -0.2, 0.0])
    values = more(z)
    np.testing.assert_allclose(values["b"], 2 * values["a"])
    assert values["c"] == 0.5
    np.testing.assert_allclose(values["d"], base(z[:2])["d"])
    with pytest.raises(ValueError, match="'a' of its own"):
        extended(base, {"a": LogUniform(1, 4)})


def test_energies_are_half_a_resolution_apart():
    energies, edges, sigma = scan_energies(one_parameter())
    # The instrument's FWHM is 0.1 sqrt(E); its channels are 0.047 E wide and widen it.
    width = np.hypot(0.1 * np.sqrt(energies), 0.047 * energies)
    step = np.gradient(energies)[2:-2] / width[2:-2]
    assert np.all((step > 0.3) & (step < 1.2))
    assert np.all(sigma < width / 2)
    assert len(edges) == len(energies) + 1
    assert energies[0] < 0.6
    assert energies[-1] > 7.5


def band(first, last):
    """An observation of some of the channels only."""
    observation = make_observation()
    group = np.full(60, -1)
    group[first:last] = np.arange(last - first)
    return dataclasses.replace(observation, group=group)


def test_a_gap_between_two_bands_hides_nothing_above_it():
    alone = one_parameter()
    folders = Folder(band(0, 20)), Folder(band(40, 60))
    joint, high = (
        dataclasses.replace(alone, folders=some) for some in (folders, folders[1:])
    )
    energies, edges, sigma = scan_energies(joint)
    above, _, expected = scan_energies(high)
    np.testing.assert_allclose(energies[-len(above) :], above)
    np.testing.assert_allclose(sigma[-len(above) :], expected)
    assert np.all(np.diff(energies) > 0)
    # A response of 0.1 sqrt(E) and channels of 0.047 E, not the gap of 2.5 keV.
    assert np.all(sigma < 0.6 * np.hypot(0.1 * np.sqrt(energies), 0.047 * energies))
    assert len(edges) == len(energies) + 1


@pytest.mark.slow
def test_repeats_of_a_draw_are_no_independent_draws(clean):
    target, posterior = clean
    weight = np.array([45, 7, 4, 3, 2, 1, 1, 1]) / 64
    few = [
        dataclasses.replace(
            posterior,
            z=posterior.z[:8],
            values=posterior.values[:8],
            log_weight=np.log(each),
            log_likelihood=posterior.log_likelihood[:8],
        )
        for each in (weight, np.full(8, 1 / 8))
    ]
    heavy, equal = (
        scan_lines(jax.random.key(1), target.simulator, target.counts, each, draws=64)
        for each in few
    )
    assert heavy.log_ratio.shape == equal.log_ratio.shape
    mean = logsumexp(equal.log_ratio + np.log(weight)[:, None], axis=0)
    np.testing.assert_allclose(heavy.log_bayes, mean, atol=1e-4)
    # Next to all of it is one draw.
    assert heavy.total()[1] > 0.3


@pytest.mark.slow
def test_the_scan_is_the_ratio_of_evidences_by_quadrature(clean):
    target, posterior = clean
    energies, _, sigmas = scan_energies(target.simulator)
    scan = scan_lines(
        jax.random.key(1), target.simulator, target.counts, posterior, draws=512
    )
    log_bayes, error = scan.total()
    line = Target(
        with_line(target.simulator, energies, sigmas).simulator,
        np.asarray(target.counts),
    )
    # The norm is known to 2 %: its quadrature covers the middle of the prior.
    spread = posterior.z.std()
    nodes = posterior.z.mean() + spread * np.linspace(-5, 5, 41)
    numbers = 100, 32
    shares = [(np.arange(number) + 0.5) / number for number in numbers]
    mesh = np.stack(np.meshgrid(nodes, *shares, indexing="ij"), -1).reshape(-1, 3)
    mesh[:, 1:] = np.asarray(jax.scipy.special.ndtri(jnp.asarray(mesh[:, 1:])))
    log_prior = -0.5 * mesh[:, 0] ** 2
    both = logsumexp(line.log_likelihood(mesh) + log_prior) - np.log(np.prod(numbers))
    alone = logsumexp(target.log_likelihood(nodes[:, None]) - 0.5 * nodes**2)
    # The scan's energies are a coarse grid.
    assert abs(log_bayes - (both - alone)) < 4 * error + 0.15


@pytest.mark.slow
@pytest.mark.parametrize(
    "added", ["absorber", pytest.param("gain shift", marks=pytest.mark.slow)]
)
def test_ln_z_of_an_addition_is_that_of_quadrature(clean, added):
    target, posterior = clean
    found = find_missing(
        jax.random.key(2),
        target,
        posterior,
        observations=(make_observation(),),
        kinds=(added,),
    )
    (addition,) = found.additions
    make = {
        "gain shift": lambda: with_gain(target.simulator, (make_observation(),)),
        "absorber": lambda: with_absorber(target.simulator),
    }[added]
    answer = grid_answer(Target(make().simulator, np.asarray(target.counts)))[0]
    base = posterior.log_evidence - perfect(target)
    assert addition.name == added
    assert addition.error < 0.1
    assert abs(addition.log_bayes - (answer - base)) < 4 * addition.error + 0.02


def test_what_is_added_to_a_shifted_energy_scale_is_seen():
    base, observations = one_parameter(), (make_observation(),)
    one = with_absorber(with_gain(base, observations).simulator).simulator
    other = with_gain(with_absorber(base).simulator, observations).simulator
    assert one.prior.names[1:] == other.prior.names[:0:-1]
    z = jnp.array([0.3, -0.7, 0.9])
    counts = one.expected_counts(z)
    same = other.expected_counts(jnp.array([0.3, 0.9, -0.7]))
    np.testing.assert_allclose(counts, same, rtol=1e-5)
    without = with_gain(base, observations).simulator.expected_counts(z[:2])
    assert float(counts.sum()) < 0.9 * float(without.sum())


def test_what_is_not_known_is_not_called_absent():
    known = Addition("a line", 0.5, 0.1, {}, None, "")
    unknown = dataclasses.replace(known, name="an absorber", log_bayes=np.nan)
    both = Missing((known, unknown), 3.0, ()).sentence
    assert both.startswith("None of 1 additions")
    assert both.endswith("The evidence of 1 is not known.")
    assert Missing((unknown,), 3.0, ()).sentence.startswith("Nothing is known of")
    flagged = dataclasses.replace(known, log_bayes=4.0)
    assert "probably lacks: a line" in Missing((flagged, unknown), 3.0, ()).sentence


def made(names, z, **numbers):
    """A posterior of a few draws."""
    usual: dict = {"log_evidence": np.nan, "log_evidence_error": np.nan}
    return Posterior(
        names=names,
        z=z,
        values=z,
        log_weight=np.full(len(z), -np.log(len(z))),
        log_likelihood=np.zeros(len(z)),
        effective_draws=1000.0,
        method="made",
        **(usual | numbers),
    )


def searched(monkeypatch, clean, *rungs, others=None):
    """The search of one candidate, whose fit is given."""
    monkeypatch.setattr("jsbi.diagnose.missing.fit_target", lambda *_: list(rungs))
    kinds = () if others else ("absorber",)
    found = find_missing(jax.random.key(0), *clean, kinds=kinds, others=others)
    return found.additions[0]


def test_ln_z_is_of_the_last_rung_that_knows_it(monkeypatch, clean):
    names = ("powerlaw.norm", "absorber.nH")
    z = np.random.default_rng(0).normal(size=(50, 2))
    chains = judge_samples(made(names, z, r_hat=1.001))
    known = made(
        names, z, log_evidence=-7.0, log_evidence_error=0.1, pareto_k=0.8, proposed=50
    )
    weighted = judge_weighted(known, 1e9)
    both = searched(monkeypatch, clean, weighted, chains)
    assert both.log_bayes == -7.0 - clean[1].log_evidence
    assert both.doubts == ("The weights are unreliable, Pareto k 0.80.",)
    alone = searched(monkeypatch, clean, judge_samples(made(names, z, r_hat=1.2)))
    assert np.isnan(alone.log_bayes)
    assert "Chains do not know ln Z." in alone.doubts
    assert "The chains have not mixed, R-hat 1.200." in alone.doubts
    assert alone.counts is not None


def test_counts_are_not_compared_where_priors_differ(monkeypatch, clean):
    names = ("powerlaw.norm", "powerlaw.PhoIndex")
    rung = judge_samples(made(names, np.zeros((4, 2)), r_hat=1.0))
    fixed = {"tbabs.nH": 0.1, "powerlaw.PhoIndex": Uniform(1.0, 3.0)}
    for low, known in ((1e-4, True), (1e-5, False)):
        prior = Prior({"powerlaw.norm": LogUniform(low, 1e-1)} | fixed)
        own = searched(monkeypatch, clean, rung, others={"own": (MODEL, prior)})
        assert (own.counts is not None) == known


def test_a_planted_line_is_found_at_its_energy(lined):
    target, posterior = lined
    found = find_missing(jax.random.key(3), target, posterior, kinds=("emission line",))
    (line,) = found.additions
    assert found.flagged == (line,)
    assert "lacks: emission line" in found.sentence
    energy, sd = line.values["line.energy"]
    assert abs(energy - LINE) < max(4 * sd, 0.02)
    assert sd < 0.05
    (scan,) = found.scans
    assert abs(scan.energies[scan.best] - LINE) < 0.15
    # All counts of the line, as the instrument would fold it.
    model = MODEL(**{"tbabs.nH": 0.0, "powerlaw.norm": 0.0})
    planted = float(target.simulator.fold(model + Gaussian(LINE, 0.0, 4e-4)).sum())
    assert line.counts is not None
    assert abs(line.counts[0] - planted) < 4 * line.counts[1]


@pytest.mark.slow
def test_a_shifted_energy_scale_is_found():
    simulator = one_parameter()
    observation = make_observation()
    gain = with_gain(simulator, (observation,)).simulator
    z = jnp.array([0.8, 1.0])  # 3 % off
    expected = np.asarray(gain.expected_counts(z), float)
    counts = np.random.default_rng(3).poisson(expected).astype(float)
    target = Target(simulator, counts)
    found = find_missing(
        jax.random.key(4),
        target,
        fit(target),
        observations=(observation,),
        kinds=("gain shift",),
    )
    slope, sd = found.additions[0].values["gain.slope"]
    assert found.flagged
    assert abs(slope - 0.03) < 4 * sd < 0.03


def test_what_the_user_asks_for_is_compared_too(clean):
    target, posterior = clean
    model, prior = power_law()
    found = find_missing(
        jax.random.key(5), target, posterior, others={"free": (model, prior)}, kinds=()
    )
    (free,) = found.additions
    answer = grid_answer(
        Target(
            Simulator(prior, model, target.simulator.folders),
            np.asarray(target.counts),
        )
    )[0]
    base = posterior.log_evidence - perfect(target)
    assert abs(free.log_bayes - (answer - base)) < 4 * free.error + 0.01
    assert free.counts is None
    assert set(free.values) == {"powerlaw.PhoIndex"}


def test_wrong_requests_are_refused(clean):
    target, posterior = clean
    unknown = dataclasses.replace(posterior, log_evidence=np.nan)
    with pytest.raises(ValueError, match="ln Z of the model must be known"):
        find_missing(jax.random.key(0), target, unknown)
    other = dataclasses.replace(posterior, names=("x",))
    with pytest.raises(ValueError, match="the target's parameters"):
        find_missing(jax.random.key(0), target, other)
    with pytest.raises(ValueError, match="gain shift"):
        find_missing(jax.random.key(0), target, posterior, kinds=("gain",))


@pytest.mark.slow
def test_nothing_is_flagged_where_nothing_is_missing(clean):
    target, posterior = clean
    largest = false_alarms(
        jax.random.key(6),
        target,
        posterior,
        6,
        observations=(make_observation(),),
    )
    # Each of five has a false alarm in at most one of twenty spectra.
    assert (largest > 3.0).sum() <= 1
