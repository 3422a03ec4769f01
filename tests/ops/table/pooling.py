"""Rows of the op table: pooling and resampling."""

from itertools import product

import numpy as np

from tests.ops.table.case import PIECEWISE, add, distinct, real, whole
from tinygen.errors import DtypeError, ShapeError, UsageError


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
add(
    "windows",
    [real(1, 5, 4, 2)],
    lambda x, **_: _windows(x, (3, 4), (1, 1))[:, :, :, ::2, ::3],
    size=(2, 2),
    stride=(1, 1),
    dilation=(2, 3),
)
add(
    "overlap_add",
    [real(1, 1, 2, 2, 1, 1)],
    lambda g, **_: np.stack([g[0, 0, :, 0, 0], 0 * g[0, 0, :, 0, 0], g[0, 0, :, 1, 0]])[None],
    image_size=(3, 2),
    stride=(1, 1),
    dilation=(2, 1),
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
    "functional.max_pool2d",
    [distinct(1, 5, 5, 1)],
    lambda x, **_: _windows(x, (3, 3), (2, 2))[:, :, :, ::2, ::2].max((3, 4)),
    PIECEWISE,
    size=2,
    stride=2,
    dilation=2,
)


def _adaptive(reduce):
    def reference(x, size):
        rows, columns = size if isinstance(size, tuple) else (size, size)
        y = np.zeros((len(x), rows, columns, x.shape[3]))
        for i, j in product(range(rows), range(columns)):
            (top, bottom), (left, right) = (
                (k * n // bins, -(-(k + 1) * n // bins))
                for k, n, bins in ((i, x.shape[1], rows), (j, x.shape[2], columns))
            )
            y[:, i, j] = reduce(x[:, top:bottom, left:right], axis=(1, 2))
        return y

    return reference


for size in (1, 2, (3, 2), (5, 4), (2, 6)):
    add("functional.adaptive_avg_pool2d", [real(2, 5, 4, 2)], _adaptive(np.mean), size=size)
    add("functional.adaptive_max_pool2d", [distinct(1, 5, 4, 2)], _adaptive(np.max), PIECEWISE, size=size)
add(
    "functional.adaptive_avg_pool2d",
    [real(1, 4, 6, 1)],
    _adaptive(np.mean),
    size=(2, 3),
    errors=[([real(3, 3)], {"size": 1}, ShapeError, r"adaptive_avg_pool2d: takes images .*\(3, 3\)")],
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
        centres, position = np.arange(n) + 0.5, (np.arange(m) + 0.5) * n / m
        x = np.apply_along_axis(lambda line, p=position, c=centres: np.interp(p, c, line), axis, x)
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
