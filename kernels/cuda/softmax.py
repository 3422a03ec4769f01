"""Softmax and functions of it over the last axis: a warp does a short row, a block a long one."""

from math import prod

import numpy as np

from .. import reference
from .launches import THREADS, WARP, over_threads, threads_of_row
from .runtime import Source, empty, single

_NAMES = (
    "softmax",
    "softmax_backward",
    "log_softmax",
    "log_softmax_backward",
    "cross_entropy",
    "cross_entropy_backward",
)
_source = Source("softmax.cu", *(f"{name}<{threads}>" for name in _NAMES for threads in (WARP, THREADS)))


def _launch(name: str, shape, *arguments) -> None:
    *rows, columns = shape
    count, threads = prod(rows), threads_of_row(columns)
    _source[f"{name}<{threads}>"](*over_threads(count * threads), (np.int64(count), np.int64(columns), *arguments))


def _last(x, axis) -> bool:
    return x.ndim > 0 and axis in (-1, x.ndim - 1)


@single
def softmax(x, *, axis=-1):
    """exp(x) / sum(exp(x)) along an axis."""
    if not _last(x, axis):
        return reference.softmax(x, axis=axis)
    y = empty(x.shape)
    _launch("softmax", x.shape, x, y)
    return y, (y,)


@single
def softmax_backward(g, y, *, axis=-1):
    """Gradient of `softmax`."""
    if not _last(g, axis):
        return reference.softmax_backward(g, y, axis=axis)
    dx = empty(g.shape)
    _launch("softmax_backward", g.shape, g, y, dx)
    return (dx,)


@single
def log_softmax(x, *, axis=-1):
    """x - log(sum(exp(x))) along an axis."""
    if not _last(x, axis):
        return reference.log_softmax(x, axis=axis)
    y = empty(x.shape)
    _launch("log_softmax", x.shape, x, y)
    return y, (y,)


@single
def log_softmax_backward(g, y, *, axis=-1):
    """Gradient of `log_softmax`."""
    if not _last(g, axis):
        return reference.log_softmax_backward(g, y, axis=axis)
    dx = empty(g.shape)
    _launch("log_softmax_backward", g.shape, g, y, dx)
    return (dx,)


@single
def cross_entropy(x, target):
    """-log softmax(x)[target] over the last axis, NaN for a target outside it; residuals as in the reference."""
    target = target.astype(np.int64, copy=False).reshape(x.shape[:-1])
    probability, y = empty(x.shape), empty(target.shape)
    _launch("cross_entropy", x.shape, x, target, probability, y)
    return y, (probability, target)


@single
def cross_entropy_backward(g, probability, target):
    """The gradient with respect to the logits: g (softmax(x) - 1) at the target, g softmax(x) elsewhere."""
    dx = empty(probability.shape)
    _launch("cross_entropy_backward", dx.shape, g, probability, target, dx)
    return (dx,)
