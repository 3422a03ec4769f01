"""Recurrent networks over whole sequences: each step is a launch, and each task of it has a few hidden units.

Sequences lie side by side in groups of `width`. A row holds one number of each; the inputs of a step are rows x, 1, h.
So a product with weights is a tile, UNITS rows of gates, whatever the sizes of the network: a step reads the weights
once and in order, and a cell's arithmetic runs over whole tiles. The last group and the last tile are filled up with
zeros. A task makes the four tiles of its panel, UNITS hidden units, and then their next state. Backward it first sums
the gradient of its units' state, over the derivatives of all gates one step later, then makes those of its own gates.

For G groups of W sequences and P panels, gates are (T, G, P, 4, UNITS, W), states (before the first step, and after
each) (T + 1, G, P, UNITS, W). A GRU has a fourth gate too: what the hidden state adds to the third, before it is
scaled. Derivatives, (slot, G, 4, H, W), are kept for a few steps, then added to the gradients of the weights.
"""

import functools
from math import ceil

import numpy as np
from numba import carray

from .. import reference
from . import memory, pool
from .ir import clear, copy, floats_at, initial, int64_at, loaded, multiplied, store_tile, transpose_block
from .jit import inlined, worker
from .memory import address
from .products import PACK, pack
from .single import single
from .sums import sum_over
from .target import HEIGHTS, VECTORS, WIDTH
from .vector_math import ONE, sigmoid, tanh

UNITS = HEIGHTS[0]  # rows of a tile
COLUMNS = VECTORS * WIDTH  # columns of a tile; for a small batch a tile is one vector wide
KEPT_DERIVATIVES = 256  # sequences times steps whose derivatives are kept
ADDED_IN_FLOAT32 = 2048  # derivatives that are added up in float32, and these sums in float64, which keeps all digits
STRIP = 128  # of these, the number that passes through the first-level cache at a time
LEAST_SEQUENCES, LEAST_STEPS = 3, 8  # with fewer, packing the weights takes longer than it saves (measured)
LSTM, GRU = 4, 3  # number of gates
SIZES = "batch steps channels hidden groups panels "


@inlined
def _product(blocks, block, panel, vectors, rows, target):
    """Write the tile weights @ rows, for a panel of one of the blocks in the table that `_packed` makes."""
    a = int64_at(blocks, 4 * block) + panel * int64_at(blocks, 4 * block + 1)
    b = rows + int64_at(blocks, 4 * block + 2)
    depth, pitch = int64_at(blocks, 4 * block + 3), 4 * WIDTH * vectors
    tile = initial(UNITS, vectors, False, 0, 0)
    for _ in range(depth // 2):  # loads of two rows go ahead of the sums that wait for them
        tile = multiplied(1, tile, a, None, b, pitch)
        tile = multiplied(1, tile, a + 4 * UNITS, None, b + pitch, pitch)
        a += 8 * UNITS
        b += 2 * pitch
    if depth % 2:
        tile = multiplied(1, tile, a, None, b, pitch)
    store_tile(False, tile, target, None, 0)


@inlined
def _transpose(target, target_pitch, source, source_pitch, rows, columns):
    """Write target[j, i] = source[i, j]; the rows of each are its `pitch` bytes apart."""
    whole_rows, whole_columns = rows // WIDTH * WIDTH, columns // WIDTH * WIDTH
    for i in range(0, whole_rows, WIDTH):
        for j in range(0, whole_columns, WIDTH):
            block = source + i * source_pitch + 4 * j
            transpose_block(target + j * target_pitch + 4 * i, target_pitch, block, source_pitch)
    for i in range(rows):
        row = carray(floats_at(source + i * source_pitch), columns)
        for j in range(whole_columns if i < whole_rows else 0, columns):
            carray(floats_at(target + j * target_pitch), rows)[i] = row[j]


@functools.cache
def _forward_worker(gates: int, width: int):
    """Make the worker of a step. The first task of each group reads x of the next step, and writes y of the last."""
    size, row, vectors = UNITS * width, 4 * width, width // WIDTH
    tile = 4 * size

    @worker(SIZES + "rows blocks x y inputs gates states step")
    def forward(arguments, task, lane):
        a = carray(arguments, 1)[0]
        panel, group = task // a.groups - 1, task % a.groups
        inputs = a.inputs + row * a.rows * (a.step % 2 * a.groups + group)
        next_inputs = a.inputs + row * a.rows * ((a.step + 1) % 2 * a.groups + group)
        if panel < 0:
            first, sequences = group * width * a.steps, min(width, a.batch - group * width)
            x, y = a.x + 4 * a.channels * (first + a.step + 1), a.y + 4 * a.hidden * (first + a.step - 1)
            if a.step + 1 < a.steps:
                _transpose(next_inputs, row, x, 4 * a.channels * a.steps, sequences, a.channels)
            if a.step > 0:
                h = inputs + row * (a.channels + 1)
                _transpose(y, 4 * a.hidden * a.steps, h, row, a.hidden, sequences)
            return
        panel_index = (a.step * a.groups + group) * a.panels + panel
        for gate in range(4):
            _product(a.blocks, gate, panel, vectors, inputs, a.gates + (4 * panel_index + gate) * tile)
        z = carray(floats_at(a.gates + 4 * panel_index * tile), 4 * size)
        before = carray(floats_at(a.states + panel_index * tile), size)
        after = carray(floats_at(a.states + (panel_index + a.groups * a.panels) * tile), size)
        h = carray(floats_at(next_inputs + row * (a.channels + 1 + panel * UNITS)), size)
        if gates == LSTM:
            for j in range(size):
                i, f, n, o = sigmoid(z[j]), sigmoid(z[size + j]), tanh(z[2 * size + j]), sigmoid(z[3 * size + j])
                c = f * before[j] + i * n
                z[j], z[size + j], z[2 * size + j], z[3 * size + j] = i, f, n, o
                after[j], h[j] = c, o * tanh(c)
        else:
            for j in range(size):
                r, u = sigmoid(z[j]), sigmoid(z[size + j])
                n = tanh(z[2 * size + j] + r * z[3 * size + j])
                s = n + u * (before[j] - n)
                z[j], z[size + j], z[2 * size + j] = r, u, n
                after[j], h[j] = s, s

    return forward


@functools.cache
def _backward_worker(gates: int, width: int):
    """Make the worker of a step backward. The first task of each group reads g of the step before.

    The last tasks write the gradient of x one step later.
    """
    size, row, vectors = UNITS * width, 4 * width, width // WIDTH
    tile = 4 * size

    @worker(
        SIZES + "rows slots blocks g dx dh step_gradients gates states carried derivatives sums scratch lane_bytes step"
    )
    def backward(arguments, task, lane):
        a = carray(arguments, 1)[0]
        panel, group = task // a.groups - 1, task % a.groups
        first, sequences = group * width, min(width, a.batch - group * width)
        if panel < 0:
            if a.step > 0:
                target = a.step_gradients + row * a.rows * ((a.step - 1) % 2 * a.groups + group)
                g = a.g + 4 * a.hidden * (first * a.steps + a.step - 1)
                _transpose(target, row, g, 4 * a.hidden * a.steps, sequences, a.hidden)
            return
        buffer_at, last = a.scratch + lane * a.lane_bytes, a.step + 1 == a.steps
        next_derivatives = a.derivatives + 4 * a.hidden * row * ((a.step + 1) % a.slots * a.groups + group)
        if panel >= a.panels:
            if not last:
                unit = (panel - a.panels) * UNITS
                _product(a.blocks, 1, panel - a.panels, vectors, next_derivatives, buffer_at)
                dx = a.dx + 4 * (a.channels * (first * a.steps + a.step + 1) + unit)
                _transpose(dx, 4 * a.channels * a.steps, buffer_at, row, min(UNITS, a.channels - unit), sequences)
            return
        unit = panel * UNITS
        units = min(UNITS, a.hidden - unit)
        if last:
            clear(buffer_at, tile)
        else:
            _product(a.blocks, 0, panel, vectors, next_derivatives, buffer_at)
        if a.step < 0:
            _transpose(a.dh + 4 * (a.hidden * first + unit), 4 * a.hidden, buffer_at, row, units, sequences)
            return
        buffer = carray(floats_at(buffer_at), 4 * size)
        g = carray(floats_at(a.step_gradients + row * (a.rows * (a.step % 2 * a.groups + group) + unit)), size)
        for j in range(size):
            buffer[j] += g[j]
        panel_index = (a.step * a.groups + group) * a.panels + panel
        z = carray(floats_at(a.gates + 4 * panel_index * tile), 4 * size)
        before = carray(floats_at(a.states + panel_index * tile), size)
        after = carray(floats_at(a.states + (panel_index + a.groups * a.panels) * tile), size)
        carried = carray(floats_at(a.carried + (group * a.panels + panel) * tile), size)
        if gates == LSTM:  # i, f, n, o; the gradient of c is carried on
            for j in range(size):
                i, f, n, o, dh = z[j], z[size + j], z[2 * size + j], z[3 * size + j], buffer[j]
                tanh_c = tanh(after[j])
                dc = carried[j] + dh * o * (ONE - tanh_c * tanh_c)
                carried[j] = dc * f
                buffer[j], buffer[size + j] = dc * n * i * (ONE - i), dc * before[j] * f * (ONE - f)
                buffer[2 * size + j], buffer[3 * size + j] = dc * i * (ONE - n * n), dh * tanh_c * o * (ONE - o)
        else:  # n, r, z, and n's part of h: neighbours for x, and for h; what z lets through to h is carried on
            for j in range(size):
                r, u, n, scaled, dh = z[j], z[size + j], z[2 * size + j], z[3 * size + j], buffer[j] + carried[j]
                dn = dh * (ONE - u) * (ONE - n * n)
                carried[j] = dh * u
                buffer[j], buffer[size + j] = dn, dn * scaled * r * (ONE - r)
                buffer[2 * size + j], buffer[3 * size + j] = dh * (before[j] - n) * u * (ONE - u), dn * r
        total = carray(floats_at(a.sums + 4 * (group * a.panels + panel) * tile), 4 * size)
        for j in range(4 * size):
            total[j] += buffer[j]
        derivatives = a.derivatives + 4 * a.hidden * row * (a.step % a.slots * a.groups + group)
        for gate in range(4):
            copy(derivatives + row * (gate * a.hidden + unit), buffer_at + gate * tile, units * row)

    return backward


@functools.cache
def _weight_sums_worker(gates: int, width: int):
    """Make the worker that adds steps [first, last) to the gradients of weights: COLUMNS of x, or of h, in a task."""
    row, pitch = 4 * width, 4 * COLUMNS
    offsets = tuple(range(0, UNITS * row, row))

    @worker(SIZES + "x_panels steps_at_once x h y derivatives sums sums_bytes scratch lane_bytes first last")
    def weight_sums(arguments, task, lane):
        a = carray(arguments, 1)[0]
        of_x, strip = task < a.x_panels, a.scratch + lane * a.lane_bytes
        features, column = (a.channels, task * COLUMNS) if of_x else (a.hidden, (task - a.x_panels) * COLUMNS)
        count = min(COLUMNS, features - column)
        if count < COLUMNS:
            clear(strip, a.lane_bytes)
        # A GRU's fourth gate has no part in x, nor its third in h: derivatives n, r, z, and r, z, n of h.
        begin = a.derivatives + (0 if of_x or gates == LSTM else a.hidden * row)
        for first in range(a.first, a.last, a.steps_at_once):
            last, line = min(first + a.steps_at_once, a.last), strip
            for step in range(first, last):
                for n in range(a.batch):
                    if of_x:
                        source = a.x + 4 * a.channels * (n * a.steps + step)
                    else:
                        source = a.y + 4 * a.hidden * (n * a.steps + step - 1) if step else a.h + 4 * a.hidden * n
                    copy(line, source + 4 * column, 4 * count)
                    line += pitch
            target = a.sums + task * a.sums_bytes
            for panel_start in range(begin, begin + gates * a.hidden * row, UNITS * row):
                tile, line = loaded(UNITS, VECTORS, target), strip
                for slot in range(first - a.first, last - a.first):
                    for group in range(a.groups):
                        at = panel_start + 4 * a.hidden * row * (slot * a.groups + group)
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
                target += UNITS * pitch

    return weight_sums


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


def _run(gates: int, x, blocks, h, state):
    """Run a cell, its weights given as blocks; returns every hidden state (N, T, H), the gates and the states."""
    (batch, steps, channels), hidden = x.shape, h.shape[1]
    width = WIDTH if batch <= WIDTH else COLUMNS
    groups, panels, rows = ceil(batch / width), ceil(hidden / UNITS), channels + 1 + hidden
    _weights, blocks = _packed(blocks, 4 * gates * hidden, 4, 4 * width)
    y = memory.empty((batch, steps, hidden))
    z = memory.empty((steps, groups, panels, 4, UNITS, width))
    states = memory.empty((steps + 1, groups, panels, UNITS, width))
    states[0] = 0
    states[0].reshape(groups, -1, width)[:, :hidden] = _groups(state, width)
    inputs = memory.zeros((2, groups, rows + UNITS, width))
    inputs[0, :, channels + 1 : rows] = _groups(h, width)
    inputs[:, :, channels] = 1
    step = _forward_worker(gates, width)
    call = step.Arguments(batch, steps, channels, hidden, groups, panels, rows + UNITS)
    call.blocks, call.x, call.y, call.inputs, call.gates, call.states = map(address, (blocks, x, y, inputs, z, states))
    for call.step in range(-1, steps + 1):
        pool.run(step, call, groups * (1 + panels * (0 <= call.step < steps)))
    return y, z, states


def _run_back(gates: int, g, x, blocks, h, z, states, y):
    """Backpropagate through time.

    Returns the gradients of x, of both weights, of the first h (through the gates) and of the first state (which is
    carried from step to step), and the sums (4, H) of the derivatives.
    """
    (batch, steps, channels), hidden = x.shape, h.shape[1]
    groups, panels, _, _, width = z.shape[1:]
    sizes = batch, steps, channels, hidden, groups, panels
    rows, slots, x_panels = hidden + UNITS, max(2, KEPT_DERIVATIVES // (groups * width)), ceil(channels / COLUMNS)
    _weights, blocks = _packed(blocks, 4, 4 * gates * hidden, 4 * width)
    dx, dh = memory.empty(x.shape), memory.empty(h.shape)
    step_gradients, carried = memory.zeros((2, groups, rows, width)), memory.zeros(states.shape[1:])
    # Two slots at least: a step reads one while it writes another. The last tile of all reaches beyond the last row.
    derivatives = memory.empty((slots * groups * 4 * hidden + UNITS, width))
    totals = memory.zeros(z.shape[1:])
    sums = memory.zeros((x_panels + ceil(hidden / COLUMNS), ceil(gates * hidden / UNITS) * UNITS, COLUMNS))
    used = sums[:, : gates * hidden]  # what lies below is of the last tile, and holds anything
    whole_sums = memory.zeros(used.shape, np.float64)
    lane_bytes = max(16 * UNITS * width, 4 * COLUMNS * max(STRIP, batch))
    scratch = memory.scratch(lane_bytes)
    step, weights = _backward_worker(gates, width), _weight_sums_worker(gates, width)
    arrays = blocks, g, dx, dh, step_gradients, z, states, carried, derivatives, totals, scratch
    call = step.Arguments(*sizes, rows, slots, *map(address, arrays), lane_bytes)
    arrays = map(address, (x, h, y, derivatives, sums))
    add = weights.Arguments(
        *sizes, x_panels, max(1, STRIP // batch), *arrays, sums[0].nbytes, address(scratch), lane_bytes
    )
    for call.step in range(steps, -2, -1):
        pool.run(step, call, groups * (1 + (panels + ceil(channels / UNITS)) * (call.step < steps)))
        if call.step % slots == 0 and call.step < steps:
            add.first, add.last = call.step, min(call.step + slots, steps)
            pool.run(weights, add, len(sums))
            if (steps - add.first) * batch % ADDED_IN_FLOAT32 < (add.last - add.first) * batch or not add.first:
                whole_sums += used
                sums[...] = 0
    sums = whole_sums.astype(np.float32).transpose(0, 2, 1)
    input_grad, hidden_grad = (part.reshape(-1, gates * hidden) for part in (sums[:x_panels], sums[x_panels:]))
    totals = _sequences(totals, batch, panels * 4 * UNITS).reshape(batch, panels, 4, UNITS).transpose(0, 2, 1, 3)
    totals = sum_over(memory.contiguous(totals.reshape(batch, 4, -1)[..., :hidden]), (0,))
    return dx, input_grad[:channels], hidden_grad[:hidden], dh, _sequences(carried, *h.shape), totals


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
