"""Gathers and their adjoints: numbers added at indices that may repeat, in the order of the indices."""

from math import ceil, prod

import numpy as np
from numba import carray, int64

from .. import reference
from ..cores import most_threads
from . import memory, pool, recording
from .ir import clear, doubles_at, floats_at, pointer_to
from .jit import worker
from .memory import address
from .registry import single
from .target import L2_BYTES

LEAST_SIZE = 1024  # elements below which NumPy is faster (measured)
COLUMNS, LEAST_COLUMNS = 256, 16  # most and least columns of a task
TOTALS = L2_BYTES // 8  # numbers of a task's result that fit into the second-level cache in float64
_integers_at = pointer_to(int64)


@worker("count length inner tiles width g index y totals lane_bytes")
def _add_at(arguments, task, lane):
    """Add the rows of one matrix, in a tile of columns, and in float64: many may be added to one."""
    a = carray(arguments, 1)[0]
    outer, first = task // a.tiles, task % a.tiles * a.width
    width = min(a.width, a.inner - first)
    index = carray(_integers_at(a.index), a.count)
    source, target = a.g + 4 * (outer * a.count * a.inner + first), a.y + 4 * (outer * a.length * a.inner + first)
    totals = a.totals + lane * a.lane_bytes
    clear(totals, 8 * a.length * width)
    if a.inner == 1:
        g, total = carray(floats_at(source), a.count), carray(doubles_at(totals), a.length)
        for i in range(a.count):
            total[index[i]] += g[i]
    else:
        for i in range(a.count):
            g = carray(floats_at(source + 4 * i * a.inner), width)
            total = carray(doubles_at(totals + 8 * index[i] * width), width)
            for j in range(width):
                total[j] += g[j]
    for row in range(a.length):
        y, total = (
            carray(floats_at(target + 4 * row * a.inner), width),
            carray(doubles_at(totals + 8 * row * width), width),
        )
        for j in range(width):
            y[j] = total[j]


@single
def add_at(g, index, length):
    """The numbers g (outer, count, inner) added, at an index (count,) from 0 on, to zeros (outer, length, inner)."""
    outer, count, inner = g.shape
    index = memory.contiguous(index, np.int64)

    def check():
        if index.size and not 0 <= index.min() <= index.max() < length:
            raise IndexError(f"an index from {index.min()} to {index.max()} does not fit into {length} rows")

    recording.each_time(check)
    if g.size < LEAST_SIZE:
        return reference.add_at(g, index, length)
    y = memory.empty((outer, length, inner))
    width = min(inner, COLUMNS, max(LEAST_COLUMNS, TOTALS // length))
    tiles, lane_bytes = ceil(inner / width), 8 * length * width
    totals = _totals(lane_bytes, outer * tiles)
    places = address(g), address(index), address(y), address(totals), lane_bytes
    pool.run(_add_at, _add_at.Arguments(count, length, inner, tiles, width, *places), outer * tiles)
    return y


def _totals(lane_bytes: int, tasks: int) -> np.ndarray:
    """Memory for the float64 totals of each lane; it is not kept, since it may be twice as large as the result."""
    return memory.empty(lane_bytes // 8 * (1 if tasks == 1 else most_threads()), np.float64)


@worker("count length inner x index y")
def _take_along(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x = carray(floats_at(a.x + 4 * task * a.length * a.inner), a.length * a.inner)
    y = carray(floats_at(a.y + 4 * task * a.count * a.inner), a.count * a.inner)
    index = carray(_integers_at(a.index + 8 * task * a.count * a.inner), y.size)
    if a.inner == 1:
        for i in range(y.size):
            y[i] = x[index[i]]
    else:
        for i in range(y.size):
            y[i] = x[index[i] * a.inner + i % a.inner]


@worker("count length inner g index y totals lane_bytes")
def _add_along(arguments, task, lane):
    a = carray(arguments, 1)[0]
    g = carray(floats_at(a.g + 4 * task * a.count * a.inner), a.count * a.inner)
    y = carray(floats_at(a.y + 4 * task * a.length * a.inner), a.length * a.inner)
    total = carray(doubles_at(a.totals + lane * a.lane_bytes), y.size)
    index = carray(_integers_at(a.index + 8 * task * a.count * a.inner), g.size)
    for i in range(y.size):
        total[i] = 0.0
    if a.inner == 1:
        for i in range(g.size):
            total[index[i]] += g[i]
    else:
        for i in range(g.size):
            total[index[i] * a.inner + i % a.inner] += g[i]
    for i in range(y.size):
        y[i] = total[i]


def _along(task, x, index, axis: int, length: int, *totals):
    """Launch a worker along an axis; None where the indices are not those of a large array of its shape."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    alike = index.ndim == x.ndim and index.shape[:axis] == before and index.shape[axis + 1 :] == after
    if not alike or index.size < LEAST_SIZE or index.min() < 0 or index.max() >= length:
        return None
    count = length if totals else index.shape[axis]
    index, y = memory.contiguous(index, np.int64), memory.empty((*before, count, *after))
    sizes = index.shape[axis], length, prod(after)
    pool.run(task, task.Arguments(*sizes, address(x), address(index), address(y), *totals), prod(before))
    return y


@single
def take_along(x, index, axis):
    """For each position of an index, the element of x at that index along an axis."""
    y = _along(_take_along, x, index, axis % x.ndim, x.shape[axis])
    return reference.take_along(x, index, axis) if y is None else y


@single
def add_along(g, index, axis, length):
    """The numbers g added, at an index along an axis, to zeros of a length there; in float64, since many may meet."""
    axis %= g.ndim
    lane_bytes = 8 * length * prod(g.shape[axis + 1 :])
    y = None
    if g.shape == index.shape:
        buffer = _totals(lane_bytes, prod(g.shape[:axis]))
        y = _along(_add_along, g, index, axis, length, address(buffer), lane_bytes)
    return reference.add_along(g, index, axis, length) if y is None else y
