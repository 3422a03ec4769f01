"""Errors that say which file they are about."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinygen.data.notices import printable
from tinygen.errors import DataError


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Context in which the message of a DataError gets the path in front of it."""
    try:
        yield
    except DataError as error:
        raise DataError(printable(f"{path}: {error}")) from error
