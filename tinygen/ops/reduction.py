"""Sums, extrema and the like over any axes. `axis` is None (all), an int or a tuple; `keepdims` as in NumPy."""

import functools
import math

import numpy as np

from tinygen.backend import device_of, kernel
from tinygen.errors import ShapeError, UsageError
from tinygen.ops.arithmetic import abs, astype, equal, exp, greater, less, power, sqrt, square, where
from tinygen.ops.shaping import broadcast_to
from tinygen.primitive import primitive


@functools.lru_cache(1024)
def _sorted_axes(ndim: int, axis) -> tuple[int, ...] | None:
    """The axes that are meant, counted from 0 and in order; None if there are not all of these axes."""
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, tuple) else (axis,)
    if any(not -ndim <= i < ndim for i in axes) or len({i % ndim for i in axes}) < len(axes):
        return None
    return tuple(sorted(i % ndim for i in axes))


def axes_of(shape: tuple[int, ...], axis) -> tuple[int, ...]:
    """The axes that are meant in an array of a shape, counted from 0 and in order."""
    axes = _sorted_axes(len(shape), tuple(axis) if isinstance(axis, list) else axis)
    if axes is None:
        raise ShapeError(f"there is no axis {axis}, or it is named twice, in an array {shape}")
    return axes


def _summed(x, axis, keepdims: bool):
    """The sum of an array of floats."""
    return kernel("sum_over", device_of(x))(x, axes_of(x.shape, axis), keepdims)


def _unreduced(reduced, x, axis):
    """A reduction of `x` over `axis` with the reduced axes restored, at length 1, as `keepdims` leaves them."""
    axes = axes_of(x.shape, axis)
    return reduced.reshape(tuple(1 if i in axes else n for i, n in enumerate(x.shape)))


@primitive(indices="all")
def sum(xp, x, *, axis=None, keepdims=False):
    """Sum over axes; the sum of bools, which counts them, and of integers is an int64."""
    return _summed(x, axis, keepdims) if x.dtype.kind == "f" else xp.sum(x, axis=axis, keepdims=keepdims)


sum.vjp(lambda g, y, x, *, axis=None, keepdims=False: broadcast_to(_unreduced(g, x, axis), shape=x.shape))


def mean(x, axis=None, keepdims=False):
    """Mean over axes; of bools and integers in float32."""
    count = math.prod(x.shape[i] for i in axes_of(x.shape, axis))
    if not count:
        raise ShapeError(f"mean: an array {x.shape} has no elements to average over axis {axis}")
    x = x if x.dtype.kind == "f" else astype(x, dtype="float32")
    return sum(x, axis=axis, keepdims=keepdims) * (1 / count)


def var(x, axis=None, keepdims=False, *, ddof=0):
    """Mean squared deviation from the mean over axes; ddof=1 divides by one less than their number."""
    squares = square(x - mean(x, axis=axis, keepdims=True))
    if not ddof:
        return mean(squares, axis=axis, keepdims=keepdims)
    count = math.prod(x.shape[i] for i in axes_of(x.shape, axis))
    if count <= ddof:
        raise ShapeError(f"var: {count} values of an array {x.shape} have no variance with ddof {ddof}")
    return sum(squares, axis=axis, keepdims=keepdims) * (1 / (count - ddof))


def std(x, axis=None, keepdims=False, *, ddof=0):
    """Square root of `var`; its gradient where all values are equal is 0."""
    return root(var(x, axis=axis, keepdims=keepdims, ddof=ddof))


def root(x):
    """sqrt(x), with gradient 0 at 0."""
    zero = equal(x, 0)
    return where(zero, 0.0, sqrt(where(zero, 1.0, x)))


def norm(x, ord=2, axis=None, keepdims=False):
    """Length (sum |x|^ord)^(1 / ord) over axes: Euclidean by default, the largest |x| for math.inf.

    The gradient at 0 is 0.
    """
    if ord == math.inf:
        return max(abs(x), axis=axis, keepdims=keepdims)
    if ord == 2:
        return root(sum(square(x), axis=axis, keepdims=keepdims))
    if ord == 1:
        return sum(abs(x), axis=axis, keepdims=keepdims)
    if isinstance(ord, str) or ord <= 0:
        raise UsageError(f"norm: ord is {ord!r}; it is a number above 0, or math.inf")
    return power(sum(power(abs(x), ord), axis=axis, keepdims=keepdims), 1 / ord)


def _extremum_vjp(cut_off):
    """The vjp of an extremum, given the comparison of x with it that holds for the elements without gradient."""

    def vjp(g, y, x, *, axis=None, keepdims=False):
        y = _unreduced(y, x, axis)
        ties = sum(astype(equal(x, y), dtype=x.dtype), axis=axis, keepdims=True)
        return where(cut_off(x, y), 0.0, _unreduced(g, x, axis) / ties)

    return vjp


def _check_not_empty(name: str, shape: tuple[int, ...], axis) -> None:
    if not math.prod(shape[i] for i in axes_of(shape, axis)):
        raise ShapeError(f"{name}: an array {shape} has no elements along axis {axis}")


@primitive(saves="x y", indices="all")
def max(xp, x, *, axis=None, keepdims=False):
    """Maximum over axes; ties share the gradient equally."""
    _check_not_empty("max", x.shape, axis)
    return kernel("max_over", device_of(x))(x, axes_of(x.shape, axis), keepdims)


@primitive(saves="x y", indices="all")
def min(xp, x, *, axis=None, keepdims=False):
    """Minimum over axes; ties share the gradient equally."""
    _check_not_empty("min", x.shape, axis)
    return kernel("min_over", device_of(x))(x, axes_of(x.shape, axis), keepdims)


max.vjp(_extremum_vjp(less))
min.vjp(_extremum_vjp(greater))


@primitive(saves="x y")
def logsumexp(xp, x, *, axis=None, keepdims=False):
    """log(sum(exp(x))) over axes, without overflow; -infinity of no numbers."""
    if not x.size:
        return _summed(x, axis, keepdims) - math.inf
    top = kernel("max_over", device_of(x))(x, axes_of(x.shape, axis), True)
    top = xp.where(xp.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):  # the logarithm of 0 is the right answer where all numbers are -infinity
        y = xp.log(_summed(xp.exp(x - top), axis, True)) + top
    return y if keepdims else xp.squeeze(y, axis=axis)


@logsumexp.vjp
def _(g, y, x, *, axis=None, keepdims=False):
    y = _unreduced(y, x, axis)
    return _unreduced(g, x, axis) * exp(x - where(equal(y, -math.inf), 0.0, y))  # -inf - -inf would be NaN


@primitive()
def cumsum(xp, x, *, axis, reverse=False):
    """Cumulative sum along one axis; in reverse from its end on."""
    axes_of(x.shape, axis)
    return kernel("cumsum", device_of(x))(x, axis, reverse)


cumsum.vjp(lambda g, y, x, *, axis, reverse=False: cumsum(g, axis=axis, reverse=not reverse))


@primitive(indices="all")
def argmax(xp, x, *, axis=None, keepdims=False):
    """Index of the first maximum, along an axis or of the flattened array."""
    _check_not_empty("argmax", x.shape, axis)
    return xp.argmax(x, axis=axis, keepdims=keepdims)


@primitive(indices="all")
def argmin(xp, x, *, axis=None, keepdims=False):
    """Index of the first minimum, along an axis or of the flattened array."""
    _check_not_empty("argmin", x.shape, axis)
    return xp.argmin(x, axis=axis, keepdims=keepdims)
