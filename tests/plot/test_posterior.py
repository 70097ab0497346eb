import numpy as np
import pytest
from matplotlib.figure import Figure

import jsbi.plot
from jsbi.plot.columns import known_unit
from jsbi.plot.contours import draw_contours, weight_density
from jsbi.plot.style import common_power, measured, pretty_unit
from jsbi.simulate import LogUniform, Prior, Uniform


def panels(figure):
    side = int(np.sqrt(len(figure.axes)))
    return np.array(figure.axes).reshape(side, side)


def test_labels_hold_names_and_units(posterior, prior):
    figure = jsbi.plot.corner(posterior, prior=prior)
    grid = panels(figure)
    labels = [axes.get_xlabel() for axes in grid[-1]]
    for name, label in zip(posterior.names, labels, strict=True):
        assert label.startswith(name)
    assert "10$^{22}$ cm$^{-2}$" in labels[0]
    assert labels[1] == "powerlaw.PhoIndex"
    assert "keV$^{-1}$" in labels[2]
    ticks = grid[-1, 2].xaxis.get_major_formatter().seq
    power = common_power(np.array(grid[-1, 2].get_xlim()))
    assert f"10$^{{{power}}}$" in labels[2]
    assert 0.5 < float(ticks[0]) < 10
    assert [axes.get_ylabel() for axes in grid[1:, 0]] == labels[1:]


def test_own_units_go_first(posterior):
    figure = jsbi.plot.corner(posterior, units={"powerlaw.norm": "crab"})
    assert "crab]" in panels(figure)[-1, 2].get_xlabel()


def test_titles_hold_the_weighted_median(posterior):
    titles = [axes.get_title() for axes in np.diag(panels(jsbi.plot.corner(posterior)))]
    summary = posterior.summary()
    for name, title in zip(posterior.names, titles, strict=True):
        row = summary[name]
        text = measured(row["q16"], row["median"], row["q84"])
        assert title == f"{name}\n{text}"
    assert f"{summary['tbabs.nH']['median']:.3f}" in titles[0]


def test_axes_are_in_physical_units(posterior):
    grid = panels(jsbi.plot.corner(posterior))
    low, high = posterior.quantile(0.01), posterior.quantile(0.99)
    for column in range(len(grid)):
        start, end = grid[-1, column].get_xlim()
        assert start < low[column] < high[column] < end
        assert end - start < 2 * (high[column] - low[column])


def test_prior_is_drawn_to_scale(posterior, prior):
    grid = panels(jsbi.plot.corner(posterior, prior=prior))
    histogram, line = grid[0, 0].lines[:2]
    x, mass = line.get_data()
    width = x[1] - x[0]
    np.testing.assert_allclose(mass, width / 0.5, rtol=1e-3)  # Uniform(0, 0.5)
    total = histogram.get_ydata()[::2].sum()
    assert total == pytest.approx(1.0, abs=0.02)
    x, mass = grid[2, 2].lines[1].get_data()
    np.testing.assert_allclose(mass * x / (x[1] - x[0]), 1 / np.log(100), rtol=1e-2)


def test_truth_and_reference_are_named(posterior, prior, remake):
    reference = remake(prior, posterior.z, np.zeros(4000), method="nuts")
    truth = {"tbabs.nH": 0.31, "powerlaw.norm": 2}
    figure = jsbi.plot.corner(posterior, reference=reference, prior=prior, truth=truth)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["mixture", "nuts", "prior", "truth"]
    grid = panels(figure)
    marked = [line.get_xdata()[0] for line in grid[1, 0].lines]
    assert marked == [0.31]
    assert grid[-1, 2].get_xlim()[1] > 2


def test_wide_log_uniform_parameter_has_a_log_axis(remake):
    prior = Prior({"a.x": LogUniform(1e-8, 1e2), "a.y": Uniform(0, 1)})
    z = np.random.default_rng(0).standard_normal((2000, 2))
    figure = jsbi.plot.corner(remake(prior, z, np.zeros(2000)), prior=prior)
    grid = panels(figure)
    assert grid[1, 0].get_xscale() == "log"
    assert grid[1, 0].get_yscale() == "linear"
    figure.draw_without_rendering()


@pytest.mark.parametrize("number", [1, 10])
def test_any_number_of_parameters(number, remake):
    prior = Prior({f"a.p{i}": Uniform(0.0, 1.0 + i) for i in range(number)})
    z = np.random.default_rng(0).standard_normal((1000, number))
    figure = jsbi.plot.corner(remake(prior, z, np.zeros(1000)), prior=prior)
    assert len(figure.axes) == number**2
    figure.draw_without_rendering()


def test_degenerate_draws_are_drawn(remake):
    prior = Prior({"a.x": Uniform(0.0, 1.0), "a.y": Uniform(0.0, 1.0)})
    z = np.random.default_rng(0).standard_normal((100, 2))
    one = np.where(np.arange(100) == 7, 0.0, -800.0)
    jsbi.plot.corner(remake(prior, z, one)).draw_without_rendering()
    constant = remake(prior, z * 0, np.zeros(100))
    jsbi.plot.corner(constant, prior=prior).draw_without_rendering()


def test_contours_hold_their_share():
    generator = np.random.default_rng(2)
    root = np.array([[1.0, 0.0], [0.97, 0.2]])
    pair = root @ generator.standard_normal((2, 20000))
    x, y, weight = weight_density(pair, np.full(20000, 1 / 20000), 20000.0)
    axes = Figure().subplots()
    draw_contours(axes, (x, y, weight), ("linear", "linear"), "black", filled=False)
    outer, inner = axes.collections[0].get_paths()
    for path, share in ((outer, 0.95), (inner, 0.68)):
        inside = path.contains_points(pair.T).mean()
        assert inside == pytest.approx(share, abs=0.02)


def test_unknown_names_are_refused(posterior, prior, remake):
    with pytest.raises(ValueError, match=r"`truth` may name only tbabs.nH.*got kT"):
        jsbi.plot.corner(posterior, truth={"kT": 1.0})
    other = Prior({"a.x": Uniform(0.0, 1.0)})
    reference = remake(other, np.ones((30, 1)), np.zeros(30))
    with pytest.raises(ValueError, match="it lacks bbodyrad.norm"):
        jsbi.plot.corner(posterior, reference=reference)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("tbabs.nH", "1e22 / cm^2"),
        ("bbodyrad_2.kT", "keV"),
        ("gaussian.LineE@mos1", "keV"),
        ("powerlaw.PhoIndex", ""),
        ("own.kT", ""),
        ("kT", ""),
    ],
)
def test_known_unit(name, unit):
    assert known_unit(name) == unit


def test_numbers_read_well():
    assert measured(0.0707, 0.0965, 0.1222) == "$0.097^{+0.026}_{-0.026}$"
    text = "$2.63^{+0.26}_{-0.26}\\times 10^{-4}$"
    assert measured(2.37e-4, 2.627e-4, 2.883e-4) == text
    assert measured(1e-7, 2.4e-6, 0.5) == (
        "$2.4\\times 10^{-6}$ ($10^{-7}$ \N{EN DASH} 0.5)"
    )
    assert measured(3.0, 3.0, 3.0) == "$3.000^{+0.000}_{-0.000}$"
    assert common_power(np.array([0.02, 3.0])) == 0
    assert common_power(np.array([1e-5, 3e-4])) == -4


def test_units_read_well():
    assert pretty_unit("1e22 / cm^2") == "10$^{22}$ cm$^{-2}$"
    assert pretty_unit("erg / s", -3) == "10$^{-3}$ erg s$^{-1}$"
    assert pretty_unit("(km / 10 kpc)^2") == "(km / 10 kpc)$^{2}$"
    assert pretty_unit("$L_\\odot$", 4) == "10$^{4}$ $L_\\odot$"
