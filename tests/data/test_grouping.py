"""Group maps: every choice reaches its goal and loses only what it must."""

import numpy as np
import pytest

from jsbi.data import gaussian_response, group_channels, select_energy
from jsbi.data.grouping import flags_from_group, group_from_flags
from jsbi.data.optimal import optimal_widths, relative_width, resolution_in_channels

GOOD = np.ones(10, bool)


def sums(group, values):
    return np.bincount(group[group >= 0], values[group >= 0])


def test_flags_start_continue_and_stand_alone():
    flags = np.array([1, -1, -1, 0, 1, -1, 1])
    group = group_from_flags(flags, np.ones(7, bool))
    np.testing.assert_array_equal(group, [0, 0, 0, 1, 2, 2, 3])


def test_dropped_channels_leave_the_rest_of_their_bin():
    flags = np.array([1, -1, -1, 1, -1, 1])
    good = np.array([False, True, True, False, False, True])
    group = group_from_flags(flags, good)
    np.testing.assert_array_equal(group, [-1, 0, 0, -1, -1, 1])


@pytest.mark.parametrize("seed", range(5))
def test_flags_and_group_map_are_inverse(seed):
    rng = np.random.default_rng(seed)
    good = rng.random(200) < 0.8
    group = group_from_flags(rng.choice([-1, 1, 0], 200), good)
    np.testing.assert_array_equal(
        group_from_flags(flags_from_group(group), good), group
    )


def test_without_flags_the_files_own_grouping_is_single_channels():
    group = group_channels(None, np.zeros(10), GOOD)
    np.testing.assert_array_equal(group, np.arange(10))


def test_none_overrides_the_flags():
    flags = np.array([1] + [-1] * 9)
    group = group_channels("none", np.zeros(10), GOOD, flags=flags)
    np.testing.assert_array_equal(group, np.arange(10))


@pytest.mark.parametrize("minimum", [1, 7, 20])
def test_min_counts_is_reached_and_no_bin_is_larger_than_it_must_be(minimum):
    rng = np.random.default_rng(0)
    counts = rng.poisson(3.0, 300).astype(float)
    good = rng.random(300) < 0.95
    group = group_channels({"min_counts": minimum}, counts, good)
    total = sums(group, counts)
    assert total.min() >= minimum
    last = np.append(group[1:] != group[:-1], True) & (group >= 0)
    assert np.all(total - counts[last] < minimum)  # one channel less is too few
    for number in range(group.max() + 1):  # and no bin crosses a bad channel
        members = np.flatnonzero(group == number)
        assert np.all(np.diff(members) == 1)


def test_channels_that_cannot_reach_the_minimum_are_dropped():
    group = group_channels({"min_counts": 3}, np.array([1.0, 2, 3, 1, 1]), GOOD[:5])
    np.testing.assert_array_equal(group, [0, 0, 1, -1, -1])


def test_constant_restarts_after_a_bad_channel_and_keeps_the_rest():
    good = np.array([True] * 5 + [False] + [True] * 4)
    group = group_channels({"constant": 2}, np.zeros(10), good)
    np.testing.assert_array_equal(group, [0, 0, 1, 1, 2, -1, 3, 3, 4, 4])


def test_signal_to_noise_without_background_is_the_square_root_of_counts():
    counts = np.full(10, 3.0)
    by_ratio = group_channels({"snr": 3.0}, counts, GOOD)
    np.testing.assert_array_equal(
        by_ratio, group_channels({"min_counts": 9}, counts, GOOD)
    )


def test_signal_to_noise_counts_the_noise_of_the_background():
    counts, background = np.full(10, 30.0), np.full(10, 40.0)
    group = group_channels(
        {"snr": 5.0}, counts, GOOD, background=background, background_scale=0.5
    )
    number = np.bincount(group[group >= 0])[0]
    ratio = lambda n: n * (30 - 20) / np.sqrt(n * (30 + 0.5**2 * 40))  # noqa: E731
    assert ratio(number) >= 5.0 > ratio(number - 1)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("all", r"`group` must be one of None .*; got 'all'"),
        ({"minimum": 3}, "must be one of"),
        ({"constant": 3, "snr": 1}, "must be one of"),
        ({"constant": 0}, "constant must be a positive whole number; got 0"),
        ({"min_counts": 2.5}, "positive whole number; got 2.5"),
        ({"snr": -1.0}, "snr must be positive; got -1"),
        (
            {"min_counts": 1000},
            "reached in at least one bin; the good channels hold 50",
        ),
        ({"optimal": True}, "needs the instrument's resolution"),
    ],
)
def test_choices_that_cannot_be(choice, message):
    with pytest.raises(ValueError, match=message):
        group_channels(choice, np.full(10, 5.0), GOOD)


def test_energy_selection_keeps_bins_that_lie_inside():
    low, high = np.arange(6.0), np.arange(1.0, 7.0)
    group = np.array([0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(
        select_energy(group, low, high, (2.0, 6.0)), [-1, -1, 0, 0, 1, 1]
    )
    np.testing.assert_array_equal(
        select_energy(group, low, high, (1.9, 5.9)), [-1, -1, 0, 0, -1, -1]
    )


def test_energy_limits_are_compared_with_the_energies_in_the_file():
    edges = np.array([0.3, 0.4, 10.0, 10.1], np.float32).astype(float)
    assert edges[0] > 0.3
    for low, first in [(0.3, 0), (edges[0], 0), (edges[0] + 1e-9, 1)]:
        group = select_energy(np.arange(3), edges[:-1], edges[1:], (low, 10.0))
        assert np.flatnonzero(group >= 0)[0] == first


@pytest.mark.parametrize("energy", [(2.0, 1.0), (1.0, 1.0), (1.0,), (np.nan, 1.0)])
def test_energy_limits_must_increase(energy):
    with pytest.raises(ValueError, match=r"must be \(lower, upper\) in keV"):
        select_energy(np.arange(3), np.arange(3.0), np.arange(1.0, 4.0), energy)


def constant_resolution(fwhm_in_channels):
    edges = np.linspace(1, 11, 1001)
    bins = len(edges) - 1
    return gaussian_response(
        edges, edges, np.ones(bins), np.full(bins, 0.01 * fwhm_in_channels)
    )


@pytest.mark.parametrize("fwhm", [8.0, 25.0])
def test_resolution_of_a_gaussian_is_its_full_width_at_half_maximum(fwhm):
    width = resolution_in_channels(constant_resolution(fwhm).redistribution)
    # A channel of finite width broadens the profile: w**2 + 8 ln 2 / 12.
    np.testing.assert_allclose(width[50:-50], fwhm, rtol=0.01)


def test_optimal_width_over_resolution_follows_the_paper():
    # One FWHM for few counts, continuous at the limit, then ever smaller.
    at_limit = relative_width(np.exp([2.119, 2.1191]))
    np.testing.assert_allclose(at_limit, 1.0, atol=2e-4)
    assert relative_width(np.array([0.0]))[0] == 1.0
    width = relative_width(np.geomspace(1, 1e8, 50))
    assert np.all(np.diff(width) <= 0)
    np.testing.assert_allclose(
        relative_width(np.exp([5.0, 10.0, 20.0])),
        [
            (0.08 + 1.4 + 0.072) / 2.18,
            (0.08 + 0.7 + 0.018) / 1.59,
            (0.08 + 0.35 + 0.0045) / 1.295,
        ],
        rtol=1e-12,
    )


def test_optimal_width_counts_per_resolution_element():
    response = constant_resolution(20.0)
    counts, good = np.full(1000, 4.0), np.ones(1000, bool)
    widths = optimal_widths(counts, good, response.redistribution)
    in_element = 1.314 * 20 * 4 * (1 + 0.2 * np.log(1000 / 20))
    expected = 20 * relative_width(np.array([in_element]))[0]
    np.testing.assert_allclose(widths[100:-100], expected, rtol=0.01)


def test_optimal_bins_are_no_wider_than_they_may_be():
    response = constant_resolution(20.0)
    counts, good = np.full(1000, 4.0), np.ones(1000, bool)
    group = group_channels(
        {"optimal": True}, counts, good, redistribution=response.redistribution
    )
    widths = optimal_widths(counts, good, response.redistribution)
    size = np.bincount(group)[group]
    assert np.all(size <= widths)
    assert np.all(size[100:-100] == np.floor(widths[100:-100]))
