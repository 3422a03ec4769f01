"""Normalisation of samples of many positions, block by block: measure each block, merge the blocks of a group, apply.

A block is summed in float32 about its own mean, and blocks are merged in float64 (Chan et al. 1983): a mean that is
large beside the deviation costs no digits. With the leaky ReLU `act`, for each group

    y = act((x - mean) / deviation * scale + shift),    deviation = sqrt(var + eps).

Backward, let d be the gradient before the leaky ReLU, e = scale * d and z = (x - mean) / deviation. Then
dx = (e - mean(e) - z mean(e z)) / deviation (Ioffe & Szegedy 2015, section 3). Of arrays as large as x this needs x
alone: it computes again whether a number was positive before the leaky ReLU.
"""

import numpy as np
from numba import carray, float32

from .ir import clear, floats_at
from .jit import inlined, jit, worker
from .normalization_tiling import APPLY, FIELDS, MEASURE, MERGE
from .vector_math import leaky


@inlined
def floats(address, n):
    """n float32 at an address."""
    return carray(floats_at(address), n)


@inlined
def vector(a, buffer, i):
    """Vector number i, of `row_length` numbers, in a lane's scratch memory."""
    return carray(floats_at(buffer + 4 * i * a.row_length), a.row_length)


@inlined
def block_of_task(a, task):
    """(sample of a task's block, its first byte in the array, how many numbers it has)."""
    sample, start = task // a.blocks, task % a.blocks * a.rows
    columns = a.groups * a.channels
    return sample, 4 * (sample * a.positions + start) * columns, min(a.rows, a.positions - start) * columns


@inlined
def groups_of_task(a, task):
    """(number of groups that a task merges, index of the first in its sample, and in the array, their sample)."""
    shares = -(-a.groups // a.share)
    sample, first = task // shares, task % shares * a.share
    return min(a.share, a.groups - first), first, sample * a.groups + first, sample


@inlined
def end_of_fours(a, size):
    """Numbers of a block in joined rows by four: by four, sums are loaded and stored a quarter as often."""
    return size // (4 * a.row_length) * 4 * a.row_length


@jit
def fold(joined, sums):
    """Write the sums of the columns, from the sums of joined rows."""
    for j in range(sums.size):
        sums[j] = joined[j]
    for start in range(sums.size, joined.size, sums.size):
        for j in range(sums.size):
            sums[j] += joined[start + j]


@jit
def repeat(joined, columns):
    """Fill a joined row with the first row in it."""
    for start in range(columns, joined.size, columns):
        for j in range(columns):
            joined[start + j] = joined[j]


@jit
def add_rows(a, first, size, sums):
    """Add the joined rows of a block."""
    n, fours = a.row_length, end_of_fours(a, size)
    for start in range(0, fours, 4 * n):
        x = carray(floats_at(a.x + first + 4 * start), (4, n))
        for j in range(n):
            sums[j] += (x[0, j] + x[1, j]) + (x[2, j] + x[3, j])
    for start in range(fours, size, n):
        x = floats(a.x + first + 4 * start, min(n, size - start))
        for j in range(x.size):
            sums[j] += x[j]


@jit
def add_differences(a, first, size, mean, sums, squares):
    """Add the differences of the joined rows of a block to a mean, and their squares."""
    n, fours = a.row_length, end_of_fours(a, size)
    for start in range(0, fours, 4 * n):
        x = carray(floats_at(a.x + first + 4 * start), (4, n))
        for j in range(n):
            centre, sum4, square4 = mean[j], float32(0), float32(0)
            for i in range(4):
                difference = x[i, j] - centre
                sum4 += difference
                square4 += difference * difference
            sums[j] += sum4
            squares[j] += square4
    for start in range(fours, size, n):
        x = floats(a.x + first + 4 * start, min(n, size - start))
        for j in range(x.size):
            difference = x[j] - mean[j]
            sums[j] += difference
            squares[j] += difference * difference


@jit
def measure(a, task, buffer):
    """Write for each column of a block its rounded mean, and the sums of differences to it and of their squares."""
    _, first, size = block_of_task(a, task)
    columns = a.groups * a.channels
    results = carray(floats_at(a.sums + 12 * task * columns), (3, columns))
    mean, sums, squares = vector(a, buffer, 0), vector(a, buffer, 1), vector(a, buffer, 2)
    clear(buffer, 12 * a.row_length)
    add_rows(a, first, size, mean)
    fold(mean, results[0])
    for j in range(columns):
        results[0, j] /= float32(size // columns)
        mean[j] = results[0, j]
    repeat(mean, columns)
    add_differences(a, first, size, mean, sums, squares)
    fold(sums, results[1])
    fold(squares, results[2])


@inlined
def sums_of_block(a, sample, i, column, results):
    """`results` rows of sums of block i of a sample, from a column on."""
    columns = a.groups * a.channels
    first = a.sums + 4 * (results * (sample * a.blocks + i) * columns + column)
    return carray(floats_at(first), (results, columns))


@jit
def merge(a, task):
    """Write mean, variance and 1 / deviation of groups, from the sums of their blocks."""
    count, first, offset, sample = groups_of_task(a, task)
    weight = 1 / float(a.positions * a.channels)
    last = float(a.positions - (a.blocks - 1) * a.rows)
    means, variances = floats(a.mean + 4 * offset, count), floats(a.var + 4 * offset, count)
    inverses = floats(a.inverse + 4 * offset, count)
    for group in range(count):
        total, squares, column = 0.0, 0.0, (first + group) * a.channels
        for i in range(a.blocks):
            rows = float(a.rows) if i < a.blocks - 1 else last
            sums = sums_of_block(a, sample, i, column, 3)
            for j in range(a.channels):
                total += rows * sums[0, j] + sums[1, j]
        mean = total * weight
        for i in range(a.blocks):
            rows = float(a.rows) if i < a.blocks - 1 else last
            sums = sums_of_block(a, sample, i, column, 3)
            for j in range(a.channels):
                off = sums[0, j] - mean
                squares += sums[2, j] + off * (2.0 * sums[1, j] + rows * off)
        means[group], variances[group] = mean, squares * weight
    for group in range(count):  # a loop of its own is done by vectors
        inverses[group] = float32(1) / np.sqrt(variances[group] + a.eps)


@inlined
def write_columns(a, statistic, sample, columns):
    """Write a statistic of a sample's groups into each of their columns."""
    values = floats(statistic + 4 * sample * a.groups, a.groups)
    for group in range(a.groups):
        for k in range(a.channels):
            columns[group * a.channels + k] = values[group]


@jit
def write_gains(a, sample, buffer):
    """Write (centre, gain, shift) of a joined row: before the leaky ReLU, y = (x - centre) * gain + shift."""
    columns = a.groups * a.channels
    scale, added = floats(a.scale, columns), floats(a.shift, columns)
    centre, gain, shift = vector(a, buffer, 0), vector(a, buffer, 1), vector(a, buffer, 2)
    write_columns(a, a.mean, sample, centre)
    write_columns(a, a.inverse, sample, gain)
    for j in range(columns):
        gain[j], shift[j] = gain[j] * scale[j], added[j]
    for row in (centre, gain, shift):
        repeat(row, columns)
    return centre, gain, shift


@jit
def apply(a, task, buffer):
    """Write y for a block."""
    sample, first, size = block_of_task(a, task)
    centre, gain, shift = write_gains(a, sample, buffer)
    slope = a.slope
    for start in range(0, size, a.row_length):
        n = min(a.row_length, size - start)
        x, y = floats(a.x + first + 4 * start, n), floats(a.y + first + 4 * start, n)
        for j in range(n):
            v = (x[j] - centre[j]) * gain[j] + shift[j]
            y[j] = leaky(v, v, slope)


@jit
def measure_back(a, task, buffer):
    """Write for each column of a block the sums of d (x - mean) and of d."""
    sample, first, size = block_of_task(a, task)
    n, slope, fours = a.row_length, a.slope, end_of_fours(a, size)
    centre, gain, shift = write_gains(a, sample, buffer)
    sum_d_x, sum_d = vector(a, buffer, 3), vector(a, buffer, 4)
    clear(buffer + 12 * n, 8 * n)
    for start in range(0, fours, 4 * n):
        x = carray(floats_at(a.x + first + 4 * start), (4, n))
        g = carray(floats_at(a.g + first + 4 * start), (4, n))
        for j in range(n):
            mean, factor, added, sum_d_x4, sum_d4 = centre[j], gain[j], shift[j], float32(0), float32(0)
            for i in range(4):
                difference = x[i, j] - mean
                d = leaky(g[i, j], difference * factor + added, slope)
                sum_d_x4 += d * difference
                sum_d4 += d
            sum_d_x[j] += sum_d_x4
            sum_d[j] += sum_d4
    for start in range(fours, size, n):
        length = min(n, size - start)
        x, g = floats(a.x + first + 4 * start, length), floats(a.g + first + 4 * start, length)
        for j in range(length):
            difference = x[j] - centre[j]
            d = leaky(g[j], difference * gain[j] + shift[j], slope)
            sum_d_x[j] += d * difference
            sum_d[j] += d
    columns = a.groups * a.channels
    results = carray(floats_at(a.sums + 8 * task * columns), (2, columns))
    fold(sum_d_x, results[0])
    fold(sum_d, results[1])


@jit
def merge_back(a, task):
    """Write the gradients of scale and shift in a sample, and for each group the two factors of dx in `apply_back`.

    They are `e_mean` = mean(e) / deviation and `ez_mean` = mean(e z) / deviation^2, so that
    dx = e / deviation - e_mean - (x - mean) ez_mean.
    """
    count, first, offset, sample = groups_of_task(a, task)
    columns, weight = a.groups * a.channels, 1 / float(a.positions * a.channels)
    inverses = floats(a.inverse + 4 * offset, count)
    e_means, ez_means = floats(a.e_mean + 4 * offset, count), floats(a.ez_mean + 4 * offset, count)
    for group in range(count):
        column = (first + group) * a.channels
        scale = floats(a.scale + 4 * column, a.channels)
        totals = carray(floats_at(a.totals + 4 * (2 * sample * columns + column)), (2, columns))
        inverse, mean_d_x, mean_d = float(inverses[group]), 0.0, 0.0
        for j in range(a.channels):
            sum_d_x, sum_d = 0.0, 0.0
            for i in range(a.blocks):
                sums = sums_of_block(a, sample, i, column, 2)
                sum_d_x += sums[0, j]
                sum_d += sums[1, j]
            totals[0, j], totals[1, j] = sum_d_x * inverse, sum_d
            mean_d_x += weight * sum_d_x * scale[j]
            mean_d += weight * sum_d * scale[j]
        e_means[group] = mean_d * inverse
        ez_means[group] = mean_d_x * inverse * inverse * inverse


@jit
def apply_back(a, task, buffer):
    """Write dx for a block."""
    sample, first, size = block_of_task(a, task)
    columns, slope = a.groups * a.channels, a.slope
    centre, gain, shift = write_gains(a, sample, buffer)
    e_mean, ez_mean = vector(a, buffer, 3), vector(a, buffer, 4)
    write_columns(a, a.e_mean, sample, e_mean)
    write_columns(a, a.ez_mean, sample, ez_mean)
    repeat(e_mean, columns)
    repeat(ez_mean, columns)
    for start in range(0, size, a.row_length):
        n, begin = min(a.row_length, size - start), first + 4 * start
        x, g, y = floats(a.x + begin, n), floats(a.g + begin, n), floats(a.y + begin, n)
        for j in range(n):
            difference = x[j] - centre[j]
            d = leaky(g[j], difference * gain[j] + shift[j], slope)
            y[j] = d * gain[j] - e_mean[j] - difference * ez_mean[j]


@worker(*FIELDS)
def forward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    buffer = a.scratch + lane * a.lane_bytes
    if a.steps & MEASURE:
        measure(a, task, buffer)
    if a.steps & MERGE:
        merge(a, task)
    if a.steps & APPLY:
        apply(a, task, buffer)


@worker(*FIELDS)
def backward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    buffer = a.scratch + lane * a.lane_bytes
    if a.steps & MEASURE:
        measure_back(a, task, buffer)
    if a.steps & MERGE:
        merge_back(a, task)
    if a.steps & APPLY:
        apply_back(a, task, buffer)
