import dataclasses

import numpy as np
import pytest

from jsbi.diagnose.unfold import UnfoldedComparison, Unfolding
from jsbi.plot.unfold import unfolded


@pytest.fixture(scope="module")
def comparison():
    edges = np.linspace(0.5, 8.0, 31)
    log_density = -1.5 * np.log((edges[1:] + edges[:-1]) / 2)
    noise = 0.1 * np.random.default_rng(0).standard_normal((200, 30))
    pull = np.zeros(30)
    pull[12] = 5.0
    return UnfoldedComparison(
        unfolding=Unfolding(edges, log_density, np.full(30, 0.1), log_density + noise),
        log_model=log_density - 0.1 * pull,
        pull=pull,
        spread=np.full(30, 0.1),
        p_value=0.0025,
        threshold=3.4,
        false_alarm=0.01,
        simulations=400,
    )


def test_the_figure_shows_spectrum_model_bands_and_pulls(comparison):
    figure = unfolded(comparison)
    top, bottom = figure.axes
    spectrum, model = top.lines
    np.testing.assert_allclose(
        np.asarray(spectrum.get_ydata())[:-1], comparison.unfolding.density
    )
    np.testing.assert_allclose(
        np.log(np.asarray(model.get_ydata())[:-1]), comparison.log_model
    )
    assert len(top.collections) == 2
    dashed = [line for line in bottom.lines if line.get_linestyle() == "--"]
    heights = {float(np.asarray(line.get_ydata())[0]) for line in dashed}
    assert heights == {-3.4, 3.4}
    np.testing.assert_array_equal(
        np.asarray(bottom.lines[-1].get_ydata())[:-1], comparison.pull
    )
    assert "largest 5.0" in bottom.get_title(loc="right")
    figure.draw_without_rendering()


def test_very_faint_bins_do_not_set_the_scale(comparison):
    faint = comparison.unfolding.log_density.copy()
    faint[-1] = -100.0
    unfolding = dataclasses.replace(comparison.unfolding, log_density=faint)
    top, _ = unfolded(dataclasses.replace(comparison, unfolding=unfolding)).axes
    low, high = top.get_ylim()
    assert high / low == pytest.approx(1e4)
