"""Gathers and their adjoints: numbers added at indices that may repeat, in the order of the indices."""

from math import ceil, prod

import numpy as np
from numba import carray, int64

from .. import reference
from . import pool
from .ir import clear, floats_at, pointer_to
from .jit import worker
from .memory import address
from .single import single

LEAST_SIZE = 1024  # elements below which NumPy is faster (measured)
COLUMNS = 256  # columns of a task
_integers_at = pointer_to(int64)


@worker("count length inner tiles g index y")
def _add_at(arguments, task, lane):
    """Add the rows of one matrix, in a tile of columns."""
    a = carray(arguments, 1)[0]
    outer, first = task // a.tiles, task % a.tiles * COLUMNS
    width = min(COLUMNS, a.inner - first)
    index = carray(_integers_at(a.index), a.count)
    source, target = a.g + 4 * (outer * a.count * a.inner + first), a.y + 4 * (outer * a.length * a.inner + first)
    for row in range(a.length):
        clear(target + 4 * row * a.inner, 4 * width)
    if a.inner == 1:
        g, y = carray(floats_at(source), a.count), carray(floats_at(target), a.length)
        for i in range(a.count):
            y[index[i]] += g[i]
    else:
        for i in range(a.count):
            g = carray(floats_at(source + 4 * i * a.inner), width)
            y = carray(floats_at(target + 4 * index[i] * a.inner), width)
            for j in range(width):
                y[j] += g[j]


@single
def add_at(g, index, length):
    """The numbers g (outer, count, inner) added, at an index (count,) from 0 on, to zeros (outer, length, inner)."""
    outer, count, inner = g.shape
    index = np.ascontiguousarray(index, np.int64)
    if index.size and not 0 <= index.min() <= index.max() < length:
        raise IndexError(f"an index from {index.min()} to {index.max()} does not fit into {length} rows")
    if g.size < LEAST_SIZE:
        return reference.add_at(g, index, length)
    y, tiles = np.empty((outer, length, inner), np.float32), ceil(inner / COLUMNS)
    call = _add_at.Arguments(count, length, inner, tiles, address(g), address(index), address(y))
    pool.run(_add_at, call, outer * tiles)
    return y


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


@worker("count length inner g index y")
def _add_along(arguments, task, lane):
    a = carray(arguments, 1)[0]
    g = carray(floats_at(a.g + 4 * task * a.count * a.inner), a.count * a.inner)
    y = carray(floats_at(a.y + 4 * task * a.length * a.inner), a.length * a.inner)
    index = carray(_integers_at(a.index + 8 * task * a.count * a.inner), g.size)
    clear(a.y + 4 * task * y.size, 4 * y.size)
    if a.inner == 1:
        for i in range(g.size):
            y[index[i]] += g[i]
    else:
        for i in range(g.size):
            y[index[i] * a.inner + i % a.inner] += g[i]


def _along(task, x, index, axis: int, length: int, shape):
    """Launch a worker along an axis; None where the indices are not those of a large array of its shape."""
    axis %= x.ndim
    alike = (
        index.ndim == x.ndim and index.shape[:axis] == x.shape[:axis] and index.shape[axis + 1 :] == x.shape[axis + 1 :]
    )
    if not alike or index.size < LEAST_SIZE or index.min() < 0 or index.max() >= length:
        return None
    index, y = np.ascontiguousarray(index, np.int64), np.empty(shape, np.float32)
    sizes = index.shape[axis], length, prod(index.shape[axis + 1 :])
    pool.run(task, task.Arguments(*sizes, address(x), address(index), address(y)), prod(index.shape[:axis]))
    return y


@single
def take_along(x, index, axis):
    """For each position of an index, the element of x at that index along an axis."""
    y = _along(_take_along, x, index, axis, x.shape[axis], index.shape)
    return reference.take_along(x, index, axis) if y is None else y


@single
def add_along(g, index, axis, length):
    """The numbers g added, at an index along an axis, to zeros of a length there."""
    axis %= g.ndim
    shape = *g.shape[:axis], length, *g.shape[axis + 1 :]
    y = _along(_add_along, g, index, axis, length, shape) if g.shape == index.shape else None
    return reference.add_along(g, index, axis, length) if y is None else y
