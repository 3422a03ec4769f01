"""Attention."""

import math

from tinygen.autograd import array_of
from tinygen.backend import array_module
from tinygen.errors import ShapeError
from tinygen.ops.arithmetic import where
from tinygen.ops.linear import matmul
from tinygen.ops.normalization import softmax
from tinygen.ops.views import swapaxes


def scaled_dot_product_attention(query, key, value, mask=None, *, causal: bool = False, scale: float | None = None):
    """softmax(query key' * scale) value, with scale 1 / sqrt(C) by default (Vaswani et al. 2017, equation 1).

    query (..., T, C), key (..., S, C), value (..., S, D): (..., T, D). `mask` broadcasts to (..., T, S): bools, true
    where a query may look, or numbers that are added to the products. With `causal`, query t sees keys 0 to t only.
    """
    if min(query.ndim, key.ndim, value.ndim) < 2 or query.shape[-1] != key.shape[-1]:
        raise ShapeError(f"attention: query {query.shape}, key {key.shape} and value {value.shape} do not fit")
    scores = matmul(query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale), swapaxes(key, -1, -2))
    if causal:
        xp = array_module(array_of(scores))
        seen = xp.arange(scores.shape[-1]) <= xp.arange(scores.shape[-2])[:, None]
        scores = where(seen, scores, -math.inf)
    if mask is not None:
        scores = where(mask, scores, -math.inf) if array_of(mask).dtype.kind == "b" else scores + mask
    return matmul(softmax(scores, axis=-1), value)
