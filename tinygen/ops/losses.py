"""Elementwise losses in nats, and the reparameterised sample of a variational bound, that have kernels."""

import numpy as np

from tinygen.autograd import Variable
from tinygen.backend.capture import replayed
from tinygen.errors import ShapeError, UsageError
from tinygen.ops.arithmetic import clip, exp, softplus, square, weighted
from tinygen.ops.normalization import log_softmax
from tinygen.ops.shaping import check_classes, take_along_axis
from tinygen.primitive import fused


def check_same_shapes(name: str, *arrays) -> None:
    """Refuse a loss between arrays of different shapes, which broadcasting would let pass."""
    if len({a.shape for a in arrays}) > 1:
        raise ShapeError(f"{name}: its arguments {' and '.join(str(a.shape) for a in arrays)} differ in shape")


def check_unit_range(name: str, what: str, array) -> None:
    """Refuse numbers outside of [0, 1], but not NaN; on a GPU they are not read, since that would synchronise it."""
    data = array.data if isinstance(array, Variable) else array

    def check() -> None:
        low, high = np.minimum.reduce(data, None), np.maximum.reduce(data, None)
        if low < 0 or high > 1:
            raise UsageError(f"{name}: {what} reach from {low:g} to {high:g}; they lie in [0, 1]")

    if isinstance(data, np.ndarray) and data.size:
        replayed(check)


def _check_logits(name: str, logits, target) -> None:
    check_same_shapes(name, logits, target)
    if logits.dtype == target.dtype:  # others are refused by the operation itself
        check_unit_range(name, "targets", target)


def _check_targets(name: str, logits, target) -> None:
    if logits.shape[:-1] != target.shape:
        raise ShapeError(f"{name}: logits {logits.shape} (..., classes) and targets {target.shape} (...) do not fit")
    check_classes(name, target, logits.shape[-1])


@fused(wrt="logits", check=_check_logits)
def binary_cross_entropy_with_logits(logits, target):
    """-t log s(x) - (1 - t) log(1 - s(x)) in nats, elementwise; s is the logistic function, targets are in [0, 1].

    An infinite logit costs nothing where it is right: 0 log 0 is 0.
    """
    return weighted(target, softplus(-logits)) + weighted(1 - target, softplus(logits))


@fused(wrt="logits", indices="target", check=_check_targets)
def cross_entropy(logits, target):
    """-log softmax(logits)[target] in nats: logits (..., classes), integer targets (...), result (...)."""
    indices = target.reshape((*target.shape, 1))
    return -take_along_axis(log_softmax(logits), indices, axis=-1).reshape(target.shape)


@fused(wrt="mean log_var", check=check_same_shapes)
def gaussian_kl(mean, log_var):
    """KL(N(mean, exp(log_var)) || N(0, 1)) in nats, elementwise (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (square(mean) + exp(log_var) - log_var - 1)


@fused(wrt="mean log_var", check=check_same_shapes)
def reparameterize(mean, log_var, noise):
    """mean + exp(log_var / 2) * noise, elementwise (Kingma & Welling 2014, section 2.4)."""
    return mean + exp(0.5 * log_var) * noise


@fused(wrt="prediction", check=check_same_shapes)
def squared_error(prediction, target):
    """(prediction - target) ** 2"""
    return square(prediction - target)


def _check_huber(name: str, prediction, target, *, delta=1.0) -> None:
    check_same_shapes(name, prediction, target)
    if not delta > 0:
        raise UsageError(f"{name}: delta is {delta}; it must be above 0")


@fused(wrt="prediction", check=_check_huber)
def huber(prediction, target, *, delta=1.0):
    """Quadratic near zero, linear beyond `delta` (Huber 1964): e^2 / 2, or delta (|e| - delta / 2)."""
    error = prediction - target
    inside = clip(error, low=-delta, high=delta)
    return inside * (error - 0.5 * inside)
