"""Winograd's minimal filtering (Lavin & Gray 2016, arXiv:1509.09308): 3x3 of stride 1, and 4x4 of stride 2.

A tile of 4x4 outputs costs 36 multiplications for each pair of channels instead of 144. A 4x4 convolution of stride 2
is a 2x2 convolution of stride 1 over the four phases of its input, (row, column) modulo 2, taken as channels; so is its
adjoint, whose outputs are in phases: 25 multiplications a phase instead of 64. Tiles are transformed a few at a time,
so that all that a task works on stays in the second-level cache, and multiplied by the micro-kernels of `tile.py`.
Errors are larger than those of direct sums: about 2e-6 of the largest output, against 2e-7 (measured on 64 channels;
the tests hold them to 1e-5). TINYGEN_WINOGRAD=0 turns it off.
"""

import functools
import os
from fractions import Fraction
from math import ceil, prod

import numpy as np
from numba import carray

from ..geometry import Geometry
from . import memory, pool
from .ir import VECTOR_BYTES, as_float, call_rows, clear, copy, finished_transform, grid_transform
from .jit import inlined, worker
from .memory import address
from .products import PACK, bits, keep_table, pack, packing, tile_cost, tile_height
from .target import HEIGHTS, VECTORS, WIDTH
from .tile import NO_SLOPE, product_rows

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


@worker("packed u u_point taps phases channels panels width")
def transform_weights(arguments, task, lane):
    """Write U[point, panel, phase and channel, output] for WIDTH neighbouring channels of a phase of the input."""
    a = carray(arguments, 1)[0]
    depth, row = a.phases * a.channels, 4 * a.width
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


@worker(
    "tiles tiles_per_task tiles_across tiles_down x u y bias slope taps source_phases target_phases height width "
    "source target rows columns above before top left scratch lane_bytes v m v_point m_point u_point panels "
    "panel_bytes panel_width entry row_source row_target segments"
)
def convolve(arguments, task, lane):
    """Compute `tiles_per_task` tiles of 4x4 outputs, in each phase."""
    a = carray(arguments, 1)[0]
    buffer = a.scratch + lane * a.lane_bytes
    v, m = buffer + a.v, buffer + a.m
    first, side = min(task * a.tiles_per_task, a.tiles - a.tiles_per_task), a.taps + 3
    tiles_of_image = a.tiles_across * a.tiles_down
    depth_bytes, output_bytes = (
        a.source_phases * a.source_phases * a.source,
        a.target_phases * a.target_phases * a.target,
    )
    distance, size = 4 * a.source_phases, side * a.source_phases
    for t in range(a.tiles_per_task):
        image, tile_index = divmod(first + t, tiles_of_image)
        row = tile_index // a.tiles_across * distance - a.above
        column = tile_index % a.tiles_across * distance - a.before
        start, down, across = patch(buffer, a.x, image, row, column, size, a.height, a.width, a.source, a.source)
        transform_patch(a.taps, start, down, across, a.source_phases, a.source, v + t * depth_bytes, a.v_point)
    for point in range(side * side):
        for panel in range(a.panels):
            call_rows(
                a.entry,
                (
                    v + point * a.v_point,
                    a.u + point * a.u_point + panel * a.panel_bytes,
                    m + point * a.m_point + panel * 4 * a.panel_width,
                    a.row_source,
                    a.row_target,
                    a.tiles_per_task,
                    a.segments,
                    1,
                    4 * a.panel_width,
                    0,
                    NO_SLOPE,
                    WIDTH,
                ),
            )
    slope, step = as_float(a.slope), a.target_phases
    line, pixel = step * a.columns * a.target, step * a.target
    for t in range(a.tiles_per_task):
        image, tile_index = divmod(first + t, tiles_of_image)
        for phase in range(step * step):
            row = tile_index // a.tiles_across * 4 * step + phase // step + a.top
            column = tile_index % a.tiles_across * 4 * step + phase % step + a.left
            low, high = (max(0, -row) + step - 1) // step, min(4, (a.rows - row + step - 1) // step)
            start, end = (max(0, -column) + step - 1) // step, min(4, (a.columns - column + step - 1) // step)
            is_inside = low == 0 and high == 4 and start == 0 and end == 4
            target = a.y + ((image * a.rows + row) * a.columns + column) * a.target
            target_row, target_column = (line, pixel) if is_inside else (4 * VECTOR_BYTES, VECTOR_BYTES)
            for c in range(0, a.target, VECTOR_BYTES):
                bias = a.bias + c if a.bias else 0
                source, to = m + t * output_bytes + phase * a.target + c, target + c if is_inside else buffer
                if a.taps == 3:
                    _output3(source, 6 * a.m_point, a.m_point, to, target_row, target_column, bias, slope)
                else:
                    _output2(source, 5 * a.m_point, a.m_point, to, target_row, target_column, bias, slope)
                if not is_inside:
                    for i in range(low, high):
                        for j in range(start, end):
                            result = buffer + (4 * i + j) * VECTOR_BYTES
                            copy(target + i * line + j * pixel + c, result, VECTOR_BYTES)


class Winograd:
    """A plan of a convolution, or of its adjoint in x; called like `products.Products`.

    `source` is (H, W, C) and its number of phases along an axis, `target` likewise; one of the two numbers is 1. Tile
    (i, j) sees the patch of the source whose first pixel is 4 (i, j) `source phases` - `corner`, and its first output,
    in phase 0, is 4 (i, j) `target phases` + `first`. `order` lists the taps of each phase of source and target.
    """

    def __init__(
        self, images, taps, source, target, tiles, corner, first, order, tap_size, depth_stride, output_stride
    ):
        ((height, width, channels), source_phases), ((rows, columns, outputs), target_phases) = source, target
        self.shape, self.tables = (images, rows, columns, outputs), []
        tiles_down, tiles_across = tiles
        all_tiles = images * tiles_down * tiles_across
        tiles_per_task = _tiles_per_task(all_tiles)
        depth, product_width, points = source_phases**2 * channels, target_phases**2 * outputs, (taps + 3) ** 2
        panel_width = VECTORS * WIDTH
        panels = product_width // panel_width  # no panel is partly filled: see `serves`
        packed_bytes = 4 * taps**2 * depth * panel_width  # of a panel
        packs = [
            packing(
                self,
                [(4 * tap * tap_size, channels) for tap in phase],
                outputs,
                panel_width,
                i * outputs // panel_width * packed_bytes,
            )
            for i, phase in enumerate(order)
        ]
        self.packs = PACK.table(packs)
        self.pack_arguments = pack.Arguments(
            packs=address(self.packs),
            pack_count=len(self.packs),
            width=panel_width,
            depth_stride=4 * depth_stride,
            output_stride=4 * output_stride,
        )
        # Points would compete for the same cache lines if they were a power of two apart.
        u_point, v_point, m_point = (
            4 * n + VECTOR_BYTES
            for n in (depth * product_width, depth * tiles_per_task, product_width * tiles_per_task)
        )
        self.weight_arguments = transform_weights.Arguments(
            u_point=u_point, taps=taps, phases=source_phases**2, channels=channels, panels=panels, width=panel_width
        )
        self.panels, self.depth = panels, depth
        self.packed_size, self.points_size = panels * packed_bytes // 4, points * u_point // 4
        v = max(points * 4 * depth, 16 * VECTOR_BYTES)
        m = v + points * v_point
        self.lane_bytes = m + points * m_point
        self.tasks = ceil(all_tiles / tiles_per_task)
        self.arguments = convolve.Arguments(
            tiles=all_tiles,
            tiles_per_task=tiles_per_task,
            tiles_across=tiles_across,
            tiles_down=tiles_down,
            taps=taps,
            source_phases=source_phases,
            target_phases=target_phases,
            height=height,
            width=width,
            source=4 * channels,
            target=4 * outputs,
            rows=rows,
            columns=columns,
            above=corner[0],
            before=corner[1],
            top=first[0],
            left=first[1],
            lane_bytes=self.lane_bytes,
            v=v,
            m=m,
            v_point=v_point,
            m_point=m_point,
            u_point=u_point,
            panels=panels,
            panel_bytes=4 * depth * panel_width,
            panel_width=panel_width,
            entry=product_rows(tile_height(tiles_per_task), VECTORS, False, False),
            row_source=address(keep_table(self, 4 * depth * np.arange(tiles_per_task))),
            row_target=address(keep_table(self, 4 * product_width * np.arange(tiles_per_task))),
            segments=address(keep_table(self, [0, depth])),
        )

    def __call__(self, x, w, bias=None, slope: float = 1.0) -> np.ndarray:
        packed, y = memory.aligned(self.packed_size), memory.empty(self.shape)
        u, buffer = memory.aligned(self.points_size), memory.scratch(self.lane_bytes)
        packing = pack.Arguments.from_buffer_copy(self.pack_arguments)
        packing.w, packing.packed = address(w), address(packed)
        pool.run(pack, packing, self.panels)
        weights = transform_weights.Arguments.from_buffer_copy(self.weight_arguments)
        weights.packed, weights.u = address(packed), address(u)
        pool.run(transform_weights, weights, self.depth // WIDTH)
        call = convolve.Arguments.from_buffer_copy(self.arguments)
        call.x, call.u, call.y, call.scratch = address(x), address(u), address(y), address(buffer)
        call.bias, call.slope = 0 if bias is None else address(bias), bits(slope)
        pool.run(convolve, call, self.tasks)
        return y


def _tiles_per_task(tiles: int) -> int:
    """How many tiles a task takes: at most TILES, and so that the last task repeats few tiles of the one before it."""
    if tiles <= TILES:
        return tiles
    return min(
        range(TILES, TILES // 2, -1), key=lambda count: ceil(tiles / count) * tile_cost(count, tile_height(count))
    )


def serves(w_shape, geometry: Geometry) -> bool:
    """Whether this algorithm is faster for a convolution with such a weight, and for its adjoints.

    Its input channels and its output channels must be whole panels, at least one each: with fewer the transforms cost
    more than they save.
    """
    kernel_size, channels, outputs = tuple(w_shape[:2]), *w_shape[2:]
    square = kernel_size[0] == kernel_size[1] and geometry.stride[0] == geometry.stride[1]
    return (
        square
        and (kernel_size[0], geometry.stride[0]) in TAPS
        and (geometry.dilation, geometry.groups, geometry.mask) == ((1, 1), 1, None)
        and channels % (VECTORS * WIDTH) == 0
        and outputs % (VECTORS * WIDTH) == 0
        and os.environ.get("TINYGEN_WINOGRAD", "1") != "0"
    )


def _taps_by_phase(size: int, stride: int, reverse: bool) -> list[list[int]]:
    """For each phase of a kernel, (row, column) modulo the stride, its taps in raster order, or in reverse."""
    order = range(0, size, stride)[::-1] if reverse else range(0, size, stride)
    return [[(a + i) * size + b + j for i in order for j in order] for a in range(stride) for b in range(stride)]


@functools.lru_cache(256)
def forward_plan(x_shape, w_shape, geometry: Geometry) -> Winograd:
    """The plan of `conv2d`."""
    images, *source = x_shape
    size, _, channels, outputs = w_shape
    stride, ((above, _), (before, _)) = geometry.stride[0], geometry.padding
    rows, columns = geometry.output_size(source[:2], w_shape[:2])
    return Winograd(
        images,
        TAPS[size, stride],
        (source, stride),
        ((rows, columns, outputs), 1),
        (ceil(rows / 4), ceil(columns / 4)),
        (above, before),
        (0, 0),
        [[tap for phase in _taps_by_phase(size, stride, False) for tap in phase]],
        channels * outputs,
        outputs,
        1,
    )


@functools.lru_cache(256)
def adjoint_plan(g_shape, w_shape, size, geometry: Geometry) -> Winograd:
    """The plan of `conv2d_input_grad`.

    With padding, x[s q + a] = sum over i of g[q - i] w[s i + a] in phase a: the tiles cover the q that x has.
    """
    images, *source = g_shape
    kernel, _, channels, outputs = w_shape
    stride = geometry.stride[0]
    taps, zeros = TAPS[kernel, stride], [before for before, _ in geometry.padding]
    starts = [before // stride for before in zeros]
    ends = [(before + n - 1) // stride + 1 for before, n in zip(zeros, size, strict=True)]
    return Winograd(
        images,
        taps,
        (source, 1),
        ((*size, channels), stride),
        tuple(ceil((end - start) / 4) for start, end in zip(starts, ends, strict=True)),
        tuple(taps - 1 - start for start in starts),
        tuple(stride * start - before for start, before in zip(starts, zeros, strict=True)),
        _taps_by_phase(kernel, stride, True),
        channels * outputs,
        1,
        outputs,
    )
