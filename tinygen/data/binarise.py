"""Black and white from grey, in the two ways that the likelihoods in the literature are quoted for.

The field x of a split that comes here is a binary image already, while the values stored for it are still grey.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygen import random
from tinygen.data.batch import Batch
from tinygen.data.column import Column
from tinygen.data.fields import Field
from tinygen.data.split import Split
from tinygen.random import Stream

CHUNK = 128
"""Images that are drawn at once."""


class DynamicallyBinarised(Split):
    """Draws every pixel afresh at each request: 1 with the probability that its grey value gives."""

    def batch(self, indices: Any, stream: Stream | None = None) -> Batch:
        stream = stream or random.stream("data")
        grey = super().batch(indices, stream)
        return Batch(grey, x=stream.bernoulli(grey.x))

    def batches(self, size: int) -> Iterator[Batch]:
        """The whole split in order, drawn once: an evaluation finds the same pixels every time, and moves no stream."""
        return draw_once(Split(self.fields, self.columns), "train").batches(size)


def threshold(split: Split) -> Split:
    """1 where the grey value is at least one half: what is drawn never changes."""
    grey = split.columns["x"]
    return _with_x(split, Thresholded(grey) if isinstance(grey, Column) else _at_least_half(grey))


def draw_afresh(split: Split) -> Split:
    """1 with the grey value's probability, drawn each time a batch is asked for."""
    return DynamicallyBinarised(split.fields, split.columns, split.augment)


def draw_once(split: Split, name: str) -> Split:
    """1 with the grey value's probability, drawn once under a key that depends on ``name`` alone.

    What is evaluated on it is then the same in every run, whatever the seed and the size of the batches.
    """
    grey = split.columns["x"]
    drawn = DrawnOnce(grey, split.fields["x"], f"binarised {name}")
    if isinstance(grey, Column):
        return _with_x(split, drawn)
    chunks = [drawn[start : start + CHUNK] for start in range(0, max(1, len(grey)), CHUNK)]
    return _with_x(split, np.concatenate(chunks))


class _Binarised(Column):
    """Black and white images, each made of a grey one when it is asked for."""

    def __init__(self, grey: Any, how: str):
        self.grey, self.how = grey, how

    def __len__(self) -> int:
        return len(self.grey)

    def prepare(self, indices: Any) -> None:
        self.grey.prepare(indices)

    def digest(self) -> bytes:
        return self.grey.digest() + self.how.encode()


class Thresholded(_Binarised):
    """1 where the grey value is at least one half."""

    def __init__(self, grey: Column):
        super().__init__(grey, "binarised threshold")

    def __getitem__(self, indices: Any) -> np.ndarray:
        return _at_least_half(self.grey[indices])


class DrawnOnce(_Binarised):
    """1 with the grey value's probability: image i takes its numbers from a place of the stream that i alone decides.

    ``name`` is that of the stream, and ``field`` that of the grey values, which are a column or an array.
    """

    def __init__(self, grey: Any, field: Field, name: str):
        super().__init__(grey, name)
        self.field = field

    def __getitem__(self, indices: Any) -> np.ndarray:
        rows = np.arange(len(self.grey))[indices]
        probability = self.field.value(self.grey[indices])
        ones = np.empty(probability.shape, bool)
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):  # of consecutive images
            ones[run] = self._uniform(rows[run]) < probability[run]
        return _stored(ones)

    def _uniform(self, rows: np.ndarray) -> np.ndarray:
        """A number for each pixel of consecutive images. A counter gives four: every fourth image begins with one."""
        if not len(rows):
            return np.empty((0, *self.field.shape), np.float32)
        start = int(rows[0]) // 4 * 4
        pixels = int(np.prod(self.field.shape))
        stream = Stream(0, self.how, counter=start // 4 * pixels)
        return stream.uniform((int(rows[-1]) + 1 - start, *self.field.shape))[rows[0] - start :]


def _with_x(split: Split, x: Any) -> Split:
    return Split(split.fields, split.columns | {"x": x}, split.augment)


def _at_least_half(grey: np.ndarray) -> np.ndarray:
    return _stored(grey >= (128 if grey.dtype == np.uint8 else 0.5))


def _stored(ones: np.ndarray) -> np.ndarray:
    """Booleans as the stored values of a binary image."""
    return ones.astype(np.uint8) * np.uint8(255)
