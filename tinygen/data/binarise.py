"""Black and white from grey, in the two ways that the likelihoods in the literature are quoted for.

The splits that come here have grey levels stored for x, whose field is a binary image already.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygen import random
from tinygen.data.batch import Batch
from tinygen.data.split import Split
from tinygen.random import Stream

CHUNK = 128  # a multiple of 4, so that the counters of an image do not depend on where a chunk ends


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
    x = split.columns["x"][:]
    return _with_pixels(split, x >= (128 if x.dtype == np.uint8 else 0.5))


def draw_afresh(split: Split) -> Split:
    """1 with the grey value's probability, drawn each time a batch is asked for."""
    return DynamicallyBinarised(split.fields, split.columns, split.augment)


def draw_once(split: Split, name: str) -> Split:
    """1 with the grey value's probability, drawn once under a key that depends on ``name`` alone.

    What is evaluated on it is then the same in every run, whatever the seed and the size of the batches.
    """
    stream = Stream(0, f"binarised {name}")
    ones = np.empty((len(split), *split.fields["x"].shape), bool)
    for start in range(0, len(split), CHUNK):
        chunk = slice(start, start + CHUNK)
        ones[chunk] = stream.bernoulli(split.fields["x"].value(split.columns["x"][chunk]))
    return _with_pixels(split, ones)


def _with_pixels(split: Split, ones: np.ndarray) -> Split:
    return Split(split.fields, split.columns | {"x": ones.astype(np.uint8) * np.uint8(255)}, split.augment)
