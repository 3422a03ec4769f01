"""Kernels used around products: choices, and the gradients of what has kinks."""

import numpy as np
from numba import carray, uint8

from .. import reference
from . import memory, pool
from .elementwise import BLOCK, block, block_count, launch
from .ir import pointer_to
from .jit import worker
from .memory import address
from .single import FLOAT32, single
from .vector_math import ONE, ZERO, expm1_negative, leaky

LEAST_SIZE = 4096  # elements below which NumPy is faster (measured)


def _serves(x, least: int) -> bool:
    """Whether x is a contiguous float32 array of at least `least` elements."""
    return isinstance(x, np.ndarray) and x.size >= least and x.dtype == FLOAT32 and x.flags.c_contiguous


@worker("size source target", "slope")  # numba would take (size x y slope) for elementwise.py's record
def _leaky_relu(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, y, slope = block(a, a.source, task), block(a, a.target, task), a.slope
    for i in range(x.size):
        y[i] = leaky(x[i], x[i], slope)


def leaky_relu(x, slope):
    """x where x > 0, else slope * x."""
    if not _serves(x, LEAST_SIZE):
        return reference.leaky_relu(x, slope)
    y = memory.empty(x.shape)
    pool.run(_leaky_relu, _leaky_relu.Arguments(x.size, address(x), address(y), slope), block_count(x.size))
    return y


@worker("size g source target", "slope")
def _leaky_relu_grad(arguments, task, lane):
    a = carray(arguments, 1)[0]
    g, x, y, slope = block(a, a.g, task), block(a, a.source, task), block(a, a.target, task), a.slope
    for i in range(g.size):
        y[i] = leaky(g[i], x[i], slope)


@single
def leaky_relu_grad(g, x, slope):
    """The gradient of `leaky_relu`: g where x > 0, else slope * g; x may be its input or its output."""
    if g.size < LEAST_SIZE or g.shape != np.shape(x):
        return reference.leaky_relu_grad(g, x, slope)
    y = memory.empty(g.shape)
    arguments = _leaky_relu_grad.Arguments(g.size, address(g), address(x), address(y), slope)
    pool.run(_leaky_relu_grad, arguments, block_count(g.size))
    return y


@worker("size input output", "alpha")  # numba takes records whose names begin alike for each other
def _elu(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, y, alpha = block(a, a.input, task), block(a, a.output, task), a.alpha
    for i in range(x.size):
        below = alpha * expm1_negative(ZERO if x[i] > ZERO else x[i])
        y[i] = x[i] if x[i] > ZERO else below


@single
def elu(x, alpha):
    """x where x > 0, else alpha (e^x - 1)."""
    y = memory.empty(x.shape)
    pool.run(_elu, _elu.Arguments(x.size, address(x), address(y), alpha), block_count(x.size))
    return y


@worker("size x y")
def _sign(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, y = block(a, a.x, task), block(a, a.y, task)
    for i in range(x.size):
        positive = ONE if x[i] > ZERO else x[i]  # 0 and NaN stay what they are
        y[i] = -ONE if x[i] < ZERO else positive


@single
def sign(x):
    """-1, 0 or 1."""
    y = memory.empty(x.shape)
    launch(_sign, x, y)
    return y


@worker("size g x y")
def _abs_grad(arguments, task, lane):
    a = carray(arguments, 1)[0]
    g, x, y = block(a, a.g, task), block(a, a.x, task), block(a, a.y, task)
    for i in range(g.size):
        signed = -g[i] if x[i] < ZERO else g[i]
        y[i] = ZERO if x[i] == ZERO else signed


@single
def abs_grad(g, x):
    """The gradient of |x|: g where x > 0, -g where x < 0, and 0 at 0."""
    if g.size < LEAST_SIZE or g.shape != np.shape(x):
        return reference.abs_grad(g, x)
    y = memory.empty(g.shape)
    launch(_abs_grad, g, x, y)
    return y


_bools_at = pointer_to(uint8)


@worker("size condition a b y", "number")
def _where(arguments, task, lane):
    """A choice of two arrays; where the address of one is 0, it is a number."""
    p = carray(arguments, 1)[0]
    y, number = block(p, p.y, task), p.number
    condition = carray(_bools_at(p.condition + BLOCK * task), y.size)
    a, b = block(p, p.a, task), block(p, p.b, task)
    if p.a == 0:
        for i in range(y.size):
            y[i] = number if condition[i] else b[i]
    elif p.b == 0:
        for i in range(y.size):
            y[i] = a[i] if condition[i] else number
    else:
        for i in range(y.size):
            y[i] = a[i] if condition[i] else b[i]


def where(condition, a, b):
    """a where the condition holds, else b; contiguous float32 arrays and numbers are served here."""
    given = [x for x in (a, b) if not isinstance(x, (int, float))]
    alike = isinstance(condition, np.ndarray) and condition.dtype == bool and condition.flags.c_contiguous
    if not (given and alike and all(_serves(x, LEAST_SIZE) and x.shape == condition.shape for x in given)):
        return reference.where(condition, a, b)
    y = memory.empty(condition.shape)
    number = next((float(x) for x in (a, b) if isinstance(x, (int, float))), 0.0)
    places = [0 if isinstance(x, (int, float)) else address(x) for x in (a, b)]
    pool.run(_where, _where.Arguments(y.size, address(condition), *places, address(y), number), block_count(y.size))
    return y
