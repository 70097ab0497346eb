import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import poisson

import jsbi.plot
from jsbi.instrument import Folder
from jsbi.model import PowerLaw, TBabs
from jsbi.model.terms import additive_terms, term_names
from jsbi.plot.errors import poisson_interval
from jsbi.simulate import Simulator


@pytest.fixture(scope="module")
def figure(posterior, observation, model, prior):
    return jsbi.plot.spectrum(posterior, observation, model, prior, min_counts=0)


def line(axes, label):
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return found


def folded(posterior, observation, model, prior):
    rows = posterior.resampled_rows(jax.random.key(0), 200)
    simulator = Simulator(prior, model, (Folder(observation),))
    z = jnp.asarray(posterior.z[rows], jnp.result_type(float))
    return np.asarray(jax.jit(jax.vmap(simulator.expected_counts))(z), np.float64)


def test_model_steps_are_the_folded_counts(
    figure, posterior, observation, model, prior
):
    energy, rate = line(figure.axes[0], "median model").get_data()
    width = observation.bin_high - observation.bin_low
    median = np.median(folded(posterior, observation, model, prior), axis=0)
    expected = median / observation.exposure / width
    np.testing.assert_allclose(rate[0::3], expected, rtol=1e-5)
    np.testing.assert_allclose(rate[1::3], expected, rtol=1e-5)
    np.testing.assert_allclose(energy[0::3], observation.bin_low)
    np.testing.assert_allclose(energy[1::3], observation.bin_high)


def test_terms_add_up_to_the_model(posterior, observation, model, prior, remake):
    one = remake(prior, posterior.z[:1].repeat(30, 0), np.zeros(30))
    axes = jsbi.plot.spectrum(one, observation, model, prior, draws=5).axes[0]
    parts = [line(axes, name).get_ydata() for name in ("powerlaw", "bbodyrad")]
    total = line(axes, "median model").get_ydata()
    np.testing.assert_allclose(sum(parts), total, rtol=1e-5)


def test_data_are_rates_with_poisson_errors(figure, observation):
    (bars,) = figure.axes[0].containers
    counts = observation.binned_counts
    scale = observation.exposure * (observation.bin_high - observation.bin_low)
    low, high = poisson_interval(counts)
    segments = np.array(bars[2][1].get_segments())
    np.testing.assert_allclose(segments[:, 0, 1] * scale, low, rtol=1e-9)
    np.testing.assert_allclose(segments[:, 1, 1] * scale, high, rtol=1e-9)


def test_residuals_add_up_to_the_statistic(
    figure, posterior, observation, model, prior
):
    (bars,) = figure.axes[1].containers
    segments = np.array(bars[2][1].get_segments())
    residual = segments[:, :, 1].mean(1)
    counts = observation.binned_counts
    median = np.median(folded(posterior, observation, model, prior), axis=0)
    ratio = np.log(np.where(counts > 0, counts / median, 1.0))
    statistic = 2 * (median - counts + counts * ratio).sum()
    assert (residual**2).sum() == pytest.approx(statistic, rel=1e-4)
    np.testing.assert_array_equal(np.sign(residual), np.sign(counts - median))


def test_axes_are_labelled(figure):
    top, bottom = figure.axes
    assert "counts s$^{-1}$ keV$^{-1}$" in top.get_ylabel()
    assert bottom.get_xlabel() == "Energy [keV]"
    assert top.get_xlim() == bottom.get_xlim()
    figure.draw_without_rendering()
    texts = [label.get_text() for label in bottom.get_xticklabels()]
    assert {"0.5", "1", "2", "5"} <= set(texts)
    (note,) = top.texts
    assert "C-stat 31.5 in 30 bins" in note.get_text()
    names = [text.get_text() for text in top.get_legend().get_texts()]
    assert names[:2] == ["toy", "median model"]


def test_bins_of_few_counts_are_drawn_as_one(posterior, observation, model, prior):
    axes = jsbi.plot.spectrum(posterior, observation, model, prior, min_counts=20).axes[
        0
    ]
    energy, rate = line(axes, "median model").get_data()
    assert len(rate[::3]) < observation.bins
    counts = (rate[::3] * (energy[1::3] - energy[::3])).sum() * observation.exposure
    total = np.median(folded(posterior, observation, model, prior), axis=0).sum()
    assert counts == pytest.approx(total, rel=1e-3)
    assert f"30 bins drawn as {len(rate[::3])}" in axes.texts[0].get_text()


def test_observations_stand_side_by_side(posterior, observation, model, prior):
    both = (observation, observation.select((1.0, 5.0)))
    figure = jsbi.plot.spectrum(posterior, both, model, prior, draws=10)
    assert len(figure.axes) == 4
    (left, _), (right, _) = (axes.get_xlim() for axes in figure.axes[:2])
    assert left < 0.6
    assert right > 0.9


def test_functions_are_models_too(observation, remake):
    from jsbi.simulate import LogUniform, Prior, Uniform

    prior = Prior({"nH": Uniform(0.0, 1.0), "norm": LogUniform(1e-4, 1e-2)})
    posterior = remake(prior, np.zeros((30, 2)), np.zeros(30), report=None)
    figure = jsbi.plot.spectrum(
        posterior,
        observation,
        lambda nH, norm: TBabs(nH) * PowerLaw(2.0, norm),
        prior,
        draws=3,
    )
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == ["toy", "median model", "68 and 95 %"]


def test_another_prior_is_refused(posterior, observation, model):
    from jsbi.simulate import Prior, Uniform

    with pytest.raises(ValueError, match="must be that of the posterior.*got one of a"):
        jsbi.plot.spectrum(
            posterior, observation, model, Prior({"a": Uniform(0.0, 1.0)})
        )


def test_terms_carry_their_factors():
    model = TBabs(0.1) * (PowerLaw(1.0, 1.0) + TBabs(0.2) * PowerLaw(2.0, 1.0))
    terms = additive_terms(model + PowerLaw(3.0, 1.0))
    assert term_names(terms) == ["powerlaw", "powerlaw_2", "powerlaw_3"]
    assert float(terms[1].factor.nH) == pytest.approx(0.1)
    assert float(terms[1].model.factor.nH) == pytest.approx(0.2)


def test_poisson_interval_is_central():
    counts = np.array([0.0, 1.0, 7.0, 400.0])
    low, high = poisson_interval(counts)
    assert low[0] == 0
    tail = 0.158655
    np.testing.assert_allclose(poisson.cdf(counts, high), tail, rtol=1e-6)
    np.testing.assert_allclose(poisson.sf(counts[1:] - 1, low[1:]), tail, rtol=1e-6)
