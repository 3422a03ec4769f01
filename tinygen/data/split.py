"""One part of a data set: stored arrays, and the batches that are cut from them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tinygen.data.batch import Batch
from tinygen.random import Stream


class Split:
    """Named arrays of one length: images (N, H, W, C) as uint8 or float32; the rest as batches have it."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.arrays = dict(arrays)

    def __len__(self) -> int:
        return len(self.arrays["x"])

    def batch(self, indices: Any, stream: Stream | None = None) -> Batch:
        """The examples at these positions (integers or a slice); images become float32 in [0, 1].

        A split that draws takes its random numbers from ``stream``, by default the process's ``data``; others
        leave it alone.
        """
        return Batch(**{name: _unit_range(array[indices]) for name, array in self.arrays.items()})

    def batches(self, size: int) -> Iterator[Batch]:
        """The whole split in order, in batches of ``size`` examples and a last one with the rest."""
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size))

    def slice(self, start: int, stop: int) -> "Split":
        """The examples from ``start`` up to ``stop``, without a copy."""
        return type(self)({name: array[start:stop] for name, array in self.arrays.items()})

    def take(self, n: int) -> "Split":
        """The first n examples, or all of them where there are fewer."""
        return self.slice(0, n)


def _unit_range(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return np.divide(array, np.float32(255), dtype=np.float32)
    return np.array(array)
