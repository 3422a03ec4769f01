"""Random augmentation of training batches."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinygen.data.batch import Batch
from tinygen.data.fields import Clip, Field, Image, SegmentMap
from tinygen.random import Stream

Augment = Callable[[Mapping[str, Field], Batch, Stream], Batch]
"""A function of the fields of a batch, the batch, and a random stream; it returns the augmented batch."""


def flip(fields: Mapping[str, Field], batch: Batch, stream: Stream) -> Batch:
    """Mirror each example from left to right with probability one half, all of its pictures together."""
    mirrored = stream.integers(2, len(batch)).astype(bool)
    axes = {name: axis for name in batch if (axis := width_axis(fields[name])) is not None}
    return Batch(batch, **{name: _mirror(batch[name], mirrored, axis) for name, axis in axes.items()})


def width_axis(field: Field) -> int | None:
    """The axis of a batch along the width of its pictures; None for a field that is not of pictures."""
    if isinstance(field, Clip):
        return 3
    return 2 if isinstance(field, Image | SegmentMap) else None


def _mirror(pictures: Any, which: np.ndarray, axis: int) -> np.ndarray:
    result = np.array(pictures)
    result[which] = np.flip(result[which], axis)
    return result
