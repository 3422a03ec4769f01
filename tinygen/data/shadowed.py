"""The shipped digits in two styles: pairs of small pictures that need no download."""

import numpy as np

from tinygen.data.dataset import PARTS, Dataset
from tinygen.data.fields import Image
from tinygen.data.spec import Spec
from tinygen.data.split import Split

NAME, DIGITS = "shadowed-digits8x8", "digits8x8"
PAPER, SHADOW, INK = ((235, 225, 200), (130, 120, 150), (200, 60, 30))
"""The colours of the second style."""


def make(digits: Dataset) -> Dataset:
    """The target of each grey digit, here in the three channels of x, is the same digit in ink on paper.

    There it casts a shadow a pixel further down and to the right, so that no pixel's colour follows from its grey value
    alone.
    """
    height, width, _ = digits.spec.x.shape
    spec = Spec(NAME, {name: Image(height, width, 3, "rgb") for name in ("x", "target")})
    splits = []
    for part in PARTS:
        grey = getattr(digits, part).values("x")
        x = np.rint(255 * grey).astype(np.uint8).repeat(3, axis=3)
        splits.append(Split(spec.fields, {"x": x, "target": in_ink(grey)}))
    return Dataset(spec, *splits)


def in_ink(grey: np.ndarray) -> np.ndarray:
    """Pictures (N, H, W, 3), uint8, of digits (N, H, W, 1) in [0, 1]."""
    shifted = np.pad(grey, ((0, 0), (1, 0), (1, 0), (0, 0)))[:, :-1, :-1]
    paper, shadow, ink = (np.array(colour, np.float32) for colour in (PAPER, SHADOW, INK))
    below = paper + shifted * (shadow - paper)
    return np.rint(below + grey * (ink - below)).astype(np.uint8)
