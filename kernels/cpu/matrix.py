"""Matrix products, on the micro-kernels of convolution: b is packed panel by panel, a is read where it lies.

Both may be transposes of contiguous matrices. Every element is one sum in order of depth, which depends on neither the
other rows nor the number of threads. Only the sums of a product that is much deeper than wide and high are cut.
"""

import functools
from math import ceil

import numpy as np
from numba import carray

from .. import reference
from ..geometry import Geometry
from . import memory, pool
from .arithmetic import multiply
from .jit import worker
from .memory import address
from .operands import Operands
from .packing import PACK, pack_panel, packs_at, packs_of
from .problem import plan_of, weight_grad
from .products import LEAST_TASKS
from .registry import single
from .target import ADJACENT_HEIGHTS
from .tile import bits
from .tiling import (
    PanelKernels,
    Rows,
    Segments,
    even_rows,
    multiply_panel,
    panel_kernels,
    panels_of,
    tile_height,
)
from .vector_products import matrix_times_vector, vector_times_matrix
from .weight_sums import WeightSums

LEAST_BAND_ROWS = 64  # least rows of a band: packing a panel takes as long as multiplying a dozen of them
LEAST_PARALLEL_WORK = 1 << 18  # multiplications below which one thread is faster (measured)
DEPTH_RATIO = 8  # the depth is cut where it is more than this many times the width and the height


class PanelArguments:
    """What else `multiply_band` is asked for; a is x, b is w, and their product is y."""

    packs: np.ndarray  # the one record `Pack` of b
    width: int  # floats of a panel
    depth_stride: int  # bytes from an element of b to that of the next row
    output_stride: int  # and of the next column
    last_band: int  # first row of the last band, which ends with the last row
    band_source: int  # bytes from row to row of a
    band_target: int  # of y
    tasks: int  # of each product of a stack
    x_stack: int  # bytes from matrix to matrix of a stack
    w_stack: int
    y_stack: int


@worker(Operands, Rows, Segments, PanelKernels, PanelArguments)
def multiply_band(arguments, task, lane):
    """Multiply a band of rows of a by a panel of b, which is first packed into the lane's scratch memory.

    So a core reads what it has just written itself: panels that are packed by all cores for all took 1.3x (measured).
    """
    a = carray(arguments, 1)[0]
    stack, part = task // a.tasks, task % a.tasks
    panel, top = part % a.panels, min(part // a.panels * a.row_count, a.last_band)
    packed = a.scratch + lane * a.lane_bytes
    pack_panel(a, carray(packs_at(a.packs), 1)[0], panel, a.w + stack * a.w_stack, packed)
    source, target = a.x + stack * a.x_stack + top * a.band_source, a.y + stack * a.y_stack + top * a.band_target
    multiply_panel(a, panel, source, packed, target, a.bias, a.slope)


class MatrixProduct:
    """A plan of activation(bias + a @ b), for matrices (rows, depth) and (depth, columns), or stacks of them."""

    def __init__(self, a_shape, columns: int, a_transposed: bool, b_transposed: bool):
        stacks, rows, depth = a_shape
        panels = panels_of(columns)
        packs = packs_of([([(0, depth)], columns)], panels.width)
        self.threads, bands = 1, 1
        if stacks * rows * depth * columns > LEAST_PARALLEL_WORK:
            self.threads = pool.UNLIMITED
            bands = max(1, min(ceil(LEAST_TASKS / (stacks * panels.count)), rows // LEAST_BAND_ROWS))
        band_rows = ceil(rows / bands)
        tasks = ceil(rows / band_rows) * panels.count
        height = tile_height(band_rows, ADJACENT_HEIGHTS) if a_transposed else tile_height(band_rows)
        a_row, y_row = 4 if a_transposed else 4 * depth, 4 * columns
        self.shape, self.tasks = (stacks, rows, columns), stacks * tasks
        self.arguments = multiply_band.record.filled(
            even_rows(band_rows, a_row, y_row),
            Segments(4 * rows * np.arange(depth), depth) if a_transposed else Segments([0, depth], 1),
            panel_kernels(panels, height, a_transposed),
            lane_bytes=packs[0].panel_bytes,
            packs=PACK.table([tuple(packs)]),
            width=panels.width,
            depth_stride=4 if b_transposed else 4 * columns,
            output_stride=4 * depth if b_transposed else 4,
            last_band=rows - band_rows,
            band_source=a_row,
            band_target=y_row,
            tasks=tasks,
            y_stack=rows * y_row,
        )

    def __call__(self, a, b, bias=None, slope: float = 1.0) -> np.ndarray:
        """The products of float32 matrices, or stacks of them, that lie in memory as the plan says."""
        c, buffer = memory.empty(self.shape), memory.scratch(self.arguments.lane_bytes)
        call = multiply_band.Arguments.from_buffer_copy(self.arguments)
        call.x, call.w, call.y, call.scratch = address(a), address(b), address(c), address(buffer)
        call.x_stack, call.w_stack = (each.strides[0] if each.ndim == 3 else 0 for each in (a, b))
        call.bias, call.slope = 0 if bias is None else address(bias), bits(slope)
        pool.run(multiply_band, call, self.tasks, self.threads)
        return c


plan = functools.lru_cache(256)(MatrixProduct)


def _operand(x):
    """(x, whether its matrices are transposes of contiguous ones); those that are neither are copied."""
    row, element = x.strides[-2:]
    rows, columns = x.shape[-2:]
    if (row == 4 * columns or rows == 1) and (element == 4 or columns == 1):
        return x, False
    if (element == 4 * rows or columns == 1) and (row == 4 or rows == 1):
        return x, True
    return memory.contiguous(x), False


@single(strided=True)
def matmul(a, b, bias=None, slope=1.0):
    """activation(bias + a @ b) for matrices."""
    (rows, depth), columns = a.shape, b.shape[1]
    if not (rows and depth and columns):
        return reference.matmul(a, b, bias, slope)
    (a, a_transposed), (b, b_transposed) = _operand(a), _operand(b)
    if depth == 1:
        return reference.finished(multiply(a, b), bias, slope)
    if columns == 1:  # not for a single row, whose elements are those of the same row among others
        y = vector_times_matrix(b, a.T) if a_transposed else matrix_times_vector(a, b)
        return reference.finished(y.reshape(rows, 1), bias, slope)
    if a_transposed and not b_transposed and bias is None and slope == 1 and depth > DEPTH_RATIO * max(rows, columns):
        # The weight gradient of a layer with many examples, or pixels, which `weight_sums` cuts into runs.
        shapes = (depth, 1, 1, rows), (depth, 1, 1, columns), (1, 1)
        return plan_of(WeightSums, weight_grad, *shapes, Geometry())(a.T, b)[0, 0]
    bias = None if bias is None else memory.contiguous(bias)
    return plan((1, rows, depth), columns, a_transposed, b_transposed)(a, b, bias, slope)[0]


@single(strided=True)
def batched_matmul(a, b):
    """a[i] @ b[i] for stacks of matrices (B, M, K) and (B, K, N)."""
    (stacks, rows, depth), columns = a.shape, b.shape[2]
    if not (stacks and depth) or min(rows, columns) < 2:  # NumPy multiplies vectors as fast
        return reference.batched_matmul(a, b)
    (a, a_transposed), (b, b_transposed) = _operand(a), _operand(b)
    return plan(a.shape, columns, a_transposed, b_transposed)(a, b)
