"""Functions that make images (N, H, W, C) smaller or larger: pooling, resampling, pixels exchanged for channels."""

import math

from tinygen.errors import ShapeError, UsageError
from tinygen.functional.arrays import pad
from tinygen.functional.convolution import IntPair, Padding, padding_of, pair
from tinygen.ops import pooling, reduction
from tinygen.ops.shaping import broadcast_to, stack


def windows_of(x, size: IntPair, stride: IntPair | None, padding: Padding, value: float, dilation: IntPair = 1):
    """Windows (N, OH, OW, KH, KW, C) of images (N, H, W, C) with a `value` around them."""
    _images("pooling", x)
    size, dilation = pair(size), pair(dilation, "dilation")
    stride = size if stride is None else pair(stride, "stride")
    around = padding_of(padding, size, stride, dilation)
    if any(max(widths) >= n for widths, n in zip(around, size, strict=True)):
        raise UsageError(f"padding {padding} must be smaller than the window {size}")
    if around != ((0, 0), (0, 0)):
        x = pad(x, ((0, 0), *around, (0, 0)), value)
    options = {} if dilation == (1, 1) else {"dilation": dilation}
    return pooling.windows(x, size=size, stride=stride, **options)


def max_pool2d(x, size: IntPair, stride: IntPair | None = None, padding: Padding = 0, dilation: IntPair = 1):
    """Maximum over windows of images (N, H, W, C); `stride` defaults to `size`. Ties share the gradient equally."""
    return reduction.max(windows_of(x, size, stride, padding, -math.inf, dilation), axis=(3, 4))


def avg_pool2d(x, size: IntPair, stride: IntPair | None = None, padding: Padding = 0):
    """Mean over windows of images (N, H, W, C), which includes padding; `stride` defaults to `size`."""
    return reduction.mean(windows_of(x, size, stride, padding, 0.0), axis=(3, 4))


def _bins(length: int, bins: int) -> list[slice]:
    """`bins` parts of an axis, which overlap where they do not divide it: from floor(i n / bins) to the next ceil."""
    return [slice(i * length // bins, -(-(i + 1) * length // bins)) for i in range(bins)]


def _adaptive(name: str, x, size: IntPair, reduce):
    """A reduction over bins of images (N, H, W, C), (N, *size, C)."""
    _images(name, x)
    rows, columns = (_bins(n, bins) for n, bins in zip(x.shape[1:3], pair(size), strict=True))
    if x.shape[1] % len(rows) == 0 and x.shape[2] % len(columns) == 0 and x.size:
        window = x.shape[1] // len(rows), x.shape[2] // len(columns)
        return reduce(pooling.windows(x, size=window, stride=window), axis=(3, 4))
    return stack([stack([reduce(x[:, r, c], axis=(1, 2)) for c in columns], axis=1) for r in rows], axis=1)


def adaptive_avg_pool2d(x, size: IntPair):
    """Images (N, H, W, C) reduced to `size` (H, W) by means over bins, which overlap where they do not divide."""
    return _adaptive("adaptive_avg_pool2d", x, size, reduction.mean)


def adaptive_max_pool2d(x, size: IntPair):
    """Images (N, H, W, C) reduced to `size` (H, W) by maxima over bins, which overlap where they do not divide."""
    return _adaptive("adaptive_max_pool2d", x, size, reduction.max)


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
