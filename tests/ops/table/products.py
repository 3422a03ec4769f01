"""Rows of the op table: products, of zeros too."""

import numpy as np

from tests.ops.table.case import add, real

for options in ({}, {"axis": 1}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}, {"keepdims": True}):
    add("functional.prod", [real(2, 3, 2)], np.prod, **options)
add("functional.prod", [np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0]])], np.prod, axis=1)
add("functional.prod", [real(2, 0)], np.prod, axis=1)
add("functional.prod", [real(0, 2)], np.prod, axis=1)
for length in (2, 5):
    add("functional.cumprod", [real(length, 2)], np.cumprod, axis=0)
add("functional.cumprod", [np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0]])], np.cumprod, axis=-1)
