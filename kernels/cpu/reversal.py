"""Arrays in reverse order: NumPy reads them backwards one number at a time, as does every operation on its view."""

from math import ceil

from numba import carray
from numpy.lib.array_utils import normalize_axis_tuple

from .. import reference
from . import memory, pool
from .blocks import BLOCK
from .ir import copy_reversed, floats_at
from .jit import worker
from .memory import address
from .registry import single
from .target import WIDTH

LEAST_SIZE = 4096  # elements below which NumPy is faster (measured)


@worker("rows columns rows_per_task source target")
def _reversed_rows(arguments, task, lane):
    a = carray(arguments, 1)[0]
    n, whole = a.columns, a.columns // WIDTH * WIDTH
    for row in range(task * a.rows_per_task, min((task + 1) * a.rows_per_task, a.rows)):
        source, target = a.source + 4 * row * n, a.target + 4 * row * n
        for i in range(0, whole, WIDTH):
            copy_reversed(target + 4 * (n - WIDTH - i), source + 4 * i)
        x, y = carray(floats_at(source), n), carray(floats_at(target), n)
        for i in range(whole, n):
            y[n - 1 - i] = x[i]


@single(strided=True)
def flip(x, axis=None):
    """x in reverse order along some axes, or all; a copy if the last axis is one of them."""
    last, axes = x.ndim - 1, range(x.ndim) if axis is None else normalize_axis_tuple(axis, x.ndim)
    if last not in axes or x.size < LEAST_SIZE or x.shape[last] < WIDTH:
        return reference.flip(x, axis)
    x, y = memory.contiguous(x), memory.empty(x.shape)
    columns = x.shape[last]
    rows, each = x.size // columns, ceil(BLOCK / columns)
    pool.run(_reversed_rows, _reversed_rows.Arguments(rows, columns, each, address(x), address(y)), ceil(rows / each))
    return reference.flip(y, tuple(each for each in axes if each != last))
