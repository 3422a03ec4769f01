"""The gradients of the weights of a recurrent network: sums of outer products of inputs and derivatives of gates.

Both are kept for some steps, which a launch adds up: a task COLUMNS of x, or of h, for all gates.
"""

import functools
from math import ceil

import numpy as np
from numba import carray

from . import memory, pool
from .ir import clear, copy, loaded, multiplied, store_tile
from .jit import Address, inlined, worker
from .memory import write_addresses
from .recurrent_tiling import COLUMNS, LSTM, UNITS, Problem, Tiling
from .target import VECTORS

ADDED_IN_FLOAT32 = 2048  # derivatives that are added up in float32, and these sums in float64, which keeps all digits


class Sums:
    """What a launch is told: it adds steps [first, last)."""

    x: Address
    h: Address  # the first hidden state
    y: Address  # those after each step
    derivatives: Address
    sums: Address  # for each task, (rows, COLUMNS)
    scratch: Address
    lane_bytes: int
    x_panels: int  # tasks of x; the others have h
    sums_bytes: int  # of a task
    first: int
    last: int


@inlined
def gather(a, of_x, column, count, first, last, line):
    """Copy `count` columns of x, or of the hidden states before them, of steps [first, last) to lines of COLUMNS."""
    for step in range(first, last):
        for n in range(a.batch):
            if of_x:
                source = a.x + 4 * a.channels * (n * a.steps + step)
            else:
                source = a.y + 4 * a.hidden * (n * a.steps + step - 1) if step else a.h + 4 * a.hidden * n
            copy(line, source + 4 * column, 4 * count)
            line += 4 * COLUMNS


@inlined
def add_products(a, derivatives, first_slot, last_slot, line, target, offsets, width):
    """Add to a tile at an address the products of derivatives, UNITS rows of each slot, and gathered lines."""
    row, pitch = 4 * width, 4 * COLUMNS
    tile = loaded(UNITS, VECTORS, target)
    for slot in range(first_slot, last_slot):
        for group in range(a.groups):
            at = derivatives + 4 * a.hidden * row * (slot * a.groups + group)
            sequences = min(width, a.batch - group * width)
            for _ in range(sequences // 4):
                tile = multiplied(4, tile, at, offsets, line, pitch)
                at += 16
                line += 4 * pitch
            for _ in range(sequences % 4):
                tile = multiplied(1, tile, at, offsets, line, pitch)
                at += 4
                line += pitch
    store_tile(False, tile, target, None, 0)


@functools.cache
def sums_worker(gates: int, width: int):
    """Make the worker."""
    row = 4 * width
    offsets = tuple(range(0, UNITS * row, row))

    @worker(Problem, Tiling, Sums)
    def weight_sums(arguments, task, lane):
        a = carray(arguments, 1)[0]
        of_x, strip = task < a.x_panels, a.scratch + lane * a.lane_bytes
        features, column = (a.channels, task * COLUMNS) if of_x else (a.hidden, (task - a.x_panels) * COLUMNS)
        count = min(COLUMNS, features - column)
        if count < COLUMNS:
            clear(strip, a.lane_bytes)
        # A GRU's fourth gate has no part in x, nor its third in h: derivatives n, r, z, and r, z, v of h.
        begin = a.derivatives + (0 if of_x or gates == LSTM else a.hidden * row)
        for first in range(a.first, a.last, a.steps_at_once):
            last, target = min(first + a.steps_at_once, a.last), a.sums + task * a.sums_bytes
            gather(a, of_x, column, count, first, last, strip)
            for panel in range(begin, begin + gates * a.hidden * row, UNITS * row):
                add_products(a, panel, first - a.first, last - a.first, strip, target, offsets, width)
                target += 4 * UNITS * COLUMNS

    return weight_sums


class WeightPlan:
    """What the shapes of a network say about the gradients of its weights."""

    def __init__(self, gates: int, problem: Problem, cut: Tiling, lane_bytes: int):
        self.problem, self.columns = problem, gates * problem.hidden
        self.x_panels = ceil(problem.channels / COLUMNS)
        rows = ceil(self.columns / UNITS) * UNITS
        self.shape = self.x_panels + ceil(problem.hidden / COLUMNS), rows, COLUMNS
        self.worker = sums_worker(gates, cut.width)
        sizes = {"lane_bytes": lane_bytes, "x_panels": self.x_panels, "sums_bytes": 4 * rows * COLUMNS}
        self.call = self.worker.record.filled(problem, cut, **sizes)


class WeightGradients:
    """The gradients of both weights of a network, to which `add` adds some steps, the last ones first."""

    def __init__(self, plan: WeightPlan, x, h, y, derivatives, scratch):
        self.plan, self.arrays = plan, (x, h, y, derivatives, scratch)  # the call keeps no array
        self.sums = memory.zeros(plan.shape)
        self.used = self.sums[:, : plan.columns]  # what lies below is of the last tile, and holds anything
        self.whole = memory.zeros(self.used.shape, np.float64)
        self.call = plan.worker.Arguments.from_buffer_copy(plan.call)
        write_addresses(self.call, x=x, h=h, y=y, derivatives=derivatives, sums=self.sums, scratch=scratch)

    def add(self, first: int, last: int) -> None:
        """Add the steps [first, last), whose derivatives lie in the first slots."""
        self.call.first, self.call.last = first, last
        pool.run(self.plan.worker, self.call, len(self.sums))
        batch, steps = self.plan.problem.batch, self.plan.problem.steps
        if (steps - first) * batch % ADDED_IN_FLOAT32 < (last - first) * batch or not first:
            self.whole += self.used
            self.sums[...] = 0

    def result(self):
        """The gradients of the weights of x and of h, (C, gates * H) and (H, gates * H)."""
        sums, problem = self.whole.astype(np.float32).transpose(0, 2, 1), self.plan.problem
        x_panels, columns = self.plan.x_panels, self.plan.columns
        of_x, of_h = (part.reshape(-1, columns) for part in (sums[:x_panels], sums[x_panels:]))
        return of_x[: problem.channels], of_h[: problem.hidden]
