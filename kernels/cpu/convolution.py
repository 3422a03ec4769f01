"""Convolution and its adjoints: the choice of the fastest algorithm for each shape."""

import functools
from dataclasses import replace

from .. import reference
from ..geometry import Geometry, tap_mask
from . import depthwise, memory, narrow, winograd
from .problem import adjoint, forward, plan_of, weight_grad
from .products import Products
from .registry import single
from .weight_sums import WeightSums
from .winograd_sums import WinogradSums

LONG_ROW = 256  # pixels of a single row from which it is computed as a column
LEAST_CHANNELS = 8  # of the input: with fewer, products read neighbours in a row together


def _algorithm(channels: int, w_shape, geometry: Geometry):
    """The plan's class for a convolution with this weight, or its adjoint in x, to `channels` channels."""
    if depthwise.serves(w_shape, geometry):
        return depthwise.Outputs
    if narrow.serves(channels, w_shape, geometry):
        return narrow.Narrow
    return winograd.Winograd if winograd.serves(w_shape, geometry) else Products


def _is_long_row(size, kernel_size, channels: int, geometry: Geometry) -> bool:
    """Whether images of one row are computed as columns: these are cut into bands of rows, a row is a single task."""
    alike = size[0] == kernel_size[0] == 1 and geometry.padding[0] == (0, 0)
    return alike and size[1] >= LONG_ROW and channels >= LEAST_CHANNELS * geometry.groups


@functools.lru_cache(256)
def _turned(geometry: Geometry) -> Geometry:
    """The geometry with the axes of images exchanged."""
    stride, padding, dilation = (pair[::-1] for pair in (geometry.stride, geometry.padding, geometry.dilation))
    return replace(geometry, stride=stride, padding=padding, dilation=dilation)


@single
def conv2d(x, w, geometry: Geometry, bias=None, slope=1.0):
    """activation(bias + cross-correlation of x (N, H, W, C) with w (KH, KW, C / groups, K))."""
    if not x.size or not w.size:
        return reference.conv2d(x, w, geometry, bias, slope)
    algorithm = _algorithm(w.shape[3], w.shape, geometry)
    if algorithm is Products and _is_long_row(x.shape[1:3], w.shape, x.shape[3], geometry):
        x, w, geometry = x.swapaxes(1, 2), w.swapaxes(0, 1), _turned(geometry)
        return plan_of(algorithm, forward, x.shape, w.shape, geometry)(x, w, bias, slope).swapaxes(1, 2)
    return plan_of(algorithm, forward, x.shape, w.shape, geometry)(x, w, bias, slope)


@single
def conv2d_input_grad(g, w, size, geometry: Geometry, bias=None, slope=1.0):
    """The adjoint of `conv2d` in x, for an input of `size` (H, W), with bias and activation."""
    if not g.size or not w.size:
        return reference.conv2d_input_grad(g, w, size, geometry, bias, slope)
    algorithm, size = _algorithm(w.shape[2], w.shape, geometry), tuple(size)
    if algorithm is Products and _is_long_row(size, w.shape, g.shape[3], geometry):
        g, w, size, geometry = g.swapaxes(1, 2), w.swapaxes(0, 1), size[::-1], _turned(geometry)
        return plan_of(algorithm, adjoint, g.shape, w.shape, size, geometry)(g, w, bias, slope).swapaxes(1, 2)
    return plan_of(algorithm, adjoint, g.shape, w.shape, size, geometry)(g, w, bias, slope)


@single
def conv2d_weight_grad(x, g, kernel_size, geometry: Geometry):
    """The adjoint of `conv2d` in w, for a kernel of `kernel_size` (KH, KW)."""
    if not x.size or not g.size:
        return reference.conv2d_weight_grad(x, g, kernel_size, geometry)
    kernel_size, shape = tuple(kernel_size), (*kernel_size, x.shape[3] // geometry.groups, g.shape[3])
    if depthwise.serves(shape, geometry):
        return plan_of(depthwise.WeightSums, weight_grad, x.shape, g.shape, kernel_size, geometry)(x, g)
    without_stride_or_mask = geometry.stride == (1, 1) and geometry.mask is None
    if without_stride_or_mask and shape[3] < shape[2] and narrow.serves(shape[3], shape, geometry):
        # Few output channels would leave most of each vector empty: exchange x and g, and flip the kernel at the end.
        reach = geometry.reach(kernel_size)
        padding = tuple(
            (r - 1 - before, r - 1 - after) for r, (before, after) in zip(reach, geometry.padding, strict=True)
        )
        if min(min(pair) for pair in padding) >= 0:
            exchanged = g.shape, x.shape, kernel_size, replace(geometry, padding=padding)
            flipped = plan_of(WeightSums, weight_grad, *exchanged)(g, x)
            return memory.contiguous(flipped[::-1, ::-1].transpose(0, 1, 3, 2))
    if _is_long_row(x.shape[1:3], kernel_size, x.shape[3], geometry):
        x, g, kernel_size, geometry = x.swapaxes(1, 2), g.swapaxes(1, 2), kernel_size[::-1], _turned(geometry)
        w = plan_of(WeightSums, weight_grad, x.shape, g.shape, kernel_size, geometry)(x, g).swapaxes(0, 1)
    else:
        algorithm = WinogradSums if winograd.serves(shape, geometry) else WeightSums
        w = plan_of(algorithm, weight_grad, x.shape, g.shape, kernel_size, geometry)(x, g)
    if geometry.mask is not None and geometry.mask[1] > 1:
        w *= tap_mask(w.shape, geometry.mask)
    return w
