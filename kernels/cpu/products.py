"""The direct kernel: convolution, and its adjoint in x, as products over taps.

    y[n, p z + a, q z + b, k] = activation(bias[k] + sum over t, c of x[n, p s + t.row, q s + t.column, c] w[t, c, k])

for the outputs (p, q) of each phase (a, b) and their taps t. A convolution of stride s has z = 1 and one phase; its
adjoint has s = 1 and the stride z. The weights are packed into panels; a task multiplies some panels with a band of
rows of a group of images.
"""

from dataclasses import dataclass
from math import ceil, prod

import numpy as np
from numba import carray

from . import memory
from .ir import pointer_to
from .jit import Record, worker
from .operands import Operands, computed
from .packing import Pack, Packing, packs_of
from .problem import Problem
from .target import ADJACENT_HEIGHTS, VECTORS, WIDTH
from .tiling import (
    PanelKernels,
    Rows,
    Segments,
    multiply_panel,
    panel_kernels,
    panels_of,
    tile_height,
    tile_starts,
)
from .window import Layout, Window, copy_planes, in_planes, layout_of, window_at

MOST_INPUT_BYTES = 300_000  # most bytes of input that a task works on: they fit into a core's second-level cache
LEAST_TASKS = 16  # work that is large enough is cut into at least this many tasks


@dataclass(frozen=True)
class Cut:
    """How the work is cut: into groups of images, and these into bands of rows of outputs."""

    images: int
    group: int  # images that a task takes together; the last group overlaps the one before it
    bands: int  # of an image
    band_rows: int  # rows of outputs of a band, in each phase
    last_band: int  # first row of the last band, which overlaps the one before it

    @property
    def tasks(self) -> int:
        """How many groups and bands there are."""
        return ceil(self.images / self.group) * self.bands


def cut_of(images: int, phases, layout: Layout, reach: int) -> Cut:
    """The cut for some images, where an output reads `reach` rows.

    Small images are joined until a tile is well filled, and while their input fits into the cache; large ones are cut
    into bands, if all phases have equally many rows and columns.
    """
    rows, columns = max(phase.rows for phase in phases), max(phase.columns for phase in phases)
    nearby = layout.line_bytes * ((rows - 1) * layout.stride_rows + reach)  # bytes of input of an image
    group = min(images, max(ceil(64 / (rows * columns)), min(MOST_INPUT_BYTES // nearby, images // LEAST_TASKS), 1))
    group, bands = ceil(images / ceil(images / group)), 1
    if group == 1 and all((phase.rows, phase.columns) == (rows, columns) for phase in phases):
        most = max(ceil(nearby / MOST_INPUT_BYTES), min(ceil(LEAST_TASKS / images), rows * columns // 64), 1)
        bands = ceil(rows / ceil(rows / min(most, rows)))
    band_rows = ceil(rows / bands)
    return Cut(images, group, bands, band_rows, rows - band_rows)


def inputs_of(block, layout: Layout, window: Window) -> tuple[int, Segments]:
    """The offset in bytes of a block's first input channel in a window, and the inputs of an output."""
    if not layout.planes:
        segments = [(4 * offset, length) for offset, length in layout.segments(block.taps)]
        return 4 * block.source, Segments(segments, len(segments))
    step, plane = layout.stride_columns, window.window_rows * layout.pitch
    segments = [
        (c * step + tap.column % step) * plane + tap.row * layout.pitch + 4 * (tap.column // step)
        for tap in block.taps
        for c in range(tap.low, tap.high)
    ]
    return block.source * step * plane, Segments(segments, len(segments))


def rows_of(phase, problem: Problem, layout: Layout, cut: Cut, window: Window) -> tuple[Rows, int]:
    """The outputs of a phase in a task, and how many of them a tile has; with `planes`, neighbours in a line."""
    _, height, width, outputs = problem.target
    columns, distance = np.arange(phase.columns), layout.stride_columns * layout.pixel_pitch
    if layout.planes:
        tile = tile_height(phase.columns, ADJACENT_HEIGHTS)
        columns, distance = np.add.outer(tile_starts(phase.columns, tile), np.arange(tile)).reshape(-1), 4
    i, u = np.arange(cut.group)[:, None, None], np.arange(min(phase.rows, cut.band_rows))[:, None]
    source = i * window.window_bytes + u * (layout.stride_rows * layout.pitch) + columns * distance
    target = ((i * height + u * problem.step[0]) * width + columns * problem.step[1]) * (4 * outputs)
    return Rows(source.size, source, target), tile if layout.planes else tile_height(source.size)


@dataclass(frozen=True)
class BlockPlace:
    """Where a block of channels has its inputs, weights and outputs, in bytes."""

    source: int  # from the first input of a task
    target: int  # from its first output
    weights: int  # from the first packed weight
    panel_bytes: int  # of packed weights
    first_bias: int  # from the first bias


JOB = Record(Rows, Segments, PanelKernels, BlockPlace)
_jobs_at = pointer_to(JOB.type)


class MultiplyArguments:
    """What else `multiply` is asked for."""

    parts: int  # shares of the panels, a task each
    target_bytes: int  # of an image of outputs
    band_target: int  # bytes from row to row of outputs of a phase
    jobs: np.ndarray  # for each block of channels of each phase
    job_count: int


@worker(Operands, Cut, Layout, Window, MultiplyArguments)
def multiply(arguments, task, lane):
    """Multiply one of `parts` shares of the panels with a band of rows of a group of images."""
    a = carray(arguments, 1)[0]
    part = task % a.parts
    band = task // a.parts % a.bands
    first = min(task // (a.parts * a.bands) * a.group, a.images - a.group)
    top = min(band * a.band_rows, a.last_band)
    source, row = a.scratch + lane * a.lane_bytes, top * a.stride_rows
    if a.planes:
        copy_planes(a, source, a.x + first * a.image_bytes, row - a.above, a.window_rows, a.group)
    else:
        source = window_at(a, source, first, row, a.window_rows, a.group)
    target = a.y + first * a.target_bytes + top * a.band_target
    jobs = carray(_jobs_at(a.jobs), a.job_count)
    for j in range(a.job_count):
        job = jobs[j]
        bias = a.bias + job.first_bias if a.bias else 0
        for panel in range(part * job.panels // a.parts, (part + 1) * job.panels // a.parts):
            weights = a.w + job.weights + panel * job.panel_bytes
            multiply_panel(job, panel, source + job.source, weights, target + job.target, bias, a.slope)


def input_layout(problem: Problem, phases, zeros) -> Layout:
    """The layout of the inputs: in planes where loops over neighbouring channels are too short for their overhead."""
    layout = layout_of(problem, zeros)
    lengths = [length for phase in phases for block in phase.blocks for _, length in layout.segments(block.taps)]
    return in_planes(layout, layout.width + sum(zeros[1])) if sum(lengths) < 8 * len(lengths) else layout


def vectors_for(phases) -> int:
    """The vectors of a panel: of all blocks equally many."""
    return VECTORS if any(block.last - block.first > WIDTH for phase in phases for block in phase.blocks) else 1


def pieces_of(block, problem: Problem) -> list[tuple[int, int]]:
    """(offset in bytes, rows) of the weights of each tap of a block."""
    tap_bytes, depth, output = problem.weight_strides
    begin = block.corner[0] * depth + block.corner[1] * output
    return [(tap.index * tap_bytes + tap.low * depth + begin, tap.high - tap.low) for tap in block.taps]


def jobs_of(problem: Problem, phases, packs: list[Pack], layout: Layout, cut: Cut, window: Window):
    """The rows of the table of jobs: one for each block, whose packed weights are one of `packs`."""
    _, _, width, outputs = problem.target
    vectors, left = vectors_for(phases), iter(packs)
    for phase in phases:
        rows, height = rows_of(phase, problem, layout, cut, window)
        for block in phase.blocks:
            pack, target = next(left), 4 * ((phase.top * width + phase.left) * outputs + block.first)
            source, segments = inputs_of(block, layout, window)
            place = BlockPlace(source, target, pack.packed, pack.panel_bytes, 4 * block.first)
            yield rows, segments, panel_kernels(panels_of(pack.outputs, vectors), height, layout.planes), place


class Products:
    """A plan of a convolution, or of its adjoint in x."""

    def __init__(self, problem: Problem):
        (phases, zeros), (_, depth_stride, output_stride) = problem.phases(), problem.weight_strides
        layout, width = input_layout(problem, phases, zeros), vectors_for(phases) * WIDTH
        blocks = [block for phase in phases for block in phase.blocks]
        reach = 1 + max((tap.row for block in blocks for tap in block.taps), default=0)
        cut = cut_of(problem.source[0], phases, layout, reach)
        window = layout.window((cut.band_rows - 1) * layout.stride_rows + reach, cut.group)
        packs = packs_of([(pieces_of(block, problem), block.last - block.first) for block in blocks], width)
        self.packing = Packing(packs, width, depth_stride, output_stride)
        jobs = JOB.table(list(jobs_of(problem, phases, packs, layout, cut, window)))
        # Where several tasks share the panels, each has to copy the input for itself.
        most = max(pack.panels for pack in packs)
        parts = 1 if layout.copied else ceil(most / max(1, most * cut.tasks // LEAST_TASKS))
        self.shape, self.tasks = problem.target, cut.tasks * parts
        self.arguments = multiply.record.filled(
            cut,
            layout,
            window,
            lane_bytes=window.copy_bytes,
            parts=parts,
            target_bytes=4 * prod(self.shape[1:]),
            band_target=4 * problem.step[0] * prod(self.shape[2:]),
            jobs=jobs,
            job_count=len(jobs),
        )

    def __call__(self, x, w, bias=None, slope: float = 1.0) -> np.ndarray:
        """y for contiguous float32 arrays; `slope` is that of a leaky ReLU, 1 for none."""
        y = memory.empty(self.shape)
        return computed(multiply, self.arguments, self.tasks, x, self.packing(w), y, bias, slope)
