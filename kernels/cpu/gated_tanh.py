"""The gated activation of PixelCNNs (van den Oord et al. 2016, arXiv:1606.05328): y = tanh(a) s(b).

a and b are the halves of the last axis, s is the logistic function.
"""

from numba import carray

from .. import reference
from . import memory, pool
from .blocks import BLOCK
from .ir import floats_at
from .jit import inlined, worker
from .memory import address
from .registry import single
from .vector_math import ONE, sigmoid, tanh


@worker("rows rows_per_task half x y")
def _gated_tanh(arguments, task, lane):
    p = carray(arguments, 1)[0]
    half = p.half
    for row in range(task * p.rows_per_task, min((task + 1) * p.rows_per_task, p.rows)):
        a, b = _halves(p.x, row, half)
        y = carray(floats_at(p.y + 4 * half * row), half)
        for i in range(half):
            y[i] = tanh(a[i]) * sigmoid(b[i])


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
            t, s = tanh(a[i]), sigmoid(b[i])
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
