"""`.npz` archives; pickled objects in them are refused, never loaded."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.naming import naming
from tinygen.data.readers.keys import Header
from tinygen.data.readers.named import NamedArrays
from tinygen.data.readers.request import Request
from tinygen.errors import DataError

takes = ("fields", "vocabulary", "length")
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")


def recognises(path: Path) -> bool:
    """Whether the path is a file called .npz, or such an archive under another name."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return path.suffix.lower() == ".npz" or file.read(4) in ZIP_MAGICS


def read(path: Path, request: Request) -> Dataset:
    """Read the data set in `<name>_train`, `<name>_valid` and `<name>_test`, or in arrays `<name>` that are split here.

    `keys.choose` matches keys with fields; keys that no field uses are named in a note. If there is no valid or test,
    it is a random tenth of train, or the last tenth if the array is called x and not sorted by class, so that the data
    of older runs stay the same. Raises DataError naming the file.
    """
    with naming(path), _open(path) as archive:
        return _named(archive).dataset(request)


def fields_of(path: Path) -> Mapping[str, str]:
    """The fields that `read` would find, with their kinds; empty if the archive cannot be read."""
    try:
        with _open(path) as archive:
            return {name: kind for name, (_, kind) in _named(archive).choose({}).sources.items()}
    except DataError:
        return {}


def _named(archive: Any) -> NamedArrays:
    return NamedArrays(archive.files, lambda key: _header(archive, key), lambda key: _read(archive, key))


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror})") from error
    with file:
        magic = file.read(4)
        if not magic:
            raise DataError("the file is empty")
        if magic not in ZIP_MAGICS:
            raise DataError("the file is not an .npz archive")
        file.seek(0)
        try:
            archive = np.load(file, allow_pickle=False)
        except Exception as error:  # parsers raise whatever they meet in a damaged file
            raise DataError("the file is truncated or damaged; copy it again") from error
        with archive:
            yield archive


def _header(archive: Any, key: str) -> Header:
    """The header of one array; one without axes if it is damaged, which raises an error when its values are read."""
    try:
        with archive.zip.open(f"{key}.npy") as file:
            version = np.lib.format.read_magic(file)
            reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, _, dtype = reader(file)
            return Header(shape, dtype)
    except Exception:  # as above
        return Header((), np.dtype("V"))


def _read(archive: Any, key: str) -> np.ndarray:
    try:
        array = archive[key]
    except Exception as error:  # as above
        if "allow_pickle" in str(error):
            raise DataError(f"{key} holds pickled objects, which are never read; save a plain array") from error
        raise DataError(f"{key} is damaged; copy the file again") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{key} is not a NumPy array")
    return array
