"""Operands of products, made ready for the order in which kernels read them."""

from math import ceil

import numpy as np

from .runtime import Source, empty

SIDE, HEIGHT = 32, 8  # of a square, and of the block that moves it
TRANSPOSED = f"transposed<{SIDE}>"
_packing = Source("packing.cu", TRANSPOSED)


def transposed(w):
    """Contiguous weights (KH, KW, C, K) as (KH, KW, K, C)."""
    *taps, rows, columns = w.shape
    if rows == 1 or columns == 1:
        return w.reshape(*taps, columns, rows)
    y = empty((*taps, columns, rows))
    grid = ceil(rows / SIDE) * ceil(columns / SIDE), taps[0] * taps[1]
    _packing[TRANSPOSED](grid, (SIDE, HEIGHT), (w, y, np.int32(rows), np.int32(columns)))
    return y
