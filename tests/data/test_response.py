"""Every dialect of RMF and ARF gives the same response; damage gives one message."""

import gzip

import numpy as np
import pytest
from astropy.io import fits

from jsbi.data import read_response


def dense(response):
    return response.redistribution.toarray()


@pytest.mark.parametrize("layout", ["fixed", "vector", "variable"])
@pytest.mark.parametrize("first", [0, 1, 5])
@pytest.mark.parametrize("bounds_first", [False, True])
def test_layout_and_channel_numbers_do_not_matter(ogip, layout, first, bounds_first):
    path = ogip.write_rmf(layout=layout, first=first, bounds_first=bounds_first)
    response = read_response(path, ogip.folder / "a.arf")
    np.testing.assert_allclose(dense(response), ogip.matrix, rtol=1e-7)
    np.testing.assert_array_equal(response.channel, first + np.arange(4))
    np.testing.assert_array_equal(response.channel_low, [1, 2, 3, 4])
    np.testing.assert_array_equal(response.energy_edges, ogip.edges)
    np.testing.assert_array_equal(response.area, ogip.area)


@pytest.mark.parametrize("first", [0, 1])
def test_without_tlmin_channels_count_from_the_first_in_ebounds(ogip, first):
    path = ogip.write_rmf(first=first, tlmin=None)
    np.testing.assert_allclose(dense(read_response(path)), ogip.matrix, rtol=1e-7)


def test_tlmin_belongs_to_the_column_and_not_to_number_four(ogip):
    path = ogip.write_rmf(first=0, extra_column=True)
    np.testing.assert_allclose(dense(read_response(path)), ogip.matrix, rtol=1e-7)


@pytest.mark.parametrize("name", ["MATRIX", "SPECRESP MATRIX"])
def test_matrix_is_found_by_name_when_no_class_is_given(ogip, name):
    path = ogip.write_rmf(name=name, classes=False)
    np.testing.assert_allclose(dense(read_response(path)), ogip.matrix, rtol=1e-7)


@pytest.mark.parametrize("layout", ["vector", "variable"])
def test_energies_that_reach_no_channel_are_empty_bins(ogip, layout):
    matrix = ogip.matrix.copy()
    matrix[:, 1] = 0
    path = ogip.write_rmf(matrix=matrix, layout=layout)
    np.testing.assert_allclose(dense(read_response(path)), matrix, rtol=1e-7)


def test_first_energy_of_zero_becomes_a_hundredth_of_the_upper_edge(ogip):
    low, high = [0.0, 2.0, 3.0], [2.0, 3.0, 5.0]
    path = ogip.write_rmf(low=low, high=high)
    ogip.write_arf(low=low, high=high)
    response = read_response(path, ogip.folder / "a.arf")
    np.testing.assert_array_equal(response.energy_edges, [0.02, 2, 3, 5])


def test_a_gap_in_energy_becomes_a_bin_without_response(ogip):
    low, high = [1.0, 2.5, 3.0], [2.0, 3.0, 5.0]
    path = ogip.write_rmf(low=low, high=high)
    ogip.write_arf(low=low, high=high)
    response = read_response(path, ogip.folder / "a.arf")
    np.testing.assert_array_equal(response.energy_edges, [1, 2, 2.5, 3, 5])
    np.testing.assert_array_equal(response.area, [10, 0, 20, 30])
    np.testing.assert_allclose(
        dense(response), np.insert(ogip.matrix, 1, 0, axis=1), rtol=1e-7
    )


def test_energies_in_falling_order_are_turned_round_with_their_areas(ogip):
    low, high = ogip.edges[:-1][::-1], ogip.edges[1:][::-1]
    path = ogip.write_rmf(matrix=ogip.matrix[:, ::-1], low=low, high=high)
    ogip.write_arf(low=low, high=high, area=ogip.area[::-1])
    response = read_response(path, ogip.folder / "a.arf")
    np.testing.assert_array_equal(response.energy_edges, ogip.edges)
    np.testing.assert_array_equal(response.area, ogip.area)
    np.testing.assert_allclose(dense(response), ogip.matrix, rtol=1e-7)


def test_energies_in_ev_are_converted(ogip):
    path = ogip.write_rmf(low=[1e3, 2e3, 3e3], high=[2e3, 3e3, 5e3], unit="eV")
    np.testing.assert_allclose(read_response(path).energy_edges, [1, 2, 3, 5])


def test_packed_file_beside_the_named_one_is_read(ogip):
    path = ogip.folder / "a.rmf"
    (ogip.folder / "a.rmf.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    np.testing.assert_allclose(dense(read_response(path)), ogip.matrix, rtol=1e-7)


def test_energies_of_the_area_may_differ_by_single_precision(ogip):
    ogip.write_arf(low=np.array([1, 2, 3.000001]), high=np.array([2, 3.000001, 5]))
    response = read_response(ogip.folder / "a.rmf", ogip.folder / "a.arf")
    np.testing.assert_array_equal(response.energy_edges, ogip.edges)


def expect(message, rmf, arf=None, error=ValueError):
    with pytest.raises(error, match=message):
        read_response(rmf, arf)


def test_missing_file(ogip):
    expect("no.rmf: no such response, nor no.rmf.gz", "no.rmf", error=FileNotFoundError)


def test_folder_instead_of_file(ogip):
    expect("is a folder; a file is needed", ogip.folder, error=IsADirectoryError)


def test_not_fits(ogip):
    path = ogip.folder / "text.rmf"
    path.write_text("not a FITS file\n" * 1000)
    expect("text.rmf: the response must be a FITS file", path)


def test_empty_file(ogip):
    path = ogip.folder / "empty.rmf"
    path.write_bytes(b"")
    expect("empty.rmf: the response must be a FITS file", path)


@pytest.mark.parametrize("layout", ["fixed", "variable"])
@pytest.mark.parametrize("left_out", [2850, 4000])
def test_truncated_file(ogip, layout, left_out):
    path = ogip.write_rmf(layout=layout)
    path.write_bytes(path.read_bytes()[:-left_out])
    expect("a.rmf: .*Truncated", path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_packed_file(ogip, share):
    path = ogip.folder / "b.rmf.gz"
    packed = gzip.compress((ogip.folder / "a.rmf").read_bytes())
    path.write_bytes(packed[: int(share * len(packed))])
    expect("b.rmf.gz: .*end-of-stream marker.*Truncated", path)


def test_missing_padding_at_the_end_is_no_damage(ogip):
    path = ogip.write_rmf(layout="fixed")
    path.write_bytes(path.read_bytes()[:-2500])
    np.testing.assert_allclose(dense(read_response(path)), ogip.matrix, rtol=1e-7)


def test_spectrum_instead_of_response(ogip):
    expect("a.pha: the file must hold a response matrix", ogip.spectrum)


def test_response_without_channel_energies(ogip):
    with fits.open(ogip.write_rmf(layout="fixed")) as hdus:
        ogip.save(ogip.folder / "b.rmf", hdus["MATRIX"].copy())
    expect("b.rmf: the file must hold a EBOUNDS table", ogip.folder / "b.rmf")


def test_several_matrices(ogip):
    with fits.open(ogip.write_rmf(layout="fixed")) as hdus:
        tables = [hdus[i].copy() for i in (1, 1, 2)]
        ogip.save(ogip.folder / "b.rmf", *tables)
    expect("must hold one response matrix; it holds 2", ogip.folder / "b.rmf")


def test_wrong_tlmin(ogip):
    path = ogip.write_rmf(first=0, tlmin=1)
    expect("within the 4 channels of EBOUNDS, counted from 1; .* from 0 to", path)


@pytest.mark.parametrize(("value", "shown"), [(-0.5, "-0.5"), (np.nan, "nan")])
def test_bad_matrix_element(ogip, value, shown):
    matrix = ogip.matrix.copy()
    matrix[1, 1] = value
    path = ogip.write_rmf(matrix=matrix)
    expect(f"a.rmf: `redistribution` must be finite .* is {shown}", path)


@pytest.mark.parametrize(("value", "shown"), [(-1, "-1"), (np.inf, "inf")])
def test_bad_area(ogip, value, shown):
    ogip.write_arf(area=[1, value, 2])
    message = f"a.arf: SPECRESP must be finite and not negative .*row 1 holds {shown}"
    expect(message, ogip.folder / "a.rmf", ogip.folder / "a.arf")


def test_area_with_other_number_of_bins(ogip):
    ogip.write_arf(area=[1, 2], low=[1, 2], high=[2, 3])
    message = "a.arf: the energy bins must be those of .*a.rmf, 3 of them; got 2"
    expect(message, ogip.folder / "a.rmf", ogip.folder / "a.arf")


def test_area_with_other_energies(ogip):
    ogip.write_arf(low=[1, 2, 4], high=[2, 4, 5])
    message = "row 1 spans 2-4 keV here and 2-3 keV there"
    expect(message, ogip.folder / "a.rmf", ogip.folder / "a.arf")


def test_overlapping_energies(ogip):
    path = ogip.write_rmf(low=[1, 1.5, 3], high=[2, 3, 5])
    expect("must not overlap; row 0 ends at 2 keV, after the next begins at 1.5", path)


def test_empty_energy_bin(ogip):
    path = ogip.write_rmf(low=[1, 2, 3], high=[2, 2, 5])
    expect("ENERG_LO must be below ENERG_HI .* row 1 spans 2 to 2", path)


def test_unknown_energy_unit(ogip):
    path = ogip.write_rmf(unit="Angstrom")
    expect("must be in keV or eV; got 'angstrom'", path)


def test_groups_that_are_not_there(ogip):
    path = ogip.write_rmf(layout="vector")
    with fits.open(path) as hdus:
        hdus["MATRIX"].data["N_GRP"] = [1, 3, 1]
        tables = [hdu.copy() for hdu in hdus[1:]]
        ogip.save(ogip.folder / "b.rmf", *tables)
    message = "F_CHAN must hold the 3 numbers that row 1 announces; it holds 2"
    expect(message, ogip.folder / "b.rmf")


def test_column_that_is_not_there(ogip):
    with fits.open(ogip.write_rmf(layout="fixed")) as hdus:
        hdus["MATRIX"].columns["N_CHAN"].name = "OTHER"
        tables = [hdu.copy() for hdu in hdus[1:]]
        ogip.save(ogip.folder / "b.rmf", *tables)
    expect("table MATRIX must have a column N_CHAN; it has", ogip.folder / "b.rmf")
