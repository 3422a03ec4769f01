"""CelebA: a folder of pictures and the list of their attributes, list_attr_celeba.txt (or .csv)."""

import os
from pathlib import Path

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.fields import Attributes
from tinygen.data.naming import naming
from tinygen.data.notices import say_once
from tinygen.data.readers import pictures
from tinygen.data.readers.listing import list_files
from tinygen.data.readers.request import Request
from tinygen.errors import DataError

takes = ("fields", "size")
LISTS = ("list_attr_celeba.txt", "list_attr_celeba.csv", "Anno/list_attr_celeba.txt")
FOLDERS = ("img_align_celeba/img_align_celeba", "img_align_celeba", "Img/img_align_celeba", "images", ".")


def recognises(path: Path) -> bool:
    """Whether the path is a folder with the list of attributes."""
    return _list(path) is not None


def read(path: Path, request: Request) -> Dataset:
    """Read pictures x, as `pictures` does, and their binary attributes. Pictures without a line are left out."""
    with naming(path):
        attributes = _list(path)
        assert attributes is not None
        names, rows, values = _read_list(attributes)
        folder = next(path / name for name in FOLDERS if (path / name).is_dir())
        listed = list_files(folder, pictures.SUFFIXES, "images", used=[attributes.name])[0]["train"].files
        row = {file: rows[name] for file in listed if (name := os.path.basename(file)) in rows}
        if not row:
            raise DataError(f"no picture in its folder {folder.name} has a line in {attributes.name}; keep their names")
        if without := len(listed) - len(row):
            say_once(f"{path}: {without} of {len(listed)} pictures have no line in {attributes.name} and are left out")
        extra = pictures.ExtraField("attributes", Attributes(names, binary=True), values, row, attributes.name)
        return pictures.make(folder, request, extra)


def _list(path: Path) -> Path | None:
    return next((path / name for name in LISTS if (path / name).is_file()), None)


def _read_list(file: Path) -> tuple[tuple[str, ...], dict[str, int], np.ndarray]:
    """The names of the attributes, the row of each picture file, and the values -1 and 1, int8 (rows, attributes).

    The text has the number of pictures, then the names, then a line for each: its file and the values. The table has
    the names in its first line, after that of the column of files.
    """
    names: list[str] = []
    rows: dict[str, int] = {}
    values: list[np.ndarray] = []
    try:
        with file.open(encoding="utf-8") as lines:
            head = next(lines, "").replace(",", " ").split()
            names = head[1:] if file.suffix == ".csv" else next(lines, "").split()
            for line in filter(str.strip, lines):
                name, *numbers = line.replace(",", " ").split()
                if len(numbers) != len(names) or not {"-1", "1", "0"}.issuperset(numbers):
                    raise DataError(
                        f"{file.name}: the line of {name} is not {len(names)} numbers -1 or 1; copy it again"
                    )
                rows[name] = len(values)
                values.append(np.array(numbers, np.int8))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file.name} is not a text that can be read; copy it again") from error
    if not values:
        raise DataError(f"{file.name} lists no pictures; copy it again")
    return tuple(names), rows, np.stack(values)
