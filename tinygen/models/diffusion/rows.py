"""Random numbers of examples that do not depend on how many are computed at once."""

import math
from typing import Any

import numpy as np

from tinygen.models.base import draw_rows
from tinygen.random import Stream


class RowNoise:
    """Standard normal noise for some examples, which is the same however they are cut into chunks.

    Each call draws another array (n, *shape), for the examples from number `first` on.
    """

    def __init__(self, seed: int, name: str, first: int, n: int, shape: tuple[int, ...], device: str):
        self.seed, self.name, self.first, self.n, self.shape, self.device = seed, name, first, n, shape, device
        self.arrays = 0

    def __call__(self) -> Any:
        return self._drawn("normal")

    def uniform(self) -> Any:
        """Uniform numbers instead."""
        return self._drawn("uniform")

    def _drawn(self, kind: str) -> Any:
        size, self.arrays = math.prod(self.shape), self.arrays + 1
        start = self.first * -(-size // 4)  # `draw_rows` takes so many counters for a row
        stream = Stream(self.seed, f"{self.name} {self.arrays}", start)
        return draw_rows(getattr(stream, kind), self.n, size, self.device).reshape(self.n, *self.shape)


def spread(start: int, n: int, seed: int) -> np.ndarray:
    """Numbers (n,) in [0, 1) for examples from `start` on, evenly spread: multiples of the golden ratio, shifted."""
    shift = float(Stream(seed, "eval steps").uniform(1, dtype="float64")[0])
    return (shift + np.arange(start, start + n) * ((math.sqrt(5) - 1) / 2)) % 1.0
