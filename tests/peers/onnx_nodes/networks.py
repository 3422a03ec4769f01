"""ONNX operators of networks: channels move to the end and back."""

import math

import numpy as np

from tests.peers.onnx_nodes.elementwise import floats, is_float
from tests.peers.onnx_nodes.graph import OPERATORS, counting_outputs, operator, require
from tinygen import functional as F


def last(x):
    return np.moveaxis(x, 1, -1)


def first(x):
    return np.moveaxis(x, -1, 1)


def paddings(x, size, strides, dilations, pads, auto_pad):
    """((before, after), ...) of each spatial axis."""
    axes = range(len(size))
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        around = []
        for n, k, s, d in zip(x.shape[2:], size, strides, dilations, strict=True):
            total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            low = total // 2
            around.append((low, total - low) if auto_pad == "SAME_UPPER" else (total - low, low))
        return around
    return [(pads[i], pads[i + len(size)]) for i in axes] if pads and auto_pad == "NOTSET" else [(0, 0)] * len(size)


def plain(values, axes):
    return values[0] if axes == 1 else tuple(values)


@operator("Conv")
def conv(x, w, b=None, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, pads=None, strides=None):
    axes = w.ndim - 2
    strides, dilations = strides or [1] * axes, dilations or [1] * axes
    around = paddings(x, w.shape[2:], strides, dilations, pads, auto_pad)
    x = F.pad(last(x), ((0, 0), *around, (0, 0)))
    w = w.transpose((*range(2, w.ndim), 1, 0))
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[axes]
    return first(function(x, w, b, plain(strides, axes), 0, plain(dilations, axes), group))


@operator("ConvTranspose")
def conv_transpose(
    x,
    w,
    b=None,
    auto_pad="NOTSET",
    dilations=None,
    group=1,
    kernel_shape=None,
    output_padding=None,
    output_shape=None,
    pads=None,
    strides=None,
):
    axes = w.ndim - 2
    strides, dilations = strides or [1] * axes, dilations or [1] * axes
    extra = output_padding or [0] * axes
    sizes = zip(x.shape[2:], w.shape[2:], strides, dilations, extra, strict=True)
    full = [s * (n - 1) + e + d * (k - 1) + 1 for n, k, s, d, e in sizes]
    if output_shape is not None or auto_pad.startswith("SAME"):
        wanted = output_shape or [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
        totals = [f - n for f, n in zip(full, wanted, strict=True)]
        halves = [t // 2 if auto_pad == "SAME_UPPER" else t - t // 2 for t in totals]
        pads = [*halves, *(t - h for t, h in zip(totals, halves, strict=True))]
    pads = pads or [0] * (2 * axes)
    function = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[axes]
    w = w.transpose((*range(2, w.ndim), 1, 0))
    y = function(last(x), w, None, plain(strides, axes), 0, 0, group, plain(dilations, axes))
    widths = [(max(-pads[i], 0), max(-pads[i + axes], 0) + extra[i]) for i in range(axes)]
    y = F.pad(y, ((0, 0), *widths, (0, 0)))
    y = y if b is None else y + b
    inside = tuple(slice(max(pads[i], 0), y.shape[i + 1] - max(pads[i + axes], 0)) for i in range(axes))
    return first(y[(slice(None), *inside)])


def _windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode, value):
    """The padded input with channels last, and its windows as an engine's pooling would take them."""
    axes = len(kernel_shape)
    strides, dilations = strides or [1] * axes, dilations or [1] * axes
    around = paddings(x, kernel_shape, strides, dilations, pads, auto_pad)
    if ceil_mode:
        for i, (n, k, s, d) in enumerate(zip(x.shape[2:], kernel_shape, strides, dilations, strict=True)):
            length, reach = n + sum(around[i]), d * (k - 1) + 1
            steps = -(-(length - reach) // s)
            steps -= steps * s >= n + around[i][0]
            around[i] = around[i][0], around[i][1] + max(steps * s + reach - length, 0)
    return F.pad(last(x), ((0, 0), *around, (0, 0)), value), strides, dilations


def _pool(x, kernel_shape, strides, dilations, kind):
    axes = len(kernel_shape)
    if axes == 1:
        x = x[:, None]
        kernel_shape, strides, dilations = (1, *kernel_shape), (1, *strides), (1, *dilations)
    if kind == "max":
        y = (F.max_pool3d if axes == 3 else F.max_pool2d)(x, tuple(kernel_shape), tuple(strides), 0, tuple(dilations))
    else:
        function = F.conv3d if axes == 3 else F.conv2d
        weight = np.ones((*kernel_shape, 1, x.shape[-1]), x.dtype)
        y = function(x, weight, None, tuple(strides), 0, tuple(dilations), x.shape[-1])
    return first(y[:, 0] if axes == 1 else y)


@operator("MaxPool")
@counting_outputs
def max_pool(
    x, kernel_shape, auto_pad="NOTSET", ceil_mode=0, dilations=None, pads=None, storage_order=0, strides=None, outputs=1
):
    require(outputs == 1)
    if x.dtype.kind != "f":
        return max_pool(
            x.astype("float32"), kernel_shape, auto_pad, ceil_mode, dilations, pads, storage_order, strides
        ).astype(x.dtype)
    x, strides, dilations = _windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode, -math.inf)
    return _pool(x, kernel_shape, strides, dilations, "max")


@operator("AveragePool")
def average_pool(
    x, kernel_shape, auto_pad="NOTSET", ceil_mode=0, count_include_pad=0, dilations=None, pads=None, strides=None
):
    require(not (ceil_mode and count_include_pad))
    ones = np.ones_like(x)
    if count_include_pad:
        around = paddings(
            x, kernel_shape, strides or [1] * len(kernel_shape), dilations or [1] * len(kernel_shape), pads, auto_pad
        )
        x, ones = (np.pad(a, ((0, 0), (0, 0), *around), constant_values=v) for a, v in ((x, 0), (ones, 1)))
        pads, auto_pad = None, "NOTSET"
    sums, counts = (
        _pool(*_split(a, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode), "sum") for a in (x, ones)
    )
    return sums / counts


def _split(x, kernel_shape, *rest):
    x, strides, dilations = _windows(x, kernel_shape, *rest, 0.0)
    return x, kernel_shape, strides, dilations


@operator("LpPool")
def lp_pool(x, kernel_shape, p=2, auto_pad="NOTSET", ceil_mode=0, dilations=None, pads=None, strides=None):
    sums = _pool(*_split(np.abs(x) ** p, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode), "sum")
    return sums ** (1 / p)


def _everywhere(x):
    return tuple(range(2, x.ndim))


OPERATORS["GlobalAveragePool"] = lambda x: F.mean(x, axis=_everywhere(x), keepdims=True)
OPERATORS["GlobalMaxPool"] = lambda x: F.max(x, axis=_everywhere(x), keepdims=True)

# Products


@operator("MatMul")
def matmul(a, b):
    if not is_float(a):
        return np.matmul(a, b)
    row, column = a.ndim == 1, b.ndim == 1
    y = floats(F.matmul)(a[None] if row else a, b[:, None] if column else b)
    y = y[..., 0] if column else y
    return y[..., 0, :] if row and not column else y[..., 0] if row else y


@operator("Gemm")
def gemm(a, b, c=None, alpha=1.0, beta=1.0, transA=0, transB=0):
    y = alpha * F.matmul(a.T if transA else a, b.T if transB else b)
    return y if c is None else y + beta * c


@operator("MatMulInteger")
def matmul_integer(a, b, a_zero=None, b_zero=None):
    a = a.astype("int32") - (0 if a_zero is None else a_zero.astype("int32"))
    return np.matmul(a, b.astype("int32") - (0 if b_zero is None else b_zero.astype("int32")))


@operator("Einsum")
def einsum(*xs, equation):
    equation = equation.replace(" ", "")
    if "->" not in equation:
        letters = [c for c in equation if c.isalpha()]
        equation += "->" + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    return F.einsum(equation, *xs)


OPERATORS["Det"] = F.det

# Normalisation


@operator("BatchNormalization")
def batch_norm(x, scale, shift, mean, var, epsilon=1e-5, momentum=0.9, training_mode=0):
    if not training_mode:
        return first(F.batch_norm(last(x), scale, shift, mean=mean, var=var, eps=epsilon))
    y, m, v = F.normalize(last(x), tuple(range(x.ndim - 1)), epsilon, scale=scale, shift=shift)
    m, v = m.reshape(-1), v.reshape(-1)
    return first(y), mean * momentum + m * (1 - momentum), var * momentum + v * (1 - momentum)


@operator("LayerNormalization")
@counting_outputs
def layer_norm(x, scale, shift=None, axis=-1, epsilon=1e-5, stash_type=1, outputs=1):
    axes = tuple(range(axis % x.ndim, x.ndim))
    y, mean, var = F.normalize(x, axes, epsilon, scale=scale, shift=shift)
    return (y, mean, 1 / F.sqrt(var + np.float32(epsilon)))[:outputs]


@operator("RMSNormalization")
def rms_norm(x, scale, axis=-1, epsilon=1e-5, stash_type=1):
    axes = x.ndim - axis % x.ndim
    return floats(lambda x, scale: F.rms_norm(x, axes=axes, eps=epsilon) * scale)(x, scale)


@operator("InstanceNormalization")
def instance_norm(x, scale, shift, epsilon=1e-5):
    return first(F.instance_norm(last(x), scale, shift, eps=epsilon))


@operator("GroupNormalization")
def group_norm(x, scale, shift, num_groups, epsilon=1e-5, stash_type=1):
    return first(F.group_norm(last(x), num_groups, scale, shift, eps=epsilon))


@operator("MeanVarianceNormalization")
def mean_variance_norm(x, axes=(0, 2, 3)):
    centred = x - F.mean(x, axis=tuple(axes), keepdims=True)
    return centred / (F.sqrt(F.mean(F.square(centred), axis=tuple(axes), keepdims=True)) + 1e-9)


@operator("LpNormalization")
def lp_norm(x, axis=-1, p=2):
    length = F.norm(x, p, axis, True)
    return F.where(length == 0, 0.0, x / np.where(length == 0, 1, length).astype(x.dtype))


@operator("LRN")
def local_response_norm(x, size, alpha=1e-4, beta=0.75, bias=1.0):
    y, channels = last(x), x.shape[1]
    padded = F.pad(F.square(y), (*((0, 0),) * (x.ndim - 1), ((size - 1) // 2, size // 2)))
    total = sum(padded[..., i : i + channels] for i in range(size))
    return first(y / (total * (alpha / size) + bias) ** beta)


# Losses


def _loss(log_probs, target, weight, ignore_index, reduction):
    flat = np.where(target == ignore_index, 0, target) if ignore_index is not None else target
    value = -F.take_along_axis(last(log_probs), flat[..., None], axis=-1)[..., 0]
    weights = np.ones(target.shape, value.dtype) if weight is None else weight[flat]
    weights = weights * (target != ignore_index) if ignore_index is not None else weights
    value = value * weights.astype(value.dtype)
    if reduction == "none":
        return value
    return np.asarray(F.sum(value) / weights.sum().astype(value.dtype) if reduction == "mean" else F.sum(value))


@operator("NegativeLogLikelihoodLoss")
def nll_loss(x, target, weight=None, ignore_index=None, reduction="mean"):
    return _loss(x, target, weight, ignore_index, reduction)


@operator("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(x, target, weight=None, ignore_index=None, reduction="mean"):
    log_probs = F.log_softmax(x, axis=1)
    return _loss(log_probs, target, weight, ignore_index, reduction), log_probs
