"""Convolutions of images (N, H, W, C) and sequences (N, T, C): plain, transposed and masked."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

from tinygen.errors import ShapeError, UsageError
from tinygen.functional.arrays import pad
from tinygen.kernels import arguments
from tinygen.kernels.geometry import Geometry
from tinygen.ops import convolution
from tinygen.ops.arithmetic import leaky_relu

IntPair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]] | Literal["same"]


pair: Callable[..., tuple[int, int]] = partial(arguments.pair, error=UsageError)
padding_of, sides = partial(arguments.padding_of, error=UsageError), partial(arguments.sides, error=UsageError)


def conv2d(
    x,
    w,
    b=None,
    stride: IntPair = 1,
    padding: Padding = 0,
    dilation: IntPair = 1,
    groups: int = 1,
    *,
    mask=None,
    slope: float = 1.0,
):
    """Convolution of images x (N, H, W, C) with w (KH, KW, C / groups, K) and bias b (K,): (N, OH, OW, K).

    `padding` is a number, one for each axis, (before, after) for each axis, or "same". `mask` is (kind, colours) of a
    masked convolution, see `masked_conv2d`. A `slope` below 1 applies a leaky ReLU in the same pass; 0 is a ReLU.
    """
    geometry = arguments.geometry_of(w.shape[:2], stride, padding, dilation, groups, mask, error=UsageError)
    return convolution.conv2d(x, w, b, geometry=geometry, slope=slope)


def conv_transpose2d(
    x,
    w,
    b=None,
    stride: IntPair = 1,
    padding: Padding = 0,
    output_padding: IntPair = 0,
    groups: int = 1,
    dilation: IntPair = 1,
    *,
    slope: float = 1.0,
):
    """Transposed convolution of images x (N, H, W, C): the adjoint of the `conv2d` with the same weight.

    w is (KH, KW, C_out / groups, C_in), the weight of that convolution, not flipped. The output has the height
    (H - 1) * stride - padding (of both sides) + dilation * (KH - 1) + 1 + output_padding. `slope` as in `conv2d`.
    """
    geometry = arguments.geometry_of(w.shape[:2], stride, padding, dilation, groups, error=UsageError)
    extra = arguments.output_padding_of(output_padding, geometry, error=UsageError)
    cut, size, appended = arguments.transposed(geometry, x.shape, w.shape[:2], extra, error=ShapeError)
    if not any(appended):
        return convolution.conv2d_input_grad(x, w, b, size=size, geometry=replace(geometry, padding=cut), slope=slope)
    return _appended(x, w, b, geometry, cut, appended, slope)


def _appended(x, w, b, geometry: Geometry, cut, appended, slope: float):
    """The transposed convolution with some rows and columns cut off, and others, of zeros before the bias, appended.

    The whole output is computed first, since `cut` may leave nothing of it.
    """
    whole = replace(geometry, padding=((0, 0), (0, 0)))
    size = whole.transposed_size(x.shape[1:3], w.shape[:2])
    y = convolution.conv2d_input_grad(x, w, None, size=size, geometry=whole)
    y = pad(y, ((0, 0), (0, appended[0]), (0, appended[1]), (0, 0)))
    (top, bottom), (left, right) = cut
    y = y[:, top : y.shape[1] - bottom, left : y.shape[2] - right]
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
    """UsageError or ShapeError for a mask and a kernel size that a masked convolution cannot have."""
    arguments.check_mask(kind, colours, error=UsageError)
    arguments.check_centre(kernel_size, error=ShapeError)


def _as_image(x):
    return x.reshape((x.shape[0], 1, *x.shape[1:]))


def _as_kernel(w):
    return w.reshape((1, *w.shape))


def _as_sequence(y):
    return y.reshape((y.shape[0], *y.shape[2:]))


def _line_padding(padding):
    return "same" if padding == "same" else (0, padding)


def conv1d(x, w, b=None, stride: int = 1, padding=0, dilation: int = 1, groups: int = 1, *, slope: float = 1.0):
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
    stride: int = 1,
    padding=0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
    *,
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
