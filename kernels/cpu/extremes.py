"""Largest and smallest numbers over axes, in registers; NaN where one is.

An array is seen as (outer, rows, columns), as for sums, and the extremes of its rows are taken. It does not matter if a
number is taken twice: so the last tile ends with the last number, and what is left over needs no code of its own.
"""

import functools
from math import ceil

import numpy as np
from numba import carray, types

from .. import reference
from . import memory, pool
from .blocks import BLOCK
from .ir import (
    VECTOR_BYTES,
    call_rows,
    extreme_element,
    extreme_row,
    extremes,
    floats_at,
    keep_denormals,
    no_extremes,
    restore_denormals,
    store_tile,
)
from .jit import address_of, worker
from .memory import address
from .registry import FLOAT32, registered
from .sums import passes
from .target import L1_BYTES, WIDTH

LEAST_SIZE = 512  # elements below which NumPy is faster (measured)
LONG = 8 * BLOCK  # numbers of a row that is a task of its own, at most: extremes are the same however they are cut
MOST_COLUMNS, LEAST_ROWS = (
    L1_BYTES // 32,
    64,
)  # of a task, where there are as many: extremes fill an eighth of the cache
TILE = 8  # vectors of a tile


@functools.cache
def row_extremes(largest: bool, vectors: int, tail: bool) -> int:
    """Compile y[i] = the extreme of `columns` numbers of row i of x, whose rows are `pitch` bytes apart; the address.

    A tile is `vectors` vectors of a row; with `tail`, a row has fewer numbers than a vector.
    """
    step = vectors * WIDTH

    def found(x, y, rows, pitch, columns):
        results = carray(floats_at(y), rows)
        for i in range(rows):
            tile, line = no_extremes(largest, vectors, 1), x + i * pitch
            for start in range(0, columns, step):
                at = start if tail else min(start, columns - step)
                tile = extremes(largest, tail, tile, line + 4 * at, VECTOR_BYTES, columns)
            results[i] = extreme_element(largest, tile)

    return address_of(found, types.void(*[types.int64] * 5))


@functools.cache
def column_extremes(largest: bool, height: int, vectors: int, tail: bool) -> int:
    """Compile y[j] = the extreme of column j of x, for `vectors` vectors of neighbouring columns; the address.

    A tile is `height` rows of x, which are `pitch` bytes apart. With `tail`, there are `lanes` columns, and one vector.
    """

    def found(x, y, rows, pitch, lanes):
        tile = no_extremes(largest, height, vectors)
        for start in range(0, rows, height):
            tile = extremes(largest, tail, tile, x + min(start, rows - height) * pitch, pitch, lanes)
        store_tile(tail, extreme_row(largest, tile), y, None, lanes)

    return address_of(found, types.void(*[types.int64] * 5))


@worker("entry rows columns group blocks block x y")
def _of_rows(arguments, task, lane):
    """Take the extremes of a group of rows, or of a block of one that is long."""
    a = carray(arguments, 1)[0]
    first, state = task // a.blocks * a.group, keep_denormals()
    start = min(task % a.blocks * a.block, a.columns - a.block)
    source, target = a.x + 4 * (first * a.columns + start), a.y + 4 * (task if a.blocks > 1 else first)
    call_rows(a.entry, (source, target, min(a.group, a.rows - first), 4 * a.columns, a.block))
    restore_denormals(state)


@worker("entry rows columns blocks block parts width x y")
def _of_columns(arguments, task, lane):
    """Take the extremes of a block of rows in a part of the columns."""
    a = carray(arguments, 1)[0]
    part, place, state = task % a.parts, task // a.parts, keep_denormals()
    start = min(place % a.blocks * a.block, a.rows - a.block)
    source, target = a.x + 4 * (place // a.blocks * a.rows + start) * a.columns, a.y + 4 * place * a.columns
    end = (part + 1) * a.columns // a.parts
    for first in range(part * a.columns // a.parts, end, a.width):
        at = 4 * min(first, end - a.width)
        call_rows(a.entry, (source + at, target + at, a.block, 4 * a.columns, a.width))
    restore_denormals(state)


def _power_of_two(most: int) -> int:
    """The largest power of two up to a number."""
    return 1 << most.bit_length() - 1


def _vectors(numbers: int) -> int:
    """The vectors of a tile for so many numbers that lie together."""
    return min(TILE, _power_of_two(max(1, numbers // WIDTH)))


def _row_pass(largest: bool, outer: int, length: int):
    """(worker, its arguments, number of extremes, of tasks, what is left) for the extremes of rows of a length."""
    block = min(length, LONG)
    blocks, group = ceil(length / block), ceil(BLOCK / block)
    entry = row_extremes(largest, _vectors(block), block < WIDTH)
    tasks = ceil(outer / group) * blocks
    return _of_rows, (entry, outer, length, group, blocks, block), outer * blocks, tasks, blocks


def _column_pass(largest: bool, outer: int, rows: int, columns: int):
    """`_row_pass` for the extremes of the columns of `outer` matrices."""
    parts, vectors = ceil(columns / MOST_COLUMNS), _vectors(columns)
    block = min(rows, max(LEAST_ROWS, BLOCK // columns))
    blocks, height = ceil(rows / block), min(TILE // vectors, _power_of_two(block))
    entry = column_extremes(largest, height, vectors, columns < WIDTH)
    sizes = entry, rows, columns, blocks, block, parts, min(columns, vectors * WIDTH)
    return _of_columns, sizes, outer * blocks * columns, outer * blocks * parts, blocks


@functools.lru_cache(1024)
def _plan(largest: bool, shape: tuple[int, ...], axes: tuple[int, ...]) -> list:
    """The passes (worker, its arguments, number of extremes, of tasks) over an array of a shape."""
    plan = []
    for outer, rows, columns in passes(shape, axes):
        while rows > 1:  # a pass leaves the extremes of as many blocks as it cuts the rows into
            one = _row_pass(largest, outer, rows) if columns == 1 else _column_pass(largest, outer, rows, columns)
            rows = one[-1]
            plan.append(one[:-1])
    return plan


def _extremes(x, axes, keepdims: bool, largest: bool):
    if not isinstance(x, np.ndarray) or x.dtype != FLOAT32 or x.size < LEAST_SIZE or not x.flags.c_contiguous:
        return (reference.max_over if largest else reference.min_over)(x, axes, keepdims)
    y = x
    for task, sizes, count, tasks in _plan(largest, x.shape, axes):
        source, y = y, memory.empty(count)
        pool.run(task, task.Arguments(*sizes, address(source), address(y)), tasks)
    y = x.copy() if y is x else y
    return y.reshape([1 if a in axes else n for a, n in enumerate(x.shape) if keepdims or a not in axes])


@registered
def max_over(x, axes, keepdims=False):
    """The largest numbers over a tuple of axes, none of them negative; NaN where one is."""
    return _extremes(x, axes, keepdims, True)


@registered
def min_over(x, axes, keepdims=False):
    """The smallest numbers over a tuple of axes, none of them negative; NaN where one is."""
    return _extremes(x, axes, keepdims, False)
