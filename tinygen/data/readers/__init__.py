"""Readers of file formats: each decides whether it recognises a path, and reads a data set from it.

A reader is a module with `recognises(path) -> bool`, `read(path, request) -> Dataset`, and `takes`, the options of
`Request` that it uses. The first in `READERS` that recognises a path reads it; a folder with a field target is read by
`domains`.
"""

from pathlib import Path
from typing import Any

from tinygen.data.dataset import Dataset
from tinygen.data.notices import printable
from tinygen.data.readers import celeba, cifar, domains, idx, npy, npz, pictures, table, text, waves
from tinygen.data.readers.request import Request
from tinygen.errors import DataError, UsageError

READERS: tuple[Any, ...] = (npz, npy, idx, cifar, celeba, table, text, waves, pictures)


def read(path: Path, request: Request) -> Dataset:
    """Read the data set at an existing path. DataError if no reader recognises it, UsageError for an unused option."""
    try:
        of_domains = domains.recognises(path, request)
        reader: Any = domains if of_domains else next((each for each in READERS if each.recognises(path)), None)
    except OSError as error:
        raise DataError(f"{path}: it cannot be read ({error.strerror})") from error
    if reader is None:
        known = ".npz, .npy, .csv, .txt, IDX files of MNIST, or a folder of pictures or waves"
        raise DataError(printable(f"{path}: no reader knows this file; give {known}"))
    for option in ("fields", "size", "vocabulary", "length"):
        if getattr(request, option) and option not in reader.takes:
            raise UsageError(f"{path}: {option} does not apply to data of this format; leave it out")
    return reader.read(path, request)
