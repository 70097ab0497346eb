"""`describe` says what a file holds, whatever its kind."""

import numpy as np
import pytest

from jsbi.data import describe


def test_spectrum(test_data):
    text = describe(test_data("maxi_j1820_nicer/1200120106_rebin.pha"))
    assert "spectrum (PHA), NICER XTI, MAXI_J1820+070" in text
    assert "1170 good channels of 1501, 4401 s" in text
    assert "systematic errors (SYS_ERR), which are not used" in text


def test_spectrum_of_type_two_lists_its_rows(test_data):
    text = describe(test_data("exosat_session/sacmult.pha"))
    assert "sacmult[0]: 259 counts in 129 good channels of 129, 128 s" in text
    assert "sacmult[1]:" in text


def test_background_subtracted_spectrum(test_data):
    text = describe(test_data("xspec_walkthrough_exosat/s54405.pha"))
    assert "background already subtracted" in text


def test_response_and_area(ogip):
    text = describe(ogip.folder / "a.rmf")
    assert "3 energy bins, 1-5 keV" in text
    assert "4 channels 1-4, 1-5 keV" in text
    assert "columns sum to at most 1" in text
    text = describe(ogip.folder / "a.arf")
    assert "up to 30 cm^2, at 3 keV" in text


def test_table_model(test_data):
    text = describe(test_data("exosat_session/testpcfabs.mod.gz"))
    assert "table model, 1500 energy bins" in text
    assert "nH" in text


def test_other_tables_are_listed(ogip):
    hdu = ogip.table("EVENTS", [])
    path = ogip.save(ogip.folder / "e.fits", hdu)
    assert "EVENTS" in describe(path)


def test_damaged_file(ogip):
    path = ogip.folder / "x.fits"
    path.write_bytes(np.arange(1000).tobytes())
    with pytest.raises(ValueError, match="must be a FITS file"):
        describe(path)
