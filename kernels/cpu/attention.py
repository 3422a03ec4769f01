"""Attention: a few queries at a time, against blocks of keys, so that their products stay in the nearest caches.

Forward, a task has some queries. For each block of keys it makes their products (queries, KEYS), their exponentials
relative to the largest number so far, and adds their products with the values to those of the blocks before, which are
scaled where a number is larger than all before it. Of the softmax the logarithm of the sum of exponentials is saved
alone, a number for each query. Backward, a task has the queries and keys of a matrix, and makes all products again.

For the micro-kernels matrices are copied into panels, filled up with zeros: `columns` panels have COLUMNS keys side by
side for each feature, `rows` panels have `width` features side by side for each key or query.
"""

import functools
from dataclasses import dataclass
from math import ceil, lcm, prod

import numba
import numpy as np
from numba import carray

from .. import reference
from ..masks import broadcast
from . import memory, pool
from .ir import call_rows, clear, copy, floats_at, int64_at, pointer_to
from .jit import Address, inlined, jit, worker
from .memory import write_addresses
from .recurrent_steps import transpose
from .registry import single
from .softmax import inner, total
from .target import HEIGHTS, VECTORS, WIDTH
from .tile import NO_SLOPE, outer_sums, product_rows
from .tiling import tile_height
from .vector_math import INFINITY, ONE, ZERO, exp, log, maximum

QUERIES = 24  # most queries that are multiplied at a time
COLUMNS, HEIGHT = VECTORS * WIDTH, HEIGHTS[0]
KEYS = ceil(384 / lcm(COLUMNS, HEIGHT)) * lcm(COLUMNS, HEIGHT)  # of a block: whole panels, and whole tiles
PITCH = KEYS + 16  # floats of a row of products: rows a power of two apart would share cache lines
_bytes_at = pointer_to(numba.uint8)


@dataclass(frozen=True)
class Sizes:
    """The sizes of a matrix of queries, and of one of keys and values; and how they are cut."""

    queries: int
    keys: int
    channels: int  # of a query, and of a key
    features: int  # of a value
    blocks: int  # of queries, which are multiplied together
    width: int  # floats of a row of a `rows` panel
    channel_pitch: int  # the channels in whole `rows` panels
    feature_pitch: int

    @property
    def most(self) -> int:
        """The queries of the largest block."""
        return ceil(self.queries / self.blocks)

    @property
    def columns(self) -> int:
        """The keys in whole `columns` panels."""
        return ceil(self.keys / COLUMNS) * COLUMNS

    @property
    def height(self) -> int:
        """The keys in whole tiles."""
        return ceil(self.keys / HEIGHT) * HEIGHT


def sizes_of(queries: int, keys: int, channels: int, features: int) -> Sizes:
    """The cut of matrices of these sizes."""
    width = (VECTORS if max(channels, features) > WIDTH else 1) * WIDTH
    pitches = (ceil(n / width) * width for n in (channels, features))
    return Sizes(queries, keys, channels, features, ceil(queries / QUERIES), width, *pitches)


@dataclass(frozen=True, eq=False)
class Products:
    """The micro-kernels and their tables; offsets in bytes."""

    query_rows: np.ndarray  # of each query of a block
    gradient_rows: np.ndarray  # of each gradient of an output
    product_rows: np.ndarray  # of each row of products with keys
    part_rows: np.ndarray  # of each row of products with keys or values in `rows` panels
    tiles: np.ndarray  # of the products of each tile of keys
    lengths: np.ndarray  # a segment (0, n) for each number n of products that are added up
    scores_entry: Address  # for products with `columns` panels
    parts_entry: Address  # for products with `rows` panels
    sums_entry: Address  # for sums in `rows` panels


def products_of(sizes: Sizes, pitch: int) -> Products:
    """The micro-kernels for some sizes; parts have rows of `pitch` floats."""
    rows, height, vectors = np.arange(sizes.most), tile_height(sizes.queries // sizes.blocks), sizes.width // WIDTH
    lengths = np.arange(max(sizes.channels, sizes.features, KEYS, sizes.most) + 1)
    return Products(
        query_rows=4 * sizes.channels * rows,
        gradient_rows=4 * sizes.features * rows,
        product_rows=4 * PITCH * rows,
        part_rows=4 * pitch * rows,
        tiles=4 * np.arange(0, KEYS, HEIGHT),
        lengths=np.stack([0 * lengths, lengths], axis=1),
        scores_entry=product_rows(height, VECTORS, False, False),
        parts_entry=product_rows(height, vectors, False, False),
        sums_entry=outer_sums(HEIGHT, vectors, False),
    )


class Inputs:
    """The arrays of a call, and how products become weights."""

    query: Address
    key: Address
    value: Address
    y: Address
    log_sums: Address  # of each query
    scratch: Address
    mask: Address  # of bools, or of floats that are added; 0 for none
    mask_starts: Address  # of each matrix, its first element in the mask
    mask_row: int  # elements of the mask from query to query
    mask_column: int  # and from key to key: 1, or 0 if all keys have the same
    mask_bytes: int  # of an element
    causal: bool  # a query sees no later keys
    scale: float


@dataclass(frozen=True)
class Packed:
    """The memory of the keys and values of a matrix in panels."""

    packed_bytes: int  # of a matrix
    values: int  # bytes from the keys, in `columns` panels, to the values, in `rows` panels


def packed_of(sizes: Sizes) -> Packed:
    """The memory for matrices of some sizes."""
    values = 4 * sizes.columns * sizes.channels
    return Packed(values + 4 * sizes.keys * sizes.feature_pitch, values)


@dataclass(frozen=True)
class ForwardMemory:
    """The parts of a task's memory forward, in bytes from its beginning, where products with keys lie."""

    scaled: int  # queries times the scale
    parts: int  # products with the values of a block of keys
    totals: int  # of the parts
    largest: int  # for each query, the largest product so far
    sums: int  # of the exponentials, for each query
    factors: int  # for each query, of its totals when a part is added
    lane_bytes: int


def forward_memory(sizes: Sizes) -> ForwardMemory:
    """The memory of a task for matrices of some sizes."""
    most, part = sizes.most, sizes.most * sizes.feature_pitch
    return ForwardMemory(*_ends(most * PITCH, most * sizes.channels, part, part, most, most, most))


@dataclass(frozen=True)
class BackwardMemory:
    """The parts of a task's memory backward, in bytes from its beginning, where products with keys lie."""

    derivatives: int  # of the products
    scaled: int  # all queries times the scale
    parts: int  # of the gradients of queries, from a block of keys
    along: int  # for each query of a block, the inner product of its output and its gradient
    key_columns: int  # keys in `columns` panels
    value_columns: int
    key_rows: int  # keys in `rows` panels
    query_panels: int  # queries times the scale in `rows` panels
    g_panels: int  # gradients of outputs in `rows` panels
    key_sums: int  # the gradient of keys in `rows` panels
    value_sums: int
    lane_bytes: int


def backward_memory(sizes: Sizes) -> BackwardMemory:
    """The memory of a task for matrices of some sizes."""
    most = sizes.most
    queries = most * PITCH, most * PITCH, sizes.queries * sizes.channels, most * sizes.channel_pitch, most
    keys = sizes.columns * sizes.channels, sizes.columns * sizes.features, sizes.keys * sizes.channel_pitch
    panels = sizes.queries * sizes.channel_pitch, sizes.queries * sizes.feature_pitch
    sums = sizes.height * sizes.channel_pitch, sizes.height * sizes.feature_pitch
    return BackwardMemory(*_ends(*queries, *keys, *panels, *sums))


def _ends(*sizes: int) -> list[int]:
    """Where parts of memory of sizes in floats end, in bytes: there the next one begins."""
    return (4 * np.cumsum(sizes)).tolist()


@inlined
def _whole(n, unit):
    """The next multiple of a unit."""
    return (n + unit - 1) // unit * unit


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
        transpose(target, 4 * COLUMNS, source + 4 * features * start, 4 * features, count, features)
        target += 4 * COLUMNS * features


@inlined
def _copy_panels(target, panels, rows, columns, height, width):
    """Write a matrix (rows, columns) that lies in `rows` panels of a height."""
    for start in range(0, columns, width):
        for r in range(rows):
            source = panels + 4 * (start * height + width * r)
            copy(target + 4 * (columns * r + start), source, 4 * min(width, columns - start))


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
    height = _whole(a.keys, HEIGHT)
    for start in range(0, features, a.width):
        panel = panels + 4 * (start * a.queries + a.width * query)
        place = sums + 4 * (start * height + a.width * key)
        call_rows(a.sums_entry, (products, panel, place, a.tiles, 0, tiles, segment, 1, 4 * PITCH, 4 * a.width, 1))


@jit
def _scale(target, source, scale):
    for j in range(target.size):
        target[j] = source[j] * scale


@jit
def _apply_mask(a, at, count, matrix, query, key):
    """Apply the mask to the products of a query with `count` keys."""
    products = carray(floats_at(at), count)
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


@jit
def _differentiate(p, d, log_sum, along):
    """Make weights of products p, and derivatives of the products of those, d, of the weights."""
    for j in range(p.size):
        p[j] = exp(p[j] - log_sum)
    for j in range(p.size):
        d[j] = p[j] * (d[j] - along)


class Forward:
    """What else a task forward is told."""

    packed: Address  # the panels of all matrices


FORWARD = Sizes, Products, Inputs, Packed, ForwardMemory, Forward


@worker(*FORWARD)
def pack(arguments, task, lane):
    """Write the keys and the values of a matrix in panels."""
    a = carray(arguments, 1)[0]
    target = a.packed + task * a.packed_bytes
    _copy_columns(target, a.key + 4 * task * a.keys * a.channels, a.keys, a.channels)
    _copy_rows(target + a.values, a.value + 4 * task * a.keys * a.features, a.keys, a.features, a.width)


@worker(*FORWARD)
def forward(arguments, task, lane):
    """Make the outputs of some queries of a matrix."""
    a = carray(arguments, 1)[0]
    matrix, block = task // a.blocks, task % a.blocks
    first, last = block * a.queries // a.blocks, (block + 1) * a.queries // a.blocks
    rows, place, pitch = last - first, matrix * a.queries + first, a.feature_pitch
    panels, products = a.packed + matrix * a.packed_bytes, a.scratch + lane * a.lane_bytes
    query, size = products + a.scaled, rows * a.channels
    _scale(carray(floats_at(query), size), carray(floats_at(a.query + 4 * a.channels * place), size), a.scale)
    parts, totals = products + a.parts, products + a.totals
    largest, sums = carray(floats_at(products + a.largest), rows), carray(floats_at(products + a.sums), rows)
    factors = carray(floats_at(products + a.factors), rows)
    clear(totals, 4 * pitch * rows)
    for r in range(rows):
        largest[r], sums[r] = -INFINITY, ZERO
    end = min(a.keys, last) if a.causal else a.keys
    for key in range(0, end, KEYS):
        count = min(KEYS, end - key)
        _multiply_keys(a, products, query, a.query_rows, rows, a.channels, panels, key, count)
        for r in range(rows):
            row, seen = products + 4 * PITCH * r, max(0, min(count, first + r + 1 - key)) if a.causal else count
            clear(row + 4 * seen, 4 * (count - seen))
            if a.mask:
                _apply_mask(a, row, seen, matrix, first + r, key)
            top, part = _exponentials(carray(floats_at(row), seen), largest[r])
            factors[r] = exp(largest[r] - top) if top > -INFINITY else ZERO
            largest[r], sums[r] = top, sums[r] * factors[r] + part
        _multiply_features(a, parts, products, rows, panels + a.values, key, count, a.features)
        for r in range(rows):
            row = carray(floats_at(totals + 4 * pitch * r), pitch)
            _scale_and_add(row, factors[r], carray(floats_at(parts + 4 * pitch * r), pitch))
    log_sums = carray(floats_at(a.log_sums + 4 * place), rows)
    for r in range(rows):
        y = carray(floats_at(a.y + 4 * a.features * (place + r)), a.features)
        row, divisor = carray(floats_at(totals + 4 * pitch * r), a.features), sums[r]
        for j in range(a.features):
            y[j] = row[j] / divisor
        log_sums[r] = largest[r] + log(divisor)


class Backward:
    """The gradients of the output and of the inputs."""

    g: Address
    query_grad: Address
    key_grad: Address
    value_grad: Address


@worker(Sizes, Products, Inputs, BackwardMemory, Backward)
def backward(arguments, task, lane):
    """Make the gradients of the queries, keys and values of a matrix."""
    a = carray(arguments, 1)[0]
    at, at_key = a.scratch + lane * a.lane_bytes, task * a.keys
    key, value = a.key + 4 * a.channels * at_key, a.value + 4 * a.features * at_key
    _copy_columns(at + a.key_columns, key, a.keys, a.channels)
    _copy_columns(at + a.value_columns, value, a.keys, a.features)
    _copy_rows(at + a.key_rows, key, a.keys, a.channels, a.width)
    query_grad, size = a.query_grad + 4 * a.channels * task * a.queries, a.channels * a.queries
    scaled = carray(floats_at(at + a.scaled), size)
    _scale(scaled, carray(floats_at(a.query + 4 * a.channels * task * a.queries), size), a.scale)
    _copy_rows(at + a.query_panels, at + a.scaled, a.queries, a.channels, a.width)
    _copy_rows(at + a.g_panels, a.g + 4 * a.features * task * a.queries, a.queries, a.features, a.width)
    height = _whole(a.keys, HEIGHT)
    clear(at + a.key_sums, 4 * height * a.channel_pitch)
    clear(at + a.value_sums, 4 * height * a.feature_pitch)
    clear(query_grad, 4 * size)
    for block in range(a.blocks):
        first, last = block * a.queries // a.blocks, (block + 1) * a.queries // a.blocks
        _backward_of_queries(a, at, task, first, last - first)
    _scale(carray(floats_at(query_grad), size), carray(floats_at(query_grad), size), a.scale)
    _copy_panels(a.key_grad + 4 * a.channels * at_key, at + a.key_sums, a.keys, a.channels, height, a.width)
    _copy_panels(a.value_grad + 4 * a.features * at_key, at + a.value_sums, a.keys, a.features, height, a.width)


@jit
def _backward_of_queries(a, products, matrix, first, rows):
    """Make the gradient of some queries, and add their parts to those of the keys and values."""
    place = matrix * a.queries + first
    query, g, y = (
        products + a.scaled + 4 * a.channels * first,
        a.g + 4 * a.features * place,
        a.y + 4 * a.features * place,
    )
    derivatives, parts = products + a.derivatives, products + a.parts
    log_sums, along = carray(floats_at(a.log_sums + 4 * place), rows), carray(floats_at(products + a.along), rows)
    for r in range(rows):
        at = 4 * a.features * r
        along[r] = inner(carray(floats_at(g + at), a.features), carray(floats_at(y + at), a.features))
    end = min(a.keys, first + rows) if a.causal else a.keys
    for key in range(0, end, KEYS):
        count = min(KEYS, end - key)
        _multiply_keys(a, products, query, a.query_rows, rows, a.channels, products + a.key_columns, key, count)
        _multiply_keys(a, derivatives, g, a.gradient_rows, rows, a.features, products + a.value_columns, key, count)
        for r in range(rows):
            at, seen = 4 * PITCH * r, max(0, min(count, first + r + 1 - key)) if a.causal else count
            if a.mask:
                _apply_mask(a, products + at, seen, matrix, first + r, key)
            p, d = carray(floats_at(products + at), seen), carray(floats_at(derivatives + at), seen)
            _differentiate(p, d, log_sums[r], along[r])
            rest = 4 * (_whole(count, HEIGHT) - seen)
            clear(products + at + 4 * seen, rest)
            clear(derivatives + at + 4 * seen, rest)
        _add_sums(a, products + a.value_sums, products, rows, products + a.g_panels, first, key, count, a.features)
        _add_sums(a, products + a.key_sums, derivatives, rows, products + a.query_panels, first, key, count, a.channels)
        _multiply_features(a, parts, derivatives, rows, products + a.key_rows, key, count, a.channels)
        for r in range(rows):
            row = carray(floats_at(a.query_grad + 4 * a.channels * (place + r)), a.channels)
            _scale_and_add(row, ONE, carray(floats_at(parts + 4 * a.channel_pitch * r), a.channels))


class Plan:
    """What depends on shapes only."""

    def __init__(self, *matrix: int):
        self.sizes = sizes = sizes_of(*matrix)
        self.packed = packed_of(sizes)
        products, parts = products_of(sizes, sizes.feature_pitch), forward_memory(sizes)
        self.forward = forward.record.filled(sizes, products, self.packed, parts)
        products = products_of(sizes, sizes.channel_pitch)
        self.backward = backward.record.filled(sizes, products, backward_memory(sizes))


_plan = functools.lru_cache(64)(Plan)


def _call(worker, arguments, query, key, value, mask, causal, scale, **arrays):
    """The arguments of a worker: those of the plan, and those of a call."""
    call = worker.Arguments.from_buffer_copy(arguments)
    call.causal, call.scale = causal, scale
    arrays |= {"query": query, "key": key, "value": value, "scratch": memory.scratch(call.lane_bytes)}
    if mask is not None:
        starts, call.mask_row, call.mask_column = broadcast(mask.shape, (*query.shape[:-1], key.shape[-2]))
        call.mask_bytes = mask.itemsize
        arrays |= {"mask": mask, "mask_starts": starts}
    write_addresses(call, **arrays)
    call.kept = arrays  # live as long
    return call


@single
def attention(query, key, value, mask=None, *, causal, scale):
    """softmax(query key' * scale + mask) value. See `tinygen.ops.attention`."""
    if not query.size or not value.size or (mask is not None and mask.dtype not in (np.bool_, np.float32)):
        return reference.attention(query, key, value, mask, causal=causal, scale=scale)
    plan = _plan(query.shape[-2], key.shape[-2], query.shape[-1], value.shape[-1])
    y, matrices = memory.empty((*query.shape[:-1], value.shape[-1])), prod(query.shape[:-2])
    log_sums, packed = memory.empty(query.shape[:-1]), memory.aligned(matrices * plan.packed.packed_bytes // 4)
    inputs, outputs = (query, key, value, mask, causal, scale), {"y": y, "log_sums": log_sums, "packed": packed}
    call = _call(forward, plan.forward, *inputs, **outputs)
    pool.run(pack, call, matrices)
    pool.run(forward, call, matrices * plan.sizes.blocks)
    return y, (query, key, value, mask, y, log_sums)


@single
def attention_backward(g, query, key, value, mask, y, log_sums, *, causal, scale):
    """The gradients of `attention` for query, key and value."""
    if not query.size or not value.size:
        return reference.attention_backward(g, query, key, value, mask, y, log_sums, causal=causal, scale=scale)
    plan = _plan(query.shape[-2], key.shape[-2], query.shape[-1], value.shape[-1])
    query_grad, key_grad, value_grad = (memory.empty(x.shape) for x in (query, key, value))
    inputs, saved = (query, key, value, mask, causal, scale), {"g": g, "y": y, "log_sums": log_sums}
    grads = {"query_grad": query_grad, "key_grad": key_grad, "value_grad": value_grad}
    call = _call(backward, plan.backward, *inputs, **saved, **grads)
    pool.run(backward, call, prod(query.shape[:-2]))
    return query_grad, key_grad, value_grad
