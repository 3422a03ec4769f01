"""Sums over axes: a few numbers at a time in float32, these sums in float64, so that no digits are lost.

An array is seen as (outer, rows, columns), and its rows are added up. Axes that are neither first nor last take several
passes.
"""

import functools
from math import ceil, prod

import numpy as np
from numba import carray, float64

from .. import reference
from . import memory, pool
from .blocks import BLOCK
from .ir import doubles_at, floats_at
from .jit import summing, worker
from .memory import address
from .registry import FLOAT32, registered, single
from .target import L1_BYTES
from .vector_math import ZERO

LEAST_SIZE = 4096  # elements below which NumPy is faster (measured)
FEW = 16  # numbers that may be added one after the other in float32: the error is a few units in the last place
PIECE = 128  # numbers of a row that are added up in float32, eight or more vectors of them at a time
TASK = 2 * BLOCK  # numbers of a task, which reads one array alone
MOST_COLUMNS = (
    L1_BYTES // 32
)  # columns that a task adds up at a time: their sums in float64 fill a quarter of the cache
JOINED = 128  # shorter rows are joined to rows of at least this length


@functools.lru_cache(1024)
def passes(shape: tuple[int, ...], axes: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """The passes (outer, rows, columns) that add up a contiguous array over its axes, the last ones first."""
    groups: list[list] = []  # [length, whether it is added up] of axes that lie together
    for axis, length in enumerate(shape):
        if groups and groups[-1][1] == (axis in axes):
            groups[-1][0] *= length
        elif length != 1:
            groups.append([length, axis in axes])
    result, columns = [], 1
    while groups:
        length, added = groups.pop()
        if added:
            result.append((prod(n for n, _ in groups), length, columns))
        else:
            columns *= length
    return result


@summing
def _piece(x):
    """The sum of a piece of a row, in float32 and many numbers at a time, so that each rounds few sums."""
    total = ZERO
    for i in range(x.size):
        total += x[i]
    return total


@worker("rows length parts rows_per_task x y totals")
def _rows(arguments, task, lane):
    """Add up rows, or parts of them: as float64 at `totals`, or where this is 0 as float32 at `y`."""
    a = carray(arguments, 1)[0]
    y, totals = carray(floats_at(a.y), a.rows), carray(doubles_at(a.totals), a.rows * a.parts)
    first, part = task // a.parts * a.rows_per_task, task % a.parts
    start = part * TASK
    length = min(TASK, a.length - start)
    for row in range(first, min(first + a.rows_per_task, a.rows)):
        at = a.x + 4 * (row * a.length + start)
        total = 0.0
        for begin in range(0, length, PIECE):
            total += float64(_piece(carray(floats_at(at + 4 * begin), min(PIECE, length - begin))))
        if a.totals:
            totals[row * a.parts + part] = total
        else:
            y[row] = total


@worker("rows columns blocks block tiles width join x y totals scratch lane_bytes")
def _columns(arguments, task, lane):
    """Add up a block of rows in a tile of columns, as float64 at `totals`, or where this is 0 as float32 at `y`."""
    a = carray(arguments, 1)[0]
    part, first = task // a.tiles, task % a.tiles * a.width
    outer, start = part // a.blocks, part % a.blocks * a.block
    count, width = min(a.block, a.rows - start), min(a.width, a.columns - first)
    joined, lines, pitch = width * a.join, count // a.join, 4 * a.columns * a.join
    begin = a.x + 4 * ((outer * a.rows + start) * a.columns + first)
    sums = carray(doubles_at(a.scratch + lane * a.lane_bytes), joined)
    for j in range(joined):
        sums[j] = 0.0
    eights = lines // 8 * 8
    for line in range(0, eights, 8):
        at = begin + line * pitch
        x0, x1 = carray(floats_at(at), joined), carray(floats_at(at + pitch), joined)
        x2, x3 = carray(floats_at(at + 2 * pitch), joined), carray(floats_at(at + 3 * pitch), joined)
        x4, x5 = carray(floats_at(at + 4 * pitch), joined), carray(floats_at(at + 5 * pitch), joined)
        x6, x7 = carray(floats_at(at + 6 * pitch), joined), carray(floats_at(at + 7 * pitch), joined)
        for j in range(joined):
            sums[j] += ((x0[j] + x1[j]) + (x2[j] + x3[j])) + ((x4[j] + x5[j]) + (x6[j] + x7[j]))
    for line in range(eights, lines):
        x = carray(floats_at(begin + line * pitch), joined)
        for j in range(joined):
            sums[j] += x[j]
    for row in range(lines * a.join, count):
        x = carray(floats_at(begin + 4 * row * a.columns), width)
        for j in range(width):
            sums[j] += x[j]
    left = a.join
    while left > 1:
        kept = (left + 1) // 2
        for j in range((left - kept) * width):
            sums[j] += sums[kept * width + j]
        left = kept
    target = part * a.columns + first
    y, totals = carray(floats_at(a.y + 4 * target), width), carray(doubles_at(a.totals + 8 * target), width)
    if a.totals:
        for j in range(width):
            totals[j] = sums[j]
    else:
        for j in range(width):
            y[j] = sums[j]


def _pass(x, outer: int, rows: int, columns: int) -> np.ndarray:
    """The sums (outer, columns) of a contiguous array seen as (outer, rows, columns)."""
    y = memory.empty((outer, columns))
    if columns == 1:
        parts, each = ceil(rows / TASK), ceil(TASK / rows)
        totals = memory.empty((outer, parts, 1), np.float64) if parts > 1 else None
        places = address(x), address(y), 0 if totals is None else address(totals)
        pool.run(_rows, _rows.Arguments(outer, rows, parts, each, *places), ceil(outer / each) * parts)
        return y if totals is None else totals.sum(axis=1).astype(np.float32)
    join, tiles = ceil(JOINED / columns), ceil(columns / MOST_COLUMNS)
    width = ceil(columns / tiles)
    block = rows if rows * width <= 2 * TASK else ceil(TASK / width / (8 * join)) * 8 * join
    blocks = ceil(rows / block)
    totals = memory.empty((outer, blocks, columns), np.float64) if blocks > 1 else None
    buffer = memory.scratch(8 * width * join)
    sizes = rows, columns, blocks, block, tiles, width, join
    places = address(x), address(y), 0 if totals is None else address(totals), address(buffer)
    pool.run(_columns, _columns.Arguments(*sizes, *places, 8 * width * join), outer * blocks * tiles)
    return y if totals is None else totals.sum(axis=1).astype(np.float32)


def _without_repeats(x, axes):
    """(x, factor) with x of length 1 along those of the axes along which it only repeats itself, factor times."""
    repeated = [axis for axis in axes if x.strides[axis] == 0 and x.shape[axis] > 1]
    factor = prod(x.shape[axis] for axis in repeated)
    return x[tuple(slice(0, 1) if axis in repeated else slice(None) for axis in range(x.ndim))], factor


@registered
def sum_over(x, axes, keepdims=False):
    """x summed over a tuple of axes, none of them negative."""
    if not isinstance(x, np.ndarray) or x.dtype != FLOAT32 or not x.size:
        return reference.sum_over(x, axes, keepdims)
    contiguous = x.flags.c_contiguous
    if x.size < LEAST_SIZE and contiguous and axes == tuple(range(x.ndim - len(axes), x.ndim)):
        return x.sum(axis=axes, keepdims=keepdims)  # NumPy adds what lies together by halves
    if not contiguous:
        return _strided(x, axes, keepdims)
    if x.size < LEAST_SIZE:
        few = prod(x.shape[axis] for axis in axes) <= FEW
        return x.sum(axis=axes, keepdims=keepdims) if few else reference.sum_over(x, axes, keepdims)
    y = x
    for sizes in passes(x.shape, axes):
        y = _pass(y, *sizes)
    y = x.copy() if y is x else y
    return y.reshape([1 if a in axes else n for a, n in enumerate(x.shape) if keepdims or a not in axes])


def _strided(x, axes, keepdims):
    """`sum_over` for an array that is not contiguous: a transpose of one is added up in its own order."""
    order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    plain = x.transpose(order)
    if plain.flags.c_contiguous:
        total = sum_over(plain, tuple(i for i, axis in enumerate(order) if axis in axes), True)
        total = total.transpose(np.argsort(order))
    else:
        x, factor = _without_repeats(x, axes)
        few = prod(x.shape[axis] for axis in axes) <= FEW
        total = x.sum(axis=axes, keepdims=True) if few else reference.sum_over(x, axes, True)
        total = total if factor == 1 else total * np.float32(factor)
    return total if keepdims else total.reshape([n for axis, n in enumerate(x.shape) if axis not in axes])


# Cumulative sums, in float64 too.


@worker("rows length reverse x y")
def _cumulate_row(arguments, task, lane):
    """Cumulate a row; four numbers wait for one addition to the total, not for four."""
    a = carray(arguments, 1)[0]
    n = a.length
    x, y = carray(floats_at(a.x + 4 * task * n), n), carray(floats_at(a.y + 4 * task * n), n)
    step, at, total = (-1, n - 1, 0.0) if a.reverse else (1, 0, 0.0)
    for _ in range(n // 4):
        first, third = float64(x[at]), float64(x[at + 2 * step])
        pair, other = first + x[at + step], third + x[at + 3 * step]
        y[at], y[at + step] = total + first, total + pair
        y[at + 2 * step] = total + (pair + third)
        total += pair + other
        y[at + 3 * step] = total
        at += 4 * step
    for _ in range(n % 4):
        total += x[at]
        y[at] = total
        at += step


@worker("rows columns tiles width reverse x y scratch lane_bytes")
def _cumulate_columns(arguments, task, lane):
    """Cumulate the rows of a matrix, in a tile of columns."""
    a = carray(arguments, 1)[0]
    outer, first = task // a.tiles, task % a.tiles * a.width
    width = min(a.width, a.columns - first)
    sums = carray(doubles_at(a.scratch + lane * a.lane_bytes), width)
    for j in range(width):
        sums[j] = 0.0
    for i in range(a.rows):
        row = a.rows - 1 - i if a.reverse else i
        offset = 4 * ((outer * a.rows + row) * a.columns + first)
        x, y = carray(floats_at(a.x + offset), width), carray(floats_at(a.y + offset), width)
        for j in range(width):
            sums[j] += x[j]
            y[j] = sums[j]


@single
def cumsum(x, axis, reverse=False):
    """The sums of all numbers up to each along an axis, in reverse from the last on."""
    if x.size < LEAST_SIZE:
        return reference.cumsum(x, axis, reverse)
    axis %= x.ndim
    outer, rows, columns = prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1 :])
    y = memory.empty(x.shape)
    if columns == 1:
        pool.run(_cumulate_row, _cumulate_row.Arguments(outer, rows, reverse, address(x), address(y)), outer)
        return y
    tiles = ceil(columns / MOST_COLUMNS)
    width = ceil(columns / tiles)
    buffer = memory.scratch(8 * width)
    places = address(x), address(y), address(buffer), 8 * width
    call = _cumulate_columns.Arguments(rows, columns, tiles, width, reverse, *places)
    pool.run(_cumulate_columns, call, outer * tiles)
    return y
