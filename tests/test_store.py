"""Files are whole or refused."""

import json
import os
import stat
import zipfile

import numpy as np
import pytest

from jsbi.store import atomic_path, load_arrays, read_header, save_arrays

HEADER = {"names": ["a", "b.c"], "value": 0.1 + 0.2, "none": None, "text": "Γ = 1.7"}


def arrays():
    generator = np.random.default_rng(0)
    return {
        "double": generator.normal(size=(7, 3)) * 10.0 ** np.arange(-200, 100, 100),
        "single": generator.normal(size=5).astype(np.float32),
        "count": np.arange(4, dtype=np.int64),
        "flag": np.array([True, False]),
        "special": np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324]),
        "scalar": np.array(2.5),
        "empty": np.zeros((0, 3)),
    }


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "some.jsbi"
    save_arrays(path, "thing", HEADER, arrays())
    return path


def rewrite(path, **changes):
    """The archive again with other members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members |= {name.replace("_", "."): data for name, data in changes.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            if data is not None:
                archive.writestr(name, data)


def changed_header(path, **changes):
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("header.json"))
    rewrite(path, header_json=json.dumps(header | changes))


def test_what_is_loaded_is_what_was_saved_to_the_bit(path):
    header, loaded = load_arrays(path, "thing")
    assert header == HEADER
    assert list(loaded) == list(arrays())
    for name, array in arrays().items():
        assert loaded[name].dtype == array.dtype
        assert loaded[name].shape == array.shape
        assert loaded[name].tobytes() == array.tobytes()


def test_the_header_can_be_read_alone(path):
    full = read_header(path)
    assert (full["kind"], full["header"]) == ("thing", HEADER)
    assert full["arrays"]["double"] == ["<f8", [7, 3]]


def test_numbers_that_json_lacks_survive_in_the_header(tmp_path):
    save_arrays(tmp_path / "x", "thing", {"nan": float("nan"), "inf": np.inf}, {})
    header, _ = load_arrays(tmp_path / "x", "thing")
    assert np.isnan(header["nan"])
    assert header["inf"] == np.inf


def test_another_kind_is_refused(path):
    with pytest.raises(ValueError, match="holds a thing, where a posterior is needed"):
        load_arrays(path, "posterior")


def test_another_format_is_refused(path):
    changed_header(path, format=99)
    with pytest.raises(ValueError, match="has format 99, and this version.* format 1"):
        load_arrays(path, "thing")


@pytest.mark.parametrize("content", [b"", b"SIMPLE  =", b"PK\x03\x04 not a zip"])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "other.fits"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"saved by jsbi.*another format.*cut short"):
        load_arrays(path, "thing")


def test_an_archive_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(ValueError, match="header cannot be read"):
        load_arrays(tmp_path / "other.npz", "thing")


@pytest.mark.parametrize("header", ["[1, 2]", "null", "{", "\xff"])
def test_a_header_that_is_none_is_refused(path, header):
    rewrite(path, header_json=header.encode("latin-1"))
    with pytest.raises(ValueError, match="must be a file saved by jsbi"):
        load_arrays(path, "thing")


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_arrays(tmp_path / "absent.jsbi", "thing")


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95, 0.999])
def test_a_truncated_file_is_refused(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="cut short"):
        load_arrays(path, "thing")


def test_an_array_of_another_shape_or_type_is_refused(path):
    changed_header(path, arrays={"double": ["<f8", [3, 7]]})
    with pytest.raises(
        ValueError, match=r"damaged: its array 'double'.*\(7, 3\).*\(3, 7"
    ):
        load_arrays(path, "thing")
    changed_header(path, arrays={"single": ["<f8", [5]]})
    with pytest.raises(ValueError, match="damaged: its array 'single' is <f4"):
        load_arrays(path, "thing")


def test_a_missing_array_is_refused(path):
    rewrite(path, double_npy=None)
    with pytest.raises(ValueError, match=r"damaged: .*double\.npy"):
        load_arrays(path, "thing")


def test_a_pickle_is_never_opened(path):
    trap = np.array([object()], dtype=object)
    np.save(path.parent / "trap.npy", trap, allow_pickle=True)
    rewrite(path, double_npy=(path.parent / "trap.npy").read_bytes())
    with pytest.raises(ValueError, match="damaged: .*allow_pickle=False"):
        load_arrays(path, "thing")


def test_any_changed_byte_is_harmless_or_refused(tmp_path):
    path = tmp_path / "x.jsbi"
    expected = {"a": np.linspace(0.0, 1.0, 9), "b": np.arange(3)}
    save_arrays(path, "thing", {"names": ["a"]}, expected)
    content = path.read_bytes()
    reasons = []
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        try:
            header, loaded = load_arrays(path, "thing")
        except ValueError as error:
            reasons.append(str(error))
        else:
            assert header == {"names": ["a"]}
            for name, array in expected.items():
                np.testing.assert_array_equal(loaded[name], array)
    assert len(reasons) > 0.5 * len(content)
    assert all(str(path) in reason for reason in reasons)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(path, error):
    before = path.read_bytes()

    def interrupted():
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half of it")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_arrays_that_cannot_be_saved_leave_the_old_file(path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="allow_pickle"):
        save_arrays(
            path, "thing", {}, {"good": np.ones(9), "bad": np.array([object()])}
        )
    with pytest.raises(TypeError):
        save_arrays(path, "thing", {"bad": object()}, {})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_write_replaces_and_leaves_no_temporary(path):
    save_arrays(path, "other", {}, {"x": np.ones(2)})
    _, loaded = load_arrays(path, "other")
    np.testing.assert_array_equal(loaded["x"], 1)
    assert os.listdir(path.parent) == [path.name]


def test_a_file_is_as_readable_as_any_other(path, tmp_path):
    usual = tmp_path / "usual"
    usual.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


def test_a_folder_that_is_absent_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        save_arrays(tmp_path / "absent" / "x", "thing", {}, {})
