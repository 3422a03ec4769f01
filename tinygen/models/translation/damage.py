"""Damaged images: grey, noisy, or under a watermark. They make pairs of images that have no partner."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tinygen import random
from tinygen.data import Batch, Split
from tinygen.models.base import draw_rows
from tinygen.models.translation import chroma
from tinygen.random import Stream


@dataclass(frozen=True)
class Marks:
    """What watermarks are made of."""

    letters: str
    frame: str
    """The method of Pillow's `ImageDraw` that draws the frame of a mark."""


TRAINED = Marks("ABCDEFGHIJKLM", "ellipse")
HELD_OUT = Marks("NOPQRSTUVWXYZ", "rectangle")
"""Marks of validation and test, whose letters and frames never occur in training."""
NUMBERS = 16
"""Random numbers of one watermark, a multiple of four."""
OPACITY = 0.3, 0.8


def grey(x: np.ndarray, stream: Stream, marks: Marks, level: float) -> np.ndarray:
    """The luma of images, in each of their channels."""
    return np.broadcast_to(chroma.luma(x), x.shape).copy()


def noisy(x: np.ndarray, stream: Stream, marks: Marks, level: float) -> np.ndarray:
    """Images with normal noise of standard deviation `level` added, clipped to [0, 1] as in a picture file."""
    noise = draw_rows(stream.normal, len(x), x[0].size, "cpu").reshape(x.shape)
    return (x + np.float32(level) * noise).clip(0, 1)


def watermarked(x: np.ndarray, stream: Stream, marks: Marks, level: float) -> np.ndarray:
    """Images under one translucent mark each, of random letters, place, size, angle, colour and opacity."""
    numbers = stream.uniform((len(x), NUMBERS))
    height, width, channels = x.shape[1:]
    opacity = OPACITY[0] + (OPACITY[1] - OPACITY[0]) * numbers[:, 10]
    cover = np.stack([mark(each, marks, (height, width)) for each in numbers]) * opacity[:, None, None]
    colour = numbers[:, None, None, 11 : 11 + channels]
    return x + cover[..., None] * (colour - x)


def text_of(numbers: np.ndarray, marks: Marks) -> str:
    """The letters, two to four, that six random numbers choose."""
    count = 2 + int(3 * numbers[0])
    return "".join(marks.letters[int(number * len(marks.letters))] for number in numbers[2 : 2 + count])


def mark(numbers: np.ndarray, marks: Marks, size: tuple[int, int]) -> np.ndarray:
    """How much of each pixel (H, W) a watermark covers: 0 to 1, float32. Half of the marks have a frame."""
    from PIL import Image, ImageDraw

    height, width = size
    text, font = text_of(numbers, marks), _font(max(6, round((0.25 + 0.25 * numbers[6]) * min(size))))
    left, top, right, bottom = font.getbbox(text)
    margin = max(2, round(0.4 * (bottom - top)))
    box = int(right - left) + 2 * margin, int(bottom - top) + 2 * margin
    drawn = Image.new("L", box)
    draw = ImageDraw.Draw(drawn)
    draw.text((margin - left, margin - top), text, fill=255, font=font)
    if numbers[1] < 0.5:
        getattr(draw, marks.frame)((0, 0, box[0] - 1, box[1] - 1), outline=255, width=max(1, margin // 3))
    turned = drawn.rotate(90 * numbers[7] - 45, Image.Resampling.BILINEAR, expand=True)
    cover = Image.new("L", (width, height))
    corner = int(width * numbers[8] - turned.width / 2), int(height * numbers[9] - turned.height / 2)
    cover.paste(turned, corner)
    return np.asarray(cover, np.float32) / 255


@cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


DAMAGES: dict[str, Callable[[np.ndarray, Stream, Marks, float], np.ndarray]] = {
    "colourise": grey,
    "denoise": noisy,
    "watermark": watermarked,
}
"""What is to be undone in each task that makes its inputs of the images themselves."""


class PairedSplit(Split):
    """A split whose batches a function of a batch and a random stream turns into pairs of input and target."""

    def __init__(self, split: Split, pair: Callable[[Batch, Stream], Batch]):
        super().__init__(split.fields, split.columns)
        self.split, self.pair = split, pair

    def batch(self, indices: Any, stream: Stream | None = None) -> Batch:
        stream = stream or random.stream("data")
        return self.pair(self.split.batch(indices, stream), stream)
