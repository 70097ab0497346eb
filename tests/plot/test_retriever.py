import dataclasses

import numpy as np
import pytest

import jsbi.plot
from jsbi.diagnose.retriever import Retrieval


def make(number):
    true = np.random.default_rng(0).standard_normal((500, number))
    return Retrieval(
        names=tuple(f"component.parameter_{i}" for i in range(number)),
        true=true,
        retrieved=0.5 * true,
        prior_sd=np.ones(number),
        bound_sd=np.full(number, 0.4),
        local_sd=np.full(number, 0.5),
    )


@pytest.mark.parametrize("number", [1, 3, 5])
def test_each_parameter_has_a_panel(number):
    retrieval = make(number)
    figure = jsbi.plot.recovery(retrieval)
    shown = [axes for axes in figure.axes if axes.axison]
    titles = [axes.get_title().splitlines()[0] for axes in shown]
    assert titles == list(retrieval.names)
    figure.draw_without_rendering()


def test_panels_show_the_pairs_the_bound_and_the_regression():
    retrieval = make(2)
    axes = jsbi.plot.recovery(retrieval).axes[1]
    pairs, equal, above, below, regression = axes.lines
    np.testing.assert_array_equal(pairs.get_xdata(), retrieval.true[:, 1])
    np.testing.assert_array_equal(pairs.get_ydata(), retrieval.retrieved[:, 1])
    for line, shift in ((equal, 0.0), (above, 0.4), (below, -0.4)):
        x, y = (np.asarray(values) for values in line.get_data())
        np.testing.assert_allclose(y - x, shift)
    x, y = (np.asarray(values) for values in regression.get_data())
    assert np.diff(y) / np.diff(x) == pytest.approx(0.5)
    assert "slope 0.50" in axes.get_title()
    assert axes.get_xlim() == axes.get_ylim()


def test_the_width_of_the_posterior_is_compared_where_it_is_known():
    retrieval = make(1)
    beside = dataclasses.replace(retrieval, posterior_sd=retrieval.residual_sd / 2)
    (without,) = jsbi.plot.recovery(retrieval).axes
    (with_posterior,) = jsbi.plot.recovery(beside).axes
    assert "posterior" not in without.get_title()
    assert "/ posterior 2.00" in with_posterior.get_title()
