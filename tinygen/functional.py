"""Functions of Tensors: the operations, and composites of them that need no gradient of their own.

Images are (N, H, W, C), sequences (N, T, C). Losses return elementwise values in nats and never broadcast.
"""

import builtins
import math
from dataclasses import replace
from operator import index
from typing import Literal

import numpy as np

from tinygen import random
from tinygen.backend import array_module, device_of
from tinygen.errors import DtypeError, ShapeError, UsageError
from tinygen.kernels.geometry import Geometry
from tinygen.ops import convolution as _convolution
from tinygen.ops import linear as _linear
from tinygen.ops import losses as _losses
from tinygen.ops import normalization as _normalization
from tinygen.ops import pooling as _pooling
from tinygen.ops import recurrent as _recurrent
from tinygen.ops.activations import gated_tanh, gelu, silu
from tinygen.ops.arithmetic import (
    abs,
    astype,
    cos,
    elu,
    equal,
    erf,
    exp,
    expm1,
    greater,
    greater_equal,
    leaky_relu,
    less,
    less_equal,
    log,
    log1p,
    maximum,
    minimum,
    not_equal,
    relu,
    sigmoid,
    sign,
    sin,
    softplus,
    sqrt,
    square,
    tanh,
    where,
)
from tinygen.ops.arithmetic import clip as _clip
from tinygen.ops.linear import matmul
from tinygen.ops.normalization import log_softmax, softmax
from tinygen.ops.reduction import argmax, cumsum, logsumexp, max, mean, min, sum, var
from tinygen.ops.shaping import (
    broadcast_to,
    flatten,
    flip,
    split,
    stack,
    take_along_axis,
)
from tinygen.ops.shaping import concatenate as _concatenate
from tinygen.ops.shaping import one_hot as _one_hot
from tinygen.ops.shaping import pad as _pad
from tinygen.ops.shaping import reflect_pad as _reflect_pad
from tinygen.tensor import Tensor

__all__ = [
    "abs",
    "absolute_error",
    "argmax",
    "astype",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "broadcast_to",
    "clip",
    "concatenate",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "cos",
    "cross_entropy",
    "cumsum",
    "downsample_nearest2d",
    "dropout",
    "einsum",
    "elu",
    "embedding",
    "equal",
    "erf",
    "exp",
    "expm1",
    "flatten",
    "flip",
    "gated_tanh",
    "gaussian_kl",
    "gelu",
    "greater",
    "greater_equal",
    "group_norm",
    "gru",
    "huber",
    "instance_norm",
    "layer_norm",
    "leaky_relu",
    "less",
    "less_equal",
    "linear",
    "log",
    "log1p",
    "log_softmax",
    "logsumexp",
    "lstm",
    "masked_conv1d",
    "masked_conv2d",
    "matmul",
    "max",
    "max_pool2d",
    "maximum",
    "mean",
    "min",
    "minimum",
    "normalize",
    "not_equal",
    "one_hot",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "relu",
    "reparameterize",
    "resize_bilinear2d",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softmax",
    "softplus",
    "split",
    "sqrt",
    "square",
    "squared_error",
    "stack",
    "sum",
    "take_along_axis",
    "tanh",
    "upsample_nearest2d",
    "var",
    "where",
]

IntPair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]] | Literal["same"]


def clip(x, low, high):
    """x held to [low, high]; the bounds themselves pass the gradient."""
    return _clip(x, low=low, high=high)


def concatenate(tensors, axis: int = 0):
    """A sequence of arrays joined along an axis."""
    return _concatenate(*tensors, axis=axis)


def pad(x, widths, value: float = 0.0, *, mode: Literal["constant", "reflect"] = "constant"):
    """x with ((before, after), ...) elements around it, one pair an axis: of a constant value, or mirrored.

    Mode "reflect" does not repeat the edge: 0 1 2 becomes 2 1 0 1 2 1. So it adds fewer elements than there are.
    """
    if len(widths) != x.ndim or any(len(pair) != 2 for pair in widths):
        raise ShapeError(f"pad: widths {widths} are not one (before, after) for each axis of {x.shape}")
    widths = tuple(map(tuple, widths))
    if mode == "reflect":
        return _reflect_pad(x, widths=widths)
    if mode != "constant":
        raise UsageError(f'pad: mode is "constant" or "reflect", not {mode!r}')
    return _pad(x, widths=widths, value=value)


def _check_classes(name: str, indices, classes: int) -> None:
    """Refuse what is no class. Values on a GPU are not looked at: that would wait for the device."""
    data = indices.data if isinstance(indices, Tensor) else indices
    if data.dtype.kind not in "iu":
        raise DtypeError(f"{name}: classes are integers, not {data.dtype}")
    if isinstance(data, np.ndarray) and data.size and not 0 <= data.min() <= data.max() < classes:
        raise ShapeError(f"{name}: classes reach from {data.min()} to {data.max()}, there are 0..{classes - 1}")


def one_hot(indices, classes: int, dtype="float32"):
    """Integers (...) to rows (..., classes) that are 1 at the integer and 0 elsewhere."""
    _check_classes("one_hot", indices, classes)
    return _one_hot(indices, classes=classes, dtype=dtype)


def embedding(indices, weight):
    """Rows (..., D) of a weight (classes, D) at integer indices (...)."""
    _check_classes("embedding", indices, weight.shape[0])
    return weight[indices]


def einsum(subscripts: str, *operands):
    """Einstein summation with every axis written out, such as `einsum("bij,bjk->bik", a, b)`."""
    return _linear.einsum(*operands, subscripts=subscripts)


def linear(x, w, b=None, *, slope: float = 1.0):
    """x @ w + b with x (..., in), w (in, out), b (out,); a `slope` below 1 applies a leaky ReLU in the same pass."""
    return _linear.linear(x, w, b, slope=slope)


# Convolution


def pair(value: IntPair, name: str = "size", minimum: int = 1) -> tuple[int, int]:
    """A whole number for both image axes, or one for each; UsageError for anything else."""
    try:
        numbers = tuple(map(index, value)) if isinstance(value, tuple | list) else (index(value),) * 2
    except TypeError:
        numbers = ()
    if len(numbers) != 2 or builtins.min(numbers) < minimum:
        raise UsageError(f"{name} is {value!r}; it is a whole number of at least {minimum}, or one for each axis")
    return numbers[0], numbers[1]


def _padding(padding: Padding, kernel_size, stride, dilation) -> tuple[tuple[int, int], tuple[int, int]]:
    if padding == "same":
        if stride != (1, 1):
            raise UsageError(f'padding="same" needs stride 1, not {stride}')
        total = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
        return (total[0] // 2, total[0] - total[0] // 2), (total[1] // 2, total[1] - total[1] // 2)
    return sides(padding)


def sides(padding: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """Any padding but "same" as ((top, bottom), (left, right))."""
    if isinstance(padding, str):
        raise UsageError(f'padding is a number, one an axis, (before, after) an axis, or "same", not {padding!r}')
    vertical, horizontal = padding if isinstance(padding, tuple | list) and len(padding) == 2 else (padding, padding)
    return pair(vertical, "padding", 0), pair(horizontal, "padding", 0)


def _geometry(kernel_size, stride, padding, dilation, groups, mask=None) -> Geometry:
    stride, dilation = pair(stride, "stride"), pair(dilation, "dilation")
    if groups < 1:
        raise UsageError(f"groups is {groups}; it must be at least 1")
    return Geometry(stride, _padding(padding, kernel_size, stride, dilation), dilation, groups, mask)


def conv2d(
    x,
    w,
    b=None,
    *,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    mask=None,
    slope: float = 1.0,
):
    """Convolution of images x (N, H, W, C) with w (KH, KW, C / groups, K) and bias b (K,): (N, OH, OW, K).

    `padding` is a number, one an axis, (before, after) an axis, or "same". `mask` is (kind, colours) of a masked
    convolution, see `masked_conv2d`. A `slope` below 1 applies a leaky ReLU in the same pass; 0 is a ReLU.
    """
    geometry = _geometry(w.shape[:2], stride, padding, dilation, groups, mask)
    return _convolution.conv2d(x, w, b, geometry=geometry, slope=slope)


def conv_transpose2d(
    x,
    w,
    b=None,
    *,
    stride: IntPair = 1,
    padding: Padding = 0,
    output_padding: IntPair = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    slope: float = 1.0,
):
    """Transposed convolution of images x (N, H, W, C): the adjoint of the `conv2d` with the same weight.

    w is (KH, KW, C_out / groups, C_in), as of the convolution it is adjoint to, and not flipped. Output length
    (H - 1) * stride - padding + dilation * (KH - 1) + 1 + output_padding. `slope` as in `conv2d`.
    """
    geometry = _geometry(w.shape[:2], stride, padding, dilation, groups)
    extra = pair(output_padding, "output_padding", 0)
    if any(e >= s and e >= d for e, s, d in zip(extra, geometry.stride, geometry.dilation, strict=True)):
        raise UsageError(f"output_padding {extra} must be smaller than stride or dilation")
    # The rows that output padding adds are those that padding would have cut off, then zeros.
    uncut = [builtins.min(after, e) for (_, after), e in zip(geometry.padding, extra, strict=True)]
    kept = tuple((before, after - u) for (before, after), u in zip(geometry.padding, uncut, strict=True))
    geometry = replace(geometry, padding=kept)
    size = geometry.transposed_size(x.shape[1:3], w.shape[:2])
    if builtins.min(size) < 1:
        raise ShapeError(f"conv_transpose2d: padding {padding} leaves nothing of an input {x.shape}")
    if extra == tuple(uncut):
        return _convolution.conv2d_input_grad(x, w, b, size=size, geometry=geometry, slope=slope)
    y = _convolution.conv2d_input_grad(x, w, None, size=size, geometry=geometry)
    y = pad(y, ((0, 0), (0, extra[0] - uncut[0]), (0, extra[1] - uncut[1]), (0, 0)))
    return leaky_relu(y if b is None else y + b, slope=slope)


def masked_conv2d(x, w, b=None, *, kind: Literal["A", "B"], colours: int = 1, slope: float = 1.0):
    """Same-size convolution that sees only pixels above and to the left (van den Oord et al. 2016, arXiv:1601.06759).

    Kind "A" hides the centre pixel, kind "B" shows it. With several `colours`, channel c has colour
    floor(c * colours / C), and the centre shows the colours before the output's own ("A") or up to it ("B"). Kernel
    lengths are odd. Hidden weights (taps) cost nothing and get no gradient.
    """
    check_mask(w.shape[:2], kind, colours)
    return conv2d(x, w, b, padding="same", mask=(kind, colours), slope=slope)


def check_mask(kernel_size: tuple[int, ...], kind: str, colours: int) -> None:
    """Refuse what no masked convolution can be."""
    if colours < 1:
        raise UsageError(f"colours is {colours}; it must be at least 1")
    if kind not in ("A", "B"):
        raise UsageError(f'a masked convolution is of kind "A" or "B", not {kind!r}')
    if any(length % 2 == 0 for length in kernel_size):
        raise ShapeError(f"a masked convolution has a centre, kernel {tuple(kernel_size)} has none; use odd lengths")


def _as_image(x):
    return x.reshape((x.shape[0], 1, *x.shape[1:]))


def _as_kernel(w):
    return w.reshape((1, *w.shape))


def _as_sequence(y):
    return y.reshape((y.shape[0], *y.shape[2:]))


def _line_padding(padding):
    return "same" if padding == "same" else (0, padding)


def conv1d(x, w, b=None, *, stride: int = 1, padding=0, dilation: int = 1, groups: int = 1, slope: float = 1.0):
    """Convolution of sequences x (N, T, C) with w (KW, C / groups, K): (N, OT, K).

    `padding` is a number, (before, after) or "same"; `slope` as in `conv2d`.
    """
    y = conv2d(
        _as_image(x),
        _as_kernel(w),
        b,
        stride=(1, stride),
        padding=_line_padding(padding),
        dilation=(1, dilation),
        groups=groups,
        slope=slope,
    )
    return _as_sequence(y)


def conv_transpose1d(
    x,
    w,
    b=None,
    *,
    stride: int = 1,
    padding=0,
    output_padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    slope: float = 1.0,
):
    """Transposed convolution of sequences x (N, T, C_in) with w (KW, C_out / groups, C_in)."""
    y = conv_transpose2d(
        _as_image(x),
        _as_kernel(w),
        b,
        stride=(1, stride),
        padding=_line_padding(padding),
        output_padding=(0, output_padding),
        dilation=(1, dilation),
        groups=groups,
        slope=slope,
    )
    return _as_sequence(y)


def masked_conv1d(x, w, b=None, *, kind: Literal["A", "B"], colours: int = 1, slope: float = 1.0):
    """Same-length convolution that sees only earlier steps (kind "A"), or these and the present one ("B")."""
    return _as_sequence(masked_conv2d(_as_image(x), _as_kernel(w), b, kind=kind, colours=colours, slope=slope))


# Pooling and resampling


def _windows(x, size: IntPair, stride: IntPair | None, padding: Padding, value: float):
    _images("pooling", x)
    size = pair(size)
    stride = size if stride is None else pair(stride, "stride")
    around = _padding(padding, size, stride, (1, 1))
    if any(builtins.max(widths) >= n for widths, n in zip(around, size, strict=True)):
        raise UsageError(f"padding {padding} must be smaller than the window {size}")
    if around != ((0, 0), (0, 0)):
        x = pad(x, ((0, 0), *around, (0, 0)), value)
    return _pooling.windows(x, size=size, stride=stride)


def max_pool2d(x, size: IntPair, *, stride: IntPair | None = None, padding: Padding = 0):
    """Maximum over windows of images (N, H, W, C); `stride` defaults to `size`. Ties share the gradient equally."""
    return max(_windows(x, size, stride, padding, -math.inf), axis=(3, 4))


def avg_pool2d(x, size: IntPair, *, stride: IntPair | None = None, padding: Padding = 0):
    """Mean over windows of images (N, H, W, C), padding counted; `stride` defaults to `size`."""
    return mean(_windows(x, size, stride, padding, 0.0), axis=(3, 4))


def _images(name: str, x) -> None:
    if x.ndim != 4:
        raise ShapeError(f"{name}: takes images (N, H, W, C), not {x.shape}")


def upsample_nearest2d(x, factor: IntPair):
    """Each pixel of images (N, H, W, C) repeated `factor` times: (N, H * factor, W * factor, C)."""
    _images("upsample_nearest2d", x)
    n, h, w, c = x.shape
    fh, fw = pair(factor)
    return broadcast_to(x.reshape((n, h, 1, w, 1, c)), shape=(n, h, fh, w, fw, c)).reshape((n, h * fh, w * fw, c))


def downsample_nearest2d(x, factor: IntPair):
    """The pixel nearest to the centre of each block (half-pixel convention): (N, H // factor, W // factor, C)."""
    _images("downsample_nearest2d", x)
    fh, fw = pair(factor)
    h, w = x.shape[1] // fh, x.shape[2] // fw
    return x[:, fh // 2 : h * fh : fh, fw // 2 : w * fw : fw]


def _interpolation(data, axis: int, size: int):
    """The matrix (size, length) of linear interpolation between pixel centres, constant beyond the outer ones."""
    xp, length = array_module(data), data.shape[axis]
    place = xp.clip((xp.arange(size) + 0.5) * (length / size) - 0.5, 0, length - 1)
    return xp.maximum(1 - xp.abs(place[:, None] - xp.arange(length)), 0).astype(data.dtype)


def resize_bilinear2d(x, size: IntPair):
    """Images (N, H, W, C) resized to `size` (H, W) by interpolation between the four nearest pixels.

    Pixels are half-pixel squares (PyTorch's align_corners=False), and there is no filter against aliasing: reduce by
    more than two with `avg_pool2d`.
    """
    _images("resize_bilinear2d", x)
    n, h, w, c = x.shape
    height, width = pair(size)
    data = x.data if isinstance(x, Tensor) else x
    y = matmul(_interpolation(data, 1, height), x.reshape((n, h, w * c))).reshape((n * height, w, c))
    return matmul(_interpolation(data, 2, width), y).reshape((n, height, width, c))


def pixel_shuffle(x, factor: IntPair):
    """Channels of images to pixels (Shi et al. 2016): (N, H, W, C * fh * fw) -> (N, H * fh, W * fw, C).

    Channel (c * fh + i) * fw + j becomes channel c of pixel (i, j) in each block, as in PyTorch.
    """
    _images("pixel_shuffle", x)
    fh, fw = pair(factor)
    n, h, w, c = x.shape
    if c % (fh * fw):
        raise ShapeError(f"pixel_shuffle: {c} channels cannot be cut into blocks of {fh} x {fw} pixels")
    blocks = x.reshape((n, h, w, c // (fh * fw), fh, fw)).transpose((0, 1, 4, 2, 5, 3))
    return blocks.reshape((n, h * fh, w * fw, c // (fh * fw)))


def pixel_unshuffle(x, factor: IntPair):
    """Pixels of images to channels: (N, H, W, C) -> (N, H / fh, W / fw, C * fh * fw), which undoes `pixel_shuffle`."""
    _images("pixel_unshuffle", x)
    fh, fw = pair(factor)
    n, h, w, c = x.shape
    if h % fh or w % fw:
        raise ShapeError(f"pixel_unshuffle: images {h} x {w} cannot be cut into blocks of {fh} x {fw} pixels")
    blocks = x.reshape((n, h // fh, fh, w // fw, fw, c)).transpose((0, 1, 3, 5, 2, 4))
    return blocks.reshape((n, h // fh, w // fw, c * fh * fw))


# Normalisation


def normalize(x, axes: tuple[int, ...], eps: float = 1e-5, *, scale=None, shift=None, slope: float = 1.0):
    """(x - mean) / sqrt(var + eps) * scale + shift over axes, then a leaky ReLU of a `slope` below 1.

    Returns (y, mean, var), the last two with axes of length 1. All normalisations here are made of it, in one pass with
    their scale, shift and slope.
    """
    return _normalization.normalize(x, scale, shift, axes=axes, eps=eps, slope=slope)


def batch_norm(x, scale=None, shift=None, *, mean=None, var=None, eps: float = 1e-5, slope: float = 1.0):
    """Batch normalisation over all axes but the last (Ioffe & Szegedy 2015), or with a given mean and var."""
    if mean is None:
        return normalize(x, tuple(range(x.ndim - 1)), eps, scale=scale, shift=shift, slope=slope)[0]
    gain = 1 / sqrt(var + eps)
    y = (x - mean) * (gain if scale is None else gain * scale)
    y = y if shift is None else y + shift
    return y if slope == 1 else leaky_relu(y, slope=slope)


def layer_norm(x, scale=None, shift=None, *, axes: int = 1, eps: float = 1e-5, slope: float = 1.0):
    """Normalisation of each example over its last `axes` axes (Ba et al. 2016)."""
    return normalize(x, tuple(range(x.ndim - axes, x.ndim)), eps, scale=scale, shift=shift, slope=slope)[0]


def instance_norm(x, scale=None, shift=None, *, eps: float = 1e-5, slope: float = 1.0):
    """Normalisation of each channel of each example (N, ..., C) over its positions (Ulyanov et al. 2016)."""
    return normalize(x, tuple(range(1, x.ndim - 1)), eps, scale=scale, shift=shift, slope=slope)[0]


def group_norm(x, groups: int, scale=None, shift=None, *, eps: float = 1e-5, slope: float = 1.0):
    """Normalisation of each group of channels of each example (N, ..., C); scale and shift (C,) (Wu & He 2018)."""
    channels = x.shape[-1]
    if channels % groups:
        raise ShapeError(f"group_norm: {channels} channels cannot be cut into {groups} groups")
    cut = (groups, channels // groups)
    scale, shift = (None if p is None else p.reshape(cut) for p in (scale, shift))
    y = normalize(x.reshape((x.shape[0], -1, *cut)), (1, 3), eps, scale=scale, shift=shift, slope=slope)[0]
    return y.reshape(x.shape)


def dropout(x, probability: float, *, training: bool = True, stream: random.Stream | None = None):
    """Zero each element with a probability and scale the others up by 1 / (1 - probability)."""
    if not 0 <= probability < 1:
        raise UsageError(f"dropout: probability {probability} is not in [0, 1)")
    if not training or probability == 0:
        return x
    data = x.data if isinstance(x, Tensor) else x
    uniform = (stream or random.stream("train")).uniform(data.shape, dtype=data.dtype, device=device_of(data))
    return x * ((uniform >= probability) / data.dtype.type(1 - probability)).astype(data.dtype)


# Recurrent networks


def _first_state(name: str, gates: int, x, weights, state):
    """The state before the first step, its parts (N, H) and zeros where None; ShapeError unless all shapes fit."""
    n, steps, channels = x.shape if x.ndim == 3 else (0, 0, 0)
    hidden = math.prod(weights[1].shape[:1])
    shapes = [(channels, gates * hidden), (hidden, gates * hidden), (gates * hidden,), (hidden,)][: len(weights)]
    given = [part for part in state if part is not None]
    if not steps or [a.shape for a in (*weights, *given)] != shapes + [(n, hidden)] * len(given):
        raise ShapeError(
            f"{name}: x {x.shape}, weights and biases {', '.join(str(w.shape) for w in weights)}, "
            f"state {', '.join(str(part.shape) for part in given) or None} do not fit: x is (N, T, C) with T > 0, the "
            f"weights are (C, {gates}H), (H, {gates}H), ({gates}H,){', (H,)' * (len(weights) - 3)}, a state is (N, H)"
        )
    data = x.data if isinstance(x, Tensor) else x
    return [array_module(data).zeros((n, hidden), data.dtype) if part is None else part for part in state]


def lstm(x, input_weight, hidden_weight, bias, h=None, c=None):
    """Long short-term memory over sequences x (N, T, C): (y, (h, c)) with y (N, T, H) and the last state, h = y[:, -1].

    input_weight (C, 4H), hidden_weight (H, 4H), bias (4H,), gates in the order i, f, g, o (`ops.recurrent.lstm`); the
    first state h, c (N, H) is zero by default.
    """
    h, c = _first_state("lstm", 4, x, (input_weight, hidden_weight, bias), (h, c))
    y, c = _recurrent.lstm(x, input_weight, hidden_weight, bias, h, c)
    return y, (y[:, -1], c)


def gru(x, input_weight, hidden_weight, bias, hidden_bias, h=None):
    """Gated recurrent units over sequences x (N, T, C): (y, h) with y (N, T, H) and the last state, h = y[:, -1].

    input_weight (C, 3H), hidden_weight (H, 3H), bias (3H,), gates in the order r, z, n, hidden_bias (H,) of the
    candidate (`ops.recurrent.gru`); the first state h (N, H) is zero by default.
    """
    (h,) = _first_state("gru", 3, x, (input_weight, hidden_weight, bias, hidden_bias), (h,))
    y = _recurrent.gru(x, input_weight, hidden_weight, bias, hidden_bias, h)
    return y, y[:, -1]


# Losses: elementwise, in nats


def _same_shape(name: str, a, b) -> None:
    """Refuse a loss between arrays of different shapes, which broadcasting would let pass."""
    if a.shape != b.shape:
        raise ShapeError(f"{name}: its arguments {a.shape} and {b.shape} differ in shape")


def binary_cross_entropy_with_logits(logits, target):
    """-t log s(x) - (1 - t) log(1 - s(x)), elementwise; s is the logistic function, targets are in [0, 1]."""
    _same_shape("binary_cross_entropy_with_logits", logits, target)
    return _losses.binary_cross_entropy_with_logits(logits, target)


def squared_error(prediction, target):
    """(prediction - target) ** 2"""
    _same_shape("squared_error", prediction, target)
    return square(prediction - target)


def absolute_error(prediction, target):
    """|prediction - target|"""
    _same_shape("absolute_error", prediction, target)
    return abs(prediction - target)


def huber(prediction, target, *, delta: float = 1.0):
    """Quadratic near zero, linear beyond `delta` (Huber 1964): e^2 / 2, or delta (|e| - delta / 2)."""
    error = absolute_error(prediction, target)
    inside = clip(error, 0.0, delta)
    return inside * (error - 0.5 * inside)


def binary_cross_entropy(probability, target):
    """-t log p - (1 - t) log(1 - p), logs held above -83; `binary_cross_entropy_with_logits` is exact."""
    _same_shape("binary_cross_entropy", probability, target)
    tiny = 1e-36  # whose reciprocal, a gradient, is finite in float32
    return -(target * log(maximum(probability, tiny)) + (1 - target) * log(maximum(1 - probability, tiny)))


def cross_entropy(logits, target):
    """-log softmax(logits)[target]: logits (..., classes), integer targets (...), result (...)."""
    if logits.shape[:-1] != target.shape:
        raise ShapeError(
            f"cross_entropy: logits {logits.shape} (..., classes) and targets {target.shape} (...) do not fit"
        )
    _check_classes("cross_entropy", target, logits.shape[-1])
    return _losses.cross_entropy(logits, target)


def gaussian_kl(mean, log_var):
    """KL(N(mean, exp(log_var)) || N(0, 1)), elementwise (Kingma & Welling 2014, appendix B)."""
    _same_shape("gaussian_kl", mean, log_var)
    return _losses.gaussian_kl(mean, log_var)


def reparameterize(mean, log_var, noise):
    """A sample mean + exp(log_var / 2) * noise, differentiable in both (Kingma & Welling 2014, section 2.4)."""
    _same_shape("reparameterize", mean, log_var)
    _same_shape("reparameterize", mean, noise)
    return _losses.reparameterize(mean, log_var, noise)
