"""Rows of the op table: attention, with a reference of one query at a time."""

import numpy as np

from tests.ops.table.case import add, real, whole
from tinygen.errors import DtypeError, ShapeError


def _attention(query, key, value, mask=None, causal=False, scale=None):
    scale = 1 / np.sqrt(query.shape[-1]) if scale is None else scale
    y = np.zeros((*query.shape[:-1], value.shape[-1]))
    for place in np.ndindex(query.shape[:-1]):
        keys, values, t = key[place[:-1]], value[place[:-1]], place[-1]
        scores = keys @ query[place] * scale
        if mask is not None:
            seen = np.broadcast_to(mask, (*query.shape[:-1], len(keys)))[place]
            scores = np.where(seen, scores, -np.inf) if mask.dtype == bool else scores + seen
        if causal:
            scores = np.where(np.arange(len(keys)) <= t, scores, -np.inf)
        weights = np.exp(scores - scores.max())
        y[place] = weights @ values / weights.sum()
    return y


name = "functional.scaled_dot_product_attention"
two_heads = [real(2, 2, 3, 2), real(2, 2, 4, 2), real(2, 2, 4, 1)]
add(name, [real(2, 3, 4), real(2, 2, 4), real(2, 2, 3)], _attention)
add(name, [real(3, 2), real(3, 2), real(3, 2)], _attention, causal=True, scale=0.7)
add(name, [*two_heads, np.eye(3, 4, 1) + np.eye(3, 4) > 0], _attention)
add(
    name,
    [real(2, 3), real(4, 3), real(4, 2), real(2, 4)],
    _attention,
    errors=[
        ([real(2, 3), real(4, 2), real(4, 2)], {}, ShapeError, r"query \(2, 3\), key \(4, 2\)"),
        ([real(2, 3), real(4, 3), real(5, 2)], {}, ShapeError, r"key \(4, 3\) and value \(5, 2\) do not fit"),
        ([real(2, 3), real(4, 3), real(4, 2), real(2, 5)], {}, ShapeError, r"a mask \(2, 5\) .*\(2, 4\)"),
        ([real(2, 3), real(4, 3), real(4, 2), np.ones((2, 4), int)], {}, DtypeError, "a mask is bool or float64"),
    ],
)
add(name, [real(3, 2), real(2, 4, 2), real(2, 4, 1)], lambda q, k, v: _attention(np.stack([q, q]), k, v))
add(
    name,
    [real(3, 2), real(2, 4, 2), real(2, 4, 1)],
    lambda query, key, value: _attention(np.stack([query, query]), key, value),
    errors=[([real(3, 3, 2), real(2, 4, 2), real(2, 4, 1)], {}, ShapeError, r"\(3, 3, 2\), .* do not broadcast")],
)
for mask in (whole(2, 2, 1, 3, 4) + np.eye(3, 4) > 0, whole(2, 2, 1, 4) > 2, np.array([True, False, True, True])):
    add("attention", [*two_heads, mask | (np.arange(4) == 1)], _attention, causal=False, scale=0.7)
add("attention", [real(2, 3, 2), real(2, 5, 2), real(2, 5, 3), real(3, 1)], _attention, causal=True, scale=-0.5)
add(
    "attention",
    [*two_heads, real(2, 1, 3, 4)],
    _attention,
    causal=True,
    scale=1.0,
)
