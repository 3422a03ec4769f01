"""Convolutions, and adjoints, whose outputs have fewer channels than a vector has elements.

A direct sum would leave most of each vector empty. So every pixel is first multiplied by the weights of all taps and
channels together, which fill vectors, and each output then adds up the products of its taps.
"""

import functools
from math import ceil

import numpy as np
from numba import carray

from ..geometry import Geometry
from ..taps import adjoint_phases, forward_phases
from . import memory, pool
from .ir import call_rows, floats_at, pointer_to
from .jit import Record, worker
from .memory import address
from .products import tile_height
from .target import VECTORS, WIDTH
from .tile import NO_SLOPE, product_rows
from .vector_math import leaky

# A tap is inside the input for the outputs in [first_row, last_row) x [first_column, last_column) of a phase. Its
# products begin at float `product` of those of a pixel.
TAP = Record("first_row last_row first_column last_column source target product")
_taps_at = pointer_to(TAP.type)


@worker(
    "x packed y bias scratch lane_bytes image_bytes target_size panels panel_bytes panel_width width rows row_source "
    "row_target segments whole tail lanes taps tap_count source_row source_column target_row target_column channels",
    "slope",
)
def _narrow(arguments, task, lane):
    """Compute the outputs of one image."""
    a = carray(arguments, 1)[0]
    products = a.scratch + lane * a.lane_bytes
    for panel in range(a.panels):
        call_rows(
            a.tail if panel == a.panels - 1 else a.whole,
            (
                a.x + task * a.image_bytes,
                a.packed + panel * a.panel_bytes,
                products + panel * 4 * a.panel_width,
                a.row_source,
                a.row_target,
                a.rows,
                a.segments,
                1,
                4 * a.panel_width,
                0,
                NO_SLOPE,
                a.lanes,
            ),
        )
    product = carray(floats_at(products), a.rows * a.width)
    y = carray(floats_at(a.y + 4 * task * a.target_size), a.target_size)
    taps = carray(_taps_at(a.taps), a.tap_count)
    bias = carray(floats_at(a.bias), a.channels)
    for i in range(0, a.target_size, a.channels):
        for c in range(a.channels):
            y[i + c] = bias[c] if a.bias else np.float32(0)
    for t in range(a.tap_count):
        tap = taps[t]
        for i in range(tap.first_row, tap.last_row):
            for c in range(a.channels):
                read = tap.source + i * a.source_row + tap.first_column * a.source_column + tap.product + c
                write = tap.target + i * a.target_row + tap.first_column * a.target_column + c
                for _ in range(tap.last_column - tap.first_column):
                    y[write] += product[read]
                    read += a.source_column
                    write += a.target_column
    if a.slope != 1:
        slope = a.slope
        for i in range(a.target_size):
            y[i] = leaky(y[i], y[i], slope)


class Narrow:
    """A plan of a convolution or its adjoint to few channels; called like `products.Products`."""

    def __init__(self, images, source, stride, zeros, target, step, phases, transposed: bool):
        (height, width, depth), (_, columns, channels) = source, target
        self.shape, self.transposed = (images, *target), transposed
        tap_order = sorted({tap.index for phase in phases for tap in phase.blocks[0].taps})
        outputs = len(tap_order) * channels
        vectors = VECTORS if outputs > WIDTH else 1
        panel_width = vectors * WIDTH
        panels, last = ceil(outputs / panel_width), (outputs - 1) % panel_width + 1
        line = ceil(outputs / WIDTH) * WIDTH  # floats that a pixel's products take
        rows = height * width
        tile = tile_height(rows)
        taps = []
        for phase in phases:
            for tap in phase.blocks[0].taps:
                row, column = tap.row - zeros[0][0], tap.column - zeros[1][0]
                first_row, last_row = _outputs_inside(row, stride[0], phase.rows, height)
                first_column, last_column = _outputs_inside(column, stride[1], phase.columns, width)
                if first_row < last_row and first_column < last_column:
                    taps.append(
                        {
                            "first_row": first_row,
                            "last_row": last_row,
                            "first_column": first_column,
                            "last_column": last_column,
                            "source": (row * width + column) * line,
                            "target": (phase.top * columns + phase.left) * channels,
                            "product": tap_order.index(tap.index) * channels,
                        }
                    )
        self.taps, self.tap_order, self.panels = TAP.table(taps), tap_order, panels
        self.packed_shape = (panels, depth, panel_width)
        self.tables = [4 * depth * np.arange(rows), 4 * line * np.arange(rows), np.array([0, depth])]
        self.lane_bytes = 4 * rows * line
        self.arguments = _narrow.Arguments(
            lane_bytes=self.lane_bytes,
            image_bytes=4 * rows * depth,
            target_size=target[0] * columns * channels,
            panels=panels,
            panel_bytes=4 * depth * panel_width,
            panel_width=panel_width,
            width=line,
            rows=rows,
            row_source=address(self.tables[0]),
            row_target=address(self.tables[1]),
            segments=address(self.tables[2]),
            whole=product_rows(tile, vectors, False, False) if panels > 1 else 0,
            tail=product_rows(tile, ceil(last / WIDTH), False, False),
            lanes=WIDTH,
            taps=address(self.taps),
            tap_count=len(taps),
            source_row=stride[0] * width * line,
            source_column=stride[1] * line,
            target_row=step[0] * columns * channels,
            target_column=step[1] * channels,
            channels=channels,
        )

    def __call__(self, x, w, bias=None, slope: float = 1.0) -> np.ndarray:
        """y for contiguous float32 arrays; `slope` is that of a leaky ReLU, 1 for none."""
        panels, depth, width = self.packed_shape
        weights = w.reshape(-1, *w.shape[2:])[self.tap_order]  # (taps, C, K), few numbers
        weights = weights.transpose(2, 0, 1) if self.transposed else weights.transpose(1, 0, 2)
        matrix = memory.zeros((depth, panels * width))
        matrix[:, : weights.shape[1] * weights.shape[2]] = weights.reshape(depth, -1)
        packed = memory.contiguous(matrix.reshape(depth, panels, width).transpose(1, 0, 2))
        y, buffer = memory.empty(self.shape), memory.scratch(self.lane_bytes)
        call = _narrow.Arguments.from_buffer_copy(self.arguments)
        call.x, call.packed, call.y, call.scratch = address(x), address(packed), address(y), address(buffer)
        call.bias, call.slope = 0 if bias is None else address(bias), slope
        pool.run(_narrow, call, len(x))
        return y


def _outputs_inside(offset: int, stride: int, outputs: int, inputs: int) -> tuple[int, int]:
    """The range of outputs i < `outputs` whose input offset + i * stride lies in [0, `inputs`)."""
    return max(0, ceil(-offset / stride)), min(outputs, (inputs - 1 - offset) // stride + 1)


def serves(channels: int, w_shape, geometry: Geometry) -> bool:
    """Whether this algorithm is faster for a convolution, or adjoint, to `channels` channels."""
    same_taps = geometry.groups == 1 and (geometry.mask is None or geometry.mask[1] == 1)
    return w_shape[0] * w_shape[1] > 1 and 2 * channels <= WIDTH and same_taps


@functools.lru_cache(256)
def forward_plan(x_shape, w_shape, geometry: Geometry) -> Narrow:
    """The plan of `conv2d`."""
    images, *source = x_shape
    size = geometry.output_size(source[:2], w_shape[:2])
    phases = forward_phases(w_shape[:2], size, *w_shape[2:], geometry)
    target = (*size, w_shape[3])
    return Narrow(images, source, geometry.stride, geometry.padding, target, (1, 1), phases, False)


@functools.lru_cache(256)
def adjoint_plan(g_shape, w_shape, size, geometry: Geometry) -> Narrow:
    """The plan of `conv2d_input_grad`."""
    images, *source = g_shape
    phases, zeros = adjoint_phases(w_shape[:2], size, source[:2], *w_shape[2:], geometry)
    return Narrow(images, source, (1, 1), zeros, (*size, w_shape[2]), geometry.stride, phases, True)
