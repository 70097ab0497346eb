"""The figure shows every addition and every scan with their numbers."""

import numpy as np
import pytest

from jsbi.diagnose.line_scan import LineScan
from jsbi.diagnose.missing import Addition, Missing
from jsbi.plot.missing import missing


def scan(emission):
    energies = np.geomspace(0.5, 8.0, 30)
    between = np.sqrt(energies[1:] * energies[:-1])
    edges = np.concatenate([energies[:1], between, energies[-1:]])
    log_ratio = np.random.default_rng(int(emission)).normal(size=(64, 30))
    return LineScan(emission, energies, edges, 0.05 * energies, log_ratio, np.ones(30))


@pytest.fixture
def found():
    numbers = {"emission line": 7.0, "absorber": 0.5, "gain shift": -1.0}
    additions = tuple(
        Addition(name, log_bayes, 0.1, {}, None, "")
        for name, log_bayes in numbers.items()
    )
    failed = Addition("odd", np.nan, np.nan, {}, None, "", ("The fit failed.",))
    return Missing((*additions, failed), 3.0, (scan(True), scan(False)))


def test_bars_are_the_bayes_factors_and_those_that_failed_have_none(found):
    figure = missing(found)
    left, right = figure.axes
    widths = [bar.get_width() for bar in right.patches]
    np.testing.assert_allclose(widths, [7.0, 0.5, -1.0])
    labels = [label.get_text() for label in right.get_yticklabels()]
    assert labels == ["emission line", "absorber", "gain shift"]
    colours = {bar.get_facecolor() for bar in right.patches[1:]}
    assert right.patches[0].get_facecolor() not in colours
    for line, own in zip(left.lines, found.scans, strict=False):
        np.testing.assert_allclose(line.get_ydata(), own.log_bayes)
    figure.draw_without_rendering()


def test_without_a_scan_there_is_one_panel(found):
    figure = missing(Missing(found.additions, 3.0, ()))
    assert len(figure.axes) == 1
    figure.draw_without_rendering()
