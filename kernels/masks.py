"""How attention reads a mask that broadcasts: it is not repeated in memory."""

import functools
from math import prod

import numpy as np


@functools.lru_cache(64)
def broadcast(shape: tuple[int, ...], scores: tuple[int, ...]) -> tuple[np.ndarray, int, int]:
    """Where each matrix of `scores` (..., T, S) begins in a contiguous mask, and the steps of its rows and columns.

    All are numbers of elements; steps along axes that the mask is repeated along are 0.
    """
    missing = len(scores) - len(shape)
    *lead, row, column = (0,) * missing + tuple(
        0 if n == 1 else prod(shape[axis + 1 :]) for axis, n in enumerate(shape)
    )
    starts = np.zeros(scores[:-2], np.int64)
    for index, stride in zip(np.indices(scores[:-2]), lead, strict=True):
        starts += index * stride
    starts.flags.writeable = False
    return starts.reshape(-1), row, column
