"""Recurrent networks over whole sequences. A step is one launch of tasks, each of which owns a few hidden units.

Sequences lie side by side in groups of `width`: a row holds one number of each, and the inputs of a step are rows
(x, 1, h). So a product with the weights is a tile, UNITS rows of gates, whatever the sizes of the network; weights are
read once a step and in order, and a cell's arithmetic runs over whole tiles. Zeros fill up the last group and the last
tile. A task makes the four tiles of its units and then their next state; going back in time, the gradient of their
state, from the derivatives of all gates one step later, and then the derivatives of its own gates.

With G groups of W sequences and P panels of units: gates (T, G, P, 4, UNITS, W); states, before the first step and
after each, (T + 1, G, P, UNITS, W). A GRU's third gate is kept in two parts, what the input gives and what the hidden
state gives. The derivatives (slot, G, 4, H, W) of a few steps at a time are added to the gradients of the weights.
"""

import functools
from math import ceil

import numpy as np
from numba import carray

from .. import reference
from . import pool
from .ir import clear, copy, floats_at, initial, loaded, multiplied, stored, word
from .jit import inlined, worker
from .pool import address
from .products import PACK, pack
from .single import single
from .target import HEIGHTS, VECTORS, WIDTH
from .vector_math import ONE, sigmoid, tanh

UNITS = HEIGHTS[0]  # of a panel: rows of a tile
COLUMNS = VECTORS * WIDTH
STRIP = 128
NEAR = 256  # sequences times steps whose derivatives stay near until they are added to the weights' gradients
SHORT = 8  # steps below which packing the weights does not pay
LSTM, GRU = 4, 3  # gates


@inlined
def _product(blocks, block, panel, vectors, rows, target):
    """A tile of weights @ rows; a line of the table `blocks` says which weights, and from which row on."""
    a = word(blocks, 4 * block) + panel * word(blocks, 4 * block + 1)
    b = rows + word(blocks, 4 * block + 2)
    tile = initial(UNITS, vectors, False, 0, 0)
    for _ in range(word(blocks, 4 * block + 3)):
        tile = multiplied(1, tile, a, None, b, 0)
        a += 4 * UNITS
        b += 4 * WIDTH * vectors
    stored(False, tile, target, None, 0)


@inlined
def _scatter(tile, width, target, stride, sequences, units):
    """target[n, u] = tile[u, n], `stride` numbers from sequence to sequence."""
    for n in range(sequences):
        row = carray(floats_at(target + 4 * stride * n), units)
        for u in range(units):
            row[u] = tile[u * width + n]


@functools.cache
def _forward(gates, width):
    size, vectors = UNITS * width, width // WIDTH
    tile = 4 * size

    @worker("step steps batch channels hidden groups panels rows blocks x y inputs gates states")
    def forward(arguments, task, lane):
        """One task of a step: a panel of hidden units for a group of sequences, or the group's next inputs."""
        a = carray(arguments, 1)[0]
        panel, group = task // a.groups - 1, task % a.groups
        first, sequences = group * width, min(width, a.batch - group * width)
        now = a.inputs + 4 * width * a.rows * (a.step % 2 * a.groups + group)
        later = a.inputs + 4 * width * a.rows * ((a.step + 1) % 2 * a.groups + group)
        if panel < 0:
            if a.step + 1 < a.steps:
                target = carray(floats_at(later), a.channels * width)
                for n in range(sequences):
                    x = carray(floats_at(a.x + 4 * a.channels * ((first + n) * a.steps + a.step + 1)), a.channels)
                    for i in range(a.channels):
                        target[i * width + n] = x[i]
            return
        place, unit = (a.step * a.groups + group) * a.panels + panel, panel * UNITS
        for block in range(4):
            _product(a.blocks, block, panel, vectors, now, a.gates + (4 * place + block) * tile)
        z = carray(floats_at(a.gates + 4 * place * tile), 4 * size)
        before = carray(floats_at(a.states + place * tile), size)
        after = carray(floats_at(a.states + (place + a.groups * a.panels) * tile), size)
        h = carray(floats_at(later + 4 * width * (a.channels + 1 + unit)), size)
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
        y = a.y + 4 * ((first * a.steps + a.step) * a.hidden + unit)
        _scatter(h, width, y, a.steps * a.hidden, sequences, min(UNITS, a.hidden - unit))

    return forward


@functools.cache
def _backward(gates, width):
    size, vectors = UNITS * width, width // WIDTH
    tile = 4 * size

    @worker(
        "step steps batch channels hidden groups panels slots blocks g dx dh gates states carried derivatives sums "
        "scratch lane_bytes"
    )
    def backward(arguments, task, lane):
        """One task of a step: the derivatives of a panel's gates, or the gradient of inputs one step later."""
        a = carray(arguments, 1)[0]
        panel, group = task // a.groups, task % a.groups
        first, sequences = group * width, min(width, a.batch - group * width)
        row = 4 * width
        room_at, last = a.scratch + lane * a.lane_bytes, a.step + 1 == a.steps
        later = a.derivatives + 4 * a.hidden * row * ((a.step + 1) % a.slots * a.groups + group)
        room = carray(floats_at(room_at), 4 * size)
        if panel >= a.panels:
            if not last:
                unit = (panel - a.panels) * UNITS
                _product(a.blocks, 1, panel - a.panels, vectors, later, room_at)
                dx = a.dx + 4 * ((first * a.steps + a.step + 1) * a.channels + unit)
                _scatter(room, width, dx, a.steps * a.channels, sequences, min(UNITS, a.channels - unit))
            return
        unit = panel * UNITS
        units = min(UNITS, a.hidden - unit)
        if last:
            clear(room_at, tile)
        else:
            _product(a.blocks, 0, panel, vectors, later, room_at)
        if a.step < 0:
            _scatter(room, width, a.dh + 4 * (first * a.hidden + unit), a.hidden, sequences, units)
            return
        for n in range(sequences):
            g = carray(floats_at(a.g + 4 * (((first + n) * a.steps + a.step) * a.hidden + unit)), units)
            for u in range(units):
                room[u * width + n] += g[u]
        place = (a.step * a.groups + group) * a.panels + panel
        z = carray(floats_at(a.gates + 4 * place * tile), 4 * size)
        before = carray(floats_at(a.states + place * tile), size)
        after = carray(floats_at(a.states + (place + a.groups * a.panels) * tile), size)
        carried = carray(floats_at(a.carried + (group * a.panels + panel) * tile), size)
        if gates == LSTM:  # derivatives of i, f, n, o; the gradient of c is carried on
            for j in range(size):
                i, f, n, o, dh = z[j], z[size + j], z[2 * size + j], z[3 * size + j], room[j]
                bounded = tanh(after[j])
                dc = carried[j] + dh * o * (ONE - bounded * bounded)
                carried[j] = dc * f
                room[j], room[size + j] = dc * n * i * (ONE - i), dc * before[j] * f * (ONE - f)
                room[2 * size + j], room[3 * size + j] = dc * i * (ONE - n * n), dh * bounded * o * (ONE - o)
        else:  # of what the input gives n, r, z, what the state gives n; what z lets pass of h is carried on
            for j in range(size):
                r, u, n, hidden, dh = z[j], z[size + j], z[2 * size + j], z[3 * size + j], room[j] + carried[j]
                dn = dh * (ONE - u) * (ONE - n * n)
                carried[j] = dh * u
                room[j], room[size + j] = dn, dn * hidden * r * (ONE - r)
                room[2 * size + j], room[3 * size + j] = dh * (before[j] - n) * u * (ONE - u), dn * r
        total = carray(floats_at(a.sums + 4 * (group * a.panels + panel) * tile), 4 * size)
        for j in range(4 * size):
            total[j] += room[j]
        now = a.derivatives + 4 * a.hidden * row * (a.step % a.slots * a.groups + group)
        for block in range(4):
            copy(now + (block * a.hidden + unit) * row, room_at + block * tile, units * row)

    return backward


@functools.cache
def _weight_sums(gates, width):
    row = 4 * width
    rows = tuple(range(0, UNITS * row, row))

    @worker(
        "begin end steps_together steps batch channels hidden groups panels x h y derivatives sums sums_bytes scratch "
        "lane_bytes"
    )
    def weight_sums(arguments, task, lane):
        """One task: add what some steps give to the gradients of COLUMNS weights of all gates, of the input or of h."""
        a = carray(arguments, 1)[0]
        inputs = task < a.panels
        features = a.channels if inputs else a.hidden
        column = COLUMNS * (task if inputs else task - a.panels)
        many = min(COLUMNS, features - column)
        strip, pitch = a.scratch + lane * a.lane_bytes, 4 * COLUMNS
        group_bytes = 4 * a.hidden * row
        derivatives = a.derivatives + (0 if inputs or gates == LSTM else a.hidden * row)
        if many < COLUMNS:
            clear(strip, a.lane_bytes)
        for first in range(a.begin, a.end, a.steps_together):
            last, at = min(first + a.steps_together, a.end), strip
            for step in range(first, last):
                for n in range(a.batch):
                    if inputs:
                        source = a.x + 4 * a.channels * (n * a.steps + step)
                    else:
                        source = a.y + 4 * a.hidden * (n * a.steps + step - 1) if step else a.h + 4 * a.hidden * n
                    copy(at, source + 4 * column, 4 * many)
                    at += pitch
            target = a.sums + task * a.sums_bytes
            for place in range(derivatives, derivatives + gates * a.hidden * row, UNITS * row):
                tile, line = loaded(UNITS, VECTORS, target), strip
                for slot in range(first - a.begin, last - a.begin):
                    for group in range(a.groups):
                        at = place + (slot * a.groups + group) * group_bytes
                        sequences = min(width, a.batch - group * width)
                        for _ in range(sequences >> 2):
                            tile = multiplied(4, tile, at, rows, line, pitch)
                            at += 16
                            line += 4 * pitch
                        for _ in range(sequences & 3):
                            tile = multiplied(1, tile, at, rows, line, pitch)
                            at += 4
                            line += pitch
                stored(False, tile, target, None, 0)
                target += UNITS * pitch

    return weight_sums


def table(values):
    return np.array(values, np.int64)


def _width(batch: int) -> int:
    return WIDTH if batch <= WIDTH else COLUMNS


def _grouped(rows, width: int):
    """(N, F) as (G, F, W)."""
    groups = ceil(len(rows) / width)
    padded = np.zeros((groups * width, rows.shape[1]), np.float32)
    padded[: len(rows)] = rows
    return padded.reshape(groups, width, -1).transpose(0, 2, 1)


def _sequences(tiles, shape):
    """(G, P, UNITS, W) as (N, H)."""
    groups, width = tiles.shape[0], tiles.shape[3]
    return tiles.reshape(groups, -1, width).transpose(0, 2, 1).reshape(groups * width, -1)[: shape[0], : shape[1]].copy()


def _packed(blocks, depth_stride: int, output_stride: int, width: int):
    """Weights in panels of UNITS outputs, and the table of blocks that `_product` reads.

    A block is (outputs, the row with which its product begins, pieces (address, depth) of its weights).
    """
    pieces = [table(block) for *_, block in blocks]
    panels = [ceil(outputs / UNITS) for outputs, *_ in blocks]
    depths = [int(piece[:, 1].sum()) for piece in pieces]
    ends = np.cumsum([4 * UNITS * depth * count for depth, count in zip(depths, panels)]).tolist()
    packed = np.empty(ends[-1] // 4, np.float32)
    lines, packs = [], []
    for (outputs, row, _), piece, count, depth, start in zip(blocks, pieces, panels, depths, [0, *ends]):
        lines.append((address(packed) + start, 4 * UNITS * depth, 4 * width * row, depth))
        packs.append((address(piece), len(piece), start, outputs, count, 4 * UNITS * depth))
    packs = PACK.table([dict(zip(PACK.type.fields, line)) for line in packs])
    call = pack.Arguments(0, address(packed), address(packs), len(packs), UNITS, depth_stride, output_stride)
    pool.run(pack, call, sum(panels))
    return packed, table(lines)


def _run(gates, x, blocks, h, state):
    """Every h, gates and states of a network whose weights are given as `blocks`."""
    (batch, steps, channels), hidden = x.shape, h.shape[1]
    width, panels, rows = _width(batch), ceil(hidden / UNITS), channels + 1 + hidden
    groups = ceil(batch / width)
    packed, blocks = _packed(blocks, 4 * gates * hidden, 4, width)
    y = np.empty((batch, steps, hidden), np.float32)
    z = np.empty((steps, groups, panels, 4, UNITS, width), np.float32)
    states = np.empty((steps + 1, groups, panels, UNITS, width), np.float32)
    states[0] = 0
    states[0].reshape(groups, -1, width)[:, :hidden] = _grouped(state, width)
    inputs = np.zeros((2, groups, rows + UNITS, width), np.float32)
    inputs[0, :, :rows] = _grouped(np.concatenate((x[:, 0], np.ones((batch, 1), np.float32), h), axis=1), width)
    inputs[:, :, channels] = 1
    task = _forward(gates, width)
    call = task.Arguments(0, steps, batch, channels, hidden, groups, panels, rows + UNITS, address(blocks))
    call.x, call.y, call.inputs, call.gates, call.states = map(address, (x, y, inputs, z, states))
    for call.step in range(steps):
        pool.run(task, call, groups * (1 + panels))
    return y, z, states


def _run_back(gates, g, x, blocks, h, z, states, y):
    """Gradients of x, of both weights, of h through the gates, of the state carried on; and the sums of derivatives."""
    (batch, steps, channels), hidden = x.shape, h.shape[1]
    _, groups, panels, _, _, width = z.shape
    slots = max(2, NEAR // (groups * width))
    packed, blocks = _packed(blocks, 4, 4 * gates * hidden, width)
    dx, dh = np.empty(x.shape, np.float32), np.empty(h.shape, np.float32)
    derivatives = np.empty(slots * groups * 4 * hidden * width + UNITS * width, np.float32)
    carried, totals = np.zeros(states.shape[1:], np.float32), np.zeros(z.shape[1:], np.float32)
    tiles = ceil(gates * hidden / UNITS)
    x_panels = ceil(channels / COLUMNS)
    sums = np.zeros((x_panels + ceil(hidden / COLUMNS), tiles * UNITS, COLUMNS), np.float32)
    task = _backward(gates, width)
    lane_bytes = max(16 * UNITS * width, 4 * COLUMNS * max(STRIP, batch))
    room = pool.scratch(lane_bytes)
    call = task.Arguments(0, steps, batch, channels, hidden, groups, panels, slots, address(blocks))
    call.g, call.dx, call.dh, call.gates, call.states = map(address, (g, dx, dh, z, states))
    call.carried, call.derivatives, call.sums, call.scratch = map(address, (carried, derivatives, totals, room))
    call.lane_bytes = lane_bytes
    add_task = _weight_sums(gates, width)
    add = add_task.Arguments(
        steps_together=max(1, STRIP // batch), steps=steps, batch=batch, channels=channels, hidden=hidden, groups=groups, panels=x_panels,
        x=address(x), h=address(h), y=address(y),
        derivatives=address(derivatives), sums=address(sums), sums_bytes=sums[0].nbytes,
        scratch=address(room), lane_bytes=lane_bytes,
    )
    for call.step in reversed(range(-1, steps)):
        pool.run(task, call, groups * (panels + ceil(channels / UNITS)))
        if call.step % slots == 0:
            add.begin, add.end = call.step, min(call.step + slots, steps)
            pool.run(add_task, add, len(sums))
    sums = sums[:, : gates * hidden].transpose(0, 2, 1)
    grads = (part.reshape(-1, gates * hidden)[:n] for part, n in ((sums[:x_panels], channels), (sums[x_panels:], hidden)))
    totals = totals.sum(axis=(0, 4)).transpose(1, 0, 2).reshape(4, -1)[:, :hidden]
    return dx, *grads, dh, _sequences(carried, h.shape), totals


def _serves(x, h) -> bool:
    return x.shape[1] >= SHORT and x.size > 0 and h.size > 0


@single
def lstm(x, input_weight, hidden_weight, bias, h, c):
    """Long short-term memory, gates i, f, g, o; outputs (y, last cell). See `tinygen.ops.recurrent`."""
    if not _serves(x, h):
        return reference.lstm(x, input_weight, hidden_weight, bias, h, c)
    hidden, weights = h.shape[1], (input_weight, bias, hidden_weight)
    pieces = [[(address(w) + 4 * k * hidden, len(w) if w.ndim == 2 else 1) for w in weights] for k in range(4)]
    y, gates, cells = _run(LSTM, x, [(hidden, 0, piece) for piece in pieces], h, c)
    return (y, _sequences(cells[-1], c.shape)), (x, input_weight, hidden_weight, h, c, gates, cells, y)


@single
def lstm_backward(g, x, input_weight, hidden_weight, h, c, gates, cells, y):
    """Gradients of the first output of `lstm`, by backpropagation through time."""
    if gates.ndim == 4:
        return reference.lstm_backward(g, x, input_weight, hidden_weight, h, c, gates, cells, y)
    hidden = h.shape[1]
    blocks = [(n, 0, [(address(w), 4 * hidden)]) for n, w in ((hidden, hidden_weight), (x.shape[2], input_weight))]
    *grads, dh, dc, totals = _run_back(LSTM, g, x, blocks, h, gates, cells, y)
    return *grads, totals.ravel(), dh, dc


@single
def gru(x, input_weight, hidden_weight, bias, hidden_bias, h):
    """Gated recurrent unit, gates r, z, n. See `tinygen.ops.recurrent`."""
    if not _serves(x, h):
        return reference.gru(x, input_weight, hidden_weight, bias, hidden_bias, h)
    hidden, weights = h.shape[1], (input_weight, bias, hidden_weight)
    r, z, n = ([(address(w) + 4 * k * hidden, len(w) if w.ndim == 2 else 1) for w in weights] for k in range(3))
    blocks = [(hidden, 0, r), (hidden, 0, z), (hidden, 0, n[:2])]
    blocks.append((hidden, x.shape[2], [(address(hidden_bias), 1), n[2]]))
    y, gates, states = _run(GRU, x, blocks, h, h)
    return y, (x, input_weight, hidden_weight, h, gates, states, y)


@single
def gru_backward(g, x, input_weight, hidden_weight, h, gates, states, y):
    """Gradients of `gru`, by backpropagation through time."""
    if gates.ndim == 4:
        return reference.gru_backward(g, x, input_weight, hidden_weight, h, gates, states, y)
    hidden, at = h.shape[1], address(input_weight)
    blocks = [
        (hidden, hidden, [(address(hidden_weight), 3 * hidden)]),
        (x.shape[2], 0, [(at + 8 * hidden, hidden), (at, 2 * hidden)]),
    ]
    dx, input_grad, hidden_grad, dh, carried, totals = _run_back(GRU, g, x, blocks, h, gates, states, y)
    return dx, np.roll(input_grad, -hidden, axis=1), hidden_grad, totals[[1, 2, 0]].ravel(), totals[3], dh + carried
