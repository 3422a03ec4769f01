"""Sums of columns."""

import numpy as np

from .launches import LEAST_ROWS_OF_THREAD, Tiles, tiles
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
