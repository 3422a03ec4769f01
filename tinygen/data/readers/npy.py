"""A single array in an `.npy` file."""

from pathlib import Path

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.naming import naming
from tinygen.data.readers import named
from tinygen.data.readers.request import Request
from tinygen.errors import DataError

takes = ("fields",)


def recognises(path: Path) -> bool:
    """Whether the path is a file called .npy."""
    return path.suffix.lower() == ".npy" and path.is_file()


def read(path: Path, request: Request) -> Dataset:
    """Read the array as the field x, as if it were alone in an `.npz`; pickled objects are refused."""
    with naming(path):
        try:
            array = np.load(path, allow_pickle=False)
        except Exception as error:  # the parser raises whatever it meets in a damaged file
            if "allow_pickle" in str(error):
                raise DataError("the file holds pickled objects, which are never read; save a plain array") from error
            raise DataError("the file is not an .npy file, or is truncated; copy it again") from error
        if not isinstance(array, np.ndarray):
            raise DataError("the file holds an archive; call it .npz")
        return named.from_arrays({"x": array}, request)
