"""Elementwise kernels. There is none for log alone, nor for tanh: NumPy's are as fast (measured)."""

import functools

import numpy as np
from numba import carray

from .. import reference
from . import memory, pool, vector_math
from .ir import floats_at
from .jit import inlined, jit, worker
from .memory import address
from .single import FLOAT32, single
from .vector_math import HALF, ONE

BLOCK = 1 << 14  # elements of a task
ROOT_HALF, DENSITY = map(np.float32, (0.5**0.5, (2 * np.pi) ** -0.5))


def block_count(size: int) -> int:
    """The number of blocks of BLOCK elements that `size` elements are cut into."""
    return -(-size // BLOCK)


@jit
def block(a, start, task):
    """The elements of a task, in an array of a.size elements at an address."""
    return carray(floats_at(start + 4 * BLOCK * task), min(BLOCK, a.size - BLOCK * task))


def launch(task, *arrays) -> None:
    """Run a worker whose arguments are a size, which is that of all arrays, and their addresses."""
    size = arrays[0].size
    pool.run(task, task.Arguments(size, *map(address, arrays)), block_count(size))


def _output(task, *arrays):
    """Launch an elementwise worker on contiguous float32 arrays of one shape; returns its output of that shape."""
    y = memory.empty(arrays[0].shape)
    launch(task, *arrays, y)
    return y


def _reference_of(task):
    """The reference kernel of a worker, whose name is the worker's without the underscore."""
    return getattr(reference, task.function.__name__[1:])


def _function(task):
    """Make a kernel from the worker of a function of one float32 array; other arguments go to the reference."""
    plain = _reference_of(task)

    @functools.wraps(plain)
    def function(x):
        if not isinstance(x, np.ndarray) or x.dtype != FLOAT32:
            return plain(x)
        return _output(task, x if x.flags.c_contiguous else memory.contiguous(x))

    return function


def _activation(task):
    """Make a kernel from the worker of an activation: the forward pass, which returns the output and its residual."""

    @single
    @functools.wraps(_reference_of(task))
    def forward(x):
        return _output(task, x), (x,)

    return forward


def _activation_backward(task):
    """Make a kernel from the worker of an activation's gradient, which takes the gradient g of the output and x."""

    @single
    @functools.wraps(_reference_of(task))
    def backward(g, x):
        return (_output(task, g, x),)

    return backward


@worker("size x y")
def _exp(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, y = block(a, a.x, task), block(a, a.y, task)
    for i in range(x.size):
        y[i] = vector_math.exp(x[i])


@worker("size x y")
def _sigmoid(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, y = block(a, a.x, task), block(a, a.y, task)
    for i in range(x.size):
        y[i] = vector_math.sigmoid(x[i])


@worker("size x y")
def _softplus(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, y = block(a, a.x, task), block(a, a.y, task)
    for i in range(x.size):
        y[i] = vector_math.softplus(x[i])


@worker("size x y")
def _erf(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, y = block(a, a.x, task), block(a, a.y, task)
    for i in range(x.size):
        y[i] = vector_math.erf(x[i])


@worker("size x y")
def _silu(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, y = block(a, a.x, task), block(a, a.y, task)
    for i in range(x.size):
        y[i] = x[i] * vector_math.sigmoid(x[i])


@worker("size g x y")
def _silu_backward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    g, x, y = block(a, a.g, task), block(a, a.x, task), block(a, a.y, task)
    for i in range(g.size):
        s = vector_math.sigmoid(x[i])
        y[i] = g[i] * (s * (ONE + x[i] * (ONE - s)))


@worker("size x y")
def _gelu(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, y = block(a, a.x, task), block(a, a.y, task)
    for i in range(x.size):
        y[i] = x[i] * (HALF + HALF * vector_math.erf(ROOT_HALF * x[i]))


@worker("size g x y")
def _gelu_backward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    g, x, y = block(a, a.g, task), block(a, a.x, task), block(a, a.y, task)
    for i in range(g.size):
        density = DENSITY * vector_math.exp(-HALF * x[i] * x[i])
        y[i] = g[i] * (HALF + HALF * vector_math.erf(ROOT_HALF * x[i]) + x[i] * density)


exp, sigmoid, softplus, erf = map(_function, (_exp, _sigmoid, _softplus, _erf))
silu, gelu = map(_activation, (_silu, _gelu))
silu_backward, gelu_backward = map(_activation_backward, (_silu_backward, _gelu_backward))


@worker("rows rows_per_task half x y")
def _gated_tanh(arguments, task, lane):
    p = carray(arguments, 1)[0]
    half = p.half
    for row in range(task * p.rows_per_task, min((task + 1) * p.rows_per_task, p.rows)):
        a, b = _halves(p.x, row, half)
        y = carray(floats_at(p.y + 4 * half * row), half)
        for i in range(half):
            y[i] = vector_math.tanh(a[i]) * vector_math.sigmoid(b[i])


@single
def gated_tanh(x):
    """tanh(a) sigmoid(b) for the halves a, b of the last axis."""
    if not x.size or x.shape[-1] % 2:
        return reference.gated_tanh(x)
    half = x.shape[-1] // 2
    y = memory.empty((*x.shape[:-1], half))
    _launch_rows(_gated_tanh, half, x, y)
    return y, (x,)


@worker("rows rows_per_task half x dx g")
def _gated_tanh_backward(arguments, task, lane):
    p = carray(arguments, 1)[0]
    half = p.half
    for row in range(task * p.rows_per_task, min((task + 1) * p.rows_per_task, p.rows)):
        a, b = _halves(p.x, row, half)
        da, db = _halves(p.dx, row, half)
        g = carray(floats_at(p.g + 4 * half * row), half)
        for i in range(half):
            t, s = vector_math.tanh(a[i]), vector_math.sigmoid(b[i])
            da[i] = g[i] * s * (ONE - t * t)
            db[i] = g[i] * t * (s * (ONE - s))


@single
def gated_tanh_backward(g, x):
    """The gradient of `gated_tanh` with respect to x."""
    dx = memory.empty(x.shape)
    if dx.size:
        _launch_rows(_gated_tanh_backward, x.shape[-1] // 2, x, dx, g)
    return (dx,)


@inlined
def _halves(start, row, half):
    """Both halves of a row of a matrix at an address."""
    first = start + 8 * half * row
    return carray(floats_at(first), half), carray(floats_at(first + 4 * half), half)


def _launch_rows(task, half: int, x, *others) -> None:
    """Run a worker on the rows of x, 2 `half` elements each; a task does as many rows as fit into a block."""
    rows, rows_per_task = x.size // (2 * half), max(1, BLOCK // (2 * half))
    pool.run(task, task.Arguments(rows, rows_per_task, half, *map(address, (x, *others))), -(-rows // rows_per_task))
