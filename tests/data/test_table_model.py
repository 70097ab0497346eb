"""Table models: what is written is read, and what is broken is named."""

import numpy as np
import pytest
from astropy.io import fits

from jsbi.data import (
    TableModel,
    TableParameter,
    describe,
    read_table_model,
    save_table_model,
    write_table_model,
)

EDGES = np.array([0.5, 1.0, 2.0, 4.0])
INDEX = TableParameter("index", np.array([1.0, 2.0, 3.0]), initial=1.5, delta=0.1)
COLUMN = TableParameter("nH", np.array([0.1, 1.0]), "log", maximum=5.0)
IRON = TableParameter("Fe", minimum=0.0, maximum=10.0, top=3.0)


def photons(index, nH, Fe):
    return np.diff(EDGES) * index / nH * np.array([1.0, 2.0, 3.0]) + Fe * EDGES[1:]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.fits"
    write_table_model(
        path, photons, [INDEX, COLUMN], EDGES, additional=[IRON], redshift=True
    )
    return path


def test_what_is_written_is_read(path):
    table = read_table_model(path)
    assert (table.name, table.unit, table.additive) == ("model", "photons/cm^2/s", True)
    assert (table.redshift, table.energy_scale) == (True, False)
    assert (table.below, table.above) == (None, None)
    np.testing.assert_array_equal(table.energy_edges, EDGES)
    for read, written in zip(
        (*table.parameters, *table.additional), (INDEX, COLUMN, IRON), strict=True
    ):
        assert vars(read).keys() == vars(written).keys()
        for name, value in vars(written).items():
            np.testing.assert_array_equal(getattr(read, name), value)
    assert table.spectra.shape == (3, 2, 3)
    for i, index in enumerate(INDEX.values):
        for j, column in enumerate(COLUMN.values):
            expected = photons(index, column, 0.0)
            np.testing.assert_allclose(table.spectra[i, j], expected, rtol=1e-7)
    np.testing.assert_allclose(
        table.additions, np.broadcast_to(EDGES[1:], (1, 3, 2, 3)), rtol=1e-6
    )


def test_defaults_of_a_parameter_follow_from_its_values():
    assert (INDEX.initial, INDEX.delta, INDEX.range) == (1.5, 0.1, (1.0, 3.0))
    # Limits beyond the grid do not widen it, nor does the grid widen the limits.
    assert COLUMN.range == (0.1, 1.0)
    assert TableParameter("x", np.arange(5.0), minimum=1.0).range == (1.0, 4.0)
    assert IRON.range == (0.0, 10.0)


def test_limits_of_energy_and_scale_survive(tmp_path):
    path = tmp_path / "factor.fits.gz"
    written = write_table_model(
        path,
        lambda index: np.full(3, index),
        [INDEX],
        EDGES,
        additive=False,
        energy_scale=True,
        below=0.0,
        above=0.5,
        name="factor",
    )
    table = read_table_model(path)
    assert (table.additive, table.energy_scale, table.redshift) == (False, True, False)
    assert (table.below, table.above, table.name) == (0.0, 0.5, "factor")
    np.testing.assert_array_equal(table.spectra, written.spectra)


def test_faint_spectra_keep_their_digits(tmp_path):
    path = tmp_path / "faint.fits"
    faint = np.array([1e-40, 2e-41, 3e-42])
    write_table_model(path, lambda index: faint * index, [INDEX], EDGES)
    np.testing.assert_array_equal(read_table_model(path).spectra[0], faint)


def test_real_tables(test_data):
    table = read_table_model(test_data("exosat_session/testpo.mod.gz"))
    assert (table.name, table.additive, table.spectra.shape) == (
        "testpo",
        True,
        (51, 1500),
    )
    table = read_table_model(test_data("exosat_session/testpcfabs.mod.gz"))
    assert [each.name for each in table.parameters] == ["nH", "fract"]
    assert [each.method for each in table.parameters] == ["log", "linear"]
    assert table.spectra.shape == (10, 11, 1500)
    column, fraction = 5, 4  # nH 0.1, a fraction of 0.4
    np.testing.assert_allclose(table.spectra[0], 1.0)
    np.testing.assert_allclose(table.spectra[column, 0], 1.0)
    expected = 0.6 + 0.4 * table.spectra[column, 10]
    np.testing.assert_allclose(table.spectra[column, fraction], expected, atol=1e-6)
    table = read_table_model(test_data("exosat_session/testephabs.mod"))
    assert table.parameters[0].range == (1.0, 1.0)


def edit(path, change):
    """Change the extensions of a file: primary, parameters, energies, spectra."""
    with fits.open(path) as hdus:
        held = [hdu.copy() for hdu in hdus]
        for hdu in held[1:]:
            hdu.data = hdu.data.copy()
    change(*held)
    fits.HDUList(held).writeto(path, overwrite=True)


def test_rows_may_stand_in_any_order(path):
    expected = read_table_model(path).spectra

    def shuffle(primary, parameters, energies, spectra):
        spectra.data = spectra.data[[3, 0, 5, 1, 4, 2]]

    edit(path, shuffle)
    np.testing.assert_array_equal(read_table_model(path).spectra, expected)


def test_old_dialects_are_read(path):
    """Short ADDSP names, flags as text, -1 for no limit, errors of the spectra."""
    expected = read_table_model(path)

    def age(primary, parameters, energies, spectra):
        primary.header["ADDMODEL"] = "T"
        primary.header["LOELIMIT"] = -1.0
        del parameters.header["NADDPARM"]
        for hdu in (parameters, energies, spectra):
            del hdu.header["HDUCLAS1"]
        spectra.columns.change_name("ADDSP001", "ADDSP1")

    edit(path, age)
    with fits.open(path) as hdus:
        held = [hdu.copy() for hdu in hdus]
        wide = np.concatenate([hdus[3].data["INTPSPEC"]] * 2, axis=1)
        columns = [
            hdus[3].columns["PARAMVAL"],
            fits.Column("INTPSPEC", "6E", array=wide),
            hdus[3].columns["ADDSP1"],
        ]
        held[3] = fits.BinTableHDU.from_columns(columns, name="SPECTRA")
        fits.HDUList(held).writeto(path, overwrite=True)
    table = read_table_model(path)
    assert (table.additive, table.below) == (True, None)
    np.testing.assert_array_equal(table.spectra, expected.spectra)
    np.testing.assert_array_equal(table.additions, expected.additions)


def set_keyword(extension, name, value):
    def change(*hdus):
        hdus[extension].header[name] = value

    return change


def set_value(extension, column, row, value):
    def change(*hdus):
        hdus[extension].data[column][row] = value

    return change


def drop_row(primary, parameters, energies, spectra):
    spectra.data = spectra.data[:-1]


def drop_bin(primary, parameters, energies, spectra):
    energies.data = energies.data[:-1]


def repeat_row(primary, parameters, energies, spectra):
    spectra.data[5] = spectra.data[4]


def rename(extension, old, new):
    def change(*hdus):
        hdus[extension].columns.change_name(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_keyword(0, "NXFLTEXP", 2), "NXFLTEXP announces 2"),
        (set_keyword(0, "ADDMODEL", "maybe"), "ADDMODEL must be T or F; got 'maybe'"),
        (set_keyword(0, "LOELIMIT", "low"), "LOELIMIT must be a number; got 'low'"),
        (set_keyword(1, "NINTPARM", 3), "must add up to the 3 rows .* are 3 and 1"),
        (set_keyword(1, "NINTPARM", "two"), "must give NINTPARM, a whole number"),
        (rename(1, "MINIMUM", "LEAST"), "must have a column MINIMUM; it has NAME"),
        (
            set_value(1, "METHOD", 0, 7),
            "METHOD of parameter 'index' must be 0 .* got 7",
        ),
        (
            set_value(1, "NUMBVALS", 1, 9),
            "of parameter 'nH' must be 1 to the 3 .* got 9",
        ),
        (set_value(1, "NUMBVALS", 1, 3), "values of 'nH' must increase; 0 follows 1"),
        (set_value(1, "VALUE", 0, [1, np.nan, 3]), "values of 'index' must be finite"),
        (set_value(1, "MAXIMUM", 0, 0.5), "limits of 'index' must leave values"),
        (set_value(1, "INITIAL", 0, np.inf), "parameter 'index' must be finite"),
        (set_value(1, "NAME", 1, "index"), "a name of its own; got index, index, Fe"),
        (set_value(2, "ENERG_LO", 1, 1.5), "without gaps; row 0 ends at 1 keV"),
        (set_value(2, "ENERG_HI", 2, 1.5), "bin 2 spans 2 to 1.5"),
        (drop_bin, "INTPSPEC must hold a number for each of the 2 energy bins"),
        (drop_row, "a row for each of the 6 points of the grid 3 x 2"),
        (repeat_row, "each grid point once; index 3, nH 1 is missing"),
        (set_value(3, "PARAMVAL", 2, [1.5, 0.1]), "row 2 holds 1.5 for 'index'"),
        (set_value(3, "INTPSPEC", 2, [1, np.nan, 3]), r"grid point \[1, 0\] holds nan"),
        (rename(3, "ADDSP001", "OTHER"), "must have a column ADDSP001"),
        (rename(3, "INTPSPEC", "OTHER"), "must have a column INTPSPEC"),
    ],
)
def test_broken_files_are_named_with_what_is_wrong(path, change, message):
    edit(path, change)
    with pytest.raises(ValueError, match=message) as caught:
        read_table_model(path)
    assert str(path) in str(caught.value)


def test_truncated_and_other_files(path, tmp_path, ogip):
    content = path.read_bytes()
    for length in range(0, len(content) - 2880, 1500):  # the last block is padding
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"must be|must hold|FITS"):
            read_table_model(path)
    with pytest.raises(ValueError, match="must hold a table of parameters"):
        read_table_model(ogip.folder / "a.rmf")
    with pytest.raises(FileNotFoundError, match="no such table model"):
        read_table_model(tmp_path / "absent.fits")


def test_a_model_that_fails_leaves_no_file(tmp_path):
    def fails(index):
        return np.full(3, np.nan if index > 2.5 else 1.0)

    def raises(index):
        raise RuntimeError("no convergence")

    for function, message in (
        (fails, "at index 3 it returns numbers that are not finite"),
        (lambda index: np.ones(4), r"each of the 3 energy bins; .* shape \(4,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            write_table_model(tmp_path / "x.fits", function, [INDEX], EDGES)
    with pytest.raises(RuntimeError, match="no convergence"):
        write_table_model(tmp_path / "x.fits", raises, [INDEX], EDGES)
    assert not list(tmp_path.iterdir())


def test_writing_keeps_the_old_file_when_it_fails(path, monkeypatch):
    content = path.read_bytes()

    def breaks(self, name, **_):
        name.write_bytes(b"half")
        raise OSError("disk full")

    table = read_table_model(path)
    monkeypatch.setattr(fits.HDUList, "writeto", breaks)
    with pytest.raises(OSError, match="disk full"):
        save_table_model(path, table)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_a_table_is_refused(tmp_path):
    path = tmp_path / "x.fits"
    with pytest.raises(ValueError, match="linear in the additional parameter 'Fe'"):
        write_table_model(
            path,
            lambda index, Fe: np.full(3, index + Fe**2),
            [INDEX],
            EDGES,
            additional=[IRON],
        )
    long = TableParameter("a_very_long_name", np.arange(2.0))
    with pytest.raises(ValueError, match="12 ASCII characters"):
        write_table_model(path, lambda **_: np.ones(3), [long], EDGES)
    negative = TableParameter("x", np.array([-1.0, 2.0]), "log")
    with pytest.raises(ValueError, match="'x' .* must not be negative; got -1"):
        write_table_model(path, lambda **_: np.ones(3), [negative], EDGES)
    with pytest.raises(ValueError, match="at least two edges, increasing"):
        write_table_model(path, lambda **_: np.ones(3), [INDEX], EDGES[::-1])
    with pytest.raises(ValueError, match="must have shapes"):
        TableModel(
            "x", "", True, (INDEX,), (), EDGES, np.ones((2, 3)), np.ones((0, 2, 3))
        )
    with pytest.raises(ValueError, match="must then have a minimum and a maximum"):
        TableParameter("x")
    with pytest.raises(ValueError, match="'linear' or 'log'"):
        TableParameter("x", np.arange(2.0), "cubic")


@pytest.mark.parametrize(
    ("parameters", "choices", "message"),
    [
        ([TableParameter("a_very_long_name", np.arange(2.0))], {}, "12 ASCII"),
        ([INDEX, INDEX], {}, "name of its own"),
        ([INDEX], {"below": 1.0}, "none outside of its energies"),
        ([TableParameter("norm", np.arange(2.0))], {}, "called 'norm'"),
        ([TableParameter("z", np.arange(2.0))], {"redshift": True}, "called 'z'"),
    ],
)
def test_what_no_expression_could_use_is_refused_before_it_is_made(
    tmp_path, parameters, choices, message
):
    def never(**_):
        raise AssertionError

    with pytest.raises(ValueError, match=message):
        write_table_model(tmp_path / "x.fits", never, parameters, EDGES, **choices)
    with pytest.raises(ValueError, match="increasing"):
        write_table_model(tmp_path / "x.fits", never, [INDEX], EDGES[::-1])
    with pytest.raises(FileNotFoundError, match=r"no folder '.*/none'"):
        write_table_model(tmp_path / "none" / "x.fits", never, [INDEX], EDGES)


def test_description(path):
    text = describe(path)
    assert "table model, 3 energy bins, 0.5-4 keV" in text
    assert "model, of photons (atable), unit photons/cm^2/s" in text
    assert "3 x 2 spectra" in text
    assert "nH: 0.1 to 1, 2 values, log, initial 1" in text
    assert "Fe: 0 to 10, additional" in text
    assert "a redshift (z)" in text
