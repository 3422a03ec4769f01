"""The steps of a recurrent network, forward and backward, each a launch; `recurrent_tiling` explains the layout."""

import functools

from numba import carray

from . import recurrent_cells as cells
from .ir import clear, copy, floats_at, initial, int64_at, multiplied, store_tile, transpose_block
from .jit import Address, inlined, worker
from .recurrent_tiling import LSTM, UNITS, Problem, Tiling
from .target import WIDTH


@inlined
def product(blocks, block, panel, vectors, rows, target):
    """Write the tile weights @ rows, for a panel of one of the blocks in a table of `recurrent.packed`."""
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
def transpose(target, target_pitch, source, source_pitch, rows, columns):
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


@inlined
def rows_of(a, start, row, step, group):
    """Where a group's rows of a step begin, in an array (2, groups, rows, width): steps take turns."""
    return start + row * a.rows * (step % 2 * a.groups + group)


@inlined
def tile_at(start, number, size):
    """Tile or tiles number `number`, of `size` numbers each."""
    return carray(floats_at(start + 4 * number * size), size)


class Forward:
    """What a step forward is told."""

    rows: int  # of a group's inputs: x, 1, h, and a tile that is filled up
    blocks: Address  # the table of packed weights: one block for each gate
    x: Address
    y: Address  # every hidden state (N, T, H)
    inputs: Address  # the rows of this step and of the next, (2, groups, rows, width)
    gates: Address
    states: Address
    step: int


@inlined
def exchange(a, group, inputs, next_inputs, width):
    """Read x of the next step into a group's rows, and write the hidden state of the last step to y."""
    row, first, sequences = 4 * width, group * width * a.steps, min(width, a.batch - group * width)
    x, y = a.x + 4 * a.channels * (first + a.step + 1), a.y + 4 * a.hidden * (first + a.step - 1)
    if a.step + 1 < a.steps:
        transpose(next_inputs, row, x, 4 * a.channels * a.steps, sequences, a.channels)
    if a.step > 0:
        transpose(y, 4 * a.hidden * a.steps, inputs + row * (a.channels + 1), row, a.hidden, sequences)


@functools.cache
def forward_worker(gates: int, width: int):
    """Make the worker of a step. The first task of each group exchanges its rows for others, the rest have a panel."""
    size, row, vectors = UNITS * width, 4 * width, width // WIDTH

    @worker(Problem, Tiling, Forward)
    def forward(arguments, task, lane):
        a = carray(arguments, 1)[0]
        panel, group = task // a.groups - 1, task % a.groups
        inputs, next_inputs = rows_of(a, a.inputs, row, a.step, group), rows_of(a, a.inputs, row, a.step + 1, group)
        if panel < 0:
            exchange(a, group, inputs, next_inputs, width)
            return
        number = (a.step * a.groups + group) * a.panels + panel
        for gate in range(4):
            product(a.blocks, gate, panel, vectors, inputs, a.gates + 4 * (4 * number + gate) * size)
        z, before = tile_at(a.gates, number, 4 * size), tile_at(a.states, number, size)
        after = tile_at(a.states, number + a.groups * a.panels, size)
        h = carray(floats_at(next_inputs + row * (a.channels + 1 + panel * UNITS)), size)
        if gates == LSTM:
            cells.lstm(z, before, after, h, size)
        else:
            cells.gru(z, before, after, h, size)

    return forward


class Backward:
    """What a step backward is told."""

    rows: int  # of a group's gradients of y: one for each unit, and a tile that is filled up
    blocks: Address  # the table of packed weights: a block for h, and one for x
    g: Address  # the gradient of y
    dx: Address
    dh: Address  # the gradient of the first hidden state
    step_gradients: Address  # the rows of g of this step and of the one before, (2, groups, rows, width)
    gates: Address
    states: Address
    carried: Address  # what a state hands to the one before it, (G, P, UNITS, W)
    derivatives: Address
    sums: Address  # of the derivatives over steps, (G, P, 4, UNITS, W)
    scratch: Address
    lane_bytes: int
    step: int


@inlined
def derivatives_of(a, step, row, group):
    """Where a group's derivatives of a step begin."""
    return a.derivatives + 4 * a.hidden * row * (step % a.slots * a.groups + group)


@inlined
def read_gradient(a, group, width):
    """Read g of the step before into a group's rows."""
    if a.step > 0:
        row, sequences = 4 * width, min(width, a.batch - group * width)
        g = a.g + 4 * a.hidden * (group * width * a.steps + a.step - 1)
        target = rows_of(a, a.step_gradients, row, a.step - 1, group)
        transpose(target, row, g, 4 * a.hidden * a.steps, sequences, a.hidden)


@inlined
def write_input_gradient(a, panel, group, buffer, width, vectors):
    """Write UNITS columns of dx one step later, from all derivatives of that step."""
    if a.step + 1 < a.steps:
        row, first, unit = 4 * width, group * width * a.steps + a.step + 1, panel * UNITS
        product(a.blocks, 1, panel, vectors, derivatives_of(a, a.step + 1, row, group), buffer)
        sequences = min(width, a.batch - group * width)
        dx = a.dx + 4 * (a.channels * first + unit)
        transpose(dx, 4 * a.channels * a.steps, buffer, row, min(UNITS, a.channels - unit), sequences)


@inlined
def write_derivatives(a, panel, group, buffer, gates, width):
    """Write the derivatives of the gates of a panel, whose gradient of the hidden state lies in a buffer, without g."""
    size, row, unit = UNITS * width, 4 * width, panel * UNITS
    d = carray(floats_at(buffer), 4 * size)
    g = carray(floats_at(rows_of(a, a.step_gradients, row, a.step, group) + row * unit), size)
    for j in range(size):
        d[j] += g[j]
    number = (a.step * a.groups + group) * a.panels + panel
    z, before = tile_at(a.gates, number, 4 * size), tile_at(a.states, number, size)
    carried = tile_at(a.carried, group * a.panels + panel, size)
    if gates == LSTM:
        cells.lstm_back(z, before, tile_at(a.states, number + a.groups * a.panels, size), carried, d, size)
    else:
        cells.gru_back(z, before, carried, d, size)
    total = tile_at(a.sums, group * a.panels + panel, 4 * size)
    for j in range(4 * size):
        total[j] += d[j]
    target, units = derivatives_of(a, a.step, row, group) + row * unit, min(UNITS, a.hidden - unit)
    for gate in range(4):
        copy(target + row * gate * a.hidden, buffer + 4 * gate * size, units * row)


@functools.cache
def backward_worker(gates: int, width: int):
    """Make the worker of a step backward.

    The first task of each group reads g, the next ones have a panel of hidden units, and the last ones one of x. In
    step -1 they write the gradient of the first hidden state.
    """
    row, vectors, tile = 4 * width, width // WIDTH, 4 * UNITS * width

    @worker(Problem, Tiling, Backward)
    def backward(arguments, task, lane):
        a = carray(arguments, 1)[0]
        panel, group, buffer = task // a.groups - 1, task % a.groups, a.scratch + lane * a.lane_bytes
        if panel < 0:
            read_gradient(a, group, width)
            return
        if panel >= a.panels:
            write_input_gradient(a, panel - a.panels, group, buffer, width, vectors)
            return
        if a.step + 1 == a.steps:
            clear(buffer, tile)
        else:
            product(a.blocks, 0, panel, vectors, derivatives_of(a, a.step + 1, row, group), buffer)
        if a.step >= 0:
            write_derivatives(a, panel, group, buffer, gates, width)
            return
        units, sequences = min(UNITS, a.hidden - panel * UNITS), min(width, a.batch - group * width)
        dh = a.dh + 4 * (a.hidden * group * width + panel * UNITS)
        transpose(dh, 4 * a.hidden, buffer, row, units, sequences)

    return backward
