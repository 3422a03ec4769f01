"""Sprites: pictures of a coloured shape on black, with the factors that each was drawn from.

As dSprites (Matthey et al. 2017, github.com/google-deepmind/dsprites-dataset), which has no colours.
"""

import itertools
import math

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.fields import Image, Labels
from tinygen.data.spec import Spec
from tinygen.data.split import Split
from tinygen.random import Stream

NAME = "sprites"
SIDE = 24
COLOURS = {"red": (230, 60, 60), "green": (60, 200, 80), "blue": (70, 110, 240), "white": (240, 240, 240)}
RADII = (3.0, 4.0, 5.0, 6.0)
PLACES = tuple(np.linspace(6.5, SIDE - 6.5, 8))
"""Columns, and rows, of the centre in pixels."""
ANGLES = (-40, -20, 0, 20, 40)
"""In degrees; a square that is turned by 45 or more could also be one that is turned the other way."""
SIZES = {"train": 12_288, "valid": 1024, "test": 2048}


def square(u, v):
    """The distance from the edge of the square in the unit circle, negative inside, for points (u, v)."""
    return np.maximum(abs(u), abs(v)) - math.sqrt(0.5)


def ellipse(u, v):
    """The `square` function of an ellipse half as high as it is wide; approximate near its edge."""
    return 0.5 * (np.sqrt(u * u + 4 * v * v) - 1)


def triangle(u, v):
    """The `square` function of an equilateral triangle with one corner at the top."""
    sides = (math.radians(degrees) for degrees in (90, 210, 330))
    return np.max([u * math.cos(a) + v * math.sin(a) for a in sides], axis=0) - 0.5


SHAPES = {"square": square, "ellipse": ellipse, "triangle": triangle}
FACTORS: dict[str, Labels] = {
    "y": Labels(names=tuple(SHAPES)),
    "colour": Labels(names=tuple(COLOURS)),
    "size": Labels(len(RADII)),
    "column": Labels(len(PLACES)),
    "row": Labels(len(PLACES)),
    "angle": Labels(names=tuple(f"{degrees} degrees" for degrees in ANGLES)),
}
"""The fields beside x; y is the shape."""


def make() -> Dataset:
    """Every combination of the factors once; which ones are in train is the same in every run."""
    grid = np.stack(np.meshgrid(*(np.arange(each.classes or 0) for each in FACTORS.values()), indexing="ij"), axis=-1)
    order = Stream(0, NAME).permutation(grid[..., 0].size)
    factors = dict(zip(FACTORS, grid.reshape(-1, len(FACTORS))[order].T, strict=True))
    x = draw(**factors)
    spec = Spec(NAME, {"x": Image(SIDE, SIDE, 3, "rgb"), **FACTORS})
    ends = list(itertools.accumulate(SIZES.values(), initial=0))
    parts = [slice(*pair) for pair in itertools.pairwise(ends)]
    columns = {"x": x, **factors}
    return Dataset(spec, *(Split(spec.fields, {name: a[part] for name, a in columns.items()}) for part in parts))


def draw(y, colour, size, column, row, angle) -> np.ndarray:
    """Pictures, uint8 (N, SIDE, SIDE, 3), of factors (N,): integers, as the fields of `FACTORS` number them."""
    shades = np.array(list(COLOURS.values()))[colour][:, None, None]
    return np.rint(cover(y, size, column, row, angle)[..., None] * shades).astype(np.uint8)


def cover(y, size, column, row, angle) -> np.ndarray:
    """How much of each pixel the shape covers, from 0 to 1: (N, SIDE, SIDE) for factors (N,)."""
    kinds, which = np.unique(np.stack([y, size, column, row, angle], axis=1), axis=0, return_inverse=True)
    return np.stack([_cover(*kind) for kind in kinds])[which.ravel()]


def _cover(y: int, size: int, column: int, row: int, angle: int) -> np.ndarray:
    """How much of each pixel (SIDE, SIDE) the shape covers: 0 to 1, with edges a pixel wide."""
    centres = np.arange(SIDE) + 0.5
    right, down = (centres - PLACES[column])[None, :], (centres - PLACES[row])[:, None]
    cos, sin, radius = math.cos(math.radians(ANGLES[angle])), math.sin(math.radians(ANGLES[angle])), RADII[size]
    u, v = (cos * right + sin * down) / radius, (cos * down - sin * right) / radius
    return (0.5 - radius * list(SHAPES.values())[y](u, v)).clip(0, 1)
