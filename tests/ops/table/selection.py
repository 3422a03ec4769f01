"""Rows of the op table: order, triangles, sums into chosen places."""

import numpy as np

from tests.ops.table.case import NON_DIFFERENTIABLE, PIECEWISE, TABLE, Case, add, distinct, real, whole
from tinygen import functional as F
from tinygen.errors import ShapeError

for axis in (0, -1):
    add("argsort", [distinct(3, 4)], lambda x, axis: np.argsort(x, axis), NON_DIFFERENTIABLE, axis=axis)
    add("functional.sort", [distinct(3, 4)], lambda x, axis: np.sort(x, axis), PIECEWISE, axis=axis)
add("argsort", [np.array([2, 1, 2, 1])], lambda x: np.array([1, 3, 0, 2]), NON_DIFFERENTIABLE)
TOO_MANY = ([real(2, 3)], {"k": 4}, ShapeError, r"axis -1 of an array \(2, 3\) does not have 4")
TABLE["functional.topk"] = [
    Case(
        lambda x, **options: F.topk(x, **options)[0],
        [distinct(3, 5)],
        lambda x, k, largest=True: np.sort(x, -1)[:, ::-1][:, :k] if largest else np.sort(x, -1)[:, :k],
        options,
        PIECEWISE,
        (TOO_MANY,),
    )
    for options in ({"k": 2}, {"k": 3, "largest": False}, {"k": 0})
]
for name, reference in (("tril", np.tril), ("triu", np.triu)):
    for k in (0, 1, -2):
        add(name, [real(2, 3, 4)], reference, k=k, errors=[([real(3)], {}, ShapeError, r"matrices.*\(3,\)")])
mask = whole(2, 2, 3).astype(bool)
add("functional.masked_fill", [real(2, 3), mask], lambda x, mask, value: np.where(mask, value, x), value=-1.5)

indices = np.array([2, 0, 2])


def _index_add(x, indices, values, axis):
    y = np.moveaxis(x.copy(), axis, 0)
    np.add.at(y, indices, np.moveaxis(values, axis, 0))
    return np.moveaxis(y, 0, axis)


add("functional.index_add", [real(3, 2), indices, real(3, 2)], _index_add, axis=0)
add("functional.index_add", [real(2, 4), indices, real(2, 3)], _index_add, axis=-1)


def _scatter_add(x, indices, values, axis):
    y = x.copy()
    for place in np.ndindex(indices.shape):
        target = list(place)
        target[axis] = indices[place]
        y[tuple(target)] += values[place]
    return y


add("functional.scatter_add", [real(3, 4), whole(3, 2, 4), real(2, 4)], _scatter_add, axis=0)
add("functional.scatter_add", [real(3, 4), whole(4, 2, 3), real(2, 3)], _scatter_add, axis=1)


def _put(x, indices, values, axis):
    y = x.copy()
    np.put_along_axis(y, indices, values, axis)
    return y


add("functional.put_along_axis", [real(2, 4), np.array([[0, 3], [2, 1]]), real(2, 2)], _put, axis=1)
