"""The weight gradient: for each visible tap, the sum over pixels of outer products of inputs and output gradients.

A tap is visible if no mask hides it.

A strip of pixels is short enough for its gradients in a panel of output channels to stay in the first-level cache,
while all rows (tap, input channel) of the result read them. The work is cut into groups of panels, and where these are
few, into runs of strips, whose sums are added in order at the end.
"""

import functools
from math import ceil

import numpy as np
from numba import carray

from ..geometry import Geometry, visible_taps
from ..taps import Tap
from . import memory, pool
from .ir import call_rows, clear, copy, floats_at, int64_at, pointer_to
from .jit import Record, worker
from .memory import address
from .products import copy_window, keep_table, merged, row_pitch, tile_cost
from .target import HEIGHTS, VECTORS, WIDTH
from .tile import outer_sums

LEAST_TASKS = 8  # work that is large enough is cut into at least this many tasks
STRIP = 96  # pixels of a strip; a row that is longer is a strip of its own
# Gradients of pixels more than NEAR_PITCH bytes apart are first copied together, if more than FEW_TILES read them.
NEAR_PITCH, FEW_TILES = 4 * VECTORS * WIDTH, 8
SUMS_BYTES = 300_000  # most bytes of sums that a task works on: they fit into a core's second-level cache

PANEL = Record("source columns lanes")
_panels_at = pointer_to(PANEL.type)


@worker(
    "strips pieces strips_of_image group images rows strip_rows columns flat panels panel_count panels_per_task width "
    "x g sums sums_bytes panel_bytes image_bytes gradient_bytes copied scratch lane_bytes window_bytes row_bytes pitch "
    "pixel_bytes pixel_pitch above before height width_in band_source reach strip_at gradient_pixel step segments "
    "tiles tile_count offsets entry"
)
def accumulate(arguments, task, lane):
    """Compute the sums of a group of panels over a run of strips."""
    a = carray(arguments, 1)[0]
    panels = carray(_panels_at(a.panels), a.panel_count)
    first_panel, piece = task // a.pieces * a.panels_per_task, task % a.pieces
    last_panel = min(first_panel + a.panels_per_task, a.panel_count)
    buffer, row_bytes = a.scratch + lane * a.lane_bytes, 4 * a.width
    gradients = buffer + a.strip_at
    first_strip, last_strip = piece * a.strips // a.pieces, (piece + 1) * a.strips // a.pieces
    for strip in range(first_strip, last_strip):
        image, top = strip // a.strips_of_image * a.group, strip % a.strips_of_image * a.strip_rows
        images, rows = min(a.group, a.images - image), min(a.strip_rows, a.rows - top)
        source = a.x + image * a.image_bytes
        if a.copied:
            window = (rows - 1) * a.band_source + a.reach
            copy_window(a, buffer, source, top * a.band_source - a.above, window, images)
            source = buffer
        else:
            source += top * a.band_source * a.row_bytes
        begin = a.g + image * a.gradient_bytes + top * a.columns * a.gradient_pixel
        for p in range(first_panel, last_panel):
            panel, lines, pitch = panels[p], begin + panels[p].columns, a.gradient_pixel
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
                    a.sums + task * a.sums_bytes + (p - first_panel) * a.panel_bytes,
                    a.tiles,
                    a.offsets,
                    a.tile_count,
                    a.segments + 16 * images if a.flat else a.segments,
                    1 if a.flat else images * rows,
                    a.step,
                    pitch,
                    1 if strip > first_strip else 0,
                ),
            )


@worker(
    "pieces panels panel_count panels_per_task width sums sums_bytes panel_bytes row_count sources targets gradient "
    "row_bytes block"
)
def add_up(arguments, task, lane):
    """Write `block` rows of the weight gradient: the sums of all pieces, added in order."""
    a = carray(arguments, 1)[0]
    panels = carray(_panels_at(a.panels), a.panel_count)
    for r in range(task * a.block, min((task + 1) * a.block, a.row_count)):
        for p in range(a.panel_count):
            panel = panels[p]
            total = carray(floats_at(a.gradient + int64_at(a.targets, r) * a.row_bytes + panel.columns), panel.lanes)
            source = a.sums + p // a.panels_per_task * a.pieces * a.sums_bytes
            source += p % a.panels_per_task * a.panel_bytes + int64_at(a.sources, r) * 4 * a.width
            part = carray(floats_at(source), panel.lanes)
            for i in range(panel.lanes):
                total[i] = part[i]
            for piece in range(1, a.pieces):
                part = carray(floats_at(source + piece * a.sums_bytes), panel.lanes)
                for i in range(panel.lanes):
                    total[i] += part[i]


def cut_into_tiles(runs: list[tuple[int, int]], height: int):
    """Tiles of `height` over runs (offset, length) of neighbouring rows: their offsets, and where each row ends up.

    The last tile of a run ends with it, and so may begin before the end of the tile before it.
    """
    offsets, places = [], []
    for offset, length in runs:
        starts = [min(start, length - height) for start in range(0, length, height)]
        first = len(offsets)
        for r in range(length):
            t = min(r // height, len(starts) - 1)
            places.append((first + t) * height + r - starts[t])
        offsets += [offset + start for start in starts]
    return offsets, places


def _tile_height(runs: list[tuple[int, int]]) -> int:
    """The height with the lowest `tile_cost`, of those that fit into the shortest run."""
    shortest = min((length for _, length in runs), default=1)
    fitting = [height for height in HEIGHTS if height <= shortest]
    return min(fitting, key=lambda height: sum(tile_cost(length, height) for _, length in runs))


class WeightSums:
    """A plan of `conv2d_weight_grad`: everything that depends on shapes only."""

    def __init__(self, x_shape, g_shape, kernel_size, geometry: Geometry):
        images, height, width, channels = x_shape
        _, rows, columns, outputs = g_shape
        (sh, sw), (dh, dw), ((above, below), (before, after)) = geometry.stride, geometry.dilation, geometry.padding
        depth, share = channels // geometry.groups, outputs // geometry.groups
        self.shape, self.tables = (*kernel_size, depth, outputs), []

        padded = bool(above or below or before or after)
        # Pixels a multiple of 256 bytes apart would compete for the same lines of the first-level cache.
        pixel = channels + 16 if channels * sw % 64 == 0 else channels
        copied = padded or pixel != channels
        pitch = row_pitch((before + width + after) * pixel) if copied else width * channels
        reach = (kernel_size[0] - 1) * dh + 1
        flat = not padded and kernel_size == (1, 1) and rows == height and columns == width
        if flat:  # treat each pixel as an image of its own
            images, height, width, rows, columns, pitch = images * height * width, 1, 1, 1, 1, pixel
        group = min(images, max(1, STRIP // (rows * columns)))
        strip_rows = min(rows, max(1, STRIP // columns))
        if group > 1:
            strip_rows = rows
        strips_of_image = ceil(rows / strip_rows)
        strips = ceil(images / group) * strips_of_image
        image_bytes = 4 * height * width * channels
        window_bytes = 4 * pitch * ((strip_rows - 1) * sh + reach) if copied else image_bytes

        visible = visible_taps(*kernel_size, geometry.mask)
        taps = [Tap(i * dh, j * dw, i * kernel_size[1] + j, 0, depth) for i, j in visible]
        runs = merged(taps, pitch, pixel, channels)
        scattered = bool(runs) and sum(length for _, length in runs) < 8 * len(runs)
        vectors = VECTORS if share > WIDTH else 1
        if scattered:  # each row has its own offset; the last row is repeated to fill the last tile
            row_offsets = [4 * (offset + r) for offset, length in runs for r in range(length)]
            tile = ceil(len(row_offsets) / ceil(len(row_offsets) / HEIGHTS[0]))
            starts, places = list(range(0, len(row_offsets), tile)), list(range(len(row_offsets)))
            row_offsets += row_offsets[-1:] * (len(starts) * tile - len(row_offsets))
        else:
            row_offsets, tile = [0], _tile_height(runs)
            starts, places = cut_into_tiles(runs, tile)
        panel_width = vectors * WIDTH
        self.panels = PANEL.table(
            [
                {"source": 4 * g * depth, "columns": 4 * (g * share + k), "lanes": min(panel_width, share - k)}
                for g in range(geometry.groups)
                for k in range(0, share, panel_width)
            ]
        )
        panel_bytes = 4 * len(starts) * tile * panel_width
        panels_per_task = max(1, min(len(self.panels), SUMS_BYTES // max(panel_bytes, 1))) if copied else 1
        pieces = min(strips, ceil(LEAST_TASKS / ceil(len(self.panels) / panels_per_task)))
        sums_bytes = panels_per_task * panel_bytes
        if flat:
            segments = [(0, count) for count in range(group + 1)]
        else:
            i, r = np.ogrid[:group, :strip_rows]
            offsets = i * window_bytes + 4 * r * sh * pitch
            segments = np.stack([offsets, np.full_like(offsets, columns)], axis=-1)
        strip_at = ceil(group * window_bytes / 64) * 64 if copied else 0
        self.lane_bytes = strip_at + 4 * panel_width * group * strip_rows * columns
        self.tasks = ceil(len(self.panels) / panels_per_task) * pieces
        self.sums_size = self.tasks * sums_bytes // 4
        shared = {
            "pieces": pieces,
            "panels": address(self.panels),
            "panel_count": len(self.panels),
            "panels_per_task": panels_per_task,
            "width": panel_width,
            "sums_bytes": sums_bytes,
            "panel_bytes": panel_bytes,
        }
        self.arguments = accumulate.Arguments(
            **shared,
            strips=strips,
            strips_of_image=strips_of_image,
            group=group,
            images=images,
            rows=rows,
            strip_rows=strip_rows,
            columns=columns,
            flat=flat,
            image_bytes=image_bytes,
            gradient_bytes=4 * rows * columns * outputs,
            copied=copied,
            lane_bytes=self.lane_bytes,
            window_bytes=window_bytes,
            row_bytes=4 * width * channels,
            pitch=4 * pitch,
            pixel_bytes=4 * channels,
            pixel_pitch=4 * pixel,
            above=above,
            before=4 * before * pixel,
            height=height,
            width_in=width,
            band_source=sh,
            reach=reach,
            strip_at=strip_at,
            gradient_pixel=4 * outputs,
            step=4 * sw * pixel,
            segments=address(keep_table(self, segments)),
            tiles=address(keep_table(self, np.array(starts, np.int64) * (1 if scattered else 4))),
            tile_count=len(starts),
            offsets=address(keep_table(self, row_offsets)),
            entry=outer_sums(tile, vectors, scattered),
        )
        targets = keep_table(self, [tap.index * depth + c for tap in taps for c in range(depth)])
        self.is_masked = len(taps) < kernel_size[0] * kernel_size[1]
        block = max(1, ceil(len(targets) / LEAST_TASKS))
        self.add_tasks = ceil(len(targets) / block)
        self.add_arguments = add_up.Arguments(
            **shared,
            row_count=len(targets),
            sources=address(keep_table(self, places)),
            targets=address(targets),
            row_bytes=4 * outputs,
            block=block,
        )

    def __call__(self, x, g) -> np.ndarray:
        """The gradient of w, from contiguous float32 x and g; zero for the weights that a mask hides."""
        weight = (memory.zeros if self.is_masked else memory.empty)(self.shape)
        sums, buffer = memory.empty(self.sums_size), memory.scratch(self.lane_bytes)
        call = accumulate.Arguments.from_buffer_copy(self.arguments)
        call.x, call.g, call.sums, call.scratch = address(x), address(g), address(sums), address(buffer)
        pool.run(accumulate, call, self.tasks)
        last = add_up.Arguments.from_buffer_copy(self.add_arguments)
        last.sums, last.gradient = address(sums), address(weight)
        pool.run(add_up, last, self.add_tasks)
        return weight


@functools.lru_cache(256)
def weight_plan(x_shape, g_shape, kernel_size, geometry: Geometry) -> WeightSums:
    """The plan of `conv2d_weight_grad`."""
    return WeightSums(x_shape, g_shape, kernel_size, geometry)
