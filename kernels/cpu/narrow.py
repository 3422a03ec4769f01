"""Convolutions, and adjoints, whose outputs have fewer channels than a vector has elements.

    z[pixel, t, k] = sum over c of x[pixel, c] w[t, c, k]
    y[output, k] = activation(bias[k] + sum over taps t of z[the pixel that the output sees at t, t, k])

A direct sum would leave most of each vector empty. So every pixel is first multiplied by the weights of all taps and
channels together, which fill vectors, and each output then adds up the products of its taps.
"""

import functools
from dataclasses import dataclass
from math import ceil, prod

import numpy as np
from numba import carray

from ..geometry import Geometry
from . import memory
from .ir import as_float, floats_at, pointer_to
from .jit import Record, worker
from .operands import Operands, computed
from .problem import Problem
from .target import WIDTH
from .tile import NO_SLOPE
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
from .vector_math import leaky


@dataclass(frozen=True)
class TapRange:
    """The outputs of a phase whose input at a tap lies inside the image, and where they and their products are."""

    first_row: int
    last_row: int  # + 1, as the last column
    first_column: int
    last_column: int
    source: int  # float of the products of the input of output (0, 0), which may lie outside
    target: int  # float of output (0, 0) of the phase
    product: int  # float among the products of a pixel


TAP = Record(TapRange)
_taps_at = pointer_to(TAP.type)


class NarrowArguments:
    """What else `_narrow` is asked for."""

    image_bytes: int
    target_size: int  # floats of an image of outputs
    panel_bytes: int  # of packed weights
    pixel_floats: int  # that the products of a pixel take
    taps: np.ndarray  # a record `TapRange` for each tap of each phase
    tap_count: int
    source_row: int  # floats of products between the inputs of neighbouring rows of outputs
    source_column: int
    target_row: int  # floats between neighbouring rows of outputs of a phase
    target_column: int
    channels: int


@worker(Operands, Rows, Segments, PanelKernels, NarrowArguments)
def _narrow(arguments, task, lane):
    """Compute the outputs of one image."""
    a = carray(arguments, 1)[0]
    products = a.scratch + lane * a.lane_bytes
    for panel in range(a.panels):
        weights = a.w + panel * a.panel_bytes
        multiply_panel(a, panel, a.x + task * a.image_bytes, weights, products, 0, NO_SLOPE)
    product = carray(floats_at(products), a.row_count * a.pixel_floats)
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
    if a.slope != NO_SLOPE:
        slope = as_float(a.slope)
        for i in range(a.target_size):
            y[i] = leaky(y[i], y[i], slope)


@functools.lru_cache(1024)
def inside(offset: int, stride: int, outputs: int, inputs: int) -> tuple[int, int]:
    """The range of outputs i < `outputs` whose input offset + i * stride lies in [0, `inputs`)."""
    return max(0, -(offset // stride)), min(outputs, (inputs - 1 - offset) // stride + 1)


def tap_ranges(problem: Problem, phases, zeros, tap_order: list[int], pixel_floats: int) -> list[TapRange]:
    """The taps of all phases, without those that no output reads."""
    (_, height, width, _), (_, _, columns, channels) = problem.source, problem.target
    ((above, _), (before, _)), (stride, stride_across), ranges = zeros, problem.stride, []
    for phase in phases:
        target = (phase.top * columns + phase.left) * channels
        for tap in phase.blocks[0].taps:
            row, column = tap.row - above, tap.column - before
            rows = inside(row, stride, phase.rows, height)
            across = inside(column, stride_across, phase.columns, width)
            if rows[0] < rows[1] and across[0] < across[1]:
                ranges.append(
                    TapRange(
                        first_row=rows[0],
                        last_row=rows[1],
                        first_column=across[0],
                        last_column=across[1],
                        source=(row * width + column) * pixel_floats,
                        target=target,
                        product=tap_order.index(tap.index) * channels,
                    )
                )
    return ranges


class Narrow:
    """A plan of a convolution, or of its adjoint in x, to few channels; called like `products.Products`."""

    def __init__(self, problem: Problem):
        (_, height, width, depth), (_, _, columns, channels) = problem.source, problem.target
        self.shape, self.is_adjoint, (phases, zeros) = problem.target, problem.is_adjoint, problem.phases()
        self.tap_order = sorted({tap.index for phase in phases for tap in phase.blocks[0].taps})
        outputs, rows = len(self.tap_order) * channels, height * width
        pixel_floats = ceil(outputs / WIDTH) * WIDTH  # whole vectors
        panels = panels_of(pixel_floats)
        taps = TAP.table([(each,) for each in tap_ranges(problem, phases, zeros, self.tap_order, pixel_floats)])
        self.packed_shape = (panels.count, depth, panels.width)
        self.arguments = _narrow.record.filled(
            even_rows(rows, 4 * depth, 4 * pixel_floats),
            Segments([0, depth], 1),
            panel_kernels(panels, tile_height(rows)),
            lane_bytes=4 * rows * pixel_floats,
            image_bytes=4 * rows * depth,
            target_size=prod(self.shape[1:]),
            panel_bytes=4 * depth * panels.width,
            pixel_floats=pixel_floats,
            taps=taps,
            tap_count=len(taps),
            source_row=problem.stride[0] * width * pixel_floats,
            source_column=problem.stride[1] * pixel_floats,
            target_row=problem.step[0] * columns * channels,
            target_column=problem.step[1] * channels,
            channels=channels,
        )

    def __call__(self, x, w, bias=None, slope: float = 1.0) -> np.ndarray:
        """y for contiguous float32 arrays; `slope` is that of a leaky ReLU, 1 for none."""
        panels, depth, width = self.packed_shape
        weights = w.reshape(-1, *w.shape[2:])[self.tap_order]  # (taps, C, K), few numbers
        weights = weights.transpose(2, 0, 1) if self.is_adjoint else weights.transpose(1, 0, 2)
        matrix = memory.zeros((depth, panels * width))
        matrix[:, : weights.shape[1] * weights.shape[2]] = weights.reshape(depth, -1)
        packed = memory.contiguous(matrix.reshape(depth, panels, width).transpose(1, 0, 2))
        y = memory.empty(self.shape)
        return computed(_narrow, self.arguments, len(x), x, packed, y, bias, slope)


def serves(channels: int, w_shape, geometry: Geometry) -> bool:
    """Whether this algorithm is faster for a convolution, or adjoint, to `channels` channels."""
    if 2 * channels > WIDTH or w_shape[0] * w_shape[1] == 1:
        return False
    return geometry.groups == 1 and (geometry.mask is None or geometry.mask[1] == 1)
