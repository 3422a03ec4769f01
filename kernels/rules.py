"""Update rules in plain array code, each with a NamedTuple of its numbers. They change flat buffers in place.

`gradients` is a list of arrays, whose elements, one after another, are the gradients of those of the parameter.
`numbers` is an array in the dtype of the parameter, since on a GPU they must lie where a captured step can change them.
The fields of the NamedTuple have the order of the structure of the same name in `cuda/updates.cu`.

All rules clip first: each element of the gradient is clipped to +-`bound`, and then multiplied by `factor`, which
brings the norm down to its limit. A state that decays below the smallest normal number becomes zero: arithmetic on
denormals made a step of Adam five times as slow (measured).
"""

import math
from typing import Any, NamedTuple

from .namespace import namespace


class Sgd(NamedTuple):
    """Numbers of `sgd`: `rate` is the learning rate, `decay` the weight decay, `nesterov` 0 or 1."""

    factor: Any
    bound: Any
    rate: Any
    momentum: Any
    decay: Any
    nesterov: Any


def sgd(parameter, gradients, velocity, numbers):
    """Stochastic gradient descent with momentum, and Nesterov's form of it (Sutskever et al. 2013)."""
    n = Sgd(*numbers)
    gradient = n.factor * _clipped(gradients, n.bound) + n.decay * parameter
    velocity *= n.momentum
    velocity += gradient
    _flush_denormals(velocity)
    parameter -= n.rate * (n.nesterov * (gradient + n.momentum * velocity) + (1 - n.nesterov) * velocity)


class Adagrad(NamedTuple):
    """Numbers of `adagrad`: `rate` is the learning rate, `decay` the weight decay."""

    factor: Any
    bound: Any
    rate: Any
    eps: Any
    decay: Any


def adagrad(parameter, gradients, square, numbers):
    """Adagrad (Duchi et al. 2011) with diagonal matrices, eps outside the root."""
    n = Adagrad(*numbers)
    gradient = n.factor * _clipped(gradients, n.bound) + n.decay * parameter
    square += gradient * gradient
    _flush_denormals(square)
    parameter -= n.rate * gradient / (namespace(square).sqrt(square) + n.eps)


class RmsProp(NamedTuple):
    """Numbers of `rmsprop`: `rate` is the learning rate, `alpha` the decay of `square`, `decay` the weight decay."""

    factor: Any
    bound: Any
    rate: Any
    alpha: Any
    eps: Any
    decay: Any


def rmsprop(parameter, gradients, square, numbers):
    """RMSProp (Tieleman & Hinton 2012), eps outside the root."""
    n = RmsProp(*numbers)
    gradient = n.factor * _clipped(gradients, n.bound) + n.decay * parameter
    square *= n.alpha
    square += (1 - n.alpha) * gradient * gradient
    _flush_denormals(square)
    parameter -= n.rate * gradient / (namespace(square).sqrt(square) + n.eps)


class Adam(NamedTuple):
    """Numbers of `adam` in its step t = 1, 2, ...

    `rate` is the learning rate / (1 - beta1^t) and `root` is 1 / sqrt(1 - beta2^t), the bias corrections. `decay` is
    the weight decay that is added to the gradient, `shrink` the factor by which a decoupled one shrinks the parameter.
    """

    factor: Any
    bound: Any
    rate: Any
    beta1: Any
    beta2: Any
    root: Any
    eps: Any
    decay: Any
    shrink: Any


def adam(parameter, gradients, mean, square, numbers):
    """Adam (Kingma & Ba 2015, algorithm 1), eps after the corrected root; AdamW (Loshchilov & Hutter 2019)."""
    n = Adam(*numbers)
    parameter *= n.shrink
    gradient = n.factor * _clipped(gradients, n.bound) + n.decay * parameter
    mean *= n.beta1
    mean += (1 - n.beta1) * gradient
    _flush_denormals(mean)
    square *= n.beta2
    square += (1 - n.beta2) * gradient * gradient
    _flush_denormals(square)
    parameter -= n.rate * mean / (namespace(square).sqrt(square) * n.root + n.eps)


def ema(averages, parameters, decay):
    """Exponential moving averages, in place: average <- decay * average + (1 - decay) * parameter, for each pair."""
    for average, parameter in zip(averages, parameters, strict=True):
        average += (1 - decay) * (parameter - average)


def norm(gradients, bound):
    """The joint Euclidean norm of some arrays, each element clipped to +-bound; NaN if one is not finite.

    The result is a Python float, which synchronises a GPU once.
    """
    xp = namespace(gradients[0])
    joined = _joined(gradients)
    if not joined.size:
        return 0.0
    clipped = xp.clip(joined, -bound, bound)
    finite, largest = xp.isfinite(joined).all(), xp.abs(clipped).max()
    length = xp.linalg.norm(clipped / xp.where(finite & (largest > 0), largest, 1))  # the squares may overflow
    largest, length = xp.stack((xp.where(finite, largest, math.nan), length)).tolist()
    return largest * length


def _joined(arrays):
    """All elements of some arrays, one after another."""
    return namespace(arrays[0]).concatenate([a.reshape(-1) for a in arrays])


def _clipped(arrays, bound):
    """All elements of some arrays, each clipped to +-bound."""
    return namespace(arrays[0]).clip(_joined(arrays), -bound, bound)


def _flush_denormals(state):
    xp = namespace(state)
    state *= xp.abs(state) >= xp.finfo(state.dtype).tiny
