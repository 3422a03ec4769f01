"""Rows of the op table: truth values."""

import numpy as np

from tests.ops.table.case import NON_DIFFERENTIABLE, add, real, whole
from tinygen.errors import DtypeError


def _bools(*shape):
    return whole(2, *shape).astype(bool)


NUMBERS = ([real(3), real(3)], {}, DtypeError, r"takes bools, such as x > 0, not float64")
for name, reference in (("logical_and", np.logical_and), ("logical_or", np.logical_or), ("logical_xor", np.not_equal)):
    add(name, [_bools(3, 4), _bools(4)], reference, NON_DIFFERENTIABLE, errors=[NUMBERS])
    add(name, [_bools(3), True], reference, NON_DIFFERENTIABLE)
add("logical_not", [_bools(6)], np.logical_not, NON_DIFFERENTIABLE, errors=[([real(3)], *NUMBERS[1:])])

SPECIAL = np.array([0.0, -1.5, np.nan, np.inf, -np.inf])
for name, reference in (("isnan", np.isnan), ("isinf", np.isinf), ("isfinite", np.isfinite)):
    add(name, [SPECIAL], reference, NON_DIFFERENTIABLE, errors=[([np.arange(3)], {}, DtypeError, "int64")])

for name, reference in (("any", np.any), ("all", np.all)):
    for options in ({}, {"axis": 1}, {"axis": (0, 2), "keepdims": True}):
        add(name, [_bools(2, 3, 2)], reference, NON_DIFFERENTIABLE, **options)
    add(name, [np.array([[0.0, 2.0], [1.0, 2.0]])], reference, NON_DIFFERENTIABLE, axis=0)
