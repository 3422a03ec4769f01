"""Depthwise convolutions: each channel has a filter of its own, so that vectors run along the channels.

A task copies the input of some rows of outputs, with its padding, into scratch memory, and adds up three taps of a row
at a time. Where the stride across is 1, neighbouring pixels with few channels are taken together.
"""

from dataclasses import replace
from math import ceil

import numpy as np
from numba import carray

from ..geometry import Geometry
from . import memory, pool
from .ir import clear, copy, floats_at
from .jit import jit, worker
from .memory import address
from .sums import sum_over
from .vector_math import ZERO, leaky

BAND_BYTES = 1 << 17  # most bytes of copied input, for which there is room in the second-level cache
JOINED = 512  # channels of the pixels that are taken together (measured)

FIELDS = (
    "x y w g bias rows_in columns_in rows columns channels joined down across step_down step_across spread_down "
    "spread_across above before band bands width scratch lane_bytes"
)


def serves(channels: int, w_shape, geometry: Geometry) -> bool:
    """Whether each of several channels has one filter of its own."""
    return 1 < geometry.groups == channels == w_shape[3] and w_shape[2] == 1 and geometry.mask is None


@jit
def copy_band(a, image, start, count, buffer):
    """Copy the input of `count` rows of outputs from `start` on, and its padding, into a buffer."""
    pixel = 4 * a.channels
    left, skipped = min(max(a.before, 0), a.width), max(-a.before, 0)
    inside = max(min(a.columns_in - skipped, a.width - left), 0)
    for i in range((count - 1) * a.step_down + (a.down - 1) * a.spread_down + 1):
        row, target = start * a.step_down + i - a.above, buffer + i * a.width * pixel
        if 0 <= row < a.rows_in:
            clear(target, left * pixel)
            source = a.x + ((image * a.rows_in + row) * a.columns_in + skipped) * pixel
            copy(target + left * pixel, source, inside * pixel)
            clear(target + (left + inside) * pixel, (a.width - left - inside) * pixel)
        else:
            clear(target, a.width * pixel)


@jit
def add_taps(target, x, w, taps, x_step, w_step, size):
    """target += the sum over up to three taps of x w, for `size` numbers; x and w are addresses."""
    y, x0, w0 = carray(floats_at(target), size), carray(floats_at(x), size), carray(floats_at(w), size)
    x1, w1 = carray(floats_at(x + x_step), size), carray(floats_at(w + w_step), size)
    x2, w2 = carray(floats_at(x + 2 * x_step), size), carray(floats_at(w + 2 * w_step), size)
    if taps == 3:
        for c in range(size):
            y[c] += x0[c] * w0[c] + x1[c] * w1[c] + x2[c] * w2[c]
    elif taps == 2:
        for c in range(size):
            y[c] += x0[c] * w0[c] + x1[c] * w1[c]
    else:
        for c in range(size):
            y[c] += x0[c] * w0[c]


@worker(FIELDS, "slope")
def _forward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    image, start = task // a.bands, task % a.bands * a.band
    count, buffer = min(a.band, a.rows - start), a.scratch + lane * a.lane_bytes
    copy_band(a, image, start, count, buffer)
    pixel, w_step = 4 * a.channels, 4 * a.channels * a.joined
    bias = carray(floats_at(a.bias), a.channels)
    for p in range(count):
        out = a.y + (image * a.rows + start + p) * a.columns * pixel
        line = carray(floats_at(out), (a.columns, a.channels))
        for q in range(a.columns):
            for c in range(a.channels):
                line[q, c] = bias[c] if a.bias else ZERO
        for i in range(a.down):
            row = buffer + (p * a.step_down + i * a.spread_down) * a.width * pixel
            for j in range(0, a.across, 3):
                for q in range(0, a.columns, a.joined):
                    add_taps(
                        out + q * pixel,
                        row + (q * a.step_across + j * a.spread_across) * pixel,
                        a.w + (i * a.across + j) * w_step,
                        min(3, a.across - j),
                        a.spread_across * pixel,
                        w_step,
                        min(a.joined, a.columns - q) * a.channels,
                    )
        if a.slope != 1:
            flat = carray(floats_at(out), a.columns * a.channels)
            for k in range(flat.size):
                flat[k] = leaky(flat[k], flat[k], a.slope)


@jit
def add_products(sums, sums_step, x, x_step, taps, g, size):
    """Add x g to the sums of up to three taps."""
    values = carray(floats_at(g), size)
    s0, x0 = carray(floats_at(sums), size), carray(floats_at(x), size)
    s1, x1 = carray(floats_at(sums + sums_step), size), carray(floats_at(x + x_step), size)
    s2, x2 = carray(floats_at(sums + 2 * sums_step), size), carray(floats_at(x + 2 * x_step), size)
    if taps == 3:
        for c in range(size):
            s0[c] += x0[c] * values[c]
            s1[c] += x1[c] * values[c]
            s2[c] += x2[c] * values[c]
    elif taps == 2:
        for c in range(size):
            s0[c] += x0[c] * values[c]
            s1[c] += x1[c] * values[c]
    else:
        for c in range(size):
            s0[c] += x0[c] * values[c]


@worker(FIELDS, "slope")
def _weight_grad(arguments, task, lane):
    """Write the sums of a band of rows of outputs at y."""
    a = carray(arguments, 1)[0]
    image, start = task // a.bands, task % a.bands * a.band
    count, buffer = min(a.band, a.rows - start), a.scratch + lane * a.lane_bytes
    copy_band(a, image, start, count, buffer)
    pixel, w_step = 4 * a.channels, 4 * a.channels * a.joined
    sums = a.y + task * a.down * a.across * w_step
    clear(sums, a.down * a.across * w_step)
    for p in range(count):
        line = a.g + (image * a.rows + start + p) * a.columns * pixel
        for i in range(a.down):
            row = buffer + (p * a.step_down + i * a.spread_down) * a.width * pixel
            for j in range(0, a.across, 3):
                for q in range(0, a.columns, a.joined):
                    add_products(
                        sums + (i * a.across + j) * w_step,
                        w_step,
                        row + (q * a.step_across + j * a.spread_across) * pixel,
                        a.spread_across * pixel,
                        min(3, a.across - j),
                        line + q * pixel,
                        min(a.joined, a.columns - q) * a.channels,
                    )


def _arguments(task, x, kernel_size, size, geometry: Geometry):
    """(arguments, scratch memory to be kept meanwhile, number of tasks) of a worker, for outputs of a size."""
    (images, height, width, channels), (down, across) = x.shape, kernel_size
    (step_down, step_across), (spread_down, spread_across) = geometry.stride, geometry.dilation
    joined = max(1, min(JOINED // channels, size[1])) if step_across == 1 else 1
    columns = (size[1] - 1) * step_across + (across - 1) * spread_across + 1
    row_bytes, least = 4 * columns * channels, (down - 1) * spread_down + 1
    band = max(1, min(size[0], (BAND_BYTES // row_bytes - least) // step_down + 1))
    bands = ceil(size[0] / band)
    lane_bytes = row_bytes * ((band - 1) * step_down + least)
    buffer = memory.scratch(lane_bytes)
    call = task.Arguments(
        x=address(x),
        rows_in=height,
        columns_in=width,
        rows=size[0],
        columns=size[1],
        channels=channels,
        joined=joined,
        down=down,
        across=across,
        step_down=step_down,
        step_across=step_across,
        spread_down=spread_down,
        spread_across=spread_across,
        above=geometry.padding[0][0],
        before=geometry.padding[1][0],
        band=band,
        bands=bands,
        width=columns,
        scratch=address(buffer),
        lane_bytes=lane_bytes,
    )
    return call, buffer, images * bands


def _convolved(x, w, size, geometry: Geometry, bias, slope: float):
    """Outputs of a size; of the padding only what is above and before counts, and less than none leaves input out."""
    call, _buffer, tasks = _arguments(_forward, x, w.shape[:2], size, geometry)
    weights = np.tile(w.reshape(-1, x.shape[3]), (1, call.joined))
    y = np.empty((len(x), *size, x.shape[3]), np.float32)
    call.y, call.w, call.bias, call.slope = address(y), address(weights), 0 if bias is None else address(bias), slope
    pool.run(_forward, call, tasks)
    return y


def conv2d(x, w, geometry: Geometry, bias=None, slope: float = 1.0):
    """The convolution of contiguous images with w (KH, KW, 1, C)."""
    return _convolved(x, w, geometry.output_size(x.shape[1:3], w.shape[:2]), geometry, bias, slope)


def conv2d_input_grad(g, w, size, geometry: Geometry, bias=None, slope: float = 1.0):
    """The adjoint in x: a convolution of g, spread out where there is a stride, with the flipped filters."""
    down, across = geometry.stride
    if (down, across) != (1, 1):
        spread = np.zeros((len(g), (g.shape[1] - 1) * down + 1, (g.shape[2] - 1) * across + 1, g.shape[3]), np.float32)
        spread[:, ::down, ::across] = g
        g = spread
    lead = [r - 1 - before for r, (before, _) in zip(geometry.reach(w.shape[:2]), geometry.padding, strict=True)]
    flipped = replace(geometry, stride=(1, 1), padding=((lead[0], 0), (lead[1], 0)))
    return _convolved(g, np.ascontiguousarray(w[::-1, ::-1]), tuple(size), flipped, bias, slope)


def conv2d_weight_grad(x, g, kernel_size, geometry: Geometry):
    """The adjoint in w: (KH, KW, 1, C)."""
    call, _buffer, tasks = _arguments(_weight_grad, x, kernel_size, g.shape[1:3], geometry)
    sums = np.empty((tasks, *kernel_size, call.joined, x.shape[3]), np.float32)
    call.y, call.g = address(sums), address(g)
    pool.run(_weight_grad, call, tasks)
    return sum_over(sums, (0, 3)).reshape(*kernel_size, 1, x.shape[3])
