"""Text files: each line is an example."""

from pathlib import Path
from typing import Any

from tinygen.data.dataset import Dataset
from tinygen.data.naming import naming
from tinygen.data.notices import say_once
from tinygen.data.readers.kinds import TEXTS, lines_of, make_field
from tinygen.data.readers.listing import parts_of, shortened
from tinygen.data.readers.request import Request
from tinygen.errors import DataError, UsageError

takes = ("fields", "vocabulary", "length")


def recognises(path: Path) -> bool:
    """Whether the path is a file called .txt, or a folder with train.txt."""
    return (path.suffix.lower() == ".txt" and path.is_file()) or (path / "train.txt").is_file()


def read(path: Path, request: Request) -> Dataset:
    """Read the lines that are not blank as tokens x: characters, or words with `fields={"x": ":words"}`.

    In a folder the parts are train.txt, valid.txt and test.txt; those that are missing are random tenths.
    """
    with naming(path):
        names = sorted(file.stem for file in path.glob("*.txt"))
        files = {part: path / f"{stem}.txt" for part, stem in parts_of(names).items()}
    if files and (others := [name for name in names if path / f"{name}.txt" not in files.values()]):
        say_once(f"{path}: only the texts train, valid and test are read, not {shortened(others)}")
    kind = request.fields.get("x", ":characters").removeprefix(":")
    if request.fields.keys() - {"x"} or kind not in TEXTS:
        wanted = ", ".join(f"{name}={source}" for name, source in request.fields.items())
        raise UsageError(f"{path}: fields: a text takes x=:characters or x=:words, not {wanted}")
    parts: dict[str, Any] = {}
    for part, file in (files or {"train": path}).items():
        with naming(file):
            parts[part] = {"x": _lines(file)}
    with naming(path):
        return Dataset.from_fields(request.name, {"x": make_field(kind, {"texts": request.texts})}, **parts)


def _lines(file: Path) -> list[str]:
    try:
        lines = lines_of(file.read_bytes())
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror})") from error
    if not lines:
        raise DataError("there are no lines; a line is an example")
    return lines
