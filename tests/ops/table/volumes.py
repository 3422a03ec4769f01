"""Rows of the op table: volumes, with references of one window at a time."""

import math
from itertools import product

import numpy as np

from tests.ops.table.case import PIECEWISE, add, distinct, real
from tinygen.errors import ShapeError, UsageError


def _triple(value):
    return value if isinstance(value, tuple) else (value,) * 3


def _windows(x, size, stride, padding, dilation, value):
    """Yield the place of each window of the volumes, and the window (N, KD, KH, KW, C)."""
    size, padding, dilation = _triple(size), _triple(padding), _triple(dilation)
    stride = size if stride is None else _triple(stride)
    x = np.pad(x, ((0, 0), *((p, p) for p in padding), (0, 0)), constant_values=value)
    lengths = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[1:4], size, stride, dilation, strict=True)]
    for place in product(*map(range, lengths)):
        parts = [
            slice(p * s, p * s + d * (k - 1) + 1, d) for p, s, d, k in zip(place, stride, dilation, size, strict=True)
        ]
        yield place, x[:, parts[0], parts[1], parts[2]]


def _gathered(windows, reduce):
    """The reductions of windows, each at its place."""
    values = {place: reduce(window) for place, window in windows}
    shape = tuple(n + 1 for n in max(values))
    y = np.zeros((len(next(iter(values.values()))), *shape, next(iter(values.values())).shape[-1]))
    for place, value in values.items():
        y[(slice(None), *place)] = value
    return y


def _conv3d(x, w, b=0.0, stride=1, padding=0, dilation=1, groups=1):
    cut = [np.split(a, groups, axis) for a, axis in ((x, 4), (w, 4))]
    parts = [
        _gathered(
            _windows(xs, w.shape[:3], stride, padding, dilation, 0),
            lambda window, ws=ws: np.einsum("ndhwc,dhwck->nk", window, ws),
        )
        for xs, ws in zip(*cut, strict=True)
    ]
    return np.concatenate(parts, -1) + b


add("functional.conv3d", [real(1, 3, 3, 2, 2), real(2, 2, 1, 2, 3), real(3)], _conv3d)
add("functional.conv3d", [real(2, 4, 3, 3, 2), real(2, 1, 2, 1, 2)], _conv3d, stride=(2, 1, 1), padding=1, groups=2)
add("functional.conv3d", [real(1, 4, 2, 2, 1), real(2, 1, 1, 1, 1)], _conv3d, dilation=(2, 1, 1))
add(
    "functional.conv3d",
    [real(1, 2, 3, 3, 1), real(3, 3, 3, 1, 1)],
    lambda x, w, padding: _conv3d(x, w, padding=1),
    padding="same",
    errors=[
        ([real(3, 3, 2, 2), real(2, 2, 1, 2, 3)], {}, ShapeError, r"conv3d: takes volumes .*\(3, 3, 2, 2\)"),
        ([real(1, 3, 3, 2, 4), real(2, 2, 1, 2, 3)], {}, ShapeError, r"conv3d: 4 channels .* \(2, 2, 1, 2, 3\)"),
        ([real(1, 1, 3, 3, 1), real(2, 2, 2, 1, 1)], {}, ShapeError, "does not fit into the padded input"),
        ([real(1, 2, 3, 3, 1), real(2, 2, 2, 1, 1)], {"stride": 0}, UsageError, "stride is 0"),
    ],
)


def _transposed(x, w, b=0.0, stride=1, padding=0, output_padding=0, dilation=1):
    """Each element of the input adds its multiple of the weight to the output."""
    stride, padding, extra, dilation = map(_triple, (stride, padding, output_padding, dilation))
    n, sizes = len(x), list(zip(x.shape[1:4], w.shape[:3], stride, extra, dilation, strict=True))
    full = [(length - 1) * s + d * (k - 1) + 1 + e for length, k, s, e, d in sizes]
    y = np.zeros((n, *full, w.shape[3]))
    for place in product(*map(range, x.shape[1:4])):
        for tap in product(*map(range, w.shape[:3])):
            target = tuple(p * s + t * d for p, s, t, d in zip(place, stride, tap, dilation, strict=True))
            y[(slice(None), *target)] += x[(slice(None), *place)] @ w[tap].T
    inside = tuple(slice(p, length - p) for p, length in zip(padding, full, strict=True))
    return y[(slice(None), *inside)] + b


add("functional.conv_transpose3d", [real(2, 2, 1, 2, 2), real(2, 2, 2, 3, 2), real(3)], _transposed)
add(
    "functional.conv_transpose3d",
    [real(1, 2, 2, 2, 1), real(3, 3, 3, 1, 1)],
    _transposed,
    stride=2,
    padding=1,
    output_padding=1,
)
add(
    "functional.conv_transpose3d",
    [real(1, 2, 2, 1, 1), real(2, 1, 1, 1, 1)],
    _transposed,
    dilation=(2, 1, 1),
    errors=[([real(1, 1, 1, 1, 1), real(1, 1, 1, 1, 1)], {"padding": 1}, UsageError, "padding .* do not fit")],
)


def _pool(reduce, value):
    def pool(x, size, stride=None, padding=0, dilation=1):
        return _gathered(_windows(x, size, stride, padding, dilation, value), lambda window: reduce(window, (1, 2, 3)))

    return pool


for name, reduce, value, draw, kind in (
    ("max_pool3d", np.max, -math.inf, distinct, PIECEWISE),
    ("avg_pool3d", np.mean, 0.0, real, "smooth"),
):
    reference = _pool(reduce, value)
    add(f"functional.{name}", [draw(1, 4, 2, 3, 2)], reference, kind, size=2)
    add(f"functional.{name}", [draw(1, 3, 3, 3, 1)], reference, kind, size=(3, 2, 2), stride=(1, 2, 1), padding=1)
add("functional.max_pool3d", [distinct(1, 5, 3, 2, 1)], _pool(np.max, 0), PIECEWISE, size=(3, 2, 1), dilation=(2, 2, 1))
add(
    "functional.avg_pool3d",
    [real(1, 2, 2, 2, 1)],
    _pool(np.mean, 0),
    size=2,
    errors=[
        ([real(2, 2, 2, 1)], {"size": 2}, ShapeError, r"pooling: takes volumes .*\(2, 2, 2, 1\)"),
        ([real(1, 1, 2, 2, 1)], {"size": 2}, ShapeError, "does not fit"),
        ([real(1, 2, 2, 2, 1)], {"size": 1, "padding": 1}, UsageError, "smaller than the window"),
    ],
)
