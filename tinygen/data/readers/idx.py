"""MNIST's IDX files, compressed or not: a folder with all four, or a file of pictures alone."""

import gzip
import math
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.naming import naming
from tinygen.data.readers import named
from tinygen.data.readers.request import Request
from tinygen.errors import DataError

takes = ("fields",)
NAME = re.compile(r"(?:emnist-\w+-)?(train|t10k|test)-(images|labels)[-.]idx\d-u?byte(\.gz)?")
DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
"""The dtype of the values for each third byte of a file."""


def recognises(path: Path) -> bool:
    """Whether the path is a folder with such files, or a file of images."""
    return bool(_files(path))


def read(path: Path, request: Request) -> Dataset:
    """Read images x and labels y; valid, and test where there are no t10k files, is the last tenth of train."""
    with naming(path):
        arrays = {}
        for key, file in _files(path).items():
            with naming(Path(file.name)):
                arrays[key] = read_array(file)
        if "x_train" not in arrays:
            raise DataError(f"there is no file of training images beside {', '.join(arrays)}; add it")
        return named.from_arrays(arrays, request)


def read_array(path: Path) -> np.ndarray:
    """Read one file: two zeros, the type, the number of axes, their lengths as big-endian uint32, and the values."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError("the file is truncated or damaged; copy it again") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in DTYPES or len(content) < 4 + 4 * content[3]:
        raise DataError("the file is not an IDX file; copy it again")
    start, dtype = 4 + 4 * content[3], np.dtype(DTYPES[content[2]])
    shape = np.frombuffer(content, ">u4", content[3], offset=4).tolist()
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise DataError(f"the file has {len(content)} bytes and should have {expected}; copy it again")
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def read_four(name: str, class_names: Sequence[str], *paths: Path) -> Dataset:
    """Read a data set from its files of train images, train labels, test images and test labels."""
    x_train, y_train, x_test, y_test = map(read_array, paths)
    return Dataset.from_arrays(name, x_train, y_train, x_test, y_test, class_names)


def _files(path: Path) -> dict[str, Path]:
    """The files by the key that their array would have in an `.npz`."""
    if not path.is_dir():
        return {"x_train": path} if (match := NAME.fullmatch(path.name)) and match[2] == "images" else {}
    with os.scandir(path) as entries:
        matches = sorted(
            (match for each in entries if (match := NAME.fullmatch(each.name))), key=lambda match: match[0]
        )
    keys = [f"{'x' if m[2] == 'images' else 'y'}_{'train' if m[1] == 'train' else 'test'}" for m in matches]
    return {key: path / match[0] for key, match in zip(keys, matches, strict=True)}
