"""Damaged images: grey, noisy, or under a watermark. With them, data of images alone become pairs."""

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
    """The letters and the frame of watermarks."""

    letters: str
    frame: str
    """The method of Pillow's `ImageDraw` that draws the frame of a mark."""


TRAINING_MARKS = Marks("ABCDEFGHIJKLM", "ellipse")
HELD_OUT_MARKS = Marks("NOPQRSTUVWXYZ", "rectangle")
"""Marks of validation and test, whose letters and frames never occur in training."""
NUMBERS_PER_MARK = 16
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
    numbers = stream.uniform((len(x), NUMBERS_PER_MARK))
    height, width, channels = x.shape[1:]
    opacity = OPACITY[0] + (OPACITY[1] - OPACITY[0]) * numbers[:, 10]
    cover = np.stack([mark(each, marks, (height, width)) for each in numbers]) * opacity[:, None, None]
    colour = numbers[:, None, None, 11 : 11 + channels]
    return x + cover[..., None] * (colour - x)


def text_of(numbers: np.ndarray, marks: Marks) -> str:
    """Two to four letters, chosen by six random numbers."""
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
"""For each task without given pairs, the damage that turns an image into the input."""


class PairedSplit(Split):
    """A split whose batches are pairs of input and target: `pair` makes them of a batch and a random stream."""

    def __init__(self, split: Split, pair: Callable[[Batch, Stream], Batch]):
        super().__init__(split.fields, split.columns)
        self.split, self.pair = split, pair

    def batch(self, indices: Any, stream: Stream | None = None) -> Batch:
        stream = stream or random.stream("data")
        return self.pair(self.split.batch(indices, stream), stream)
