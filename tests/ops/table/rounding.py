"""Rows of the op table: rounding and remainders, away from whole numbers."""

import numpy as np

from tests.ops.table.case import MIXED, PIECEWISE, UNFIT, WHOLE, add, apart, whole


def _uneven(*shape):
    """Numbers of either sign that are at least 0.2 from a whole number and from half of one."""
    return whole(9, *shape) - 4 + 0.3


for name, reference in (("floor", np.floor), ("ceil", np.ceil), ("trunc", np.trunc), ("round", np.rint)):
    add(name, [_uneven(3, 4)], reference, PIECEWISE, errors=[WHOLE])
for name, reference in (("remainder", np.mod), ("floor_divide", np.floor_divide)):
    add(name, [_uneven(2, 3), np.array([1.9, -2.1, 0.8])], reference, PIECEWISE, errors=[MIXED, UNFIT])
    add(name, [apart(4), 0.7], reference, PIECEWISE)
    add(name, [5.3, np.array([2.0, -3.0])], reference, PIECEWISE)
