"""The weight gradient by Winograd's minimal filtering: dw = G'[sum over tiles of (A g A') * (B' x B)]G.

It uses the matrices of `winograd.py`, for the same convolutions.
"""

import functools
from math import ceil

import numpy as np
from numba import carray

from ..geometry import Geometry
from . import memory, pool
from .ir import VECTOR_BYTES, call_rows, floats_at, grid_transform
from .jit import inlined, worker
from .memory import address
from .products import keep_table, tile_height
from .target import VECTORS, WIDTH
from .tile import outer_sums
from .weight_sums import LEAST_TASKS, cut_into_tiles
from .winograd import TAPS, TILES, matrices, patch, transform_patch


def _transposed(matrix):
    return tuple(zip(*matrix, strict=True))


_, _G3, _A_T3 = matrices(3)
_, _G2, _A_T2 = matrices(2)
_gradient3, _gradient2 = grid_transform(_transposed(_A_T3)), grid_transform(_transposed(_A_T2))
_weight3, _weight2 = grid_transform(_transposed(_G3)), grid_transform(_transposed(_G2))

SUMS_BYTES = 640_000  # most bytes of transformed sums that a task works on: they stay in a core's cache
PANEL = VECTORS * WIDTH
PANEL_BYTES = VECTORS * VECTOR_BYTES


@inlined
def add_tiles(a, buffer, first, count, x, g, v, z, sums, accumulate):
    """Add the outer products of `count` transformed tiles of x and g, a slice of each, to the sums of all points."""
    tiles_of_image, side = a.tiles_across * a.tiles_down, a.taps + 3
    for t in range(count):
        image, tile_index = divmod(first + t, tiles_of_image)
        row, column = tile_index // a.tiles_across * 4, tile_index % a.tiles_across * 4
        top, left, size = row * a.phases - a.above, column * a.phases - a.before, side * a.phases
        at, down, across = patch(buffer, x, image, top, left, size, a.height, a.width, a.source, a.source_part)
        transform_patch(a.taps, at, down, across, a.phases, a.source_part, v + t * a.v_row, a.v_point)
        at, down, across = patch(buffer, g, image, row, column, 4, a.rows, a.columns, a.target, a.target_part)
        for c in range(0, a.target_part, VECTOR_BYTES):
            if a.taps == 3:
                _gradient3(at + c, down, across, z + t * a.target_part + c, 6 * a.z_point, a.z_point)
            else:
                _gradient2(at + c, down, across, z + t * a.target_part + c, 5 * a.z_point, a.z_point)
    for point in range(side * side):
        for panel in range(a.panels):
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
                    a.target_part,
                    accumulate,
                ),
            )


@worker(
    "tiles pieces target_slices tiles_across tiles_down x g taps phases height width source source_part rows columns "
    "target target_part above before scratch lane_bytes v z v_row v_point z_point panels sums sums_bytes entry offsets "
    "offset_count block_bytes segments"
)
def correlate(arguments, task, lane):
    """Compute the transformed sums of a slice of channels and one of outputs, over a run of tiles."""
    a = carray(arguments, 1)[0]
    buffer, sums = a.scratch + lane * a.lane_bytes, a.sums + task * a.sums_bytes
    slices, piece = divmod(task, a.pieces)
    x = a.x + slices // a.target_slices * a.source_part
    g = a.g + slices % a.target_slices * a.target_part
    first, last = piece * a.tiles // a.pieces, (piece + 1) * a.tiles // a.pieces
    for start in range(first, last, TILES):
        count = min(TILES, last - start)
        add_tiles(a, buffer, start, count, x, g, buffer + a.v, buffer + a.z, sums, 1 if start > first else 0)


@worker(
    "pieces target_slices sums sums_bytes panels block_bytes blocks tile_rows depth gradient target taps phases "
    "channels source_slices scratch lane_bytes"
)
def add_points(arguments, task, lane):
    """Write the weight gradient of the rows of a block (of a slice), in a panel: all pieces, added in order."""
    a = carray(arguments, 1)[0]
    points, size = (a.taps + 3) * (a.taps + 3), a.tile_rows * PANEL
    buffer = a.scratch + lane * a.lane_bytes
    slices, rest = divmod(task, a.panels * a.blocks)
    panel, block = divmod(rest, a.blocks)
    first = min(block * a.tile_rows, a.depth - a.tile_rows)
    for point in range(points):
        total = carray(floats_at(buffer + 4 * point * size), size)
        for piece in range(a.pieces):
            sums = a.sums + (slices * a.pieces + piece) * a.sums_bytes + (point * a.panels + panel) * a.block_bytes
            part = carray(floats_at(sums + 4 * block * size), size)
            if piece:
                for i in range(size):
                    total[i] += part[i]
            else:
                for i in range(size):
                    total[i] = part[i]
    source_slice, target_slice = divmod(slices, a.target_slices)
    channels_of_slice, tap = a.channels // a.source_slices, a.channels * a.target
    line = a.phases * a.taps * tap  # a row of the kernel
    column = (target_slice * a.panels + panel) * PANEL_BYTES
    for row in range(block * a.tile_rows, first + a.tile_rows):
        phase, channel = divmod(row, channels_of_slice)
        target = a.gradient + phase // a.phases * line + phase % a.phases * tap + column
        target += (source_slice * channels_of_slice + channel) * a.target
        for v in range(0, PANEL_BYTES, VECTOR_BYTES):
            source = buffer + (row - first) * PANEL_BYTES + v
            if a.taps == 3:
                _weight3(source, 24 * size, 4 * size, target + v, a.phases * line, a.phases * tap)
            else:
                _weight2(source, 20 * size, 4 * size, target + v, a.phases * line, a.phases * tap)


class WinogradSums:
    """A plan of `conv2d_weight_grad`; called like `weight_sums.WeightSums`.

    The sums of a task stay in its core's cache: those of a slice of the channels and of the outputs, whose tiles it
    transforms itself. So a core reads only sums that another has just written; reading transformed tiles took 2x
    (measured).
    """

    def __init__(self, x_shape, g_shape, kernel: int, geometry: Geometry):
        images, height, width, channels = x_shape
        _, rows, columns, outputs = g_shape
        stride = geometry.stride[0]
        taps = TAPS[kernel, stride]
        points = (taps + 3) ** 2
        self.shape, self.tables = (kernel, kernel, channels, outputs), []
        tiles_across, tiles_down = ceil(columns / 4), ceil(rows / 4)
        tiles = images * tiles_across * tiles_down
        source_slices, target_slices = _slices(points, stride**2, channels, outputs)
        slices = source_slices * target_slices
        depth, product_width = stride**2 * channels // source_slices, outputs // target_slices
        panels, tile_rows = product_width // PANEL, tile_height(depth)
        offsets, _ = cut_into_tiles([(0, depth)], tile_rows)
        block_bytes = len(offsets) * tile_rows * PANEL_BYTES
        sums_bytes = points * panels * block_bytes
        # A power of two from tile to tile, or from point to point, would set them on the same cache lines.
        v_row = 4 * depth + VECTOR_BYTES
        v_point, z_point = v_row * TILES + VECTOR_BYTES, 4 * product_width * TILES + VECTOR_BYTES
        v = max(((taps + 3) * stride) ** 2 * 4 * channels // source_slices, 16 * 4 * product_width)
        z = v + points * v_point
        pieces = min(ceil(LEAST_TASKS / slices), ceil(tiles / TILES))
        self.tasks, self.sums_size = slices * pieces, slices * pieces * sums_bytes // 4
        self.add_tasks = slices * panels * len(offsets)
        self.lane_bytes = max(z + points * z_point, points * tile_rows * PANEL_BYTES)
        self.arguments = correlate.Arguments(
            tiles=tiles,
            pieces=pieces,
            target_slices=target_slices,
            tiles_across=tiles_across,
            tiles_down=tiles_down,
            taps=taps,
            phases=stride,
            height=height,
            width=width,
            source=4 * channels,
            source_part=4 * channels // source_slices,
            rows=rows,
            columns=columns,
            target=4 * outputs,
            target_part=4 * product_width,
            above=geometry.padding[0][0],
            before=geometry.padding[1][0],
            lane_bytes=self.lane_bytes,
            v=v,
            z=z,
            v_row=v_row,
            v_point=v_point,
            z_point=z_point,
            panels=panels,
            sums_bytes=sums_bytes,
            entry=outer_sums(tile_rows, VECTORS, False),
            offsets=address(keep_table(self, 4 * np.array(offsets))),
            offset_count=len(offsets),
            block_bytes=block_bytes,
            segments=address(keep_table(self, [(0, count) for count in range(TILES + 1)])),
        )
        self.add_arguments = add_points.Arguments(
            pieces=pieces,
            target_slices=target_slices,
            source_slices=source_slices,
            sums_bytes=sums_bytes,
            panels=panels,
            block_bytes=block_bytes,
            blocks=len(offsets),
            tile_rows=tile_rows,
            depth=depth,
            target=4 * outputs,
            taps=taps,
            phases=stride,
            channels=channels,
            lane_bytes=self.lane_bytes,
        )

    def __call__(self, x, g) -> np.ndarray:
        """The weight gradient of contiguous float32 arrays."""
        gradient, sums = memory.empty(self.shape), memory.aligned(self.sums_size)
        buffer = memory.scratch(self.lane_bytes)
        call = correlate.Arguments.from_buffer_copy(self.arguments)
        call.x, call.g, call.sums, call.scratch = address(x), address(g), address(sums), address(buffer)
        pool.run(correlate, call, self.tasks)
        last = add_points.Arguments.from_buffer_copy(self.add_arguments)
        last.sums, last.gradient, last.scratch = address(sums), address(gradient), address(buffer)
        pool.run(add_points, last, self.add_tasks)
        return gradient


def _slices(points: int, phases: int, channels: int, outputs: int) -> tuple[int, int]:
    """The numbers of slices into which channels and outputs are cut.

    The sums of a pair of slices must stay in a core's cache. Apart from this, slices are few: the channels, in all
    phases, are transformed again for every slice of outputs, and the outputs for every slice of channels.
    """
    cuts = [
        (source, target)
        for source in range(1, channels // WIDTH + 1)
        for target in range(1, outputs // PANEL + 1)
        if channels % (source * WIDTH) == 0 and outputs % (target * PANEL) == 0
    ]
    sums_bytes = 4 * points * phases * channels * outputs
    cached_cuts = [(source, target) for source, target in cuts if sums_bytes <= SUMS_BYTES * source * target]
    return min(cached_cuts or cuts[-1:], key=lambda cut: cut[1] * phases * channels + cut[0] * outputs)


@functools.lru_cache(256)
def weight_plan(x_shape, g_shape, kernel_size, geometry: Geometry) -> WinogradSums:
    """The plan of `conv2d_weight_grad`."""
    return WinogradSums(x_shape, g_shape, kernel_size[0], geometry)
