"""The shipped digits in two styles: pairs x and target of small pictures that need no download."""

from collections.abc import Callable

import numpy as np

from tinygen.data.dataset import PARTS, Dataset
from tinygen.data.fields import Image
from tinygen.data.spec import Spec
from tinygen.data.split import Split
from tinygen.random import Stream

DIGITS = "digits8x8"
PAPER, SHADOW, INK = ((235, 225, 200), (130, 120, 150), (200, 60, 30))


def shadowed(grey: np.ndarray, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """White digits on black, and the same ones in ink on paper.

    There they cast a shadow a pixel further down and to the right, so that no pixel's colour follows from its grey
    value alone.
    """
    shifted = np.pad(grey, ((0, 0), (1, 0), (1, 0), (0, 0)))[:, :-1, :-1]
    paper, shadow, ink = (np.array(colour, np.float32) / 255 for colour in (PAPER, SHADOW, INK))
    below = paper + shifted * (shadow - paper)
    return grey.repeat(3, axis=3), below + grey * (ink - below)


def cooled(grey: np.ndarray, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Digits in random colours from red to yellow, on black, and the same ones with red and blue exchanged."""
    green = stream.uniform((len(grey), 1, 1, 1))
    warm = grey * np.concatenate([np.ones_like(green), green, np.zeros_like(green)], axis=3)
    return warm, warm[..., ::-1]


SETS: dict[str, Callable[[np.ndarray, Stream], tuple[np.ndarray, np.ndarray]]] = {
    "shadowed-digits8x8": shadowed,
    "cooled-digits8x8": cooled,
}
"""The function of each set, from digits (N, H, W, 1) in [0, 1] and a stream to x and target (N, H, W, 3) in [0, 1]."""


def make(name: str, digits: Dataset) -> Dataset:
    """The data set of this name, the same in every run; 8-bit values."""
    height, width, _ = digits.spec.x.shape
    spec = Spec(name, {field: Image(height, width, 3, "rgb") for field in ("x", "target")})
    splits = []
    for part in PARTS:
        drawn = SETS[name](getattr(digits, part).values("x"), Stream(0, f"{name} {part}"))
        stored = (np.rint(255 * images).astype(np.uint8) for images in drawn)
        splits.append(Split(spec.fields, dict(zip(spec.fields, stored, strict=True))))
    return Dataset(spec, *splits)
