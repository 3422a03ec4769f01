"""A choice between two arrays, or an array and a number, at each place."""

import numpy as np
from numba import carray, uint8

from .. import reference
from . import memory, pool
from .blocks import BLOCK, block, block_count
from .ir import pointer_to
from .jit import worker
from .memory import address
from .registry import FLOAT32, registered

LEAST_SIZE = 4096  # elements below which NumPy is faster (measured)
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


def _serves(x, least: int) -> bool:
    """Whether x is a contiguous float32 array of at least `least` elements."""
    return isinstance(x, np.ndarray) and x.size >= least and x.dtype == FLOAT32 and x.flags.c_contiguous


@registered
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
