"""Rows of the op table: other sizes, and images read at given places, with references of one pixel at a time."""

import math

import numpy as np

from tests.ops.table.case import PIECEWISE, add, real, share
from tinygen.errors import ShapeError, UsageError


def _kernel(mode, a, d):
    d = abs(d)
    if mode != "bicubic":
        return max(1 - d, 0)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0


def _line(line, new, mode, antialias, align_corners):
    """One line (length,) at another length."""
    old, y = len(line), np.zeros(new)
    for i in range(new):
        place = i * (old - 1) / (new - 1) if align_corners else (i + 0.5) * old / new - 0.5
        if mode.startswith("nearest"):
            y[i] = line[math.floor((i + (0.5 if mode == "nearest-exact" else 0)) * old / new)]
            continue
        width = max(old / new, 1) if antialias else 1
        taps = range(old) if antialias else range(math.floor(place) - 3, math.floor(place) + 5)
        a = -0.5 if antialias else -0.75
        weights = {tap: _kernel(mode, a, (place - tap) / width) for tap in taps}
        total = sum(weights.values())
        y[i] = sum(w * line[min(max(tap, 0), old - 1)] for tap, w in weights.items()) / total
    return y


def _interpolate(x, size=None, factor=None, mode="nearest", antialias=False, align_corners=False):
    for axis in range(1, x.ndim - 1):
        given = size if factor is None else factor
        value = given[axis - 1] if isinstance(given, tuple) else given
        new = value if factor is None else math.floor(x.shape[axis] * value)
        x = np.apply_along_axis(_line, axis, x, new, mode, antialias, align_corners)
    return x


for shape, options in (
    ((2, 3, 4, 2), {"size": (5, 8)}),
    ((1, 5, 4, 1), {"size": 2, "mode": "nearest-exact"}),
    ((1, 3, 1), {"factor": 2.0}),
    ((1, 2, 3, 2, 1), {"factor": (2, 1, 2)}),
    ((2, 5, 2), {"size": 3, "mode": "linear"}),
    ((1, 3, 4, 2), {"size": (5, 3), "mode": "bilinear"}),
    ((1, 3, 4, 1), {"size": (6, 7), "mode": "bilinear", "align_corners": True}),
    ((1, 7, 5, 1), {"size": (3, 2), "mode": "bilinear", "antialias": True}),
    ((1, 2, 3, 2, 1), {"size": (3, 2, 4), "mode": "trilinear"}),
    ((1, 4, 3, 2), {"size": (7, 5), "mode": "bicubic"}),
    ((1, 4, 3, 1), {"size": (7, 5), "mode": "bicubic", "align_corners": True}),
    ((1, 9, 7, 1), {"size": (4, 3), "mode": "bicubic", "antialias": True}),
    ((1, 3, 4, 1), {"factor": 2, "mode": "bicubic", "antialias": True}),
):
    add("functional.interpolate", [real(*shape)], _interpolate, **options)
add(
    "functional.interpolate",
    [real(1, 2, 2, 1)],
    _interpolate,
    size=2,
    errors=[
        ([real(3, 3)], {"size": 2}, ShapeError, r"interpolate: takes .*\(3, 3\)"),
        ([real(1, 3, 3, 1)], {}, UsageError, "either size or factor"),
        ([real(1, 3, 3, 1)], {"size": (2, 0)}, UsageError, r"size \(2, 0\)"),
        ([real(1, 3, 1)], {"size": 2, "mode": "bilinear"}, UsageError, "'bilinear' is not one for 1 axes"),
    ],
)


def _reflected(place, low, high):
    while not low <= place <= high:
        place = 2 * low - place if place < low else 2 * high - place
    return place


def _read(image, x, y, mode, padding, align_corners):
    """An image (H, W, C) at one place."""
    height, width, _ = image.shape
    places = []
    for value, length in ((x, width), (y, height)):
        place = (value + 1) / 2 * (length - 1) if align_corners else ((value + 1) * length - 1) / 2
        if padding == "reflection":
            place = _reflected(place, 0, length - 1) if align_corners else _reflected(place, -0.5, length - 0.5)
        places.append(place if padding == "zeros" else min(max(place, 0), length - 1))

    def pixel(column, row):
        return image[row, column] if 0 <= row < height and 0 <= column < width else 0 * image[0, 0]

    column, row = places
    if mode == "nearest":
        return pixel(round(column), round(row))
    left, top = math.floor(column), math.floor(row)
    weights = {(i, j): abs(1 - i - column + left) * abs(1 - j - row + top) for i in (0, 1) for j in (0, 1)}
    return sum(w * pixel(left + i, top + j) for (i, j), w in weights.items())


def _grid_sample(x, grid, mode="bilinear", padding="zeros", align_corners=False):
    y = np.zeros((*grid.shape[:3], x.shape[3]))
    for n, i, j in np.ndindex(grid.shape[:3]):
        y[n, i, j] = _read(x[n], *grid[n, i, j], mode, padding, align_corners)
    return y


GRID = (2.8 * share(2, 3, 2, 2) - 1.4) * 0.97
for options in (
    {},
    {"align_corners": True},
    {"padding": "border"},
    {"padding": "reflection"},
    {"padding": "reflection", "align_corners": True},
    {"mode": "nearest"},
):
    add("functional.grid_sample", [real(2, 4, 3, 2), GRID], _grid_sample, PIECEWISE, **options)
add(
    "functional.grid_sample",
    [real(1, 2, 2, 1), GRID[:1]],
    _grid_sample,
    PIECEWISE,
    errors=[
        ([real(1, 2, 2, 1), real(2, 2, 2, 2)], {}, ShapeError, r"grid_sample: .*\(2, 2, 2, 2\)"),
        ([real(1, 2, 2, 1), GRID[:1]], {"padding": "wrap"}, UsageError, "'wrap'"),
    ],
)
