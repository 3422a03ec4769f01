"""Tables of numbers in `.csv` files."""

import csv
from pathlib import Path

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.fields import Field, Points
from tinygen.data.naming import naming
from tinygen.data.readers.kinds import make_field, split_source
from tinygen.data.readers.request import Request
from tinygen.errors import DataError

takes = ("fields",)
LABELS = ("y", "label", "labels", "class", "target", "species")
"""Columns of these names are the labels y, unless others are named."""


def recognises(path: Path) -> bool:
    """Whether the path is a file called .csv or .tsv."""
    return path.suffix.lower() in (".csv", ".tsv") and path.is_file()


def read(path: Path, request: Request) -> Dataset:
    """Read an example from each line: labels y from a column named as in `LABELS`, points x from all other columns.

    The first line may name the columns, and then `fields` names those of labels, {"y": "species"}, or of a kind,
    {"size": "height:attributes"}. Valid and test are random tenths.
    """
    with naming(path):
        names, rows = _rows(path)
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
        fields: dict[str, Field] = {}
        arrays: dict[str, np.ndarray] = {}
        for name, key, kind in _named(request, names):
            column = _numbers(path, key, columns.pop(key), as_labels=kind == "labels")
            fields[name] = make_field(kind, {})
            arrays[name] = column[:, None] if kind == "attributes" else column
        if not columns:
            raise DataError("no column is left for the points x; name fewer columns as fields")
        x = np.stack([_numbers(path, key, column, as_labels=False) for key, column in columns.items()], axis=1)
        return Dataset.from_fields(request.name, {"x": Points(), **fields}, {"x": x, **arrays})


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """The names of the columns ("column 1", ... where the file has none), and the cells of each line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            delimiter = max("\t;,", key=head.count)
            rows = [[cell.strip() for cell in row] for row in csv.reader(file, delimiter=delimiter) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError("the file is not a table in UTF-8; save it again as CSV in UTF-8") from error
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror})") from error
    if not rows:
        raise DataError("the file is empty")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise DataError(f"row {number} has {len(row)} cells and the first {len(rows[0])}; make them equal")
    if all(_is_number(cell) for cell in rows[0]) or (len(rows) > 1 and rows[0][:-1] and _is_number(rows[0][0])):
        return [f"column {i + 1}" for i in range(len(rows[0]))], rows
    if len(set(rows[0])) < len(rows[0]):
        raise DataError("two columns have the same name; rename one of them")
    return rows[0], rows[1:]


def _named(request: Request, names: list[str]) -> list[tuple[str, str, str]]:
    """(field, column, kind) of each column that is not a coordinate of x."""
    named = []
    for name, source in request.fields.items():
        key, kind = split_source(source)
        if key not in names:
            raise DataError(f"fields: there is no {key or name} for {name}; the columns are {', '.join(names)}")
        if name == "x" or kind not in (None, "labels", "attributes"):
            raise DataError(f"fields: {name}={source}: a column is labels or attributes; all others are the points x")
        named.append((name, key, kind or "labels"))
    free = [name for name in names if name.lower() in LABELS and name not in [key for _, key, _ in named]]
    if free and "y" not in request.fields:
        named.append(("y", free[0], "labels"))
    return named


def _numbers(path: Path, name: str, cells: tuple[str, ...], *, as_labels: bool) -> np.ndarray:
    """The cells of a column as numbers, or as strings if they are labels and not all are numbers."""
    try:
        numbers = np.array([float(cell) for cell in cells])
    except ValueError as error:
        if as_labels:
            return np.array(cells)
        line, cell = next((i, cell) for i, cell in enumerate(cells, start=1) if not _is_number(cell))
        remedy = f"remove the column, or name it with fields, such as y={name}"
        raise DataError(f"{name} holds {cell!r} in example {line}, which is no number; {remedy}") from error
    if as_labels and (numbers == np.rint(numbers)).all():
        return numbers.astype(np.int64)
    return numbers


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
