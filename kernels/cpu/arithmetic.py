"""Sums, differences, products and quotients of float32 arrays that broadcast: y = a o b.

Where a vector is added to the rows of a matrix, NumPy begins a loop at each row, which takes as long as a hundred
additions. Here axes that lie together are joined, so that both arrays are seen as (stacks, rows, columns), and compiled
loops go over all three.
"""

import functools
import operator
from math import prod

import numpy as np
from numba import carray

from .. import reference
from . import memory, pool
from .blocks import BLOCK
from .ir import floats_at, keep_denormals, restore_denormals
from .jit import jit, worker
from .memory import address
from .registry import FLOAT32, registered

ndarray = np.ndarray
LEAST_SIZE = 1 << 15  # elements of a result below which NumPy is faster (measured)
LEAST_SIZE_ALIKE = 1 << 17  # the same for operands of one shape
ADD, SUBTRACT, MULTIPLY, DIVIDE = range(4)
PLACES = "rows columns tiles rows_per_task tasks_per_stack a a_stack a_row a_step b b_stack b_row b_step y"


@functools.lru_cache(1024)
def joined_axes(shape: tuple[int, ...], *strides: tuple[int, ...]) -> list[tuple[int, ...]]:
    """(length, stride of each operand in bytes) of as few axes as possible, over which the operands are the same."""
    axes: list[tuple[int, ...]] = []
    for length, *steps in zip(shape, *strides, strict=True):
        if length == 1:
            continue
        if axes and all(outer == inner * length for outer, inner in zip(axes[-1][1:], steps, strict=True)):
            axes[-1] = (axes[-1][0] * length, *steps)
        else:
            axes.append((length, *steps))
    return axes


@functools.lru_cache(1024)
def plan(a_shape, a_strides, b_shape, b_strides):
    """The shape of the result, and what a worker is told; None for what is left to NumPy, errors too."""
    try:
        shape = np.broadcast_shapes(a_shape, b_shape)
    except ValueError:
        return None
    if prod(shape) < LEAST_SIZE:
        return None
    strides = (_broadcast(shape, *each) for each in ((a_shape, a_strides), (b_shape, b_strides)))
    axes = joined_axes(shape, *strides)
    (columns, *steps) = axes[-1]
    if len(axes) > 3 or not {*steps} <= {0, 4} or steps == [0, 0]:
        return None
    (stacks, a_stack, b_stack), (rows, a_row, b_row) = [(1, 0, 0)] * (3 - len(axes)) + axes[:-1]
    tiles = -(-columns // BLOCK)
    rows_per_task = max(1, BLOCK // columns)
    tasks_per_stack = -(-rows // rows_per_task) * tiles
    sizes = rows, columns, tiles, rows_per_task, tasks_per_stack
    return shape, stacks * tasks_per_stack, sizes, (a_stack, a_row, steps[0]), (b_stack, b_row, steps[1])


def _broadcast(shape, own, strides):
    """The strides of an array in a broadcast shape: 0 along the axes that it lacks, or along which it has length 1."""
    lead = len(shape) - len(own)
    return (0,) * lead + tuple(0 if n == 1 else stride for n, stride in zip(own, strides, strict=True))


@jit
def _applied(operation, a, b):
    if operation == ADD:
        return a + b
    if operation == SUBTRACT:
        return a - b
    return a * b if operation == MULTIPLY else a / b


@jit
def _row(at, width):
    return carray(floats_at(at), width)


def _worker_of(operation: int):
    """The worker of an operation, on some rows of a stack and BLOCK columns; where a step is 0, a row is one number.

    Denormal numbers are kept, as NumPy keeps them.
    """

    @worker(PLACES)
    def _arithmetic(arguments, task, lane):
        p = carray(arguments, 1)[0]
        stack, part = task // p.tasks_per_stack, task % p.tasks_per_stack
        first, column = part // p.tiles * p.rows_per_task, part % p.tiles * BLOCK
        width = min(BLOCK, p.columns - column)
        before = keep_denormals()
        for row in range(first, min(first + p.rows_per_task, p.rows)):
            a = _row(p.a + stack * p.a_stack + row * p.a_row + column * p.a_step, width)
            b = _row(p.b + stack * p.b_stack + row * p.b_row + column * p.b_step, width)
            y = _row(p.y + 4 * ((stack * p.rows + row) * p.columns + column), width)
            if p.a_step == 0:
                number = a[0]
                for i in range(width):
                    y[i] = _applied(operation, number, b[i])
            elif p.b_step == 0:
                number = b[0]
                for i in range(width):
                    y[i] = _applied(operation, a[i], number)
            else:
                for i in range(width):
                    y[i] = _applied(operation, a[i], b[i])
        restore_denormals(before)

    return _arithmetic


def _kernel_of(code: int, plain, by_operator):
    """Make the kernel of an operation with a `plain` reference; all other arrays, and numbers, go to its operator."""
    task = _worker_of(code)

    @registered
    @functools.wraps(plain)
    def kernel(a, b):
        if isinstance(a, ndarray) and isinstance(b, ndarray) and a.size * b.size >= LEAST_SIZE:
            large = a.size >= LEAST_SIZE_ALIKE or a.shape != b.shape
            if large and a.dtype is FLOAT32 and b.dtype is FLOAT32:
                planned = plan(a.shape, a.strides, b.shape, b.strides)
                if planned is not None:
                    shape, tasks, sizes, of_a, of_b = planned
                    y = memory.empty(shape)
                    pool.run(task, task.Arguments(*sizes, address(a), *of_a, address(b), *of_b, address(y)), tasks)
                    return y
        return by_operator(a, b)

    return kernel


add = _kernel_of(ADD, reference.add, operator.add)
subtract = _kernel_of(SUBTRACT, reference.subtract, operator.sub)
multiply = _kernel_of(MULTIPLY, reference.multiply, operator.mul)
divide = _kernel_of(DIVIDE, reference.divide, operator.truediv)
