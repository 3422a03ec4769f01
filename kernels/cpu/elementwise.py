"""Elementwise functions of one array. Logarithm and tanh are not here: NumPy's are as fast (measured)."""

import functools

import numpy as np
from numba import carray, types

from .. import reference
from . import pool, vector_math
from .ir import floats_at
from .jit import compiled, inlined, jit, worker
from .memory import address
from .single import FLOAT32, single
from .vector_math import HALF, ONE

BLOCK = 1 << 14  # elements of a task
ROOT_HALF, DENSITY = map(np.float32, (0.5**0.5, (2 * np.pi) ** -0.5))


def tasks(size: int) -> int:
    """How many blocks so many elements make."""
    return -(-size // BLOCK)


@jit
def block(a, place, task):
    """The elements of a task, in an array of a.size elements at an address."""
    return carray(floats_at(place + 4 * BLOCK * task), min(BLOCK, a.size - BLOCK * task))


@jit
def _exp(x, y):
    for i in range(x.size):
        y[i] = vector_math.exp(x[i])


@worker("size x y")
def _exp_tasks(arguments, task, lane):
    a = carray(arguments, 1)[0]
    _exp(block(a, a.x, task), block(a, a.y, task))


@jit
def _sigmoid(x, y):
    for i in range(x.size):
        y[i] = vector_math.sigmoid(x[i])


@worker("size x y")
def _sigmoid_tasks(arguments, task, lane):
    a = carray(arguments, 1)[0]
    _sigmoid(block(a, a.x, task), block(a, a.y, task))


@jit
def _softplus(x, y):
    for i in range(x.size):
        y[i] = vector_math.softplus(x[i])


@worker("size x y")
def _softplus_tasks(arguments, task, lane):
    a = carray(arguments, 1)[0]
    _softplus(block(a, a.x, task), block(a, a.y, task))


@jit
def _erf(x, y):
    for i in range(x.size):
        y[i] = vector_math.erf(x[i])


@worker("size x y")
def _erf_tasks(arguments, task, lane):
    a = carray(arguments, 1)[0]
    _erf(block(a, a.x, task), block(a, a.y, task))


def launch(task, *arrays) -> None:
    """Run a worker whose arguments are a size, which is that of all arrays, and their addresses."""
    size = arrays[0].size
    pool.run(task, task.Arguments(size, *map(address, arrays)), tasks(size))


def _kernel(plain, function, task):
    """A kernel for float32 arrays, of a function of one block and its worker. All else is the reference's, numbers too.

    One block is computed by a plain call, which takes less time than a launch; the results are the same.
    """
    source, target = (types.Array(types.float32, 1, "C", readonly=readonly) for readonly in (True, False))

    @functools.cache
    def direct():
        return compiled(function.py_func, types.void(source, target))

    @functools.wraps(plain)
    def kernel(x):
        if x.__class__ is not np.ndarray or x.dtype != FLOAT32:
            return plain(x)
        x = x if x.flags.c_contiguous else np.ascontiguousarray(x)
        y = np.empty(x.shape, FLOAT32)
        if x.size <= BLOCK:
            direct()(x.reshape(-1), y.reshape(-1))
        else:
            launch(task, x, y)
        return y

    return kernel


exp = _kernel(reference.exp, _exp, _exp_tasks)
sigmoid = _kernel(reference.sigmoid, _sigmoid, _sigmoid_tasks)
softplus = _kernel(reference.softplus, _softplus, _softplus_tasks)
erf = _kernel(reference.erf, _erf, _erf_tasks)


@worker("size x y")
def _silu(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, y = block(a, a.x, task), block(a, a.y, task)
    for i in range(x.size):
        y[i] = x[i] * vector_math.sigmoid(x[i])


@single
def silu(x):
    """x / (1 + e^-x)"""
    y = np.empty_like(x)
    launch(_silu, x, y)
    return y, (x,)


@worker("size g x y")
def _silu_backward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    g, x, y = block(a, a.g, task), block(a, a.x, task), block(a, a.y, task)
    for i in range(g.size):
        s = vector_math.sigmoid(x[i])
        y[i] = g[i] * (s * (ONE + x[i] * (ONE - s)))


@single
def silu_backward(g, x):
    """Gradient of `silu`."""
    y = np.empty_like(g)
    launch(_silu_backward, g, x, y)
    return (y,)


@worker("size x y")
def _gelu(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, y = block(a, a.x, task), block(a, a.y, task)
    for i in range(x.size):
        y[i] = x[i] * (HALF + HALF * vector_math.erf(ROOT_HALF * x[i]))


@single
def gelu(x):
    """x Phi(x) with the normal distribution function Phi."""
    y = np.empty_like(x)
    launch(_gelu, x, y)
    return y, (x,)


@worker("size g x y")
def _gelu_backward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    g, x, y = block(a, a.g, task), block(a, a.x, task), block(a, a.y, task)
    for i in range(g.size):
        density = DENSITY * vector_math.exp(-HALF * x[i] * x[i])
        y[i] = g[i] * (HALF + HALF * vector_math.erf(ROOT_HALF * x[i]) + x[i] * density)


@single
def gelu_backward(g, x):
    """Gradient of `gelu`."""
    y = np.empty_like(g)
    launch(_gelu_backward, g, x, y)
    return (y,)


@worker("rows together half x y")
def _gated_tanh(arguments, task, lane):
    p = carray(arguments, 1)[0]
    half = p.half
    for row in range(task * p.together, min((task + 1) * p.together, p.rows)):
        a, b = _halves(p.x, row, half)
        y = carray(floats_at(p.y + 4 * half * row), half)
        for i in range(half):
            y[i] = vector_math.tanh(a[i]) * vector_math.sigmoid(b[i])


@single
def gated_tanh(x):
    """tanh(a) s(b) of the halves a, b of the last axis, s the logistic function."""
    if not x.size or x.shape[-1] % 2:
        return reference.gated_tanh(x)
    half = x.shape[-1] // 2
    y = np.empty((*x.shape[:-1], half), FLOAT32)
    _launch_rows(_gated_tanh, half, x, y)
    return y, (x,)


@worker("rows together half x dx g")
def _gated_tanh_backward(arguments, task, lane):
    p = carray(arguments, 1)[0]
    half = p.half
    for row in range(task * p.together, min((task + 1) * p.together, p.rows)):
        a, b = _halves(p.x, row, half)
        da, db = _halves(p.dx, row, half)
        g = carray(floats_at(p.g + 4 * half * row), half)
        for i in range(half):
            t, s = vector_math.tanh(a[i]), vector_math.sigmoid(b[i])
            da[i] = g[i] * s * (ONE - t * t)
            db[i] = g[i] * t * (s * (ONE - s))


@single
def gated_tanh_backward(g, x):
    """Gradient of `gated_tanh`."""
    dx = np.empty_like(x)
    if dx.size:
        _launch_rows(_gated_tanh_backward, x.shape[-1] // 2, x, dx, g)
    return (dx,)


@inlined
def _halves(place, row, half):
    """Both halves of a row of a matrix at an address."""
    first = place + 8 * half * row
    return carray(floats_at(first), half), carray(floats_at(first + 4 * half), half)


def _launch_rows(task, half: int, x, *others) -> None:
    """Run a worker on rows of 2 `half` elements, as many of them in a task as make a block."""
    rows, together = x.size // (2 * half), max(1, BLOCK // (2 * half))
    pool.run(task, task.Arguments(rows, together, half, *map(address, (x, *others))), -(-rows // together))
