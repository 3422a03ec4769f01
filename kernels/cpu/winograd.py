"""Winograd's minimal filtering F(4x4, 3x3) (Lavin & Gray 2016, arXiv:1509.09308): 3x3 convolutions of stride 1.

A tile of 4x4 outputs costs 36 multiplications for each pair of channels instead of 144. Tiles are transformed a few at
a time, so that all that a task works on stays in the second-level cache, and multiplied by the micro-kernels of
`tile.py`. Errors are larger than those of direct sums: about 2e-6 of the largest output, against 2e-7 (measured on 64
channels; the tests hold them to 1e-5). TINYGEN_WINOGRAD=0 turns it off.
"""

import functools
import os
from fractions import Fraction
from math import ceil, prod

import numpy as np
from numba import carray

from ..geometry import Geometry
from ..taps import adjoint_phases, forward_phases
from . import pool
from .ir import VECTOR_BYTES, as_float, call_rows, clear, copy, finished_transform, floats_at, grid_transform, word
from .jit import inlined, worker
from .pool import address
from .products import PACK, bits, pack, tile_height
from .target import HEIGHTS, VECTORS, WIDTH
from .tile import NO_SLOPE, outer_sums, product_rows
from .weight_sums import TASKS, cut_into_tiles


def _multiplied_out(roots) -> list[Fraction]:
    """The coefficients of the product of all (z - root), of the lowest power first."""
    product = [Fraction(1)]
    for root in roots:
        product = [low - root * high for low, high in zip([0, *product], [*product, 0], strict=True)]
    return product


def _matrices(points):
    """B', G and A' of y = A'[(G w G') * (B' x B)]A for the points and infinity (Toom and Cook)."""
    others = [[q for q in points if q != p] for p in points]
    b_t = [[*_multiplied_out(rest), 0] for rest in others] + [_multiplied_out(points)]
    g = [[p**k / prod(p - q for q in rest) for k in range(3)] for p, rest in zip(points, others, strict=True)]
    a_t = [[*(p**k for p in points), int(k == 3)] for k in range(4)]
    return b_t, [*g, [0, 0, 1]], a_t


# Opposite points share their sums. These have a third of the rounding error of the usual 0, +-1, +-2 (measured).
B_T, G, A_T = _matrices([Fraction(n, 4) for n in (0, 3, -3, 6, -6)])
POINTS = 36
TILES = 4 * HEIGHTS[0]  # that a task transforms at a time

_input = grid_transform(B_T)
_weight = grid_transform(G)
_output = finished_transform(A_T)
_gradient = grid_transform(tuple(zip(*A_T, strict=True)))  # the weight gradient's: dw = G'[(A g A') * (B' x B)]G
_weight_gradient = grid_transform(tuple(zip(*G, strict=True)))


@inlined
def patch(room, x, image, row, column, size, height, width, pixel):
    """The address of a `size` x `size` patch of an image of `pixel` bytes a pixel, and the bytes from row to row.

    Where it reaches over the edge, it is copied into `room`, with zeros.
    """
    if row >= 0 and column >= 0 and row + size <= height and column + size <= width:
        return x + ((image * height + row) * width + column) * pixel, width * pixel
    first, last = max(0, -column), min(size, width - column)
    for i in range(size):
        target = room + i * size * pixel
        if 0 <= row + i < height and first < last:
            clear(target, first * pixel)
            source = x + ((image * height + row + i) * width + column + first) * pixel
            copy(target + first * pixel, source, (last - first) * pixel)
            clear(target + last * pixel, (size - last) * pixel)
        else:
            clear(target, size * pixel)
    return room, size * pixel


@worker("packed u panels depth width")
def transform_weights(arguments, task, lane):
    """One task: U[point, panel, channel, output] for the input channel number `task`."""
    a = carray(arguments, 1)[0]
    row = 4 * a.width
    tap, point = a.depth * row, a.panels * a.depth * row
    for panel in range(a.panels):
        for v in range(0, row, VECTOR_BYTES):
            source = a.packed + (panel * 9 * a.depth + task) * row + v
            _weight(source, 3 * tap, tap, a.u + (panel * a.depth + task) * row + v, 6 * point, point)


@worker(
    "tiles across down x u y bias slope height width source target rows columns above before scratch lane_bytes v m "
    "v_point m_point panels panel_width entry row_source row_target segments"
)
def convolve(arguments, task, lane):
    """One task: TILES tiles of 4x4 outputs."""
    a = carray(arguments, 1)[0]
    room = a.scratch + lane * a.lane_bytes
    v, m = room + a.v, room + a.m
    first = min(task * TILES, a.tiles - min(TILES, a.tiles))
    count = min(TILES, a.tiles)
    each = a.across * a.down
    for t in range(count):
        image, place = divmod(first + t, each)
        row, column = place // a.across * 4 - a.above, place % a.across * 4 - a.before
        start, pitch = patch(room, a.x, image, row, column, 6, a.height, a.width, a.source)
        for c in range(0, a.source, VECTOR_BYTES):
            _input(start + c, pitch, a.source, v + t * a.source + c, 6 * a.v_point, a.v_point)
    panel_bytes = a.source * a.panel_width
    for point in range(POINTS):
        for panel in range(a.panels):
            call_rows(
                a.entry,
                (
                    v + point * a.v_point,
                    a.u + (point * a.panels + panel) * panel_bytes,
                    m + point * a.m_point + panel * 4 * a.panel_width,
                    a.row_source,
                    a.row_target,
                    count,
                    a.segments,
                    1,
                    4 * a.panel_width,
                    0,
                    NO_SLOPE,
                    WIDTH,
                ),
            )
    slope = as_float(a.slope)
    for t in range(count):
        image, place = divmod(first + t, each)
        row, column = place // a.across * 4, place % a.across * 4
        high, wide = min(4, a.rows - row), min(4, a.columns - column)
        target = a.y + ((image * a.rows + row) * a.columns + column) * a.target
        for c in range(0, a.target, VECTOR_BYTES):
            bias = a.bias + c if a.bias else 0
            source = m + t * a.target + c
            if high == 4 and wide == 4:
                _output(source, 6 * a.m_point, a.m_point, target + c, a.columns * a.target, a.target, bias, slope)
            else:
                _output(source, 6 * a.m_point, a.m_point, room, 4 * VECTOR_BYTES, VECTOR_BYTES, bias, slope)
                for i in range(high):
                    for j in range(wide):
                        copy(
                            target + (i * a.columns + j) * a.target + c,
                            room + (4 * i + j) * VECTOR_BYTES,
                            VECTOR_BYTES,
                        )


class Winograd:
    """A plan of a 3x3 convolution of stride 1, or of its adjoint in x; called like `products.Products`."""

    def __init__(self, images, source, zeros, target, block, depth_stride, output_stride, tap_size):
        (height, width, channels), (rows, columns, outputs) = source, target
        self.shape = (images, *target)
        across, down = ceil(columns / 4), ceil(rows / 4)
        tiles = images * across * down
        count = min(TILES, tiles)
        tall = tile_height(count)
        panel_width = VECTORS * WIDTH
        panels = outputs // panel_width  # whole ones: see `serves`
        pieces = [(4 * tap.index * tap_size, channels) for tap in block.taps]
        self.tables = [np.array(pieces, np.int64), np.arange(count) * 4 * channels, np.arange(count) * 4 * outputs]
        self.tables.append(np.array([0, channels], np.int64))
        piece_table, row_source, row_target, segments = self.tables
        panel_bytes = 4 * 9 * channels * panel_width
        self.packs = PACK.table(
            [
                {
                    "pieces": address(piece_table),
                    "count": 9,
                    "packed": 0,
                    "outputs": outputs,
                    "panels": panels,
                    "panel_bytes": panel_bytes,
                }
            ]
        )
        self.pack_arguments = pack.Arguments(
            packs=address(self.packs),
            pack_count=1,
            width=panel_width,
            depth_stride=4 * depth_stride,
            output_stride=4 * output_stride,
        )
        self.weight_arguments = transform_weights.Arguments(panels=panels, depth=channels, width=panel_width)
        self.panels, self.channels, self.packed_size = panels, channels, panels * panel_bytes // 4
        # The points of a tile would compete for the same cache lines if they were a power of two apart.
        v_point, m_point = 4 * channels * count + VECTOR_BYTES, 4 * outputs * count + VECTOR_BYTES
        v = -(-max(36 * 4 * channels, 16 * VECTOR_BYTES) // 64) * 64
        m = v + POINTS * v_point
        self.lane_bytes = m + POINTS * m_point
        self.tasks = ceil(tiles / TILES)
        self.arguments = convolve.Arguments(
            tiles=tiles,
            across=across,
            down=down,
            height=height,
            width=width,
            source=4 * channels,
            target=4 * outputs,
            rows=rows,
            columns=columns,
            above=zeros[0][0] - min(tap.row for tap in block.taps),
            before=zeros[1][0] - min(tap.column for tap in block.taps),
            lane_bytes=self.lane_bytes,
            v=v,
            m=m,
            v_point=v_point,
            m_point=m_point,
            panels=panels,
            panel_width=panel_width,
            entry=product_rows(tall, VECTORS, False, False),
            row_source=address(row_source),
            row_target=address(row_target),
            segments=address(segments),
        )

    def __call__(self, x, w, bias=None, slope: float = 1.0) -> np.ndarray:
        packed, y = np.empty(self.packed_size, np.float32), np.empty(self.shape, np.float32)
        u, room = np.empty(POINTS // 9 * self.packed_size, np.float32), pool.scratch(self.lane_bytes)
        packing = pack.Arguments.from_buffer_copy(self.pack_arguments)
        packing.w, packing.packed = address(w), address(packed)
        pool.run(pack, packing, self.panels)
        weights = transform_weights.Arguments.from_buffer_copy(self.weight_arguments)
        weights.packed, weights.u = address(packed), address(u)
        pool.run(transform_weights, weights, self.channels)
        call = convolve.Arguments.from_buffer_copy(self.arguments)
        call.x, call.u, call.y, call.scratch = address(x), address(u), address(y), address(room)
        call.bias, call.slope = 0 if bias is None else address(bias), bits(slope)
        pool.run(convolve, call, self.tasks)
        return y


SUMS_BYTES = 640_000  # of transformed weight gradients that a task may keep near
PANEL_BYTES = VECTORS * VECTOR_BYTES


@worker(
    "tiles pieces across down x g height width source rows columns target above before scratch lane_bytes v z v_point "
    "z_point group_bytes sums sums_bytes entry offsets offset_count block_bytes segments"
)
def correlate(arguments, task, lane):
    """One task: the transformed sums of a group of panels over a run of tiles."""
    a = carray(arguments, 1)[0]
    room, sums = a.scratch + lane * a.lane_bytes, a.sums + task * a.sums_bytes
    v, z = room + a.v, room + a.z
    skipped = task // a.pieces * a.group_bytes
    wide, piece = min(a.group_bytes, a.target - skipped), task % a.pieces
    panels = wide // PANEL_BYTES
    first, last = piece * a.tiles // a.pieces, (piece + 1) * a.tiles // a.pieces
    each = a.across * a.down
    for start in range(first, last, TILES):
        count = min(TILES, last - start)
        for t in range(count):
            image, place = divmod(start + t, each)
            row, column = place // a.across * 4, place % a.across * 4
            at, pitch = patch(room, a.x, image, row - a.above, column - a.before, 6, a.height, a.width, a.source)
            for c in range(0, a.source, VECTOR_BYTES):
                _input(at + c, pitch, a.source, v + t * a.source + c, 6 * a.v_point, a.v_point)
            at, pitch = patch(room, a.g, image, row, column, 4, a.rows, a.columns, a.target)
            for c in range(0, wide, VECTOR_BYTES):
                _gradient(at + skipped + c, pitch, a.target, z + t * a.group_bytes + c, 6 * a.z_point, a.z_point)
        for point in range(POINTS):
            for panel in range(panels):
                call_rows(
                    a.entry,
                    (
                        v + point * a.v_point,
                        z + point * a.z_point + panel * PANEL_BYTES,
                        sums + (point * panels + panel) * a.block_bytes,
                        a.offsets,
                        0,
                        a.offset_count,
                        a.segments + 16 * count,
                        1,
                        a.source,
                        a.group_bytes,
                        1 if start > first else 0,
                    ),
                )


@worker("pieces sums sums_bytes target group_bytes block_bytes places gradient tap scratch lane_bytes")
def add_points(arguments, task, lane):
    """One task: the weight gradient of the input channel number `task`, from the sums of all pieces in order."""
    a = carray(arguments, 1)[0]
    room = a.scratch + lane * a.lane_bytes
    total = carray(floats_at(room), POINTS * VECTORS * WIDTH)
    place = word(a.places, task) * PANEL_BYTES
    for k in range(0, a.target, PANEL_BYTES):
        group, column = k // a.group_bytes, k % a.group_bytes // PANEL_BYTES
        panels = min(a.group_bytes, a.target - group * a.group_bytes) // PANEL_BYTES
        for piece in range(a.pieces):
            sums = a.sums + (group * a.pieces + piece) * a.sums_bytes + place
            for point in range(POINTS):
                part = carray(floats_at(sums + (point * panels + column) * a.block_bytes), VECTORS * WIDTH)
                here = total[point * VECTORS * WIDTH : (point + 1) * VECTORS * WIDTH]
                if piece:
                    for i in range(VECTORS * WIDTH):
                        here[i] += part[i]
                else:
                    for i in range(VECTORS * WIDTH):
                        here[i] = part[i]
        for v in range(0, PANEL_BYTES, VECTOR_BYTES):
            target = a.gradient + task * a.target + k + v
            _weight_gradient(room + v, 6 * PANEL_BYTES, PANEL_BYTES, target, 3 * a.tap, a.tap)


class WinogradSums:
    """A plan of `conv2d_weight_grad`; called like `weight_sums.WeightSums`."""

    def __init__(self, x_shape, g_shape, geometry: Geometry):
        images, height, width, channels = x_shape
        _, rows, columns, outputs = g_shape
        self.shape = (3, 3, channels, outputs)
        across, down = ceil(columns / 4), ceil(rows / 4)
        tiles = images * across * down
        group = max(1, SUMS_BYTES // (4 * POINTS * channels * VECTORS * WIDTH)) * VECTORS * WIDTH
        groups = ceil(outputs / group)
        group = min(group, outputs)
        pieces = min(ceil(TASKS / groups), ceil(tiles / TILES))
        tall = tile_height(channels)
        offsets, places = cut_into_tiles([(0, channels)], tall)
        self.tables = [np.array(offsets, np.int64) * 4, np.array(places, np.int64), np.zeros((TILES + 1, 2), np.int64)]
        self.tables[2][:, 1] = np.arange(TILES + 1)
        block_bytes = len(offsets) * tall * PANEL_BYTES
        sums_bytes = POINTS * group // (VECTORS * WIDTH) * block_bytes
        v_point, z_point = 4 * channels * TILES + VECTOR_BYTES, 4 * group * TILES + VECTOR_BYTES
        v = max(36 * 4 * channels, 16 * 4 * outputs, POINTS * PANEL_BYTES)
        z = v + POINTS * v_point
        self.lane_bytes, self.channels = z + POINTS * z_point, channels
        self.tasks, self.sums_size = groups * pieces, groups * pieces * sums_bytes // 4
        (above, _), (before, _) = geometry.padding
        self.arguments = correlate.Arguments(
            tiles=tiles,
            pieces=pieces,
            across=across,
            down=down,
            height=height,
            width=width,
            source=4 * channels,
            rows=rows,
            columns=columns,
            target=4 * outputs,
            above=above,
            before=before,
            lane_bytes=self.lane_bytes,
            v=v,
            z=z,
            v_point=v_point,
            z_point=z_point,
            group_bytes=4 * group,
            sums_bytes=sums_bytes,
            entry=outer_sums(tall, VECTORS, False),
            offsets=address(self.tables[0]),
            offset_count=len(offsets),
            block_bytes=block_bytes,
            segments=address(self.tables[2]),
        )
        self.add_arguments = add_points.Arguments(
            pieces=pieces,
            sums_bytes=sums_bytes,
            target=4 * outputs,
            group_bytes=4 * group,
            block_bytes=block_bytes,
            places=address(self.tables[1]),
            tap=4 * channels * outputs,
            lane_bytes=self.lane_bytes,
        )

    def __call__(self, x, g) -> np.ndarray:
        """The weight gradient of contiguous float32 arrays."""
        gradient, sums = np.empty(self.shape, np.float32), np.empty(self.sums_size, np.float32)
        room = pool.scratch(self.lane_bytes)
        call = correlate.Arguments.from_buffer_copy(self.arguments)
        call.x, call.g, call.sums, call.scratch = address(x), address(g), address(sums), address(room)
        pool.run(correlate, call, self.tasks)
        last = add_points.Arguments.from_buffer_copy(self.add_arguments)
        last.sums, last.gradient, last.scratch = address(sums), address(gradient), address(room)
        pool.run(add_points, last, self.channels)
        return gradient


def serves(w_shape, geometry: Geometry) -> bool:
    """Whether a convolution with such a weight, and so its adjoints, are of the kind that is faster so.

    Its channels are whole panels, of which there is one at least on each side: with fewer channels the transforms
    cost more than they save.
    """
    channels, outputs = w_shape[2:]
    return (
        tuple(w_shape[:2]) == (3, 3)
        and (geometry.stride, geometry.dilation, geometry.groups, geometry.mask) == ((1, 1), (1, 1), 1, None)
        and channels % (VECTORS * WIDTH) == 0
        and outputs % (VECTORS * WIDTH) == 0
        and os.environ.get("TINYGEN_WINOGRAD", "1") != "0"
    )


@functools.lru_cache(256)
def forward_plan(x_shape, w_shape, geometry: Geometry) -> Winograd:
    """The plan of `conv2d`."""
    images, *source = x_shape
    *kernel_size, channels, outputs = w_shape
    size = geometry.output_size(source[:2], kernel_size)
    block = forward_phases(kernel_size, size, channels, outputs, geometry)[0].blocks[0]
    return Winograd(images, source, geometry.padding, (*size, outputs), block, outputs, 1, channels * outputs)


@functools.lru_cache(256)
def adjoint_plan(g_shape, w_shape, size, geometry: Geometry) -> Winograd:
    """The plan of `conv2d_input_grad`."""
    images, *source = g_shape
    *kernel_size, channels, outputs = w_shape
    (phase,), zeros = adjoint_phases(kernel_size, size, source[:2], channels, outputs, geometry)
    return Winograd(images, source, zeros, (*size, channels), phase.blocks[0], 1, outputs, channels * outputs)


@functools.lru_cache(256)
def weight_plan(x_shape, g_shape, kernel_size, geometry: Geometry) -> WinogradSums:
    """The plan of `conv2d_weight_grad`."""
    return WinogradSums(x_shape, g_shape, geometry)
