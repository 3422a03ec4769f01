"""Fields of pixels: images, clips and segment maps."""

import colorsys
import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tinygen.data.fields.base import Field, as_strings, note, smallest_unsigned, with_rest
from tinygen.data.fields.colours import MANY, class_colours, classes_of
from tinygen.data.fields.numbering import in_words, positions
from tinygen.errors import DataError, UsageError

Colour = tuple[int, int, int]
Kind = Literal["binary", "grey", "rgb", "indexed"]
CHANNELS = {"binary": 1, "grey": 1, "rgb": 3, "indexed": 1}
GREY, GREY_COLOUR = 0.5, (128, 128, 128)
"""What is drawn where nothing is known: an intensity, and a colour."""


@dataclass(frozen=True)
class Image(Field):
    """Pictures: (N, H, W, C), or (N, H, W) where there is one channel.

    binary: intensities 0 or 1; grey, rgb: intensities from 0 to 1. These are given as floats, as booleans, or as
    integers of which `white` means 1; stored as uint8 up to 255 or float32; and float32 in [0, 1] in a batch.
    indexed: positions in a palette; int64 (N, H, W, 1) in a batch.
    """

    height: int | None = None
    width: int | None = None
    channels: int | None = None
    kind: Kind | None = None
    palette: tuple[Colour, ...] | None = None
    """Colours of an indexed image, (red, green, blue) up to 255."""
    binarisation: Literal["dynamic", "threshold"] | None = note()
    """How grey images were binarised, on which likelihoods depend; None if they were not."""
    levels: int | None = note()
    """`value_count` of grey and rgb images; None means 256, as in image files."""
    unpaired: str | None = note()
    """Why the images do not belong to those of the field x beside them; None if they do."""
    white: int | None = field(default=None, compare=False, repr=False)
    """The integer that means 1 in arrays that are given. By default 255, or 1 if training data have no larger one."""
    has_class_columns = True

    def __post_init__(self):
        self._set(palette=as_colours(self.palette), levels=None if self.kind == "binary" else self.levels)
        if self.kind not in (None, *CHANNELS):
            raise UsageError(f"unknown kind of image {self.kind!r}: use one of {', '.join(CHANNELS)}")
        if self.kind is not None and self.channels not in (None, CHANNELS[self.kind]):
            raise UsageError(f"{self.kind} images have {CHANNELS[self.kind]} channels, not {self.channels}")

    @property
    def shape(self):
        return (self.height, self.width, self.channels)

    @property
    def value_count(self) -> int:
        """How many values a channel can have, evenly spaced from 0 to 1; 0 means any real value in [0, 1]."""
        if self.kind == "binary":
            return 2
        return 256 if self.levels is None else self.levels

    def fit(self, arrays):
        shaped = {where: self._shaped(where, array) for where, array in arrays.items()}
        if not shaped:
            return self
        first = next(iter(shaped.values()))
        white = self.white or (1 if first.dtype.kind in "ui" and first.max(initial=0) == 1 else 255)
        field = self._with(kind=_kind(list(shaped.values()), white), white=white)
        if field.kind in ("grey", "rgb"):
            field = field._with(levels=_levels(list(shaped.values()), white))
        if field.kind == "indexed" and field.palette is None:
            raise UsageError("indexed images need their palette: Image(kind='indexed', palette=colours)")
        return field._with(**dict(zip(("height", "width", "channels"), first.shape[1:], strict=True)))

    def store(self, where, array):
        x = self._shaped(where, array)
        if self.kind == "indexed":
            return class_ids(where, x, len(self.palette or ()), "colours of the palette")
        stored = intensities(where, x, self.white or 255)
        if self.kind == "binary" and not _is_binary(stored, 255 if stored.dtype == np.uint8 else 1):
            raise DataError(f"{where} has values between black and white; use Image(kind='grey'), and binarise the set")
        return stored

    def _shaped(self, where: str, array: Any) -> np.ndarray:
        channels = self.channels or (CHANNELS[self.kind] if self.kind else None)
        return with_channels(where, array, "images", (self.height, self.width), "HW", channels)

    def value(self, stored):
        return np.array(stored, np.int64) if self.kind == "indexed" else unit_range(stored)

    def kept(self, values, keep):
        """The rest is grey, in indexed images the position -1."""
        return with_rest(values, keep, -1 if self.kind == "indexed" else GREY)

    def draw(self, value):
        if self.kind == "indexed":
            return np.array([*(self.palette or ()), GREY_COLOUR], np.uint8)[np.asarray(value)[..., 0]]
        return as_rgb(value)

    def in_words(self):
        size = f"{self.height}×{self.width} " if self.height else ""
        if self.binarisation:
            how = {"dynamic": "dynamically binarised", "threshold": "binarised at one half"}[self.binarisation]
            return f"{size}images, {how}"
        return f"{size}{self.kind + ' ' if self.kind else ''}images"


@dataclass(frozen=True)
class Clip(Field):
    """Short films: (N, T, H, W, C), or (N, T, H, W) where there is one channel; intensities as in `Image`."""

    frames: int | None = None
    height: int | None = None
    width: int | None = None
    channels: int | None = None
    kind: Literal["binary", "grey", "rgb"] | None = None
    is_moving = True
    samples_shown = 16
    completions_shown = 4

    @property
    def shape(self):
        return (self.frames, self.height, self.width, self.channels)

    def fit(self, arrays):
        shaped = [self._shaped(where, array) for where, array in arrays.items()]
        if not shaped:
            return self
        sizes = dict(zip(("frames", "height", "width", "channels"), shaped[0].shape[1:], strict=True))
        return self._with(**sizes, kind=_kind(shaped, 255))

    def store(self, where, array):
        return intensities(where, self._shaped(where, array), 255)

    def _shaped(self, where: str, array: Any) -> np.ndarray:
        channels = self.channels or (CHANNELS[self.kind] if self.kind else None)
        return with_channels(where, array, "clips", (self.frames, self.height, self.width), "THW", channels)

    def value(self, stored):
        return unit_range(stored)

    def kept(self, values, keep):
        """The rest is grey."""
        return with_rest(values, keep, GREY)

    def draw(self, value):
        """The frames from left to right."""
        return np.concatenate([as_rgb(frame) for frame in np.asarray(value)], axis=1)

    def in_words(self):
        frames = f" of {self.frames} frames, {self.height}×{self.width}" if self.frames else ""
        return f"{self.kind + ' ' if self.kind else ''}clips{frames}"


@dataclass(frozen=True)
class SegmentMap(Field):
    """A class for each pixel: integers (N, H, W) from 0; int64 in a batch.

    Integers with gaps, such as 0 and 255, are numbered anew in their order unless `classes` or `names` are given.
    Maps that are drawn in colours, integers (N, H, W, 3) up to 255, are also taken: each pixel has the class of the
    nearest of `colours`, which `class_colours` finds if they are not given.
    """

    height: int | None = None
    width: int | None = None
    classes: int | None = None
    names: tuple[str, ...] | None = note()
    colours: tuple[Colour, ...] | None = note()
    """The colour in which each class is drawn, (red, green, blue) up to 255."""
    ids: tuple[int, ...] | None = note()
    """The integers that were given for the classes, in order, if these were not 0, 1, 2, ..."""
    has_class_columns = True

    def __post_init__(self):
        self._set(names=as_strings(self.names), colours=as_colours(self.colours))
        if self.ids is not None:
            self._set(ids=tuple(map(int, self.ids)), classes=len(self.ids))
        if self.names is not None and self.classes is None:
            self._set(classes=len(self.names))

    @property
    def shape(self):
        return (self.height, self.width)

    def fit(self, arrays):
        shaped = [self._shaped(where, array) for where, array in arrays.items()]
        if not shaped:
            return self
        if shaped[0].ndim == 4:
            return self._drawn(next(iter(arrays)), shaped)
        sized = self._with(height=shaped[0].shape[1], width=shaped[0].shape[2])
        if self.classes is not None:
            return sized
        ids = np.unique(np.concatenate([np.unique(x) for x in shaped]))
        if ids[0] < 0 or len(ids) > MANY:
            where, what = next(iter(arrays)), f"{len(ids)} different values from {ids[0]} to {ids[-1]}"
            raise DataError(f"{where} holds {what}; a segment map holds up to {MANY} classes, counted from 0")
        return (
            sized._with(classes=len(ids)) if ids[-1] == len(ids) - 1 else dataclasses.replace(sized, ids=ids.tolist())
        )

    def store(self, where, array):
        x = self._shaped(where, array)
        if x.ndim == 4 and self.colours is None:
            raise DataError(f"{where} is drawn in colours, but other parts hold classes; give {where} as classes too")
        x = classes_of(x, np.array(self.colours)) if x.ndim == 4 else x
        x = x if self.ids is None else positions(where, x, self.ids)
        return class_ids(where, x, self.classes or 0, "classes")

    def renumbering_in_words(self):
        return None if self.ids is None else in_words(self.ids, "no pixel has the value")

    def _drawn(self, where: str, given: list[np.ndarray]) -> "SegmentMap":
        """The field of maps that are drawn in colours."""
        colours = self.colours or class_colours(given)
        if len(colours) < 2:
            raise DataError(f"{where} has no colours that could be classes; give integers (N, H, W), or `colours`")
        return self._with(height=given[0].shape[1], width=given[0].shape[2], classes=len(colours), colours=colours)

    def _shaped(self, where: str, array: Any) -> np.ndarray:
        """Classes (N, H, W), or colours (N, H, W, 3)."""
        drawn = np.ndim(array) == 4 and np.shape(array)[3] == 3
        x = with_channels(where, array, "segment maps", (self.height, self.width), "HW", 3 if drawn else 1)
        if x.dtype.kind not in "iub":
            raise DataError(f"{where} has dtype {x.dtype}; the classes of a segment map are integers")
        return x if drawn else x[..., 0]

    def value(self, stored):
        return np.array(stored, np.int64)

    def draw(self, value):
        return np.array(self.colours or distinct_colours(self.classes or 1), np.uint8)[np.asarray(value)]

    def in_words(self):
        size = f"{self.height}×{self.width} " if self.height else ""
        return f"{size}segment maps" + (f" of {self.classes} classes" if self.classes else "")


# Functions that several fields use


def with_channels(where: str, array: Any, what: str, sizes: tuple, letters: str, channels: int | None) -> np.ndarray:
    """The array with an axis of channels; DataError if its axes or its sizes do not fit those that are known."""
    x = np.asarray(array)
    axes = len(sizes) + 1
    shaped = x[..., None] if x.ndim == axes else x
    fits = (
        shaped.ndim == axes + 1
        and 0 not in shaped.shape[1:]
        and shaped.shape[-1] in ((1, 3) if channels is None else (channels,))
        and all(size in (None, length) for size, length in zip(sizes, shaped.shape[1:], strict=False))
    )
    if not fits:
        known = ["N", *(str(size or letter) for size, letter in zip(sizes, letters, strict=True))]
        shapes = [[*known, str(c)] for c in ((1, 3) if channels is None else (channels,))]
        shapes = [known, *shapes] if channels in (None, 1) else shapes
        words = [f"({', '.join(shape)})" for shape in shapes]
        listed = " or ".join([", ".join(words[:-1]), words[-1]] if words[:-1] else words)
        raise DataError(f"{where} has shape {x.shape}; {what} are {listed}")
    if len(shaped) == 0:
        raise DataError(f"{where} holds no {what}")
    return shaped


def intensities(where: str, x: np.ndarray, white: int) -> np.ndarray:
    """Intensities in stored form: uint8 up to 255, or float32 in [0, 1]; DataError for other values."""
    if x.dtype == bool:
        return x * np.uint8(255)
    if x.dtype.kind in "iu":
        if x.min() < 0 or x.max() > white:
            remedy = "divide others by the value of white, as floats"
            what = f"values from {x.min()} to {x.max()}; integer images lie in 0 to {white}"
            raise DataError(f"{where} has {what}: {remedy}")
        if 255 % white:
            return x / np.float32(white)
        return x.astype(np.uint8, copy=False) if white == 255 else x.astype(np.uint8) * np.uint8(255 // white)
    if x.dtype.kind != "f":
        raise DataError(f"{where} has dtype {x.dtype}; images are integers up to 255, booleans, or floats in [0, 1]")
    low, high = float(x.min()), float(x.max())
    if not np.isfinite([low, high]).all():
        raise DataError(f"{where} holds NaN or infinite values; images are finite")
    if low < -ROUNDING or high > 1 + ROUNDING:
        what = f"values from {low:.8g} to {high:.8g}; float images lie in [0, 1]"
        raise DataError(f"{where} has {what}: scale them, black to 0 and white to 1")
    return x.astype(np.float32).clip(0, 1)


ROUNDING = 1e-5
"""Floats that leave [0, 1] by no more, as after resizing, are clipped."""


def unit_range(stored: np.ndarray) -> np.ndarray:
    """Stored intensities as float32 in [0, 1]: a new array."""
    if stored.dtype == np.uint8:
        return np.divide(stored, np.float32(255), dtype=np.float32)
    return np.array(stored)


def class_ids(where: str, x: np.ndarray, count: int, what: str) -> np.ndarray:
    """Integers from 0 below `count` in the smallest dtype that holds them; DataError for others."""
    if x.dtype.kind not in "iub":
        raise DataError(f"{where} has dtype {x.dtype}; positions among the {what} are integers")
    low, high = int(x.min()), int(x.max())
    if low < 0 or high >= count:
        raise DataError(f"{where} has values from {low} to {high}; the {count} {what} are 0 to {count - 1}")
    return x.astype(smallest_unsigned(count))


def as_rgb(value: Any) -> np.ndarray:
    """Intensities (H, W, 1 or 3) as a picture, uint8 (H, W, 3); values are clipped to [0, 1], NaN becomes 0."""
    pixels = np.rint(np.clip(np.nan_to_num(np.asarray(value)), 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:-1], 3)))


def as_colours(colours: Any) -> tuple[Colour, ...] | None:
    """Colours as tuples; DataError if they are not integers (colours, 3) up to 255."""
    if colours is None:
        return None
    array = np.asarray(colours)
    if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:
        raise DataError(
            f"colours have shape {array.shape} and dtype {array.dtype}; give integers up to 255 (colours, 3)"
        )
    return tuple((int(r), int(g), int(b)) for r, g, b in array)


def distinct_colours(count: int) -> list[Colour]:
    """Colours that are easy to tell apart: hues a golden angle from one another."""
    turn = (math.sqrt(5) - 1) / 2
    colours = (colorsys.hsv_to_rgb(turn * i % 1, 0.6, 0.9) for i in range(count))
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colours]


def _kind(arrays: list[np.ndarray], white: int) -> Any:
    """rgb or grey by the number of channels; binary for grey images without a value between black and white."""
    if arrays[0].shape[-1] == 3:
        return "rgb"
    return "binary" if all(_is_binary(x, white if x.dtype.kind in "iu" else 1) for x in arrays) else "grey"


def _levels(arrays: list[np.ndarray], white: int) -> int | None:
    """The attribute `levels`: by the integer that means 1, or by whether floats are multiples of 1/255."""
    if all(x.dtype.kind not in "f" for x in arrays):
        return None if white == 255 else white + 1 if white < 255 else 0
    with np.errstate(invalid="ignore"):
        steps = [x.astype(np.float32) * 255 for x in arrays]
        return None if all((abs(x - np.rint(x)) < 1e-3).all() for x in steps) else 0


def _is_binary(x: np.ndarray, white: int) -> bool:
    return bool(((x == 0) | (x == white)).all())


INTENSITIES = (Image(kind="binary"), Image(kind="grey"), Image(kind="rgb"))
"""The requirement of images whose numbers are intensities in [0, 1], not positions in a palette."""
