"""Attention: the products of a few queries with 32 keys at a time, none of which is kept."""

from math import ceil, prod

import numpy as np

from .. import reference
from ..masks import broadcast
from .launches import WARP
from .runtime import TENSOR_CORES, Source, architecture, empty, plan, single, upload

WARPS, EACH, TILE = 4, 4, WARP  # warps of a block, rows of each, and rows of the other side that they read at a time
SHARED_BYTES, OLD_SHARED_BYTES = 96 << 10, 64 << 10  # most shared memory of a block, and before architecture 8.0
FIELDS = [("mask_row", np.int64), ("mask_column", np.int64)]
FIELDS += [(name, np.int32) for name in ("queries", "keys", "channels", "features", "causal")]
ARGUMENTS = np.dtype([*FIELDS, ("scale", np.float32)])

_source = Source("attention.cu", "attention", "attention_query_grad", "attention_key_grad")


def _shared_bytes(channels: int, features: int) -> int:
    """What the kernel needs that needs most: two tiles, and rows, their sums, and two weights of each."""
    whole = 4 * (ceil(channels / 4) + ceil(features / 4))
    return 4 * (TILE * (whole + 8) + WARPS * EACH * (whole + channels + features + 2 * TILE))


@plan(64)
def _broadcast(shape: tuple[int, ...], scores: tuple[int, ...]):
    """`masks.broadcast`, with the beginnings of the matrices on the device."""
    starts, row, column = broadcast(shape, scores)
    return upload(starts), row, column


def _arguments(query, key, value, mask, causal, scale):
    """The structure of a call, and its mask: bools or None, floats or None, and where matrices begin."""
    *lead, queries, channels = query.shape
    starts, row, column, is_bool = None, 0, 0, False
    if mask is not None:
        starts, row, column = _broadcast(tuple(mask.shape), (*lead, queries, key.shape[-2]))
        is_bool = mask.dtype.kind == "b"
    numbers = row, column, queries, key.shape[-2], channels, value.shape[-1], causal, scale
    return np.array([numbers], ARGUMENTS), ((mask, None) if is_bool else (None, mask)) + (starts,)


def _serves(query, value, mask) -> bool:
    most = SHARED_BYTES if architecture() >= TENSOR_CORES else OLD_SHARED_BYTES
    fits = _shared_bytes(query.shape[-1], value.shape[-1]) <= most
    return fits and value.size > 0 and (mask is None or mask.dtype in (np.bool_, np.float32))


def _launch(name: str, x, value, *arguments) -> None:
    """Launch a kernel over the rows of the matrices x."""
    *lead, rows, channels = x.shape
    shared = _shared_bytes(channels, value.shape[-1])
    _source[name]((prod(lead) * ceil(rows / (WARPS * EACH)),), (WARPS * WARP,), arguments, shared)


@single
def attention(query, key, value, mask=None, *, causal, scale):
    """softmax(query key' * scale + mask) value. See `tinygen.ops.attention`."""
    if not _serves(query, value, mask):
        return reference.attention(query, key, value, mask, causal=causal, scale=scale)
    y, log_sums = empty((*query.shape[:-1], value.shape[-1])), empty(query.shape[:-1])
    numbers, masks = _arguments(query, key, value, mask, causal, scale)
    _launch("attention", query, value, numbers, query, key, value, *masks, y, log_sums)
    return y, (query, key, value, mask, y, log_sums)


@single
def attention_backward(g, query, key, value, mask, y, log_sums, *, causal, scale):
    """The gradients of `attention` for query, key and value."""
    if not _serves(query, value, mask):
        return reference.attention_backward(g, query, key, value, mask, y, log_sums, causal=causal, scale=scale)
    along, (query_grad, key_grad, value_grad) = empty(log_sums.shape), (empty(x.shape) for x in (query, key, value))
    numbers, masks = _arguments(query, key, value, mask, causal, scale)
    inputs = numbers, g, query, key, value, *masks
    _launch("attention_query_grad", query, value, *inputs, y, log_sums, along, query_grad)
    _launch("attention_key_grad", key, value, *inputs, log_sums, along, key_grad, value_grad)
    return query_grad, key_grad, value_grad
