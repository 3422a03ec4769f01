"""Whole powers: the third and the fourth by multiplications in float32, all others in float64."""

import numpy as np
from numba import carray, float32, float64

from .. import reference
from . import memory, pool
from .elementwise import block, block_count
from .jit import worker
from .memory import address
from .single import single
from .sums import doubles_at

LEAST_SIZE = 1024  # elements below which NumPy is faster (measured)
PART = 1024  # numbers that are squared at a time, within the first-level cache


@worker("size exponent x y scratch lane_bytes")
def _whole_power(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, y, n = block(a, a.x, task), block(a, a.y, task), a.exponent
    if n == 3:
        for i in range(x.size):
            y[i] = x[i] * x[i] * x[i]
    elif n == 4:
        for i in range(x.size):
            square = x[i] * x[i]
            y[i] = square * square
    elif n == -2:
        for i in range(x.size):
            y[i] = float32(1) / (x[i] * x[i])
    else:
        buffer = a.scratch + lane * a.lane_bytes
        squares, products = carray(doubles_at(buffer), PART), carray(doubles_at(buffer + 8 * PART), PART)
        for start in range(0, x.size, PART):
            count, rest = min(PART, x.size - start), abs(n)
            for i in range(count):
                squares[i], products[i] = float64(x[start + i]), 1.0
            while rest:
                if rest & 1:
                    for i in range(count):
                        products[i] *= squares[i]
                rest >>= 1
                if rest:
                    for i in range(count):
                        squares[i] *= squares[i]
            if n < 0:
                for i in range(count):
                    products[i] = 1.0 / products[i]
            for i in range(count):
                y[start + i] = float32(products[i])


@single
def whole_power(x, exponent):
    """x ** exponent for a whole number."""
    if x.size < LEAST_SIZE:
        return reference.whole_power(x, exponent)
    y, buffer = np.empty(x.shape, np.float32), memory.scratch(16 * PART)
    call = _whole_power.Arguments(x.size, exponent, address(x), address(y), address(buffer), 16 * PART)
    pool.run(_whole_power, call, block_count(x.size))
    return y
