"""Convolutional layers. Images are (N, H, W, C), sequences (N, T, C), volumes (N, D, H, W, C)."""

import math
from collections.abc import Callable
from typing import Any, Literal

from tinygen import functional as F
from tinygen.errors import UsageError
from tinygen.functional.convolution import IntPair, check_mask, pair
from tinygen.functional.volumes import triple
from tinygen.nn import init
from tinygen.nn.activations import activates
from tinygen.nn.module import Module, Parameter, check_positive


def _one(kernel_size: int, name: str) -> tuple[int, ...]:
    """The kernel of a sequence."""
    return pair(kernel_size, name)[:1]


class _Conv(Module):
    """Weight (*kernel, in / groups, out) and bias of a convolution; (*kernel, out / groups, in) of a transposed one.

    A subclass has the `function` of `tinygen.functional` that it applies, and `kernel`, which makes a tuple of a size.
    """

    function: Callable
    kernel: Callable[[Any, str], tuple[int, ...]]
    transposed = False
    options: dict[str, Any]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        kernel = type(self).kernel(kernel_size, "kernel_size")
        check_positive(self, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise UsageError(
                f"{type(self).__name__}: {in_channels} and {out_channels} channels cannot form {groups} groups"
            )
        fan_in = math.prod(kernel) * in_channels // groups
        inner, outer = (out_channels, in_channels) if self.transposed else (in_channels, out_channels)
        self.weight = Parameter(init.fan_in_uniform((*kernel, inner // groups, outer), fan_in))
        self.bias = Parameter(init.fan_in_uniform((out_channels,), fan_in)) if bias else None
        self.options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}

    @activates
    def forward(self, x, slope: float = 1.0):
        return type(self).function(x, self.weight, self.bias, slope=slope, **self.options)


class _ConvTranspose(_Conv):
    """A transposed convolution; its arguments are in PyTorch's order."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.options["output_padding"] = output_padding


class Conv2d(_Conv):
    """`functional.conv2d` with weight (KH, KW, in_channels / groups, out_channels)."""

    function, kernel = staticmethod(F.conv2d), staticmethod(pair)


class ConvTranspose2d(_ConvTranspose):
    """`functional.conv_transpose2d` with weight (KH, KW, out_channels / groups, in_channels)."""

    function, kernel = staticmethod(F.conv_transpose2d), staticmethod(pair)


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

    function, kernel = staticmethod(F.conv1d), staticmethod(_one)


class CausalConv1d(Conv1d):
    """A `Conv1d` of the same length whose outputs see the present and earlier steps only, as in WaveNet.

    It is padded with dilation * (kernel_size - 1) zeros before the first step (van den Oord et al. 2016,
    arXiv:1609.03499, section 2.1).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        before = dilation * (_one(kernel_size, "kernel_size")[0] - 1)
        super().__init__(in_channels, out_channels, kernel_size, 1, (before, 0), dilation, groups, bias)


class ConvTranspose1d(_ConvTranspose):
    """`functional.conv_transpose1d` with weight (KW, out_channels / groups, in_channels)."""

    function, kernel = staticmethod(F.conv_transpose1d), staticmethod(_one)


class Conv3d(_Conv):
    """`functional.conv3d` with weight (KD, KH, KW, in_channels / groups, out_channels)."""

    function, kernel = staticmethod(F.conv3d), staticmethod(triple)

    def forward(self, x):
        return F.conv3d(x, self.weight, self.bias, **self.options)


class ConvTranspose3d(_ConvTranspose):
    """`functional.conv_transpose3d` with weight (KD, KH, KW, out_channels / groups, in_channels)."""

    function, kernel = staticmethod(F.conv_transpose3d), staticmethod(triple)

    def forward(self, x):
        return F.conv_transpose3d(x, self.weight, self.bias, **self.options)


class MaskedConv1d(_Conv):
    """`functional.masked_conv1d`: same length, sees earlier steps ("A"), or these and the present one ("B")."""

    kernel = staticmethod(_one)

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
        super().__init__(in_channels, out_channels, kernel_size, bias=bias)
        self.kind: Literal["A", "B"] = kind
        self.colours = colours

    @activates
    def forward(self, x, slope: float = 1.0):
        return F.masked_conv1d(x, self.weight, self.bias, kind=self.kind, colours=self.colours, slope=slope)
