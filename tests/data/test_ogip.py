"""Spectra with all that belongs to them: dialects, wrong files, messages."""

import gzip

import numpy as np
import pytest
from astropy.io import fits

from jsbi.data import read_observation


def column(name, form, values):
    return fits.Column(name, form, array=values)


def test_everything_named_in_the_header_is_found(ogip):
    observation = read_observation(ogip.spectrum)
    np.testing.assert_array_equal(observation.binned_counts, ogip.counts)
    np.testing.assert_array_equal(observation.response.area, ogip.area)
    assert observation.name == "a"
    assert observation.exposure == 100.0
    assert observation.background is None


def test_expected_counts_follow_from_exposure_scale_and_response(ogip):
    ogip.write_pha(AREASCAL=2.0)
    observation = read_observation(ogip.spectrum)
    flux = np.array([1e-3, 2e-3, 3e-3])
    expected = observation.exposure * observation.area_scale
    expected = expected * observation.response.fold(flux)
    by_hand = 100 * 2 * ogip.matrix @ (ogip.area * flux)
    np.testing.assert_allclose(expected, by_hand, rtol=1e-7)


def test_rate_times_exposure_gives_counts(ogip):
    ogip.write_pha(counts=ogip.counts / 100, name="RATE", form="D")
    np.testing.assert_allclose(
        read_observation(ogip.spectrum).counts, ogip.counts, rtol=1e-15
    )


def test_scales_may_be_columns(ogip):
    scale = np.array([0.5, 1.0, 1.5, 2.0])
    ogip.write_pha(
        columns=[column("AREASCAL", "E", scale), column("BACKSCAL", "E", 2 * scale)]
    )
    observation = read_observation(ogip.spectrum)
    np.testing.assert_array_equal(observation.area_scale, scale)
    np.testing.assert_array_equal(observation.back_scale, 2 * scale)


def test_channels_are_aligned_by_number(ogip):
    ogip.write_pha(counts=[7, 9], channel=[4, 2])
    observation = read_observation(ogip.spectrum)
    np.testing.assert_array_equal(observation.counts, [0, 9, 0, 7])
    np.testing.assert_array_equal(observation.group, [-1, 0, -1, 1])
    np.testing.assert_array_equal(observation.bin_low, [2, 4])


def test_grouping_and_quality_columns(ogip):
    ogip.write_pha(
        columns=[
            column("GROUPING", "I", [1, -1, 1, -1]),
            column("QUALITY", "I", [0, 0, 5, 0]),
        ]
    )
    observation = read_observation(ogip.spectrum)
    np.testing.assert_array_equal(observation.group, [0, 0, -1, 1])
    np.testing.assert_array_equal(observation.binned_counts, [3, 7])


def test_quality_keyword_holds_for_all_channels(ogip):
    ogip.write_pha(QUALITY=1, GROUPING=0)
    with pytest.raises(ValueError, match="must keep at least one channel"):
        read_observation(ogip.spectrum)


def test_negative_counts_matter_only_where_they_are_kept(ogip):
    ogip.write_pha(counts=[-1.5, 2, np.nan, 4], form="D")
    with pytest.raises(ValueError, match=r"channel 1 holds -1.5 \(2 such channels"):
        read_observation(ogip.spectrum)
    quality = [column("QUALITY", "I", [1, 0, 1, 0])]
    ogip.write_pha(counts=[-1.5, 2, np.nan, 4], form="D", columns=quality)
    observation = read_observation(ogip.spectrum)
    np.testing.assert_array_equal(observation.binned_counts, [2, 4])


def test_given_files_win_over_the_header(ogip):
    other = ogip.folder / "other"
    other.mkdir()
    for name in ("a.rmf", "a.arf"):
        (ogip.folder / name).rename(other / name)
    with pytest.raises(
        FileNotFoundError, match="names it as RESPFILE. Put it there or give `response`"
    ):
        read_observation(ogip.spectrum)
    with pytest.raises(FileNotFoundError, match="names it as ANCRFILE.*give `arf`"):
        read_observation(ogip.spectrum, response=other / "a.rmf")
    found = read_observation(
        ogip.spectrum, response=other / "a.rmf", arf=other / "a.arf"
    )
    np.testing.assert_array_equal(found.response.area, ogip.area)


@pytest.mark.parametrize("value", ["none", "NONE", "", "%match%", None])
def test_spectrum_that_names_no_response(ogip, value):
    ogip.write_pha(RESPFILE=value)
    with pytest.raises(ValueError, match="must have a response.*Give `response`"):
        read_observation(ogip.spectrum)


def test_redistribution_alone_needs_an_area(ogip):
    ogip.write_pha(ANCRFILE="NONE")
    with pytest.raises(ValueError, match="there must be an effective area"):
        read_observation(ogip.spectrum)
    observation = read_observation(ogip.spectrum, arf="none")
    np.testing.assert_array_equal(observation.response.area, np.ones(3))


def test_spectrum_packed_beside_the_named_one(ogip):
    packed = gzip.compress(ogip.spectrum.read_bytes())
    ogip.spectrum.unlink()
    ogip.spectrum.with_name("a.pha.gz").write_bytes(packed)
    assert read_observation(ogip.spectrum).name == "a"


def test_background_on_the_channels_of_the_source(ogip):
    ogip.write_pha("b.pha", counts=[5, 6], channel=[2, 3], EXPOSURE=50.0, BACKSCAL=4.0)
    ogip.write_pha(BACKFILE="b.pha", BACKSCAL=2.0)
    background = read_observation(ogip.spectrum).background
    np.testing.assert_array_equal(background.counts, [0, 5, 6, 0])
    assert background.exposure == 50.0
    np.testing.assert_array_equal(background.back_scale[1:3], 4.0)
    assert read_observation(ogip.spectrum, background_file="none").background is None


def test_absent_background_matters_only_when_asked_for(ogip):
    ogip.write_pha(BACKFILE="lost.pha")
    assert read_observation(ogip.spectrum).background is None
    with pytest.raises(FileNotFoundError, match="lost.pha: no such background"):
        read_observation(ogip.spectrum, background_file=ogip.folder / "lost.pha")


def test_background_modes(ogip):
    with pytest.raises(ValueError, match="'wstat' is not available yet"):
        read_observation(ogip.spectrum, background="wstat")
    message = "must be one of 'ignore', 'subtract', 'wstat', 'marginal'; got 'none'"
    with pytest.raises(ValueError, match=message):
        read_observation(ogip.spectrum, background="none")


def write_type_two(ogip):
    columns = [
        column("SPEC_NUM", "I", [1, 2]),
        column("CHANNEL", "4I", [[1, 2, 3, 4]] * 2),
        column("COUNTS", "4J", [[1, 2, 3, 4], [5, 6, 7, 8]]),
        column("QUALITY", "4I", [[0, 0, 0, 0], [0, 0, 1, 0]]),
        column("EXPOSURE", "D", [10.0, 20.0]),
        column("RESPFILE", "10A", ["none", "a.rmf"]),
        column("ANCRFILE", "10A", ["none", "a.arf"]),
    ]
    keywords = {"HDUCLAS1": "SPECTRUM", "HDUCLAS3": "TYPE:II"}
    return ogip.save(ogip.spectrum, ogip.table("SPECTRUM", columns, **keywords))


def test_row_of_a_type_two_file(ogip):
    observation = read_observation(write_type_two(ogip), row=1)
    assert observation.name == "a[1]"
    assert observation.exposure == 20.0
    np.testing.assert_array_equal(observation.binned_counts, [5, 6, 8])


def test_row_must_be_given_and_exist(ogip):
    path = write_type_two(ogip)
    with pytest.raises(ValueError, match=r"holds 2 spectra .* say which, 0 to 1"):
        read_observation(path)
    with pytest.raises(ValueError, match="between 0 and 1; got 2"):
        read_observation(path, row=2)


def test_row_of_a_file_with_one_spectrum(ogip):
    with pytest.raises(ValueError, match=r"for files with several spectra .*row = 0"):
        read_observation(ogip.spectrum, row=0)


def test_channels_the_response_does_not_have(ogip):
    ogip.write_pha(channel=[0, 1, 2, 3])
    message = "must be among those of the response, 1 to 4; the spectrum has 0 to 3"
    with pytest.raises(ValueError, match=message):
        read_observation(ogip.spectrum)


def test_repeated_channel(ogip):
    ogip.write_pha(channel=[1, 2, 2, 3])
    with pytest.raises(ValueError, match="listed once; 2 is repeated"):
        read_observation(ogip.spectrum)


def test_spectrum_without_counts(ogip):
    ogip.write_pha(name="OTHER")
    with pytest.raises(ValueError, match="must have a COUNTS or RATE column; it has"):
        read_observation(ogip.spectrum)


@pytest.mark.parametrize("exposure", [0.0, -1.0, None, "long"])
def test_exposure_must_be_positive(ogip, exposure):
    ogip.write_pha(EXPOSURE=exposure)
    with pytest.raises(ValueError, match=r"a.pha: EXPOSURE must be positive \[s\]"):
        read_observation(ogip.spectrum)


def test_response_instead_of_spectrum(ogip):
    with pytest.raises(ValueError, match="a.rmf: the file must hold a spectrum"):
        read_observation(ogip.folder / "a.rmf")


def test_no_such_spectrum(ogip):
    with pytest.raises(FileNotFoundError, match="no such spectrum, nor x.pha.gz"):
        read_observation(ogip.folder / "x.pha")


@pytest.mark.parametrize("left_out", [2500, 5000])
def test_truncated_spectrum(ogip, left_out):
    ogip.write_pha(counts=np.arange(2000), channel=np.arange(2000))
    data = ogip.spectrum.read_bytes()
    ogip.spectrum.write_bytes(data[:-left_out])
    with pytest.raises(ValueError, match=r"a.pha: .*[Tt]runcated"):
        read_observation(ogip.spectrum)


def test_selection_that_keeps_nothing_says_what_there_is(ogip):
    message = r"\(500, 10000\) keV must contain .* cover 1 to 5 keV"
    with pytest.raises(ValueError, match=message):
        read_observation(ogip.spectrum, energy=(500, 10_000))


def test_unreadable_file(ogip):
    ogip.spectrum.chmod(0)
    try:
        ogip.spectrum.read_bytes()
    except PermissionError:
        with pytest.raises(PermissionError):
            read_observation(ogip.spectrum)
    finally:
        ogip.spectrum.chmod(0o644)


def test_spectrum_without_channel_numbers(ogip):
    columns = [column("COUNTS", "J", [1, 2, 3, 4])]
    keywords = {"HDUCLAS1": "SPECTRUM", "EXPOSURE": 1.0, "RESPFILE": "a.rmf"}
    keywords["ANCRFILE"] = "a.arf"
    ogip.save(ogip.spectrum, ogip.table("SPECTRUM", columns, **keywords))
    observation = read_observation(ogip.spectrum)
    np.testing.assert_array_equal(observation.counts, [1, 2, 3, 4])
    columns = [column("COUNTS", "J", [1, 2])]
    ogip.save(ogip.spectrum, ogip.table("SPECTRUM", columns, **keywords))
    with pytest.raises(ValueError, match="without a CHANNEL column .* got 2"):
        read_observation(ogip.spectrum)


def test_background_of_other_channels(ogip):
    ogip.write_pha("b.pha", channel=[0, 1, 2, 3])
    ogip.write_pha(BACKFILE="b.pha")
    message = 'b.pha: the channels must be among .* Or give `background_file` = "none"'
    with pytest.raises(ValueError, match=message):
        read_observation(ogip.spectrum)


def test_signal_to_noise_uses_the_background_of_the_file(ogip):
    ogip.write_pha("b.pha", counts=[40] * 4, EXPOSURE=200.0, AREASCAL=2.0, BACKSCAL=3.0)
    ogip.write_pha(counts=[30] * 4, BACKFILE="b.pha", BACKSCAL=6.0)
    # scale 100 * 1 * 6 / (200 * 2 * 3) = 0.5; per channel 10 +- sqrt(30 + 10)
    one = read_observation(ogip.spectrum, group={"snr": 10 / 40**0.5 - 1e-9})
    assert one.bins == 4
    two = read_observation(ogip.spectrum, group={"snr": 10 / 40**0.5 + 1e-9})
    assert two.bins == 2


def test_type_two_background_of_the_same_row(ogip):
    write_type_two(ogip)
    ogip.spectrum.rename(ogip.folder / "b.pha")
    path = write_type_two(ogip)
    observation = read_observation(path, row=1, background_file=ogip.folder / "b.pha")
    np.testing.assert_array_equal(observation.background.counts, [5, 6, 7, 8])


def test_damaged_header(ogip):
    data = ogip.spectrum.read_bytes()
    ogip.spectrum.write_bytes(data.replace(b"EXPOSURE=    ", b"EXPOSURE= \x01\x02 "))
    with pytest.raises(ValueError, match="a.pha: the header of table SPECTRUM must be"):
        read_observation(ogip.spectrum)
