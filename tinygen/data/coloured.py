"""The shipped digits in colour: small rgb images that need no download."""

import numpy as np

from tinygen.data.dataset import PARTS, Dataset
from tinygen.data.fields import Image
from tinygen.data.spec import Spec
from tinygen.data.split import Split
from tinygen.random import Stream

NAME, DIGITS = "coloured-digits8x8", "digits8x8"


def make(digits: Dataset) -> Dataset:
    """Give each grey digit, on black, a random colour of its own, which is the same in every run; 8-bit values."""
    height, width, _ = digits.spec.x.shape
    spec = Spec(NAME, {"x": Image(height, width, 3, "rgb"), "y": digits.spec.y})
    splits = []
    for part in PARTS:
        grey = getattr(digits, part)
        colours = Stream(0, f"{NAME} {part}").uniform((len(grey), 1, 1, 3), dtype="float64")
        x = np.rint(255 * grey.values("x") * colours).astype(np.uint8)
        splits.append(Split(spec.fields, {"x": x, "y": grey.columns["y"]}))
    return Dataset(spec, *splits)
