"""Attention: a fused operation with its composite."""

import math

from tinygen.autograd import array_of
from tinygen.backend import array_module
from tinygen.errors import ShapeError
from tinygen.ops.arithmetic import where
from tinygen.ops.linear import matmul
from tinygen.ops.normalization import softmax
from tinygen.ops.views import swapaxes
from tinygen.primitive import fused


def _check(name: str, query, key, value, mask=None, *, causal, scale) -> None:
    parts = [x.shape for x in (query, key, value)]
    *lead, _, channels = parts[0] if query.ndim > 1 else (0, 0)
    steps = key.shape[-2] if key.ndim > 1 else 0
    if parts[1] != (*lead, steps, channels) or parts[2][:-1] != (*lead, steps) or not steps:
        raise ShapeError(f"{name}: query {parts[0]}, key {parts[1]} and value {parts[2]} do not fit")
    if mask is not None:
        scores = *parts[0][:-1], steps
        if mask.ndim > len(scores) or any(
            n not in (1, m) for n, m in zip(mask.shape[::-1], scores[::-1], strict=False)
        ):
            raise ShapeError(f"{name}: a mask {mask.shape} does not broadcast to (..., T, S), here {scores}")


@fused(wrt="query key value", indices="mask", check=_check)
def attention(query, key, value, mask=None, *, causal, scale):
    """softmax(query key' * scale + mask) value (Vaswani et al. 2017, equation 1), for matrices in the last two axes.

    query (..., T, C), key (..., S, C), value (..., S, D): (..., T, D). See `functional.scaled_dot_product_attention`.
    The kernels hold the products of a few queries at a time, and save a number for each query (Dao et al. 2022,
    arXiv:2205.14135); gradients of higher orders hold all products, (..., T, S).
    """
    scores = matmul(query * scale, swapaxes(key, -1, -2))
    if causal:
        xp = array_module(array_of(scores))
        seen = xp.arange(scores.shape[-1]) <= xp.arange(scores.shape[-2])[:, None]
        scores = where(seen, scores, -math.inf)
    if mask is not None:
        scores = where(mask, scores, -math.inf) if array_of(mask).dtype.kind == "b" else scores + mask
    return matmul(softmax(scores, axis=-1), value)
