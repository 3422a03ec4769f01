"""Rows of the op table: attention, with a reference of one query at a time."""

import numpy as np

from tests.ops.table.case import add, real
from tinygen.errors import ShapeError


def _attention(query, key, value, mask=None, causal=False, scale=None):
    scale = 1 / np.sqrt(query.shape[-1]) if scale is None else scale
    y = np.zeros((*query.shape[:-1], value.shape[-1]))
    for place in np.ndindex(query.shape[:-1]):
        keys, values, t = key[place[:-1]], value[place[:-1]], place[-1]
        scores = keys @ query[place] * scale
        if mask is not None:
            scores = np.where(mask[t], scores, -np.inf) if mask.dtype == bool else scores + mask[t]
        if causal:
            scores = np.where(np.arange(len(keys)) <= t, scores, -np.inf)
        weights = np.exp(scores - scores.max())
        y[place] = weights @ values / weights.sum()
    return y


name = "functional.scaled_dot_product_attention"
add(name, [real(2, 3, 4), real(2, 2, 4), real(2, 2, 3)], _attention)
add(name, [real(3, 2), real(3, 2), real(3, 2)], _attention, causal=True, scale=0.7)
add(name, [real(2, 2, 3, 2), real(2, 2, 4, 2), real(2, 2, 4, 1), np.eye(3, 4, 1) + np.eye(3, 4) > 0], _attention)
add(
    name,
    [real(2, 3), real(4, 3), real(4, 2), real(2, 4)],
    _attention,
    errors=[([real(2, 3), real(4, 2), real(4, 2)], {}, ShapeError, r"query \(2, 3\), key \(4, 2\)")],
)
