"""Winograd's minimal filtering (Lavin & Gray 2016, arXiv:1509.09308): 3x3 of stride 1, and 4x4 of stride 2.

    y = A'[(G w G') * (B' x B)]A, for each tile of 4x4 outputs; the products are summed over channels

A tile of 4x4 outputs costs 36 multiplications for each pair of channels instead of 144. A 4x4 convolution of stride 2
is a 2x2 convolution of stride 1 over the four phases of its input, (row, column) modulo 2, taken as channels; so is its
adjoint, whose outputs are in phases: 25 multiplications a phase instead of 64. Tiles are transformed a few at a time,
so that all that a task works on stays in the second-level cache, and multiplied by the micro-kernels of `tile.py`.
Errors are larger than those of direct sums: about 2e-6 of the largest output, against 2e-7 (measured on 64 channels;
the tests hold them to 1e-5). TINYGEN_WINOGRAD=0 turns it off.
"""

import os
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod

import numpy as np
from numba import carray

from ..geometry import Geometry
from . import memory, pool
from .ir import VECTOR_BYTES, as_float, clear, copy, finished_transform, grid_transform
from .jit import Address, inlined, worker
from .memory import address
from .operands import Operands, computed
from .packing import Packing, packs_of
from .problem import Problem
from .target import HEIGHTS, VECTORS, WIDTH
from .tile import NO_SLOPE
from .tiling import (
    PanelKernels,
    Rows,
    Segments,
    even_rows,
    multiply_panel,
    panel_kernels,
    panels_of,
    tile_cost,
    tile_height,
)

TAPS = {(3, 1): 3, (4, 2): 2}  # taps of a phase along an axis, by (kernel size, stride)
POINTS = [Fraction(n, 4) for n in (0, 3, -3, 6, -6)]  # rounding errors are a third of those of 0, +-1, +-2 (measured)


def _multiplied_out(roots) -> list[Fraction]:
    """The coefficients of the product of all (z - root), lowest power first."""
    product = [Fraction(1)]
    for root in roots:
        product = [low - root * high for low, high in zip([0, *product], [*product, 0], strict=True)]
    return product


def matrices(taps: int):
    """B', G and A' of y = A'[(G w G') * (B' x B)]A, for 4 outputs and `taps` taps (Toom and Cook).

    They evaluate polynomials at the first `taps + 2` of POINTS, and at infinity.
    """
    points = POINTS[: taps + 2]
    others = [[q for q in points if q != p] for p in points]
    b_t = [[*_multiplied_out(rest), 0] for rest in others] + [_multiplied_out(points)]
    g = [[p**k / prod(p - q for q in rest) for k in range(taps)] for p, rest in zip(points, others, strict=True)]
    a_t = [[*(p**k for p in points), int(k == 3)] for k in range(4)]
    return b_t, [*g, [int(k == taps - 1) for k in range(taps)]], a_t


_B_T3, _G3, _A_T3 = matrices(3)
_B_T2, _G2, _A_T2 = matrices(2)
_input3, _input2 = grid_transform(_B_T3), grid_transform(_B_T2)
_weight3, _weight2 = grid_transform(_G3), grid_transform(_G2)
_output3, _output2 = finished_transform(_A_T3), finished_transform(_A_T2)
TILES = 4 * HEIGHTS[0]  # most tiles that a task transforms at a time
PANEL = VECTORS * WIDTH  # floats; no panel is partly filled: see `serves`
PANEL_BYTES = 4 * PANEL


def serves(w_shape, geometry: Geometry) -> bool:
    """Whether this algorithm is faster for a convolution with such a weight, and for its adjoints.

    Its input channels and its output channels must be whole panels, at least one each: with fewer the transforms cost
    more than they save.
    """
    rows, columns, channels, outputs = w_shape
    return (
        channels % PANEL == 0
        and outputs % PANEL == 0
        and rows == columns
        and geometry.stride[0] == geometry.stride[1]
        and (rows, geometry.stride[0]) in TAPS
        and (geometry.dilation, geometry.groups, geometry.mask) == ((1, 1), 1, None)
        and os.environ.get("TINYGEN_WINOGRAD", "1") != "0"
    )


@dataclass(frozen=True)
class Images:
    """The images that are read and written, of which one kind has phases: (row, column) modulo the stride."""

    taps: int  # of a phase, along an axis
    source_phases: int  # along an axis
    target_phases: int
    height: int  # of the source
    width: int
    rows: int  # of the target
    columns: int
    source: int  # bytes of a pixel
    target: int


def images_of(problem: Problem) -> Images:
    """The images of a problem."""
    (_, height, width, channels), (_, rows, columns, outputs) = problem.source, problem.target
    return Images(
        taps=TAPS[problem.weight[0], problem.geometry.stride[0]],
        source_phases=problem.stride[0],
        target_phases=problem.step[0],
        height=height,
        width=width,
        rows=rows,
        columns=columns,
        source=4 * channels,
        target=4 * outputs,
    )


@dataclass(frozen=True)
class Tiles:
    """The tiles of 4x4 outputs in each phase."""

    tiles: int  # of all images
    tiles_down: int  # of an image
    tiles_across: int
    above: int  # rows by which the patch of the first tile begins above the source
    before: int  # columns by which it begins before the source
    top: int  # first row of the first tile in the target, in phase 0; negative above it
    left: int


def tiles_of(problem: Problem) -> Tiles:
    """The tiles of a problem."""
    (down, above, top), (across, before, left) = (tiled_axis(problem, axis) for axis in (0, 1))
    return Tiles(
        tiles=problem.source[0] * down * across,
        tiles_down=down,
        tiles_across=across,
        above=above,
        before=before,
        top=top,
        left=left,
    )


def tiled_axis(problem: Problem, axis: int) -> tuple[int, int, int]:
    """(tiles along an axis, where their first patch begins before the source, where the first tile begins).

    In phase a of the adjoint, x[s q - padding + a] = sum over i of g[q - i] w[s i + a]: tiles cover the q that x has.
    """
    size, (zeros, _), stride = problem.target[1 + axis], problem.geometry.padding[axis], problem.geometry.stride[axis]
    if not problem.is_adjoint:
        return ceil(size / 4), zeros, 0
    start, end = zeros // stride, (zeros + size - 1) // stride + 1
    return ceil((end - start) / 4), TAPS[problem.weight[0], stride] - 1 - start, stride * start - zeros


def tiles_per_task(tiles: int) -> int:
    """How many tiles a task takes: at most TILES, and so that the last task repeats few tiles of the one before it."""
    if tiles <= TILES:
        return tiles
    return min(
        range(TILES, TILES // 2, -1), key=lambda count: ceil(tiles / count) * tile_cost(count, tile_height(count))
    )


@inlined
def transform_patch(taps, x, row, column, phases, part, v, point):
    """Transform the patch at x into v: `part` bytes of its pixels, at all points; its phases become channels.

    Neighbouring pixels of the patch are `row` and `column` bytes apart.
    """
    for phase in range(phases * phases):
        corner = x + phase // phases * row + phase % phases * column
        target = v + phase * part
        for c in range(0, part, VECTOR_BYTES):
            if taps == 3:
                _input3(corner + c, phases * row, phases * column, target + c, 6 * point, point)
            else:
                _input2(corner + c, phases * row, phases * column, target + c, 5 * point, point)


@inlined
def patch(buffer, x, image, row, column, size, height, width, pixel, part):
    """The address of a patch of `size` x `size` pixels, and the distances in bytes between its rows and its columns.

    A pixel takes `pixel` bytes. Where the patch reaches over the edge of the image, the first `part` bytes of each of
    its pixels are copied into `buffer`, with zeros for the pixels outside.
    """
    if row >= 0 and column >= 0 and row + size <= height and column + size <= width:
        return x + ((image * height + row) * width + column) * pixel, width * pixel, pixel
    first, last = max(0, -column), min(size, width - column)
    for i in range(size):
        target = buffer + i * size * part
        if 0 <= row + i < height and first < last:
            clear(target, first * part)
            source = x + ((image * height + row + i) * width + column + first) * pixel
            if part == pixel:
                copy(target + first * part, source, (last - first) * part)
            else:
                for j in range(last - first):
                    copy(target + (first + j) * part, source + j * pixel, part)
            clear(target + last * part, (size - last) * part)
        else:
            clear(target, size * part)
    return buffer, size * part, part


class WeightArguments:
    """What `transform_weights` is asked for."""

    packed: Address  # weights in panels
    u: Address
    u_point: int  # bytes from point to point of u
    taps: int  # of a phase, along an axis
    phases: int  # of the source
    channels: int  # of the source
    panels: int


@worker(WeightArguments)
def transform_weights(arguments, task, lane):
    """Write u[point, panel, phase and channel, output] for WIDTH neighbouring channels of a phase of the input."""
    a = carray(arguments, 1)[0]
    depth, row = a.phases * a.channels, PANEL_BYTES
    tap = a.channels * row
    phase, first = divmod(task * WIDTH, a.channels)
    for panel in range(a.panels):
        block = a.packed + (panel * a.phases + phase) * a.taps * a.taps * tap + first * row
        for v in range(0, WIDTH * row, VECTOR_BYTES):
            source, target = block + v, a.u + (panel * depth + task * WIDTH) * row + v
            if a.taps == 3:
                _weight3(source, 3 * tap, tap, target, 6 * a.u_point, a.u_point)
            else:
                _weight2(source, 2 * tap, tap, target, 5 * a.u_point, a.u_point)


@dataclass(frozen=True)
class Transformed:
    """The scratch memory of a task: transformed tiles v[point, tile, phase and channel], and their products m.

    Before them lies a patch that reaches over the edge of its image, and later a tile that does. Points would compete
    for the same cache lines if they were a power of two apart.
    """

    v: int  # bytes from the beginning of the scratch memory
    m: int
    v_point: int  # bytes from point to point
    m_point: int


def transformed_of(points: int, tiles: int, depth: int, width: int) -> Transformed:
    """The place for `tiles` tiles with `depth` inputs and `width` outputs at each of some points."""
    v_point, m_point = spaced(tiles * depth), spaced(tiles * width)
    v = max(points * 4 * depth, 16 * VECTOR_BYTES)
    return Transformed(v, v + points * v_point, v_point, m_point)


def spaced(floats: int) -> int:
    """The bytes from point to point, for that many floats."""
    return 4 * floats + VECTOR_BYTES


class ConvolveArguments:
    """What else `convolve` is asked for."""

    tiles_per_task: int
    u_point: int  # bytes from point to point of u
    panel_bytes: int  # of u


@inlined
def place_of(a, tile):
    """(image, row, column) of the first output of a tile among those of a phase."""
    image, index = divmod(tile, a.tiles_across * a.tiles_down)
    row, column = divmod(index, a.tiles_across)
    return image, 4 * row, 4 * column


@inlined
def transform_tile(a, buffer, x, part, place, v):
    """Transform the patch of a tile into v: `part` bytes of its pixels."""
    image, row, column = place
    top, left, size = (
        row * a.source_phases - a.above,
        column * a.source_phases - a.before,
        (a.taps + 3) * a.source_phases,
    )
    start, down, across = patch(buffer, x, image, top, left, size, a.height, a.width, a.source, part)
    transform_patch(a.taps, start, down, across, a.source_phases, part, v, a.v_point)


@inlined
def write_tile(a, buffer, place, phase, m):
    """Write the outputs of a tile in a phase, without those outside the image."""
    image, step, slope = place[0], a.target_phases, as_float(a.slope)
    line, pixel = step * a.columns * a.target, step * a.target
    row = place[1] * step + phase // step + a.top
    column = place[2] * step + phase % step + a.left
    low, high = (max(0, -row) + step - 1) // step, min(4, (a.rows - row + step - 1) // step)
    start, end = (max(0, -column) + step - 1) // step, min(4, (a.columns - column + step - 1) // step)
    is_inside = low == 0 and high == 4 and start == 0 and end == 4
    target = a.y + ((image * a.rows + row) * a.columns + column) * a.target
    target_row, target_column = (line, pixel) if is_inside else (4 * VECTOR_BYTES, VECTOR_BYTES)
    for c in range(0, a.target, VECTOR_BYTES):
        bias, to = a.bias + c if a.bias else 0, target + c if is_inside else buffer
        if a.taps == 3:
            _output3(m + c, 6 * a.m_point, a.m_point, to, target_row, target_column, bias, slope)
        else:
            _output2(m + c, 5 * a.m_point, a.m_point, to, target_row, target_column, bias, slope)
        if not is_inside:
            for i in range(low, high):
                for j in range(start, end):
                    result = buffer + (4 * i + j) * VECTOR_BYTES
                    copy(target + i * line + j * pixel + c, result, VECTOR_BYTES)


@worker(Operands, Images, Tiles, Transformed, Rows, Segments, PanelKernels, ConvolveArguments)
def convolve(arguments, task, lane):
    """Compute `tiles_per_task` tiles of 4x4 outputs, in each phase."""
    a = carray(arguments, 1)[0]
    buffer = a.scratch + lane * a.lane_bytes
    v, m, first = buffer + a.v, buffer + a.m, min(task * a.tiles_per_task, a.tiles - a.tiles_per_task)
    depth_bytes, phases = a.source_phases * a.source_phases * a.source, a.target_phases * a.target_phases
    for t in range(a.tiles_per_task):
        transform_tile(a, buffer, a.x, a.source, place_of(a, first + t), v + t * depth_bytes)
    for point in range((a.taps + 3) * (a.taps + 3)):
        for panel in range(a.panels):
            weights = a.w + point * a.u_point + panel * a.panel_bytes
            multiply_panel(a, panel, v + point * a.v_point, weights, m + point * a.m_point, 0, NO_SLOPE)
    for t in range(a.tiles_per_task):
        place = place_of(a, first + t)
        for phase in range(phases):
            write_tile(a, buffer, place, phase, m + (t * phases + phase) * a.target)


def taps_by_phase(size: int, stride: int, reverse: bool) -> list[list[int]]:
    """For each phase of a kernel, (row, column) modulo the stride, its taps in raster order, or in reverse."""
    order = range(0, size, stride)[::-1] if reverse else range(0, size, stride)
    return [[(a + i) * size + b + j for i in order for j in order] for a in range(stride) for b in range(stride)]


def packs_for(problem: Problem):
    """The weights of each phase of the target, whose rows are the taps of each phase of the source."""
    kernel, stride, (tap_bytes, _, _) = problem.weight[0], problem.geometry.stride[0], problem.weight_strides
    channels, outputs = problem.source[3], problem.target[3]
    order = taps_by_phase(kernel, stride, problem.is_adjoint)
    order = order if problem.is_adjoint else [[tap for taps in order for tap in taps]]
    return packs_of([([(tap * tap_bytes, channels) for tap in taps], outputs) for taps in order], PANEL)


class Winograd:
    """A plan of a convolution, or of its adjoint in x; called like `products.Products`."""

    def __init__(self, problem: Problem):
        images, tiles = images_of(problem), tiles_of(problem)
        channels, outputs = problem.source[3], problem.target[3]
        depth, width = images.source_phases**2 * channels, images.target_phases**2 * outputs
        count, points, panels = tiles_per_task(tiles.tiles), (images.taps + 3) ** 2, panels_of(width)
        transformed, u_point = transformed_of(points, count, depth, width), spaced(depth * width)
        _, depth_stride, output_stride = problem.weight_strides
        self.packing = Packing(packs_for(problem), PANEL, depth_stride, output_stride)
        self.weight_arguments = transform_weights.record.filled(
            u_point=u_point,
            taps=images.taps,
            phases=images.source_phases**2,
            channels=channels,
            panels=panels.count,
        )
        self.shape, self.tasks, self.weight_tasks = problem.target, ceil(tiles.tiles / count), depth // WIDTH
        self.points_size = points * u_point // 4
        self.arguments = convolve.record.filled(
            images,
            tiles,
            transformed,
            even_rows(count, 4 * depth, 4 * width),
            Segments([0, depth], 1),
            panel_kernels(panels, tile_height(count)),
            lane_bytes=transformed.m + points * transformed.m_point,
            tiles_per_task=count,
            u_point=u_point,
            panel_bytes=depth * PANEL_BYTES,
        )

    def __call__(self, x, w, bias=None, slope: float = 1.0) -> np.ndarray:
        """y for contiguous float32 arrays; `slope` is that of a leaky ReLU, 1 for none."""
        packed, y, u = self.packing(w), memory.empty(self.shape), memory.aligned(self.points_size)
        weights = transform_weights.Arguments.from_buffer_copy(self.weight_arguments)
        weights.packed, weights.u = address(packed), address(u)
        pool.run(transform_weights, weights, self.weight_tasks)
        return computed(convolve, self.arguments, self.tasks, x, u, y, bias, slope)
