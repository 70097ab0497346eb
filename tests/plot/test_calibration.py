import numpy as np
import pytest

from jsbi.diagnose.calibration import DENSITY, TARP, Calibration
from jsbi.diagnose.uniformity import POINTS, uniform_band
from jsbi.plot.calibration import calibration


def make(number, trials=60, power=1.0):
    generator = np.random.default_rng(number)
    return Calibration(
        names=tuple(f"component.parameter_{i}" for i in range(number)),
        rank=generator.random((trials, number + 3)) ** power,
        z_score=generator.standard_normal((trials, number)),
        contraction=np.full((trials, number), 0.9),
        effective_draws=np.full(trials, 1000.0),
    )


@pytest.mark.parametrize("number", [1, 3, 5, 12])
def test_each_quantity_has_a_panel_and_regions_have_two(number):
    after = make(number)
    figure = calibration(after, make(number, power=2.0), make(number, 40))
    shown = [axes for axes in figure.axes if axes.axison]
    titles = [axes.get_title() for axes in shown]
    assert titles == [*after.quantities[:-1], "Highest density", "TARP"]
    figure.draw_without_rendering()


def test_ranks_are_shown_in_the_band_of_the_test():
    after = make(1)
    axes = calibration(after).axes[0]
    curve = axes.lines[-1]
    at, apart = (np.asarray(values) for values in curve.get_data())
    np.testing.assert_allclose(at, np.arange(1, POINTS) / POINTS)
    below = [(after.rank[:, 0] < point).mean() for point in at]
    np.testing.assert_allclose(apart, below - at)
    pale = axes.collections[0].get_paths()[0].vertices
    band = uniform_band(60, 0.01 / 4)
    assert np.asarray(pale)[:, 1].max() == pytest.approx((band.high - at).max())


def test_coverage_of_regions_is_that_of_the_ranks():
    after = make(2)
    *_, density, tarp = (axes for axes in calibration(after).axes if axes.axison)
    levels, share = (np.asarray(values) for values in density.lines[0].get_data())
    inside = [(1 - after.of(DENSITY) <= level).mean() for level in levels]
    np.testing.assert_allclose(share, inside)
    levels, share = (np.asarray(values) for values in tarp.lines[0].get_data())
    near = [(after.of(TARP) < level).mean() for level in levels]
    np.testing.assert_allclose(share, near)


def test_curves_that_leave_the_band_stay_in_the_panel():
    axes = calibration(make(1), make(1, power=8.0)).axes[0]
    low, high = axes.get_ylim()
    for line in axes.lines:
        values = np.asarray(line.get_ydata())
        assert low <= values.min()
        assert values.max() <= high
