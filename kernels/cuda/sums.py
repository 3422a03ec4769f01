"""Sums of columns."""

import numpy as np

from .launches import Tiles
from .runtime import Source, empty, single

_source = Source("sums.cu", "column_sums<1>", "column_sums<4>")


@single
def column_sums(x):
    """The sum of the rows of a matrix."""
    tiles = Tiles(1, *x.shape)
    sums = empty((tiles.chunks, tiles.columns))
    sizes = map(np.int32, (tiles.rows, tiles.columns, tiles.length))
    _source[f"column_sums<{tiles.width}>"](tiles.grid, tiles.block, (*sizes, x, sums))
    return sums[0] if tiles.chunks == 1 else column_sums(sums)
