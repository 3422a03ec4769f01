"""The weight gradient by Winograd's minimal filtering, for the convolutions, and with the matrices, of `winograd.py`.

    dw = G'[sum over tiles of (A g A') * (B' x B)]G

The sums of a task stay in its core's cache: those of a slice of the channels and of the outputs, whose tiles it
transforms itself. So a core reads only sums that another has just written; reading transformed tiles took 2x
(measured).
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numba import carray

from . import memory, pool
from .ir import VECTOR_BYTES, call_rows, floats_at, grid_transform
from .jit import Address, inlined, worker
from .memory import address
from .operands import SumOperands, summed
from .problem import Problem
from .target import VECTORS, WIDTH
from .tile import outer_sums
from .tiling import tile_height, tile_starts
from .weight_sums import LEAST_TASKS
from .winograd import (
    PANEL,
    PANEL_BYTES,
    TILES,
    Images,
    Tiles,
    images_of,
    matrices,
    patch,
    place_of,
    tiles_of,
    transform_tile,
)


def _transposed(matrix):
    return tuple(zip(*matrix, strict=True))


_, _G3, _A_T3 = matrices(3)
_, _G2, _A_T2 = matrices(2)
_gradient3, _gradient2 = grid_transform(_transposed(_A_T3)), grid_transform(_transposed(_A_T2))
_weight3, _weight2 = grid_transform(_transposed(_G3)), grid_transform(_transposed(_G2))

SUMS_BYTES = 640_000  # most bytes of transformed sums that a task works on: they stay in a core's cache


@dataclass(frozen=True)
class Slices:
    """How channels and outputs are cut into slices, and their sums into tiles of the micro-kernel and panels."""

    source_slices: int  # of the channels
    target_slices: int  # of the outputs
    source_part: int  # bytes of a slice of a pixel
    target_part: int
    depth: int  # rows of a slice: its channels in all phases
    tile_rows: int
    blocks: int  # tiles of a slice; the last one ends with its last row
    block_bytes: int  # of the sums of all tiles, in a panel and at a point
    panels: int  # of a slice of the outputs
    sums_bytes: int  # of a pair of slices, at all points


def slices_of(points: int, phases: int, channels: int, outputs: int) -> Slices:
    """The slices of channels, in a number of phases, and of outputs."""
    source_slices, target_slices = numbers_of_slices(points, phases, channels, outputs)
    depth, panels = phases * channels // source_slices, outputs // target_slices // PANEL
    tile_rows = tile_height(depth)
    block_bytes = ceil(depth / tile_rows) * tile_rows * PANEL_BYTES
    return Slices(
        source_slices=source_slices,
        target_slices=target_slices,
        source_part=4 * channels // source_slices,
        target_part=4 * outputs // target_slices,
        depth=depth,
        tile_rows=tile_rows,
        blocks=ceil(depth / tile_rows),
        block_bytes=block_bytes,
        panels=panels,
        sums_bytes=points * panels * block_bytes,
    )


def numbers_of_slices(points: int, phases: int, channels: int, outputs: int) -> tuple[int, int]:
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


@dataclass(frozen=True)
class Transformed:
    """Where a task has its transformed tiles of x, v[point, tile, row], and of g, z[point, tile, output]; in bytes.

    A power of two from tile to tile, or from point to point, would set them on the same cache lines.
    """

    v: int  # from the beginning of the scratch memory, where a patch lies that reaches over the edge of its image
    z: int
    v_row: int  # from tile to tile
    v_point: int  # from point to point
    z_point: int


def transformed_of(slices: Slices, taps: int, phases: int) -> Transformed:
    """The place for TILES tiles of a slice, with `phases` phases along an axis."""
    v_row = 4 * slices.depth + VECTOR_BYTES
    v_point, z_point = v_row * TILES + VECTOR_BYTES, slices.target_part * TILES + VECTOR_BYTES
    v = max(((taps + 3) * phases) ** 2 * slices.source_part, 16 * slices.target_part)
    return Transformed(v, v + (taps + 3) ** 2 * v_point, v_row, v_point, z_point)


class CorrelateArguments:
    """What else `correlate` is asked for."""

    pieces: int  # runs of tiles, whose sums are added up at the end
    entry: Address  # the micro-kernel
    offsets: np.ndarray  # of each block of rows among those of a transformed tile, in bytes
    segments: np.ndarray  # (0, tiles) for each number of tiles


@inlined
def transform_gradients(a, buffer, g, place, z):
    """Transform the gradients of a tile into z: a slice of the outputs."""
    image, row, column = place
    at, down, across = patch(buffer, g, image, row, column, 4, a.rows, a.columns, a.target, a.target_part)
    for c in range(0, a.target_part, VECTOR_BYTES):
        if a.taps == 3:
            _gradient3(at + c, down, across, z + c, 6 * a.z_point, a.z_point)
        else:
            _gradient2(at + c, down, across, z + c, 5 * a.z_point, a.z_point)


@inlined
def add_tiles(a, buffer, first, count, x, g, sums, accumulate):
    """Add the outer products of `count` transformed tiles of x and g, a slice of each, to the sums of all points."""
    v, z = buffer + a.v, buffer + a.z
    for t in range(count):
        place = place_of(a, first + t)
        transform_tile(a, buffer, x, a.source_part, place, v + t * a.v_row)
        transform_gradients(a, buffer, g, place, z + t * a.target_part)
    for point in range((a.taps + 3) * (a.taps + 3)):
        for panel in range(a.panels):
            call_rows(
                a.entry,
                (
                    v + point * a.v_point,
                    z + point * a.z_point + panel * PANEL_BYTES,
                    sums + (point * a.panels + panel) * a.block_bytes,
                    a.offsets,
                    0,
                    a.blocks,
                    a.segments + 16 * count,
                    1,
                    a.v_row,
                    a.target_part,
                    accumulate,
                ),
            )


@worker(SumOperands, Images, Tiles, Slices, Transformed, CorrelateArguments)
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
        add_tiles(a, buffer, start, count, x, g, sums, 1 if start > first else 0)


class AddArguments:
    """What else `add_points` is asked for."""

    sums: Address
    gradient: Address
    scratch: Address
    lane_bytes: int  # of the scratch memory of a thread
    pieces: int
    channels: int
    target: int  # bytes of the outputs of a weight
    taps: int  # of a phase, along an axis
    source_phases: int  # along an axis


@worker(Slices, AddArguments)
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
    line = a.source_phases * a.taps * tap  # a row of the kernel
    column = (target_slice * a.panels + panel) * PANEL_BYTES
    for row in range(block * a.tile_rows, first + a.tile_rows):
        phase, channel = divmod(row, channels_of_slice)
        target = a.gradient + phase // a.source_phases * line + phase % a.source_phases * tap + column
        target += (source_slice * channels_of_slice + channel) * a.target
        for v in range(0, PANEL_BYTES, VECTOR_BYTES):
            source = buffer + (row - first) * PANEL_BYTES + v
            if a.taps == 3:
                _weight3(source, 24 * size, 4 * size, target + v, a.source_phases * line, a.source_phases * tap)
            else:
                _weight2(source, 20 * size, 4 * size, target + v, a.source_phases * line, a.source_phases * tap)


class WinogradSums:
    """A plan of `conv2d_weight_grad`; called like `weight_sums.WeightSums`."""

    def __init__(self, problem: Problem):
        images, tiles, (*_, channels, outputs) = images_of(problem), tiles_of(problem), problem.weight
        taps, phases, points = images.taps, images.source_phases, (images.taps + 3) ** 2
        slices = slices_of(points, phases**2, channels, outputs)
        transformed, pairs = transformed_of(slices, taps, phases), slices.source_slices * slices.target_slices
        pieces = min(ceil(LEAST_TASKS / pairs), ceil(tiles.tiles / TILES))
        self.shape, self.tasks = problem.weight, pairs * pieces
        self.add_tasks, self.sums_size = pairs * slices.panels * slices.blocks, self.tasks * slices.sums_bytes // 4
        transformed_bytes = transformed.z + points * transformed.z_point
        self.lane_bytes = max(transformed_bytes, points * slices.tile_rows * PANEL_BYTES)
        self.arguments = correlate.record.filled(
            images,
            tiles,
            slices,
            transformed,
            lane_bytes=self.lane_bytes,
            pieces=pieces,
            entry=outer_sums(slices.tile_rows, VECTORS, False),
            offsets=[4 * start for start in tile_starts(slices.depth, slices.tile_rows)],
            segments=[(0, count) for count in range(TILES + 1)],
        )
        self.add_arguments = add_points.record.filled(
            slices,
            lane_bytes=self.lane_bytes,
            pieces=pieces,
            channels=channels,
            target=4 * outputs,
            taps=taps,
            source_phases=phases,
        )

    def __call__(self, x, g) -> np.ndarray:
        """The weight gradient of contiguous float32 arrays."""
        gradient, buffer = memory.empty(self.shape), memory.scratch(self.lane_bytes)
        sums = summed(correlate, self.arguments, self.tasks, x, g, memory.aligned(self.sums_size))
        last = add_points.Arguments.from_buffer_copy(self.add_arguments)
        last.sums, last.gradient, last.scratch = address(sums), address(gradient), address(buffer)
        pool.run(add_points, last, self.add_tasks)
        return gradient
