"""One network for all spectra of an instrument, against quadrature for each."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jsbi
from jsbi.correct import draw_many
from jsbi.estimate import untrained
from jsbi.instrument import Folder
from jsbi.simulate import (
    Simulator,
    Stored,
    Target,
    make_conditions,
    under,
    without_context,
)
from jsbi.store import load_arrays, save_arrays
from tests.targets import grid_answer, make_observation, power_law

pytestmark = [
    pytest.mark.slow,
    pytest.mark.network,
    pytest.mark.usefixtures("reused_keys"),
]
OWN = 2e3  # exposure of the training's observation [s]
LONGEST = 2e4
BACKGROUND = np.full(60, 2.0)
SPECTRA = 96
DRAWS = 2000
EXPOSURES = {0: 200.0, 1: 2000.0, 2: LONGEST}  # of the first spectra
MODEL, PRIOR = power_law()


@pytest.fixture(scope="module")
def network(reused_keys):
    return jsbi.amortize(
        jax.random.key(0),
        make_observation(),
        MODEL,
        PRIOR,
        exposure=(LONGEST / 100, LONGEST),
        background=BACKGROUND,
        background_scale=(0.5, 2.0),
        simulations=4096,
        steps=400,
        progress=False,
    )


def simulated(network, z, exposure, scale=1.0, seed=0):
    """Counts at parameters, and their target."""
    context = network.conditions.context(exposure / OWN, scale)
    here = under(network.simulator, network.conditions, jnp.asarray(context, float))
    expected = Target(here, np.zeros(60)).expected_counts(z)
    counts = np.random.default_rng(seed).poisson(expected).astype(float)
    return Target(here, counts)


@pytest.fixture(scope="module")
def spectra(network):
    """Draws of the prior at exposures over a factor of 100, and their posteriors."""
    generator = np.random.default_rng(1)
    z = generator.standard_normal((SPECTRA, 2))
    z[0], z[1], z[2] = (0.1, 0.2), (-0.5, 0.8), (1.0, -0.7)
    exposure = LONGEST * 100.0 ** (generator.random(SPECTRA) - 1)
    scale = 2 ** generator.uniform(-1, 1, SPECTRA)
    exposure[:3] = list(EXPOSURES.values())
    targets = [
        simulated(network, z[row], exposure[row], scale[row], row)
        for row in range(SPECTRA)
    ]
    posteriors = network.many(
        np.stack([np.asarray(target.counts, float) for target in targets]),
        exposure=exposure,
        background_scale=scale,
        draws=DRAWS,
        adapt=False,
    )
    return z, targets, posteriors


def check(posterior, target):
    log_z, mean, sd = grid_answer(target)
    log_z += jsbi.data.perfect_log_likelihood(np.asarray(target.counts, float))
    found = posterior.weights @ posterior.z
    width = np.sqrt(posterior.weights @ (posterior.z - found) ** 2)
    allowed = 5 / np.sqrt(posterior.effective_draws)
    assert abs(posterior.log_evidence - log_z) < 5 * posterior.log_evidence_error
    assert np.all(np.abs(found - mean) / sd < allowed)
    assert np.all(np.abs(width / sd - 1) < allowed)


@pytest.mark.parametrize("row", EXPOSURES)
def test_posteriors_are_those_of_the_quadrature_at_any_exposure(spectra, row):
    _, targets, posteriors = spectra
    check(posteriors[row], targets[row])
    assert posteriors[row].method == "amortised"
    assert posteriors[row].proposed == DRAWS


def test_most_spectra_need_nothing_else(spectra):
    _, _, posteriors = spectra
    efficiency = [posterior.efficiency for posterior in posteriors]
    assert np.median(efficiency) > 0.5
    trusted = [posterior.report.verdict == "trusted" for posterior in posteriors]
    assert np.mean(trusted) > 0.7


def test_ranks_of_the_truth_are_uniform(spectra):
    """False alarm: 1e-3 for each of two parameters and of five fifths, two-sided."""
    z, _, posteriors = spectra
    rank = np.array(
        [
            posterior.weights @ (posterior.z < truth)
            for posterior, truth in zip(posteriors[3:], z[3:], strict=True)
        ]
    )
    for column in rank.T:
        assert stats.kstest(column, stats.uniform.cdf).pvalue > 1e-3
        hits = np.histogram(column, 5, (0, 1))[0]
        assert stats.chisquare(hits).pvalue > 1e-3


def observation(target, exposure):
    return make_observation(np.asarray(target.counts, float), exposure)


def test_saved_and_loaded_it_gives_the_same_numbers(network, spectra, tmp_path):
    """Any exposure of an observation is recognised; the file is all that is needed."""
    target = simulated(network, np.array([0.1, 0.2]), 5e3)
    given = observation(target, 5e3)
    before = network(given, draws=DRAWS)
    check(before, target)
    network.save(tmp_path / "network.jsbi")
    loaded = jsbi.AmortizedPosterior.load(tmp_path / "network.jsbi")
    after = loaded(given, draws=DRAWS)
    for name in ("z", "values", "log_weight", "log_likelihood"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert after.log_evidence == before.log_evidence
    for posterior in (before, after):
        assert posterior.report is not None
        assert posterior.report.model == "tbabs*powerlaw"
    assert repr(loaded) == repr(network)


def test_the_scale_of_the_background_matters(network):
    target = simulated(network, np.array([0.5, -0.8]), OWN, scale=2.0)
    given = observation(target, OWN)
    right = network(given, draws=DRAWS, background_scale=2.0)
    check(right, target)
    wrong = network(given, draws=DRAWS, background_scale=0.5)
    assert right.log_evidence > wrong.log_evidence + 5


def test_grouping_is_that_of_the_training(network):
    target = simulated(network, np.array([0.1, 0.2]), OWN)
    given = observation(target, OWN)
    grouped = dataclasses.replace(given, group=np.arange(60) // 2)
    one, two = (network(each, draws=DRAWS) for each in (given, grouped))
    np.testing.assert_array_equal(one.z, two.z)


def test_what_few_draws_do_not_settle_is_inferred_anew(network):
    target = simulated(network, np.array([0.1, 0.2]), OWN)
    (posterior,) = network.many(
        np.asarray(target.counts, float)[None],
        exposure=OWN,
        draws=DRAWS,
        enough=DRAWS + 500,
    )
    assert posterior.method == "mixture"
    assert posterior.effective_draws >= DRAWS + 500
    check(posterior, target)
    assert [rung["rung"] for rung in posterior.report.rungs] == ["amortised", "mixture"]


def test_fewer_draws_than_a_verdict_asks_for_are_inferred_anew(network):
    target = simulated(network, np.array([0.1, 0.2]), OWN)
    counts = np.asarray(target.counts, float)[None]
    (few,) = network.many(counts, exposure=OWN, draws=300)
    assert few.method == "mixture"
    assert few.report.verdict == "trusted"


@pytest.mark.parametrize(
    "change",
    [
        lambda counts: counts * 300,
        lambda counts: counts[::-1] * 50,
        lambda counts: counts + 2000 * (np.arange(60) == 30),
    ],
    ids=["brighter", "mirrored", "line"],
)
def test_a_spectrum_that_the_prior_cannot_make_is_not_trusted(network, change):
    target = simulated(network, np.array([0.1, 1.0]), OWN)
    counts = change(np.asarray(target.counts, float))
    (posterior,) = network.many(counts[None], exposure=OWN, draws=DRAWS, adapt=False)
    assert posterior.report.verdict == "not trusted"


def other_area(given):
    area = given.response.area * np.linspace(1, 1.05, len(given.response.area))
    response = dataclasses.replace(given.response, area=area)
    return dataclasses.replace(given, response=response)


def other_energies(given):
    edges = given.response.energy_edges * 1.02
    response = dataclasses.replace(given.response, energy_edges=edges)
    return dataclasses.replace(given, response=response)


def shifted_energies(given):
    """By 9 eV, as between two calibrations of the gain."""
    edges = given.response.energy_edges + 0.009
    response = dataclasses.replace(given.response, energy_edges=edges)
    return dataclasses.replace(given, response=response)


def other_tail(given):
    """An area that differs where it is small only."""
    area = given.response.area * np.where(np.arange(160) > 140, 1.01, 1.0)
    assert area.max() == given.response.area.max()
    response = dataclasses.replace(given.response, area=area)
    return dataclasses.replace(given, response=response)


def bad_channel(given):
    group = np.where(np.arange(60) == 30, -1, np.arange(60) - (np.arange(60) > 30))
    return dataclasses.replace(given, group=group)


def other_channels(given):
    response = given.response
    fewer = jsbi.Response(
        response.energy_edges,
        response.redistribution[:50],
        response.area,
        response.channel[:50],
        response.channel_low[:50],
        response.channel_high[:50],
    )
    return jsbi.data.observation_from_counts("test", np.ones(50), OWN, fewer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_area, "test.*Another ARF"),
        (other_energies, "test.*Another ARF"),
        (shifted_energies, "test.*Another ARF"),
        (other_tail, "test.*Another ARF"),
        (bad_channel, "test must have good data in every .*; 1 are .* the first is"),
        (other_channels, "60"),
        (
            lambda given: dataclasses.replace(given, exposure=100.0),
            "exposure .*has 100",
        ),
        (
            lambda given: dataclasses.replace(given, exposure=3e4),
            "exposure .*has 3e\\+04",
        ),
        (lambda given: dataclasses.replace(given, net=True), "must hold counts as"),
        (lambda given: [given, given], "got 2"),
        (lambda given: [], "got 0"),
    ],
)
def test_observations_of_another_kind_are_refused(network, change, message):
    with pytest.raises(ValueError, match=message):
        network(change(make_observation()))


@pytest.mark.parametrize(
    ("counts", "arguments", "message"),
    [
        (np.zeros((2, 59)), {}, r"\[spectrum, 60\]"),
        (np.zeros((0, 60)), {}, r"\[spectrum, 60\]"),
        (np.full((1, 60), -1.0), {}, "not negative"),
        (np.full((1, 60), np.nan), {}, "finite"),
        (np.zeros((1, 60)), {"exposure": 1.0}, "exposure must be within"),
        (
            np.zeros((1, 60)),
            {"exposure": OWN, "background_scale": 3.0},
            "scale must be within",
        ),
        (np.zeros((1, 60)), {}, "`exposure` must be given"),
        (np.full((1, 60), 1.5), {}, "spectrum 0: counts must be whole numbers"),
        (np.full((1, 60), 1.5), {"names": ["own"]}, "own: counts"),
        (np.zeros((1, 60)), {"draws": 0}, "`draws` must be positive"),
    ],
)
def test_what_is_no_spectrum_is_refused(network, counts, arguments, message):
    with pytest.raises(ValueError, match=message):
        network.each(counts, **arguments)


def fail(*arguments, **options):
    raise np.linalg.LinAlgError("Singular matrix")


def test_one_spectrum_that_cannot_be_adapted_does_not_stop_the_others(
    network, monkeypatch
):
    monkeypatch.setattr("jsbi.amortized.mixture_rung", fail)
    target = simulated(network, np.array([0.1, 1.0]), OWN)
    counts = np.tile(np.asarray(target.counts, float), (16, 1))
    counts[1] *= 300
    posteriors = network.many(counts, exposure=OWN, draws=DRAWS, seed=7)
    verdicts = [posterior.report.verdict for posterior in posteriors]
    assert verdicts[1] == "not trusted"
    assert "The adaptation failed: Singular matrix" in posteriors[1].report.reasons
    for posterior in (posteriors[0], posteriors[2]):
        assert posterior.report.verdict == "trusted"
        assert posterior.report.seed == 7
        assert posterior.report.seconds["total"] > 0
        check(posterior, target)


@pytest.mark.parametrize("adapt", [True, False])
def test_a_spectrum_without_any_posterior_is_named(network, monkeypatch, adapt):
    def no_weight(*arguments, **options):
        for drawn in draw_many(*arguments, **options):
            nothing = np.full_like(drawn.log_ratio, -np.inf)
            yield dataclasses.replace(drawn, log_ratio=nothing)

    monkeypatch.setattr("jsbi.amortized.draw_many", no_weight)
    monkeypatch.setattr("jsbi.amortized.mixture_rung", fail)
    with pytest.raises(ValueError, match="test has no posterior: "):
        network.apply([make_observation()], draws=DRAWS, adapt=adapt)


def test_what_the_training_lost_is_a_doubt(network):
    target = simulated(network, np.array([0.1, 0.2]), OWN)
    given = observation(target, OWN)
    assert network.record["lost"] < 0.01
    assert network(given, draws=DRAWS).report.verdict == "trusted"
    doubtful = dataclasses.replace(network, record=network.record | {"lost": 0.2})
    report = doubtful(given, draws=DRAWS).report
    assert report.verdict == "usable"
    assert any("20 % of the training's" in reason for reason in report.reasons)


def test_the_record_tells_how_the_network_was_made(network):
    record = network.record
    assert record["simulations"] == 2000 * 256 + 4096
    assert record["fitted"] == round(4096 * (1 - record["lost"]))
    assert record["steps"] == 400
    assert record["counts"] is None
    assert record["versions"]["jsbi"] == jsbi.__version__


def test_a_training_without_examples_is_given_up(monkeypatch):
    monkeypatch.setattr("jsbi.estimate.amortize.FARTHEST", 1e-3)
    monkeypatch.setattr("jsbi.estimate.amortize.GUESS_STEPS", 100)
    with pytest.raises(ValueError, match="within 0 widths of their best fits; 0.0 %"):
        jsbi.amortize(
            jax.random.key(0),
            make_observation(),
            MODEL,
            PRIOR,
            simulations=512,
            steps=100,
            progress=False,
        )


def steep(index, norm):
    """A power law without absorption."""
    return jsbi.PowerLaw(index, norm)


@pytest.fixture(scope="module")
def joint(reused_keys):
    """Two networks for two observations, and components that depend on the training."""
    prior = jsbi.Prior(
        {"index": jsbi.Uniform(0.0, 4.0), "norm": jsbi.LogUniform(1e-4, 1e-1)}
    )
    return jsbi.amortize(
        jax.random.key(1),
        (make_observation(), make_observation(exposure=5e3)),
        steep,
        prior,
        exposure=(1e3, 4e3),
        compressor="pca",
        members=2,
        simulations=1024,
        steps=100,
        progress=False,
    )


def test_a_joint_fit_is_that_of_the_quadrature_and_is_saved_whole(joint, tmp_path):
    conditions = joint.conditions
    context = jnp.asarray(conditions.context(1.5, 1.0), float)
    here = under(joint.simulator, conditions, context)
    expected = Target(here, np.zeros(120)).expected_counts(np.array([0.1, 0.2]))
    counts = np.random.default_rng(0).poisson(expected).astype(float)
    pair = (
        make_observation(counts[:60], 3e3),
        make_observation(counts[60:], 7.5e3),
    )
    posterior = joint(pair, draws=DRAWS)
    check(posterior, Target(here, counts))
    with pytest.raises(ValueError, match=r"proportion .* 1.5, 1.6"):
        joint((pair[0], dataclasses.replace(pair[1], exposure=8e3)))
    joint.save(tmp_path / "joint.jsbi")
    with pytest.raises(ValueError, match="function; give it to `load`"):
        jsbi.AmortizedPosterior.load(tmp_path / "joint.jsbi")
    loaded = jsbi.AmortizedPosterior.load(tmp_path / "joint.jsbi", model=steep)
    before, after = (
        jax.tree.leaves(eqx.filter(each.estimator, eqx.is_array))
        for each in (joint, loaded)
    )
    for leaf, again in zip(before, after, strict=True):
        np.testing.assert_array_equal(leaf, again)
    for one, two in zip(loaded.templates, joint.templates, strict=True):
        assert one.exposure == two.exposure
        assert one.bins == two.bins == 60


def no_training(*arguments, **options):
    raise AssertionError("an auto-encoder is trained")


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """The file of an untrained network on an auto-encoder and on scores."""
    prior = jsbi.Prior(
        {"index": jsbi.Uniform(0.0, 4.0), "norm": jsbi.LogUniform(1e-4, 1e-1)}
    )
    simulator = Simulator(prior, steep, (Folder(make_observation()),))
    conditions = make_conditions(60, exposure=(0.5, 2.0))
    z = jax.random.normal(jax.random.key(1), (64, 2))
    expected = jax.vmap(simulator.expected_counts)(z)
    monkeypatch.setattr("jsbi.compress.registry.train_autoencoder", no_training)
    compressor = "autoencoder+fisher"
    estimator = untrained(
        jax.random.key(0),
        simulator,
        conditions,
        Stored(without_context(z, expected)),
        compressor=compressor,
        autoencoder_steps=0,
    )
    record = {"compressor": compressor, "members": 1, "simulations": 64}
    network = jsbi.AmortizedPosterior(
        simulator, estimator, conditions, (make_observation(),), record
    )
    network.save(tmp_path / "saved.jsbi")
    return network, tmp_path / "saved.jsbi"


def test_loading_trains_nothing(saved):
    network, path = saved
    loaded = jsbi.AmortizedPosterior.load(path, model=steep)
    one, two = (
        jax.tree.leaves(eqx.filter(each.estimator, eqx.is_array))
        for each in (network, loaded)
    )
    for leaf, again in zip(one, two, strict=True):
        np.testing.assert_array_equal(leaf, again)


def test_a_model_of_other_parameters_is_refused(saved):
    with pytest.raises(ValueError, match="'index', which is no parameter"):
        jsbi.AmortizedPosterior.load(saved[1], model=lambda slope, norm: None)


def test_a_model_is_not_given_twice(network, tmp_path):
    network.save(tmp_path / "network.jsbi")
    with pytest.raises(ValueError, match=r"tbabs\*powerlaw, which is in the file"):
        jsbi.AmortizedPosterior.load(tmp_path / "network.jsbi", model=steep)


@pytest.mark.parametrize("change", ["more", "fewer", "shape"])
def test_arrays_of_another_version_are_refused(saved, change):
    header, arrays = load_arrays(saved[1], "network")
    last = sum(name.startswith("network.") for name in arrays) - 1
    if change == "more":
        arrays[f"network.{last + 1}"] = np.zeros(3)
    elif change == "fewer":
        del arrays[f"network.{last}"]
    else:
        name = "network.0"
        arrays[name] = np.zeros((*arrays[name].shape[:-1], 1 + arrays[name].shape[-1]))
    save_arrays(saved[1], "network", header, arrays)
    with pytest.raises(ValueError, match="saved by another version"):
        jsbi.AmortizedPosterior.load(saved[1], model=steep)


def test_a_response_alone_needs_exposures():
    with pytest.raises(ValueError, match="no exposure; give `exposure`"):
        jsbi.amortize(jax.random.key(0), make_observation().response, MODEL, PRIOR)
