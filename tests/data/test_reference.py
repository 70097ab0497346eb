"""Real data of many missions against Sherpa 4.17.1 and against published numbers."""

import json

import numpy as np
import pytest

from jsbi.data import read_observation, read_response

NICER = "maxi_j1820_nicer/1200120106_"
HITOMI = "perseus_hitomi_sxs/ah100040030"
# Spectra whose header does not name the files that belong to them.
FILES = {
    f"{NICER}rebin.pha": {"response": f"{NICER}rmf.pha.gz", "arf": f"{NICER}arf.pha"},
    "sixsa_nicer/Reference_pha_tbabs_powerlaw_20000counts_groupconstant_5.pha": {
        "response": f"{NICER}rmf.pha.gz"
    },
    f"{HITOMI}sxs_p0px1010_cl2_HP.pi.gz": {
        "response": f"{HITOMI}_sxs_cl2_HP_small.rmf.gz",
        "arf": f"{HITOMI}sxs_p0px1010_ptsrc.arf.gz",
    },
}
SETS = [
    "ngc7793_ulx4_xmm/PN_spectrum_grp20.fits",
    "ngc7793_ulx4_xmm/MOS1_spectrum_grp.fits",
    "3c273_chandra_acis/3c273.pi",
    "grb070110_swift_xrt/interval0pc.pi",
    *FILES,
]


def read(test_data, name, **how):
    files = {key: test_data(file) for key, file in FILES.get(name, {}).items()}
    return read_observation(test_data(name), **files, **how)


def power_law(edges, index=1.7, norm=1e-3):
    """Photons / cm^2 / s in each bin."""
    return norm / (1 - index) * np.diff(edges ** (1 - index))


def predict(observation):
    flux = power_law(observation.response.energy_edges)
    rate = observation.area_scale * observation.response.fold(flux)
    return observation.exposure * rate


@pytest.mark.parametrize("name", SETS)
def test_sherpa_reads_and_folds_the_same(test_data, name):
    key = name.removesuffix(".gz")
    path = test_data("../reference/sherpa/sherpa.json")
    case = json.loads(path.read_text())["cases"][key]
    observation = read(test_data, name, group="none")
    assert observation.exposure == case["exposure"]
    assert observation.response.detectors == case["channels"]
    assert observation.counts.sum() == case["total_counts"]
    low, high = observation.response.channel_low, observation.response.channel_high
    inside = (low >= case["energy"][0]) & (high <= case["energy"][1])
    assert inside.sum() == case["channels_inside"]
    assert observation.counts[inside].sum() == case["counts_inside"]
    predicted = predict(observation)
    assert predicted[inside].sum() == pytest.approx(case["predicted_inside"], rel=1e-12)
    kept = observation.select(tuple(case["energy"])).group >= 0
    assert not np.any(kept & ~inside)  # fewer where QUALITY marks bad channels
    if "background_counts_inside" in case:
        background = observation.background
        assert background.counts[inside].sum() == case["background_counts_inside"]
        assert background.exposure == case["background_exposure"]
        scale = observation.exposure * observation.back_scale[0]
        scale /= background.exposure * background.back_scale[0]
        assert scale == pytest.approx(case["background_scale"], rel=1e-12)


@pytest.mark.parametrize("name", [n for n in SETS if "hitomi" not in n])
def test_sherpa_predicts_the_same_in_every_channel(test_data, name):
    key = name.replace("/", "__").replace(".", "_")
    observation = read(test_data, name, group="none")
    with np.load(test_data(f"../reference/sherpa/{key}.npz")) as sherpa:
        np.testing.assert_array_equal(observation.response.channel_low, sherpa["e_min"])
        np.testing.assert_array_equal(
            observation.response.channel_high, sherpa["e_max"]
        )
        np.testing.assert_array_equal(observation.counts, sherpa["counts"])
        np.testing.assert_allclose(
            predict(observation), sherpa["predicted"], rtol=1e-12
        )
        if "background" in sherpa:
            np.testing.assert_array_equal(
                observation.background.counts, sherpa["background"]
            )


def test_selection_of_the_ulx_spectrum(test_data):
    name = "ngc7793_ulx4_xmm/PN_spectrum_grp20.fits"
    observation = read_observation(test_data(name), energy=(0.5, 10.0))
    assert observation.bins == 104
    assert observation.binned_counts.sum() == 10_131
    assert observation.perfect_log_likelihood == pytest.approx(-313.877, abs=5e-4)


def test_grouping_of_counts_stored_in_every_fifth_channel(test_data):
    name = "sixsa_nicer/Reference_pha_tbabs_powerlaw_20000counts_groupconstant_5.pha"
    observation = read(test_data, name, energy=(0.3, 10.0))
    members = np.bincount(observation.group[observation.group >= 0])
    np.testing.assert_array_equal(members, 5)
    counts = observation.counts[observation.group >= 0].reshape(-1, 5)
    np.testing.assert_array_equal(counts.max(axis=1), counts.sum(axis=1))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_exosat_rows_belong_to_channels_5_to_68(test_data, number):
    name = f"exosat_session/file{number}.pha"
    observation = read_observation(test_data(name))
    channel = observation.response.channel
    assert observation.response.detectors == 128
    np.testing.assert_array_equal(channel[observation.group >= 0], np.arange(5, 69))
    assert observation.area_scale[4] == pytest.approx(824.679993, rel=1e-9)
    background = observation.background
    assert background.area_scale[4] == pytest.approx(825.039978, rel=1e-9)
    # Net rates of the set's notes, with the background scaled by the areas.
    scale = observation.area_scale / background.area_scale
    net = observation.counts / observation.exposure
    net = net - scale * background.counts / background.exposure
    expected = {1: 35.8633, 2: 26.2803, 3: 30.7813}[number]
    assert net[4:68].sum() == pytest.approx(expected, abs=5e-4)


def test_exosat_walkthrough_spectrum(test_data):
    folder = "xspec_walkthrough_exosat/s54405"
    response = test_data(f"{folder}.rsp")
    with pytest.raises(ValueError, match=r"channel 37 holds .*background-subtracted"):
        read_observation(test_data(f"{folder}.pha"), response=response)
    observation = read_observation(
        test_data(f"{folder}.pha"), response=response, energy=(2.0, 10.0)
    )
    # The first energy row of the file ends below its start, but reaches no channel.
    np.testing.assert_allclose(
        observation.response.energy_edges[:2], [0.004434653, 0.4434653], rtol=1e-6
    )
    assert observation.area_scale[0] == pytest.approx(1668.763306, rel=1e-9)
    assert observation.counts[observation.response.channel < 4].sum() == 0


def numbers(path):
    return np.array([line.split() for line in path.read_text().splitlines()], float)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 7, 8])
def test_spectra_converted_from_text_hold_the_text(test_data, number):
    """The rate in each channel is the flux of the text, for a unit area."""
    folder = "flx2xsp_ogip"
    text = {3: 2, 4: 1}.get(number, number)
    lines = numbers(test_data(f"{folder}/input{text}.txt"))
    low = np.minimum(lines[:, 0], lines[:, 1])
    lines = lines[np.argsort(low)]
    low = np.minimum(lines[:, 0], lines[:, 1])
    several = lines.shape[1] > 4
    for row in range(5) if several else [None]:
        path = test_data(f"{folder}/test{number}.pha")
        observation = read_observation(path, row=row)
        flux = lines[:, 2 if row is None else 2 + 2 * row]
        ones = np.ones(len(observation.response.area))
        rate = observation.counts / observation.exposure
        if number == 3:  # the text's energies were taken in other units
            assert rate[0] == pytest.approx(1.388553e-9 * (row + 1), rel=1e-5)
            continue
        np.testing.assert_allclose(rate / observation.response.fold(ones), flux, 1e-6)
        np.testing.assert_allclose(observation.response.channel_low, low, rtol=1e-6)


def test_gap_in_energy_reaches_no_channel(test_data):
    response = read_response(test_data("flx2xsp_ogip/test7.rsp"))
    reached = np.asarray(response.redistribution.sum(axis=0)).ravel()
    np.testing.assert_array_equal(reached, [1, 1, 0, 1, 0, 1, 1, 1])


def test_calorimeter_response_of_30000_bins(test_data):
    folder = "athena_xifu/athena_xifu"
    response = read_response(
        test_data(f"{folder}_rmf_v20160401.rmf.gz"),
        test_data(f"{folder}_1469_onaxis_pitch249um_v20160401.arf.gz"),
    )
    assert response.redistribution.shape == (29_874, 29_874)
    total = np.asarray(response.redistribution.sum(axis=0)).ravel()
    np.testing.assert_allclose(total[100:-100], 1.0, atol=1e-6)
    # A line of 2.5 eV stays where it is: the mean channel energy is that of the bin.
    bin_ = 15_000
    column = response.redistribution[:, [bin_]].toarray().ravel()
    centre = (response.channel_low + response.channel_high) / 2
    mean = column @ centre / column.sum()
    assert mean == pytest.approx(
        response.energy_edges[bin_ : bin_ + 2].mean(), abs=2e-4
    )
    width = np.sqrt(column @ (centre - mean) ** 2 / column.sum())
    assert np.sqrt(8 * np.log(2)) * width == pytest.approx(2.5e-3, rel=0.03)
