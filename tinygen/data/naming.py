"""Error messages that name the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinygen.data.notices import printable
from tinygen.errors import DataError


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A context that puts the path in front of the message of a DataError."""
    try:
        yield
    except DataError as error:
        raise DataError(printable(f"{path}: {error}")) from error
