"""Convolutional LSTM over whole sequences: each step is a launch, and each task of it has a few places of the maps.

The hidden state of all maps lies in a buffer with zeros around each map, so that the inputs of a place are one run of
numbers for each row of the kernel, and its four gates are products of the micro-kernel. Forward, a task adds what
`gates` holds to these products, makes the next state of its places, and writes it into a second buffer, which the next
step reads. Backward does the same with the derivatives of the gates. Within a task, arrays are planes (places, C), one
for each gate, so that a cell's arithmetic runs over long rows whatever the number of channels.

The gradient of the weights is that of one convolution of all states, in parts that are added up in float64.
"""

import functools
from dataclasses import dataclass
from math import ceil, prod

import numpy as np
from numba import carray

from .. import reference
from ..geometry import Geometry
from . import memory, pool
from .convolution import conv2d_weight_grad
from .ir import call_rows, copy, floats_at, int64_at
from .jit import Address, inlined, worker
from .memory import write_addresses
from .packing import Packing, packs_of
from .recurrent_weights import ADDED_IN_FLOAT32
from .registry import single
from .tile import NO_SLOPE
from .tiling import PanelKernels, Segments, panel_kernels, panels_of, tile_height
from .vector_math import ONE, sigmoid, tanh

PLACES = 96  # most places of a task: their products, and a panel of the weights, stay in the nearest caches
TASKS = 8  # the number of tasks of a step is a multiple of this one, if all have at least LEAST_PLACES
LEAST_PLACES = 24


@dataclass(frozen=True)
class Problem:
    """The sizes of a network, and whether its steps go backward."""

    maps: int
    steps: int
    size: tuple[int, int]  # (H, W) of a map
    channels: int
    kernel: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    is_backward: bool

    @property
    def features(self) -> int:
        """The numbers of a place that are multiplied: its state, or backward the derivatives of its four gates."""
        return 4 * self.channels if self.is_backward else self.channels

    @property
    def padded(self) -> tuple[int, int, int, int]:
        """The shape of one of the two buffers in which maps have zeros around them."""
        (height, width), (kh, kw) = self.size, self.kernel
        return self.maps, height + kh - 1, width + kw - 1, self.features


@dataclass(frozen=True)
class Cut:
    """The places of all maps, cut into tasks."""

    rows: int  # places of all maps
    tasks: int

    @property
    def most(self) -> int:
        """The places of the largest task."""
        return ceil(self.rows / self.tasks)


def cut_of(rows: int) -> Cut:
    """The cut of some places."""
    if rows < TASKS * LEAST_PLACES:
        return Cut(rows, ceil(rows / LEAST_PLACES))
    return Cut(rows, TASKS * ceil(rows / (TASKS * PLACES)))


@dataclass(frozen=True, eq=False)
class Places:
    """Where the numbers of a place are."""

    channels: int
    map_places: int  # of a map
    places: np.ndarray  # of each place, its number in arrays of all steps (maps, steps, H, W), at the first step
    padded_places: np.ndarray  # of each place, the number in a padded buffer of the first place that it reads
    padded_bytes: int  # of a padded buffer
    centre: int  # bytes there from the first place that a place reads to itself
    source_rows: np.ndarray  # of each place, bytes to the first place that it reads
    target_rows: np.ndarray  # of each place of a task, bytes to its products


def places_of(problem: Problem, most: int) -> Places:
    """The places of a problem, of which a task has `most`."""
    (height, width), (_, padded_height, pitch, features) = problem.size, problem.padded
    above, before = (begin for begin, _ in problem.padding)
    if problem.is_backward:
        above, before = problem.kernel[0] - 1 - above, problem.kernel[1] - 1 - before
    n, i, j = np.ogrid[: problem.maps, :height, :width]
    padded_places = (n * padded_height + i) * pitch + j
    return Places(
        channels=problem.channels,
        map_places=height * width,
        places=(n * problem.steps * height + i) * width + j,
        padded_places=padded_places,
        padded_bytes=4 * prod(problem.padded),
        centre=4 * features * (above * pitch + before),
        source_rows=4 * features * padded_places,
        target_rows=4 * problem.channels * np.arange(most),
    )


def inputs_of(problem: Problem) -> Segments:
    """The inputs of a place: a segment for each row of the kernel."""
    (kh, kw), (_, _, pitch, features) = problem.kernel, problem.padded
    return Segments([(4 * features * pitch * k, kw * features) for k in range(kh)], kh)


def packing_of(problem: Problem, width: int) -> Packing:
    """The packing of the weights: a block for each gate, backward one block, its taps in the reverse order."""
    channels, taps = problem.channels, prod(problem.kernel)
    if problem.is_backward:
        pieces = [(16 * channels * channels * tap, 4 * channels) for tap in reversed(range(taps))]
        return Packing(packs_of([(pieces, channels)], width), width, 4, 16 * channels)
    blocks = [([(4 * gate * channels, taps * channels)], channels) for gate in range(4)]
    return Packing(packs_of(blocks, width), width, 16 * channels, 4)


class Step:
    """What else a step is told, forward and backward."""

    weights: Address  # packed
    panel_bytes: int  # of packed weights
    padded: Address  # two padded buffers: a step reads one and writes the other
    z: Address  # the gates of each step, a plane for each gate of a task
    cells: Address  # before the first step, and after each: (steps + 1, places, C)
    scratch: Address
    lane_bytes: int
    step: int


@inlined
def _products(a, rows, first, weights, target):
    """Write planes of products for the places of a task: the panels of one block of weights times a padded buffer."""
    for panel in range(a.panels):
        call_rows(
            a.tail if panel == a.panels - 1 else a.whole,
            (
                a.padded + a.step % 2 * a.padded_bytes,
                weights + panel * a.panel_bytes,
                target + panel * a.panel_pitch,
                a.source_rows + 8 * first,
                a.target_rows,
                rows,
                a.segments,
                a.count,
                a.panel_pitch,
                0,
                NO_SLOPE,
                a.lanes,
            ),
        )


class Forward:
    """The arrays of a step forward."""

    gates: Address  # what is added to the products, (maps, steps, H, W, 4 C)
    y: Address  # every hidden state, (maps, steps, H, W, C)


@worker(Cut, Places, Segments, PanelKernels, Step, Forward)
def forward(arguments, task, lane):
    """Make the next state of the places of a task."""
    a = carray(arguments, 1)[0]
    first, last = task * a.rows // a.tasks, (task + 1) * a.rows // a.tasks
    rows, line = last - first, 4 * a.channels
    size, plane, sums_at = rows * a.channels, rows * line, a.scratch + lane * a.lane_bytes
    z_at, cells_at = a.z + 4 * line * (a.step * a.rows + first), a.cells + line * (a.step * a.rows + first)
    for gate in range(4):
        _products(a, rows, first, a.weights + gate * a.panels * a.panel_bytes, sums_at + gate * plane)
    for r in range(rows):
        source = a.gates + 4 * line * (int64_at(a.places, first + r) + a.step * a.map_places)
        for gate in range(4):
            copy(z_at + gate * plane + r * line, source + gate * line, line)
    z, sums = carray(floats_at(z_at), 4 * size), carray(floats_at(sums_at), 4 * size)
    before, after = carray(floats_at(cells_at), size), carray(floats_at(cells_at + line * a.rows), size)
    for j in range(size):
        i, f = sigmoid(z[j] + sums[j]), sigmoid(z[size + j] + sums[size + j])
        n, o = tanh(z[2 * size + j] + sums[2 * size + j]), sigmoid(z[3 * size + j] + sums[3 * size + j])
        c = f * before[j] + i * n
        z[j], z[size + j], z[2 * size + j], z[3 * size + j] = i, f, n, o
        after[j], sums[j] = c, o * tanh(c)
    target = a.padded + (a.step + 1) % 2 * a.padded_bytes + a.centre
    for r in range(rows):
        copy(a.y + line * (int64_at(a.places, first + r) + a.step * a.map_places), sums_at + r * line, line)
        copy(target + line * int64_at(a.padded_places, first + r), sums_at + r * line, line)


class Backward:
    """The arrays of a step backward."""

    g: Address  # the gradient of y
    carried: Address  # what a cell hands to the one before it, (places, C)
    derivatives: Address  # of the gates, (maps, steps, H, W, 4 C)
    dh: Address  # the gradient of the first hidden state


@worker(Cut, Places, Segments, PanelKernels, Step, Backward)
def backward(arguments, task, lane):
    """Make the derivatives of the gates of the places of a task; before the first step, the gradient of its state."""
    a = carray(arguments, 1)[0]
    first, last = task * a.rows // a.tasks, (task + 1) * a.rows // a.tasks
    rows, line = last - first, 4 * a.channels
    size, plane, d_at = rows * a.channels, rows * line, a.scratch + lane * a.lane_bytes
    dh_at = d_at + 4 * plane if a.step >= 0 else a.dh + line * first
    _products(a, rows, first, a.weights, dh_at)
    if a.step < 0:
        return
    for r in range(rows):
        copy(d_at + r * line, a.g + line * (int64_at(a.places, first + r) + a.step * a.map_places), line)
    z_at, cells_at = a.z + 4 * line * (a.step * a.rows + first), a.cells + line * (a.step * a.rows + first)
    z, d, sums = carray(floats_at(z_at), 4 * size), carray(floats_at(d_at), 4 * size), carray(floats_at(dh_at), size)
    before, after = carray(floats_at(cells_at), size), carray(floats_at(cells_at + line * a.rows), size)
    carried = carray(floats_at(a.carried + line * first), size)
    for j in range(size):
        i, f, n, o, dh = z[j], z[size + j], z[2 * size + j], z[3 * size + j], d[j] + sums[j]
        tanh_c = tanh(after[j])
        dc = carried[j] + dh * o * (ONE - tanh_c * tanh_c)
        carried[j] = dc * f
        d[j], d[size + j] = dc * n * i * (ONE - i), dc * before[j] * f * (ONE - f)
        d[2 * size + j], d[3 * size + j] = dc * i * (ONE - n * n), dh * tanh_c * o * (ONE - o)
    target = a.padded + (a.step + 1) % 2 * a.padded_bytes + a.centre
    for r in range(rows):
        derivatives = a.derivatives + 4 * line * (int64_at(a.places, first + r) + a.step * a.map_places)
        for gate in range(4):
            copy(derivatives + gate * line, d_at + gate * plane + r * line, line)
        copy(target + 4 * line * int64_at(a.padded_places, first + r), derivatives, 4 * line)


class Plan:
    """What depends on shapes only."""

    def __init__(self, *problem):
        self.problem = problem = Problem(*problem)
        cut, panels = cut_of(problem.maps * prod(problem.size)), panels_of(problem.channels)
        self.packing = packing_of(problem, panels.width)
        self.worker = backward if problem.is_backward else forward
        self.arguments = self.worker.record.filled(
            cut,
            places_of(problem, cut.most),
            inputs_of(problem),
            panel_kernels(panels, tile_height(cut.rows // cut.tasks)),
            panel_bytes=4 * prod(problem.kernel) * problem.features * panels.width,
            lane_bytes=20 * cut.most * problem.channels,
        )

    def run(self, steps, u, padded, **arrays) -> None:
        """Run the worker for each of `steps`, which begin with the half `step % 2` of the padded buffer."""
        packed, scratch = self.packing(u), memory.scratch(self.arguments.lane_bytes)
        call = self.worker.Arguments.from_buffer_copy(self.arguments)
        write_addresses(call, weights=packed, scratch=scratch, padded=padded, **arrays)
        for call.step in steps:
            pool.run(self.worker, call, call.tasks)


_plan = functools.lru_cache(64)(Plan)


@single
def conv_lstm(gates, u, h, c, *, padding):
    """Convolutional LSTM, gates i, f, g, o; outputs (y, last cell). See `tinygen.ops.recurrent`."""
    if not h.size:
        return reference.conv_lstm(gates, u, h, c, padding=padding)
    (maps, steps, height, width, _), channels = gates.shape, h.shape[-1]
    plan = _plan(maps, steps, (height, width), channels, u.shape[:2], padding, False)
    z, cells = memory.empty(gates.size), memory.empty((steps + 1, *c.shape))
    y = memory.empty((maps, steps, height, width, channels))
    padded, (top, left) = memory.zeros((2, *plan.problem.padded)), (before for before, _ in padding)
    padded[0, :, top : top + height, left : left + width] = h
    cells[0] = c
    plan.run(range(steps), u, padded, gates=gates, z=z, cells=cells, y=y)
    return (y, cells[-1].copy()), (u, h, c, z, cells, y)


@single
def conv_lstm_backward(g, u, h, c, gates, cells, y, *, padding):
    """Gradients of the first output of `conv_lstm`, by backpropagation through time."""
    if gates.ndim != 1:
        return reference.conv_lstm_backward(g, u, h, c, gates, cells, y, padding=padding)
    maps, steps, height, width, channels = y.shape
    plan = _plan(maps, steps, (height, width), channels, u.shape[:2], padding, True)
    derivatives, dh = memory.empty((*y.shape[:-1], 4 * channels)), memory.empty(h.shape)
    padded, carried = memory.zeros((2, *plan.problem.padded)), memory.zeros(c.shape)
    arrays = {"z": gates, "cells": cells, "carried": carried, "derivatives": derivatives}
    plan.run(range(steps - 1, -2, -1), u, padded, g=g, dh=dh, **arrays)
    return derivatives, _weight_grad(h, y, derivatives, u.shape[:2], Geometry(padding=padding)), dh, carried


def _weight_grad(h, y, derivatives, kernel_size, geometry: Geometry) -> np.ndarray:
    """The gradient of the weights that the states before each step were multiplied by."""
    before = np.concatenate((h[:, None], y[:, :-1]), axis=1).reshape(-1, *h.shape[1:])
    derivatives = derivatives.reshape(-1, *derivatives.shape[2:])
    maps = max(1, TASKS * ADDED_IN_FLOAT32 // prod(h.shape[1:3]))
    parts = [slice(n, n + maps) for n in range(0, len(before), maps)]
    sums = (conv2d_weight_grad(before[part], derivatives[part], kernel_size, geometry) for part in parts)
    return functools.reduce(np.add, (part.astype(np.float64) for part in sums)).astype(np.float32)
