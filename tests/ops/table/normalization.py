"""Rows of the op table: normalisation and softmax."""

from itertools import product

import numpy as np

from tests.ops.table.case import PIECEWISE, TABLE, Case, add, positive, real
from tinygen import functional as F
from tinygen.errors import ShapeError


def _normalize(x, scale=1.0, shift=0.0, *, axes, eps, slope=1.0):
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    y = (x - mean) / np.sqrt(var + eps) * (1.0 if scale is None else scale) + (0.0 if shift is None else shift)
    return np.where(y > 0, y, slope * y), mean, var


def _normalized(axes, shape=None):
    """The reference of a function: the first output of `_normalize`, computed in another shape."""
    return lambda x, scale=1.0, shift=0.0, **options: (
        _normalize(x.reshape(shape or x.shape), scale, shift, axes=axes, eps=1e-5, slope=options.get("slope", 1.0))[0]
    ).reshape(x.shape)


def away_from_the_kink(shape, row, axes):
    """Arguments of a normalisation whose outputs before a leaky ReLU are all away from 0."""
    while True:
        arguments = [real(*shape), real(*row), real(*row)]
        if np.abs(_normalize(*arguments, axes=axes, eps=1e-5)[0]).min() > 0.05:
            return arguments


# Batch, layer, instance and group norm, all axes, and axes that only the reference supports.
for shape, row, axes in (
    ((3, 2, 3), (3,), (0, 1)),
    ((7, 1), (1,), (0,)),
    ((3, 5), (5,), (1,)),
    ((2, 3, 4), (3, 4), (-2, -1)),
    ((2, 5, 2), (2,), (1,)),
    ((2, 3, 2, 2), (2, 2), (1, 3)),
    ((3, 2), (3, 2), (0, 1)),
    ((2, 3, 2, 2, 2), (2, 1, 2), (0, 2, 4)),
):
    for scale, shift in product((real(*row), None), repeat=2):
        add("normalize", [real(*shape), scale, shift], _normalize, axes=axes, eps=1e-3)
    for slope in (0.0, 0.2):
        add("normalize", away_from_the_kink(shape, row, axes), _normalize, PIECEWISE, axes=axes, eps=1e-5, slope=slope)
add("normalize", [real(2, 3)], _normalize, axes=(1,), eps=1e-5)
add("normalize", [real(2, 3, 2), real(2, 1, 2), real(1)], _normalize, axes=(1,), eps=1e-5)
add(
    "normalize",
    [real(3, 4), real(4), None],
    _normalize,
    axes=(0,),
    eps=1e-5,
    errors=[
        ([real(3, 4), real(3), None], {"axes": (0,), "eps": 1e-5}, ShapeError, r"\(3, 4\).*\(3,\)"),
        ([real(3, 4), None, None], {"axes": (2,), "eps": 1e-5}, ShapeError, r"axis 2.*\(3, 4\)"),
    ],
)
add("functional.normalize", [real(3, 4)], _normalize, axes=(0,), eps=1e-5)
add("functional.batch_norm", [real(3, 2, 2), real(2), real(2)], _normalized((0, 1)))
add("functional.batch_norm", away_from_the_kink((3, 2, 2), (2,), (0, 1)), _normalized((0, 1)), PIECEWISE, slope=0.2)
TABLE["functional.batch_norm"].append(
    Case(
        lambda x, scale, shift, mean, var: F.batch_norm(x, scale, shift, mean=mean, var=var),
        [real(3, 2), real(2), real(2), real(2), positive(2)],
        lambda x, scale, shift, mean, var: (x - mean) / np.sqrt(var + 1e-5) * scale + shift,
    )
)
add("functional.layer_norm", [real(3, 4), real(4), real(4)], _normalized(1))
add(
    "functional.layer_norm",
    away_from_the_kink((3, 2, 2), (2, 2), (1, 2)),
    _normalized((1, 2)),
    PIECEWISE,
    axes=2,
    slope=0.0,
)


def _rms_norm(x, scale, axes):
    return x / np.sqrt((x**2).mean(tuple(range(x.ndim - axes, x.ndim)), keepdims=True) + 1e-6) * scale


for shape, axes in (((3, 4), 1), ((2, 3, 2), 2)):
    add("functional.rms_norm", [real(*shape), real(*shape[-axes:])], _rms_norm, axes=axes)
add("functional.instance_norm", [real(2, 2, 3, 2), real(2), real(2)], _normalized((1, 2)))
add("functional.instance_norm", away_from_the_kink((2, 3, 2), (2,), 1), _normalized(1), PIECEWISE, slope=0.0)
add(
    "functional.group_norm",
    [real(2, 2, 2, 4)],
    _normalized((1, 3), (2, 4, 2, 2)),
    groups=2,
    errors=[([real(2, 3)], {"groups": 2}, ShapeError, "3 channels")],
)
x, scale, shift = away_from_the_kink((2, 3, 2, 2), (2, 2), (1, 3))
TABLE["functional.group_norm"].append(
    Case(
        lambda x, scale, shift: F.group_norm(x, 2, scale, shift, slope=0.2),
        [x.reshape(2, 3, 4), scale.reshape(4), shift.reshape(4)],
        lambda x, *affine: _normalize(
            x.reshape(2, 3, 2, 2), *[p.reshape(2, 2) for p in affine], axes=(1, 3), eps=1e-5, slope=0.2
        )[0].reshape(x.shape),
        kind=PIECEWISE,
    )
)


def softmax(x, axis):
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


for axis in (-1, 0):
    add("softmax", [real(3, 4)], softmax, axis=axis)
    add("log_softmax", [real(3, 4)], lambda x, axis: np.log(softmax(x, axis)), axis=axis)
