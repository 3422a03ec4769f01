"""Losses and their gradients, each in one pass over memory."""

from .blocks import BLOCK
from .elementwise import backward, forward
from .jit import inlined
from .vector_math import HALF, ONE, TWO, ZERO, exp, exp_minus_abs, log1p_unit, logistic, weighted

LEAST_SIZE = 2 * BLOCK  # elements below which NumPy computes a product as fast


@inlined
def cross_entropy(x, target):
    """-t log s(x) - (1 - t) log(1 - s(x)), s the logistic function."""
    return log1p_unit(exp_minus_abs(x)) + weighted(target if x < ZERO else ONE - target, abs(x))


@inlined
def bounded(error, delta):
    """An error between -delta and delta: the slope of the Huber loss."""
    most = delta if error > delta else error
    return -delta if error < -delta else most


@inlined
def huber(error, delta):
    """e^2 / 2 for an error e of at most delta, beyond delta (|e| - delta / 2)."""
    slope = bounded(error, delta)
    return slope * (error - HALF * slope)


forward("binary_cross_entropy_with_logits", cross_entropy, lambda x, t: logistic(x, exp_minus_abs(x)) - t, ulp=1.2)
backward("binary_cross_entropy_with_logits_backward", lambda g, difference: g * difference, ulp=0.5, least=LEAST_SIZE)
forward("gaussian_kl", lambda mean, log_var: HALF * (mean * mean + exp(log_var) - log_var - ONE), ulp=2.6)
backward("gaussian_kl_backward", lambda g, mean, _: g * mean, lambda g, _, v: HALF * g * (exp(v) - ONE), ulp=1.4)
forward("squared_error", lambda x, t: (x - t) * (x - t), ulp=1.6, least=LEAST_SIZE)
backward("squared_error_backward", lambda g, x, t: TWO * (x - t) * g, ulp=1.1, least=LEAST_SIZE)
forward("huber", lambda x, t, d: huber(x - t, d), lambda x, t, d: bounded(x - t, d), ulp=1.3, number=True)
