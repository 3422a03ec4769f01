"""Binarisation of grey images, in the two ways for which likelihoods are reported in the literature.

The splits that are passed to these functions have a binary image as their field x, but still store grey values.
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
"""Images that are binarised at once."""


class DynamicallyBinarised(Split):
    """A split whose pixels are 1 with a probability equal to their grey value, drawn anew each time a batch is read."""

    def batch(self, indices: Any, stream: Stream | None = None) -> Batch:
        stream = stream or random.stream("data")
        grey = super().batch(indices, stream)
        return Batch(grey, x=stream.bernoulli(grey.x))

    def batches(self, size: int) -> Iterator[Batch]:
        """The whole split in order, as `draw_once` binarises it: every evaluation sees the same pixels."""
        return draw_once(Split(self.fields, self.columns), "train").batches(size)


def threshold(split: Split) -> Split:
    """Binarise a split: a pixel is 1 if its grey value is at least one half, and 0 otherwise."""
    grey = split.columns["x"]
    return _with_x(split, Thresholded(grey) if isinstance(grey, Column) else _at_least_half(grey))


def draw_afresh(split: Split) -> Split:
    """Binarise a split: a pixel is 1 with a probability equal to its grey value, drawn anew for each batch."""
    return DynamicallyBinarised(split.fields, split.columns, split.augment)


def draw_once(split: Split, name: str) -> Split:
    """Binarise a split: a pixel is 1 with a probability equal to its grey value, drawn once and for all.

    The random numbers depend on ``name`` and on the position of the image alone, so that an evaluation sees the same
    pixels in every run, whatever its seed and its batch size.
    """
    grey = split.columns["x"]
    drawn = DrawnOnce(grey, split.fields["x"], f"binarised {name}")
    if isinstance(grey, Column):
        return _with_x(split, drawn)
    chunks = [drawn[start : start + CHUNK] for start in range(0, max(1, len(grey)), CHUNK)]
    return _with_x(split, np.concatenate(chunks))


class _Binarised(Column):
    """Binary images that are computed from a column of grey ones when they are read; ``how`` goes into the digest."""

    def __init__(self, grey: Any, how: str):
        self.grey, self.how = grey, how

    def __len__(self) -> int:
        return len(self.grey)

    def prepare(self, indices: Any) -> None:
        self.grey.prepare(indices)

    def digest(self) -> bytes:
        return self.grey.digest() + self.how.encode()


class Thresholded(_Binarised):
    """Images that are not in memory, binarised by `threshold` when they are read."""

    def __init__(self, grey: Column):
        super().__init__(grey, "binarised threshold")

    def __getitem__(self, indices: Any) -> np.ndarray:
        return _at_least_half(self.grey[indices])


class DrawnOnce(_Binarised):
    """Images binarised by `draw_once` when they are read from a column or an array of grey values.

    ``name`` is the name of the random stream.

    An image starts at a counter of the stream that follows from its position, so that images can be read in any order.
    """

    def __init__(self, grey: Any, field: Field, name: str):
        super().__init__(grey, name)
        self.field = field

    def __getitem__(self, indices: Any) -> np.ndarray:
        rows = np.arange(len(self.grey))[indices]
        probability = self.field.value(self.grey[indices])
        ones = np.empty(probability.shape, bool)
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):  # consecutive images
            ones[run] = self._uniform(rows[run]) < probability[run]
        return _stored(ones)

    def _uniform(self, rows: np.ndarray) -> np.ndarray:
        """Uniform numbers for the pixels of consecutive images.

        The stream makes four numbers for each counter: only every fourth image is sure to start at a whole counter.
        """
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
