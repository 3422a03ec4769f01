"""The arrays of a launch: of y = activation(bias + x * w), a convolution or a product, and of sums over x and g."""

import numpy as np

from . import memory, pool
from .jit import Address, Worker
from .memory import address
from .tile import bits


class Operands:
    """The arrays of y = activation(bias + x * w)."""

    x: Address
    w: Address  # as the worker reads them: the weights themselves, packed, or transformed
    y: Address
    bias: Address  # 0 for none
    slope: int  # of the leaky ReLU, 1 for none; the bits of a float32
    scratch: Address
    lane_bytes: int  # of the scratch memory of a thread


def computed(worker: Worker, arguments, tasks: int, x, w, y, bias, slope: float) -> np.ndarray:
    """y, written by all tasks of a worker, whose other arguments are known."""
    call, buffer = worker.Arguments.from_buffer_copy(arguments), memory.scratch(arguments.lane_bytes)
    call.x, call.w, call.y, call.scratch = address(x), address(w), address(y), address(buffer)
    call.bias, call.slope = 0 if bias is None else address(bias), bits(slope)
    pool.run(worker, call, tasks)
    return y


class SumOperands:
    """The arrays of sums of products of x and g."""

    x: Address
    g: Address
    sums: Address  # of all tasks
    scratch: Address
    lane_bytes: int  # of the scratch memory of a thread


def summed(worker: Worker, arguments, tasks: int, x, g, sums) -> np.ndarray:
    """The sums, written by all tasks of a worker, whose other arguments are known."""
    call, buffer = worker.Arguments.from_buffer_copy(arguments), memory.scratch(arguments.lane_bytes)
    call.x, call.g, call.sums, call.scratch = address(x), address(g), address(sums), address(buffer)
    pool.run(worker, call, tasks)
    return sums
