"""Depthwise convolutions: each channel has a filter of its own, so that vectors run along the channels.

    y[n, p, q, c] = bias[c] + sum over i, j of x[n, p s + i d, q s + j d, c] w[i, j, c]

and its adjoints. Channels are cut into panels, as wide as a tile of the micro-kernels. A task copies a panel of the
input of a band of rows of outputs, with zeros around it, into scratch memory. There every vector is aligned, and every
output has the same taps: none needs a test of whether its inputs lie inside the image.
"""

import functools
from dataclasses import replace
from math import ceil, prod

import numpy as np
from numba import carray

from ..geometry import Geometry
from ..taps import adjoint_phases, forward_phases
from . import memory, pool
from .depthwise_tile import MOST_RUNS, RUN, panel_copy, row_copy, tap_sums, weight_sums
from .ir import VECTOR_BYTES, call_rows, clear, pointer_to
from .jit import Record, inlined, worker
from .memory import address
from .products import bits, keep_table, tile_height
from .sums import sum_over
from .target import HEIGHTS, VECTORS, WIDTH

BAND_BYTES = 1 << 17  # most bytes of copied input, for which there is room in the second-level cache
LEAST_TASKS = 16  # work that is large enough is cut into at least this many tasks
STRIP = 1024  # outputs, about, whose weight gradients a task adds up in float32


def serves(channels: int, w_shape, geometry: Geometry) -> bool:
    """Whether each of several channels has one filter of its own."""
    return 1 < geometry.groups == channels == w_shape[3] and w_shape[2] == 1 and geometry.mask is None


# Tasks: a panel of channels, or several one after another, of a band of rows of outputs of an image

FIELDS = (
    "parts panels lanes copy_whole copy_tail bands band step above window before width height columns "
    "pixel pitch last_pitch images x scratch lane_bytes"
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


JOB = Record("whole tail rows columns target taps runs singles first")
_jobs_at = pointer_to(JOB.type)


@worker(
    FIELDS + " jobs job_count w order taps weights_at weights_whole weights_tail x_row x_step y y_image y_row y_step "
    "bias slope"
)
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


SUMS = Record("whole tail runs tiles first")
_sums_at = pointer_to(SUMS.type)


@worker(FIELDS + " vectors vector_count share jobs job_count slots rows outputs g sums x_row x_step g_row g_step")
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


class Panels:
    """How channels are cut into panels: as wide as a tile, but for the last, with `lanes` floats in its last vector."""

    def __init__(self, channels: int):
        self.vectors = VECTORS if channels > WIDTH else 1
        self.width = self.vectors * WIDTH
        self.count = ceil(channels / self.width)
        self.last_vectors = ceil((channels - (self.count - 1) * self.width) / WIDTH)
        self.lanes = (channels - 1) % WIDTH + 1

    def kernels(self, compiled, *constants) -> tuple[int, int]:
        """A micro-kernel for whole panels, and for the last one."""
        whole = compiled(*constants, self.vectors, False) if self.count > 1 else 0
        return whole, compiled(*constants, self.last_vectors, self.lanes < WIDTH)


class Plan:
    """What depends on shapes only: how work is cut into tasks, and the tables of the micro-kernels.

    `source` is (images, H, W, C) of the input, `step` its (vertical, horizontal) distance from output to output and
    `zeros` its padding; `sizes` are the (rows, columns) of outputs of each phase, and `taps` those of all phases.
    """

    def __init__(self, source, step, zeros, sizes, taps):
        (images, height, columns, channels), self.tables = source, []
        self.panels = Panels(channels)
        self.pitch = 4 * self.panels.width
        rows, outputs = map(max, zip(*sizes, strict=True))
        reach = 1 + max((tap.row for tap in taps), default=0)
        self.width = (outputs - 1) * step[1] + 1 + max((tap.column for tap in taps), default=0)
        fitting = (BAND_BYTES // (self.width * self.pitch) - reach) // step[0] + 1
        self.bands = ceil(rows / max(1, min(rows, max(fitting, reach // step[0]))))
        self.band = ceil(rows / self.bands)
        window = (self.band - 1) * step[0] + reach
        copy_whole, copy_tail = self.panels.kernels(panel_copy)
        self.lane_bytes = window * self.width * self.pitch
        self.fields = {
            "panels": self.panels.count,
            "lanes": self.panels.lanes,
            "copy_whole": copy_whole,
            "copy_tail": copy_tail,
            "bands": self.bands,
            "band": self.band,
            "step": step[0],
            "above": zeros[0][0],
            "before": zeros[1][0],
            "window": window,
            "width": self.width,
            "height": height,
            "columns": columns,
            "pixel": 4 * channels,
            "pitch": self.pitch,
            "last_pitch": self.panels.last_vectors * VECTOR_BYTES,
            "images": images,
        }

    def offsets(self, taps) -> np.ndarray:
        """Offsets of taps in the copied input."""
        return keep_table(self, [(tap.row * self.width + tap.column) * self.pitch for tap in taps])

    def parts(self, pieces: int) -> int:
        """How many parts the panels are cut into, where the rest of the work is cut into `pieces`."""
        return min(self.panels.count, ceil(LEAST_TASKS / pieces))


def _in_runs(taps, step: int):
    """(taps, runs): runs of RUN taps in a row, `step` columns apart, followed by the other taps; how many runs."""
    left, runs = {(tap.row, tap.column): tap for tap in taps}, []
    for tap in taps:
        run = [left.get((tap.row, tap.column + k * step)) for k in range(RUN)]
        if None not in run:
            runs += run
            for each in run:
                del left[each.row, each.column]
    return runs + list(left.values()), len(runs) // RUN


class Outputs(Plan):
    """The plan of y[outputs of each phase] = activation(bias + sum over taps of x[...] w[tap]).

    A convolution has one phase; its adjoint in x has one for each remainder of row and column modulo the stride. Its
    outputs are `out_step` apart in an image of size `target`.
    """

    def __init__(self, source, step, zeros, phases, target, out_step):
        sizes = [(phase.rows, phase.columns) for phase in phases]
        taps = [phase.blocks[0].taps for phase in phases]
        super().__init__(source, step, zeros, sizes, [tap for each in taps for tap in each])
        images, _, _, channels = source
        self.shape, order, jobs = (images, *target, channels), [], []
        for phase, each in zip(phases, taps, strict=True):
            each, runs = _in_runs(each, step[1])
            jobs.append(self._job(phase, each, runs, len(order)))
            order += [4 * channels * tap.index for tap in each]
        self.jobs, parts = JOB.table(jobs), self.parts(images * self.bands)
        self.tasks = images * self.bands * parts
        weights_at, self.lane_bytes = self.lane_bytes, self.lane_bytes + len(order) * self.pitch
        weights_whole, weights_tail = self.panels.kernels(row_copy)
        self.arguments = _outputs.Arguments(
            **self.fields,
            lane_bytes=self.lane_bytes,
            parts=parts,
            jobs=address(self.jobs),
            job_count=len(jobs),
            order=address(keep_table(self, order)),
            taps=len(order),
            weights_at=weights_at,
            weights_whole=weights_whole,
            weights_tail=weights_tail,
            x_row=step[0] * self.width * self.pitch,
            x_step=step[1] * self.pitch,
            y_image=4 * prod(self.shape[1:]),
            y_row=4 * out_step[0] * prod(self.shape[2:]),
            y_step=4 * out_step[1] * channels,
        )

    def _job(self, phase, taps, runs: int, first: int) -> dict[str, int]:
        """The record of a phase, whose weights begin with tap number `first`."""
        _, _, width, channels = self.shape
        whole, tail = self.panels.kernels(tap_sums, tile_height(phase.columns, range(HEIGHTS[0], 0, -1)))
        starts = taps[: runs * RUN : RUN] + taps[runs * RUN :]
        return {
            "whole": whole,
            "tail": tail,
            "rows": phase.rows,
            "columns": phase.columns,
            "target": 4 * channels * (phase.top * width + phase.left),
            "taps": address(self.offsets(starts)),
            "runs": runs,
            "singles": len(taps) - runs * RUN,
            "first": first,
        }

    def __call__(self, x, w, bias, slope) -> np.ndarray:
        """The outputs, from contiguous float32 x and w."""
        y, buffer = memory.aligned(prod(self.shape)).reshape(self.shape), memory.scratch(self.lane_bytes)
        call = _outputs.Arguments.from_buffer_copy(self.arguments)
        call.x, call.w, call.y, call.scratch = address(x), address(w), address(y), address(buffer)
        call.bias, call.slope = 0 if bias is None else address(bias), bits(slope)
        pool.run(_outputs, call, self.tasks)
        return y


class WeightSums(Plan):
    """The plan of the gradient of w: sums over the outputs of each piece of the work, which are then added up."""

    def __init__(self, source, step, zeros, size, taps):
        super().__init__(source, step, zeros, [size], taps)
        images, _, _, channels = source
        taps, runs = _in_runs(taps, step[1])
        self.vectors, self.slots, self.places, jobs = ceil(channels / WIDTH), 0, np.empty(len(taps), np.int64), []
        for each, length, most in ((taps[: runs * RUN], RUN, MOST_RUNS), (taps[runs * RUN :], 1, HEIGHTS[0])):
            if each:
                jobs.append(self._job(each, length, most))
        self.jobs = SUMS.table(jobs)
        share = ceil(STRIP / (self.band * size[1]))  # bands
        self.pieces = ceil(images * self.bands / share)
        parts = self.parts(self.pieces)
        self.tasks = self.pieces * parts
        self.arguments = _weight_sums.Arguments(
            **self.fields,
            lane_bytes=self.lane_bytes,
            parts=parts,
            vectors=self.panels.vectors,
            vector_count=self.vectors,
            share=share,
            jobs=address(self.jobs),
            job_count=len(jobs),
            slots=self.slots,
            rows=size[0],
            outputs=size[1],
            x_row=step[0] * self.width * self.pitch,
            x_step=step[1] * self.pitch,
            g_row=4 * size[1] * channels,
            g_step=4 * channels,
        )

    def _job(self, taps, length: int, most: int) -> dict[str, int]:
        """The record of runs of taps, of which a tile has at most `most`; the last run is repeated to fill a tile."""
        first, count = self.slots, len(taps) // length
        tiles = ceil(count / most)
        height = ceil(count / tiles)
        self.slots += tiles * height * length
        self.places[[tap.index for tap in taps]] = range(first, first + len(taps))
        starts = taps[::length] + [taps[-length]] * (tiles * height - count)
        return {
            "whole": weight_sums(height, length, False),
            "tail": weight_sums(height, length, self.panels.lanes < WIDTH),
            "runs": address(self.offsets(starts)),
            "tiles": tiles,
            "first": first,
        }

    def __call__(self, x, g) -> np.ndarray:
        """The gradients (taps, channels), from contiguous float32 x and g."""
        sums = memory.aligned(self.pieces * self.vectors * self.slots * WIDTH)
        buffer = memory.scratch(self.lane_bytes)
        call = _weight_sums.Arguments.from_buffer_copy(self.arguments)
        call.x, call.g, call.sums, call.scratch = address(x), address(g), address(sums), address(buffer)
        pool.run(_weight_sums, call, self.tasks)
        total = sum_over(sums.reshape(self.pieces, -1), (0,)).reshape(self.vectors, self.slots, WIDTH)
        return total.transpose(1, 0, 2)[self.places].reshape(len(self.places), -1)[:, : x.shape[3]]


def _of_one_channel(geometry: Geometry) -> Geometry:
    """The same geometry without groups: all channels have the same taps."""
    return replace(geometry, groups=1)


@functools.lru_cache(256)
def forward_plan(x_shape, kernel_size, geometry: Geometry) -> Outputs:
    """The plan of `conv2d`."""
    size = geometry.output_size(x_shape[1:3], kernel_size)
    phases = forward_phases(kernel_size, size, 1, 1, _of_one_channel(geometry))
    return Outputs(x_shape, geometry.stride, geometry.padding, phases, size, (1, 1))


@functools.lru_cache(256)
def adjoint_plan(g_shape, kernel_size, size, geometry: Geometry) -> Outputs:
    """The plan of `conv2d_input_grad`."""
    phases, zeros = adjoint_phases(kernel_size, size, g_shape[1:3], 1, 1, _of_one_channel(geometry))
    return Outputs(g_shape, (1, 1), zeros, phases, size, geometry.stride)


@functools.lru_cache(256)
def weight_plan(x_shape, g_shape, kernel_size, geometry: Geometry) -> WeightSums:
    """The plan of `conv2d_weight_grad`."""
    (phase,) = forward_phases(kernel_size, g_shape[1:3], 1, 1, _of_one_channel(geometry))
    return WeightSums(x_shape, geometry.stride, geometry.padding, g_shape[1:3], phase.blocks[0].taps)


def conv2d(x, w, geometry: Geometry, bias=None, slope: float = 1.0):
    """The convolution of contiguous images with w (KH, KW, 1, C)."""
    return forward_plan(x.shape, w.shape[:2], geometry)(x, w, bias, slope)


def conv2d_input_grad(g, w, size, geometry: Geometry, bias=None, slope: float = 1.0):
    """The adjoint in x."""
    return adjoint_plan(g.shape, w.shape[:2], tuple(size), geometry)(g, w, bias, slope)


def conv2d_weight_grad(x, g, kernel_size, geometry: Geometry):
    """The adjoint in w: (KH, KW, 1, C)."""
    sums = weight_plan(x.shape, g.shape, tuple(kernel_size), geometry)(x, g)
    return memory.contiguous(sums).reshape(*kernel_size, 1, x.shape[3])
