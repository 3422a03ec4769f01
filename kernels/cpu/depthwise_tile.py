"""The micro-kernels of depthwise convolutions: sums of elementwise products of rows of channels, held in registers.

Each output is summed over the taps in order, and each weight gradient over the outputs in order, in one accumulator: a
result depends on neither the tile nor the thread. Where neighbouring outputs share inputs, an input is loaded once for
all of them.
"""

import functools

from numba import types

from .ir import (
    VECTOR_BYTES,
    activated,
    as_float,
    convolved,
    correlated,
    initial,
    int64_at,
    loaded,
    offsets_at,
    store_tile,
)
from .jit import address_of
from .target import HEIGHTS, VECTORS
from .tile import NO_SLOPE

RUN = 3  # taps of a run: with a row of each of them, a tile of outputs fits into the registers
OUTPUTS = 4  # outputs whose products with runs of taps are added up at a time
MOST_RUNS = min(4, VECTORS * HEIGHTS[0] // 4)  # runs of taps in a tile of sums: there is room for `OUTPUTS` rows, too


@functools.cache
def panel_copy(vectors: int, tail: bool) -> int:
    """Compile the copy of a panel of some rows of an image, with zeros around them; the address.

    The rows begin at row `top` of the image, which may lie above it, and column -`before`. With `tail`, the last vector
    of a pixel has only `lanes` floats, and zeros after them.
    """

    def copied(target, image, top, rows, height, before, columns, width, pixel_bytes, pixel_pitch, lanes):
        first, last = min(max(before, 0), width), max(min(before + columns, width), 0)
        for row in range(top, top + rows):
            inside = 0 <= row < height
            source = image + (row * columns - before) * pixel_bytes
            for q in range(width):
                at = source + q * pixel_bytes if inside and first <= q < last else 0
                store_tile(False, initial(1, vectors, tail, at, lanes), target, None, 0)
                target += pixel_pitch

    return address_of(copied, types.void(*[types.int64] * 11))


@functools.cache
def row_copy(vectors: int, tail: bool) -> int:
    """Compile the copy of a panel of some rows, which begin at the offsets `rows`; the address."""

    def copied(target, source, rows, count, lanes):
        for r in range(count):
            tile = initial(1, vectors, tail, source + int64_at(rows, r), lanes)
            store_tile(False, tile, target + r * vectors * VECTOR_BYTES, None, 0)

    return address_of(copied, types.void(*[types.int64] * 5))


@functools.cache
def tap_sums(height: int, vectors: int, tail: bool) -> int:
    """Compile y[p, q] = activation(bias + sum over taps of x[(p, q) + tap] * w[tap]) in a panel; the address.

    A tile has `height` neighbours q; the last one of a row ends with it, and so computes some outputs again. First come
    `runs` of RUN taps, as far apart as neighbouring outputs, so that they share inputs; then single taps. In x they
    begin at the offsets `taps`; their rows of w follow each other.
    """

    def sums(x, w, y, rows, columns, x_row, x_step, y_row, y_step, taps, runs, singles, bias, slope, lanes):
        for p in range(rows):
            for start in range(0, columns, height):
                q = min(start, columns - height)
                tile, line = initial(height, vectors, tail, bias, lanes), w
                source = x + p * x_row + q * x_step
                for t in range(runs):
                    tile = convolved(RUN, tile, source + int64_at(taps, t), x_step, line)
                    line += RUN * vectors * VECTOR_BYTES
                for t in range(runs, runs + singles):
                    tile = convolved(1, tile, source + int64_at(taps, t), x_step, line)
                    line += vectors * VECTOR_BYTES
                if slope != NO_SLOPE:
                    tile = activated(tile, as_float(slope))
                store_tile(tail, tile, y + p * y_row + q * y_step, y_step, lanes)

    return address_of(sums, types.void(*[types.int64] * 15))


@functools.cache
def weight_sums(height: int, taps: int, tail: bool) -> int:
    """Compile sums[tap] += sum over outputs of x[output + tap] * g[output], for one vector of channels; the address.

    A tile has `height` runs of `taps`, which begin at the offsets `runs`. The outputs are `rows` times `columns`.
    """

    count, outputs = height * taps, OUTPUTS if taps > 1 else 1  # single taps have no inputs in common

    def sums(x, g, target, runs, tiles, rows, columns, x_row, x_step, g_row, g_step, lanes):
        for t in range(tiles):
            tile, places = loaded(count, 1, target), offsets_at(height, runs + 8 * height * t)
            for p in range(rows):
                source, line = x + p * x_row, g + p * g_row
                for _ in range(columns // outputs):
                    tile = correlated(taps, outputs, tail, tile, source, places, x_step, line, g_step, lanes)
                    source += outputs * x_step
                    line += outputs * g_step
                for _ in range(columns % outputs):
                    tile = correlated(taps, 1, tail, tile, source, places, x_step, line, g_step, lanes)
                    source += x_step
                    line += g_step
            store_tile(False, tile, target, None, 0)
            target += count * VECTOR_BYTES

    return address_of(sums, types.void(*[types.int64] * 12))
