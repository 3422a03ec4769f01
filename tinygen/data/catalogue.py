"""Finding a data set by its name or its path."""

import difflib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tinygen.arguments import plain, whole
from tinygen.data import (
    bouncing,
    captioned,
    coloured,
    download,
    layers,
    points,
    readers,
    sentences,
    silhouettes,
    sprites,
    stick_figures,
    strokes,
    styles,
    tones,
)
from tinygen.data.augment import refuse_unknown
from tinygen.data.dataset import Dataset
from tinygen.data.notices import printable
from tinygen.data.readers.npz import fields_of
from tinygen.data.readers.request import Request, parse_fields, parse_size
from tinygen.errors import DataError, UsageError

SHIPPED = Path(__file__).with_name("files")
WHITE = {"digits8x8": 16}  # the integer that means 1 in the images of shipped sets, if it is not 255


def load(
    name_or_path: str | Path,
    *,
    fields: Mapping[str, str] | None = None,
    size: Any = None,
    augment: Literal["flip", "symmetries"] | None = None,
    skip_broken: bool = False,
    vocabulary: int | None = None,
    length: int | None = None,
) -> Dataset:
    """Load the data set with a name (``-`` and ``_`` mean the same), or at a path, in any format of `readers.READERS`.

    A name is looked up among the shipped sets, in the folder $TINYGEN_DATA, among the sets that are generated, and in
    the user's cache; if it is in none of them, it is downloaded.

    fields: which array of a file is which field, where its names do not say so: ``{"x": "photo", "target": "label"}``;
    ``{"x": "idx20:indexed"}`` gives the kind of the field too, one of `readers.kinds.KINDS`.
    size: width and height of the pictures of a folder, to which they are resized (antialiased) and cropped in the
    centre: 64, (64, 48) or "64x48".
    augment: "flip" mirrors each training picture with probability one half; "symmetries" mirrors, turns, recolours and
    inverts them at random.
    skip_broken: leaves out picture files that cannot be read.
    vocabulary: how many different tokens of texts are known, the most frequent ones; others become ``<unk>``.
    length: to how many tokens texts are cut.

    Raises UsageError for an unknown name or an unfit option, and DataError for data that cannot be used.
    """
    wanted, pixels = parse_fields(fields), parse_size(size)
    if augment is not None:
        refuse_unknown(augment)
    vocabulary, length = plain(vocabulary), plain(length)
    for name, number in (("vocabulary", vocabulary), ("length", length)):
        if number is not None and whole(name, number, None) < 1:
            raise UsageError(f"{name} is {number}; it must be at least 1")
    request = Request("", wanted, pixels, skip_broken, vocabulary=vocabulary, length=length)
    data = _load(name_or_path, request)
    return data.augmented(augment) if augment else data


def _load(name_or_path: str | Path, request: Request) -> Dataset:
    path = Path(name_or_path)
    if isinstance(name_or_path, str):
        name = _canonical(name_or_path)
        for known, file in _files():
            if known == name:
                return readers.read(file, replace(request, name=name, white=WHITE.get(name)))
        if name in GENERATED or name in download.SOURCES:
            if given := [option for option in ("fields", "size", "vocabulary", "length") if getattr(request, option)]:
                raise UsageError(f"{name}: its fields are known; leave {' and '.join(given)} out")
            return GENERATED[name][1]() if name in GENERATED else download.fetch(download.SOURCES[name])
        if not name or not (os.path.exists(path) or path.suffix or len(path.parts) > 1):
            raise UsageError(f"unknown data set {name_or_path!r}: {_hint(name)}")
    if not os.path.exists(path):  # for a name that is too long this returns False, whereas Path.exists raises
        raise DataError(printable(f"{path}: there is no such file or folder"))
    return readers.read(path, replace(request, name=printable(path.name if path.is_dir() else path.stem)))


def _bouncing(name: str) -> Dataset:
    return bouncing.make(name, load(bouncing.DIGITS))


def _ageing(name: str) -> Dataset:
    return strokes.make(name, load(strokes.SETS[name].digits))


def _styled(name: str) -> Dataset:
    return styles.make(name, load(styles.DIGITS))


GENERATED: dict[str, tuple[str, Callable[[], Dataset]]] = {
    **{
        name: (f"x points ({mixture.centres.shape[1]}), y labels", partial(points.make, name))
        for name, mixture in points.MIXTURES.items()
    },
    **{name: ("x points (2)", partial(points.make, name)) for name in points.DENSITIES if name not in points.MIXTURES},
    **{name: ("x clip", partial(_bouncing, name)) for name in bouncing.SETS},
    captioned.NAME: ("x image, caption words", captioned.make),
    coloured.NAME: ("x image, y labels", lambda: coloured.make(load(coloured.DIGITS))),
    layers.NAME: ("x image, attributes attributes, mask map", layers.make),
    sentences.NAME: ("x words", sentences.make),
    silhouettes.NAME: ("x image, mask map", silhouettes.make),
    sprites.NAME: (f"x image, {', '.join(sprites.FACTORS)} labels", sprites.make),
    sprites.SEGMENTED: ("x image, target map", sprites.make_segmented),
    stick_figures.NAME: ("x image, pose map", stick_figures.make),
    **{name: ("x image, y labels, identity labels", partial(_ageing, name)) for name in strokes.SETS},
    **{name: ("x image, target image", partial(_styled, name)) for name in styles.SETS},
    tones.NAME: ("x wave, y labels", tones.make),
}
"""Sets that are generated: the fields of each, and the function that makes it."""


def names() -> list[tuple[str, str]]:
    """Every name that `load` knows, with the origin of its data set and, if they are known, its fields."""
    origins: dict[str, str] = {}
    for name, file in _files():
        if name not in origins and (fields := fields_of(file)):
            words = ", ".join(f"{field} {kind}" for field, kind in fields.items())
            origins[name] = f"{'shipped' if file.parent == SHIPPED else f'in {file.parent}'}: {words}"
    for name, (words, _) in GENERATED.items():
        origins.setdefault(name, f"generated: {words}")
    for name, source in download.SOURCES.items():
        at_first_use = f"downloaded at first use ({source.megabytes} MB)"
        origins.setdefault(name, f"{'in the cache' if download.is_cached(source) else at_first_use}: x image, y labels")
    return list(origins.items())


def _files() -> Iterator[tuple[str, Path]]:
    """Named `.npz` files: first the shipped ones, then those in the user's folder."""
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
