"""Depthwise convolutions: each channel has a filter of its own, so that vectors run along the channels.

    y[n, p, q, c] = bias[c] + sum over i, j of x[n, p s + i d, q s + j d, c] w[i, j, c]

and its adjoints. Channels are cut into panels, as wide as a tile of the micro-kernels. A task copies a panel of the
input of a band of rows of outputs, with zeros around it, into scratch memory. There every vector is aligned, and every
output has the same taps: none needs a test of whether its inputs lie inside the image.
"""

import functools
from dataclasses import dataclass, replace
from math import ceil, prod

import numpy as np
from numba import carray

from ..geometry import Geometry
from . import memory
from .depthwise_tile import MOST_RUNS, RUN, panel_copy, row_copy, tap_sums, weight_sums
from .ir import VECTOR_BYTES, call_rows, clear, pointer_to
from .jit import Address, Record, inlined, worker
from .operands import Operands, SumOperands, computed, summed
from .problem import Problem
from .sums import sum_over
from .target import HEIGHTS, WIDTH
from .tiling import Panels, panels_of, tile_height

BAND_BYTES = 1 << 17  # most bytes of copied input, for which there is room in the second-level cache
LEAST_TASKS = 16  # work that is large enough is cut into at least this many tasks
STRIP = 1024  # outputs, about, whose weight gradients a task adds up in float32


def serves(w_shape, geometry: Geometry) -> bool:
    """Whether each of several channels has one filter of its own."""
    return 1 < geometry.groups == w_shape[3] and w_shape[2] == 1 and geometry.mask is None


def phases_of(problem: Problem):
    """The phases of the outputs, and the zeros around the input, of one channel: they are the same for all."""
    (*source, _), (*target, _), (*kernel_size, _, _) = problem.source, problem.target, problem.weight
    geometry = replace(problem.geometry, groups=1)
    return Problem((*source, 1), (*target, 1), (*kernel_size, 1, 1), geometry, problem.is_adjoint).phases()


# Tasks: a panel of channels, or several one after another, of a band of rows of outputs of an image


@dataclass(frozen=True)
class Bands:
    """The rows of outputs in bands, and the window of the input that each of them reads."""

    images: int
    bands: int  # of an image
    band: int  # rows of outputs
    step: int  # rows of inputs between them
    window: int  # rows of inputs, with zeros
    width: int  # columns of inputs, with zeros
    above: int  # rows of zeros above an image
    before: int  # columns of zeros before it
    height: int  # of an image of inputs
    columns: int
    pixel: int  # bytes of a pixel of inputs


def bands_of(problem: Problem, phases, zeros, pitch: int) -> Bands:
    """Bands whose windows fit into the cache, where a pixel takes `pitch` bytes in a window."""
    (images, height, columns, channels), (step, step_across) = problem.source, problem.stride
    rows, outputs = max(phase.rows for phase in phases), max(phase.columns for phase in phases)
    taps = [tap for phase in phases for tap in phase.blocks[0].taps]
    reach = 1 + max((tap.row for tap in taps), default=0)
    width = (outputs - 1) * step_across + 1 + max((tap.column for tap in taps), default=0)
    fitting = (BAND_BYTES // (width * pitch) - reach) // step + 1
    bands = ceil(rows / max(1, min(rows, max(fitting, reach // step))))
    band = ceil(rows / bands)
    return Bands(
        images=images,
        bands=bands,
        band=band,
        step=step,
        window=(band - 1) * step + reach,
        width=width,
        above=zeros[0][0],
        before=zeros[1][0],
        height=height,
        columns=columns,
        pixel=4 * channels,
    )


@dataclass(frozen=True)
class PanelCopies:
    """How a task copies a panel of the channels."""

    panels: int
    pitch: int  # bytes of a panel of a pixel
    last_pitch: int  # bytes that the weights of the last panel take
    lanes: int  # floats in the last vector of the last panel
    copy_whole: Address  # the micro-kernel for all panels but the last
    copy_tail: Address  # for the last one


def panel_copies(panels: Panels) -> PanelCopies:
    """The copies of some panels."""
    copy_whole, copy_tail = panels.kernels(panel_copy)
    return PanelCopies(
        panels=panels.count,
        pitch=4 * panels.width,
        last_pitch=panels.last_vectors * VECTOR_BYTES,
        lanes=panels.lanes,
        copy_whole=copy_whole,
        copy_tail=copy_tail,
    )


@inlined
def copy_panel(a, image, band, panel, buffer):
    """Copy what a band of outputs reads in a panel."""
    call_rows(
        a.copy_tail if panel == a.panels - 1 else a.copy_whole,
        (
            buffer,
            a.x + image * a.height * a.columns * a.pixel + panel * a.pitch,
            band * a.band * a.step - a.above,
            a.window,
            a.height,
            a.before,
            a.columns,
            a.width,
            a.pixel,
            a.pitch,
            a.lanes,
        ),
    )


@dataclass(frozen=True, eq=False)
class Job:
    """The outputs of a phase."""

    rows: int
    columns: int
    target: int  # bytes from the first output of an image to the first of the phase
    taps: np.ndarray  # offset in the window, in bytes, of each run of taps, and then of each single tap
    runs: int
    singles: int
    first: int  # number of the first tap of the phase among those of all phases
    whole: Address  # the micro-kernel for all panels but the last
    tail: Address  # for the last one


JOB = Record(Job)
_jobs_at = pointer_to(JOB.type)


class OutputArguments:
    """What else `_outputs` is asked for."""

    parts: int  # shares of the panels, a task each
    jobs: np.ndarray
    job_count: int
    order: np.ndarray  # offsets of the weights of the taps of all phases, in bytes
    taps: int  # of all phases
    weights_at: int  # bytes from the beginning of the scratch memory to the weights of a panel
    weights_whole: Address  # the micro-kernel that copies the weights of all panels but the last
    weights_tail: Address  # of the last one
    x_row: int  # bytes in the window between the inputs of neighbouring rows of outputs
    x_step: int  # of neighbouring outputs
    y_image: int  # bytes of an image of outputs
    y_row: int  # bytes between neighbouring rows of outputs of a phase
    y_step: int


@worker(Operands, Bands, PanelCopies, OutputArguments)
def _outputs(arguments, task, lane):
    """Compute the outputs of a band: those of each phase are a job."""
    a = carray(arguments, 1)[0]
    buffer, jobs = a.scratch + lane * a.lane_bytes, carray(_jobs_at(a.jobs), a.job_count)
    part, band, image = task % a.parts, task // a.parts % a.bands, task // (a.parts * a.bands)
    weights, start = buffer + a.weights_at, band * a.band
    for panel in range(part * a.panels // a.parts, (part + 1) * a.panels // a.parts):
        last, first_channel = panel == a.panels - 1, panel * a.pitch
        copy_panel(a, image, band, panel, buffer)
        call_rows(a.weights_tail if last else a.weights_whole, (weights, a.w + first_channel, a.order, a.taps, a.lanes))
        for j in range(a.job_count):
            job = jobs[j]
            call_rows(
                job.tail if last else job.whole,
                (
                    buffer,
                    weights + job.first * (a.last_pitch if last else a.pitch),
                    a.y + image * a.y_image + start * a.y_row + job.target + first_channel,
                    min(a.band, job.rows - start),
                    job.columns,
                    a.x_row,
                    a.x_step,
                    a.y_row,
                    a.y_step,
                    job.taps,
                    job.runs,
                    job.singles,
                    a.bias + first_channel if a.bias else 0,
                    a.slope,
                    a.lanes,
                ),
            )


@dataclass(frozen=True, eq=False)
class TapSums:
    """The sums of runs of taps of one length."""

    runs: np.ndarray  # offset in the window, in bytes, of each run; the last is repeated to fill the last tile
    tiles: int
    first: int  # where the sums of the first tap are among the slots
    whole: Address  # the micro-kernel for whole vectors of channels
    tail: Address  # for the last vector


TAP_SUMS = Record(TapSums)
_sums_at = pointer_to(TAP_SUMS.type)


class SumArguments:
    """What else `_weight_sums` is asked for."""

    parts: int  # shares of the panels, a task each
    vectors: int  # of a panel
    vector_count: int  # of all channels
    share: int  # bands of a piece
    jobs: np.ndarray  # a record `TapSums` each
    job_count: int
    slots: int  # vectors of sums for each vector of channels: one for a tap, and those of repeated runs
    rows: int  # of outputs of an image
    outputs: int  # of a row
    x_row: int  # bytes in the window between the inputs of neighbouring rows of outputs
    x_step: int  # of neighbouring outputs
    g_row: int  # bytes of a row of g
    g_step: int  # bytes of a pixel of g


@worker(SumOperands, Bands, PanelCopies, SumArguments)
def _weight_sums(arguments, task, lane):
    """Add up the weight gradients of a piece: `share` bands that follow each other, also from image to image."""
    a = carray(arguments, 1)[0]
    buffer, jobs = a.scratch + lane * a.lane_bytes, carray(_sums_at(a.jobs), a.job_count)
    part, piece, vector_bytes = task % a.parts, task // a.parts, a.slots * VECTOR_BYTES
    for panel in range(part * a.panels // a.parts, (part + 1) * a.panels // a.parts):
        first, last = panel * a.vectors, min((panel + 1) * a.vectors, a.vector_count)
        target = a.sums + (piece * a.vector_count + first) * vector_bytes
        clear(target, (last - first) * vector_bytes)
        for i in range(piece * a.share, min((piece + 1) * a.share, a.images * a.bands)):
            image, band = i // a.bands, i % a.bands
            copy_panel(a, image, band, panel, buffer)
            for v in range(last - first):
                for j in range(a.job_count):
                    job = jobs[j]
                    call_rows(
                        job.tail if first + v == a.vector_count - 1 else job.whole,
                        (
                            buffer + v * VECTOR_BYTES,
                            a.g + (image * a.rows + band * a.band) * a.g_row + (first + v) * VECTOR_BYTES,
                            target + v * vector_bytes + job.first * VECTOR_BYTES,
                            job.runs,
                            job.tiles,
                            min(a.band, a.rows - band * a.band),
                            a.outputs,
                            a.x_row,
                            a.x_step,
                            a.g_row,
                            a.g_step,
                            a.lanes,
                        ),
                    )


def in_runs(taps, step: int):
    """(taps, runs): runs of RUN taps in a row, `step` columns apart, followed by the other taps; how many runs."""
    left, runs = {(tap.row, tap.column): tap for tap in taps}, []
    for tap in taps:
        run = [left.get((tap.row, tap.column + k * step)) for k in range(RUN)]
        if None not in run:
            runs += run
            for each in run:
                del left[each.row, each.column]
    return runs + list(left.values()), len(runs) // RUN


def parts_of(panels: int, pieces: int) -> int:
    """How many parts the panels are cut into, where the rest of the work is cut into `pieces`."""
    return min(panels, ceil(LEAST_TASKS / pieces))


def offsets_of(taps, bands: Bands, pitch: int) -> list[int]:
    """Offsets of taps in the window, in bytes."""
    return [(tap.row * bands.width + tap.column) * pitch for tap in taps]


def jobs_of(problem: Problem, phases, bands: Bands, panels: Panels) -> tuple[list[tuple[Job]], list[int]]:
    """The rows of the table of jobs, and the numbers of the taps of all phases in their order."""
    (_, _, width, channels), jobs, order = problem.target, [], []
    for phase in phases:
        taps, runs = in_runs(phase.blocks[0].taps, problem.stride[1])
        starts = taps[: runs * RUN : RUN] + taps[runs * RUN :]
        height = tile_height(phase.columns, range(HEIGHTS[0], 0, -1))
        whole, tail = panels.kernels(functools.partial(tap_sums, height))
        job = Job(
            rows=phase.rows,
            columns=phase.columns,
            target=4 * channels * (phase.top * width + phase.left),
            taps=offsets_of(starts, bands, 4 * panels.width),
            runs=runs,
            singles=len(taps) - runs * RUN,
            first=len(order),
            whole=whole,
            tail=tail,
        )
        jobs.append((job,))
        order += [tap.index for tap in taps]
    return jobs, order


class Outputs:
    """A plan of a convolution, or of its adjoint in x; called like `products.Products`."""

    def __init__(self, problem: Problem):
        (images, *_, channels), (_, height, width, _), step = problem.source, problem.target, problem.step
        (phases, zeros), panels = phases_of(problem), panels_of(channels)
        copies = panel_copies(panels)
        bands, pitch = bands_of(problem, phases, zeros, copies.pitch), copies.pitch
        jobs, order = jobs_of(problem, phases, bands, panels)
        parts, weights_at = parts_of(panels.count, images * bands.bands), bands.window * bands.width * pitch
        weights_whole, weights_tail = panels.kernels(row_copy)
        self.shape, self.tasks = problem.target, images * bands.bands * parts
        self.arguments = _outputs.record.filled(
            bands,
            copies,
            lane_bytes=weights_at + len(order) * pitch,
            parts=parts,
            jobs=JOB.table(jobs),
            job_count=len(jobs),
            order=[4 * channels * tap for tap in order],
            taps=len(order),
            weights_at=weights_at,
            weights_whole=weights_whole,
            weights_tail=weights_tail,
            x_row=bands.step * bands.width * pitch,
            x_step=problem.stride[1] * pitch,
            y_image=4 * height * width * channels,
            y_row=4 * step[0] * width * channels,
            y_step=4 * step[1] * channels,
        )

    def __call__(self, x, w, bias=None, slope: float = 1.0) -> np.ndarray:
        """y for contiguous float32 arrays; `slope` is that of a leaky ReLU, 1 for none."""
        y = memory.aligned(prod(self.shape)).reshape(self.shape)
        return computed(_outputs, self.arguments, self.tasks, x, w, y, bias, slope)


def tap_sums_of(taps, runs: int, bands: Bands, panels: Panels) -> tuple[list[tuple[TapSums]], np.ndarray, int]:
    """The rows of the table of sums of taps that begin with `runs` runs, the slot of each tap, and how many slots."""
    rows, slots, places = [], 0, np.empty(len(taps), np.int64)
    for some, length, most in ((taps[: runs * RUN], RUN, MOST_RUNS), (taps[runs * RUN :], 1, HEIGHTS[0])):
        if some:
            count = len(some) // length
            tiles = ceil(count / most)
            height = ceil(count / tiles)
            starts = some[::length] + [some[-length]] * (tiles * height - count)
            kernels = (weight_sums(height, length, tail) for tail in (False, panels.lanes < WIDTH))
            rows.append((TapSums(offsets_of(starts, bands, 4 * panels.width), tiles, slots, *kernels),))
            places[[tap.index for tap in some]] = range(slots, slots + len(some))
            slots += tiles * height * length
    return rows, places, slots


class WeightSums:
    """A plan of the gradient of w: sums over the outputs of each piece of the work, which are then added up."""

    def __init__(self, problem: Problem):
        (images, rows, outputs, channels), step = problem.target, problem.stride[1]
        (phases, zeros), panels = phases_of(problem), panels_of(channels)
        copies = panel_copies(panels)
        bands, pitch = bands_of(problem, phases, zeros, copies.pitch), copies.pitch
        jobs, self.places, self.slots = tap_sums_of(*in_runs(phases[0].blocks[0].taps, step), bands, panels)
        share = ceil(STRIP / (bands.band * outputs))
        self.shape, self.vectors = problem.weight, ceil(channels / WIDTH)
        self.pieces = ceil(images * bands.bands / share)
        parts = parts_of(panels.count, self.pieces)
        self.tasks = self.pieces * parts
        self.arguments = _weight_sums.record.filled(
            bands,
            copies,
            lane_bytes=bands.window * bands.width * pitch,
            parts=parts,
            vectors=panels.vectors,
            vector_count=self.vectors,
            share=share,
            jobs=TAP_SUMS.table(jobs),
            job_count=len(jobs),
            slots=self.slots,
            rows=rows,
            outputs=outputs,
            x_row=bands.step * bands.width * pitch,
            x_step=step * pitch,
            g_row=4 * outputs * channels,
            g_step=4 * channels,
        )

    def __call__(self, x, g) -> np.ndarray:
        """The gradient of w, from contiguous float32 x and g."""
        sums = memory.aligned(self.pieces * self.vectors * self.slots * WIDTH)
        summed(_weight_sums, self.arguments, self.tasks, x, g, sums)
        total = sum_over(sums.reshape(self.pieces, -1), (0,)).reshape(self.vectors, self.slots, WIDTH)
        of_taps = total.transpose(1, 0, 2)[self.places].reshape(len(self.places), -1)
        return memory.contiguous(of_taps[:, : x.shape[3]]).reshape(self.shape)
