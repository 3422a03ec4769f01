"""Which key of a file holds which field: as the user says, or by the names and shapes of the arrays."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tinygen.data.readers.kinds import split_source
from tinygen.errors import DataError

PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
PARTS |= {"valid": "valid", "val": "valid", "validation": "valid", "dev": "valid"}
"""The part of the data set that each word in a key or in the name of a folder means."""

X = ("x", "images", "image", "data")
LABELS = ("y", "label", "labels", "digit", "speaker", "class")
TEXTS = {"text": "characters", "texts": "characters", "sentence": "characters", "sentences": "characters"}
TEXTS |= {"caption": "words", "captions": "words"}
MAPS = ("mask", "masks", "segmentation")
CLASS_NAMES = ("class_names", "label_names", "category_names")
HELPER_KEYS = ("palette", "offset", "rate", "take")


@dataclass(frozen=True)
class Header:
    """Shape and dtype of an array that has not been read."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def is_picture(self) -> bool:
        channels = len(self.shape) == 4 and self.shape[3] in (1, 3, 4)
        return (channels or len(self.shape) == 3) and self.dtype.kind in "uibf"


@dataclass
class Chosen:
    """The chosen fields of a file."""

    sources: dict[str, tuple[str, str]] = field(default_factory=dict)
    """For each field its key, without the part, and its kind."""
    guessed: list[str] = field(default_factory=list)
    """Fields that were found by the shape of their array, not by its key."""

    def taken(self, key: str) -> bool:
        """Whether a field has this key."""
        return any(key == each for each, _ in self.sources.values())


def split_key(key: str) -> tuple[str, str | None]:
    """The name and the part in a key: x and train in x_train or train_x; other keys have no part."""
    words = "|".join(PARTS)
    if match := re.fullmatch(rf"(.+)_({words})", key):
        return match[1], PARTS[match[2]]
    if match := re.fullmatch(rf"({words})_(.+)", key):
        return match[2], PARTS[match[1]]
    return key, None


def by_part(keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """For each name its keys by part; a key that names none is the part train.

    Beside keys that name the part train, others without a part are left out. DataError for two keys of one part.
    """
    split = [(key, *split_key(key)) for key in keys]
    has_train = any(part == "train" for _, _, part in split)
    whole = {key for key, _, part in split if part is None and not has_train}
    keys_of: dict[str, dict[str, str]] = {}
    for key, name, part in split:
        if part is None and not has_train:
            part = "train"
        elif part and not has_train and name not in whole:  # such as a single array called speed_test
            name, part = key, "train"
        if part and (other := keys_of.setdefault(name, {}).setdefault(part, key)) != key:
            raise DataError(f"{other} and {key} are both {part} of {name}; leave one of them")
    return keys_of


def choose(wanted: Mapping[str, str], headers: Mapping[str, Header]) -> Chosen:
    """Choose the fields of a file whose arrays have these headers; DataError if `wanted` names a key that is absent."""
    chosen = Chosen()
    for name, source in wanted.items():
        key, kind = split_source(source)
        key = key or next((each for each in (name, *X) if each in headers), "") if name == "x" else key or name
        if key not in headers:
            listed = ", ".join(headers) or "nothing"
            raise DataError(f"fields: there is no {key or name} for {name}; the file holds {listed}")
        chosen.sources[name] = key, kind or _kind(key, headers) or _plain_kind(name, headers[key])
    _choose_by_name(chosen, headers)
    _choose_by_shape(chosen, headers)
    return chosen


def _choose_by_name(chosen: Chosen, headers: Mapping[str, Header]) -> None:
    for key in headers:
        name = "x" if key in (*X, "mulaw") else "y" if key in ("label", "labels") else key
        kind = _kind(key, headers)
        if kind and name not in chosen.sources and not chosen.taken(key):
            chosen.sources[name] = key, kind


def _choose_by_shape(chosen: Chosen, headers: Mapping[str, Header]) -> None:
    """Choose the first pictures of a file as x, and the next ones of the same size as its target."""
    pictures = [key for key, header in headers.items() if header.is_picture and key not in HELPER_KEYS]
    if "x" not in chosen.sources and (free := [key for key in pictures if not chosen.taken(key)]):
        chosen.sources["x"] = free[0], "indexed" if _fits_palette(free[0], headers) else "image"
        chosen.guessed.append("x")
    x = chosen.sources.get("x", ("", ""))[0]
    if x and x not in X and x in pictures and "target" not in chosen.sources:
        same = [key for key in pictures if not chosen.taken(key) and headers[key].shape[:3] == headers[x].shape[:3]]
        if same:
            chosen.sources["target"] = same[0], "image"
            chosen.guessed.append("target")


def _kind(key: str, headers: Mapping[str, Header]) -> str | None:
    """The kind of field for an array by its key, shape and dtype; None for other keys and arrays that do not fit."""
    header = headers[key]
    axes, kind = len(header.shape), header.dtype.kind
    if key in LABELS and not header.is_picture and axes > 0:
        return "attributes" if axes == 2 and header.shape[1] > 1 else "labels"
    if key in TEXTS and kind == "U":
        return TEXTS[key]
    if key in MAPS and kind in "ui" and axes == 3:
        return "map"
    if key == "attributes":
        return "attributes"
    if key == "mulaw" and "offset" in headers:
        return "wave"
    return _plain_kind(key, header) if key in (*X, "target") else None


def _plain_kind(name: str, header: Header) -> str:
    """The kind of field by the shape and dtype of an array, and by whether its name is x, y or target."""
    if header.dtype.kind == "U":
        return "labels" if name == "y" else "characters"
    if name == "y" or (name not in (*X, "target") and len(header.shape) == 1):
        return "labels"
    if len(header.shape) == 1 and header.dtype == np.uint8:
        return "characters"
    if len(header.shape) == 5 or (len(header.shape) == 4 and header.shape[3] > 4):
        return "clip"
    return "points" if len(header.shape) < 3 and header.dtype.kind == "f" else "image"


def _fits_palette(key: str, headers: Mapping[str, Header]) -> bool:
    return "palette" in headers and len(headers[key].shape) == 3 and headers[key].dtype.kind in "ui"
