"""Attention: the products of a query and 32 keys at a time, none of which is kept."""

from math import ceil, prod

import numpy as np

from .. import reference
from ..masks import broadcast
from .launches import WARP
from .runtime import Source, empty, plan, single, upload

ROWS, TILE = 8, WARP  # queries, or keys, of a block; rows of the other side that it reads at a time
SHARED_BYTES = 48 << 10  # most shared memory of a block on every device, unless it is asked for
FIELDS = [("mask_row", np.int64), ("mask_column", np.int64)]
FIELDS += [(name, np.int32) for name in ("queries", "keys", "channels", "features", "causal")]
ARGUMENTS = np.dtype([*FIELDS, ("scale", np.float32)])

_source = Source("attention.cu", "attention", "attention_query_grad", "attention_key_grad")


def _shared_bytes(channels: int, features: int) -> int:
    """The shared memory of the kernel that needs most of it: a tile, and rows and their sums."""
    return 4 * (TILE * (channels + features + 2) + 2 * ROWS * (channels + features))


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
    fits = _shared_bytes(query.shape[-1], value.shape[-1]) <= SHARED_BYTES
    return fits and value.size > 0 and (mask is None or mask.dtype in (np.bool_, np.float32))


def _launch(name: str, x, value, *arguments) -> None:
    """Launch a kernel over the rows of the matrices x."""
    *lead, rows, channels = x.shape
    shared = _shared_bytes(channels, value.shape[-1])
    _source[name]((prod(lead) * ceil(rows / ROWS),), (ROWS * WARP,), arguments, shared)


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
