"""The direct kernels: convolution and its adjoint in x, as products over taps.

A plan holds what depends on shapes only: tables of offsets and the choice of tiles. A call packs the weights into
panels (blocks of as many outputs as a tile is wide, in the order in which the micro-kernel reads them), and multiplies.
"""

import ctypes
import functools
from math import ceil, prod

import numpy as np
from numba import carray

from ..geometry import Geometry
from ..taps import adjoint_phases, forward_phases
from . import memory, pool
from .ir import VECTOR_BYTES, call_rows, clear, copy, floats_at, int64_at, pointer_to, transpose_block
from .jit import Record, inlined, worker
from .memory import address
from .target import ADJACENT_HEIGHTS, HEIGHTS, VECTORS, WIDTH
from .tile import product_rows

MOST_INPUT_BYTES = 300_000  # most bytes of input that a task works on: they fit into a core's second-level cache
LEAST_TASKS = 16  # work that is large enough is cut into at least this many tasks


@inlined
def copy_window(a, buffer, source, top, rows, images):
    """Copy `rows` rows of some images, from row `top` on, which may lie above the image, with zeros around them.

    Pixels of `pixel_bytes` are laid out `pixel_pitch` apart; what lies between them is left as it is.
    """
    for i in range(images):
        for r in range(rows):
            target = buffer + i * a.window_bytes + r * a.pitch
            row = top + r
            if 0 <= row < a.height:
                line = source + i * a.image_bytes + row * a.row_bytes
                clear(target, a.before)
                target += a.before
                if a.pixel_pitch == a.pixel_bytes:
                    copy(target, line, a.row_bytes)
                else:
                    for j in range(a.width_in):
                        copy(target + j * a.pixel_pitch, line + j * a.pixel_bytes, a.pixel_bytes)
                target += a.width_in * a.pixel_pitch
                clear(target, buffer + i * a.window_bytes + (r + 1) * a.pitch - target)
            else:
                clear(target, a.pitch)


@inlined
def copy_planes(a, buffer, source, top, rows, images):
    """`copy_window` channel by channel: neighbours are pixels `stride_columns` apart, of one channel.

    There is a plane of `rows` lines for each channel and each column modulo the stride.
    """
    channels, line, step = a.pixel_bytes // 4, a.pitch // 4, a.stride_columns
    for i in range(images):
        clear(buffer + i * a.window_bytes, a.window_bytes)
        window = carray(floats_at(buffer + i * a.window_bytes), a.window_bytes // 4)
        for r in range(max(0, -top), min(rows, a.height - top)):
            pixels = carray(floats_at(source + i * a.image_bytes + (top + r) * a.row_bytes), a.width_in * channels)
            for c in range(channels):
                for phase in range(step):
                    line_start = ((c * step + phase) * rows + r) * line
                    first = (phase - a.before) % step  # column of the image
                    at = line_start + (first + a.before) // step
                    for j in range(first, a.width_in, step):
                        window[at] = pixels[j * channels + c]
                        at += 1


JOB = Record("rows row_source row_target segments count weights source target bias panels panel_bytes whole tail lanes")
_jobs_at = pointer_to(JOB.type)


@worker(
    "images group bands parts panel_stride x weights y bias slope image_bytes target_bytes last_band "
    "band_rows band_source band_target copied planes stride_columns scratch lane_bytes window window_bytes row_bytes "
    "pitch pixel_bytes pixel_pitch above before height width_in jobs job_count"
)
def multiply(arguments, task, lane):
    """Multiply one of `parts` shares of the panels with a band of rows of a group of images."""
    a = carray(arguments, 1)[0]
    part = task % a.parts
    band = task // a.parts % a.bands
    first = min(task // (a.parts * a.bands) * a.group, a.images - a.group)
    top = min(band * a.band_rows, a.last_band)
    source = a.x + first * a.image_bytes
    if a.copied:
        buffer, first_row = a.scratch + lane * a.lane_bytes, top * a.band_source - a.above
        if a.planes:
            copy_planes(a, buffer, source, first_row, a.window, a.group)
        else:
            copy_window(a, buffer, source, first_row, a.window, a.group)
        source = buffer
    else:
        source += top * a.band_source * a.row_bytes
    target = a.y + first * a.target_bytes + top * a.band_target
    jobs = carray(_jobs_at(a.jobs), a.job_count)
    for j in range(a.job_count):
        job = jobs[j]
        for panel in range(part * job.panels // a.parts, (part + 1) * job.panels // a.parts):
            entry = job.tail if panel == job.panels - 1 else job.whole
            shift = panel * a.panel_stride
            call_rows(
                entry,
                (
                    source + job.source,
                    a.weights + job.weights + panel * job.panel_bytes,
                    target + job.target + shift,
                    job.row_source,
                    job.row_target,
                    job.rows,
                    job.segments,
                    job.count,
                    a.panel_stride,
                    a.bias + job.bias + shift if a.bias else 0,
                    a.slope,
                    job.lanes,
                ),
            )


PACK = Record("pieces count packed outputs panels panel_bytes")
packs_at = pointer_to(PACK.type)


@inlined
def pack_panel(a, p, panel, weights, target):
    """Write a panel of a block of weights: rows over taps and input channels, `width` outputs in each."""
    outputs, pitch = min(a.width, p.outputs - panel * a.width), 4 * a.width
    if outputs < a.width:
        clear(target, p.panel_bytes)
    full_width = outputs // WIDTH * WIDTH
    for piece in range(p.count):
        source = weights + int64_at(p.pieces, 2 * piece) + panel * a.width * a.output_stride
        depth = int64_at(p.pieces, 2 * piece + 1)
        if a.output_stride == 4:
            for k in range(depth):
                for j in range(0, full_width, WIDTH):
                    copy(target + k * pitch + 4 * j, source + k * a.depth_stride + 4 * j, VECTOR_BYTES)
            if full_width < outputs:
                for k in range(depth):
                    copy(
                        target + k * pitch + 4 * full_width,
                        source + k * a.depth_stride + 4 * full_width,
                        4 * (outputs - full_width),
                    )
        else:
            rows_in_squares = depth // WIDTH * WIDTH
            for k in range(0, rows_in_squares, WIDTH):
                for j in range(0, full_width, WIDTH):
                    transpose_block(
                        target + k * pitch + 4 * j, pitch, source + j * a.output_stride + 4 * k, a.output_stride
                    )
            for j in range(outputs):
                line = carray(floats_at(source + j * a.output_stride), depth)
                column = carray(floats_at(target), depth * a.width)
                for k in range(rows_in_squares if j < full_width else 0, depth):
                    column[k * a.width + j] = line[k]
        target += depth * pitch


@worker("w packed packs pack_count width depth_stride output_stride")
def pack(arguments, task, lane):
    """Write panel number `task` of all blocks."""
    a = carray(arguments, 1)[0]
    packs = carray(packs_at(a.packs), a.pack_count)
    block = 0
    while task >= packs[block].panels:
        task -= packs[block].panels
        block += 1
    p = packs[block]
    pack_panel(a, p, task, a.w, a.packed + p.packed + task * p.panel_bytes)


def tile_cost(rows: int, height: int) -> float:
    """The time of `rows` rows in tiles of `height`, in units of the time of a row in a very high tile (measured)."""
    return ceil(rows / height) * height * (1 + 0.6 / height)


def tile_height(rows: int, heights=HEIGHTS) -> int:
    """The height with the lowest `tile_cost`, of those that are at most `rows`."""
    return min((height for height in heights if height <= rows), key=lambda height: tile_cost(rows, height))


def row_pitch(floats: int) -> int:
    """The distance of the rows of a copied image: at a multiple of 1024 bytes they would share cache lines."""
    return floats + 16 if floats % 256 == 0 else floats


def merged(taps, pitch: int, pixel: int, channels: int) -> list[tuple[int, int]]:
    """Segments (offset, length), in floats, of a list of taps; those that follow each other in memory become one."""
    segments: list[tuple[int, int]] = []
    for tap in taps:
        offset, length = tap.row * pitch + tap.column * pixel + tap.low, tap.high - tap.low
        if segments and length == channels and offset == sum(segments[-1]):
            segments[-1] = segments[-1][0], segments[-1][1] + length
        else:
            segments.append((offset, length))
    return segments


def keep_table(plan, offsets) -> np.ndarray:
    """Offsets as a contiguous int64 array that the plan refers to, so that its address stays valid."""
    plan.tables.append(np.ascontiguousarray(offsets, np.int64).reshape(-1))
    return plan.tables[-1]


def packing(plan, pieces, outputs: int, width: int, packed: int = 0) -> dict[str, int]:
    """The record of weights (offset in bytes, rows) that are packed into panels of a width, from byte `packed` on."""
    return {
        "pieces": address(keep_table(plan, pieces)),
        "count": len(pieces),
        "packed": packed,
        "outputs": outputs,
        "panels": ceil(outputs / width),
        "panel_bytes": 4 * sum(rows for _, rows in pieces) * width,
    }


def panel_kernels(outputs: int, vectors: int, height: int, adjacent: bool) -> dict[str, int]:
    """The micro-kernels for whole panels (`whole`) and the last one (`tail`), and the lanes of its last vector."""
    width = vectors * WIDTH
    last = (outputs - 1) % width + 1
    return {
        "whole": product_rows(height, vectors, False, adjacent) if outputs > width else 0,
        "tail": product_rows(height, ceil(last / WIDTH), last % WIDTH != 0, adjacent),
        "lanes": (last - 1) % WIDTH + 1,
    }


class Products:
    """A plan: y[outputs of each phase] = activation(bias + sum over taps of x[...] w[tap]), shapes fixed.

    A convolution has one phase; its adjoint has one for each remainder of row and column modulo the stride.
    `source` is (H, W, C) of x, `zeros` its padding, `stride` its (vertical, horizontal) step from output to output;
    `target` is (H, W, K) of y, `step` the distance of a phase's outputs in it. A weight is found at tap * `tap_size` +
    input channel * `depth_stride` + output channel * `output_stride` floats.
    """

    def __init__(self, images, source, stride, zeros, target, step, phases, tap_size, depth_stride, output_stride):
        self.shape, self.step, self.stride, self.tables = (images, *target), step, stride, []
        (height, width, channels), ((above, below), (before, after)) = source, zeros
        blocks = [block for phase in phases for block in phase.blocks]
        padded = bool(above or below or before or after)
        self.pitch = row_pitch((before + width + after) * channels) if padded else width * channels
        self.planes = _have_short_loops(blocks, self.pitch, channels)
        if self.planes:
            self.pitch = ceil((before + width + after) / stride[1])
        self.channels, copied = channels, padded or self.planes
        rows, columns = max(phase.rows for phase in phases), max(phase.columns for phase in phases)
        even = all((phase.rows, phase.columns) == (rows, columns) for phase in phases)
        reach = 1 + max((tap.row for block in blocks for tap in block.taps), default=0)
        line_bytes = 4 * self.pitch * (channels * stride[1] if self.planes else 1)
        group, bands = _cut(images, rows, columns, line_bytes * ((rows - 1) * stride[0] + reach), even)
        groups, self.band_rows = ceil(images / group), ceil(rows / bands)
        self.window = (self.band_rows - 1) * stride[0] + reach
        image_bytes, target_bytes = 4 * height * width * channels, 4 * prod(target)
        window_bytes = line_bytes * self.window if copied else image_bytes

        self.vectors = VECTORS if any(block.last - block.first > WIDTH for block in blocks) else 1
        self.width = self.vectors * WIDTH
        jobs, packs = [], []
        for phase in phases:
            rows_of_phase = self._rows(phase, group, window_bytes)
            for block in phase.blocks:
                begin = block.corner[0] * depth_stride + block.corner[1] * output_stride
                pieces = [(4 * (t.index * tap_size + t.low * depth_stride + begin), t.high - t.low) for t in block.taps]
                packed = sum(p["panels"] * p["panel_bytes"] for p in packs)
                packs.append(packing(self, pieces, block.last - block.first, self.width, packed))
                jobs.append(
                    {
                        "weights": packs[-1]["packed"],
                        "target": 4 * ((phase.top * target[1] + phase.left) * target[2] + block.first),
                        "bias": 4 * block.first,
                        "panels": packs[-1]["panels"],
                        "panel_bytes": packs[-1]["panel_bytes"],
                        **rows_of_phase,
                        **self._entries(block, self._height(phase, rows_of_phase["rows"])),
                    }
                )
        packed = sum(p["panels"] * p["panel_bytes"] for p in packs)
        self.jobs, self.packs, self.packed_size = JOB.table(jobs), PACK.table(packs), packed // 4
        # Where several tasks share the panels, each has to copy the input for itself.
        most = max(job["panels"] for job in jobs)
        parts = 1 if copied else ceil(most / max(1, most * groups * bands // LEAST_TASKS))
        self.tasks, self.pack_tasks = groups * bands * parts, sum(pack["panels"] for pack in packs)
        self.lane_bytes = group * window_bytes if copied else 0
        self.pack_arguments = pack.Arguments(
            packs=address(self.packs),
            pack_count=len(packs),
            width=self.width,
            depth_stride=4 * depth_stride,
            output_stride=4 * output_stride,
        )
        self.arguments = multiply.Arguments(
            images=images,
            group=group,
            bands=bands,
            parts=parts,
            panel_stride=4 * self.width,
            image_bytes=image_bytes,
            target_bytes=target_bytes,
            last_band=rows - self.band_rows,
            band_rows=self.band_rows,
            band_source=stride[0],
            band_target=4 * step[0] * target[1] * target[2],
            copied=copied,
            planes=self.planes,
            stride_columns=stride[1],
            lane_bytes=self.lane_bytes,
            window=self.window,
            window_bytes=window_bytes,
            row_bytes=4 * width * channels,
            pitch=4 * self.pitch,
            pixel_bytes=4 * channels,
            pixel_pitch=4 * channels,
            above=above,
            before=before if self.planes else 4 * before * channels,
            height=height,
            width_in=width,
            jobs=address(self.jobs),
            job_count=len(jobs),
        )

    def _height(self, phase, rows: int) -> int:
        """How many output pixels of a phase a tile has; with `copy_planes` they lie in one line of the image."""
        return tile_height(phase.columns, ADJACENT_HEIGHTS) if self.planes else tile_height(rows)

    def _rows(self, phase, group: int, window_bytes: int) -> dict[str, int]:
        """The number of output pixels of a task, and tables of the byte offsets of their inputs and outputs."""
        _, _, width, outputs = self.shape
        if self.planes:
            height, distance = self._height(phase, 0), 1
            starts = [min(start, phase.columns - height) for start in range(0, phase.columns, height)]
            columns = np.array([start + v for start in starts for v in range(height)])
        else:
            columns, distance = np.arange(phase.columns), self.stride[1] * self.channels
        i, u, _ = np.ogrid[:group, : min(phase.rows, self.band_rows), :1]
        target_bytes = 4 * prod(self.shape[1:])
        source = keep_table(self, i * window_bytes + 4 * (u * self.stride[0] * self.pitch + columns * distance))
        target = keep_table(self, i * target_bytes + 4 * (u * self.step[0] * width + columns * self.step[1]) * outputs)
        return {"rows": source.size, "row_source": address(source), "row_target": address(target)}

    def _entries(self, block, height: int) -> dict[str, int]:
        """The micro-kernels of a block, and how they read the input."""
        if self.planes:
            step, plane = self.stride[1], self.window * self.pitch
            source = block.source * step * plane
            table = [
                4 * ((c * step + tap.column % step) * plane + tap.row * self.pitch + tap.column // step)
                for tap in block.taps
                for c in range(tap.low, tap.high)
            ]
        else:
            source = block.source
            segments = merged(block.taps, self.pitch, self.channels, self.channels)
            table = [(4 * offset, length) for offset, length in segments]
        return {
            "source": 4 * source,
            "segments": address(keep_table(self, table)),
            "count": len(table),
            **panel_kernels(block.last - block.first, self.vectors, height, self.planes),
        }

    def __call__(self, x, w, bias=None, slope: float = 1.0) -> np.ndarray:
        """y for contiguous float32 arrays; `slope` is that of a leaky ReLU, 1 for none."""
        packed, y = memory.aligned(self.packed_size), memory.empty(self.shape)
        buffer = memory.scratch(self.lane_bytes)
        packing = pack.Arguments.from_buffer_copy(self.pack_arguments)
        packing.w, packing.packed = address(w), address(packed)
        pool.run(pack, packing, self.pack_tasks)
        call = multiply.Arguments.from_buffer_copy(self.arguments)
        call.x, call.weights, call.y, call.scratch = address(x), address(packed), address(y), address(buffer)
        call.bias, call.slope = 0 if bias is None else address(bias), bits(slope)
        pool.run(multiply, call, self.tasks)
        return y


def _have_short_loops(blocks, pitch: int, channels: int) -> bool:
    """Whether the loops over neighbouring channels are too short to be worth their overhead."""
    lengths = [length for block in blocks for _, length in merged(block.taps, pitch, channels, channels)]
    return sum(lengths) < 8 * len(lengths)


def _cut(images: int, rows: int, columns: int, nearby: int, even: bool) -> tuple[int, int]:
    """(images that a task takes together, bands into which a single image is cut).

    Small images are joined until a tile is well filled, and while their input, `nearby` bytes each, fits into the
    cache; large ones are cut into bands of rows, if all phases have equally many rows and columns (`even`).
    """
    group = min(images, max(ceil(64 / (rows * columns)), min(MOST_INPUT_BYTES // nearby, images // LEAST_TASKS), 1))
    group = ceil(images / ceil(images / group))  # of equal size: the last group overlaps the one before it
    if group > 1 or not even:
        return group, 1
    bands = max(ceil(nearby / MOST_INPUT_BYTES), min(ceil(LEAST_TASKS / images), rows * columns // 64), 1)
    return 1, ceil(rows / ceil(rows / min(bands, rows)))


def bits(number: float) -> int:
    """The bits of a float32, as an int."""
    return ctypes.c_int32.from_buffer(ctypes.c_float(number)).value


@functools.lru_cache(256)
def forward_plan(x_shape, w_shape, geometry: Geometry) -> Products:
    """The plan of `conv2d`."""
    images, *source = x_shape
    kh, kw, depth, outputs = w_shape
    size = geometry.output_size(source[:2], (kh, kw))
    phases = forward_phases((kh, kw), size, source[2], outputs, geometry)
    zeros = geometry.padding
    return Products(
        images, source, geometry.stride, zeros, (*size, outputs), (1, 1), phases, depth * outputs, outputs, 1
    )


@functools.lru_cache(256)
def adjoint_plan(g_shape, w_shape, size, geometry: Geometry) -> Products:
    """The plan of `conv2d_input_grad`."""
    images, *source = g_shape
    kh, kw, depth, outputs = w_shape
    channels = depth * geometry.groups
    phases, zeros = adjoint_phases((kh, kw), size, source[:2], channels, outputs, geometry)
    target = (*size, channels)
    return Products(images, source, (1, 1), zeros, target, geometry.stride, phases, depth * outputs, 1, outputs)
