"""Pictures of one or two coloured shapes on black, each with a caption in words, such as "a red circle above a blue
square".

Which two kinds of shapes stand how to one another is a scene. The scenes of test never occur in train, though all
their colours, shapes and places do: whoever draws them has combined what the words say.
"""

import functools
import itertools
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.fields import Image, Tokens
from tinygen.data.sprites import triangle
from tinygen.random import Stream

NAME = "captioned-shapes"
SIZES = {"train": 4000, "valid": 400, "test": 1000}
SIDE = 20
COLOURS = {"red": (230, 50, 50), "green": (40, 190, 70), "blue": (60, 100, 250), "yellow": (240, 210, 40)}
RADII = {"small": 3.0, "large": 4.4}
CONVERSE = {"above": "below", "left of": "right of", "below": "above", "right of": "left of"}
"""The places of one shape relative to another, each with that of the other one relative to it."""
GAP = 1
"""Pixels that a small shape at least keeps from the middle between two shapes; a large one just fits."""
ACROSS = 2
"""How far, in pixels, either of two shapes is from the line through the centre on which both would be."""
SINGLES = 0.2
"""Share of the pictures of train that show one shape."""
UNSIZED = 0.5
"""Share of the shapes whose size a caption leaves out."""
SCENES = {"train": 192, "valid": 24, "test": 48}
"""How many of the scenes of two shapes each part has."""


def circle(u, v):
    """The distance of points (u, v) from the edge of the unit circle; negative inside."""
    return np.sqrt(u * u + v * v) - 1


def square(u, v):
    """The distance from the edge of a square of almost the size of the unit circle; negative inside."""
    return np.maximum(abs(u), abs(v)) - 0.9


def upright_triangle(u, v):
    """The distance from the edge of a triangle about as high as the unit circle; negative inside."""
    return 1.2 * triangle(u / 1.2, v / 1.2 - 0.15)


SHAPES = {"circle": circle, "square": square, "triangle": upright_triangle}
KINDS = tuple(itertools.product(range(len(COLOURS)), range(len(SHAPES))))
"""Colour and shape of each kind of object, by their numbers."""
NONE = -1
FACTORS = ("colour", "shape", "size", "row", "column")
"""What the numbers of an object say, in their order; all are `NONE` where there is no object."""

# Captions

THING = rf"a (?:({'|'.join(RADII)}) )?({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
CAPTION = re.compile(rf"{THING}(?: ({'|'.join(CONVERSE)}) {THING})?")
LONGEST = 10
"""Words of the longest caption."""


@dataclass(frozen=True)
class Meaning:
    """What a caption says: colour and shape of each object, and the place of the first relative to the second."""

    kinds: tuple[tuple[str, str], ...]
    sizes: tuple[str | None, ...]
    place: str | None

    def in_words(self) -> str:
        """The caption."""
        things = [" ".join(filter(None, ["a", size, *kind])) for kind, size in zip(self.kinds, self.sizes, strict=True)]
        return f" {self.place} ".join(things)


@functools.cache
def parse(caption: str) -> Meaning:
    """The meaning of a caption; ValueError for one that is not of this form."""
    found = CAPTION.fullmatch(caption)
    if found is None:
        raise ValueError(f"{caption!r} is no caption of {NAME}")
    size, colour, shape, place, other_size, other_colour, other_shape = found.groups()
    if place is None:
        return Meaning(((colour, shape),), (size,), None)
    return Meaning(((colour, shape), (other_colour, other_shape)), (size, other_size), place)


# Pictures


@functools.cache
def outlines() -> tuple[np.ndarray, np.ndarray]:
    """Every shape in every size at every place: numbers (M, 4) of shape, size, row and column, and covers.

    Rows and columns of centres are whole numbers of pixels. The covers, float32 (M, SIDE, SIDE), say how much of each
    pixel a shape covers: 0 to 1, with edges a pixel wide.
    """
    numbers, covers = [], []
    middles = np.arange(SIDE) + 0.5
    for (shape, distance), (size, radius) in itertools.product(enumerate(SHAPES.values()), enumerate(RADII.values())):
        places = range(math.ceil(radius), SIDE - math.ceil(radius) + 1)
        for row, column in itertools.product(places, places):
            u, v = (middles - column)[None, :] / radius, (middles - row)[:, None] / radius
            numbers.append((shape, size, row, column))
            covers.append((0.5 - radius * distance(u, v)).clip(0, 1))
    return np.array(numbers), np.array(covers, np.float32)


def draw(objects: np.ndarray) -> np.ndarray:
    """Pictures, uint8 (N, SIDE, SIDE, 3), of K objects each, integers (N, K, 5) as `FACTORS` says."""
    numbers, covers = outlines()
    position = np.full((len(SHAPES), len(RADII), SIDE, SIDE), NONE)
    position[tuple(numbers.T)] = np.arange(len(numbers))
    shades = np.array(list(COLOURS.values()), np.float32)
    x = np.zeros((len(objects), SIDE, SIDE, 3), np.float32)
    for each in objects.swapaxes(0, 1):
        there = each[:, 0] != NONE
        colour, *outline = each[there].T
        x[there] += covers[position[tuple(outline)]][..., None] * shades[colour][:, None, None]
    return np.rint(x).astype(np.uint8)


# The data set


def make() -> Dataset:
    """The data set, the same in every run."""
    parts: dict[str, Any] = {}
    for part, scenes in scenes_of_parts().items():
        stream = Stream(0, f"{NAME} {part}")
        objects, meanings = examples(SIZES[part], scenes, SINGLES if part == "train" else 0.0, stream)
        parts[part] = {"x": draw(objects), "caption": [meaning.in_words() for meaning in meanings]}
    fields = {"x": Image(SIDE, SIDE, 3, "rgb"), "caption": Tokens(length=LONGEST, separator=" ")}
    return Dataset.from_fields(NAME, fields, **parts)


def scenes_of_parts() -> dict[str, np.ndarray]:
    """The scenes (M, 3) of each part: the kinds of two different objects, and which of two places the first has."""
    kinds = range(len(KINDS))
    scenes = np.array([(a, b, place) for a, b, place in itertools.product(kinds, kinds, range(2)) if a != b])
    scenes = scenes[Stream(0, f"{NAME} scenes").permutation(len(scenes))]
    ends = np.cumsum(list(SCENES.values()))
    assert ends[-1] == len(scenes)
    return dict(zip(SCENES, np.split(scenes, ends[:-1]), strict=True))


def examples(n: int, scenes: np.ndarray, singles: float, stream: Stream) -> tuple[np.ndarray, list[Meaning]]:
    """Objects (n, 2, 5) of random scenes among these, and what their captions say; a share shows one object alone."""
    chosen = scenes[stream.integers(len(scenes), n)]
    is_single, is_turned = stream.uniform(n) < singles, stream.uniform(n) < 0.5
    size = stream.integers(len(RADII), (n, 2))
    is_unsized, chance = stream.uniform((n, 2)) < UNSIZED, stream.uniform((n, 2, 2), dtype="float64")
    objects = np.zeros((n, 2, len(FACTORS)), np.int64)
    objects[..., :2] = np.array(KINDS)[chosen[:, :2]]
    objects[..., 2] = size
    objects[..., 3:] = _centres(size, chance, is_single, is_horizontal=chosen[:, 2] == 1)
    objects[is_single, 1] = NONE
    return objects, [
        _meaning(*each) for each in zip(objects, chosen[:, 2], is_turned, is_single, is_unsized, strict=True)
    ]


def _centres(size, chance, is_single, is_horizontal) -> np.ndarray:
    """Rows and columns (n, 2, 2) of two objects of these sizes (n, 2), each in its half; a single one is anywhere."""
    margin = np.ceil(list(RADII.values())).astype(np.int64)[size]
    room = np.where(is_single[:, None], SIDE, SIDE // 2 - GAP) - 2 * margin
    along = margin + (chance[..., 0] * (room.clip(0) + 1)).astype(np.int64)
    along[:, 1] = SIDE - along[:, 1]
    free = margin + (chance[..., 1] * (SIDE - 2 * margin + 1)).astype(np.int64)
    near = SIDE // 2 - ACROSS + (chance[..., 1] * (2 * ACROSS + 1)).astype(np.int64)
    across = np.where(is_single[:, None], free, near)
    rows = np.where(is_horizontal[:, None], across, along)
    return np.stack([rows, along + across - rows], axis=2)


def _meaning(objects, place, is_turned, is_single, is_unsized) -> Meaning:
    """What a caption of two objects says; it begins with the second one where it `is_turned`."""
    colours, shapes, sizes = list(COLOURS), list(SHAPES), list(RADII)
    order = [0] if is_single else [1, 0] if is_turned else [0, 1]
    first = ("above", "left of")[place]
    return Meaning(
        tuple((colours[objects[i, 0]], shapes[objects[i, 1]]) for i in order),
        tuple(None if is_unsized[i] else sizes[objects[i, 2]] for i in order),
        None if is_single else CONVERSE[first] if is_turned else first,
    )
