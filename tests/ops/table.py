"""The op table: for every operation its kind, sample arguments, reference values and errors.

Samples are tiny float64 arrays. Piecewise operations are drawn away from their kinks and ties.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen.backend import device_of, to_device
from tinygen.errors import DtypeError, ShapeError, TinygenError, UsageError
from tinygen.kernels.geometry import Geometry
from tinygen.primitive import REGISTRY
from tinygen.tensor import Tensor

SMOOTH, PIECEWISE, NON_DIFFERENTIABLE = "smooth", "piecewise", "non-differentiable"


@dataclass(frozen=True)
class Case:
    """One call of an operation, and what must come of it."""

    function: Callable
    arguments: list[Any]
    reference: Callable[..., Any]
    static: dict[str, Any] = field(default_factory=dict)
    kind: str = SMOOTH
    errors: tuple[tuple[list[Any], dict[str, Any], type[Exception], str], ...] = ()

    def __call__(self, *arguments):
        return self.function(*arguments, **self.static)


TABLE: dict[str, list[Case]] = {}


def add(name: str, arguments, reference, category=SMOOTH, errors=(), **static) -> None:
    """Enter a case for the operation `name`, or for the function `functional.name`."""
    function = getattr(F, name.removeprefix("functional.")) if name.startswith("functional.") else REGISTRY[name]
    TABLE.setdefault(name, []).append(Case(function, list(arguments), reference, static, category, tuple(errors)))


def beside(x, constant):
    """A constant in the dtype and on the device of an argument."""
    data = x.data if isinstance(x, Tensor) else x
    return to_device(constant.astype(data.dtype), device_of(data))


_rng = np.random.default_rng(0)


def real(*shape):
    return _rng.standard_normal(shape)


def positive(*shape):
    return _rng.uniform(0.5, 2.0, shape)


def apart(*shape):
    """Values no closer than 0.1 to each other or to the points 0 and +-1, half of them negative."""
    n = math.prod(shape)
    values = 0.15 + 0.2 * np.arange(n) / max(1, n / 12)
    return (_rng.permutation(values) * _rng.choice([-1, 1], n)).reshape(shape)


def distinct(*shape):
    return _rng.permutation(np.arange(math.prod(shape), dtype=np.float64)).reshape(shape) * 0.3


def whole(high, *shape):
    return _rng.integers(0, high, shape)


MIXED = ([real(3), real(3).astype(np.float32)], {}, DtypeError, "float64.*float32")
UNFIT = ([real(3), real(4)], {}, ShapeError, r"\(3,\).*\(4,\)")
WHOLE = ([np.arange(3)], {}, DtypeError, "int64")

# Arithmetic

for name, reference, left, right in (
    ("add", np.add, real, real),
    ("subtract", np.subtract, real, real),
    ("multiply", np.multiply, real, real),
    ("divide", np.divide, real, positive),
    ("power", np.power, positive, real),
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
    ("functional.square", np.square, real),
    ("silu", lambda x: x / (1 + np.exp(-x)), real),
    ("gelu", lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2, real),
):
    add(name, [draw(2, 3)], reference, errors=[WHOLE])
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
for name, reference in (("maximum", np.maximum), ("minimum", np.minimum)):
    values = distinct(2, 2, 3)
    add(name, [values[0], values[1]], reference, PIECEWISE, errors=[MIXED, UNFIT])
    add(name, [values[0], values[1, :1]], reference, PIECEWISE)
    add(name, [apart(3), 0.05], reference, PIECEWISE)
add("where", [whole(2, 2, 3).astype(bool), real(2, 3), real(3)], np.where)
add("where", [whole(2, 2, 3).astype(bool), real(2, 3), 0.0], np.where)
add("masked", [real(2, 3), whole(2, 3).astype(bool)], lambda x, mask: np.where(mask, x, 0))
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

# Reductions

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

# Shapes

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
    """Each element added to the place that it mirrors."""
    shape = [n - sum(around) for n, around in zip(g.shape, widths, strict=True)]
    places = np.pad(np.arange(math.prod(shape)).reshape(shape), widths, mode="reflect")
    return np.bincount(places.ravel(), g.ravel()).reshape(shape)


for shape, widths in (((2, 3), ((0, 1), (2, 1))), ((3, 1, 4), ((2, 2), (0, 0), (0, 3))), ((3,), ((0, 0),))):
    margins = [sum(around) for around in widths]
    add("reflect_pad", [real(*shape)], _reflect, widths=widths)
    add("reflect_fold", [real(*np.add(shape, margins))], _reflect_fold, widths=widths)
    add("functional.pad", [real(*shape)], _reflect, widths=widths, mode="reflect")
add(
    "functional.pad",
    [real(2, 3)],
    lambda x, widths, value: np.pad(x, widths, constant_values=value),
    widths=((1, 0), (0, 2)),
    value=0.5,
    errors=[
        ([real(2, 3)], {"widths": ((0, 0), (3, 0)), "mode": "reflect"}, ShapeError, r"smaller than.*\(2, 3\)"),
        ([real(2, 0)], {"widths": ((0, 0), (1, 0)), "mode": "reflect"}, ShapeError, r"smaller than.*\(2, 0\)"),
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

# Matrix products

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

# Convolution, by loops


def _visits(x_size, w_shape, geometry: Geometry):
    """Every product in a convolution: (output row, column), (input row, column), (tap row, column), group."""
    (sh, sw), ((top, _), (left, _)), (dh, dw) = geometry.stride, geometry.padding, geometry.dilation
    rows, columns = geometry.output_size(x_size, w_shape[:2])
    for p, q, i, j in product(range(rows), range(columns), range(w_shape[0]), range(w_shape[1])):
        r, c = p * sh + i * dh - top, q * sw + j * dw - left
        if 0 <= r < x_size[0] and 0 <= c < x_size[1]:
            yield (p, q), (r, c), (i, j)


def _allowed(w_shape, mask):
    """Whether weight (i, j, c, k) is live, from the definition of the masks."""
    live = np.ones(w_shape, bool)
    if mask is not None:
        kind, colours = mask
        kh, kw, channels, outputs = w_shape
        for i, j, c, k in product(*map(range, w_shape)):
            seen, own = c * colours // channels, k * colours // outputs
            centre = seen < own if kind == "A" else seen <= own
            live[i, j, c, k] = (i, j) < (kh // 2, kw // 2) or ((i, j) == (kh // 2, kw // 2) and centre)
    return live


def _grouped(w, geometry: Geometry):
    """The weight as one over all channels: (KH, KW, C, K), zero between groups."""
    kh, kw, inner, outputs = w.shape
    full = np.zeros((kh, kw, inner * geometry.groups, outputs))
    step = outputs // geometry.groups
    live = w * _allowed(w.shape, geometry.mask)
    for group in range(geometry.groups):
        full[:, :, group * inner : (group + 1) * inner, group * step : (group + 1) * step] = live[
            ..., group * step : (group + 1) * step
        ]
    return full


def conv2d(x, w, geometry):
    full = _grouped(w, geometry)
    y = np.zeros((len(x), *geometry.output_size(x.shape[1:3], w.shape[:2]), w.shape[3]))
    for out, (r, c), tap in _visits(x.shape[1:3], w.shape, geometry):
        y[:, out[0], out[1]] += x[:, r, c] @ full[tap]
    return y


def conv2d_input_grad(g, w, size, geometry):
    full = _grouped(w, geometry)
    x = np.zeros((len(g), *size, full.shape[2]))
    for out, (r, c), tap in _visits(size, w.shape, geometry):
        x[:, r, c] += g[:, out[0], out[1]] @ full[tap].T
    return x


def conv2d_weight_grad(x, g, kernel_size, geometry):
    inner, outputs = x.shape[3] // geometry.groups, g.shape[3]
    w = np.zeros((*kernel_size, inner, outputs))
    step = outputs // geometry.groups
    for out, (r, c), tap in _visits(x.shape[1:3], w.shape, geometry):
        for group in range(geometry.groups):
            into, of = slice(group * inner, (group + 1) * inner), slice(group * step, (group + 1) * step)
            w[(*tap, slice(None), of)] += x[:, r, c, into].T @ g[:, out[0], out[1], of]
    return w * _allowed(w.shape, geometry.mask)


GEOMETRIES = (
    (Geometry(), (2, 4, 5, 2), (3, 2), 3),
    (Geometry(stride=(2, 1), padding=((1, 0), (0, 2))), (1, 5, 4, 1), (3, 3), 2),
    (Geometry(stride=(2, 2), padding=((1, 1), (1, 1))), (2, 4, 4, 3), (4, 4), 2),
    (Geometry(dilation=(2, 1), padding=((2, 2), (1, 1))), (1, 4, 3, 2), (3, 3), 1),
    (Geometry(groups=2, padding=((1, 1), (1, 1))), (1, 3, 3, 4), (3, 3), 6),
    (Geometry(stride=(3, 3)), (1, 5, 6, 2), (2, 2), 2),
    (Geometry(padding=((1, 1), (1, 1)), mask=("A", 1)), (1, 3, 4, 2), (3, 3), 2),
    (Geometry(padding=((1, 1), (2, 2)), mask=("B", 1)), (1, 3, 4, 2), (3, 5), 3),
    (Geometry(padding=((1, 1), (1, 1)), mask=("A", 3)), (1, 2, 3, 3), (3, 3), 6),
    (Geometry(padding=((1, 1), (1, 1)), mask=("B", 3)), (1, 2, 3, 6), (3, 3), 3),
    (Geometry(mask=("A", 1)), (1, 2, 2, 2), (1, 1), 2),
)
for geometry, x_shape, kernel_size, outputs in GEOMETRIES:
    x, w = real(*x_shape), real(*kernel_size, x_shape[3] // geometry.groups, outputs)
    g = real(x_shape[0], *geometry.output_size(x_shape[1:3], kernel_size), outputs)
    add("conv2d", [x, w], conv2d, geometry=geometry)
    add("conv2d_input_grad", [g, w], conv2d_input_grad, size=x_shape[1:3], geometry=geometry)
    add("conv2d_weight_grad", [x, g], conv2d_weight_grad, kernel_size=kernel_size, geometry=geometry)
    # The very same map, read off the convolution: <conv2d(x, w), g> = <x, input_grad(g, w)> = <w, weight_grad(x, g)>.
    inner = np.vdot(conv2d(x, w, geometry), g)
    assert np.isclose(inner, np.vdot(conv2d_input_grad(g, w, x_shape[1:3], geometry), x))
    assert np.isclose(inner, np.vdot(conv2d_weight_grad(x, g, kernel_size, geometry), w))
add(
    "conv2d",
    [real(1, 3, 3, 2), real(3, 3, 2, 1)],
    conv2d,
    geometry=Geometry(),
    errors=[
        ([real(1, 3, 3, 2), real(3, 3, 3, 1)], {"geometry": Geometry()}, ShapeError, r"2 channels.*\(3, 3, 3, 1\)"),
        ([real(3, 3, 2), real(3, 3, 2, 1)], {"geometry": Geometry()}, ShapeError, r"\(3, 3, 2\)"),
        ([real(1, 2, 3, 2), real(3, 3, 2, 1)], {"geometry": Geometry()}, ShapeError, "does not fit"),
    ],
)
add(
    "functional.conv2d",
    [real(1, 4, 4, 2), real(3, 3, 2, 3), real(3)],
    lambda x, w, b, **_: conv2d(x, w, Geometry()) + b,
)
add(
    "functional.conv2d",
    [real(1, 3, 4, 2), real(2, 3, 2, 3)],
    lambda x, w, **_: conv2d(x, w, Geometry(padding=((0, 1), (1, 1)))),
    padding="same",
    errors=[
        ([real(1, 3, 4, 2), real(2, 3, 2, 3)], {"padding": "same", "stride": 2}, UsageError, "stride 1"),
        ([real(1, 3, 4, 2), real(2, 3, 2, 3)], {"padding": "valid"}, UsageError, "valid"),
    ],
)
add(
    "functional.conv_transpose2d",
    [real(1, 2, 3, 2), real(4, 4, 3, 2), real(3)],
    lambda x, w, b, **_: conv2d_input_grad(x, w, (4, 6), Geometry((2, 2), ((1, 1), (1, 1)))) + b,
    stride=2,
    padding=1,
)
add(
    "functional.conv_transpose2d",
    [real(1, 2, 2, 1), real(3, 3, 1, 1)],
    lambda x, w, **_: conv2d_input_grad(x, w, (4, 4), Geometry((2, 2), ((1, 1), (1, 1)))),
    stride=2,
    padding=1,
    output_padding=1,
    errors=[([real(1, 2, 2, 1), real(3, 3, 1, 1)], {"stride": 2, "output_padding": 2}, UsageError, "output_padding")],
)
add(
    "functional.conv_transpose2d",  # what padding cut off comes back
    [real(1, 2, 2, 1), real(3, 3, 1, 2)[..., :1]],
    lambda x, w, **_: conv2d_input_grad(x, w, (5, 5), Geometry((1, 1), ((1, 0), (1, 0)), (2, 2))),
    padding=1,
    dilation=2,
    output_padding=1,
)
add(
    "functional.conv_transpose2d",  # and beyond it are zeros
    [real(1, 2, 2, 1), real(2, 2, 1, 1)],
    lambda x, w, **_: np.pad(
        conv2d_input_grad(x, w, (4, 4), Geometry(dilation=(2, 2))), ((0, 0), (0, 1), (0, 1), (0, 0))
    ),
    dilation=2,
    output_padding=1,
)
add(
    "functional.masked_conv2d",
    [real(1, 3, 3, 2), real(3, 3, 2, 2), real(2)],
    lambda x, w, b, **_: conv2d(x, w, Geometry(padding=((1, 1), (1, 1)), mask=("A", 1))) + b,
    kind="A",
    errors=[
        ([real(1, 3, 3, 2), real(3, 3, 2, 2)], {"kind": "C"}, UsageError, "'C'"),
        ([real(1, 3, 3, 2), real(2, 3, 2, 2)], {"kind": "A"}, ShapeError, "odd"),
    ],
)


def _line(f):
    """A two-dimensional reference for sequences."""
    return lambda x, w, b, **_: f(x[:, None], w[None])[:, 0] + b


add("functional.conv1d", [real(2, 5, 2), real(3, 2, 2), real(2)], _line(lambda x, w: conv2d(x, w, Geometry())))
add(
    "functional.conv1d",
    [real(1, 5, 2), real(2, 2, 1), real(1)],
    _line(lambda x, w: conv2d(x, w, Geometry(padding=((0, 0), (2, 0)), dilation=(1, 2)))),
    padding=(2, 0),
    dilation=2,
)
add(
    "functional.conv_transpose1d",
    [real(1, 3, 2), real(4, 1, 2), real(1)],
    _line(lambda x, w: conv2d_input_grad(x, w, (1, 6), Geometry((1, 2), ((0, 0), (1, 1))))),
    stride=2,
    padding=1,
)
add(
    "functional.masked_conv1d",
    [real(1, 4, 2), real(3, 2, 2), real(2)],
    _line(lambda x, w: conv2d(x, w, Geometry(padding=((0, 0), (1, 1)), mask=("B", 1)))),
    kind="B",
)

# Pooling and resampling


def _windows(x, size, stride):
    view = np.lib.stride_tricks.sliding_window_view(x, size, (1, 2))[:, :: stride[0], :: stride[1]]
    return view.transpose(0, 1, 2, 4, 5, 3)


def _overlap_add(g, image_size, stride):
    x = np.zeros((len(g), *image_size, g.shape[5]))
    for p, q, i, j in product(*map(range, g.shape[1:5])):
        x[:, p * stride[0] + i, q * stride[1] + j] += g[:, p, q, i, j]
    return x


def _padded(x, value):
    return np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=value)


add(
    "windows",
    [real(2, 4, 5, 2)],
    _windows,
    size=(2, 3),
    stride=(2, 1),
    errors=[([real(1, 2, 2, 1)], {"size": (3, 3), "stride": (1, 1)}, ShapeError, "does not fit")],
)
add("overlap_add", [real(1, 2, 3, 2, 2, 1)], _overlap_add, image_size=(4, 4), stride=(2, 1))
add(
    "functional.max_pool2d",
    [distinct(1, 4, 6, 2)],
    lambda x, size: _windows(x, (2, 2), (2, 2)).max((3, 4)),
    PIECEWISE,
    size=2,
)
add(
    "functional.max_pool2d",
    [distinct(1, 4, 4, 1)],
    lambda x, **_: _windows(_padded(x, -np.inf), (3, 3), (2, 2)).max((3, 4)),
    PIECEWISE,
    size=3,
    stride=2,
    padding=1,
)
add(
    "functional.avg_pool2d",
    [real(1, 4, 4, 2)],
    lambda x, **_: _windows(_padded(x, 0), (3, 3), (2, 2)).mean((3, 4)),
    size=3,
    stride=2,
    padding=1,
)
add("functional.upsample_nearest2d", [real(1, 2, 3, 2)], lambda x, factor: x.repeat(2, 1).repeat(3, 2), factor=(2, 3))
add("functional.downsample_nearest2d", [real(1, 5, 6, 1)], lambda x, factor: x[:, 1:4:2, 1::3], factor=(2, 3))


def _resize(x, size):
    for axis, m in enumerate(size, 1):
        n = x.shape[axis]
        centres, place = np.arange(n) + 0.5, (np.arange(m) + 0.5) * n / m
        x = np.apply_along_axis(lambda line, p=place, c=centres: np.interp(p, c, line), axis, x)
    return x


for shape, size in (((2, 3, 4, 2), (5, 8)), ((1, 5, 7, 1), (2, 3)), ((1, 1, 3, 2), (4, 1)), ((1, 2, 3, 1), (2, 3))):
    add("functional.resize_bilinear2d", [real(*shape)], _resize, size=size)
add(
    "functional.resize_bilinear2d",
    [real(1, 4, 4, 2)],
    lambda x, size: _resize(x, (6, 6)),
    size=6,
    errors=[
        ([real(3, 3, 1)], {"size": 2}, ShapeError, r"resize_bilinear2d: takes images .*\(3, 3, 1\)"),
        ([real(1, 3, 3, 1)], {"size": (2, 0)}, UsageError, r"size is \(2, 0\)"),
        ([whole(9, 1, 3, 3, 1)], {"size": 2}, DtypeError, "int64"),
    ],
)


def _shuffle(x, factor):
    """PyTorch's, whose images are (N, C, H, W): output channel c at (i, j) of a block is channel c f^2 + i f + j."""
    y = np.empty((len(x), x.shape[1] * factor, x.shape[2] * factor, x.shape[3] // factor**2))
    for c, i, j in np.ndindex(y.shape[3], factor, factor):
        y[:, i::factor, j::factor, c] = x[..., (c * factor + i) * factor + j]
    return y


def _unshuffle(x, factor):
    y = np.empty((len(x), x.shape[1] // factor, x.shape[2] // factor, x.shape[3] * factor**2))
    for c, i, j in np.ndindex(x.shape[3], factor, factor):
        y[..., (c * factor + i) * factor + j] = x[:, i::factor, j::factor, c]
    return y


add(
    "functional.pixel_shuffle",
    [real(2, 1, 2, 8)],
    _shuffle,
    factor=2,
    errors=[
        ([real(1, 2, 2, 6)], {"factor": 2}, ShapeError, "6 channels cannot be cut into blocks of 2 x 2"),
        ([real(2, 2, 4)], {"factor": 2}, ShapeError, r"pixel_shuffle: takes images .*\(2, 2, 4\)"),
    ],
)
add(
    "functional.pixel_unshuffle",
    [real(2, 3, 6, 2)],
    _unshuffle,
    factor=3,
    errors=[
        ([real(1, 4, 5, 1)], {"factor": 2}, ShapeError, "images 4 x 5 cannot be cut into blocks of 2 x 2"),
        ([real(2, 2, 4)], {"factor": 2}, ShapeError, r"pixel_unshuffle: takes images .*\(2, 2, 4\)"),
    ],
)
add(
    "functional.pixel_shuffle",
    [real(1, 2, 1, 6)],
    lambda x, factor: x.reshape(1, 2, 1, 2, 3).swapaxes(3, 4).reshape(1, 2, 3, 2),
    factor=(1, 3),
)

# Normalisation


def _normalize(x, scale=1.0, shift=0.0, *, axes, eps, slope=1.0):
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    y = (x - mean) / np.sqrt(var + eps) * (1.0 if scale is None else scale) + (0.0 if shift is None else shift)
    return np.where(y > 0, y, slope * y), mean, var


def _normalized(axes, shape=None):
    """The reference of a function: the first output of `_normalize`, computed in another shape."""
    return lambda x, scale=1.0, shift=0.0, **options: (
        _normalize(x.reshape(shape or x.shape), scale, shift, axes=axes, eps=1e-5, slope=options.get("slope", 1.0))[0]
    ).reshape(x.shape)


def off_the_kink(shape, row, axes):
    """Arguments of a normalisation whose result before a leaky ReLU is nowhere near 0."""
    while True:
        arguments = [real(*shape), real(*row), real(*row)]
        if np.abs(_normalize(*arguments, axes=axes, eps=1e-5)[0]).min() > 0.05:
            return arguments


# As batch, layer, instance and group norm, whole, and over axes that no kernel but the reference's knows.
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
        add("normalize", off_the_kink(shape, row, axes), _normalize, PIECEWISE, axes=axes, eps=1e-5, slope=slope)
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
add("functional.batch_norm", off_the_kink((3, 2, 2), (2,), (0, 1)), _normalized((0, 1)), PIECEWISE, slope=0.2)
TABLE["functional.batch_norm"].append(
    Case(
        lambda x, scale, shift, mean, var: F.batch_norm(x, scale, shift, mean=mean, var=var),
        [real(3, 2), real(2), real(2), real(2), positive(2)],
        lambda x, scale, shift, mean, var: (x - mean) / np.sqrt(var + 1e-5) * scale + shift,
    )
)
add("functional.layer_norm", [real(3, 4), real(4), real(4)], _normalized(1))
add("functional.layer_norm", off_the_kink((3, 2, 2), (2, 2), (1, 2)), _normalized((1, 2)), PIECEWISE, axes=2, slope=0.0)
add("functional.instance_norm", [real(2, 2, 3, 2), real(2), real(2)], _normalized((1, 2)))
add("functional.instance_norm", off_the_kink((2, 3, 2), (2,), 1), _normalized(1), PIECEWISE, slope=0.0)
add(
    "functional.group_norm",
    [real(2, 2, 2, 4)],
    _normalized((1, 3), (2, 4, 2, 2)),
    groups=2,
    errors=[([real(2, 3)], {"groups": 2}, ShapeError, "3 channels")],
)
x, scale, shift = off_the_kink((2, 3, 2, 2), (2, 2), (1, 3))
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


def _softmax(x, axis):
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


for axis in (-1, 0):
    add("softmax", [real(3, 4)], _softmax, axis=axis)
    add("log_softmax", [real(3, 4)], lambda x, axis: np.log(_softmax(x, axis)), axis=axis)

# Recurrent networks, by their equations, one gate at a time


def _gate(x):
    return 1 / (1 + np.exp(-x))


def _lstm(x, w, u, b, h, c):
    y = []
    for now in x.transpose(1, 0, 2):
        i, f, g, o = (now @ w[:, k] + h @ u[:, k] + b[k] for k in np.split(np.arange(len(b)), 4))
        c = _gate(f) * c + _gate(i) * np.tanh(g)
        h = _gate(o) * np.tanh(c)
        y.append(h)
    return np.stack(y, 1), c


def _gru(x, w, u, b, v, h):
    y = []
    for now in x.transpose(1, 0, 2):
        (xr, hr), (xz, hz), (xn, hn) = ((now @ w[:, k] + b[k], h @ u[:, k]) for k in np.split(np.arange(len(b)), 3))
        z, n = _gate(xz + hz), np.tanh(xn + _gate(xr + hr) * (hn + v))
        h = (1 - z) * n + z * h
        y.append(h)
    return np.stack(y, 1)


def _weights(gates, channels, hidden):
    """A weight of the input, one of the hidden state, and a bias."""
    return [real(channels, gates * hidden), real(hidden, gates * hidden), real(gates * hidden)]


for steps, channels, hidden in ((3, 2, 3), (1, 3, 2)):
    x, h, c = real(2, steps, channels), real(2, hidden), real(2, hidden)
    add("lstm", [x, *_weights(4, channels, hidden), h, c], _lstm)
    add("gru", [x, *_weights(3, channels, hidden), real(hidden), h], _gru)

# The functions start at rest. They are differentiated through the first output alone, as most uses are: by the kernels.
REST = np.zeros((2, 3))


def _gru_and_last(x, w, u, b, v, h=REST):
    y = _gru(x, w, u, b, v, h)
    return y, y[:, -1]


x, lstm, gru = real(2, 3, 2), _weights(4, 2, 3), [*_weights(3, 2, 3), real(3)]
h, c = real(2, 3), real(2, 3)
TABLE["functional.lstm"] = [
    Case(
        lambda *arguments: F.lstm(*arguments)[0],
        [x, *lstm, *state],
        lambda x, w, u, b, h=REST, c=REST: _lstm(x, w, u, b, h, c)[0],
        errors=tuple(errors),
    )
    for state, errors in (
        ([], [([x, *lstm, h.astype(np.float32)], {}, DtypeError, "lstm: mixed dtypes")]),
        (
            [h, c],
            [
                ([x[0], *lstm], {}, ShapeError, r"lstm: x \(3, 2\).*\(N, T, C\)"),
                ([x[:, :0], *lstm], {}, ShapeError, r"lstm: x \(2, 0, 2\).*T > 0"),
                ([real(2, 3, 4), *lstm], {}, ShapeError, r"x \(2, 3, 4\).*\(2, 12\).*\(C, 4H\)"),
                ([x, *gru[:3]], {}, ShapeError, r"\(2, 9\), \(3, 9\), \(9,\)"),
                ([x, *lstm[:2], real(1)], {}, ShapeError, r"\(3, 12\), \(1,\)"),
                ([x, lstm[0], *lstm[2:], lstm[1]], {}, ShapeError, r"\(12,\), \(3, 12\)"),
                ([x, *lstm, h[:1], c], {}, ShapeError, r"state \(1, 3\), \(2, 3\)"),
                ([x, *lstm, h, c[0]], {}, ShapeError, r"state \(2, 3\), \(3,\)"),
            ],
        ),
    )
]
add("functional.gru", [x, *gru], _gru_and_last)
add(
    "functional.gru",
    [x, *gru, h],
    _gru_and_last,
    errors=[
        ([x, *lstm, real(3)], {}, ShapeError, r"gru: .*\(2, 12\).*\(C, 3H\)"),
        ([x, *gru[:3], real(1)], {}, ShapeError, r"\(9,\), \(1,\).*\(H,\)"),
        ([x, *gru, h[0]], {}, ShapeError, r"state \(3,\)"),
    ],
)

# Losses


def _cross_entropy(logits, target):
    return -np.log(np.take_along_axis(_softmax(logits, -1), target[..., None], -1))[..., 0]


DIFFERENT = ([real(3), real(4)], {}, ShapeError, "differ in shape")
BROADCAST = ([real(3, 1), real(3)], {}, ShapeError, "differ in shape")


def _bce(p, t):
    return -t * np.log(p) - (1 - t) * np.log(1 - p)


def share(*shape):
    return _rng.uniform(0.1, 0.9, shape)


add(
    "binary_cross_entropy_with_logits",
    [real(3, 4), share(3, 4)],
    lambda x, t: _bce(1 / (1 + np.exp(-x)), t),
    errors=[MIXED],
)
add(
    "functional.binary_cross_entropy_with_logits",
    [real(3, 4), share(3, 4)],
    lambda x, t: _bce(1 / (1 + np.exp(-x)), t),
    errors=[DIFFERENT, BROADCAST],
)
add(
    "binary_cross_entropy_with_logits",
    [np.array([-800.0, 800.0]), np.array([1.0, 0.0])],
    lambda x, t: np.array([800.0, 800.0]),
)
add("functional.binary_cross_entropy", [share(3), share(3)], _bce, errors=[DIFFERENT, BROADCAST])
add("functional.squared_error", [real(3), real(3)], lambda a, b: (a - b) ** 2, errors=[DIFFERENT, BROADCAST])
add("functional.absolute_error", [apart(6), np.zeros(6)], lambda a, b: np.abs(a - b), PIECEWISE, errors=[DIFFERENT])
add(
    "functional.huber",
    [apart(8), np.zeros(8)],
    lambda a, b, delta: np.where(np.abs(a - b) < delta, (a - b) ** 2 / 2, delta * (np.abs(a - b) - delta / 2)),
    PIECEWISE,
    delta=0.5,
    errors=[DIFFERENT],
)
CLASSES = ([real(3, 4), whole(4, 2)], {}, ShapeError)
for shape in ((3, 4), (2, 2, 3), (5,), (0, 3)):
    logits, target = real(*shape), whole(shape[-1], *shape[:-1])
    add("cross_entropy", [logits, target], _cross_entropy, errors=[(*CLASSES, r"cross_entropy.*\(3, 4\)")])
    add("functional.cross_entropy", [logits, target], _cross_entropy, errors=[(*CLASSES, "do not fit")])


def _kl(mean, log_var):
    return 0.5 * (mean**2 + np.exp(log_var) - log_var - 1)


def _reparameterize(mean, log_var, noise):
    return mean + np.exp(log_var / 2) * noise


for prefix, errors in (("", [MIXED, UNFIT]), ("functional.", [DIFFERENT, BROADCAST])):
    add(prefix + "gaussian_kl", [real(2, 3), real(2, 3)], _kl, errors=errors)
    add(prefix + "gaussian_kl", [real(), real()], _kl)
    errors = [([*arrays, arrays[1]], *rest) for arrays, *rest in errors]
    add(prefix + "reparameterize", [real(2, 3), real(2, 3), real(2, 3)], _reparameterize, errors=errors)
noise = real(2, 3)  # without gradient, as in a sample: then the kernels serve
TABLE["reparameterize"].append(
    Case(
        lambda mean, log_var: REGISTRY["reparameterize"](mean, log_var, beside(mean, noise)),
        [real(2, 3), real(2, 3)],
        lambda mean, log_var: _reparameterize(mean, log_var, noise),
    )
)
share_of = share(3, 4)
TABLE["binary_cross_entropy_with_logits"].append(
    Case(
        lambda x: REGISTRY["binary_cross_entropy_with_logits"](x, beside(x, share_of)),
        [real(3, 4)],
        lambda x: _bce(1 / (1 + np.exp(-x)), share_of),
    )
)
assert issubclass(ShapeError, TinygenError)
