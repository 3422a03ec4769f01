"""Pooling, resampling and margins of images (N, H, W, C) and volumes (N, D, H, W, C) as layers."""

from typing import Literal

from tinygen import functional as F
from tinygen.errors import UsageError
from tinygen.functional.convolution import IntPair, Padding, pair, sides
from tinygen.functional.volumes import IntTriple
from tinygen.nn.module import Module


class MaxPool2d(Module):
    """`functional.max_pool2d`."""

    def __init__(self, size: IntPair, stride: IntPair | None = None, padding: Padding = 0, dilation: IntPair = 1):
        self.size, self.stride, self.padding, self.dilation = size, stride, padding, dilation

    def forward(self, x):
        return F.max_pool2d(x, self.size, self.stride, self.padding, self.dilation)


class AvgPool2d(Module):
    """`functional.avg_pool2d`."""

    def __init__(self, size: IntPair, stride: IntPair | None = None, padding: Padding = 0):
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x):
        return F.avg_pool2d(x, self.size, stride=self.stride, padding=self.padding)


class Upsample2d(Module):
    """Images `factor` times as large: by `functional.upsample_nearest2d`, or `functional.interpolate`."""

    def __init__(self, factor: IntPair, *, mode: Literal["nearest", "bilinear", "bicubic"] = "nearest"):
        if mode not in ("nearest", "bilinear", "bicubic"):
            raise UsageError(f'Upsample2d: mode is "nearest", "bilinear" or "bicubic", not {mode!r}')
        self.factor = pair(factor, "factor")
        self.mode = mode

    def forward(self, x):
        if self.mode == "nearest":
            return F.upsample_nearest2d(x, self.factor)
        return F.interpolate(x, factor=self.factor, mode=self.mode)


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


class MaxPool3d(Module):
    """`functional.max_pool3d`."""

    def __init__(
        self, size: IntTriple, stride: IntTriple | None = None, padding: IntTriple = 0, dilation: IntTriple = 1
    ):
        self.size, self.stride, self.padding, self.dilation = size, stride, padding, dilation

    def forward(self, x):
        return F.max_pool3d(x, self.size, self.stride, self.padding, self.dilation)


class AvgPool3d(Module):
    """`functional.avg_pool3d`."""

    def __init__(self, size: IntTriple, stride: IntTriple | None = None, padding: IntTriple = 0):
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x):
        return F.avg_pool3d(x, self.size, self.stride, self.padding)


class AdaptiveAvgPool2d(Module):
    """`functional.adaptive_avg_pool2d`."""

    def __init__(self, size: IntPair):
        self.size = pair(size)

    def forward(self, x):
        return F.adaptive_avg_pool2d(x, self.size)


class AdaptiveMaxPool2d(Module):
    """`functional.adaptive_max_pool2d`."""

    def __init__(self, size: IntPair):
        self.size = pair(size)

    def forward(self, x):
        return F.adaptive_max_pool2d(x, self.size)
