"""The micro-kernels: products of a few rows of A with a few vectors of B, held in registers.

Convolutions and their adjoints, direct or by Winograd, and matrix products use the two functions here.
Strides and tables are arguments, so that one compiled variant serves every shape. Each element is summed over k in
order, in one accumulator: a result depends on neither the tile, nor the thread, nor the other rows.
"""

import ctypes
import functools

from numba import types

from .ir import (
    VECTOR_BYTES,
    activated,
    as_float,
    initial,
    int64_at,
    loaded,
    multiplied,
    offsets_at,
    prefetch,
    store_tile,
)
from .jit import address_of

NO_SLOPE = 0x3F800000  # the bits of 1.0: max(x, 1 x) is x


@functools.lru_cache(64)
def bits(slope: float) -> int:
    """The bits of a slope as a float32, as an int: micro-kernels take numbers of one type."""
    return ctypes.c_int32.from_buffer(ctypes.c_float(slope)).value


@functools.cache
def product_rows(height: int, vectors: int, tail: bool, adjacent: bool) -> int:
    """Compile C[rows] = activation(bias + A[rows] B) for tiles of `height` rows and `vectors` vectors; the address.

    Row r of A begins at a + row_a[r] and is made of `count` segments (offset, length) of neighbouring elements. When
    `adjacent`, it is made of `count` single elements, each with its own offset, and the rows of a tile are neighbours:
    only the first is looked up. The rows of B follow each other, `stride` bytes apart. C[r] is written at c + row_c[r];
    with `tail`, only `lanes` elements of its last vector. The last tile ends with the last row, and so computes some
    rows again. `slope` holds the bits of a float32.
    """

    def rows(a, b, c, row_a, row_c, total, segments, count, stride, bias, slope, lanes):
        for start in range(0, total, height):
            r = min(start, total - height)
            tile = initial(height, vectors, tail, bias, lanes)
            line = b
            if adjacent:
                begin = a + int64_at(row_a, r)
                for k in range(count):
                    tile = multiplied(1, tile, begin + int64_at(segments, k), None, line, stride)
                    line += stride
            else:
                sources = offsets_at(height, row_a + 8 * r)
                # The processor itself prefetches too few rows: without this a 1x1 convolution took 1.1x (measured).
                ahead = int64_at(row_a, min(r + height, total - 1)) - int64_at(row_a, r)
                for s in range(count):
                    at = a + int64_at(segments, 2 * s)
                    length = int64_at(segments, 2 * s + 1)
                    end = at + 4 * (length & -4)
                    while at < end:
                        prefetch(at + ahead, sources)  # one cache line of each row
                        stop = min(at + 64, end)
                        while at < stop:
                            tile = multiplied(4, tile, at, sources, line, stride)
                            at += 16
                            line += 4 * stride
                    for _ in range(length & 3):
                        tile = multiplied(1, tile, at, sources, line, stride)
                        at += 4
                        line += stride
            if slope != NO_SLOPE:
                tile = activated(tile, as_float(slope))
            store_tile(tail, tile, c, offsets_at(height, row_c + 8 * r), lanes)

    return address_of(rows, types.void(*[types.int64] * 12))


@functools.cache
def outer_sums(height: int, vectors: int, scattered: bool) -> int:
    """Compile C[tile] (+)= sum over k of A[k, rows of the tile] B[k], for tiles as in `product_rows`; the address.

    k runs through `count` segments (offset, length) of A with `stride_a` bytes between elements, while the rows of B
    follow each other, `stride_b` bytes apart. The rows of tile t are neighbours in A from `tiles[t]` on; when
    `scattered`, `tiles[t]` is where its offsets begin in the table `rows`. Tiles lie in C one after another.
    """

    def sums(a, b, c, tiles, rows, total, segments, count, stride_a, stride_b, accumulate):
        for t in range(total):
            target = c + t * (height * vectors * VECTOR_BYTES)
            tile = loaded(height, vectors, target) if accumulate else initial(height, vectors, False, 0, 0)
            line = b
            if scattered:
                sources = offsets_at(height, rows + 8 * int64_at(tiles, t))
                for s in range(count):
                    at = a + int64_at(segments, 2 * s)
                    for _ in range(int64_at(segments, 2 * s + 1)):
                        tile = multiplied(1, tile, at, sources, line, stride_b)
                        at += stride_a
                        line += stride_b
            else:
                begin = a + int64_at(tiles, t)
                for s in range(count):
                    at = begin + int64_at(segments, 2 * s)
                    for _ in range(int64_at(segments, 2 * s + 1)):
                        tile = multiplied(1, tile, at, None, line, stride_b)
                        at += stride_a
                        line += stride_b
            store_tile(False, tile, target, None, 0)

    return address_of(sums, types.void(*[types.int64] * 11))
