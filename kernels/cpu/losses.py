"""Losses and their gradients, each in one pass over memory."""

import numpy as np
from numba import carray

from .. import reference
from . import memory, pool
from .elementwise import BLOCK, block, block_count, launch
from .jit import worker
from .memory import address
from .single import single
from .vector_math import HALF, ONE, TWO, ZERO, exp, exp_minus_abs, log1p_unit, logistic, weighted

LEAST_SIZE = 2 * BLOCK  # elements below which NumPy computes a product as fast


@worker("size x target y difference")
def _cross_entropy(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, target = block(a, a.x, task), block(a, a.target, task)
    y, difference = block(a, a.y, task), block(a, a.difference, task)
    for i in range(x.size):
        e = exp_minus_abs(x[i])
        y[i] = log1p_unit(e) + weighted(target[i] if x[i] < ZERO else ONE - target[i], abs(x[i]))
        difference[i] = logistic(x[i], e) - target[i]


@single
def binary_cross_entropy_with_logits(x, target):
    """-t log s(x) - (1 - t) log(1 - s(x)), elementwise, s the logistic function; the residual is s(x) - t."""
    if x.shape != np.shape(target):
        return reference.binary_cross_entropy_with_logits(x, target)
    y, difference = memory.empty(x.shape), memory.empty(x.shape)
    launch(_cross_entropy, x, target, y, difference)
    return y, (difference,)


@worker("size g difference y")
def _cross_entropy_backward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    g, difference, y = block(a, a.g, task), block(a, a.difference, task), block(a, a.y, task)
    for i in range(g.size):
        y[i] = g[i] * difference[i]


@single
def binary_cross_entropy_with_logits_backward(g, difference):
    """The gradient with respect to the logits."""
    if g.size < LEAST_SIZE:
        return reference.binary_cross_entropy_with_logits_backward(g, difference)
    y = memory.empty(g.shape)
    launch(_cross_entropy_backward, g, difference, y)
    return (y,)


@worker("size mean log_var y")
def _kl(arguments, task, lane):
    a = carray(arguments, 1)[0]
    mean, log_var, y = block(a, a.mean, task), block(a, a.log_var, task), block(a, a.y, task)
    for i in range(mean.size):
        y[i] = HALF * (mean[i] * mean[i] + exp(log_var[i]) - log_var[i] - ONE)


@single
def gaussian_kl(mean, log_var):
    """KL(N(mean, exp(log_var)) || N(0, 1)), elementwise."""
    if mean.shape != np.shape(log_var):
        return reference.gaussian_kl(mean, log_var)
    y = memory.empty(mean.shape)
    launch(_kl, mean, log_var, y)
    return y, (mean, log_var)


@worker("size g mean log_var dmean dlog_var")
def _kl_backward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    g, mean, log_var = block(a, a.g, task), block(a, a.mean, task), block(a, a.log_var, task)
    dmean, dlog_var = block(a, a.dmean, task), block(a, a.dlog_var, task)
    for i in range(g.size):
        dmean[i] = g[i] * mean[i]
        dlog_var[i] = HALF * g[i] * (exp(log_var[i]) - ONE)


@single
def gaussian_kl_backward(g, mean, log_var):
    """The gradients with respect to mean and log_var."""
    if not g.shape == mean.shape == np.shape(log_var):
        return reference.gaussian_kl_backward(g, mean, log_var)
    dmean, dlog_var = memory.empty(g.shape), memory.empty(g.shape)
    launch(_kl_backward, g, mean, log_var, dmean, dlog_var)
    return dmean, dlog_var


@worker("size estimate target y")  # numba takes records whose names begin alike for each other
def _squared_error(arguments, task, lane):
    a = carray(arguments, 1)[0]
    prediction, target, y = block(a, a.estimate, task), block(a, a.target, task), block(a, a.y, task)
    for i in range(y.size):
        y[i] = (prediction[i] - target[i]) * (prediction[i] - target[i])


@single
def squared_error(prediction, target):
    """(prediction - target)^2"""
    if prediction.size < LEAST_SIZE or prediction.shape != np.shape(target):
        return reference.squared_error(prediction, target)
    y = memory.empty(prediction.shape)
    launch(_squared_error, prediction, target, y)
    return y, (prediction, target)


@worker("size g prediction target y")
def _squared_error_backward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    g, y = block(a, a.g, task), block(a, a.y, task)
    prediction, target = block(a, a.prediction, task), block(a, a.target, task)
    for i in range(g.size):
        y[i] = TWO * (prediction[i] - target[i]) * g[i]


@single
def squared_error_backward(g, prediction, target):
    """The gradient with respect to the prediction."""
    if g.size < LEAST_SIZE or not g.shape == prediction.shape == np.shape(target):
        return reference.squared_error_backward(g, prediction, target)
    y = memory.empty(g.shape)
    launch(_squared_error_backward, g, prediction, target, y)
    return (y,)


@worker("size prediction target y slope", "delta")
def _huber(arguments, task, lane):
    a = carray(arguments, 1)[0]
    prediction, target = block(a, a.prediction, task), block(a, a.target, task)
    y, slope, delta = block(a, a.y, task), block(a, a.slope, task), a.delta
    for i in range(y.size):
        error = prediction[i] - target[i]
        bounded = delta if error > delta else error
        bounded = -delta if error < -delta else bounded
        slope[i] = bounded
        y[i] = bounded * (error - HALF * bounded)


@single
def huber(prediction, target, *, delta=1.0):
    """e^2 / 2 for an error e of at most delta, beyond delta (|e| - delta / 2); the residual is its slope."""
    if prediction.shape != np.shape(target):
        return reference.huber(prediction, target, delta=delta)
    y, slope = memory.empty(prediction.shape), memory.empty(prediction.shape)
    call = _huber.Arguments(y.size, *map(address, (prediction, target, y, slope)), delta)
    pool.run(_huber, call, block_count(y.size))
    return y, (slope,)
