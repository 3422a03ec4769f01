"""Convolution and pooling of volumes and videos (N, D, H, W, C), made of those of their slices (N, H, W, C)."""

import math
from operator import index
from typing import Any, Literal

from tinygen.errors import ShapeError, UsageError
from tinygen.functional.arrays import pad
from tinygen.functional.convolution import conv2d, conv_transpose2d
from tinygen.functional.pooling import windows_of
from tinygen.ops import reduction
from tinygen.ops.shaping import along, concatenate, reshape, scatter, stack, transpose

IntTriple = int | tuple[int, int, int]


def triple(value: IntTriple, name: str = "size", minimum: int = 1) -> tuple[int, int, int]:
    """A whole number for all three axes, or one for each; UsageError for anything else."""
    try:
        numbers = tuple(map(index, value)) if isinstance(value, tuple | list) else (index(value),) * 3
    except TypeError:
        numbers = ()
    if len(numbers) != 3 or min(numbers) < minimum:
        raise UsageError(f"{name} is {value!r}; it is a whole number of at least {minimum}, or one for each axis")
    return numbers[0], numbers[1], numbers[2]


def _around(padding, kernel_size, stride, dilation) -> Any:
    """Any padding as ((before, after),) * 3."""
    if padding == "same":
        if stride != (1, 1, 1):
            raise UsageError(f'padding="same" needs stride 1, not {stride}')
        totals = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, tuple | list) and len(padding) == 3:
        return tuple((n, n) if not isinstance(n, tuple | list) else (index(n[0]), index(n[1])) for n in padding)
    return tuple((n, n) for n in triple(padding, "padding", 0))


def _volumes(name: str, x, w=None) -> None:
    if x.ndim != 5 or (w is not None and w.ndim != 5):
        weights = "" if w is None else f" and weights of five axes, not {w.shape}"
        raise ShapeError(f"{name}: takes volumes (N, D, H, W, C), not {x.shape}{weights}")


def _joined(x):
    """Slices of volumes as a batch of images: (N, D, H, W, C) to (N * D, H, W, C)."""
    return reshape(x, shape=(x.shape[0] * x.shape[1], *x.shape[2:]))


def _parted(x, n: int, depth: int):
    return reshape(x, shape=(n, depth, *x.shape[1:]))


def conv3d(
    x,
    w,
    b=None,
    stride: IntTriple = 1,
    padding: int | tuple | Literal["same"] = 0,
    dilation: IntTriple = 1,
    groups: int = 1,
):
    """Convolution of volumes x (N, D, H, W, C) with w (KD, KH, KW, C / groups, K) and bias b (K,): (N, OD, OH, OW, K).

    `padding` is a number, one for each axis, (before, after) for each axis, or "same".
    """
    _volumes("conv3d", x, w)
    stride, dilation = triple(stride, "stride"), triple(dilation, "dilation")
    around = _around(padding, w.shape[:3], stride, dilation)
    if around[0] != (0, 0):
        x = pad(x, ((0, 0), around[0], (0, 0), (0, 0), (0, 0)))
    depth = (x.shape[1] - dilation[0] * (w.shape[0] - 1) - 1) // stride[0] + 1
    if depth < 1:
        raise ShapeError(f"conv3d: kernel {w.shape[:3]} does not fit into the padded input {x.shape}")
    if w.shape[3] * groups != x.shape[4]:
        raise ShapeError(f"conv3d: {x.shape[4]} channels in {groups} groups do not fit a weight {w.shape}")
    reach = stride[0] * (depth - 1) + 1
    slices = [x[:, start : start + reach : stride[0]] for start in range(0, dilation[0] * w.shape[0], dilation[0])]
    options = stride[1:], around[1:], dilation[1:], groups
    if groups == 1:  # the channels of all slices side by side: the kernels add up their products
        joined = reshape(transpose(w, axes=(1, 2, 0, 3, 4)), shape=(*w.shape[1:3], w.shape[0] * w.shape[3], w.shape[4]))
        return _parted(conv2d(_joined(concatenate(*slices, axis=4)), joined, b, *options), x.shape[0], depth)
    total: Any = None
    for k, part in enumerate(slices):
        y = conv2d(_joined(part), w[k], b if k == 0 else None, *options)
        total = y if total is None else total + y
    return _parted(total, x.shape[0], depth)


def conv_transpose3d(
    x,
    w,
    b=None,
    stride: IntTriple = 1,
    padding: IntTriple = 0,
    output_padding: IntTriple = 0,
    groups: int = 1,
    dilation: IntTriple = 1,
):
    """Transposed convolution of volumes x (N, D, H, W, C): the adjoint of the `conv3d` with the same weight.

    w is (KD, KH, KW, C_out / groups, C_in), as of `conv_transpose2d`.
    """
    _volumes("conv_transpose3d", x, w)
    stride, dilation = triple(stride, "stride"), triple(dilation, "dilation")
    padding, extra = triple(padding, "padding", 0), triple(output_padding, "output_padding", 0)
    depth, n = x.shape[1], x.shape[0]
    reach = stride[0] * (depth - 1) + 1
    full = reach + dilation[0] * (w.shape[0] - 1) + extra[0]
    if extra[0] >= max(stride[0], dilation[0]) or full <= 2 * padding[0]:
        raise UsageError(f"conv_transpose3d: padding {padding} and output_padding {extra} do not fit {x.shape}")
    frames = _joined(x)
    total: Any = None
    for k in range(w.shape[0]):
        y = conv_transpose2d(frames, w[k], None, stride[1:], padding[1:], extra[1:], groups, dilation[1:])
        y = _parted(y, n, depth)
        place = along(5, 1, slice(k * dilation[0], k * dilation[0] + reach, stride[0]))
        y = scatter(y, index=place, shape=(n, full, *y.shape[2:]))
        total = y if total is None else total + y
    total = total[:, padding[0] : full - padding[0]]
    return total if b is None else total + b


def _windows(x, size: IntTriple, stride, padding, dilation, value: float):
    """Windows of volumes, (N, OD, OH, OW, KH, KW, C, KD)."""
    _volumes("pooling", x)
    size = triple(size)
    stride, dilation = size if stride is None else triple(stride, "stride"), triple(dilation, "dilation")
    around = _around(padding, size, stride, dilation)
    if max(around[0]) >= size[0]:
        raise UsageError(f"padding {padding} must be smaller than the window {size}")
    frames = windows_of(_joined(x), size[1:], stride[1:], around[1:], value, dilation[1:])
    frames = _parted(frames, x.shape[0], x.shape[1])
    if around[0] != (0, 0):
        frames = pad(frames, ((0, 0), around[0], *((0, 0),) * 5), value)
    depth = (frames.shape[1] - dilation[0] * (size[0] - 1) - 1) // stride[0] + 1
    if depth < 1:
        raise ShapeError(f"pooling: a window {size} does not fit into {x.shape} (N, D, H, W, C)")
    starts = [k * dilation[0] for k in range(size[0])]
    return stack([frames[:, s : s + stride[0] * (depth - 1) + 1 : stride[0]] for s in starts], axis=-1)


def max_pool3d(x, size: IntTriple, stride: IntTriple | None = None, padding: IntTriple = 0, dilation: IntTriple = 1):
    """Maximum over windows of volumes (N, D, H, W, C); `stride` defaults to `size`. Ties share the gradient equally."""
    return reduction.max(_windows(x, size, stride, padding, dilation, -math.inf), axis=(4, 5, 7))


def avg_pool3d(x, size: IntTriple, stride: IntTriple | None = None, padding: IntTriple = 0):
    """Mean over windows of volumes (N, D, H, W, C), which includes padding; `stride` defaults to `size`."""
    return reduction.mean(_windows(x, size, stride, padding, 1, 0.0), axis=(4, 5, 7))
