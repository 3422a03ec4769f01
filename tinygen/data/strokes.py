"""Digits of several stroke widths, made by morphology: the width is the age of a digit, which is its identity."""

from dataclasses import dataclass

import numpy as np

from tinygen.data.dataset import PARTS, Dataset
from tinygen.data.fields import Image, Labels
from tinygen.data.spec import Spec
from tinygen.data.split import Split

CHUNK = 500
BRIGHTER = np.float32(1.5)
"""Factor of intensities, so that the thinnest strokes are not much darker than the others."""


@dataclass(frozen=True)
class Ageing:
    """Which digits, how much larger they are drawn, and the widths of their strokes in pixels."""

    digits: str
    scale: int
    widths: tuple[int, ...]
    most: int
    """Most digits of a part, each drawn in every width."""


SETS = {
    "ageing-digits": Ageing("digits8x8", 2, (1, 2, 3), 1500),
    "ageing-mnist": Ageing("mnist", 1, (1, 2, 3, 4), 15_000),
}


def make(name: str, digits: Dataset) -> Dataset:
    """The data set of this name: each digit in all widths, one after another; y is the width, identity the digit."""
    rules = SETS[name]
    height, width, _ = digits.spec.x.shape
    ages = Labels(names=tuple(f"width {each}" for each in rules.widths))
    x = Image(rules.scale * height, rules.scale * width, 1, "grey")
    spec = Spec(name, {"x": x, "y": ages, "identity": digits.spec.y})
    splits = []
    for part in PARTS:
        split = getattr(digits, part).take(rules.most)
        strokes = [drawn(batch.x[..., 0], rules) for batch in split.batches(CHUNK)]
        pictures = np.concatenate(strokes).reshape(-1, *spec.x.shape)
        columns = {
            "x": np.rint(255 * pictures).astype(np.uint8),
            "y": np.tile(np.arange(len(rules.widths)), len(split)),
            "identity": split.values("y").repeat(len(rules.widths)),
        }
        splits.append(Split(spec.fields, columns))
    return Dataset(spec, *splits)


def drawn(x: np.ndarray, rules: Ageing) -> np.ndarray:
    """Digits (N, H, W) in [0, 1], each in every width: (N, widths, scale * H, scale * W) in [0, 1]."""
    larger = x.repeat(rules.scale, axis=1).repeat(rules.scale, axis=2)
    lines = skeleton((blurred(larger) if rules.scale > 1 else larger) >= 0.5)
    grey = np.stack([blurred(thick(lines, width).astype(np.float32)) for width in rules.widths], axis=1)
    return (BRIGHTER * grey).clip(0, 1)


def skeleton(x: np.ndarray) -> np.ndarray:
    """Strokes, bool (N, H, W), thinned to lines one pixel wide by the algorithm of Zhang & Suen 1984."""
    while True:
        before = x
        for first in (True, False):
            around = neighbours(x)
            north, _, east, _, south, _, west, _ = around
            count = np.sum(around, axis=0)
            rises = sum((~a & b).astype(int) for a, b in zip(around, [*around[1:], around[0]], strict=True))
            corner = (east & south & (north | west)) if first else (north & west & (east | south))
            x = x & ~((count >= 2) & (count <= 6) & (rises == 1) & ~corner)
        if (x == before).all():
            return x


def neighbours(x: np.ndarray) -> list[np.ndarray]:
    """The eight neighbours of each pixel (N, H, W), clockwise from the upper one; False beyond the border."""
    height, width = x.shape[1:]
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1)])
    places = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
    return [padded[:, 1 + i : 1 + i + height, 1 + j : 1 + j + width] for i, j in places]


def thick(lines: np.ndarray, width: int) -> np.ndarray:
    """Lines, bool (N, H, W), dilated to a width by squares of two pixels, to the upper left and lower right in turn."""
    for step in range(width - 1):
        north, _, east, south_east, south, _, west, north_west = neighbours(lines)
        lines = lines | (east | south | south_east if step % 2 else north | west | north_west)
    return lines


def blurred(x: np.ndarray) -> np.ndarray:
    """Images (N, H, W) under the binomial window (1 2 1) / 4 along both axes, black beyond the border."""
    for axis in (1, 2):
        padded = np.pad(x, [(1, 1) if each == axis else (0, 0) for each in range(3)])
        a, b, c = (np.take(padded, range(i, i + x.shape[axis]), axis=axis) for i in range(3))
        x = (a + 2 * b + c) / np.float32(4)
    return x
