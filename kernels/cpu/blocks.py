"""Arrays in blocks of a fixed size, of which a task does one."""

from numba import carray

from .ir import doubles_at, floats_at
from .jit import jit
from .target import L2_BYTES

BLOCK = L2_BYTES // 64  # elements of a task: five arrays of them, the most that one has, fill a third of the cache


def block_count(size: int) -> int:
    """The number of blocks of BLOCK elements that `size` elements are cut into."""
    return -(-size // BLOCK)


@jit
def block(a, start, task):
    """The float32 elements of a task, in an array of a.size elements at an address."""
    return carray(floats_at(start + 4 * BLOCK * task), min(BLOCK, a.size - BLOCK * task))


@jit
def double_block(a, start, task):
    """The float64 elements of a task, in an array of a.size elements at an address."""
    return carray(doubles_at(start + 8 * BLOCK * task), min(BLOCK, a.size - BLOCK * task))
