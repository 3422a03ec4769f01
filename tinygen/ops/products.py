"""Products over axes: of single multiplications, so that their gradients are right where factors are zero."""

import math

from tinygen.ops.arithmetic import multiply
from tinygen.ops.reduction import axes_of
from tinygen.ops.shaping import along, pad, reshape, transpose


def prod(x, axis=None, keepdims: bool = False):
    """Product over axes; of none it is 1."""
    axes = axes_of(x.shape, axis)
    kept = tuple(i for i in range(x.ndim) if i not in axes)
    shape = tuple(x.shape[i] for i in kept)
    length = math.prod(x.shape[i] for i in axes)
    factors = reshape(transpose(x, axes=kept + axes), shape=(*shape, length))
    size = 1 << max(length - 1, 0).bit_length()
    factors = _padded(factors, -1, 0, size - length)
    while size > 1:  # halves multiplied with each other
        size //= 2
        factors = multiply(factors[..., :size], factors[..., size:])
    return reshape(factors, shape=tuple(1 if i in axes else n for i, n in enumerate(x.shape)) if keepdims else shape)


def cumprod(x, axis: int):
    """Product of the elements up to each one, along an axis."""
    (axis,), reach = axes_of(x.shape, axis), 1
    length = x.shape[axis]
    while reach < length:  # afterwards, each element is the product of the last 2 * reach ones
        earlier = x[along(x.ndim, axis, slice(0, length - reach))]
        x = multiply(x, _padded(earlier, axis, reach, 0))
        reach *= 2
    return x


def _padded(x, axis: int, before: int, after: int):
    """x with ones around it along an axis."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = before, after
    return pad(x, widths=tuple(widths), value=1) if before or after else x
