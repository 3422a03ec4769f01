"""Convolution and its adjoints: the choice of the fastest algorithm for each shape."""

from dataclasses import replace

from .. import reference
from ..geometry import Geometry, tap_mask
from . import depthwise, memory, narrow, products, weight_sums, winograd, winograd_sums
from .single import single


def _algorithm(channels: int, w_shape, geometry: Geometry):
    """The module that computes a convolution with this weight, or its adjoint in x, to `channels` channels."""
    if narrow.serves(channels, w_shape, geometry):
        return narrow
    return winograd if winograd.serves(w_shape, geometry) else products


@single
def conv2d(x, w, geometry: Geometry, bias=None, slope=1.0):
    """activation(bias + cross-correlation of x (N, H, W, C) with w (KH, KW, C / groups, K))."""
    if not x.size or not w.size:
        return reference.conv2d(x, w, geometry, bias, slope)
    if depthwise.serves(x.shape[3], w.shape, geometry):
        return depthwise.conv2d(x, w, geometry, bias, slope)
    return _algorithm(w.shape[3], w.shape, geometry).forward_plan(x.shape, w.shape, geometry)(x, w, bias, slope)


@single
def conv2d_input_grad(g, w, size, geometry: Geometry, bias=None, slope=1.0):
    """The adjoint of `conv2d` in x, for an input of `size` (H, W), with bias and activation."""
    if not g.size or not w.size:
        return reference.conv2d_input_grad(g, w, size, geometry, bias, slope)
    if depthwise.serves(w.shape[2] * geometry.groups, w.shape, geometry):
        return depthwise.conv2d_input_grad(g, w, size, geometry, bias, slope)
    plan = _algorithm(w.shape[2], w.shape, geometry).adjoint_plan(g.shape, w.shape, tuple(size), geometry)
    return plan(g, w, bias, slope)


@single
def conv2d_weight_grad(x, g, kernel_size, geometry: Geometry):
    """The adjoint of `conv2d` in w, for a kernel of `kernel_size` (KH, KW)."""
    if not x.size or not g.size:
        return reference.conv2d_weight_grad(x, g, kernel_size, geometry)
    kernel_size, shape = tuple(kernel_size), (*kernel_size, x.shape[3] // geometry.groups, g.shape[3])
    if depthwise.serves(x.shape[3], shape, geometry):
        return depthwise.conv2d_weight_grad(x, g, kernel_size, geometry)
    without_stride_or_mask = geometry.stride == (1, 1) and geometry.mask is None
    if without_stride_or_mask and shape[3] < shape[2] and narrow.serves(shape[3], shape, geometry):
        # Few output channels would leave most of each vector empty: exchange x and g, and flip the kernel at the end.
        reach = geometry.reach(kernel_size)
        padding = tuple(
            (r - 1 - before, r - 1 - after) for r, (before, after) in zip(reach, geometry.padding, strict=True)
        )
        if min(min(pair) for pair in padding) >= 0:
            flipped = weight_sums.weight_plan(g.shape, x.shape, kernel_size, replace(geometry, padding=padding))(g, x)
            return memory.contiguous(flipped[::-1, ::-1].transpose(0, 1, 3, 2))
    algorithm = winograd_sums if winograd.serves(shape, geometry) else weight_sums
    w = algorithm.weight_plan(x.shape, g.shape, kernel_size, geometry)(x, g)
    if geometry.mask is not None and geometry.mask[1] > 1:
        w *= tap_mask(w.shape, geometry.mask)
    return w
