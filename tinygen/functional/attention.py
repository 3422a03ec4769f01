"""Attention."""

import math

import numpy as np

from tinygen.autograd import array_of
from tinygen.errors import DtypeError, ShapeError
from tinygen.ops.attention import attention
from tinygen.ops.views import expand


def scaled_dot_product_attention(query, key, value, mask=None, *, causal: bool = False, scale: float | None = None):
    """softmax(query key' * scale) value, with scale 1 / sqrt(C) by default (Vaswani et al. 2017, equation 1).

    query (..., T, C), key (..., S, C), value (..., S, D): (..., T, D). `mask` broadcasts to (..., T, S): bools, true
    where a query may look, or numbers that are added to the products. With `causal`, query t sees keys 0 to t only.
    No array of the products is made, so that memory grows with T + S, unless `mask` needs a gradient.
    """
    parts = query, key, value
    if mask is not None:
        mask = mask if hasattr(mask, "ndim") else np.asarray(mask)
        dtype, others = array_of(mask).dtype, array_of(query).dtype
        if dtype.kind != "b" and dtype != others:
            raise DtypeError(f"attention: a mask is bool or {others} here, not {dtype}")
    leads = [x.shape[:-2] for x in (*parts, mask) if x is not None]
    if any(lead != leads[0] for lead in leads):
        try:
            lead = np.broadcast_shapes(*leads)
        except ValueError:
            shapes = ", ".join(str(x.shape) for x in parts)
            raise ShapeError(f"attention: query, key and value {shapes} do not broadcast") from None
        query, key, value = (x if x.shape[:-2] == lead else expand(x, (*lead, *x.shape[-2:])) for x in parts)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    return attention(query, key, value, mask, causal=causal, scale=scale)
