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
from . import memory, pool, weight_sums
from .arithmetic import multiply
from .ir import call_rows
from .jit import worker
from .memory import address
from .products import LEAST_TASKS, PACK, bits, keep_table, pack_panel, packing, packs_at, panel_kernels, tile_height
from .single import single
from .target import ADJACENT_HEIGHTS, VECTORS, WIDTH
from .vector_products import matrix_times_vector, vector_times_matrix

LEAST_BAND_ROWS = 64  # least rows of a band: packing a panel takes as long as multiplying a dozen of them
LEAST_PARALLEL_WORK = 1 << 18  # multiplications below which one thread is faster (measured)
DEPTH_RATIO = 8  # the depth is cut where it is more than this many times the width and the height


@worker(
    "x w y bias slope scratch packs width depth_stride output_stride band_rows last_band band_source band_target "
    "row_source row_target segments count whole tail lanes tasks x_stack w_stack y_stack"
)
def multiply_panel(arguments, task, lane):
    """Multiply a band of rows of a by a panel of b, which is first packed into the lane's scratch memory.

    So a core reads what it has just written itself: panels that are packed by all cores for all took 1.3x (measured).
    """
    a = carray(arguments, 1)[0]
    p = carray(packs_at(a.packs), 1)[0]
    stack, part = task // a.tasks, task % a.tasks
    panel, top = part % p.panels, min(part // p.panels * a.band_rows, a.last_band)
    packed, shift = a.scratch + lane * p.panel_bytes, 4 * panel * a.width
    pack_panel(a, p, panel, a.w + stack * a.w_stack, packed)
    call_rows(
        a.tail if panel == p.panels - 1 else a.whole,
        (
            a.x + stack * a.x_stack + top * a.band_source,
            packed,
            a.y + stack * a.y_stack + top * a.band_target + shift,
            a.row_source,
            a.row_target,
            a.band_rows,
            a.segments,
            a.count,
            4 * a.width,
            a.bias + shift if a.bias else 0,
            a.slope,
            a.lanes,
        ),
    )


class MatrixProduct:
    """A plan of activation(bias + a @ b), for matrices (rows, depth) and (depth, columns), or stacks of them."""

    def __init__(self, stacks: int, rows: int, depth: int, columns: int, a_transposed: bool, b_transposed: bool):
        self.shape, self.tables = (stacks, rows, columns), []
        vectors = VECTORS if columns > WIDTH else 1
        packed = packing(self, [(0, depth)], columns, vectors * WIDTH)
        self.packs, self.panel_bytes = PACK.table([packed]), packed["panel_bytes"]
        self.threads, bands = 1, 1
        if stacks * rows * depth * columns > LEAST_PARALLEL_WORK:
            self.threads = pool.UNLIMITED
            bands = max(1, min(ceil(LEAST_TASKS / (stacks * packed["panels"])), rows // LEAST_BAND_ROWS))
        band_rows = ceil(rows / bands)
        tasks = ceil(rows / band_rows) * packed["panels"]
        self.tasks = stacks * tasks
        height = tile_height(band_rows, ADJACENT_HEIGHTS) if a_transposed else tile_height(band_rows)
        row_distance = 1 if a_transposed else depth
        segments = 4 * rows * np.arange(depth) if a_transposed else [0, depth]
        self.arguments = multiply_panel.Arguments(
            packs=address(self.packs),
            width=vectors * WIDTH,
            depth_stride=4 if b_transposed else 4 * columns,
            output_stride=4 * depth if b_transposed else 4,
            band_rows=band_rows,
            last_band=rows - band_rows,
            band_source=4 * row_distance,
            band_target=4 * columns,
            row_source=address(keep_table(self, 4 * row_distance * np.arange(band_rows))),
            row_target=address(keep_table(self, 4 * columns * np.arange(band_rows))),
            segments=address(keep_table(self, segments)),
            count=depth if a_transposed else 1,
            tasks=tasks,
            y_stack=4 * rows * columns,
            **panel_kernels(columns, vectors, height, a_transposed),
        )

    def __call__(self, a, b, bias=None, slope: float = 1.0) -> np.ndarray:
        """The products of float32 matrices, or stacks of them, that lie in memory as the plan says."""
        c, buffer = memory.empty(self.shape), memory.scratch(self.panel_bytes)
        call = multiply_panel.Arguments.from_buffer_copy(self.arguments)
        call.x, call.w, call.y, call.scratch = address(a), address(b), address(c), address(buffer)
        call.x_stack, call.w_stack = (each.strides[0] if each.ndim == 3 else 0 for each in (a, b))
        call.bias, call.slope = 0 if bias is None else address(bias), bits(slope)
        pool.run(multiply_panel, call, self.tasks, self.threads)
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
        return weight_sums.weight_plan((depth, 1, 1, rows), (depth, 1, 1, columns), (1, 1), Geometry())(a.T, b)[0, 0]
    bias = None if bias is None else memory.contiguous(bias)
    return plan(1, rows, depth, columns, a_transposed, b_transposed)(a, b, bias, slope)[0]


@single(strided=True)
def batched_matmul(a, b):
    """a[i] @ b[i] for stacks of matrices (B, M, K) and (B, K, N)."""
    (stacks, rows, depth), columns = a.shape, b.shape[2]
    if not (stacks and depth) or min(rows, columns) < 2:  # NumPy multiplies vectors as fast
        return reference.batched_matmul(a, b)
    (a, a_transposed), (b, b_transposed) = _operand(a), _operand(b)
    return plan(stacks, rows, depth, columns, a_transposed, b_transposed)(a, b)
