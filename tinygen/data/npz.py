"""Reading `.npz` archives; pickled objects in them are refused, never loaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.naming import naming
from tinygen.errors import DataError

ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
SPLIT_KEYS = {key: key for key in ("x_train", "y_train", "x_test", "y_test", "class_names")}
WHOLE_KEYS = {"x": "x_train", "y": "y_train", "class_names": "class_names"}


def read_npz(path: Path, name: str | None = None, *, white: int | None = None) -> Dataset:
    """The data set in x_train and x_test (with y_train, y_test or without), or in x (with y or without).

    Names of the classes are in class_names, if there; ``white`` is as in `Dataset.from_arrays`. Raises
    DataError naming the file.
    """
    with naming(path):
        return Dataset.from_arrays(name or path.stem, **_read_arrays(path), white=white)


def holds_images(path: Path) -> bool:
    """Whether the archive has the keys of a data set; its arrays are not read."""
    try:
        with _open(path) as archive:
            return not {"x", "x_train"}.isdisjoint(archive.files)
    except DataError:
        return False


def _read_arrays(path: Path) -> dict[str, Any]:
    """The arrays of a data set by the argument of `Dataset.from_arrays` that they are."""
    with _open(path) as archive:
        arguments = SPLIT_KEYS if "x_train" in archive.files else WHOLE_KEYS
        arrays = {arguments[key]: _read(archive, key) for key in archive.files if key in arguments}
        if "x_train" not in arrays:
            held = ", ".join(sorted(archive.files)[:8]) or "nothing"
            raise DataError(f"the file holds {held}; a data set needs x_train and x_test, or x")
        return arrays


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
