"""Reading `.npz` files: complete, damaged and malicious ones."""

import zipfile

import numpy as np
import pytest

from tinygen.data import load
from tinygen.errors import DataError, TinygenError
from tinygen.random import Stream

X = Stream(0, "images").integers(256, (30, 6, 5)).astype(np.uint8)
Y = np.arange(30) % 4


def saved(folder, **arrays):
    path = folder / "own_set.npz"
    np.savez(path, **arrays)
    return path


def test_all_known_keys_are_read(tmp_path):
    data = load(saved(tmp_path, x_train=X, y_train=Y, x_test=X[:5], y_test=Y[:5], class_names=list("abcd"), other=1))
    assert data.spec.name == "own_set"
    assert data.spec.y.names == ("a", "b", "c", "d")
    assert [len(split) for split in (data.train, data.valid, data.test)] == [27, 3, 5]
    np.testing.assert_array_equal(data.test.batch(slice(None)).y, Y[:5])


def test_arrays_x_and_y_are_split_and_a_path_may_be_a_string(tmp_path):
    data = load(str(saved(tmp_path, x=X, y=Y)))
    assert [len(split) for split in (data.train, data.valid, data.test)] == [25, 2, 3]
    assert data.spec.classes == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"not an archive", "not an .npz archive"),
        (b"\x80\x04K\x01.", "not an .npz archive"),
        (b"PK\x03\x04 cut", "truncated or damaged"),
    ],
)
def test_files_that_are_not_archives_are_refused(tmp_path, content, message):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"bad.npz: .*{message}"):
        load(path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = saved(tmp_path, x=X)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=r"own_set\.npz: the file is truncated"):
        load(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "nothing.npz")
    with pytest.raises(DataError, match="no such file"):
        load(str(tmp_path / ("long" * 100 + ".npz")))


@pytest.mark.parametrize("key", ["x_train", "y_train", "class_names"])
def test_pickled_objects_are_never_read(tmp_path, key):
    class TouchesFileWhenUnpickled:
        def __reduce__(self):
            return (tmp_path / "exploded").touch, ()

    arrays = {"x_train": X, "y_train": Y} | {key: np.array([TouchesFileWhenUnpickled()] * 30, object)}
    path = tmp_path / "hostile.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=True)
    with pytest.raises(DataError, match=f"{key} holds pickled objects"):
        load(path)
    assert not (tmp_path / "exploded").exists()


def test_a_member_that_is_not_an_array_is_refused(tmp_path):
    path = tmp_path / "text.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "not an array")
    with pytest.raises(DataError, match="x is not a NumPy array"):
        load(path)


def test_a_header_that_declares_more_data_than_there_are_is_refused(tmp_path):
    path = tmp_path / "huge.npz"
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 28, 28), }\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"few")
    with pytest.raises(DataError, match="x is damaged"):
        load(path)


def test_unknown_keys_are_listed_in_the_message(tmp_path):
    with pytest.raises(
        DataError, match=r"holds counts, sums; a data set needs x_train .* such as x=KEY:KIND with one of"
    ):
        load(saved(tmp_path, sums=Y, counts=Y))


def test_error_messages_name_the_file_and_the_array(tmp_path):
    with pytest.raises(DataError, match=r"own_set\.npz: x_train holds NaN"):
        load(saved(tmp_path, x=np.full((9, 2, 2), np.nan)))
    with pytest.raises(DataError, match=r"own_set\.npz: y_test holds 4 examples and x_test 5"):
        load(saved(tmp_path, x_train=X, y_train=Y, x_test=X[:5], y_test=Y[:4]))


def test_a_flipped_bit_gives_a_message_of_one_line_or_is_read(tmp_path):
    path = saved(tmp_path, x=X[:4, :2, :2], y=Y[:4])
    content = path.read_bytes()
    refused = 0
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            load(path)
        except TinygenError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > len(content) / 4
