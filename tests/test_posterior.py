"""Weighted draws: their statistics, their resampling, their file and their print."""

import dataclasses
import json
import sys

import jax
import numpy as np
import pytest
from scipy import stats

from jsbi.posterior import QUANTILES, Posterior, Report
from jsbi.store import save_arrays

REPORT = Report(
    model="tbabs*powerlaw",
    rungs=({"name": "mixture", "efficiency": 0.93}, {"name": "nuts"}),
    cstat=101.5,
    cstat_expected=99.25,
    cstat_sd=14.0,
    bins=100,
    verdict="usable",
    reasons=("Pareto k 0.6 is above 0.5", "few draws"),
    simulations=20_000,
    likelihood_evaluations=12_345,
    seconds={"total": 3.5, "compile": 1.25},
    seed=7,
    versions={"jsbi": "0.1.0"},
    device="cpu",
)
REPEATS = np.array([0, 1, 5, 2, 0, 3, 1, 8, 1, 4])


def make(weights, **fields):
    """A posterior of two parameters with these weights."""
    generator = np.random.default_rng(0)
    z = generator.normal(size=(len(weights), 2))
    with np.errstate(divide="ignore"):
        log_weight = np.log(weights / np.sum(weights))
    return Posterior(
        names=("tbabs.nH", "powerlaw.norm"),
        z=z,
        values=np.stack([0.5 + 0.1 * z[:, 0], np.exp(z[:, 1])], 1),
        log_weight=log_weight,
        log_likelihood=-0.5 * generator.chisquare(2, len(weights)),
        effective_draws=float(np.sum(weights) ** 2 / np.sum(np.square(weights))),
        **fields,
    )


@pytest.fixture
def posterior():
    return make(
        np.random.default_rng(1).exponential(size=500),
        log_evidence=-34.8451,
        log_evidence_error=0.0123,
        method="mixture",
        pareto_k=0.31,
        report=REPORT,
    )


def test_moments_are_those_of_replicated_draws():
    weighted = make(REPEATS)
    replicated = np.repeat(weighted.values, REPEATS, axis=0)
    np.testing.assert_allclose(weighted.mean(), replicated.mean(0), rtol=1e-12)
    np.testing.assert_allclose(weighted.sd(), replicated.std(0), rtol=1e-12)


@pytest.mark.parametrize("probability", [0.0, 0.05, 0.3, 0.5, 0.84, 1.0])
def test_quantiles_of_equal_weights_are_those_of_numpy(probability):
    equal = make(np.ones(11))
    np.testing.assert_allclose(
        equal.quantile(probability),
        np.quantile(equal.values, probability, axis=0, method="hazen"),
        rtol=1e-12,
    )


@pytest.mark.parametrize("probability", [0.01, 0.16, 0.5, 0.7, 0.95])
def test_quantiles_of_weighted_draws_lie_next_to_those_of_replicated_ones(probability):
    weighted = make(REPEATS)
    replicated = np.repeat(weighted.values, REPEATS, axis=0)
    exact = np.quantile(replicated, probability, axis=0, method="inverted_cdf")
    for found, near, draws in zip(
        weighted.quantile(probability),
        exact,
        weighted.values[REPEATS > 0].T,
        strict=True,
    ):
        ordered = np.sort(draws)
        place = np.searchsorted(ordered, near)
        assert ordered[max(place - 1, 0)] <= found
        assert found <= ordered[min(place + 1, len(ordered) - 1)]


def test_quantiles_of_many_weighted_draws_are_those_of_the_target():
    z = np.random.default_rng(2).normal(0.3, 1.3, (100_000, 1))
    log_ratio = (stats.norm.logpdf(z) - stats.norm.logpdf(z, 0.3, 1.3))[:, 0]
    weights = np.exp(log_ratio)
    posterior = Posterior(
        names=("x",),
        z=z,
        values=z,
        log_weight=np.log(weights / weights.sum()),
        log_likelihood=np.zeros(len(z)),
        effective_draws=1.0,
    )
    for name, probability in QUANTILES.items():
        assert posterior.summary()["x"][name] == pytest.approx(
            stats.norm.ppf(probability), abs=0.02
        )
    assert posterior.mean()[0] == pytest.approx(0.0, abs=0.02)
    assert posterior.sd()[0] == pytest.approx(1.0, abs=0.02)


def test_draws_of_no_weight_change_nothing():
    weights = np.random.default_rng(3).exponential(size=50)
    weights[::3] = 0
    with_zeros = make(weights)
    kept = weights > 0
    without = dataclasses.replace(
        with_zeros,
        z=with_zeros.z[kept],
        values=with_zeros.values[kept],
        log_weight=with_zeros.log_weight[kept],
        log_likelihood=with_zeros.log_likelihood[kept],
    )
    np.testing.assert_allclose(with_zeros.mean(), without.mean(), rtol=1e-12)
    for probability in (0.05, 0.5, 0.9):
        np.testing.assert_allclose(
            with_zeros.quantile(probability), without.quantile(probability), rtol=1e-9
        )
    rows = with_zeros.resampled_rows(jax.random.key(0), 10_000)
    assert np.all(weights[rows] > 0)


def test_samples_are_the_columns_and_carry_the_weights(posterior):
    assert list(posterior.samples) == ["tbabs.nH", "powerlaw.norm"]
    np.testing.assert_array_equal(posterior.samples["tbabs.nH"], posterior.values[:, 0])
    assert posterior.weights.sum() == pytest.approx(1.0)
    assert posterior.draws == 500
    assert posterior.efficiency == posterior.effective_draws / 500


@pytest.mark.parametrize("number", [7, 500, 12_345])
def test_resampling_is_systematic(posterior, number):
    """Every draw comes as often as expected, rounded down or up."""
    rows = posterior.resampled_rows(jax.random.key(1), number)
    assert rows.shape == (number,)
    counts, expected = np.bincount(rows, minlength=500), number * posterior.weights
    assert np.all(np.abs(counts - expected) < 1 + 1e-9)


def test_resampling_reproduces_the_weights(posterior):
    number, repeats = 100, 2000
    keys = jax.random.split(jax.random.key(2), repeats)
    rows = np.concatenate([posterior.resampled_rows(key, number) for key in keys])
    groups = np.arange(500) // 50
    observed = np.bincount(groups[rows], minlength=10)
    expected = np.bincount(groups, posterior.weights) * number * repeats
    # Systematic draws scatter less than multinomial ones, never more.
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_resampled_draws_come_in_random_order_and_whole(posterior):
    draws = posterior.resample(jax.random.key(3), 2000)
    values = np.stack(list(draws.values()), 1)
    rows = posterior.resampled_rows(jax.random.key(3), 2000)
    np.testing.assert_array_equal(values, posterior.values[rows])
    assert list(draws) == list(posterior.names)
    order = np.corrcoef(rows[1:], rows[:-1])[0, 1]
    assert abs(order) < 5 / np.sqrt(2000)
    other = posterior.resampled_rows(jax.random.key(4), 2000)
    assert np.any(other != rows)


def test_summary_has_every_statistic_as_plain_numbers(posterior):
    summary = posterior.summary()
    assert list(summary) == list(posterior.names)
    row = summary["tbabs.nH"]
    assert list(row) == ["mean", "sd", "q05", "q16", "median", "q84", "q95"]
    assert row["q05"] < row["q16"] < row["median"] < row["q84"] < row["q95"]
    assert row["mean"] == posterior.mean()[0]
    assert json.loads(json.dumps(summary)) == summary


def test_a_posterior_survives_its_file_to_the_bit(posterior, tmp_path):
    posterior.save(tmp_path / "fit.jsbi")
    loaded = Posterior.load(tmp_path / "fit.jsbi")
    for field in dataclasses.fields(Posterior):
        ours, theirs = getattr(posterior, field.name), getattr(loaded, field.name)
        if isinstance(ours, np.ndarray):
            assert theirs.dtype == ours.dtype
            assert theirs.tobytes() == ours.tobytes()
        elif isinstance(ours, float) and np.isnan(ours):
            assert np.isnan(theirs)
        else:
            assert type(theirs) is type(ours)
            assert theirs == ours
    assert str(loaded) == str(posterior)


def test_a_posterior_without_a_report_survives_too(tmp_path):
    make(REPEATS).save(tmp_path / "fit.jsbi")
    loaded = Posterior.load(tmp_path / "fit.jsbi")
    assert loaded.report is None
    assert np.isnan(loaded.log_evidence)
    assert loaded.weights[0] == 0


def test_another_file_is_no_posterior(tmp_path):
    path = tmp_path / "network"
    save_arrays(path, "network", {}, {})
    with pytest.raises(
        ValueError, match="holds a network, where a posterior is needed"
    ):
        Posterior.load(path)


@pytest.mark.parametrize(
    "header",
    [{}, {"report": None, "names": ["a"], "surprise": 1}, {"report": {"x": 1}}],
)
def test_fields_of_another_version_are_refused(tmp_path, header):
    save_arrays(tmp_path / "fit.jsbi", "posterior", header, {"z": np.ones((1, 1))})
    with pytest.raises(ValueError, match="was saved by another version of jsbi"):
        Posterior.load(tmp_path / "fit.jsbi")


def test_print_shows_table_quality_evidence_and_verdict(posterior):
    lines = str(posterior).splitlines()
    header = "parameter mean sd q05 q16 median q84 q95"
    assert lines[0].split() == header.split()
    mean, sd = posterior.mean()[0], posterior.sd()[0]
    assert lines[1].split()[:3] == ["tbabs.nH", f"{mean:.4g}", f"{sd:.4g}"]
    assert lines[2].startswith("powerlaw.norm")
    share = 100 * posterior.efficiency
    assert lines[3] == (
        f"effective draws {posterior.effective_draws:,.0f} of 500 ({share:.0f} %), "
        "Pareto k 0.31, by mixture"
    )
    assert lines[4] == "ln Z -34.845 +- 0.012"
    assert lines[5] == "C-stat 101.5 in 100 bins, expected 99.2 +- 14.0"
    assert lines[6:] == [
        "verdict: usable",
        "  Pareto k 0.6 is above 0.5",
        "  few draws",
    ]


def test_print_leaves_out_what_is_not_known():
    chain = str(make(np.ones(20), method="nuts", r_hat=1.00321))
    assert "R-hat 1.0032, by nuts" in chain
    for absent in ("Pareto", "ln Z", "C-stat", "verdict", "nan"):
        assert absent not in chain


def test_repr_is_one_line(posterior):
    assert repr(posterior).startswith("Posterior(tbabs.nH, powerlaw.norm; 500 draws, ")
    assert "ln Z -34.85" in repr(posterior)


def test_arviz_is_asked_for_where_it_is_absent(posterior, monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match="pip install arviz"):
        posterior.to_arviz()
