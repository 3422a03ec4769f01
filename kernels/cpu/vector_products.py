"""Products of a matrix and a vector: y = A v, and y = v A.

A micro-kernel for matrices would leave most of its vectors empty, and would pack a matrix that is read only once.
"""

from math import ceil

import numpy as np
from numba import carray, float64

from . import memory, pool
from .blocks import BLOCK
from .ir import floats_at
from .jit import summing, worker
from .memory import address
from .sums import sum_over
from .target import L1_BYTES
from .vector_math import ZERO

TASK = 2 * BLOCK  # numbers of the matrix in a task
PIECE = 256  # products that are added up in float32, many at a time
WIDTH = L1_BYTES // 64  # columns of a task: their sums in float64 fill an eighth of the cache
PART_ROWS = 64  # rows of a task


@summing
def _piece(x, v):
    total = ZERO
    for i in range(x.size):
        total += x[i] * v[i]
    return total


@worker("rows depth rows_per_task matrix vector y")
def _dots(arguments, task, lane):
    """The products of some rows with a vector."""
    p = carray(arguments, 1)[0]
    y = carray(floats_at(p.y), p.rows)
    for row in range(task * p.rows_per_task, min((task + 1) * p.rows_per_task, p.rows)):
        at, total = p.matrix + 4 * row * p.depth, 0.0
        for first in range(0, p.depth, PIECE):
            count = min(PIECE, p.depth - first)
            x, v = carray(floats_at(at + 4 * first), count), carray(floats_at(p.vector + 4 * first), count)
            total += float64(_piece(x, v))
        y[row] = total


@worker("depth columns tiles matrix vector y")
def _combinations(arguments, task, lane):
    """The sum of some rows of a matrix, weighted by a vector, in WIDTH columns."""
    p = carray(arguments, 1)[0]
    part, column = task // p.tiles, task % p.tiles * WIDTH
    width, first = min(WIDTH, p.columns - column), part * PART_ROWS
    last = min(first + PART_ROWS, p.depth)
    vector, y = carray(floats_at(p.vector), p.depth), carray(floats_at(p.y + 4 * (part * p.columns + column)), width)
    for j in range(width):
        y[j] = ZERO
    pitch, at, fours = 4 * p.columns, p.matrix + 4 * column, first + (last - first) // 4 * 4
    for row in range(first, fours, 4):
        x0, x1 = carray(floats_at(at + row * pitch), width), carray(floats_at(at + (row + 1) * pitch), width)
        x2, x3 = carray(floats_at(at + (row + 2) * pitch), width), carray(floats_at(at + (row + 3) * pitch), width)
        v0, v1, v2, v3 = vector[row], vector[row + 1], vector[row + 2], vector[row + 3]
        for j in range(width):
            y[j] += (v0 * x0[j] + v1 * x1[j]) + (v2 * x2[j] + v3 * x3[j])
    for row in range(fours, last):
        x, v = carray(floats_at(at + row * pitch), width), vector[row]
        for j in range(width):
            y[j] += v * x[j]


def matrix_times_vector(matrix, vector) -> np.ndarray:
    """y (M,) = A v, for contiguous A (M, K) and v with K numbers."""
    rows, depth = matrix.shape
    y, each = memory.empty(rows), ceil(TASK / depth)
    pool.run(_dots, _dots.Arguments(rows, depth, each, *map(address, (matrix, vector, y))), ceil(rows / each))
    return y


def vector_times_matrix(vector, matrix) -> np.ndarray:
    """y (N,) = v A, for v with K numbers and contiguous A (K, N)."""
    depth, columns = matrix.shape
    tiles, parts = ceil(columns / WIDTH), ceil(depth / PART_ROWS)
    y = memory.empty((parts, columns))
    places = map(address, (matrix, vector, y))
    pool.run(_combinations, _combinations.Arguments(depth, columns, tiles, *places), parts * tiles)
    return y[0] if parts == 1 else sum_over(y, (0,))
