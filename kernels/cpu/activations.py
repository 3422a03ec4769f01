"""Kernels used around products: sums of residual paths, a leaky ReLU and its gradient, the gradient of a bias."""

import numpy as np
from numba import carray

from .. import reference
from . import pool
from .elementwise import BLOCK, block, block_count, launch
from .ir import floats_at
from .jit import worker
from .memory import address
from .single import FLOAT32, single

LEAST_SIZE = 4096  # elements below which NumPy is faster (measured)
LEAST_SIZE_TO_ADD = 1 << 17  # elements below which NumPy adds faster (measured)


def _serves(x, least: int) -> bool:
    """Whether x is a contiguous float32 array of at least `least` elements."""
    return x.__class__ is np.ndarray and x.size >= least and x.dtype == FLOAT32 and x.flags.c_contiguous


@worker("size a b y")
def _add(arguments, task, lane):
    p = carray(arguments, 1)[0]
    a, b, y = block(p, p.a, task), block(p, p.b, task), block(p, p.y, task)
    for i in range(y.size):
        y[i] = a[i] + b[i]


def add(a, b):
    """a + b, elementwise, with NumPy's broadcasting."""
    if not (_serves(a, LEAST_SIZE_TO_ADD) and _serves(b, LEAST_SIZE_TO_ADD) and a.shape == b.shape):
        return a + b
    y = np.empty(a.shape, np.float32)
    launch(_add, a, b, y)
    return y


@worker("size source target", "slope")  # numba would take (size x y slope) for elementwise.py's record
def _leaky_relu(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, y, slope = block(a, a.source, task), block(a, a.target, task), a.slope
    if slope == 0:  # 0 times -infinity would be NaN
        for i in range(x.size):
            y[i] = max(x[i], np.float32(0))
    else:
        for i in range(x.size):
            y[i] = x[i] if x[i] > 0 else slope * x[i]


def leaky_relu(x, slope):
    """x where x > 0, else slope * x."""
    if not _serves(x, LEAST_SIZE):
        return reference.leaky_relu(x, slope)
    y = np.empty(x.shape, np.float32)
    pool.run(_leaky_relu, _leaky_relu.Arguments(x.size, address(x), address(y), slope), block_count(x.size))
    return y


@worker("size g source target", "slope")
def _leaky_relu_grad(arguments, task, lane):
    a = carray(arguments, 1)[0]
    g, x, y, slope = block(a, a.g, task), block(a, a.source, task), block(a, a.target, task), a.slope
    for i in range(g.size):
        y[i] = g[i] if x[i] > 0 else slope * g[i]


@single
def leaky_relu_grad(g, x, slope):
    """The gradient of `leaky_relu`: g where x > 0, else slope * g; x may be its input or its output."""
    if g.size < LEAST_SIZE or g.shape != np.shape(x):
        return reference.leaky_relu_grad(g, x, slope)
    y = np.empty(g.shape, np.float32)
    arguments = _leaky_relu_grad.Arguments(g.size, address(g), address(x), address(y), slope)
    pool.run(_leaky_relu_grad, arguments, block_count(g.size))
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
    """Add up the rows of a matrix: first those of each block of rows, then the sums of the blocks."""
    if x.size < LEAST_SIZE:
        return reference.column_sums(x)
    rows, columns = x.shape
    rows_per_task = max(BLOCK // columns, 16)
    sums = np.empty((-(-rows // rows_per_task), columns), np.float32)
    pool.run(_column_sums, _column_sums.Arguments(rows, columns, rows_per_task, address(x), address(sums)), len(sums))
    return sums.sum(axis=0)
