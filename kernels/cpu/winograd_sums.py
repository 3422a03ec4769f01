"""The weight gradient by Winograd's minimal filtering: dw = G'[sum over tiles of (A g A') * (B' x B)]G.

The matrices, and which convolutions are served, are those of `winograd.py`.
"""

import functools
from math import ceil

import numpy as np
from numba import carray

from ..geometry import Geometry
from . import pool
from .ir import VECTOR_BYTES, call_rows, floats_at, grid_transform, word
from .jit import inlined, worker
from .pool import address
from .products import kept, tile_height
from .target import VECTORS, WIDTH
from .tile import outer_sums
from .weight_sums import TASKS, cut_into_tiles
from .winograd import TAPS, TILES, matrices, patch, transform_patch


def _transposed(matrix):
    return tuple(zip(*matrix, strict=True))


_, _G3, _A_T3 = matrices(3)
_, _G2, _A_T2 = matrices(2)
_gradient3, _gradient2 = grid_transform(_transposed(_A_T3)), grid_transform(_transposed(_A_T2))
_weight3, _weight2 = grid_transform(_transposed(_G3)), grid_transform(_transposed(_G2))

SUMS_BYTES = 640_000  # of transformed sums that a task may keep near; with more, all tasks work on the same tiles
NEAR_BYTES = 8_000_000  # of transformed tiles then
PANEL = VECTORS * WIDTH
PANEL_BYTES = VECTORS * VECTOR_BYTES
TOGETHER = 8  # tiles that a task transforms

ARGUMENTS = (
    "tiles pieces across down x g taps phases height width source rows columns target above before scratch lane_bytes "
    "v z v_row v_point z_point points panels sums sums_bytes entry offsets offset_count block_bytes segments first "
    "count"
)


@inlined
def transform(a, room, first, count, v, z):
    """Transform so many tiles of x and g to v[point, tile, phase and channel] and z[point, tile, output]."""
    each, side = a.across * a.down, a.taps + 3
    for t in range(count):
        image, place = divmod(first + t, each)
        row, column = place // a.across * 4, place % a.across * 4
        top, left, size = row * a.phases - a.above, column * a.phases - a.before, side * a.phases
        at, pitch = patch(room, a.x, image, top, left, size, a.height, a.width, a.source)
        transform_patch(a.taps, at, pitch, a.source, a.phases, a.source, v + t * a.v_row, a.v_point)
        at, pitch = patch(room, a.g, image, row, column, 4, a.rows, a.columns, a.target)
        for c in range(0, a.target, VECTOR_BYTES):
            source, target = at + c, z + t * a.target + c
            if a.taps == 3:
                _gradient3(source, pitch, a.target, target, 6 * a.z_point, a.z_point)
            else:
                _gradient2(source, pitch, a.target, target, 5 * a.z_point, a.z_point)


@inlined
def add_products(a, v, z, sums, count, panel, point, accumulate):
    """Add the outer products of so many tiles to the sums of a panel at a point."""
    call_rows(
        a.entry,
        (
            v + point * a.v_point,
            z + point * a.z_point + panel * PANEL_BYTES,
            sums + (point * a.panels + panel) * a.block_bytes,
            a.offsets,
            0,
            a.offset_count,
            a.segments + 16 * count,
            1,
            a.v_row,
            a.target,
            accumulate,
        ),
    )


@worker(ARGUMENTS)
def correlate(arguments, task, lane):
    """One task: the transformed sums over a run of tiles."""
    a = carray(arguments, 1)[0]
    room, sums = a.scratch + lane * a.lane_bytes, a.sums + task * a.sums_bytes
    v, z = room + a.v, room + a.z
    first, last = task * a.tiles // a.pieces, (task + 1) * a.tiles // a.pieces
    for start in range(first, last, TILES):
        count = min(TILES, last - start)
        transform(a, room, start, count, v, z)
        for point in range(a.points):
            for panel in range(a.panels):
                add_products(a, v, z, sums, count, panel, point, 1 if start > first else 0)


@worker(ARGUMENTS)
def transform_together(arguments, task, lane):
    """One task: a few of the `count` tiles from `first` on."""
    a = carray(arguments, 1)[0]
    t = task * TOGETHER
    count = min(TOGETHER, a.count - t)
    transform(a, a.scratch + lane * a.lane_bytes, a.first + t, count, a.v + t * a.v_row, a.z + t * a.target)


@worker(ARGUMENTS)
def correlate_together(arguments, task, lane):
    """One task: the sums of a panel at a point over the `count` tiles from `first` on."""
    a = carray(arguments, 1)[0]
    point, panel = divmod(task, a.panels)
    add_products(a, a.v, a.z, a.sums, a.count, panel, point, 1 if a.first > 0 else 0)


@worker("pieces sums sums_bytes panels block_bytes places gradient target taps phases channels scratch lane_bytes")
def add_points(arguments, task, lane):
    """One task: the weight gradient of the phase and input channel number `task`, from all pieces' sums in order."""
    a = carray(arguments, 1)[0]
    room = a.scratch + lane * a.lane_bytes
    points, tap = (a.taps + 3) * (a.taps + 3), a.channels * a.target
    total = carray(floats_at(room), points * PANEL)
    phase, channel = divmod(task, a.channels)
    line = a.phases * a.taps * tap  # a row of the kernel
    begin = a.gradient + phase // a.phases * line + phase % a.phases * tap + channel * a.target
    for panel in range(a.panels):
        for piece in range(a.pieces):
            sums = a.sums + piece * a.sums_bytes + panel * a.block_bytes + word(a.places, task) * PANEL_BYTES
            for point in range(points):
                part = carray(floats_at(sums + point * a.panels * a.block_bytes), PANEL)
                here = total[point * PANEL : (point + 1) * PANEL]
                if piece:
                    for i in range(PANEL):
                        here[i] += part[i]
                else:
                    for i in range(PANEL):
                        here[i] = part[i]
        for v in range(0, PANEL_BYTES, VECTOR_BYTES):
            source, target = room + v, begin + panel * PANEL_BYTES + v
            if a.taps == 3:
                _weight3(source, 6 * PANEL_BYTES, PANEL_BYTES, target, a.phases * line, a.phases * tap)
            else:
                _weight2(source, 5 * PANEL_BYTES, PANEL_BYTES, target, a.phases * line, a.phases * tap)


class WinogradSums:
    """A plan of `conv2d_weight_grad`; called like `weight_sums.WeightSums`.

    Where the sums of a task fit into its cache, each task transforms a run of tiles for itself, and adds them up;
    where they do not, all tasks transform the same tiles, and then each adds up its share of panels and points.
    """

    def __init__(self, x_shape, g_shape, kernel: int, geometry: Geometry):
        images, height, width, channels = x_shape
        _, rows, columns, outputs = g_shape
        stride = geometry.stride[0]
        taps, depth = TAPS[kernel, stride], stride**2 * channels
        points, panels = (taps + 3) ** 2, outputs // PANEL
        self.shape, self.tables = (kernel, kernel, channels, outputs), []
        across, down = ceil(columns / 4), ceil(rows / 4)
        tiles = images * across * down
        tall = tile_height(depth)
        offsets, places = cut_into_tiles([(0, depth)], tall)
        block_bytes = len(offsets) * tall * PANEL_BYTES
        sums_bytes = points * panels * block_bytes
        self.together = sums_bytes > SUMS_BYTES
        # A power of two from tile to tile, or from point to point, would set them on the same cache lines.
        v_row = 4 * depth + VECTOR_BYTES
        self.count = TILES
        if self.together:
            most = max(TILES, NEAR_BYTES // (points * (v_row + 4 * outputs)))
            self.count = ceil(tiles / ceil(tiles / most))
        v_point, z_point = v_row * self.count + VECTOR_BYTES, 4 * outputs * self.count + VECTOR_BYTES
        v = max(points * 4 * depth, 16 * 4 * outputs, points * PANEL_BYTES)
        z = v + points * v_point
        pieces = 1 if self.together else min(TASKS, ceil(tiles / TILES))
        self.lane_bytes = v if self.together else z + points * z_point
        self.tiles, self.depth, self.pieces, self.sums_size = tiles, depth, pieces, pieces * sums_bytes // 4
        self.v_size, self.z_size, self.panel_points = points * v_point // 4, points * z_point // 4, points * panels
        (above, _), (before, _) = geometry.padding
        self.arguments = correlate.Arguments(
            tiles=tiles,
            pieces=pieces,
            across=across,
            down=down,
            taps=taps,
            phases=stride,
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
            v_row=v_row,
            v_point=v_point,
            z_point=z_point,
            points=points,
            panels=panels,
            sums_bytes=sums_bytes,
            entry=outer_sums(tall, VECTORS, False),
            offsets=address(kept(self, 4 * np.array(offsets))),
            offset_count=len(offsets),
            block_bytes=block_bytes,
            segments=address(kept(self, [(0, count) for count in range(max(self.count, TILES) + 1)])),
        )
        self.add_arguments = add_points.Arguments(
            pieces=pieces,
            sums_bytes=sums_bytes,
            panels=panels,
            block_bytes=block_bytes,
            places=address(kept(self, places)),
            target=4 * outputs,
            taps=taps,
            phases=stride,
            channels=channels,
            lane_bytes=self.lane_bytes,
        )

    def __call__(self, x, g) -> np.ndarray:
        """The weight gradient of contiguous float32 arrays."""
        gradient, sums = np.empty(self.shape, np.float32), pool.aligned(self.sums_size)
        room = pool.scratch(self.lane_bytes)
        call = correlate.Arguments.from_buffer_copy(self.arguments)
        call.x, call.g, call.sums, call.scratch = address(x), address(g), address(sums), address(room)
        if self.together:
            v, z = pool.aligned(self.v_size), pool.aligned(self.z_size)
            call.v, call.z = address(v), address(z)
            for call.first in range(0, self.tiles, self.count):
                call.count = min(self.count, self.tiles - call.first)
                pool.run(transform_together, call, ceil(call.count / TOGETHER))
                pool.run(correlate_together, call, self.panel_points)
        else:
            pool.run(correlate, call, self.pieces)
        last = add_points.Arguments.from_buffer_copy(self.add_arguments)
        last.sums, last.gradient, last.scratch = address(sums), address(gradient), address(room)
        pool.run(add_points, last, self.depth)
        return gradient


@functools.lru_cache(256)
def weight_plan(x_shape, g_shape, kernel_size, geometry: Geometry) -> WinogradSums:
    """The plan of `conv2d_weight_grad`."""
    return WinogradSums(x_shape, g_shape, kernel_size[0], geometry)
