"""Attention: a few queries at a time, against blocks of keys, so that their products stay in the nearest caches.

Forward, a task has some queries. For each block of keys it makes their products (queries, KEYS), their exponentials
relative to the largest number so far, and adds their products with the values to those of the blocks before, which are
scaled where a number is larger than all before it. Of the softmax the logarithm of the sum of exponentials is saved
alone, a number for each query. Backward, a task has the queries and keys of a matrix, and makes all products again.

For the micro-kernels matrices are copied into panels, filled up with zeros: `columns` panels have COLUMNS keys side by
side for each feature, `rows` panels have `width` features side by side for each key or query.
"""

import functools
from math import ceil, lcm, prod

import numba
import numpy as np
from numba import carray

from .. import reference
from ..masks import broadcast
from . import memory, pool
from .ir import call_rows, clear, copy, floats_at, int64_at, pointer_to
from .jit import inlined, jit, worker
from .memory import address
from .products import keep_table, tile_height
from .recurrent import _transpose
from .single import single
from .softmax import inner, total
from .target import HEIGHTS, VECTORS, WIDTH
from .tile import NO_SLOPE, outer_sums, product_rows
from .vector_math import INFINITY, ONE, ZERO, exp, log, maximum

QUERIES = 48  # most queries that are multiplied at a time
COLUMNS, HEIGHT = VECTORS * WIDTH, HEIGHTS[0]
KEYS = ceil(192 / lcm(COLUMNS, HEIGHT)) * lcm(COLUMNS, HEIGHT)  # of a block: whole panels, and whole tiles
PITCH = KEYS + 16  # floats of a row of products: rows a power of two apart would share cache lines
SHARED = (
    "matrices queries keys channels features width blocks most causal mask mask_starts mask_row mask_column mask_bytes "
    "query_rows gradient_rows product_rows part_rows tiles lengths scores_entry parts_entry sums_entry scratch "
    "lane_bytes query key value y log_sums "
)
_bytes_at = pointer_to(numba.uint8)


@inlined
def _copy_rows(target, source, rows, columns, width):
    """Write a matrix (rows, columns) as `rows` panels."""
    for start in range(0, columns, width):
        count = min(width, columns - start)
        if count < width:
            clear(target, 4 * width * rows)
        for r in range(rows):
            copy(target + 4 * width * r, source + 4 * (columns * r + start), 4 * count)
        target += 4 * width * rows


@inlined
def _copy_columns(target, source, keys, features):
    """Write a matrix (keys, features) as `columns` panels."""
    for start in range(0, keys, COLUMNS):
        count = min(COLUMNS, keys - start)
        if count < COLUMNS:
            clear(target, 4 * COLUMNS * features)
        _transpose(target, 4 * COLUMNS, source + 4 * features * start, 4 * features, count, features)
        target += 4 * COLUMNS * features


@inlined
def _multiply_keys(a, target, x, x_rows, rows, depth, panels, key, count):
    """Write products (rows, count) of some rows with keys from `key` on, in `columns` panels of `depth` features."""
    segment = a.lengths + 16 * depth
    for column in range(0, count, COLUMNS):
        panel, place = panels + 4 * depth * (key + column), target + 4 * column
        numbers = rows, segment, 1, 4 * COLUMNS, 0, NO_SLOPE, WIDTH
        call_rows(a.scores_entry, (x, panel, place, x_rows, a.product_rows, *numbers))


@inlined
def _multiply_features(a, target, products, rows, panels, key, count, features):
    """Write parts (rows, features): the products with `count` keys from `key` on, times these keys in `rows` panels."""
    segment = a.lengths + 16 * count
    for start in range(0, features, a.width):
        panel = panels + 4 * (start * a.keys + a.width * key)
        numbers = rows, segment, 1, 4 * a.width, 0, NO_SLOPE, WIDTH
        call_rows(a.parts_entry, (products, panel, target + 4 * start, a.product_rows, a.part_rows, *numbers))


@inlined
def _add_sums(a, sums, products, rows, panels, query, key, count, features):
    """Add to the sums of `count` keys from `key` on: products with queries from `query` on, times these queries."""
    tiles, segment = (count + HEIGHT - 1) // HEIGHT, a.lengths + 16 * rows
    height = (a.keys + HEIGHT - 1) // HEIGHT * HEIGHT
    for start in range(0, features, a.width):
        panel = panels + 4 * (start * a.queries + a.width * query)
        place = sums + 4 * (start * height + a.width * key)
        call_rows(a.sums_entry, (products, panel, place, a.tiles, 0, tiles, segment, 1, 4 * PITCH, 4 * a.width, 1))


@jit
def _weigh(a, at, count, matrix, query, key):
    """Scale the products of a query with `count` keys, and apply the mask."""
    products, scale = carray(floats_at(at), count), a.scale
    for j in range(count):
        products[j] *= scale
    if not a.mask:
        return
    start = int64_at(a.mask_starts, matrix) + query * a.mask_row + key * a.mask_column
    start = a.mask + a.mask_bytes * start
    if a.mask_bytes == 1 and a.mask_column:
        seen = carray(_bytes_at(start), count)
        for j in range(count):
            products[j] = products[j] if seen[j] else -INFINITY
    elif a.mask_bytes == 1:
        if not carray(_bytes_at(start), 1)[0]:
            for j in range(count):
                products[j] = -INFINITY
    elif a.mask_column:
        added = carray(floats_at(start), count)
        for j in range(count):
            products[j] += added[j]
    else:
        number = carray(floats_at(start), 1)[0]
        for j in range(count):
            products[j] += number


@jit
def _exponentials(x, largest):
    """Replace x by exp(x - m), m the largest of x and of a number; returns m and the sum of x."""
    for j in range(x.size):
        largest = maximum(largest, x[j])
    shift = ZERO if largest == -INFINITY else largest
    for j in range(x.size):
        x[j] = exp(x[j] - shift)
    return largest, total(x)


@jit
def _scale_and_add(target, factor, part):
    for j in range(target.size):
        target[j] = target[j] * factor + part[j]


@worker(SHARED + "packed packed_bytes", "scale")
def pack(arguments, task, lane):
    """Write the keys and the values of a matrix in panels."""
    a = carray(arguments, 1)[0]
    target = a.packed + task * a.packed_bytes
    _copy_columns(target, a.key + 4 * task * a.keys * a.channels, a.keys, a.channels)
    target += 4 * ((a.keys + COLUMNS - 1) // COLUMNS * COLUMNS * a.channels)
    _copy_rows(target, a.value + 4 * task * a.keys * a.features, a.keys, a.features, a.width)


@worker(SHARED + "packed packed_bytes", "scale")
def forward(arguments, task, lane):
    """Make the outputs of some queries of a matrix."""
    a = carray(arguments, 1)[0]
    matrix, block = task // a.blocks, task % a.blocks
    first, last = block * a.queries // a.blocks, (block + 1) * a.queries // a.blocks
    rows, pitch = last - first, (a.features + a.width - 1) // a.width * a.width
    query, panels = a.query + 4 * a.channels * (matrix * a.queries + first), a.packed + matrix * a.packed_bytes
    values = panels + 4 * ((a.keys + COLUMNS - 1) // COLUMNS * COLUMNS * a.channels)
    products = a.scratch + lane * a.lane_bytes
    parts = products + 4 * PITCH * a.most
    totals = parts + 4 * pitch * a.most
    numbers = totals + 4 * pitch * a.most
    largest, sums = carray(floats_at(numbers), rows), carray(floats_at(numbers + 4 * a.most), rows)
    factors = carray(floats_at(numbers + 8 * a.most), rows)
    clear(totals, 4 * pitch * rows)
    for r in range(rows):
        largest[r], sums[r] = -INFINITY, ZERO
    end = min(a.keys, last) if a.causal else a.keys
    for key in range(0, end, KEYS):
        count = min(KEYS, end - key)
        _multiply_keys(a, products, query, a.query_rows, rows, a.channels, panels, key, count)
        for r in range(rows):
            row, seen = products + 4 * PITCH * r, count
            if a.causal:
                seen = max(0, min(count, first + r + 1 - key))
                clear(row + 4 * seen, 4 * (count - seen))
            _weigh(a, row, seen, matrix, first + r, key)
            top, part = _exponentials(carray(floats_at(row), seen), largest[r])
            factors[r] = exp(largest[r] - top) if top > -INFINITY else ZERO
            largest[r], sums[r] = top, sums[r] * factors[r] + part
        _multiply_features(a, parts, products, rows, values, key, count, a.features)
        for r in range(rows):
            row = carray(floats_at(totals + 4 * pitch * r), pitch)
            _scale_and_add(row, factors[r], carray(floats_at(parts + 4 * pitch * r), pitch))
    log_sums = carray(floats_at(a.log_sums + 4 * (matrix * a.queries + first)), rows)
    for r in range(rows):
        y = carray(floats_at(a.y + 4 * a.features * (matrix * a.queries + first + r)), a.features)
        row, divisor = carray(floats_at(totals + 4 * pitch * r), a.features), sums[r]
        for j in range(a.features):
            y[j] = row[j] / divisor
        log_sums[r] = largest[r] + log(divisor)


@worker(SHARED + "g query_grad key_grad value_grad", "scale")
def backward(arguments, task, lane):
    """Make the gradients of the queries, keys and values of a matrix."""
    a = carray(arguments, 1)[0]
    channel_pitch = (a.channels + a.width - 1) // a.width * a.width
    feature_pitch = (a.features + a.width - 1) // a.width * a.width
    columns, height = (a.keys + COLUMNS - 1) // COLUMNS * COLUMNS, (a.keys + HEIGHT - 1) // HEIGHT * HEIGHT
    at_query, at_key = task * a.queries, task * a.keys
    query, g = a.query + 4 * a.channels * at_query, a.g + 4 * a.features * at_query
    key_source, value_source = a.key + 4 * a.channels * at_key, a.value + 4 * a.features * at_key
    products = a.scratch + lane * a.lane_bytes
    derivatives = products + 4 * PITCH * a.most
    parts = derivatives + 4 * PITCH * a.most
    key_columns = parts + 4 * channel_pitch * a.most
    value_columns = key_columns + 4 * columns * a.channels
    key_rows = value_columns + 4 * columns * a.features
    query_panels = key_rows + 4 * a.keys * channel_pitch
    g_panels = query_panels + 4 * a.queries * channel_pitch
    key_sums = g_panels + 4 * a.queries * feature_pitch
    value_sums = key_sums + 4 * height * channel_pitch
    _copy_columns(key_columns, key_source, a.keys, a.channels)
    _copy_columns(value_columns, value_source, a.keys, a.features)
    _copy_rows(key_rows, key_source, a.keys, a.channels, a.width)
    _copy_rows(query_panels, query, a.queries, a.channels, a.width)
    _copy_rows(g_panels, g, a.queries, a.features, a.width)
    clear(key_sums, 4 * height * (channel_pitch + feature_pitch))
    clear(a.query_grad + 4 * a.channels * at_query, 4 * a.channels * a.queries)
    scale = a.scale
    for block in range(a.blocks):
        first, last = block * a.queries // a.blocks, (block + 1) * a.queries // a.blocks
        rows, end = last - first, min(a.keys, last) if a.causal else a.keys
        for key in range(0, end, KEYS):
            count = min(KEYS, end - key)
            whole = (count + HEIGHT - 1) // HEIGHT * HEIGHT
            x, gradients = query + 4 * a.channels * first, g + 4 * a.features * first
            _multiply_keys(a, products, x, a.query_rows, rows, a.channels, key_columns, key, count)
            _multiply_keys(a, derivatives, gradients, a.gradient_rows, rows, a.features, value_columns, key, count)
            for r in range(rows):
                at, seen = 4 * PITCH * r, max(0, min(count, first + r + 1 - key)) if a.causal else count
                place = at_query + first + r
                _weigh(a, products + at, seen, task, first + r, key)
                shift = carray(floats_at(a.log_sums), place + 1)[place]
                y_row = carray(floats_at(a.y + 4 * a.features * place), a.features)
                along = inner(carray(floats_at(gradients + 4 * a.features * r), a.features), y_row)
                p, d = carray(floats_at(products + at), seen), carray(floats_at(derivatives + at), seen)
                for j in range(seen):
                    p[j] = exp(p[j] - shift)
                for j in range(seen):
                    d[j] = p[j] * (d[j] - along) * scale
                clear(products + at + 4 * seen, 4 * (whole - seen))
                clear(derivatives + at + 4 * seen, 4 * (whole - seen))
            _add_sums(a, value_sums, products, rows, g_panels, first, key, count, a.features)
            _add_sums(a, key_sums, derivatives, rows, query_panels, first, key, count, a.channels)
            _multiply_features(a, parts, derivatives, rows, key_rows, key, count, a.channels)
            for r in range(rows):
                row = carray(floats_at(a.query_grad + 4 * a.channels * (at_query + first + r)), a.channels)
                _scale_and_add(row, ONE, carray(floats_at(parts + 4 * channel_pitch * r), a.channels))
    _copy_panels(a.key_grad + 4 * a.channels * at_key, key_sums, a.keys, a.channels, height, a.width)
    _copy_panels(a.value_grad + 4 * a.features * at_key, value_sums, a.keys, a.features, height, a.width)


@inlined
def _copy_panels(target, panels, rows, columns, height, width):
    """Write a matrix (rows, columns) that lies in `rows` panels of a height."""
    for start in range(0, columns, width):
        for r in range(rows):
            source = panels + 4 * (start * height + width * r)
            copy(target + 4 * (columns * r + start), source, 4 * min(width, columns - start))


class _Plan:
    """What depends on shapes only: the tables of rows, the micro-kernels, and the memory of a task."""

    def __init__(self, queries: int, keys: int, channels: int, features: int):
        self.tables: list[np.ndarray] = []
        self.blocks = ceil(queries / QUERIES)
        most, height = ceil(queries / self.blocks), tile_height(queries // self.blocks)
        vectors = VECTORS if max(channels, features) > WIDTH else 1
        self.width = vectors * WIDTH
        channel_pitch, feature_pitch = (ceil(n / self.width) * self.width for n in (channels, features))
        columns, tall = ceil(keys / COLUMNS) * COLUMNS, ceil(keys / HEIGHT) * HEIGHT
        self.packed_size = columns * channels + keys * feature_pitch
        self.forward_bytes = 4 * most * (PITCH + 2 * feature_pitch + 3)
        panels = columns * (channels + features) + (keys + queries + tall) * channel_pitch
        self.backward_bytes = 4 * (most * (2 * PITCH + channel_pitch) + panels + (queries + tall) * feature_pitch)
        rows, lengths = np.arange(most), np.arange(max(channels, features, KEYS, most) + 1)
        self.shared = {
            "queries": queries,
            "keys": keys,
            "channels": channels,
            "features": features,
            "width": self.width,
            "blocks": self.blocks,
            "most": most,
            "query_rows": address(keep_table(self, 4 * channels * rows)),
            "gradient_rows": address(keep_table(self, 4 * features * rows)),
            "product_rows": address(keep_table(self, 4 * PITCH * rows)),
            "tiles": address(keep_table(self, 4 * np.arange(0, KEYS, HEIGHT))),
            "lengths": address(keep_table(self, np.stack([0 * lengths, lengths], axis=1))),
            "scores_entry": product_rows(height, VECTORS, False, False),
            "parts_entry": product_rows(height, vectors, False, False),
            "sums_entry": outer_sums(HEIGHT, vectors, False),
        }
        self.channel_rows, self.feature_rows = (
            address(keep_table(self, 4 * pitch * rows)) for pitch in (channel_pitch, feature_pitch)
        )


_plan = functools.lru_cache(64)(_Plan)


def _call(worker, plan: _Plan, query, key, value, mask, causal, scale, **arguments):
    """The arguments of a worker: those of the plan and of a call; numbers, and arrays for their addresses."""
    call = worker.Arguments(**plan.shared, causal=causal, scale=scale)
    arrays = {"query": query, "key": key, "value": value, **arguments}
    if mask is not None:
        starts, call.mask_row, call.mask_column = broadcast(mask.shape, (*query.shape[:-1], key.shape[-2]))
        arrays |= {"mask": mask, "mask_starts": starts, "mask_bytes": mask.itemsize}
    for name, a in arrays.items():
        setattr(call, name, address(a) if isinstance(a, np.ndarray) else a)
    return call


@single
def attention(query, key, value, mask=None, *, causal, scale):
    """softmax(query key' * scale + mask) value. See `tinygen.ops.attention`."""
    if not query.size or not value.size or (mask is not None and mask.dtype not in (np.bool_, np.float32)):
        return reference.attention(query, key, value, mask, causal=causal, scale=scale)
    plan = _plan(query.shape[-2], key.shape[-2], query.shape[-1], value.shape[-1])
    y, matrices = np.empty((*query.shape[:-1], value.shape[-1]), np.float32), prod(query.shape[:-2])
    log_sums = np.empty(query.shape[:-1], np.float32)
    memories = {"packed": memory.aligned(matrices * plan.packed_size), "scratch": memory.scratch(plan.forward_bytes)}
    numbers = {"packed_bytes": 4 * plan.packed_size, "lane_bytes": plan.forward_bytes, "part_rows": plan.feature_rows}
    inputs = query, key, value, mask, causal, scale
    call = _call(forward, plan, *inputs, y=y, log_sums=log_sums, **memories, **numbers)
    pool.run(pack, pack.Arguments.from_buffer_copy(call), matrices)
    pool.run(forward, call, matrices * plan.blocks)
    return y, (query, key, value, mask, y, log_sums)


@single
def attention_backward(g, query, key, value, mask, y, log_sums, *, causal, scale):
    """The gradients of `attention` for query, key and value."""
    if not value.size:
        return reference.attention_backward(g, query, key, value, mask, y, log_sums, causal=causal, scale=scale)
    plan = _plan(query.shape[-2], key.shape[-2], query.shape[-1], value.shape[-1])
    query_grad, key_grad, value_grad = grads = tuple(np.empty_like(x) for x in (query, key, value))
    scratch = memory.scratch(plan.backward_bytes)
    numbers = {"lane_bytes": plan.backward_bytes, "part_rows": plan.channel_rows}
    arrays = {"query_grad": query_grad, "key_grad": key_grad, "value_grad": value_grad, "scratch": scratch}
    inputs = query, key, value, mask, causal, scale
    call = _call(backward, plan, *inputs, g=g, y=y, log_sums=log_sums, **arrays, **numbers)
    pool.run(backward, call, prod(query.shape[:-2]))
    return grads
