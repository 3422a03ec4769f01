"""Normalisation, scale and shift and a leaky ReLU: two passes over memory, and two backward.

An array is seen as (samples, positions, groups, channels), with statistics over positions and channels: a batch norm
has one sample and one channel a group, an instance norm one channel a group, a layer norm one position and one group.
The `columns` = groups * channels numbers of a position are a row; each column has its own scale and shift.

Tasks are blocks of rows; short rows are joined to ones of `row_length`. A block is summed in float32 about its own
mean, and blocks are merged in float64 (Chan et al. 1983): a mean that is large beside the deviation costs no digits. Of
arrays as large as x, backward needs x alone: it computes again whether a number was positive before the leaky ReLU.
"""

import functools
from math import ceil, gcd, prod
from typing import NamedTuple

import numpy as np
from numba import carray, float32

from .. import reference
from ..layout import layout
from . import memory, pool
from .ir import clear, floats_at
from .jit import inlined, jit, summing, worker
from .memory import address
from .single import single
from .softmax import CHUNK, total
from .sums import sum_over
from .vector_math import leaky

BLOCK = 1 << 14  # numbers in a block
MOST_IN_ONE_BLOCK = 1 << 16  # most numbers of a sample that is one block: it fits into the second-level cache
MOST_ROWS = 128  # most rows of a task that normalises each by itself: their gradients of scale and shift are added up
MANY_SAMPLES = 16  # from this number on each sample may be one block; with fewer it is cut for the threads
LEAST_ROW_LENGTH = 64  # the least length of a joined row
GROUPS_PER_TASK = 16  # groups that a task merges
MEASURE, MERGE, APPLY = 1, 2, 4  # steps of a task


class Cut(NamedTuple):
    """A `Layout`, and how it is cut: each sample into `blocks` of `rows`, whose groups are merged `share` at a time.

    Where `blocks` is 0, each row is a sample, normalised by itself, and a task does `rows` of them.
    """

    samples: int
    positions: int
    groups: int
    channels: int
    rows: int
    blocks: int
    row_length: int
    share: int
    row: tuple[int, ...]
    kept: tuple[int, ...]

    @property
    def columns(self) -> int:
        return self.groups * self.channels

    @property
    def tasks(self) -> int:
        """Number of tasks that each write partial sums of the gradients of scale and shift."""
        return self.samples if self.blocks else ceil(self.samples / self.rows)


@functools.lru_cache(256)
def cut_of(shape: tuple[int, ...], axes: tuple[int, ...]) -> Cut | None:
    """How to cut an array that is normalised over `axes`; None if it has no layout, or no elements."""
    if not prod(shape) or (arrangement := layout(shape, axes)) is None:
        return None
    samples, positions, groups, channels, row, kept = arrangement
    columns = groups * channels
    step = columns * 16 // gcd(columns, 16)  # the shortest joined row that is whole vectors
    row_length = columns if columns >= LEAST_ROW_LENGTH else step * ceil(LEAST_ROW_LENGTH / step)
    if positions * groups == 1:
        rows, blocks = max(4, min(MOST_ROWS, BLOCK // columns)), 0
    else:
        most_numbers = MOST_IN_ONE_BLOCK if samples >= MANY_SAMPLES else BLOCK
        rows = positions if positions * columns <= most_numbers else max(32, BLOCK // columns)
        blocks = ceil(positions / rows)
    share = GROUPS_PER_TASK if blocks > 1 else groups
    return Cut(samples, positions, groups, channels, rows, blocks, row_length, share, row, kept)


ARGUMENTS = (
    "samples positions groups channels rows blocks row_length share steps x y g scale shift mean var inverse sums "
    "totals e_mean ez_mean scratch lane_bytes",
    "eps slope",
)


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
def measure(a, task, buffer):
    """Write for each column of a block its rounded mean, and the sums of differences to it and of their squares."""
    _, first, size = block_of_task(a, task)
    columns, row_length = a.groups * a.channels, a.row_length
    results = carray(floats_at(a.sums + 12 * task * columns), (3, columns))
    mean, sums, squares = vector(a, buffer, 0), vector(a, buffer, 1), vector(a, buffer, 2)
    clear(buffer, 12 * row_length)
    fours = (
        size // (4 * row_length) * 4 * row_length
    )  # joined rows by four: sums are loaded and stored a quarter as often
    for start in range(0, fours, 4 * row_length):
        x = carray(floats_at(a.x + first + 4 * start), (4, row_length))
        for j in range(row_length):
            mean[j] += (x[0, j] + x[1, j]) + (x[2, j] + x[3, j])
    for start in range(fours, size, row_length):
        x = floats(a.x + first + 4 * start, min(row_length, size - start))
        for j in range(x.size):
            mean[j] += x[j]
    fold(mean, results[0])
    for j in range(columns):
        results[0, j] /= float32(size // columns)
        mean[j] = results[0, j]
    repeat(mean, columns)
    for start in range(0, fours, 4 * row_length):
        x = carray(floats_at(a.x + first + 4 * start), (4, row_length))
        for j in range(row_length):
            centre, sum4, square4 = mean[j], float32(0), float32(0)
            for i in range(4):
                difference = x[i, j] - centre
                sum4 += difference
                square4 += difference * difference
            sums[j] += sum4
            squares[j] += square4
    for start in range(fours, size, row_length):
        x = floats(a.x + first + 4 * start, min(row_length, size - start))
        for j in range(x.size):
            difference = x[j] - mean[j]
            sums[j] += difference
            squares[j] += difference * difference
    fold(sums, results[1])
    fold(squares, results[2])


@jit
def merge(a, task):
    """Write mean, variance and 1 / standard deviation of groups, from the sums of their blocks."""
    count, first, offset, sample = groups_of_task(a, task)
    columns, weight = a.groups * a.channels, 1 / float(a.positions * a.channels)
    last = float(a.positions - (a.blocks - 1) * a.rows)
    means, variances = floats(a.mean + 4 * offset, count), floats(a.var + 4 * offset, count)
    inverses = floats(a.inverse + 4 * offset, count)
    for group in range(count):
        begin = a.sums + 12 * sample * a.blocks * columns + 4 * (first + group) * a.channels
        total, squares = 0.0, 0.0
        for i in range(a.blocks):
            rows = float(a.rows) if i < a.blocks - 1 else last
            sums = carray(floats_at(begin + 12 * i * columns), (3, columns))
            for j in range(a.channels):
                total += rows * sums[0, j] + sums[1, j]
        mean = total * weight
        for i in range(a.blocks):
            rows = float(a.rows) if i < a.blocks - 1 else last
            sums = carray(floats_at(begin + 12 * i * columns), (3, columns))
            for j in range(a.channels):
                off = sums[0, j] - mean
                squares += sums[2, j] + off * (2.0 * sums[1, j] + rows * off)
        means[group], variances[group] = mean, squares * weight
    for group in range(count):
        inverses[group] = float32(1) / np.sqrt(variances[group] + a.eps)


@jit
def write_gains(a, sample, buffer):
    """Write (centre, gain, shift) of a joined row: before the leaky ReLU, y = (x - centre) * gain + shift."""
    columns, offset = a.groups * a.channels, 4 * sample * a.groups
    means, inverses = floats(a.mean + offset, a.groups), floats(a.inverse + offset, a.groups)
    scale, added = floats(a.scale, columns), floats(a.shift, columns)
    centre, gain, shift = vector(a, buffer, 0), vector(a, buffer, 1), vector(a, buffer, 2)
    for group in range(a.groups):
        for k in range(a.channels):
            j = group * a.channels + k
            centre[j], gain[j], shift[j] = means[group], inverses[group] * scale[j], added[j]
    repeat(centre, columns)
    repeat(gain, columns)
    repeat(shift, columns)
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


@worker(*ARGUMENTS)
def forward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    buffer = a.scratch + lane * a.lane_bytes
    if a.steps & MEASURE:
        measure(a, task, buffer)
    if a.steps & MERGE:
        merge(a, task)
    if a.steps & APPLY:
        apply(a, task, buffer)


# Backward. Let d be the gradient before the leaky ReLU, e = scale * d, z = (x - mean) / deviation. Then
# dx = (e - mean(e) - z mean(e z)) / deviation (Ioffe & Szegedy 2015, section 3).


@jit
def measure_back(a, task, buffer):
    """Write for each column of a block the sums of d (x - mean) and of d."""
    sample, first, size = block_of_task(a, task)
    columns, row_length, slope = a.groups * a.channels, a.row_length, a.slope
    centre, gain, shift = write_gains(a, sample, buffer)
    sum_d_x, sum_d = vector(a, buffer, 3), vector(a, buffer, 4)
    clear(buffer + 12 * row_length, 8 * row_length)
    fours = size // (4 * row_length) * 4 * row_length
    for start in range(0, fours, 4 * row_length):
        x = carray(floats_at(a.x + first + 4 * start), (4, row_length))
        g = carray(floats_at(a.g + first + 4 * start), (4, row_length))
        for j in range(row_length):
            mean, factor, added, sum_d_x4, sum_d4 = centre[j], gain[j], shift[j], float32(0), float32(0)
            for i in range(4):
                difference = x[i, j] - mean
                d = leaky(g[i, j], difference * factor + added, slope)
                sum_d_x4 += d * difference
                sum_d4 += d
            sum_d_x[j] += sum_d_x4
            sum_d[j] += sum_d4
    for start in range(fours, size, row_length):
        n = min(row_length, size - start)
        x, g = floats(a.x + first + 4 * start, n), floats(a.g + first + 4 * start, n)
        for j in range(n):
            difference = x[j] - centre[j]
            d = leaky(g[j], difference * gain[j] + shift[j], slope)
            sum_d_x[j] += d * difference
            sum_d[j] += d
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
        begin = 4 * (first + group) * a.channels
        scale = floats(a.scale + begin, a.channels)
        totals = carray(floats_at(a.totals + 8 * sample * columns + begin), (2, columns))
        inverse, mean_d_x, mean_d = float(inverses[group]), 0.0, 0.0
        for j in range(a.channels):
            sum_d_x, sum_d = 0.0, 0.0
            for i in range(a.blocks):
                sums = carray(floats_at(a.sums + 8 * (sample * a.blocks + i) * columns + begin), (2, columns))
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
    e_means, ez_means = (
        floats(a.e_mean + 4 * sample * a.groups, a.groups),
        floats(a.ez_mean + 4 * sample * a.groups, a.groups),
    )
    for group in range(a.groups):
        for k in range(a.channels):
            e_mean[group * a.channels + k], ez_mean[group * a.channels + k] = e_means[group], ez_means[group]
    repeat(e_mean, columns)
    repeat(ez_mean, columns)
    for start in range(0, size, a.row_length):
        n, begin = min(a.row_length, size - start), first + 4 * start
        x, g, y = floats(a.x + begin, n), floats(a.g + begin, n), floats(a.y + begin, n)
        for j in range(n):
            difference = x[j] - centre[j]
            d = leaky(g[j], difference * gain[j] + shift[j], slope)
            y[j] = d * gain[j] - e_mean[j] - difference * ez_mean[j]


@worker(*ARGUMENTS)
def backward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    buffer = a.scratch + lane * a.lane_bytes
    if a.steps & MEASURE:
        measure_back(a, task, buffer)
    if a.steps & MERGE:
        merge_back(a, task)
    if a.steps & APPLY:
        apply_back(a, task, buffer)


# Functions that work row by row: a row stays in first-level cache from its sums to its result.


@summing
def spread(x, mean):
    """Sums of differences to the mean, and of their squares."""
    sums, squares = float32(0), float32(0)
    for j in range(x.size):
        difference = x[j] - mean
        sums += difference
        squares += difference * difference
    return sums, squares


@worker(*ARGUMENTS)
def forward_rows(arguments, task, lane):
    a = carray(arguments, 1)[0]
    n, slope, first = a.channels, a.slope, task * a.rows
    count, weight = min(a.rows, a.samples - first), float32(1) / float32(n)
    scale, shift = floats(a.scale, n), floats(a.shift, n)
    means, variances = floats(a.mean + 4 * first, count), floats(a.var + 4 * first, count)
    inverses = floats(a.inverse + 4 * first, count)
    for i in range(count):
        x, y = floats(a.x + 4 * (first + i) * n, n), floats(a.y + 4 * (first + i) * n, n)
        mean = total(x) * weight
        sums, squares = 0.0, 0.0
        for start in range(0, n, CHUNK):
            part, square_part = spread(x[start : start + CHUNK], mean)
            sums += part
            squares += square_part
        sums, squares = float32(sums), float32(squares)
        mean += sums * weight
        var = (squares - sums * sums * weight) * weight
        inverse = float32(1) / np.sqrt(var + a.eps)
        means[i], variances[i], inverses[i] = mean, var, inverse
        for j in range(n):
            v = (x[j] - mean) * (inverse * scale[j]) + shift[j]
            y[j] = leaky(v, v, slope)


@summing
def spread_back(x, g, scale, shift, scale_grad, shift_grad, mean, inverse, slope):
    """The sums of e (x - mean) and of e; adds d z and d to the gradients of scale and shift."""
    sum_e_x, sum_e = float32(0), float32(0)
    for j in range(x.size):
        difference = x[j] - mean
        d = leaky(g[j], difference * (inverse * scale[j]) + shift[j], slope)
        scale_grad[j] += d * (difference * inverse)
        shift_grad[j] += d
        sum_e_x += d * scale[j] * difference
        sum_e += d * scale[j]
    return sum_e_x, sum_e


@worker(*ARGUMENTS)
def backward_rows(arguments, task, lane):
    a = carray(arguments, 1)[0]
    n, slope, first = a.channels, a.slope, task * a.rows
    count, weight = min(a.rows, a.samples - first), float32(1) / float32(n)
    scale, shift = floats(a.scale, n), floats(a.shift, n)
    means, inverses = floats(a.mean + 4 * first, count), floats(a.inverse + 4 * first, count)
    scale_grad, shift_grad = floats(a.totals + 8 * task * n, n), floats(a.totals + 8 * task * n + 4 * n, n)
    clear(a.totals + 8 * task * n, 8 * n)
    for i in range(count):
        begin, mean, inverse = 4 * (first + i) * n, means[i], inverses[i]
        x, g, y = floats(a.x + begin, n), floats(a.g + begin, n), floats(a.y + begin, n)
        sum_e_x, sum_e = 0.0, 0.0
        for start in range(0, n, CHUNK):
            part = slice(start, start + CHUNK)
            along_x, along = spread_back(
                x[part], g[part], scale[part], shift[part], scale_grad[part], shift_grad[part], mean, inverse, slope
            )
            sum_e_x += along_x
            sum_e += along
        sum_e_x, sum_e = float32(sum_e_x), float32(sum_e)
        e_mean, ez_mean = sum_e * weight * inverse, sum_e_x * weight * inverse * inverse * inverse
        for j in range(n):
            difference, gain = x[j] - mean, inverse * scale[j]
            d = leaky(g[j], difference * gain + shift[j], slope)
            y[j] = d * gain - e_mean - difference * ez_mean


def _cut(x, scale, shift, axes) -> Cut | None:
    """How to cut the array of a call; None if the reference serves it."""
    cut = cut_of(x.shape, axes)
    return cut if cut and all(p is None or p.ndim <= len(cut.row) for p in (scale, shift)) else None


def _columns(values, cut: Cut, default: float) -> np.ndarray:
    """Scale or shift, or its default, with a number for each column."""
    if values is None:
        return np.full(cut.row, default, np.float32)
    return values if values.shape == cut.row else memory.contiguous(np.broadcast_to(values, cut.row))


def _run(work, work_by_rows, cut: Cut, scale, shift, eps: float, slope: float, **arrays) -> None:
    """Run the forward or the backward pass: in a single launch where a sample is one block."""
    scale, shift = _columns(scale, cut, 1.0), _columns(shift, cut, 0.0)
    places = {name: address(array) for name, array in arrays.items()}
    lane_bytes = 20 * cut.row_length
    buffer = memory.scratch(lane_bytes)
    a = work.Arguments(
        *cut[:8],
        scale=address(scale),
        shift=address(shift),
        scratch=address(buffer),
        lane_bytes=lane_bytes,
        eps=eps,
        slope=slope,
        **places,
    )
    if not cut.blocks:
        pool.run(work_by_rows, a, cut.tasks)
    elif cut.blocks == 1:
        a.steps = MEASURE | MERGE | APPLY
        pool.run(work, a, cut.tasks)
    else:
        blocks, shares = cut.samples * cut.blocks, cut.samples * ceil(cut.groups / cut.share)
        for a.steps, tasks in ((MEASURE, blocks), (MERGE, shares), (APPLY, blocks)):
            pool.run(work, a, tasks)


@single
def normalize(x, scale, shift, *, axes, eps, slope=1.0):
    """Normalisation over axes with scale, shift and leaky ReLU, as `kernels.reference.normalize`."""
    cut = _cut(x, scale, shift, axes)
    if cut is None:
        return reference.normalize(x, scale, shift, axes=axes, eps=eps, slope=slope)
    y, (mean, var, inverse) = memory.empty(x.shape), memory.empty((3, *cut.kept))
    sums = memory.empty((cut.samples * cut.blocks, 3, cut.columns))
    arrays = {"x": x, "y": y, "mean": mean, "var": var, "inverse": inverse, "sums": sums}
    _run(forward, forward_rows, cut, scale, shift, eps, slope, **arrays)
    return (y, mean, var), (x, scale, shift, mean, inverse)


@single
def normalize_backward(g, x, scale, shift, mean, inverse, *, axes, eps, slope=1.0):
    """Gradients with respect to x, scale and shift; the last two have the shape of a row, or are None as they are."""
    cut = _cut(x, scale, shift, axes)
    if cut is None:
        return reference.normalize_backward(g, x, scale, shift, mean, inverse, axes=axes, eps=eps, slope=slope)
    y, (e_mean, ez_mean) = memory.empty(x.shape), memory.empty((2, *cut.kept))
    sums = memory.empty((cut.samples * cut.blocks, 2, cut.columns))
    totals = memory.empty((cut.tasks, 2, *cut.row))
    arrays = {"x": x, "y": y, "g": g, "mean": mean, "inverse": inverse, "e_mean": e_mean, "ez_mean": ez_mean}
    _run(backward, backward_rows, cut, scale, shift, eps, slope, sums=sums, totals=totals, **arrays)
    scale_grad, shift_grad = totals[0] if len(totals) == 1 else sum_over(totals, (0,))
    return y, None if scale is None else scale_grad, None if shift is None else shift_grad
