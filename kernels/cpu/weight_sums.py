"""The weight gradient: for each visible tap, the sum over pixels of outer products of inputs and output gradients.

    dw[tap, c, k] = sum over n, p, q of x[n, p s + tap_row, q s + tap_column, c] g[n, p, q, k]

A tap is visible if no mask hides it. A strip of pixels is short enough for its gradients in a panel of output channels
to stay in the first-level cache, while all rows (tap, input channel) of the result read them. The work is cut into
groups of panels, and where these are few, into runs of strips, whose sums are added in order at the end.
"""

from dataclasses import dataclass, replace
from math import ceil, prod

import numpy as np
from numba import carray

from ..geometry import visible_taps
from ..taps import Tap
from . import memory, pool
from .ir import call_rows, clear, copy, floats_at, int64_at, pointer_to
from .jit import Address, Record, inlined, worker
from .memory import address
from .operands import SumOperands, summed
from .problem import Problem
from .target import HEIGHTS, VECTORS, WIDTH
from .tile import outer_sums
from .tiling import panels_of, tile_cost, tile_starts
from .window import Layout, Window, layout_of, window_at

LEAST_TASKS = 8  # work that is large enough is cut into at least this many tasks
STRIP = 96  # pixels of a strip; a row that is longer is a strip of its own
# Gradients of pixels more than NEAR_PITCH bytes apart are first copied together, if more than FEW_TILES read them.
NEAR_PITCH, FEW_TILES = 4 * VECTORS * WIDTH, 8
SUMS_BYTES = 300_000  # most bytes of sums that a task works on: they fit into a core's second-level cache


@dataclass(frozen=True)
class Strips:
    """The pixels of the outputs, cut into strips: some rows of an image, or some whole images."""

    images: int
    rows: int  # of an image
    columns: int
    group: int  # images of a strip
    strip_rows: int
    strips_of_image: int  # or of a group
    strips: int


def strips_of(images: int, rows: int, columns: int) -> Strips:
    """The strips of some images of outputs."""
    group = min(images, max(1, STRIP // (rows * columns)))
    strip_rows = rows if group > 1 else min(rows, max(1, STRIP // columns))
    strips_of_image = ceil(rows / strip_rows)
    return Strips(
        images=images,
        rows=rows,
        columns=columns,
        group=group,
        strip_rows=strip_rows,
        strips_of_image=strips_of_image,
        strips=ceil(images / group) * strips_of_image,
    )


@dataclass(frozen=True)
class Bands:
    """The rows of an image that a strip reads: one band, or one for each row of taps where these are far apart."""

    bands: int
    band_step: int  # rows from band to band in the image
    band_rows: int  # from band to band in the copy: the rows of a band of a whole strip
    reach: int  # rows of a band that an output row reads

    @property
    def tap_step(self) -> int:
        """Rows from a row of taps to the next in the copy."""
        return self.band_step if self.bands == 1 else self.band_rows


def bands_of(problem: Problem, strips: Strips, layout: Layout) -> Bands:
    """The bands of a strip: several where a copied band of all taps would have rows that none of them reads."""
    rows, step = (strips.strip_rows - 1) * layout.stride_rows + 1, problem.geometry.dilation[0]
    if layout.copied and step > rows:
        return Bands(problem.weight[0], step, rows, reach=1)
    reach, _ = problem.geometry.reach(problem.weight[:2])
    return Bands(1, step, rows - 1 + reach, reach)


@dataclass(frozen=True, eq=False)
class Tiles:
    """The rows (tap, input channel) of the result, cut into tiles of the micro-kernel."""

    height: int
    scattered: bool  # each row has an offset of its own
    starts: list[int]  # byte offset of the first row of a tile in the input; with `scattered`, its number
    offsets: list[int]  # of the rows, with `scattered`; the last is repeated to fill the last tile
    places: list[int]  # where each row is among those of all tiles


def tiles_of(runs: list[tuple[int, int]]) -> Tiles:
    """The tiles of runs (offset, length) of neighbouring rows, which are scattered where runs are short."""
    if runs and sum(length for _, length in runs) < 8 * len(runs):
        offsets = [4 * (offset + r) for offset, length in runs for r in range(length)]
        count = len(offsets)
        height = ceil(count / ceil(count / HEIGHTS[0]))
        starts = list(range(0, count, height))
        return Tiles(height, True, starts, offsets + offsets[-1:] * (-count % height), list(range(count)))
    fitting = [height for height in HEIGHTS if height <= min((length for _, length in runs), default=1)]
    height = min(fitting, key=lambda height: sum(tile_cost(length, height) for _, length in runs))
    starts, places = [], []
    for offset, length in runs:
        first, of_run = len(starts), tile_starts(length, height)
        starts += [4 * (offset + start) for start in of_run]
        for r in range(length):
            t = r // height
            places.append((first + t) * height + r - of_run[t])
    return Tiles(height, False, starts, [], places)


@dataclass(frozen=True)
class Panel:
    """The output channels of a panel."""

    source: int  # bytes from the first input channel to the first of the group
    gradient: int  # bytes from the first output channel to that of the panel
    lanes: int  # floats


PANEL = Record(Panel)
_panels_at = pointer_to(PANEL.type)


@dataclass(frozen=True)
class Sums:
    """How the sums are cut into tasks."""

    panel_count: int
    panel_width: int  # floats
    panel_bytes: int  # of the sums of a panel
    panels_per_task: int
    pieces: int  # runs of strips, whose sums are added up at the end

    @property
    def task_bytes(self) -> int:
        """The bytes of the sums of a task."""
        return self.panels_per_task * self.panel_bytes

    @property
    def tasks(self) -> int:
        """How many tasks there are: the pieces of each group of panels."""
        return ceil(self.panel_count / self.panels_per_task) * self.pieces


def sums_of(panel_count: int, panel_width: int, rows: int, strips: int, copied: bool) -> Sums:
    """The sums of `rows` rows; panels are joined where the input is copied for all of them."""
    panel_bytes = 4 * rows * panel_width
    together = max(1, min(panel_count, SUMS_BYTES // max(panel_bytes, 1))) if copied else 1
    pieces = min(strips, ceil(LEAST_TASKS / ceil(panel_count / together)))
    return Sums(panel_count, panel_width, panel_bytes, together, pieces)


class AccumulateArguments:
    """What else `accumulate` is asked for."""

    panels: np.ndarray  # a record `Panel` each
    gradient_bytes: int  # of an image of g
    gradient_pixel: int  # bytes from pixel to pixel of g
    joined: bool  # a strip is one segment: see `is_joined`
    segments: np.ndarray  # (offset in bytes, pixels) of the rows of a strip, or, `joined`, of 0, 1, ... rows
    step: int  # bytes from pixel to pixel of a segment
    tiles: np.ndarray  # see `Tiles.starts`
    tile_count: int
    offsets: np.ndarray  # see `Tiles`
    entry: Address  # the micro-kernel


@inlined
def inputs_at(a, buffer, image, top, rows, images):
    """The address of what `rows` rows of outputs of some images, from row `top` on, read in all bands."""
    row, rows = top * a.stride_rows, (rows - 1) * a.stride_rows + a.reach
    for band in range(1, a.bands):
        window_at(a, buffer + band * a.band_rows * a.pitch, image, row + band * a.band_step, rows, images)
    return window_at(a, buffer, image, row, rows, images)


@worker(SumOperands, Strips, Layout, Bands, Window, Sums, AccumulateArguments)
def accumulate(arguments, task, lane):
    """Compute the sums of a group of panels over a run of strips."""
    a = carray(arguments, 1)[0]
    panels = carray(_panels_at(a.panels), a.panel_count)
    first_panel, piece = task // a.pieces * a.panels_per_task, task % a.pieces
    last_panel = min(first_panel + a.panels_per_task, a.panel_count)
    buffer, row_bytes = a.scratch + lane * a.lane_bytes, 4 * a.panel_width
    gradients, sums_bytes = buffer + a.copy_bytes, a.panels_per_task * a.panel_bytes
    first_strip, last_strip = piece * a.strips // a.pieces, (piece + 1) * a.strips // a.pieces
    for strip in range(first_strip, last_strip):
        image, top = strip // a.strips_of_image * a.group, strip % a.strips_of_image * a.strip_rows
        images, rows = min(a.group, a.images - image), min(a.strip_rows, a.rows - top)
        source = inputs_at(a, buffer, image, top, rows, images)
        begin = a.g + image * a.gradient_bytes + top * a.columns * a.gradient_pixel
        for p in range(first_panel, last_panel):
            panel, lines, pitch = panels[p], begin + panels[p].gradient, a.gradient_pixel
            if 4 * panel.lanes < row_bytes:
                clear(gradients, images * rows * a.columns * row_bytes)
            if 4 * panel.lanes < row_bytes or (pitch > NEAR_PITCH and a.tile_count > FEW_TILES):
                for i in range(images * rows * a.columns):
                    copy(gradients + i * row_bytes, lines + i * pitch, 4 * panel.lanes)
                lines, pitch = gradients, row_bytes
            call_rows(
                a.entry,
                (
                    source + panel.source,
                    lines,
                    a.sums + task * sums_bytes + (p - first_panel) * a.panel_bytes,
                    a.tiles,
                    a.offsets,
                    a.tile_count,
                    a.segments + 16 * images * rows if a.joined else a.segments,
                    1 if a.joined else images * rows,
                    a.step,
                    pitch,
                    1 if strip > first_strip else 0,
                ),
            )


@dataclass(frozen=True, eq=False)
class AddedRows:
    """The rows (tap, input channel) whose sums are added up."""

    places: np.ndarray  # of each row among the sums
    targets: np.ndarray  # of each row in the gradient
    row_total: int
    block: int  # rows of a task


class AddArguments:
    """What else `add_up` is asked for."""

    sums: Address
    gradient: Address
    panels: np.ndarray  # a record `Panel` each
    target_row: int  # bytes of a row of the gradient


@worker(Sums, AddedRows, AddArguments)
def add_up(arguments, task, lane):
    """Write `block` rows of the weight gradient: the sums of all pieces, added in order."""
    a = carray(arguments, 1)[0]
    panels, sums_bytes = carray(_panels_at(a.panels), a.panel_count), a.panels_per_task * a.panel_bytes
    for r in range(task * a.block, min((task + 1) * a.block, a.row_total)):
        for p in range(a.panel_count):
            panel = panels[p]
            total = carray(floats_at(a.gradient + int64_at(a.targets, r) * a.target_row + panel.gradient), panel.lanes)
            source = a.sums + p // a.panels_per_task * a.pieces * sums_bytes
            source += p % a.panels_per_task * a.panel_bytes + int64_at(a.places, r) * 4 * a.panel_width
            part = carray(floats_at(source), panel.lanes)
            for i in range(panel.lanes):
                total[i] = part[i]
            for piece in range(1, a.pieces):
                part = carray(floats_at(source + piece * sums_bytes), panel.lanes)
                for i in range(panel.lanes):
                    total[i] += part[i]


def pixel_pitch(channels: int, stride: int) -> int:
    """Floats from pixel to pixel: at a multiple of 256 bytes they would compete for lines of the first-level cache."""
    return channels + 16 if channels * stride % 64 == 0 else channels


def of_single_pixels(problem: Problem) -> Problem | None:
    """The same weight gradient with each pixel as an image of its own, if an output depends on a single pixel."""
    (images, *size, channels), outputs, geometry = problem.source, problem.target[3], problem.geometry
    if geometry.padding != ((0, 0), (0, 0)) or problem.weight[:2] != (1, 1) or list(problem.target[1:3]) != size:
        return None
    pixels = images * prod(size)
    geometry = replace(geometry, stride=(1, 1))
    return Problem((pixels, 1, 1, channels), (pixels, 1, 1, outputs), problem.weight, geometry)


def taps_of(problem: Problem, row_step: int) -> list[Tap]:
    """The taps that no mask hides, with all channels of a group, and `row_step` rows from a row of taps to the next."""
    (kernel_rows, kernel_columns, depth, _), (_, dw) = problem.weight, problem.geometry.dilation
    visible = visible_taps(kernel_rows, kernel_columns, problem.geometry.mask)
    return [Tap(i * row_step, j * dw, i * kernel_columns + j, 0, depth) for i, j in visible]


def panels_for(problem: Problem) -> tuple[np.ndarray, int]:
    """The table of the panels of each group of channels, and their width in floats."""
    _, _, depth, outputs = problem.weight
    share = outputs // problem.geometry.groups
    width = panels_of(share).width
    starts = [(group, k) for group in range(problem.geometry.groups) for k in range(0, share, width)]
    table = [(Panel(4 * group * depth, 4 * (group * share + k), min(width, share - k)),) for group, k in starts]
    return PANEL.table(table), width


def is_joined(strips: Strips, layout: Layout, window: Window) -> bool:
    """Whether the pixels of a strip follow each other, at one distance, through all its rows and images."""
    row_bytes = strips.columns * layout.stride_columns * layout.pixel_pitch
    rows_follow = strips.strip_rows == 1 or layout.stride_rows * layout.pitch == row_bytes
    return rows_follow and (strips.group == 1 or window.window_bytes == strips.strip_rows * row_bytes)


def segments_of(strips: Strips, layout: Layout, window: Window):
    """(offset in bytes, pixels) of each row of a strip; where it is joined, of 0, 1, ... rows."""
    if is_joined(strips, layout, window):
        return [(0, count * strips.columns) for count in range(strips.group * strips.strip_rows + 1)]
    images, rows = np.arange(strips.group), np.arange(strips.strip_rows)
    offsets = np.add.outer(window.window_bytes * images, layout.stride_rows * layout.pitch * rows)
    return np.stack([offsets, np.full_like(offsets, strips.columns)], axis=-1)


class WeightSums:
    """A plan of `conv2d_weight_grad`."""

    def __init__(self, problem: Problem):
        self.shape, problem = problem.weight, of_single_pixels(problem) or problem
        geometry, (images, rows, columns, outputs) = problem.geometry, problem.target
        layout = layout_of(problem, geometry.padding, pixel_pitch(problem.source[3], geometry.stride[1]))
        strips = strips_of(images, rows, columns)
        bands = bands_of(problem, strips, layout)
        window, taps = layout.window(bands.bands * bands.band_rows, strips.group), taps_of(problem, bands.tap_step)
        tiles, (panels, width) = tiles_of(layout.segments(taps)), panels_for(problem)
        sums = sums_of(len(panels), width, tiles.height * len(tiles.starts), strips.strips, layout.copied)
        self.tasks, self.sums_size = sums.tasks, sums.tasks * sums.task_bytes // 4
        self.arguments = accumulate.record.filled(
            strips,
            layout,
            bands,
            window,
            sums,
            lane_bytes=window.copy_bytes + 4 * width * strips.group * strips.strip_rows * columns,
            panels=panels,
            gradient_bytes=4 * rows * columns * outputs,
            gradient_pixel=4 * outputs,
            joined=is_joined(strips, layout, window),
            segments=segments_of(strips, layout, window),
            step=layout.stride_columns * layout.pixel_pitch,
            tiles=tiles.starts,
            tile_count=len(tiles.starts),
            offsets=tiles.offsets,
            entry=outer_sums(tiles.height, width // WIDTH, tiles.scattered),
        )
        targets = [tap.index * self.shape[2] + c for tap in taps for c in range(self.shape[2])]
        self.is_masked, block = len(targets) < prod(self.shape[:3]), max(1, ceil(len(targets) / LEAST_TASKS))
        self.add_tasks, rows = ceil(len(targets) / block), AddedRows(tiles.places, targets, len(targets), block)
        self.add_arguments = add_up.record.filled(sums, rows, panels=panels, target_row=4 * outputs)

    def __call__(self, x, g) -> np.ndarray:
        """The gradient of w, from contiguous float32 x and g; zero for the weights that a mask hides."""
        weight = (memory.zeros if self.is_masked else memory.empty)(self.shape)
        sums = summed(accumulate, self.arguments, self.tasks, x, g, memory.empty(self.sums_size))
        last = add_up.Arguments.from_buffer_copy(self.add_arguments)
        last.sums, last.gradient = address(sums), address(weight)
        pool.run(add_up, last, self.add_tasks)
        return weight
