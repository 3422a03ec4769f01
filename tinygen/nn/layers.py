"""Layers. Images are (N, H, W, C), sequences (N, T, C); weight layouts are those of `tinygen.functional`."""

import math
from collections import deque
from typing import Any, Literal

import numpy as np

from tinygen import functional as F
from tinygen.arguments import fraction, is_in_range, plain
from tinygen.autograd import state
from tinygen.errors import ShapeError, UsageError
from tinygen.functional.convolution import IntPair, Padding, check_mask, pair, sides
from tinygen.functional.normalization import check_several
from tinygen.nn import init
from tinygen.nn.module import Module, Parameter
from tinygen.tensor import Tensor


def activates(forward):
    """Mark a `forward(x, slope=1.0)` that itself applies a leaky ReLU of that slope (0: a ReLU) to its result.

    In a Sequential such a layer also does the work of the ReLU or LeakyReLU that comes next.
    """
    forward.activates = True
    return forward


def _slope(layer) -> float | None:
    """The slope of a ReLU or LeakyReLU that the layer before it can apply; None for any other layer."""
    if type(layer) in (ReLU, LeakyReLU):
        return layer.slope if 0 <= layer.slope <= 1 else None
    return 0.0 if layer is F.relu else None


class Sequential(Module):
    """Layers (or plain functions) one after another."""

    def __init__(self, *layers):
        for layer in layers:
            if not callable(layer):
                remedy = "; give the layers one by one: Sequential(*layers)" if isinstance(layer, list | tuple) else ""
                raise UsageError(f"Sequential: takes layers and functions, not a {type(layer).__name__}{remedy}")
        self.layers = layers

    def forward(self, x):
        left = deque(self.layers)
        while left:
            layer = left.popleft()
            slope = _slope(left[0]) if left and hasattr(getattr(layer, "forward", None), "activates") else None
            if slope is None:
                x = layer(x)
            else:
                x = layer(x, slope=slope)
                left.popleft()
        return x

    def __getitem__(self, index):
        return self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)


def _positive(layer: Module, **sizes: int) -> None:
    """UsageError for a size that is not a whole number of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, int | np.integer) or size < 1:
            raise UsageError(f"{type(layer).__name__}: {name} is {size!r}; it must be a whole number of at least 1")


class Linear(Module):
    """y = x @ weight + bias, weight (in_features, out_features)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        _positive(self, in_features=in_features, out_features=out_features)
        self.weight = Parameter(init.fan_in_uniform((in_features, out_features)))
        self.bias = Parameter(init.fan_in_uniform((out_features,), in_features)) if bias else None

    @activates
    def forward(self, x, slope: float = 1.0):
        return F.linear(x, self.weight, self.bias, slope=slope)


class Embedding(Module):
    """Rows of a weight (classes, features), drawn from N(0, 1), at integer indices."""

    def __init__(self, classes: int, features: int):
        _positive(self, classes=classes, features=features)
        self.weight = Parameter(init.normal((classes, features), 1.0))

    def forward(self, indices):
        return F.embedding(indices, self.weight)


class _Conv(Module):
    """Weight (*kernel, in / groups, out) and bias of a convolution; (*kernel, out / groups, in) of a transposed one."""

    options: dict[str, Any]

    def __init__(
        self, kernel: tuple[int, ...], in_channels: int, out_channels: int, groups: int, bias: bool, transposed=False
    ):
        _positive(self, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise UsageError(
                f"{type(self).__name__}: {in_channels} and {out_channels} channels cannot form {groups} groups"
            )
        fan_in = math.prod(kernel) * in_channels // groups
        inner, outer = (out_channels, in_channels) if transposed else (in_channels, out_channels)
        self.weight = Parameter(init.fan_in_uniform((*kernel, inner // groups, outer), fan_in))
        self.bias = Parameter(init.fan_in_uniform((out_channels,), fan_in)) if bias else None


class Conv2d(_Conv):
    """`functional.conv2d` with weight (KH, KW, in_channels / groups, out_channels)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntPair,
        stride: IntPair = 1,
        padding: Padding = 0,
        dilation: IntPair = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__(pair(kernel_size, "kernel_size"), in_channels, out_channels, groups, bias)
        self.options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}

    @activates
    def forward(self, x, slope: float = 1.0):
        return F.conv2d(x, self.weight, self.bias, slope=slope, **self.options)


class ConvTranspose2d(_Conv):
    """`functional.conv_transpose2d` with weight (KH, KW, out_channels / groups, in_channels)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntPair,
        stride: IntPair = 1,
        padding: Padding = 0,
        output_padding: IntPair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntPair = 1,
    ):
        super().__init__(pair(kernel_size, "kernel_size"), in_channels, out_channels, groups, bias, transposed=True)
        self.options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self.options["output_padding"] = output_padding

    @activates
    def forward(self, x, slope: float = 1.0):
        return F.conv_transpose2d(x, self.weight, self.bias, slope=slope, **self.options)


class MaskedConv2d(Conv2d):
    """`functional.masked_conv2d`: same size, of kind "A" or "B", with colour groups."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntPair,
        *,
        kind: Literal["A", "B"],
        colours: int = 1,
        bias: bool = True,
    ):
        height, width = pair(kernel_size, "kernel_size")
        check_mask((height, width), kind, colours)
        around = (height // 2, height // 2), (width // 2, width // 2)
        super().__init__(in_channels, out_channels, (height, width), padding=around, bias=bias)
        self.options["mask"] = (kind, colours)


class Conv1d(_Conv):
    """`functional.conv1d` with weight (KW, in_channels / groups, out_channels)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding=0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__(pair(kernel_size, "kernel_size")[:1], in_channels, out_channels, groups, bias)
        self.options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}

    @activates
    def forward(self, x, slope: float = 1.0):
        return F.conv1d(x, self.weight, self.bias, slope=slope, **self.options)


class ConvTranspose1d(_Conv):
    """`functional.conv_transpose1d` with weight (KW, out_channels / groups, in_channels)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding=0,
        output_padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int = 1,
    ):
        super().__init__(pair(kernel_size, "kernel_size")[:1], in_channels, out_channels, groups, bias, transposed=True)
        self.options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self.options["output_padding"] = output_padding

    @activates
    def forward(self, x, slope: float = 1.0):
        return F.conv_transpose1d(x, self.weight, self.bias, slope=slope, **self.options)


class MaskedConv1d(_Conv):
    """`functional.masked_conv1d`: same length, sees earlier steps ("A"), or these and the present one ("B")."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        kind: Literal["A", "B"],
        colours: int = 1,
        bias=True,
    ):
        super().__init__(pair(kernel_size, "kernel_size")[:1], in_channels, out_channels, 1, bias)
        self.kind: Literal["A", "B"] = kind
        self.colours = colours

    @activates
    def forward(self, x, slope: float = 1.0):
        return F.masked_conv1d(x, self.weight, self.bias, kind=self.kind, colours=self.colours, slope=slope)


class _Norm(Module):
    """The base of normalising layers: scale and shift, ones and zeros at first, None unless `affine`."""

    def __init__(self, features: int | tuple[int, ...], eps: float, affine: bool):
        self.features = (features,) if isinstance(features, int) else tuple(features)
        if not is_in_range(plain(eps)):
            raise UsageError(f"{type(self).__name__}: eps is {eps!r}; it must be a number of at least 0")
        self.eps = plain(eps)
        self.scale = Parameter(np.ones(self.features, np.float32)) if affine else None
        self.shift = Parameter(np.zeros(self.features, np.float32)) if affine else None

    def _check(self, x) -> None:
        """ShapeError for another number of channels than the layer's; a single channel would broadcast."""
        if x.shape[-len(self.features) :] != self.features:
            last = ", ".join(map(str, self.features))
            raise ShapeError(f"{type(self).__name__}: takes (..., {last}), not {x.shape}")


class BatchNorm(_Norm):
    """Batch normalisation over all axes but the last; evaluation uses running statistics.

    Each forward pass in training moves these by `momentum` towards the batch's mean and unbiased variance.
    """

    def __init__(self, features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True):
        super().__init__(features, eps, affine)
        self.momentum = fraction("BatchNorm: momentum", momentum, one=True)
        self.running_mean = np.zeros(features, np.float32)
        self.running_var = np.ones(features, np.float32)

    @activates
    def forward(self, x, slope: float = 1.0):
        self._check(x)
        if not self.training:
            statistics = {"mean": self.running_mean, "var": self.running_var}
            return F.batch_norm(x, self.scale, self.shift, eps=self.eps, slope=slope, **statistics)
        axes = tuple(range(x.ndim - 1))
        check_several("BatchNorm", x.shape, axes)
        y, mean, var = F.normalize(x, axes, self.eps, scale=self.scale, shift=self.shift, slope=slope)
        if x.size and not state.recomputing:
            self._update_running_statistics(mean, var, x.size // x.shape[-1])
        return y

    def _update_running_statistics(self, mean, var, count: int) -> None:
        unbiased = count / max(count - 1, 1)
        for running, now, factor in ((self.running_mean, mean, 1.0), (self.running_var, var, unbiased)):
            now = now.data if isinstance(now, Tensor) else now
            running += self.momentum * (factor * now.reshape(running.shape) - running)


class LayerNorm(_Norm):
    """Normalisation of each example over its last axes, of the given lengths."""

    def __init__(self, features: int | tuple[int, ...], eps: float = 1e-5, affine: bool = True):
        super().__init__(features, eps, affine)

    @activates
    def forward(self, x, slope: float = 1.0):
        self._check(x)
        return F.layer_norm(x, self.scale, self.shift, axes=len(self.features), eps=self.eps, slope=slope)


class InstanceNorm(_Norm):
    """Normalisation of each channel of each example over its positions."""

    def __init__(self, features: int, *, eps: float = 1e-5, affine: bool = False):
        super().__init__(features, eps, affine)

    @activates
    def forward(self, x, slope: float = 1.0):
        self._check(x)
        return F.instance_norm(x, self.scale, self.shift, eps=self.eps, slope=slope)


class GroupNorm(_Norm):
    """Normalisation of each group of channels of each example."""

    def __init__(self, groups: int, features: int, eps: float = 1e-5, affine: bool = True):
        super().__init__(features, eps, affine)
        self.groups = groups

    @activates
    def forward(self, x, slope: float = 1.0):
        self._check(x)
        return F.group_norm(x, self.groups, self.scale, self.shift, eps=self.eps, slope=slope)


class Dropout(Module):
    """Set elements to zero with a probability in training (Srivastava et al. 2014), drawn from the stream `train`."""

    def __init__(self, probability: float = 0.5):
        self.probability = fraction("Dropout: probability", probability)

    def forward(self, x):
        return F.dropout(x, self.probability, training=self.training)


class MaxPool2d(Module):
    """`functional.max_pool2d`."""

    def __init__(self, size: IntPair, stride: IntPair | None = None, padding: Padding = 0):
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x):
        return F.max_pool2d(x, self.size, stride=self.stride, padding=self.padding)


class AvgPool2d(Module):
    """`functional.avg_pool2d`."""

    def __init__(self, size: IntPair, stride: IntPair | None = None, padding: Padding = 0):
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x):
        return F.avg_pool2d(x, self.size, stride=self.stride, padding=self.padding)


class Upsample2d(Module):
    """Images `factor` times as large: by `functional.upsample_nearest2d`, or `functional.resize_bilinear2d`."""

    def __init__(self, factor: IntPair, *, mode: Literal["nearest", "bilinear"] = "nearest"):
        if mode not in ("nearest", "bilinear"):
            raise UsageError(f'Upsample2d: mode is "nearest" or "bilinear", not {mode!r}')
        self.factor = pair(factor, "factor")
        self.mode = mode

    def forward(self, x):
        if self.mode == "nearest":
            return F.upsample_nearest2d(x, self.factor)
        return F.resize_bilinear2d(x, tuple(n * f for n, f in zip(x.shape[1:3], self.factor, strict=False)))


class PixelShuffle(Module):
    """`functional.pixel_shuffle`."""

    def __init__(self, factor: IntPair):
        self.factor = pair(factor, "factor")

    def forward(self, x):
        return F.pixel_shuffle(x, self.factor)


class PixelUnshuffle(Module):
    """`functional.pixel_unshuffle`."""

    def __init__(self, factor: IntPair):
        self.factor = pair(factor, "factor")

    def forward(self, x):
        return F.pixel_unshuffle(x, self.factor)


class ReflectionPad2d(Module):
    """Images (N, H, W, C) with mirrored margins: `functional.pad` in mode "reflect"."""

    def __init__(self, padding: Padding):
        self.widths = ((0, 0), *sides(padding), (0, 0))

    def forward(self, x):
        return F.pad(x, self.widths, mode="reflect")


class Flatten(Module):
    """Joins all axes but the first into one: (N, ...) to (N, -1)."""

    def forward(self, x):
        return F.flatten(x)


class Reshape(Module):
    """Gives examples another shape: (N, ...) to (N, *shape)."""

    def __init__(self, *shape: int):
        self.shape = shape

    def forward(self, x):
        return x.reshape((x.shape[0], *self.shape))


class ReLU(Module):
    """max(x, 0)"""

    slope = 0.0

    def forward(self, x):
        return F.relu(x)


class LeakyReLU(Module):
    """x where positive, else slope * x."""

    def __init__(self, slope: float = 0.01):
        self.slope = slope

    def forward(self, x):
        return F.leaky_relu(x, slope=self.slope)


class ELU(Module):
    """x where positive, else alpha * (exp(x) - 1)."""

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def forward(self, x):
        return F.elu(x, alpha=self.alpha)


class GELU(Module):
    """x * Phi(x), exact."""

    def forward(self, x):
        return F.gelu(x)


class SiLU(Module):
    """x * sigmoid(x)"""

    def forward(self, x):
        return F.silu(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))"""

    def forward(self, x):
        return F.sigmoid(x)


class Softplus(Module):
    """log(1 + exp(x))"""

    def forward(self, x):
        return F.softplus(x)


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, x):
        return F.tanh(x)
