"""Finding a data set by its name or its path."""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from tinygen.data import download, points
from tinygen.data.dataset import Dataset
from tinygen.data.folder import read_folder
from tinygen.data.npz import holds_images, read_npz
from tinygen.errors import DataError, UsageError

SHIPPED = Path(__file__).with_name("files")
WHITE = {"digits8x8": 16}  # the value of shipped images that means 1, where it is not 255


def load(name_or_path: str | Path, *, skip_broken: bool = False) -> Dataset:
    """The data set of that name (``-`` and ``_`` alike) or at that path (an `.npz` file or an image folder).

    A name is looked for among the shipped sets, in the folder $TINYGEN_DATA, among the mixtures of `points`, in the
    user's cache, and is then downloaded. ``skip_broken`` leaves out image files that cannot be read. Raises UsageError
    for an unknown name and DataError for data that cannot be used.
    """
    path = Path(name_or_path)
    if isinstance(name_or_path, str):
        name = _canonical(name_or_path)
        for known, file in _files():
            if known == name:
                return read_npz(file, name, white=WHITE.get(name))
        if name in points.MIXTURES:
            return points.make(name)
        if source := download.SOURCES.get(name):
            return download.fetch(source)
        if not name or not (os.path.exists(path) or path.suffix or len(path.parts) > 1):
            raise UsageError(f"unknown data set {name_or_path!r}: {_hint(name)}")
    if not os.path.exists(path):  # False, where the method of Path raises, for a name that is too long
        raise DataError(f"{path}: there is no such file or folder")
    return read_folder(path, skip_broken=skip_broken) if path.is_dir() else read_npz(path)


def names() -> list[tuple[str, str]]:
    """Each name that `load` knows, and where the set comes from."""
    found: dict[str, str] = {}
    for name, file in _files():
        if holds_images(file):
            found.setdefault(name, "shipped" if file.parent == SHIPPED else f"in {file.parent}")
    for name in points.MIXTURES:
        found.setdefault(name, "points, made when asked for")
    for name, source in download.SOURCES.items():
        at_first_use = f"downloaded at first use ({source.megabytes} MB)"
        found.setdefault(name, "in the cache" if download.is_cached(source) else at_first_use)
    return list(found.items())


def _files() -> Iterator[tuple[str, Path]]:
    """Named `.npz` files: the shipped ones, and only after these the ones in the user's folder."""
    for file in sorted(SHIPPED.glob("*.npz"), reverse=True):
        yield _canonical(file.stem), file
    if folder := os.environ.get("TINYGEN_DATA"):
        if not Path(folder).is_dir():
            raise DataError(f"TINYGEN_DATA is {folder!r}, which is not a folder; correct it or unset it")
        for file in sorted(Path(folder).glob("*.npz")):
            yield _canonical(file.stem), file


def _canonical(name: str) -> str:
    return name.replace("_", "-")


def _hint(name: str) -> str:
    known = [each for each, _ in names()]
    if near := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {near[0]}?"
    return f"use one of {', '.join(known)}, or the path of an .npz file or a folder of images"
