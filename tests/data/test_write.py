"""What is written reads back the same, whole or not at all."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse
from astropy.io import fits

from jsbi.data import (
    nicer_like,
    observation_from_counts,
    read_observation,
    read_response,
    write_arf,
    write_response,
    write_spectrum,
)


def same_response(a, b):
    for field in ("energy_edges", "area", "channel", "channel_low", "channel_high"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    assert (a.redistribution != b.redistribution).nnz == 0


@pytest.fixture(scope="module")
def observation():
    response = nicer_like()
    counts = np.random.default_rng(0).poisson(5.0, response.detectors)
    return observation_from_counts(
        "demo", counts, 123.4, response, group={"constant": 5}, energy=(0.3, 10.0)
    )


def write_all(folder, observation, **how):
    write_response(folder / "x.rmf", observation.response)
    write_arf(folder / "x.arf", observation.response)
    write_spectrum(folder / "x.pha", observation, response="x.rmf", arf="x.arf", **how)
    return folder / "x.pha"


def test_observation_round_trip(tmp_path, observation):
    back = read_observation(write_all(tmp_path, observation))
    same_response(back.response, observation.response)
    np.testing.assert_array_equal(back.counts, observation.counts)
    np.testing.assert_array_equal(back.group, observation.group)
    assert back.exposure == observation.exposure
    np.testing.assert_array_equal(back.area_scale, observation.area_scale)


def test_scales_that_vary_and_broken_counts_round_trip(tmp_path, observation):
    scale = np.linspace(0.5, 1.5, observation.response.detectors)
    counts = observation.counts / 3
    changed = dataclasses.replace(
        observation, counts=counts, area_scale=scale, back_scale=2 * scale
    )
    back = read_observation(write_all(tmp_path, changed))
    np.testing.assert_array_equal(back.counts, counts)
    np.testing.assert_array_equal(back.area_scale, scale)
    np.testing.assert_array_equal(back.back_scale, 2 * scale)


@pytest.mark.parametrize("name", ["PN", "MOS1"])
def test_real_response_with_many_groups_round_trips(tmp_path, test_data, name):
    folder = "ngc7793_ulx4_xmm"
    response = read_response(
        test_data(f"{folder}/{name}.rmf.gz"), test_data(f"{folder}/{name}.arf")
    )
    write_response(tmp_path / "x.rmf", response)
    write_arf(tmp_path / "x.arf", response)
    back = read_response(tmp_path / "x.rmf", tmp_path / "x.arf")
    same_response(back, response)


def test_packed_files_are_packed(tmp_path, ogip):
    response = read_response(ogip.folder / "a.rmf")
    write_response(tmp_path / "x.rmf.gz", response)
    assert (tmp_path / "x.rmf.gz").read_bytes()[:2] == b"\x1f\x8b"
    same_response(read_response(tmp_path / "x.rmf"), response)


def test_bins_that_reach_no_channel_round_trip(tmp_path, ogip):
    response = read_response(ogip.folder / "a.rmf")
    matrix = response.redistribution.tolil()
    matrix[:, [0, 2]] = 0
    empty = dataclasses.replace(response, redistribution=scipy.sparse.csc_array(matrix))
    write_response(tmp_path / "x.rmf", empty)
    same_response(read_response(tmp_path / "x.rmf"), empty)


def test_a_response_that_includes_the_area_needs_no_arf(tmp_path, observation):
    response = observation.response
    whole = dataclasses.replace(
        response, redistribution=response.matrix, area=np.ones_like(response.area)
    )
    write_response(tmp_path / "x.rsp", whole)
    write_spectrum(tmp_path / "x.pha", observation, response="x.rsp")
    same_response(read_observation(tmp_path / "x.pha").response, whole)


def test_files_follow_the_memos(tmp_path, observation):
    write_all(tmp_path, observation)
    with fits.open(tmp_path / "x.pha") as hdus:
        hdus.verify("exception")
        header = hdus["SPECTRUM"].header
        assert header["HDUCLAS1"] == "SPECTRUM"
        assert (header["TLMIN1"], header["DETCHANS"]) == (20, 1180)
        for key in ("TELESCOP", "INSTRUME", "FILTER", "CORRFILE", "CORRSCAL"):
            assert key in header
    with fits.open(tmp_path / "x.rmf") as hdus:
        hdus.verify("exception")
        header = hdus["MATRIX"].header
        assert header["HDUCLAS2"] == "RSP_MATRIX"
        assert header["TTYPE4"] == "F_CHAN"
        assert (header["TLMIN4"], header["TLMAX4"]) == (20, 1199)
        assert header["NUMELT"] == observation.response.redistribution.nnz
        assert hdus["EBOUNDS"].header["HDUCLAS2"] == "EBOUNDS"
    with fits.open(tmp_path / "x.arf") as hdus:
        assert hdus["SPECRESP"].header["HDUCLAS2"] == "SPECRESP"


def test_channel_numbers_must_be_consecutive(tmp_path, ogip):
    response = read_response(ogip.folder / "a.rmf")
    skipped = dataclasses.replace(response, channel=np.array([1, 2, 4, 5]))
    with pytest.raises(ValueError, match="needs consecutive channel numbers"):
        write_response(tmp_path / "x.rmf", skipped)


def test_interrupted_write_leaves_the_old_file(tmp_path, observation, monkeypatch):
    path = tmp_path / "x.arf"
    path.write_text("the old file")

    def half(self, file, *_, **__):
        file.write_bytes(b"SIMPLE")
        raise OSError("disk full")

    monkeypatch.setattr(fits.HDUList, "writeto", half)
    with pytest.raises(OSError, match="disk full"):
        write_arf(path, observation.response)
    assert path.read_text() == "the old file"
    assert list(tmp_path.iterdir()) == [path]


def test_written_file_replaces_the_old_one(tmp_path, observation):
    path = tmp_path / "x.arf"
    path.write_text("the old file")
    write_arf(path, observation.response)
    assert path.read_bytes().startswith(b"SIMPLE")
    assert list(tmp_path.iterdir()) == [path]
