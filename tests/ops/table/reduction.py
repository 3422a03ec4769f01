"""Rows of the op table: reductions."""

import numpy as np

from tests.ops.table.case import NON_DIFFERENTIABLE, PIECEWISE, WHOLE, add, distinct, real
from tinygen.errors import ShapeError

AXES = ({}, {"axis": 1}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}, {"keepdims": True})
for options in AXES:
    add("sum", [real(2, 3, 2)], np.sum, **options)
    add("functional.mean", [real(2, 3, 2)], np.mean, **options)
    add("functional.var", [real(2, 3, 2)], np.var, **options)
    add("max", [distinct(2, 3, 2)], np.max, PIECEWISE, **options)
    add("min", [distinct(2, 3, 2)], np.min, PIECEWISE, **options)
    add("logsumexp", [real(2, 3, 2)], lambda x, **o: np.log(np.sum(np.exp(x), **o)), **options)
BAD_AXIS = ([real(2, 3)], {"axis": 5}, ShapeError, r"axis 5.*\(2, 3\)")
add("sum", [real(4)], np.sum, errors=[BAD_AXIS, WHOLE])
add("logsumexp", [np.array([-200.0, 127.0, 128.0])], lambda x: x[2] + np.log(1 + np.exp(-1)))
add("cumsum", [real(3, 4)], np.cumsum, axis=0)
add("cumsum", [real(3, 4)], np.cumsum, axis=-1, errors=[BAD_AXIS])
add("argmax", [distinct(3, 4)], np.argmax, NON_DIFFERENTIABLE)
add("argmax", [distinct(3, 4)], np.argmax, NON_DIFFERENTIABLE, axis=1)
