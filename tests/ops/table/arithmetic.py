"""Rows of the op table: arithmetic, comparisons and functions of single elements."""

import math

import numpy as np

from tests.ops.table.case import (
    MIXED,
    NON_DIFFERENTIABLE,
    PIECEWISE,
    UNFIT,
    WHOLE,
    add,
    apart,
    distinct,
    positive,
    real,
    share,
    whole,
)
from tinygen.errors import ShapeError

for name, reference, left, right in (
    ("add", np.add, real, real),
    ("subtract", np.subtract, real, real),
    ("multiply", np.multiply, real, real),
    ("divide", np.divide, real, positive),
    ("power", np.power, positive, real),
    ("atan2", np.arctan2, real, positive),
):
    add(name, [left(2, 3), right(2, 3)], reference, errors=[MIXED, UNFIT])
    add(name, [left(2, 1, 3), right(4, 1)], reference)
    add(name, [left(3), 2.5], reference)
    add(name, [2, right(3)], reference)
    add(name, [left(), right()], reference)
add("power", [real(2, 3), 2], np.power)
add("power", [real(2, 3), 3], np.power)
add("power", [real(2, 3), 0], np.power)

for name, reference, draw in (
    ("negative", np.negative, real),
    ("exp", np.exp, real),
    ("expm1", np.expm1, real),
    ("log", np.log, positive),
    ("log1p", np.log1p, positive),
    ("sqrt", np.sqrt, positive),
    ("sin", np.sin, real),
    ("cos", np.cos, real),
    ("tanh", np.tanh, real),
    ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), real),
    ("softplus", lambda x: np.log(1 + np.exp(x)), real),
    ("erf", np.vectorize(math.erf), real),
    ("tan", np.tan, share),
    ("asin", np.arcsin, share),
    ("acos", np.arccos, share),
    ("atan", np.arctan, real),
    ("sinh", np.sinh, real),
    ("cosh", np.cosh, real),
    ("asinh", np.arcsinh, real),
    ("acosh", np.arccosh, lambda *shape: 1.1 + positive(*shape)),
    ("atanh", np.arctanh, share),
    ("functional.square", np.square, real),
    ("silu", lambda x: x / (1 + np.exp(-x)), real),
    ("gelu", lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2, real),
):
    add(name, [draw(2, 3)], reference, errors=[WHOLE])
    add(name, [np.asarray(draw())], reference)
add(
    "gated_tanh",
    [real(2, 3, 4)],
    lambda x: np.tanh(x[..., :2]) / (1 + np.exp(-x[..., 2:])),
    errors=[([np.ones((2, 3))], {}, ShapeError, "gated_tanh")],
)
add("sigmoid", [np.array([-1000.0, 1000.0])], lambda x: np.array([0.0, 1.0]))
add("softplus", [np.array([-1000.0, 1000.0])], lambda x: np.array([0.0, 1000.0]))

for name, reference in (
    ("abs", np.abs),
    ("sign", np.sign),
    ("relu", lambda x: np.where(x > 0, x, 0)),
):
    add(name, [apart(2, 3)], reference, PIECEWISE, errors=[WHOLE])
for slope in (0.01, 0.2):
    add("leaky_relu", [apart(2, 3)], lambda x, slope: np.where(x > 0, x, slope * x), PIECEWISE, slope=slope)
    add(
        "leaky_relu_grad",
        [real(2, 3), apart(2, 3)],
        lambda g, y, slope: np.where(y > 0, g, slope * g),
        PIECEWISE,
        slope=slope,
    )
add("elu", [apart(2, 3)], lambda x, alpha: np.where(x > 0, x, alpha * (np.exp(x) - 1)), PIECEWISE, alpha=0.7)
add("functional.prelu", [apart(2, 3), real(3)], lambda x, slope: np.where(x > 0, x, slope * x), PIECEWISE)
for name, reference in (("maximum", np.maximum), ("minimum", np.minimum)):
    values = distinct(2, 2, 3)
    add(name, [values[0], values[1]], reference, PIECEWISE, errors=[MIXED, UNFIT])
    add(name, [values[0], values[1, :1]], reference, PIECEWISE)
    add(name, [apart(3), 0.05], reference, PIECEWISE)
add("where", [whole(2, 2, 3).astype(bool), real(2, 3), real(3)], np.where)
add("where", [whole(2, 2, 3).astype(bool), real(2, 3), 0.0], np.where)
add("zeros_like", [real(2, 3)], np.zeros_like)
add("abs_grad", [real(2, 3), apart(2, 3)], lambda g, x: g * np.sign(x), PIECEWISE)
add("clip", [apart(3, 4)], lambda x, low: np.maximum(x, low), PIECEWISE, low=-1.0)
add("clip", [apart(3, 4)], lambda x, high: np.minimum(x, high), PIECEWISE, high=0.5)
add("clip", [apart(3, 4)], lambda x, low, high: np.minimum(np.maximum(x, low), high), PIECEWISE, low=-1.0, high=0.5)

for name, reference in (
    ("equal", np.equal),
    ("not_equal", np.not_equal),
    ("less", np.less),
    ("less_equal", np.less_equal),
    ("greater", np.greater),
    ("greater_equal", np.greater_equal),
):
    add(name, [whole(3, 3, 4), whole(3, 4)], reference, NON_DIFFERENTIABLE, errors=[UNFIT])
    add(name, [np.round(real(6)), 0.0], reference, NON_DIFFERENTIABLE)
add("astype", [real(3)], lambda x, dtype: x.astype(dtype), dtype="float64")
add("astype", [np.arange(3)], lambda x, dtype: x.astype(dtype), NON_DIFFERENTIABLE, dtype="float64")
