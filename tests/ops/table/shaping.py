"""Rows of the op table: shapes, indices and padding."""

import math
from itertools import product

import numpy as np

from tests.ops.table.case import NON_DIFFERENTIABLE, TABLE, Case, add, real, whole
from tinygen.errors import ShapeError, UsageError
from tinygen.primitive import REGISTRY

add(
    "reshape", [real(2, 6)], np.reshape, shape=(3, 4), errors=[([real(2, 3)], {"shape": (4, 2)}, ShapeError, "reshape")]
)
add("reshape", [real(2, 6)], np.reshape, shape=(-1,))
add("transpose", [real(2, 3, 4)], np.transpose, axes=(2, 0, 1))
add("transpose", [real(2, 3, 4)], np.transpose, axes=(-1, 0, -2))
add("broadcast_to", [real(3, 1)], np.broadcast_to, shape=(2, 3, 4))
add(
    "broadcast_to",
    [real(3)],
    np.broadcast_to,
    shape=(3,),
    errors=[([real(3)], {"shape": (4,)}, ShapeError, "broadcast")],
)
add("flip", [real(2, 3)], np.flip)
add("flip", [real(2, 3)], np.flip, axis=1)
add(
    "concatenate",
    [real(2, 3), real(2, 1), real(2, 2)],
    lambda *xs, axis: np.concatenate(xs, axis),
    axis=1,
    errors=[([real(2, 3), real(3, 3)], {"axis": 1}, ShapeError, r"\(2, 3\).*\(3, 3\)")],
)
add("concatenate", [real(2, 3)], lambda *xs, axis: np.concatenate(xs, axis), axis=-1)
add(
    "split",
    [real(2, 6)],
    lambda x, sizes, axis: tuple(np.split(x, np.cumsum(sizes)[:-1], axis)),
    sizes=(1, 2, 3),
    axis=-1,
    errors=[([real(2, 6)], {"sizes": (1, 2), "axis": 1}, ShapeError, r"\(1, 2\).*\(2, 6\)")],
)
add(
    "pad",
    [real(2, 3)],
    lambda x, widths, value: np.pad(x, widths, constant_values=value),
    widths=((1, 0), (0, 2)),
    value=0.5,
)


def _reflect(x, widths, **_):
    return np.pad(x, widths, mode="reflect")


def _reflect_fold(g, widths):
    """Each element of the padded array added to the element that it mirrors."""
    shape = [n - sum(around) for n, around in zip(g.shape, widths, strict=True)]
    places = np.pad(np.arange(math.prod(shape)).reshape(shape), widths, mode="reflect")
    return np.bincount(places.ravel(), g.ravel()).reshape(shape)


for shape, widths in (((2, 3), ((0, 1), (2, 1))), ((3, 1, 4), ((2, 2), (0, 0), (0, 3))), ((3,), ((0, 0),))):
    margins = [sum(around) for around in widths]
    add("reflect_pad", [real(*shape)], _reflect, widths=widths)
    add("reflect_fold", [real(*np.add(shape, margins))], _reflect_fold, widths=widths)
    add("functional.pad", [real(*shape)], _reflect, widths=widths, mode="reflect")
for mode, name in (("replicate", "edge"), ("circular", "wrap")):
    for shape, widths in (((2, 3), ((0, 1), (2, 1))), ((1, 4), ((1, 1), (4, 0)))):
        reference = lambda x, widths, mode, name=name: np.pad(x, widths, mode=name)  # noqa: E731
        add("functional.pad", [real(*shape)], reference, widths=widths, mode=mode)
add(
    "functional.pad",
    [real(2, 3)],
    lambda x, widths, value: np.pad(x, widths, constant_values=value),
    widths=((1, 0), (0, 2)),
    value=0.5,
    errors=[
        ([real(2, 3)], {"widths": ((0, 0), (3, 0)), "mode": "reflect"}, ShapeError, r"smaller than.*\(2, 3\)"),
        ([real(2, 0)], {"widths": ((0, 0), (1, 0)), "mode": "reflect"}, ShapeError, r"smaller than.*\(2, 0\)"),
        ([real(2, 3)], {"widths": ((0, 0), (4, 0)), "mode": "circular"}, ShapeError, "4 and 0 elements cannot come"),
        ([real(2, 0)], {"widths": ((0, 0), (1, 0)), "mode": "replicate"}, ShapeError, r"axis 1 of \(2, 0\)"),
        ([real(2, 3)], {"widths": ((1, 1), (-1, 1))}, ShapeError, r"fewer elements x\[\.\.\., 1:-1\]"),
        ([real(2, 3)], {"widths": ((1, 1),)}, ShapeError, r"one \(before, after\) for each axis of \(2, 3\)"),
        ([real(2, 3)], {"widths": ((1, 1), (1, 1)), "mode": "wrap"}, UsageError, "'wrap'"),
    ],
)
for index in (1, slice(None, None, -2), (..., 0), (None, slice(1, 3)), ([2, 0, 2],), (slice(None), [1, 1, 0])):
    index = tuple(np.asarray(i) if isinstance(i, list) else i for i in index) if isinstance(index, tuple) else index
    x = real(3, 2)
    part = x[index]
    add("getitem", [x], lambda x, index: x[index], index=index)

    def scattered(g, index, shape):
        y = np.zeros(shape)
        np.add.at(y, index, g)
        return y

    add("scatter", [real(*part.shape)], scattered, index=index, shape=(3, 2))
add("getitem", [real(3)], lambda x, index: x[index], index=np.array([True, False, True]))
TABLE["getitem"][-1] = Case(
    REGISTRY["getitem"],
    [real(3)],
    lambda x, index: x[index],
    {"index": 2},
    errors=(([real(3)], {"index": 3}, IndexError, r"getitem.*\(3,\)"),),
)
add("take_along_axis", [real(3, 4), whole(4, 3, 2)], np.take_along_axis, axis=1)
add("take_along_axis", [real(3, 4), whole(3, 2, 4)], np.take_along_axis, axis=0)


def _scatter_along(x, indices, axis, length):
    y = np.zeros((x.shape[0], length))
    for i, j in product(*map(range, x.shape)):
        y[i, indices[i, j]] += x[i, j]
    return y


add("scatter_along_axis", [real(3, 2), whole(4, 3, 2)], _scatter_along, axis=-1, length=4)
add(
    "one_hot",
    [whole(4, 2, 3)],
    lambda i, classes, dtype: np.eye(classes)[i],
    NON_DIFFERENTIABLE,
    classes=4,
    dtype="float64",
)
