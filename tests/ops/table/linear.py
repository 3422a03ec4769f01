"""Rows of the op table: matrix products."""

import numpy as np

from tests.ops.table.case import MIXED, add, real
from tinygen.errors import ShapeError

add(
    "matmul",
    [real(2, 3), real(3, 4)],
    np.matmul,
    errors=[
        ([real(3), real(3)], {}, ShapeError, "matrices"),
        ([real(2, 3), real(2, 3)], {}, ShapeError, "matmul"),
        MIXED,
    ],
)
add("matmul", [real(5, 2, 3), real(5, 3, 4)], np.matmul)
add("matmul", [real(2, 1, 2, 3), real(4, 3, 2)], np.matmul)
add("linear", [real(2, 3), real(3, 4), real(4)], lambda x, w, b: x @ w + b)
add(
    "linear",
    [real(2, 2, 3), real(3, 4), None],
    lambda x, w, b: x @ w,
    errors=[([real(2, 3), real(4, 3), None], {}, ShapeError, r"\(2, 3\).*\(4, 3\)")],
)
for subscripts, shapes in {
    "ij,jk->ik": ((2, 3), (3, 4)),
    "bij,bjk->bik": ((2, 3, 2), (2, 2, 3)),
    "ij->ji": ((2, 3),),
    "ij->i": ((2, 3),),
    "i,j,k->ijk": ((2,), (3,), (2,)),
    "ij,k->jk": ((2, 3), (2,)),
    "ij,jk,km->im": ((2, 3), (3, 2), (2, 4)),
    "bij,bkj->bik": ((2, 3, 2), (2, 4, 2)),
    "ijk,kj->i": ((2, 3, 4), (4, 3)),
}.items():
    add("einsum", [real(*s) for s in shapes], lambda *xs, subscripts: np.einsum(subscripts, *xs), subscripts=subscripts)
add(
    "einsum",
    [real(2, 2)],
    lambda x, subscripts: x,
    subscripts="ij->ij",
    errors=[
        ([real(2, 2)], {"subscripts": "ii->i"}, ShapeError, "repeats"),
        ([real(2, 2)], {"subscripts": "ij"}, ShapeError, "output"),
        ([real(2, 2)], {"subscripts": "ij,jk->ik"}, ShapeError, "2 operands"),
        ([real(2, 3), real(2, 2)], {"subscripts": "ij,jk->ik"}, ShapeError, r"\(2, 3\)"),
    ],
)
