"""Recurrent networks over whole sequences: each step is a launch, and each task of it has a few hidden units.

Forward, a task makes the four tiles of gates of its units, and then their next state. Backward it first sums the
gradient of its units' state, over the derivatives of all gates one step later, then makes those of its own gates.
`recurrent_cells` has the equations, `recurrent_tiling` the layout, `recurrent_steps` the workers of a step, and
`recurrent_weights` the gradients of the weights.
"""

import functools
from math import ceil

import numpy as np

from .. import reference
from . import memory, pool
from .memory import address, write_addresses
from .packing import PACK, pack
from .recurrent_steps import backward_worker, forward_worker
from .recurrent_tiling import COLUMNS, GRU, LSTM, STRIP, UNITS, Problem, tiling
from .recurrent_weights import WeightGradients, WeightPlan
from .registry import single
from .sums import sum_over

LEAST_SEQUENCES, LEAST_STEPS = 3, 8  # with fewer, packing the weights takes longer than it saves (measured)


def _packed(blocks, depth_stride: int, output_stride: int, row: int):
    """Pack weights into panels of UNITS outputs; returns them and the table of their blocks for `_product`.

    A block is (outputs, the row with which its products begin, pieces); a piece (address, rows), a row `depth_stride`
    and an output `output_stride` bytes from the next.
    """
    packs, lines, size, pieces = [], [], 0, [np.array(block[2], np.int64) for block in blocks]
    for (outputs, begin, _), piece in zip(blocks, pieces, strict=True):
        depth, panels = int(piece[:, 1].sum()), ceil(outputs / UNITS)
        packs.append((address(piece), len(piece), size, outputs, panels, 4 * UNITS * depth))
        lines.append((size, 4 * UNITS * depth, row * begin, depth))
        size += 4 * UNITS * depth * panels
    packed, table = memory.empty(size // 4), np.array(lines, np.int64)
    table[:, 0] += address(packed)
    packs = np.array(packs, PACK.Structure)
    call = pack.Arguments(0, address(packed), address(packs), len(packs), UNITS, depth_stride, output_stride)
    pool.run(pack, call, int(packs["panels"].sum()))
    return packed, table


def _groups(sequences, width: int):
    """Arrange sequences (N, F) in groups (G, F, W), filled up with zeros."""
    groups = ceil(len(sequences) / width)
    padded = memory.zeros((groups * width, sequences.shape[1]))
    padded[: len(sequences)] = sequences
    return padded.reshape(groups, width, -1).transpose(0, 2, 1)


def _sequences(groups, batch: int, features: int):
    """Undo `_groups`: the first N rows and F features of groups (G, ..., W)."""
    rows = groups.reshape(len(groups), -1, groups.shape[-1]).transpose(0, 2, 1)
    return rows.reshape(-1, rows.shape[2])[:batch, :features].copy()


@functools.lru_cache(256)
class _Plan:
    """What the shapes of a call of a cell say about it."""

    def __init__(self, gates: int, batch: int, steps: int, channels: int, hidden: int):
        self.problem = problem = Problem(batch, steps, channels, hidden)
        self.cut = cut = tiling(problem)
        self.rows, self.rows_back = channels + 1 + hidden + UNITS, hidden + UNITS
        self.lane_bytes = max(16 * UNITS * cut.width, 4 * COLUMNS * max(STRIP, batch))
        self.step, self.step_back = forward_worker(gates, cut.width), backward_worker(gates, cut.width)
        self.call = self.step.record.filled(problem, cut, rows=self.rows)
        self.call_back = self.step_back.record.filled(problem, cut, rows=self.rows_back, lane_bytes=self.lane_bytes)
        self.weights = WeightPlan(gates, problem, cut, self.lane_bytes)


def _run(gates: int, x, blocks, h, state):
    """Run a cell, its weights given as blocks; returns every hidden state (N, T, H), the gates and the states."""
    (batch, steps, channels), hidden = x.shape, h.shape[1]
    plan = _Plan(gates, batch, steps, channels, hidden)
    width, groups, panels = plan.cut.width, plan.cut.groups, plan.cut.panels
    _weights, blocks = _packed(blocks, 4 * gates * hidden, 4, 4 * width)
    y = memory.empty((batch, steps, hidden))
    z = memory.empty((steps, groups, panels, 4, UNITS, width))
    states = memory.empty((steps + 1, groups, panels, UNITS, width))
    states[0] = 0
    states[0].reshape(groups, -1, width)[:, :hidden] = _groups(state, width)
    inputs = memory.zeros((2, groups, plan.rows, width))
    inputs[0, :, channels + 1 : channels + 1 + hidden] = _groups(h, width)
    inputs[:, :, channels] = 1
    call = plan.step.Arguments.from_buffer_copy(plan.call)
    write_addresses(call, blocks=blocks, x=x, y=y, inputs=inputs, gates=z, states=states)
    for call.step in range(-1, steps + 1):
        pool.run(plan.step, call, groups * (1 + panels * (0 <= call.step < steps)))
    return y, z, states


def _run_back(gates: int, g, x, blocks, h, z, states, y):
    """Backpropagate through time.

    Returns the gradients of x, of both weights, of the first h (through the gates) and of the first state (which is
    carried from step to step), and the sums (4, H) of the derivatives.
    """
    (batch, steps, channels), hidden = x.shape, h.shape[1]
    plan = _Plan(gates, batch, steps, channels, hidden)
    width, groups, panels, slots = plan.cut.width, plan.cut.groups, plan.cut.panels, plan.cut.slots
    _weights, blocks = _packed(blocks, 4, 4 * gates * hidden, 4 * width)
    dx, dh, carried = memory.empty(x.shape), memory.empty(h.shape), memory.zeros(states.shape[1:])
    step_gradients = memory.zeros((2, groups, plan.rows_back, width))
    # The last tile of all reaches beyond the last row.
    derivatives = memory.empty((slots * groups * 4 * hidden + UNITS, width))
    totals, scratch = memory.zeros(z.shape[1:]), memory.scratch(plan.lane_bytes)
    call = plan.step_back.Arguments.from_buffer_copy(plan.call_back)
    write_addresses(call, blocks=blocks, g=g, dx=dx, dh=dh, step_gradients=step_gradients, gates=z, states=states)
    write_addresses(call, carried=carried, derivatives=derivatives, sums=totals, scratch=scratch)
    weights = WeightGradients(plan.weights, x, h, y, derivatives, scratch)
    for call.step in range(steps, -2, -1):
        pool.run(plan.step_back, call, groups * (1 + (panels + ceil(channels / UNITS)) * (call.step < steps)))
        if call.step % slots == 0 and call.step < steps:
            weights.add(call.step, min(call.step + slots, steps))
    totals = _sequences(totals, batch, panels * 4 * UNITS).reshape(batch, panels, 4, UNITS).transpose(0, 2, 1, 3)
    totals = sum_over(memory.contiguous(totals.reshape(batch, 4, -1)[..., :hidden]), (0,))
    return dx, *weights.result(), dh, _sequences(carried, *h.shape), totals


def _pieces(gates: int, input_weight, bias, hidden_weight):
    """The pieces of each gate's weights, in the order of the rows that they multiply."""
    hidden = len(hidden_weight)
    starts = (address(input_weight), len(input_weight)), (address(bias), 1), (address(hidden_weight), hidden)
    return [[(start + 4 * gate * hidden, rows) for start, rows in starts] for gate in range(gates)]


def _serves(x, h) -> bool:
    return len(x) >= LEAST_SEQUENCES and x.shape[1] >= LEAST_STEPS and x.size > 0 and h.size > 0


@single
def lstm(x, input_weight, hidden_weight, bias, h, c):
    """Long short-term memory, gates i, f, g, o; outputs (y, last cell). See `tinygen.ops.recurrent`."""
    if not _serves(x, h):
        return reference.lstm(x, input_weight, hidden_weight, bias, h, c)
    blocks = [(h.shape[1], 0, pieces) for pieces in _pieces(LSTM, input_weight, bias, hidden_weight)]
    y, gates, cells = _run(LSTM, x, blocks, h, c)
    return (y, _sequences(cells[-1], *c.shape)), (x, input_weight, hidden_weight, h, c, gates, cells, y)


@single
def lstm_backward(g, x, input_weight, hidden_weight, h, c, gates, cells, y):
    """Gradients of the first output of `lstm`, by backpropagation through time."""
    if gates.ndim == 4:
        return reference.lstm_backward(g, x, input_weight, hidden_weight, h, c, gates, cells, y)
    blocks = [(len(w), 0, [(address(w), w.shape[1])]) for w in (hidden_weight, input_weight)]
    *grads, dh, dc, totals = _run_back(LSTM, g, x, blocks, h, gates, cells, y)
    return *grads, totals.ravel(), dh, dc


@single
def gru(x, input_weight, hidden_weight, bias, hidden_bias, h):
    """Gated recurrent unit, gates r, z, n. See `tinygen.ops.recurrent`."""
    if not _serves(x, h):
        return reference.gru(x, input_weight, hidden_weight, bias, hidden_bias, h)
    hidden = h.shape[1]
    r, z, (*n, scaled) = _pieces(GRU, input_weight, bias, hidden_weight)
    blocks = [(hidden, 0, pieces) for pieces in (r, z, n)]
    blocks.append((hidden, x.shape[2], [(address(hidden_bias), 1), scaled]))
    y, gates, states = _run(GRU, x, blocks, h, h)
    return y, (x, input_weight, hidden_weight, h, gates, states, y)


@single
def gru_backward(g, x, input_weight, hidden_weight, h, gates, states, y):
    """Gradients of `gru`, by backpropagation through time."""
    if gates.ndim == 4:
        return reference.gru_backward(g, x, input_weight, hidden_weight, h, gates, states, y)
    (channels, _), hidden, start = input_weight.shape, h.shape[1], address(input_weight)
    blocks = [(hidden, hidden, [(address(hidden_weight), 3 * hidden)])]  # derivatives r, z, n of h
    blocks.append((channels, 0, [(start + 8 * hidden, hidden), (start, 2 * hidden)]))  # n, r, z
    dx, input_grad, hidden_grad, dh, carried, totals = _run_back(GRU, g, x, blocks, h, gates, states, y)
    bias_grad = totals[[1, 2, 0]].ravel()
    return dx, np.roll(input_grad, -hidden, axis=1), hidden_grad, bias_grad, totals[3], dh + carried
