"""Convolutional LSTM over whole sequences: each step is a launch, and each task of it has a few places of the maps.

The hidden state of all maps lies in a buffer with zeros around each map, so that the inputs of a place are one run of
numbers for each row of the kernel, and its four gates are products of the micro-kernel. Forward, a task adds what
`gates` holds to these products, makes the next state of its places, and writes it into a second buffer, which the next
step reads. Backward does the same with the derivatives of the gates. Within a task, arrays are planes (places, C), one
for each gate, so that a cell's arithmetic runs over long rows whatever the number of channels.

The gradient of the weights is that of one convolution of all states, in parts that are added up in float64.
"""

import functools
from math import ceil, prod

import numpy as np
from numba import carray

from .. import reference
from ..geometry import Geometry
from . import memory, pool
from .convolution import conv2d_weight_grad
from .ir import call_rows, copy, floats_at, int64_at
from .jit import inlined, worker
from .memory import address, int64_table
from .packing import Packing, packs_of
from .recurrent_weights import ADDED_IN_FLOAT32
from .registry import single
from .tile import NO_SLOPE
from .tiling import panel_kernels, panels_of, tile_height
from .vector_math import ONE, sigmoid, tanh

PLACES = 96  # most places of a task: their products, and a panel of the weights, stay in the nearest caches
TASKS = 8  # the number of tasks of a step is a multiple of this one, if all have at least LEAST_PLACES
LEAST_PLACES = 24
SHARED = (
    "channels tasks rows map_places padded_bytes centre source_rows target_rows places padded_places segments count "
    "weights panels panel_bytes panel_pitch whole tail lanes scratch lane_bytes step "
)


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


@worker(SHARED + "padded gates z cells y")
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


@worker(SHARED + "padded g z cells carried derivatives dh")
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


class _Plan:
    """What depends on shapes only: tables of places, weights to pack, and the arguments of a step.

    Forward, the `channels` numbers of a place are multiplied, on the way `back` the derivatives of its four gates.
    """

    def __init__(self, back: bool, maps: int, steps: int, size, channels: int, kernel, padding):
        (height, width), (kh, kw) = size, kernel
        self.tables: list[np.ndarray] = []
        features, (above, before) = channels, (begin for begin, _ in padding)
        if back:
            features, above, before = 4 * channels, kh - 1 - above, kw - 1 - before
        self.worker, pitch = backward if back else forward, width + kw - 1
        self.padded_shape = 2, maps, height + kh - 1, pitch, features
        n, i, j = np.ogrid[:maps, :height, :width]
        padded_places = (n * (height + kh - 1) + i) * pitch + j
        rows = maps * height * width
        tasks = TASKS * ceil(rows / (TASKS * PLACES)) if rows >= TASKS * LEAST_PLACES else ceil(rows / LEAST_PLACES)
        most = ceil(rows / tasks)
        panels = panels_of(channels)
        taps = kh * kw
        if back:  # the taps in reverse order
            pieces = [(16 * channels * channels * tap, features) for tap in reversed(range(taps))]
            blocks, strides = [pieces], (4, 16 * channels)
        else:
            blocks, strides = [[(4 * gate * channels, taps * channels)] for gate in range(4)], (16 * channels, 4)
        packs = packs_of([(pieces, channels) for pieces in blocks], panels.width)
        self.packing = Packing(packs, panels.width, *strides)
        self.lane_bytes = 20 * most * channels
        self.arguments = self.worker.Arguments(
            channels=channels,
            tasks=tasks,
            rows=rows,
            map_places=height * width,
            padded_bytes=4 * prod(self.padded_shape[1:]),
            centre=4 * features * (above * pitch + before),
            source_rows=address(self._table(4 * features * padded_places)),
            target_rows=address(self._table(4 * channels * np.arange(most))),
            places=address(self._table((n * steps * height + i) * width + j)),
            padded_places=address(self._table(padded_places)),
            segments=address(self._table([(4 * features * pitch * k, kw * features) for k in range(kh)])),
            count=kh,
            panel_bytes=packs[0].panel_bytes,
            lane_bytes=self.lane_bytes,
            **vars(panel_kernels(panels, tile_height(rows // tasks))),
        )

    def _table(self, values) -> np.ndarray:
        """A table, which lives as long as the plan."""
        self.tables.append(int64_table(values))
        return self.tables[-1]

    def run(self, steps, u, padded, **arrays) -> None:
        """Run the worker for each of `steps`, which begin with the half `step % 2` of the padded buffer."""
        packed, scratch = self.packing(u), memory.scratch(self.lane_bytes)
        call = self.worker.Arguments.from_buffer_copy(self.arguments)
        call.weights, call.scratch, call.padded = address(packed), address(scratch), address(padded)
        for name, array in arrays.items():
            setattr(call, name, address(array))
        for call.step in steps:
            pool.run(self.worker, call, call.tasks)


_plan = functools.lru_cache(64)(_Plan)


@single
def conv_lstm(gates, u, h, c, *, padding):
    """Convolutional LSTM, gates i, f, g, o; outputs (y, last cell). See `tinygen.ops.recurrent`."""
    if not h.size:
        return reference.conv_lstm(gates, u, h, c, padding=padding)
    (maps, steps, height, width, _), channels = gates.shape, h.shape[-1]
    plan = _plan(False, maps, steps, (height, width), channels, u.shape[:2], padding)
    z, cells = memory.empty(gates.size), memory.empty((steps + 1, *c.shape))
    y = memory.empty((maps, steps, height, width, channels))
    padded, (top, left) = memory.zeros(plan.padded_shape), (before for before, _ in padding)
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
    plan = _plan(True, maps, steps, (height, width), channels, u.shape[:2], padding)
    derivatives, dh = memory.empty((*y.shape[:-1], 4 * channels)), memory.empty(h.shape)
    padded, carried = memory.zeros(plan.padded_shape), memory.zeros(c.shape)
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
