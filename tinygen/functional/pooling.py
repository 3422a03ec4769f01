"""Functions that make images (N, H, W, C) smaller or larger: pooling, resampling, pixels exchanged for channels."""

import math

from tinygen.backend import array_module
from tinygen.errors import ShapeError, UsageError
from tinygen.functional.arrays import pad
from tinygen.functional.convolution import IntPair, Padding, padding_of, pair
from tinygen.ops import pooling, reduction
from tinygen.ops.linear import matmul
from tinygen.ops.shaping import broadcast_to
from tinygen.tensor import Tensor


def _windows(x, size: IntPair, stride: IntPair | None, padding: Padding, value: float):
    _images("pooling", x)
    size = pair(size)
    stride = size if stride is None else pair(stride, "stride")
    around = padding_of(padding, size, stride, (1, 1))
    if any(max(widths) >= n for widths, n in zip(around, size, strict=True)):
        raise UsageError(f"padding {padding} must be smaller than the window {size}")
    if around != ((0, 0), (0, 0)):
        x = pad(x, ((0, 0), *around, (0, 0)), value)
    return pooling.windows(x, size=size, stride=stride)


def max_pool2d(x, size: IntPair, stride: IntPair | None = None, padding: Padding = 0):
    """Maximum over windows of images (N, H, W, C); `stride` defaults to `size`. Ties share the gradient equally."""
    return reduction.max(_windows(x, size, stride, padding, -math.inf), axis=(3, 4))


def avg_pool2d(x, size: IntPair, stride: IntPair | None = None, padding: Padding = 0):
    """Mean over windows of images (N, H, W, C), which includes padding; `stride` defaults to `size`."""
    return reduction.mean(_windows(x, size, stride, padding, 0.0), axis=(3, 4))


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
    position = xp.clip((xp.arange(size) + 0.5) * (length / size) - 0.5, 0, length - 1)
    return xp.maximum(1 - xp.abs(position[:, None] - xp.arange(length)), 0).astype(data.dtype)


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
    """Rearrange channels of images to pixels (Shi et al. 2016): (N, H, W, C * fh * fw) -> (N, H * fh, W * fw, C).

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
    """Undo `pixel_shuffle`: pixels to channels, (N, H, W, C) -> (N, H / fh, W / fw, C * fh * fw)."""
    _images("pixel_unshuffle", x)
    fh, fw = pair(factor)
    n, h, w, c = x.shape
    if h % fh or w % fw:
        raise ShapeError(f"pixel_unshuffle: images {h} x {w} cannot be cut into blocks of {fh} x {fw} pixels")
    blocks = x.reshape((n, h // fh, fh, w // fw, fw, c)).transpose((0, 1, 3, 5, 2, 4))
    return blocks.reshape((n, h // fh, w // fw, c * fh * fw))
