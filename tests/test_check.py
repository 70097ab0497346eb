"""Calibration of whole procedures: exact, broken, broken at one place, and real."""

import csv
import dataclasses
import importlib
import json
import math

import jax
import numpy as np
import pytest

from jsbi.amortized import AmortizedPosterior
from jsbi.api import infer, make_target
from jsbi.check import check
from jsbi.cli import main
from jsbi.data import write_arf, write_response, write_spectrum
from jsbi.demo import make_example, write_example
from jsbi.model import spectral_model
from jsbi.output import write_check
from jsbi.posterior import Posterior
from jsbi.procedure import (
    NETWORK_DRAWS,
    EachByItself,
    OneNetwork,
    add_noise,
    draw_prior,
)
from jsbi.simulate import (
    LogUniform,
    Normal,
    Prior,
    Target,
    Uniform,
    log_prior,
    prior_from,
)
from jsbi.training import amortize
from tests.plot.conftest import report
from tests.targets import grid_answer, make_observation, power_law

module = importlib.import_module("jsbi.check")
PLACE = 0.4  # z of the observation
GRID = np.linspace(-5, 5, 2001)
DRAWS = 300


@pytest.fixture(scope="module")
def case():
    """One parameter, whose posterior is known by quadrature."""
    model = spectral_model("powerlaw")
    prior = Prior({"powerlaw.PhoIndex": 2.0, "powerlaw.norm": LogUniform(1e-4, 1e-2)})
    target = make_target((make_observation(),), model, prior)
    expected = target.expected_counts(np.array([PLACE]))
    counts = np.random.default_rng(1).poisson(expected)
    return make_observation(counts), model, prior


class Quadrature(EachByItself):
    """Draws from the posterior of one parameter, by inverting its distribution."""

    def distort(self, z, row):
        """What a broken procedure does to the draws of one spectrum."""
        return z

    def number(self):
        """Of the draws of one spectrum."""
        return self.draws

    def posteriors(self, key, counts, exposure):
        generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        for row, spectrum in enumerate(counts):
            target = Target(self.under(exposure), spectrum)
            density = target.log_likelihood(GRID[:, None]) - 0.5 * GRID**2
            below = np.cumsum(np.exp(density - density.max()))
            uniform = generator.random(self.number())
            z = np.interp(uniform * below[-1], below, GRID)
            z = self.distort(z, row)
            if isinstance(z, str):
                yield z
                continue
            posterior = Posterior(
                names=target.simulator.prior.names,
                z=z[:, None],
                values=z[:, None],
                log_weight=np.full(len(z), -np.log(len(z))),
                log_likelihood=target.log_likelihood(z[:, None]),
                effective_draws=float(len(z)),
                report=report("trusted"),
            )
            yield posterior, posterior


class Shifted(Quadrature):
    def distort(self, z, row):
        return z + 0.6 * z.std()


class LocallyNarrow(Quadrature):
    """Wrong where the observation is, and hardly anywhere else."""

    def distort(self, z, row):
        near = abs(z.mean() - PLACE) < 0.15
        return z.mean() + (0.5 if near else 1.0) * (z - z.mean())


class Failing(Quadrature):
    def distort(self, z, row):
        return "no way" if row in (3, 4) else z


def run(monkeypatch, procedure, case, **choices):
    monkeypatch.setattr(module, "EachByItself", procedure)
    choices = {"spectra": 200, "draws": DRAWS, "progress": False} | choices
    return check(jax.random.key(5), *case, **choices)


@pytest.mark.slow
def test_exact_posteriors_are_calibrated(monkeypatch, case):
    result = run(monkeypatch, Quadrature, case)
    assert result.calibrated
    assert result.verdict == "calibrated"
    assert result.reasons == ()
    assert set(result.parts) == {"prior", "observation"}
    assert result.prior.outcomes == {"trusted": 200}
    assert result.prior.after.names == ("powerlaw.norm",)
    text = str(result)
    assert result.notes == ("The posterior of the observation is trusted.",)
    after = result.prior.after
    assert after.displacement(result.share) > after.displacement()
    assert f"displacement by {after.displacement(result.share):.2g} widths" in text
    assert result.summary()["prior"]["after"]["displacement"] == after.displacement(
        result.share
    )
    assert "200 spectra over the prior, auto: 200 trusted" in text
    assert text.endswith("verdict: calibrated")


def test_posteriors_displaced_everywhere_are_caught_over_the_prior(monkeypatch, case):
    result = run(monkeypatch, Shifted, case)
    assert not result.calibrated
    assert any(
        reason.startswith("Over the prior: powerlaw.norm") and "too high" in reason
        for reason in result.reasons
    )


def test_a_local_error_is_caught_at_the_observation_alone(monkeypatch, case):
    result = run(monkeypatch, LocallyNarrow, case)
    assert not result.calibrated
    assert result.reasons
    assert all(reason.startswith("At the observation") for reason in result.reasons)
    assert "too narrow" in " ".join(result.reasons)


def test_spectra_without_a_posterior_are_counted(monkeypatch, case):
    result = run(monkeypatch, Failing, case, spectra=60)
    assert result.prior.outcomes == {"trusted": 58, "failed": 2}
    assert result.prior.after.trials == 58
    assert "Over the prior: 2 of 60 spectra have no posterior; the first: no way" in (
        result.reasons
    )
    assert len(result.rows()) == 116


def test_the_observation_is_inferred_first_and_with_draws_for_all_truths(
    monkeypatch, case
):
    asked = []

    class Unknown(EachByItself):
        def posteriors(self, key, counts, exposure):
            asked.append((counts[0].tolist(), self.draws))
            yield "no way"

    with pytest.raises(ValueError, match="The observation has no posterior: no way"):
        run(monkeypatch, Unknown, case, spectra=70)
    assert asked == [(case[0].binned_counts.tolist(), 1400)]


def test_few_draws_of_the_observation_are_told(monkeypatch, case):
    class Few(Quadrature):
        def number(self):
            return 40

    result = run(monkeypatch, Few, case, spectra=5)
    assert "40 effective draws are few for 5 spectra" in result.notes[1]
    assert "which need 50" in str(result)


@pytest.mark.parametrize("lost", ["prior", "observation"])
def test_one_part_without_any_posterior_leaves_the_other(
    monkeypatch, case, tmp_path, lost
):
    class Half(Quadrature):
        def posteriors(self, key, counts, exposure):
            observed = len(counts) == 1
            if observed or (exposure == 2) == (lost == "prior"):
                return super().posteriors(key, counts, exposure)
            return iter(["no way"] * len(counts))

    # More draws than usual for the observation, so that it comes alone.
    result = run(monkeypatch, Half, case, spectra=16)
    (kept,) = {"prior", "observation"} - {lost}
    title = {"prior": "Over the prior", "observation": "At the observation"}[lost]
    reason = f"{title}: 16 of 16 spectra have no posterior; the first: no way"
    assert result.reasons == (reason,)
    assert result.parts[kept].after.trials == 16
    assert "16 failed\nnone of them has a posterior" in str(result)
    files = {path.name for path in write_check(tmp_path, result)}
    drawn = {"calibration.png"} if kept == "prior" else set()
    assert files == {"check.json", "ranks.csv"} | drawn
    with (tmp_path / "ranks.csv").open() as file:
        assert [row["spectra"] for row in csv.DictReader(file)] == [kept] * 16


def test_a_figure_that_fails_loses_no_table(monkeypatch, case, tmp_path):
    def fail(*parts, **choices):
        raise RuntimeError("no figure")

    result = run(monkeypatch, Quadrature, case, spectra=2)
    figures = importlib.import_module("jsbi.plot.calibration")
    monkeypatch.setattr(figures, "calibration", fail)
    with pytest.raises(RuntimeError, match="no figure"):
        write_check(tmp_path, result)
    assert {path.name for path in tmp_path.iterdir()} == {"check.json", "ranks.csv"}


def test_a_subtracted_spectrum_is_not_checked_at_the_observation(monkeypatch, case):
    observation, model, prior = case
    net = dataclasses.replace(observation, net=True)
    result = run(monkeypatch, Quadrature, (net, model, prior), spectra=20)
    assert result.observation is None
    assert "background-subtracted" in str(result)
    assert result.share == result.false_alarm


WRONG = [
    ({"method": "mcmc"}, "Unknown method 'mcmc'"),
    ({"spectra": 0}, "`spectra` must be positive"),
    ({"draws": 0}, "`draws` must be positive"),
    ({"false_alarm": 1.0}, "`false_alarm` must be between 0 and 1"),
]


@pytest.mark.parametrize(("choices", "message"), WRONG)
def test_wrong_choices_are_refused(case, choices, message):
    with pytest.raises(ValueError, match=message):
        check(jax.random.key(0), *case, **choices)


USELESS = [
    ({"net": True}, {}, "a background has been subtracted"),
    ({"counts": np.full(60, 1.5)}, {}, "counts must be whole numbers; got 1.5"),
    ({}, {"exposure": (3e5, 6e5)}, "The exposure must be within the range"),
    ({}, {"background_scale": (2.0, 3.0)}, "The background scale must be within"),
]


@pytest.mark.parametrize(("changes", "amortization", "message"), USELESS)
def test_a_network_that_would_not_serve_is_not_trained(
    monkeypatch, case, changes, amortization, message
):
    monkeypatch.setattr(module, "amortize", lambda *_, **__: pytest.fail("trained"))
    observation, model, prior = case
    given = dataclasses.replace(observation, **changes), model, prior
    choices = {"method": "amortised", "amortization": amortization}
    with pytest.raises(ValueError, match=message):
        check(jax.random.key(0), *given, **choices)


class Bare(AmortizedPosterior):
    """A network of which only the model and prior are known."""

    def __init__(self, simulator):
        object.__setattr__(self, "simulator", simulator)


PRIOR = {
    "powerlaw.PhoIndex": Uniform(0.0, 4.0),
    "powerlaw.norm": LogUniform(1e-4, 1e-1),
    "bbody.kT": 0.5,
    "bbody.norm": "0.1*powerlaw.norm",
}
OTHERS = [
    {"powerlaw.norm": LogUniform(1e-4, 2e-1)},
    {"bbody.kT": 0.4},
    {"bbody.norm": "0.2*powerlaw.norm"},
]


def test_a_network_of_another_prior_is_refused():
    model, prior = spectral_model("powerlaw+bbody"), Prior(PRIOR)
    network = Bare(make_target((make_observation(),), model, prior).simulator)
    module._check_network(network, model, prior)
    module._check_network(network, model, prior_from(prior.table()))
    for other in OTHERS:
        (name,) = other
        with pytest.raises(
            ValueError, match=f"another is that of (bbody.norm, )?{name}.$"
        ):
            module._check_network(network, model, Prior(PRIOR | other))


def test_two_spectra_are_one_of_twice_the_exposure(case):
    """Their likelihoods multiply to that of the sum, but for a constant."""
    observation, model, prior = case
    target = make_target((observation,), model, prior)
    procedure = EachByItself(target.simulator, (observation,), "auto", DRAWS)
    generator = np.random.default_rng(2)
    other = generator.poisson(target.expected_counts(np.array([0.6]))).astype(float)
    z = np.linspace(0.2, 0.8, 7)[:, None]
    both = Target(procedure.under(2.0), np.asarray(target.counts) + other)
    together = both.log_likelihood(z)
    apart = target.log_likelihood(z) + Target(target.simulator, other).log_likelihood(z)
    difference = together - apart
    np.testing.assert_allclose(difference, difference[0], atol=2e-3)
    assert np.ptp(together) > 10


def test_simulated_spectra_know_the_likelihood_of_their_truth(case):
    observation, model, prior = case
    target = make_target((observation,), model, prior)
    generator = np.random.default_rng(3)
    z, expected = draw_prior(generator, target, 50)
    observed = np.asarray(target.counts, np.float64)
    for known, exposure in ((None, 1.0), (observed, 2.0)):
        simulated = add_noise(generator, z, expected, known)
        assert simulated.exposure == exposure
        procedure = EachByItself(target.simulator, (observation,), "auto", 1)
        simulator = procedure.under(exposure)
        for row in (0, 7):
            own = Target(simulator, simulated.counts[row]).log_likelihood(z[[row]])
            assert own[0] == pytest.approx(simulated.log_likelihood[row], abs=2e-3)


def hidden(a):
    """A model without a value in half of its prior."""
    from jsbi.model import PowerLaw

    return PowerLaw(2.0, jax.numpy.where(a > 0, 1e-3, jax.numpy.nan))


def nowhere(a):
    return hidden(-abs(a))


def test_truths_lie_where_the_model_has_a_value():
    prior = Prior({"a": Normal(0.0, 1.0)})
    generator = np.random.default_rng(4)
    target = make_target((make_observation(),), hidden, prior)
    z, expected = draw_prior(generator, target, 100)
    assert z.shape == (100, 1)
    assert z.min() > 0
    assert np.isfinite(expected).all()
    target = make_target((make_observation(),), nowhere, prior)
    with pytest.raises(ValueError, match="at 0 of 1000"):
        draw_prior(generator, target, 100)


@pytest.fixture(scope="module")
def observed():
    """A spectrum of a power law, with model and prior."""
    model, prior = power_law()
    target = make_target((make_observation(),), model, prior)
    expected = target.expected_counts(np.array([0.1, 0.2]))
    return make_observation(np.random.default_rng(5).poisson(expected)), model, prior


def test_each_spectrum_is_inferred_as_by_infer(observed):
    observation, model, prior = observed
    target = make_target((observation,), model, prior)
    procedure = EachByItself(target.simulator, (observation,), "auto", 1000)
    counts = observation.binned_counts[None]
    ((before, after),) = procedure.posteriors(jax.random.key(6), counts, 1.0)
    (key,) = jax.random.split(jax.random.key(6), 1)
    whole = infer(key, observation, model, prior, draws=1000, progress=False)
    np.testing.assert_array_equal(after.z, whole.z)
    np.testing.assert_array_equal(after.log_weight, whole.log_weight)
    assert after.log_evidence == whole.log_evidence
    assert after.report is not None
    assert whole.report is not None
    assert after.report.verdict == whole.report.verdict
    assert after.report.bands == whole.report.bands
    assert after.report.predictive == whole.report.predictive
    np.testing.assert_array_equal(before.z, after.z)
    assert np.ptp(before.log_weight) == 0
    assert before.effective_draws == before.draws > after.effective_draws
    assert log_prior(after.z).shape == (after.draws,)


def test_nested_sampling_has_no_draws_before_reweighting(observed):
    observation, model, prior = observed
    target = make_target((observation,), model, prior)
    z = np.array([[0.1, 0.2], [0.3, 0.4]])
    found = Posterior(
        names=prior.names,
        z=z,
        values=z,
        log_weight=np.log([0.2, 0.8]),
        log_likelihood=np.zeros(2),
        effective_draws=1.5,
    )

    class Known(EachByItself):
        def _one(self, key, target, counts):
            return dataclasses.replace(found, method=self.method)

    counts = observation.binned_counts[None]
    for method, first in (("nested", 0.2), ("mixture", 0.5)):
        procedure = Known(target.simulator, (observation,), method, 1)
        ((before, after),) = procedure.posteriors(jax.random.key(0), counts, 1.0)
        assert before.weights[0] == pytest.approx(first)
        assert after.weights[0] == pytest.approx(0.2)


@pytest.fixture(scope="module")
def network(reused_keys, observed):
    observation, model, prior = observed
    return amortize(
        jax.random.key(7),
        observation,
        model,
        prior,
        exposure=(observation.exposure, 2 * observation.exposure),
        simulations=2048,
        steps=200,
        progress=False,
    )


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.usefixtures("reused_keys")
def test_one_network_before_and_after_reweighting(network, observed):
    observation, model, prior = observed
    procedure = OneNetwork(network, observation.exposure, 2000)
    counts = np.repeat(observation.binned_counts[None], 2, axis=0)
    outcomes = list(procedure.posteriors(jax.random.key(8), counts, 1.0))
    target = make_target((observation,), model, prior)
    _, mean, sd = grid_answer(target)
    for before, after in outcomes:
        assert before.draws == NETWORK_DRAWS
        assert np.ptp(before.log_weight) == 0
        own = target.log_likelihood(before.z)
        np.testing.assert_allclose(before.log_likelihood, own, atol=2e-3)
        assert all(math.isfinite(band["low"]) for band in after.report.bands)
        assert 0 < after.report.predictive["p_value"] <= 1
        found = after.weights @ after.z
        assert np.all(np.abs(found - mean) / sd < 5 / np.sqrt(after.effective_draws))
    first, second = (before.z for before, _ in outcomes)
    assert np.abs(first - second).max() > 0


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.usefixtures("reused_keys")
def test_a_network_is_checked_where_it_serves(network, observed):
    observation, model, prior = observed
    choices = {"network": network, "spectra": 6, "draws": 2000, "progress": False}
    result = check(jax.random.key(9), observation, model, prior, **choices)
    assert result.method == "amortised"
    assert set(result.parts) == {"prior", "observation"}
    for part in result.parts.values():
        assert part.spectra == 6
        assert np.all(part.before.effective_draws == NETWORK_DRAWS)
        assert np.all(part.after.effective_draws != NETWORK_DRAWS)
    longer = make_observation(observation.counts, 2 * observation.exposure)
    result = check(jax.random.key(9), longer, model, prior, **choices)
    assert result.observation is None
    assert "within the range of the training" in result.notes[0]
    other = Prior({"powerlaw.PhoIndex": 2.0, "powerlaw.norm": LogUniform(1e-4, 1e-2)})
    with pytest.raises(ValueError, match="The network must be for the model"):
        check(
            jax.random.key(9), observation, spectral_model("powerlaw"), other, **choices
        )


class Unlucky(AmortizedPosterior):
    """A network that has no posterior of some spectra."""

    def __init__(self):
        pass

    def each(self, counts, **choices):
        for row in counts:
            if row[0] in (1.0, 2.0, 5.0):
                raise ValueError(f"spectrum {row[0]:.0f} has no posterior")
            yield float(row[0])


def test_what_follows_a_spectrum_without_a_posterior_is_inferred(reused_keys):
    procedure = OneNetwork(Unlucky(), 1.0, 1)
    counts = np.arange(6.0)[:, None]
    found = list(procedure._after(jax.random.key(0), counts, 1.0))
    assert [each if isinstance(each, float) else "failed" for each in found] == [
        0.0,
        "failed",
        "failed",
        3.0,
        4.0,
        "failed",
    ]


@pytest.mark.long
def test_the_packaged_example_is_calibrated(tmp_path, capsys):
    observation, config = make_example(tmp_path)
    write_example(observation, config)
    arguments = ["check", str(tmp_path / "demo.toml"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--method", "amortised", "--spectra", "20"]) == 0
    assert "verdict: calibrated" in capsys.readouterr().out


@pytest.fixture
def folder(tmp_path, observed):
    observation, _, _ = observed
    write_spectrum(tmp_path / "test.pha", observation, response="t.rmf", arf="t.arf")
    write_response(tmp_path / "t.rmf", observation.response)
    write_arf(tmp_path / "t.arf", observation.response)
    (tmp_path / "fit.toml").write_text(
        """
model = "tbabs*powerlaw"
seed = 3
draws = 400
[[observation]]
spectrum = "test.pha"
[prior]
"tbabs.nH" = 0.1
"powerlaw.PhoIndex" = 2.0
"powerlaw.norm" = { loguniform = [1e-4, 1e-1] }
"""
    )
    return tmp_path


@pytest.mark.slow
def test_the_shell_infers_as_fit_does(folder):
    out = folder / "out"
    arguments = ["check", str(folder / "fit.toml"), "--out", str(out), "--spectra", "2"]
    assert main(arguments) == 0
    with (out / "ranks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert all(float(row["ess"]) >= 400 for row in rows)


def test_the_shell_writes_verdict_ranks_and_figure(folder, monkeypatch, capsys):
    monkeypatch.setattr(module, "EachByItself", Quadrature)
    out = folder / "out"
    arguments = ["check", str(folder / "fit.toml"), "--out", str(out), "--spectra", "2"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "2 spectra over the prior, auto" in printed
    assert "verdict: calibrated" in printed
    assert sorted(path.name for path in out.iterdir()) == [
        "calibration.png",
        "check.json",
        "ranks.csv",
    ]
    summary = json.loads((out / "check.json").read_text())
    assert summary["verdict"] == "calibrated"
    assert summary["seed"] == 3
    for name in ("prior", "observation"):
        assert summary[name]["spectra"] == 2
        assert sum(summary[name]["outcomes"].values()) == 2
        quantities = summary[name]["after"]["quantities"]
        assert list(quantities)[-3:] == ["log likelihood", "log posterior", "TARP"]
    with (out / "ranks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["spectra"] for row in rows] == ["prior"] * 2 + ["observation"] * 2
    assert all(0 < float(row["after powerlaw.norm"]) < 1 for row in rows)
    assert {row["ess"] for row in rows} == {"400.0"}


def test_the_shell_says_by_its_status_what_is_not_calibrated(
    folder, monkeypatch, capsys
):
    class Off(EachByItself):
        def posteriors(self, key, counts, exposure):
            for row, spectrum in enumerate(counts):
                target = Target(self.under(exposure), spectrum)
                z = np.random.default_rng(row).standard_normal((DRAWS, 1))
                posterior = Posterior(
                    names=target.simulator.prior.names,
                    z=z,
                    values=z,
                    log_weight=np.full(DRAWS, -np.log(DRAWS)),
                    log_likelihood=target.log_likelihood(z),
                    effective_draws=float(DRAWS),
                    report=report("usable"),
                )
                yield posterior, posterior

    monkeypatch.setattr(module, "EachByItself", Off)
    out = folder / "out"
    arguments = ["check", str(folder / "fit.toml"), "--out", str(out)]
    assert main([*arguments, "--spectra", "40"]) == 3
    printed = capsys.readouterr().out
    assert "verdict: not calibrated" in printed
    assert "blind to data" in printed
    assert (out / "check.json").exists()


REFUSED = [
    (["--spectra", "0"], "`spectra` must be positive"),
    (["--seed", "-1"], "The seed must be from 0"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_the_shell_checks_its_input_first(folder, capsys, arguments, message):
    out = folder / "out"
    config = str(folder / "fit.toml")
    assert main(["check", config, "--out", str(out), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_the_shell_refuses_a_missing_spectrum(folder, capsys):
    (folder / "test.pha").unlink()
    assert main(["check", str(folder / "fit.toml")]) == 2
    assert "test.pha" in capsys.readouterr().err
