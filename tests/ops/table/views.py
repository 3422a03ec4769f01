"""Rows of the op table: shapes in other words."""

import numpy as np

from tests.ops.table.case import NON_DIFFERENTIABLE, TABLE, Case, add, real, whole
from tinygen import functional as F
from tinygen.errors import ShapeError

for axis in (0, 1, -1):
    add("functional.unsqueeze", [real(2, 3)], np.expand_dims, axis=axis)
add(
    "functional.unsqueeze",
    [real(2)],
    np.expand_dims,
    axis=1,
    errors=[([real(2)], {"axis": 3}, ShapeError, "position 3")],
)
add("functional.squeeze", [real(1, 3, 1)], np.squeeze)
add("functional.squeeze", [real(1, 3, 1)], np.squeeze, axis=-1)
add("functional.squeeze", [real(2, 1)], lambda x, axis: x, axis=0)
add("functional.expand", [real(3, 1)], lambda x, shape: np.broadcast_to(x, (2, 3, 4)), shape=(2, -1, 4))
for shape, times in (((2, 3), (2, 1)), ((2,), (3, 2)), ((2, 2), (2,))):
    add("functional.tile", [real(*shape)], lambda x, times: np.tile(x, times), times=times)
add("functional.swapaxes", [real(2, 3, 4)], np.swapaxes, axis1=0, axis2=-1)
for shift in (1, -2, 7, 0):
    add("functional.roll", [real(2, 3)], np.roll, shift=shift, axis=1)
for chunks, axis, cuts in ((2, 0, [3]), (3, 0, [2, 4]), (4, 0, [2, 4]), (2, -1, [1])):
    add(
        "functional.chunk",
        [real(5, 2)],
        lambda x, chunks, axis, c=cuts: tuple(np.split(x, c, axis)),
        chunks=chunks,
        axis=axis,
    )
TABLE["functional.chunk"].append(
    Case(F.chunk, [whole(9, 4)], lambda x, chunks: tuple(np.split(x, [2])), {"chunks": 2}, NON_DIFFERENTIABLE)
)
add("functional.flatten", [real(2, 3, 2)], lambda x: x.reshape(2, 6))
add("functional.flatten", [real(2, 3, 2)], lambda x, start, end: x.reshape(6, 2), start=0, end=1)
