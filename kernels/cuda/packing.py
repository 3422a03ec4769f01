"""The operands of products in the order and the format in which kernels read them.

Two numbers rounded to bfloat16 are stored as one float32, whose value has no meaning.
"""

from math import ceil

import numpy as np

from .launches import over_threads
from .runtime import Source, empty

SIDE, HEIGHT = 32, 8  # side of a tile, and height of the block of threads that moves it
_transposed = Source("packing.cu", "transposed<1>")
_packed = Source("packing.cu", "transposed<2>", "packed<2>", architecture=80)


def transposed(w, in_pairs: bool):
    """Contiguous weights (KH, KW, C, K) as (KH, KW, K, C), or in pairs (KH, KW, K, C / 2)."""
    *taps, rows, columns = w.shape
    if rows == 1 or columns == 1:
        w = w.reshape(*taps, columns, rows)
        return packed(w) if in_pairs else w
    numbers_per_float, source = (2, _packed) if in_pairs else (1, _transposed)
    y = empty((*taps, columns, rows // numbers_per_float))
    grid = ceil(rows / (numbers_per_float * SIDE)) * ceil(columns / SIDE), taps[0] * taps[1]
    source[f"transposed<{numbers_per_float}>"](grid, (SIDE, HEIGHT), (w, y, np.int32(rows), np.int32(columns)))
    return y


def packed(x):
    """A contiguous array (..., C) in pairs (..., C / 2); C is a multiple of eight; x is aligned to sixteen bytes."""
    y = empty((*x.shape[:-1], x.shape[-1] // 2))
    _packed["packed<2>"](*over_threads(y.size // 4), (np.int64(y.size), x, y))
    return y
