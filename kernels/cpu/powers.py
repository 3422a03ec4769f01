"""Whole powers by multiplications: x^3, x^4 and x^-2 in the dtype of x, all others by squaring in float64."""

import numpy as np
from numba import carray, float64

from .. import reference
from . import memory, pool
from .blocks import block, block_count, double_block
from .ir import doubles_at, keep_denormals, restore_denormals
from .jit import jit, worker
from .memory import address
from .registry import registered
from .target import L1_BYTES

LEAST_SIZE = 1024  # elements below which NumPy is faster (measured)
PART = L1_BYTES // 32  # numbers that are squared at a time: two arrays of them in float64 fill half the cache
FIELDS = "size exponent x y scratch lane_bytes"


@jit
def squared(x, y, n, squares, products):
    """y = x^n by squaring, in float64."""
    rest = abs(n)
    for i in range(x.size):
        squares[i], products[i] = float64(x[i]), 1.0
    while rest:
        if rest & 1:
            for i in range(x.size):
                products[i] *= squares[i]
        rest >>= 1
        if rest:
            for i in range(x.size):
                squares[i] *= squares[i]
    if n < 0:
        for i in range(x.size):
            products[i] = 1.0 / products[i]
    for i in range(x.size):
        y[i] = products[i]


@jit
def power(x, y, a, lane):
    """y = x^n for arrays of either dtype."""
    n = a.exponent
    if n == 3:
        for i in range(x.size):
            y[i] = x[i] * x[i] * x[i]
    elif n == 4:
        for i in range(x.size):
            square = x[i] * x[i]
            y[i] = square * square
    elif n == -2:
        one = x.dtype.type(1)
        for i in range(x.size):
            y[i] = one / (x[i] * x[i])
    else:
        buffer = a.scratch + lane * a.lane_bytes
        squares, products = carray(doubles_at(buffer), PART), carray(doubles_at(buffer + 8 * PART), PART)
        for start in range(0, x.size, PART):
            squared(x[start : start + PART], y[start : start + PART], n, squares, products)


@worker(FIELDS)
def _single_power(arguments, task, lane):
    a = carray(arguments, 1)[0]
    power(block(a, a.x, task), block(a, a.y, task), a, lane)


@worker(FIELDS)
def _double_power(arguments, task, lane):
    """Denormal numbers are kept: of those whose reciprocals are finite, flushing would make infinities."""
    a = carray(arguments, 1)[0]
    state = keep_denormals()
    power(double_block(a, a.x, task), double_block(a, a.y, task), a, lane)
    restore_denormals(state)


TASKS = {np.dtype(np.float32): _single_power, np.dtype(np.float64): _double_power}


@registered
def whole_power(x, exponent):
    """x ** exponent for a whole number that is not 0."""
    task = TASKS.get(x.dtype)
    if task is None or x.size < LEAST_SIZE:
        return reference.whole_power(x, exponent)
    x = memory.contiguous(x)
    y, buffer = memory.empty(x.shape, x.dtype), memory.scratch(16 * PART)
    call = task.Arguments(x.size, exponent, address(x), address(y), address(buffer), 16 * PART)
    pool.run(task, call, block_count(x.size))
    return y
