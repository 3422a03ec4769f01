"""Rows of the op table: reductions."""

import math

import numpy as np

from tests.ops.table.case import NON_DIFFERENTIABLE, PIECEWISE, add, apart, distinct, real, whole
from tinygen.errors import ArgumentError, ShapeError, UsageError

AXES = ({}, {"axis": 1}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}, {"keepdims": True})
for options in AXES:
    add("sum", [real(2, 3, 2)], np.sum, **options)
    add("functional.mean", [real(2, 3, 2)], np.mean, **options)
    add("functional.var", [real(2, 3, 2)], np.var, **options)
    add("functional.var", [real(2, 3, 2)], np.var, ddof=1, **options)
    add("functional.std", [real(2, 3, 2)], np.std, ddof=1, **options)
    add("functional.norm", [real(2, 3, 2)], lambda x, **o: np.sqrt(np.sum(x**2, **o)), **options)
    add("max", [distinct(2, 3, 2)], np.max, PIECEWISE, **options)
    add("min", [distinct(2, 3, 2)], np.min, PIECEWISE, **options)
    add("logsumexp", [real(2, 3, 2)], lambda x, **o: np.log(np.sum(np.exp(x), **o)), **options)
BAD_AXIS = ([real(2, 3)], {"axis": 5}, ShapeError, r"axis 5.*\(2, 3\)")
add("sum", [real(4)], np.sum, errors=[BAD_AXIS, ([real(3)], {"dim": 0}, ArgumentError, "sum: write axis for dim$")])
add("sum", [np.array([True, False, True])], np.sum, NON_DIFFERENTIABLE)
add("sum", [whole(9, 3, 4)], np.sum, NON_DIFFERENTIABLE, axis=0)
for order, power in ((1, 1), (3, 3), (2.5, 2.5)):
    reference = lambda x, ord, p=power, **o: np.sum(np.abs(x) ** p, **o) ** (1 / p)  # noqa: E731
    add("functional.norm", [apart(2, 3)], reference, PIECEWISE, ord=order, axis=1)
add(
    "functional.norm",
    [distinct(2, 3)],
    lambda x, ord, axis: np.max(np.abs(x), axis),
    PIECEWISE,
    ord=math.inf,
    axis=1,
    errors=[([real(3)], {"ord": "fro"}, UsageError, "ord is 'fro'"), ([real(3)], {"p": 1}, ArgumentError, "ord for p")],
)
add("functional.var", [real(3)], np.var, errors=[([real(1)], {"ddof": 1}, ShapeError, "1 values.*no variance")])
add("logsumexp", [np.array([-200.0, 127.0, 128.0])], lambda x: x[2] + np.log(1 + np.exp(-1)))
add("cumsum", [real(3, 4)], np.cumsum, axis=0)
add("cumsum", [real(3, 4)], lambda x, **_: np.cumsum(x[:, ::-1], axis=1)[:, ::-1], axis=1, reverse=True)
add("cumsum", [real(3, 4)], np.cumsum, axis=-1, errors=[BAD_AXIS])
for name, reference in (("argmax", np.argmax), ("argmin", np.argmin)):
    add(name, [distinct(3, 4)], reference, NON_DIFFERENTIABLE)
    add(name, [distinct(3, 4)], reference, NON_DIFFERENTIABLE, axis=1)
    add(name, [distinct(3, 4)], reference, NON_DIFFERENTIABLE, axis=0, keepdims=True)
