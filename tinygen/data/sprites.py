"""Sprites: pictures of a coloured shape on black, with the factors that each was drawn from.

They are like dSprites (Matthey et al. 2017, github.com/google-deepmind/dsprites-dataset), but coloured.
"""

import itertools
import math

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.fields import Image, Labels, SegmentMap
from tinygen.data.spec import Spec
from tinygen.data.split import Split
from tinygen.random import Stream

NAME, SEGMENTED = "sprites", "segmented-sprites"
SIDE = 24
COLOURS = {"red": (230, 60, 60), "green": (60, 200, 80), "blue": (70, 110, 240), "white": (240, 240, 240)}
RADII = (3.0, 4.0, 5.0, 6.0)
CENTRES = tuple(np.linspace(6.5, SIDE - 6.5, 8))
"""Columns, and rows, of the centre in pixels."""
ANGLES = (-40, -20, 0, 20, 40)
"""In degrees; a square that is turned by 45 or more could also be one that is turned the other way."""
SIZES = {"train": 12_288, "valid": 1024, "test": 2048}


def square(u, v):
    """The distance of points (u, v) from the edge of a square with its corners on the unit circle; negative inside."""
    return np.maximum(abs(u), abs(v)) - math.sqrt(0.5)


def ellipse(u, v):
    """The distance from the edge of an ellipse half as high as wide; negative inside, exact only near the edge."""
    return 0.5 * (np.sqrt(u * u + 4 * v * v) - 1)


def triangle(u, v):
    """The distance from the edge of an equilateral triangle with one corner at the top; negative inside."""
    sides = (math.radians(degrees) for degrees in (90, 210, 330))
    return np.max([u * math.cos(a) + v * math.sin(a) for a in sides], axis=0) - 0.5


SHAPES = {"square": square, "ellipse": ellipse, "triangle": triangle}
FACTORS: dict[str, Labels] = {
    "y": Labels(names=tuple(SHAPES)),
    "colour": Labels(names=tuple(COLOURS)),
    "size": Labels(len(RADII)),
    "column": Labels(len(CENTRES)),
    "row": Labels(len(CENTRES)),
    "angle": Labels(names=tuple(f"{degrees} degrees" for degrees in ANGLES)),
}
"""The fields beside x; y is the shape."""


def make() -> Dataset:
    """The data set: every combination of the factors once; which ones are in train is the same in every run."""
    grid = np.stack(np.meshgrid(*(np.arange(each.classes or 0) for each in FACTORS.values()), indexing="ij"), axis=-1)
    order = Stream(0, NAME).permutation(grid[..., 0].size)
    factors = dict(zip(FACTORS, grid.reshape(-1, len(FACTORS))[order].T, strict=True))
    x = draw(**factors)
    spec = Spec(NAME, {"x": Image(SIDE, SIDE, 3, "rgb"), **FACTORS})
    ends = list(itertools.accumulate(SIZES.values(), initial=0))
    parts = [slice(*pair) for pair in itertools.pairwise(ends)]
    columns = {"x": x, **factors}
    return Dataset(spec, *(Split(spec.fields, {name: a[part] for name, a in columns.items()}) for part in parts))


def make_segmented() -> Dataset:
    """The same pictures; the target is the shape, if any, that covers at least half of a pixel."""
    whole, names = make(), ("background", *SHAPES)
    spec = Spec(SEGMENTED, {"x": whole.spec.x, "target": SegmentMap(SIDE, SIDE, names=names)})
    parts = []
    for split in (whole.train, whole.valid, whole.test):
        y, colour, *others = (split.columns[name] for name in FACTORS)
        white = np.full_like(colour, list(COLOURS).index("white"))
        covered = draw(y, white, *others)[..., 0] >= COLOURS["white"][0] / 2
        target = (covered * (1 + y[:, None, None])).astype(np.uint8)
        parts.append(Split(spec.fields, {"x": split.columns["x"], "target": target}))
    return Dataset(spec, *parts)


def draw(y, colour, size, column, row, angle) -> np.ndarray:
    """Pictures, uint8 (N, SIDE, SIDE, 3), of factors (N,): integers, as the fields of `FACTORS` number them."""
    shades = np.array(list(COLOURS.values()))[colour][:, None, None]
    return np.rint(cover(y, size, column, row, angle)[..., None] * shades).astype(np.uint8)


def cover(y, size, column, row, angle) -> np.ndarray:
    """How much of each pixel the shape covers, from 0 to 1: (N, SIDE, SIDE) for factors (N,)."""
    outlines, indices = np.unique(np.stack([y, size, column, row, angle], axis=1), axis=0, return_inverse=True)
    return np.stack([_cover(*outline) for outline in outlines])[indices.ravel()]


def _cover(y: int, size: int, column: int, row: int, angle: int) -> np.ndarray:
    """How much of each pixel (SIDE, SIDE) the shape covers: 0 to 1, with edges a pixel wide."""
    centres = np.arange(SIDE) + 0.5
    right, down = (centres - CENTRES[column])[None, :], (centres - CENTRES[row])[:, None]
    cos, sin, radius = math.cos(math.radians(ANGLES[angle])), math.sin(math.radians(ANGLES[angle])), RADII[size]
    u, v = (cos * right + sin * down) / radius, (cos * down - sin * right) / radius
    return (0.5 - radius * list(SHAPES.values())[y](u, v)).clip(0, 1)
