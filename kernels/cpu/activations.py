"""What surrounds a product in its backward pass: the gate of a leaky ReLU, the gradient of a bias."""

import numpy as np
from numba import carray

from .. import reference
from . import pool
from .elementwise import BLOCK, block, tasks
from .ir import floats_at
from .jit import worker
from .pool import address
from .single import single

SMALL = 4096  # elements below which NumPy is faster (measured)


@worker("size g switch y", "slope")
def _gated(arguments, task, lane):
    a = carray(arguments, 1)[0]
    g, switch, y, slope = block(a, a.g, task), block(a, a.switch, task), block(a, a.y, task), a.slope
    for i in range(g.size):
        y[i] = g[i] if switch[i] > 0 else slope * g[i]


@single
def gated(g, switch, slope):
    """g where switch > 0, else slope * g."""
    if g.size < SMALL or g.shape != np.shape(switch):
        return reference.gated(g, switch, slope)
    y = np.empty(g.shape, np.float32)
    pool.run(_gated, _gated.Arguments(g.size, address(g), address(switch), address(y), slope), tasks(g.size))
    return y


@worker("rows columns block x sums")
def _column_sums(arguments, task, lane):
    a = carray(arguments, 1)[0]
    rows = min(a.block, a.rows - task * a.block)
    total = carray(floats_at(a.sums + 4 * task * a.columns), a.columns)
    for c in range(a.columns):
        total[c] = 0
    for r in range(rows):
        row = carray(floats_at(a.x + 4 * (task * a.block + r) * a.columns), a.columns)
        for c in range(a.columns):
            total[c] += row[c]


@single
def column_sums(x):
    """The sum of the rows of a matrix: of blocks of rows first, then of their sums."""
    if x.size < SMALL:
        return reference.column_sums(x)
    rows, columns = x.shape
    together = max(BLOCK // columns, 16)
    sums = np.empty((-(-rows // together), columns), np.float32)
    pool.run(_column_sums, _column_sums.Arguments(rows, columns, together, address(x), address(sums)), len(sums))
    return sums.sum(axis=0)
