"""Updates of parameters: one pass measures the gradient, another clips and applies it.

Parameters and their state lie in flat buffers, gradients where backward left them.
"""

import functools
import math

import numpy as np
from numba import carray, float32

from .. import reference, rules
from . import memory, pool
from .blocks import BLOCK
from .ir import floats_at, int64_at, pointer_to
from .jit import Record, inlined, summing, worker
from .memory import address
from .registry import FLOAT32, registered, single
from .target import X86

TINY = np.finfo(FLOAT32).tiny

# The numbers of a rule lie in an array, so that a recorded step can change them.
_sgd_numbers_at, _adagrad_numbers_at, _rmsprop_numbers_at, _adam_numbers_at = (
    pointer_to(Record("", " ".join(rule._fields)).type)
    for rule in (rules.Sgd, rules.Adagrad, rules.RmsProp, rules.Adam)
)


@functools.lru_cache(64)
def cuts(sizes: tuple[int, ...]) -> np.ndarray:
    """How arrays are cut into tasks. Rows are (array, first byte in it, first byte counted over all arrays, length)."""
    table, first = [], 0
    for k, n in enumerate(sizes):
        table += [(k, 4 * i, 4 * (first + i), min(BLOCK, n - i)) for i in range(0, n, BLOCK)]
        first += n
    return np.array(table, np.int64).reshape(-1, 4).T.copy()


class Pieces:
    """float32 arrays cut into tasks."""

    def __init__(self, arrays):
        self.arrays = [memory.contiguous(a, FLOAT32) for a in arrays]  # kept alive while their addresses are used
        array, offset, self.begins, self.lengths = cuts(tuple([a.size for a in self.arrays]))
        self.addresses = np.array([address(a) for a in self.arrays], np.int64)[array] + offset
        self.tasks = len(array)


@inlined
def piece(a, addresses, task):
    """The elements of a task in an array of its own."""
    return carray(floats_at(int64_at(addresses, task)), int64_at(a.lengths, task))


@inlined
def part(a, buffer, task):
    """The elements of a task in a flat buffer."""
    return carray(floats_at(buffer + int64_at(a.begins, task)), int64_at(a.lengths, task))


@inlined
def clipped(x, bound):
    """x, clipped to +-bound."""
    return min(max(x, -bound), bound)


@inlined
def flushed(x):
    """x, or 0 if it is denormal; on x86 `pool.run` has set the processor to do this itself."""
    return x if X86 or abs(x) >= TINY else float32(0)


@worker("begins lengths gradients parameter velocity numbers")
def _sgd(arguments, task, lane):
    a = carray(arguments, 1)[0]
    n = carray(_sgd_numbers_at(a.numbers), 1)[0]
    factor, bound, rate, momentum, decay, nesterov = n.factor, n.bound, n.rate, n.momentum, n.decay, n.nesterov
    gradient, parameter, velocity = piece(a, a.gradients, task), part(a, a.parameter, task), part(a, a.velocity, task)
    for i in range(parameter.size):
        p = parameter[i]
        g = factor * clipped(gradient[i], bound) + decay * p
        v = flushed(momentum * velocity[i] + g)
        velocity[i] = v
        parameter[i] = p - rate * (nesterov * (g + momentum * v) + (float32(1) - nesterov) * v)


@worker("begins lengths gradients parameter square numbers")
def _adagrad(arguments, task, lane):
    a = carray(arguments, 1)[0]
    n = carray(_adagrad_numbers_at(a.numbers), 1)[0]
    factor, bound, rate, eps, decay = n.factor, n.bound, n.rate, n.eps, n.decay
    gradient, parameter, square = piece(a, a.gradients, task), part(a, a.parameter, task), part(a, a.square, task)
    for i in range(parameter.size):
        p = parameter[i]
        g = factor * clipped(gradient[i], bound) + decay * p
        v = flushed(square[i] + g * g)
        square[i] = v
        parameter[i] = p - rate * g / (np.sqrt(v) + eps)


@worker("begins lengths gradients parameter square numbers")
def _rmsprop(arguments, task, lane):
    a = carray(arguments, 1)[0]
    n = carray(_rmsprop_numbers_at(a.numbers), 1)[0]
    factor, bound, rate, alpha, eps, decay = n.factor, n.bound, n.rate, n.alpha, n.eps, n.decay
    gradient, parameter, square = piece(a, a.gradients, task), part(a, a.parameter, task), part(a, a.square, task)
    for i in range(parameter.size):
        p = parameter[i]
        g = factor * clipped(gradient[i], bound) + decay * p
        v = flushed(alpha * square[i] + (float32(1) - alpha) * g * g)
        square[i] = v
        parameter[i] = p - rate * g / (np.sqrt(v) + eps)


@worker("begins lengths gradients parameter mean square numbers")
def _adam(arguments, task, lane):
    a = carray(arguments, 1)[0]
    n = carray(_adam_numbers_at(a.numbers), 1)[0]
    factor, bound, decay, shrink = n.factor, n.bound, n.decay, n.shrink
    rate, beta1, beta2, root, eps = n.rate, n.beta1, n.beta2, n.root, n.eps
    gradient, parameter = piece(a, a.gradients, task), part(a, a.parameter, task)
    mean, square = part(a, a.mean, task), part(a, a.square, task)
    for i in range(parameter.size):
        p = parameter[i] * shrink
        g = factor * clipped(gradient[i], bound) + decay * p
        m = flushed(beta1 * mean[i] + (float32(1) - beta1) * g)
        v = flushed(beta2 * square[i] + (float32(1) - beta2) * g * g)
        mean[i], square[i] = m, v
        parameter[i] = p - rate * m / (np.sqrt(v) * root + eps)


def _update(work, gradients, numbers, *arrays) -> None:
    pieces = Pieces(gradients)
    places = map(address, (pieces.begins, pieces.lengths, pieces.addresses, *arrays, numbers))
    pool.run(work, work.Arguments(*places), pieces.tasks)


@single
def sgd(parameter, gradients, velocity, numbers):
    """Stochastic gradient descent, as `kernels.rules.sgd`."""
    _update(_sgd, gradients, numbers, parameter, velocity)


@single
def adagrad(parameter, gradients, square, numbers):
    """Adagrad, as `kernels.rules.adagrad`."""
    _update(_adagrad, gradients, numbers, parameter, square)


@single
def rmsprop(parameter, gradients, square, numbers):
    """RMSProp, as `kernels.rules.rmsprop`."""
    _update(_rmsprop, gradients, numbers, parameter, square)


@single
def adam(parameter, gradients, mean, square, numbers):
    """Adam and AdamW, as `kernels.rules.adam`."""
    _update(_adam, gradients, numbers, parameter, mean, square)


@summing
def squares_of_clipped(x, bound):
    """The sum of the squares of the elements, each `clipped`; NaN if an element is not finite."""
    nan_or_zero, squares = float32(0), float32(0)
    for i in range(x.size):
        nan_or_zero += x[i] - x[i]
        value = clipped(x[i], bound)
        squares += value * value
    return squares + nan_or_zero


@worker("lengths gradients squares", "bound")
def _norm(arguments, task, lane):
    a = carray(arguments, 1)[0]
    carray(floats_at(a.squares), task + 1)[task] = squares_of_clipped(piece(a, a.gradients, task), a.bound)


@registered
def norm(gradients, bound):
    """The joint norm of some arrays, as `kernels.rules.norm`."""
    if gradients[0].dtype != FLOAT32:
        return reference.norm(gradients, bound)
    pieces = Pieces(gradients)
    squares = memory.empty(pieces.tasks)
    pool.run(_norm, _norm.Arguments(*map(address, (pieces.lengths, pieces.addresses, squares)), bound), pieces.tasks)
    square = math.fsum(squares.tolist())
    if not math.isfinite(square):  # because an element is not, or its square is too large
        return reference.norm(gradients, bound)
    return math.sqrt(square)


@worker("lengths averages parameters", "share")
def _ema(arguments, task, lane):
    a = carray(arguments, 1)[0]
    average, parameter, share = piece(a, a.averages, task), piece(a, a.parameters, task), a.share
    for i in range(average.size):
        average[i] += share * (parameter[i] - average[i])


@registered
def ema(averages, parameters, decay):
    """Move averages towards parameters, as `kernels.rules.ema`."""
    if any(a.dtype != FLOAT32 or not a.flags.c_contiguous for a in averages):
        reference.ema(averages, parameters, decay)
        return
    to, sources = Pieces(averages), Pieces(parameters)
    pool.run(_ema, _ema.Arguments(*map(address, (to.lengths, to.addresses, sources.addresses)), 1 - decay), to.tasks)
