"""Softmax and functions of it over the last axis: a row is finished while it is in the first-level cache."""

import numba
import numpy as np
from numba import carray, float32

from .. import reference
from ..softmaxes import softmaxes
from . import memory, pool
from .blocks import BLOCK
from .ir import floats_at, pointer_to
from .jit import jit, summing, worker
from .memory import address
from .registry import single
from .sums import sum_over
from .vector_math import NAN, ONE, ZERO, exp, log, maximum

CHUNK = 2048  # numbers of a row that are added up in float32, many at a time, so that a sum has a hundred terms at most
_classes_at = pointer_to(numba.int64)
_plain_softmax, _plain_softmax_backward, _plain_log_softmax, _plain_log_softmax_backward = softmaxes(sum_over)


@summing
def _total(x):
    s = ZERO
    for i in range(x.size):
        s += x[i]
    return s


@summing
def _inner(x, y):
    s = ZERO
    for i in range(x.size):
        s += x[i] * y[i]
    return s


@jit
def total(x):
    """The sum of a row."""
    s = 0.0
    for start in range(0, x.size, CHUNK):
        s += _total(x[start : start + CHUNK])
    return float32(s)


@jit
def inner(x, y):
    """The inner product of two rows."""
    s = 0.0
    for start in range(0, x.size, CHUNK):
        s += _inner(x[start : start + CHUNK], y[start : start + CHUNK])
    return float32(s)


@jit
def exponentials(x, y):
    """y = exp(x - max(x)); returns max(x) and the sum of y."""
    m = x[0]
    for i in range(x.size):
        m = maximum(m, x[i])
    for i in range(x.size):
        y[i] = exp(x[i] - m)
    return m, total(y)


@jit
def rows(a, task):
    """The first row of a task, and the one after its last."""
    return task * a.block, min((task + 1) * a.block, a.count)


@jit
def row(a, matrix, r):
    """A row of a matrix at an address."""
    return carray(floats_at(matrix + 4 * a.columns * r), a.columns)


def _launch(task, shape, *arrays):
    """Run a worker over the rows of arrays of a shape."""
    *_, columns = shape
    count, block = arrays[0].size // columns, max(1, BLOCK // columns)
    pool.run(task, task.Arguments(count, columns, block, *map(address, arrays)), -(-count // block))


def _over_rows(x, axis) -> bool:
    return x.size > 0 and x.ndim > 0 and axis in (-1, x.ndim - 1)


@worker("count columns block x y")
def _softmax(arguments, task, lane):
    a = carray(arguments, 1)[0]
    first, last = rows(a, task)
    for r in range(first, last):
        x, y = row(a, a.x, r), row(a, a.y, r)
        share = ONE / exponentials(x, y)[1]
        for i in range(y.size):
            y[i] *= share


@single
def softmax(x, *, axis=-1):
    """exp(x) / sum(exp(x)) along an axis."""
    if not _over_rows(x, axis):
        return _plain_softmax(x, axis=axis)
    y = memory.empty(x.shape)
    _launch(_softmax, x.shape, x, y)
    return y, (y,)


@worker("count columns block g y x")
def _softmax_backward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    first, last = rows(a, task)
    for r in range(first, last):
        g, y, x = row(a, a.g, r), row(a, a.y, r), row(a, a.x, r)
        along = inner(g, y)
        for i in range(x.size):
            x[i] = y[i] * (g[i] - along)


@single
def softmax_backward(g, y, *, axis=-1):
    """Gradient of `softmax`."""
    if not _over_rows(g, axis):
        return _plain_softmax_backward(g, y, axis=axis)
    x = memory.empty(g.shape)
    _launch(_softmax_backward, g.shape, g, y, x)
    return (x,)


@worker("count columns block x y")
def _log_softmax(arguments, task, lane):
    a = carray(arguments, 1)[0]
    first, last = rows(a, task)
    for r in range(first, last):
        x, y = row(a, a.x, r), row(a, a.y, r)
        m, s = exponentials(x, y)
        shift = log(s)
        for i in range(x.size):
            y[i] = (x[i] - m) - shift


@single
def log_softmax(x, *, axis=-1):
    """x - log(sum(exp(x))) along an axis."""
    if not _over_rows(x, axis):
        return _plain_log_softmax(x, axis=axis)
    y = memory.empty(x.shape)
    _launch(_log_softmax, x.shape, x, y)
    return y, (y,)


@worker("count columns block g y x")
def _log_softmax_backward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    first, last = rows(a, task)
    for r in range(first, last):
        g, y, x = row(a, a.g, r), row(a, a.y, r), row(a, a.x, r)
        s = total(g)
        for i in range(x.size):
            x[i] = g[i] - exp(y[i]) * s


@single
def log_softmax_backward(g, y, *, axis=-1):
    """Gradient of `log_softmax`."""
    if not _over_rows(g, axis):
        return _plain_log_softmax_backward(g, y, axis=axis)
    x = memory.empty(g.shape)
    _launch(_log_softmax_backward, g.shape, g, y, x)
    return (x,)


@worker("count columns block x probability target y")
def _cross_entropy(arguments, task, lane):
    a = carray(arguments, 1)[0]
    first, last = rows(a, task)
    target, y = carray(_classes_at(a.target), a.count), carray(floats_at(a.y), a.count)
    for r in range(first, last):
        x, probability = row(a, a.x, r), row(a, a.probability, r)
        m, s = exponentials(x, probability)
        share, target_class = ONE / s, target[r]
        for i in range(x.size):
            probability[i] *= share
        y[r] = log(s) - (x[target_class] - m) if 0 <= target_class < a.columns else NAN


@single
def cross_entropy(x, target):
    """-log softmax(x)[target] over the last axis, NaN for a target outside it; residuals: probabilities and target."""
    target = memory.contiguous(target, np.int64).reshape(x.shape[:-1])
    if not x.size:
        return reference.cross_entropy(x, target)
    probability, y = memory.empty(x.shape), memory.empty(target.shape)
    _launch(_cross_entropy, x.shape, x, probability, target, y)
    return y, (probability, target)


@worker("count columns block x probability target g")
def _cross_entropy_backward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    first, last = rows(a, task)
    target, g = carray(_classes_at(a.target), a.count), carray(floats_at(a.g), a.count)
    for r in range(first, last):
        x, probability, scale, target_class = row(a, a.x, r), row(a, a.probability, r), g[r], target[r]
        for i in range(x.size):
            x[i] = scale * probability[i]
        if 0 <= target_class < a.columns:
            x[target_class] = scale * (probability[target_class] - ONE)


@single
def cross_entropy_backward(g, probability, target):
    """Gradient with respect to the logits: g (softmax(x) - 1) at the target, g softmax(x) elsewhere."""
    if not probability.size:
        return reference.cross_entropy_backward(g, probability, target)
    x = memory.empty(probability.shape)
    _launch(_cross_entropy_backward, x.shape, x, probability, target, g)
    return (x,)
