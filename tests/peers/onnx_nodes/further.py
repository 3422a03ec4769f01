"""ONNX operators of resampling, recurrent networks and quantisation."""

import math

import numpy as np

from tests.peers.onnx_nodes.graph import operator, require
from tests.peers.onnx_nodes.networks import first, last
from tinygen import functional as F


@operator("Resize")
def resize(
    x,
    roi=None,
    scales=None,
    sizes=None,
    antialias=0,
    axes=None,
    coordinate_transformation_mode="half_pixel",
    cubic_coeff_a=-0.75,
    exclude_outside=0,
    extrapolation_value=0.0,
    keep_aspect_ratio_policy="stretch",
    mode="nearest",
    nearest_mode="round_prefer_floor",
):
    require(keep_aspect_ratio_policy == "stretch" and not exclude_outside and not antialias)
    axes = list(range(x.ndim)) if axes is None else list(axes)
    given = scales if scales is not None and np.size(scales) else sizes
    new = dict(zip(axes, np.ravel(given).tolist(), strict=True))
    lengths = [math.floor(n * new.get(i, 1)) if given is scales else int(new.get(i, n)) for i, n in enumerate(x.shape)]
    require(
        given is sizes or all(n * new.get(i, 1) == m for i, (n, m) in enumerate(zip(x.shape, lengths, strict=True)))
    )
    require(all(n == m for n, m in zip(x.shape[:2], lengths[:2], strict=True)) and x.ndim == 4)
    corners = coordinate_transformation_mode == "align_corners"
    if mode == "nearest":
        require(coordinate_transformation_mode == "asymmetric" and nearest_mode == "floor")
        return first(F.interpolate(last(x), tuple(lengths[2:])))
    require(coordinate_transformation_mode == "half_pixel" or corners)
    require(mode != "cubic" or cubic_coeff_a == -0.75)
    kind = {"linear": "bilinear", "cubic": "bicubic"}[mode]
    return first(F.interpolate(last(x), tuple(lengths[2:]), mode=kind, align_corners=corners))


@operator("GridSample")
def grid_sample(x, grid, align_corners=0, mode="linear", padding_mode="zeros"):
    require(x.ndim == 4 and mode in ("linear", "bilinear", "nearest"))
    kind = "nearest" if mode == "nearest" else "bilinear"
    return first(F.grid_sample(last(x), grid, mode=kind, padding=padding_mode, align_corners=bool(align_corners)))


@operator("AffineGrid")
def affine_grid(theta, size, align_corners=0):
    lengths = [int(n) for n in size][2:]
    lines = [np.linspace(-1, 1, n) if align_corners else (np.arange(n) * 2 + 1) / n - 1 for n in lengths]
    points = np.stack([*np.meshgrid(*lines, indexing="ij")[::-1], np.ones(lengths)], -1).astype(theta.dtype)
    flat = F.matmul(points.reshape(1, -1, points.shape[-1]), theta.swapaxes(1, 2))
    return flat.reshape((len(theta), *lengths, len(lengths)))


# Recurrent networks


def _gates(w, order, hidden):
    """The gates of a weight (gates * H, ...) in another order, transposed."""
    return np.concatenate([w[i * hidden : (i + 1) * hidden] for i in order]).T


@operator("LSTM")
def lstm(
    x, w, r, b=None, lengths=None, h=None, c=None, p=None, hidden_size=None, layout=0, direction="forward", **options
):
    require(not options and p is None and direction == "forward")
    x = x if layout else x.swapaxes(0, 1)
    hidden, order = hidden_size, (0, 2, 3, 1)  # i, o, f, c to i, f, c, o
    bias = np.zeros((1, 8 * hidden), x.dtype) if b is None else b
    bias = _gates(bias[0, : 4 * hidden] + bias[0, 4 * hidden :], order, hidden)
    start = [None if s is None else s[0] for s in (h, c)]
    y, (h, c) = F.lstm(x, _gates(w[0], order, hidden), _gates(r[0], order, hidden), bias, *start)
    if layout:
        return y[:, :, None], h[:, None], c[:, None]
    return y.swapaxes(0, 1)[:, None], h[None], c[None]


@operator("GRU")
def gru(
    x,
    w,
    r,
    b=None,
    lengths=None,
    h=None,
    hidden_size=None,
    layout=0,
    direction="forward",
    linear_before_reset=0,
    **options,
):
    require(not options and direction == "forward" and (linear_before_reset or b is None or not np.any(b)))
    require(bool(linear_before_reset))
    x = x if layout else x.swapaxes(0, 1)
    hidden, order = hidden_size, (1, 0, 2)  # z, r, n to r, z, n
    bias = np.zeros((1, 6 * hidden), x.dtype) if b is None else b
    first_bias, second = bias[0, : 3 * hidden], bias[0, 3 * hidden :].copy()
    candidate = second[2 * hidden :].copy()
    second[2 * hidden :] = 0
    both = _gates(first_bias + second, order, hidden)
    y, h = F.gru(
        x, _gates(w[0], order, hidden), _gates(r[0], order, hidden), both, candidate, None if h is None else h[0]
    )
    return (y[:, :, None], h[:, None]) if layout else (y.swapaxes(0, 1)[:, None], h[None])


# Quantisation and optimisers are arithmetic


@operator("QuantizeLinear")
def quantize_linear(x, scale, zero=None, axis=1, saturate=1, block_size=0, output_dtype=0, precision=0):
    require(
        zero is not None
        and zero.dtype.kind in "iu"
        and not block_size
        and zero.dtype.itemsize
        and zero.dtype.name in ("uint8", "int8", "uint16", "int16")
    )
    shape = [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)] if np.size(scale) > 1 else []
    y = F.round(x.astype("float32") / scale.reshape(shape).astype("float32")) + zero.reshape(shape).astype("float32")
    limits = np.iinfo(zero.dtype)
    return np.clip(y, limits.min, limits.max).astype(zero.dtype)


@operator("DequantizeLinear")
def dequantize_linear(x, scale, zero=None, axis=1, block_size=0, output_dtype=0):
    require(not block_size and scale.dtype == np.float32)
    shape = [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)] if np.size(scale) > 1 else []
    offset = 0 if zero is None else zero.astype("float32").reshape(shape)
    return (x.astype("float32") - np.float32(offset)) * scale.reshape(shape)
