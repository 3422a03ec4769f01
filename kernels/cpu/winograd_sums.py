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
from .jit import worker
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

SUMS_BYTES = 640_000  # of transformed weight gradients that a task may keep near
PANEL = VECTORS * WIDTH
PANEL_BYTES = VECTORS * VECTOR_BYTES


@worker(
    "tiles pieces across down x g taps phases height width source rows columns target above before scratch lane_bytes "
    "v z v_point z_point group_bytes sums sums_bytes entry offsets offset_count block_bytes segments"
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
    each, side, depth_bytes = a.across * a.down, a.taps + 3, a.phases * a.phases * a.source
    for start in range(first, last, TILES):
        count = min(TILES, last - start)
        for t in range(count):
            image, place = divmod(start + t, each)
            row, column = place // a.across * 4, place % a.across * 4
            top, left, size = row * a.phases - a.above, column * a.phases - a.before, side * a.phases
            at, pitch = patch(room, a.x, image, top, left, size, a.height, a.width, a.source)
            transform_patch(a.taps, at, pitch, a.source, a.phases, a.source, v + t * depth_bytes, a.v_point)
            at, pitch = patch(room, a.g, image, row, column, 4, a.rows, a.columns, a.target)
            for c in range(0, wide, VECTOR_BYTES):
                source, target = at + skipped + c, z + t * a.group_bytes + c
                if a.taps == 3:
                    _gradient3(source, pitch, a.target, target, 6 * a.z_point, a.z_point)
                else:
                    _gradient2(source, pitch, a.target, target, 5 * a.z_point, a.z_point)
        for point in range(side * side):
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
                        depth_bytes,
                        a.group_bytes,
                        1 if start > first else 0,
                    ),
                )


@worker("pieces sums sums_bytes target group_bytes block_bytes places gradient taps phases channels scratch lane_bytes")
def add_points(arguments, task, lane):
    """One task: the weight gradient of the phase and input channel number `task`, from all pieces' sums in order."""
    a = carray(arguments, 1)[0]
    room = a.scratch + lane * a.lane_bytes
    points, tap = (a.taps + 3) * (a.taps + 3), a.channels * a.target
    total = carray(floats_at(room), points * PANEL)
    place = word(a.places, task) * PANEL_BYTES
    phase, channel = divmod(task, a.channels)
    line = a.phases * a.taps * tap  # a row of the kernel
    begin = a.gradient + phase // a.phases * line + phase % a.phases * tap + channel * a.target
    for k in range(0, a.target, PANEL_BYTES):
        group, column = k // a.group_bytes, k % a.group_bytes // PANEL_BYTES
        panels = min(a.group_bytes, a.target - group * a.group_bytes) // PANEL_BYTES
        for piece in range(a.pieces):
            sums = a.sums + (group * a.pieces + piece) * a.sums_bytes + place
            for point in range(points):
                part = carray(floats_at(sums + (point * panels + column) * a.block_bytes), PANEL)
                here = total[point * PANEL : (point + 1) * PANEL]
                if piece:
                    for i in range(PANEL):
                        here[i] += part[i]
                else:
                    for i in range(PANEL):
                        here[i] = part[i]
        for v in range(0, PANEL_BYTES, VECTOR_BYTES):
            source, target = room + v, begin + k + v
            if a.taps == 3:
                _weight3(source, 6 * PANEL_BYTES, PANEL_BYTES, target, a.phases * line, a.phases * tap)
            else:
                _weight2(source, 5 * PANEL_BYTES, PANEL_BYTES, target, a.phases * line, a.phases * tap)


class WinogradSums:
    """A plan of `conv2d_weight_grad`; called like `weight_sums.WeightSums`."""

    def __init__(self, x_shape, g_shape, kernel: int, geometry: Geometry):
        images, height, width, channels = x_shape
        _, rows, columns, outputs = g_shape
        stride = geometry.stride[0]
        taps, depth = TAPS[kernel, stride], stride**2 * channels
        points = (taps + 3) ** 2
        self.shape, self.tables = (kernel, kernel, channels, outputs), []
        across, down = ceil(columns / 4), ceil(rows / 4)
        tiles = images * across * down
        group = max(1, SUMS_BYTES // (4 * points * depth * PANEL)) * PANEL
        groups = ceil(outputs / group)
        group = min(group, outputs)
        pieces = min(ceil(TASKS / groups), ceil(tiles / TILES))
        tall = tile_height(depth)
        offsets, places = cut_into_tiles([(0, depth)], tall)
        block_bytes = len(offsets) * tall * PANEL_BYTES
        sums_bytes = points * group // PANEL * block_bytes
        v_point, z_point = 4 * depth * TILES + VECTOR_BYTES, 4 * group * TILES + VECTOR_BYTES
        v = max(points * 4 * depth, 16 * 4 * outputs, points * PANEL_BYTES)
        z = v + points * v_point
        self.lane_bytes, self.depth = z + points * z_point, depth
        self.tasks, self.sums_size = groups * pieces, groups * pieces * sums_bytes // 4
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
            v_point=v_point,
            z_point=z_point,
            group_bytes=4 * group,
            sums_bytes=sums_bytes,
            entry=outer_sums(tall, VECTORS, False),
            offsets=address(kept(self, 4 * np.array(offsets))),
            offset_count=len(offsets),
            block_bytes=block_bytes,
            segments=address(kept(self, [(0, count) for count in range(TILES + 1)])),
        )
        self.add_arguments = add_points.Arguments(
            pieces=pieces,
            sums_bytes=sums_bytes,
            target=4 * outputs,
            group_bytes=4 * group,
            block_bytes=block_bytes,
            places=address(kept(self, places)),
            taps=taps,
            phases=stride,
            channels=channels,
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
        pool.run(add_points, last, self.depth)
        return gradient


@functools.lru_cache(256)
def weight_plan(x_shape, g_shape, kernel_size, geometry: Geometry) -> WinogradSums:
    """The plan of `conv2d_weight_grad`."""
    return WinogradSums(x_shape, g_shape, kernel_size[0], geometry)
