"""Sums of columns, and over any axes."""

from math import prod

import numpy as np

from .. import reference
from .launches import LEAST_ROWS_OF_THREAD, THREADS, Tiles, tiles
from .runtime import Source, empty, single

_source = Source("sums.cu", "column_sums<1>", "column_sums<4>")


def _sums(x, cut: Tiles):
    """The sum of the rows of each chunk."""
    sums = empty((cut.chunks, cut.columns))
    sizes = map(np.int32, (cut.rows, cut.columns, cut.length))
    _source[f"column_sums<{cut.width}>"](cut.grid, cut.block, (*sizes, x, sums))
    return sums


@single
def column_sums(x):
    """The sum of all rows of a matrix."""
    cut = tiles(1, *x.shape)
    if cut.chunks > LEAST_ROWS_OF_THREAD:
        x = _sums(x, cut)
    return _sums(x, tiles(1, *x.shape, blocks=1))[0]


MOST_IN_A_ROW = 128  # numbers that a thread of CuPy's may add one after the other


@single
def sum_over(x, axes, keepdims=False):
    """x summed over a tuple of axes, none of them negative: leading ones here, few numbers by CuPy in float32."""
    lead, kept = len(axes), x.shape[len(axes) :]
    if lead < x.ndim and axes == tuple(range(lead)) and prod(kept) > 1:
        total = column_sums(x.reshape(-1, prod(kept)))
        return total.reshape((1,) * lead + kept if keepdims else kept)
    together = axes == tuple(range(x.ndim - lead, x.ndim))  # then a whole block of threads adds each sum up
    if prod(x.shape[axis] for axis in axes) <= MOST_IN_A_ROW * (THREADS if together else 1):
        return x.sum(axis=axes, keepdims=keepdims)
    return reference.sum_over(x, axes, keepdims)
