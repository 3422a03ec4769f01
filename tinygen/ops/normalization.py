"""Normalisation to mean 0 and variance 1, and softmax: fused operations with their composites."""

from tinygen.ops.arithmetic import exp, sqrt, square
from tinygen.ops.reduction import logsumexp, mean
from tinygen.primitive import fused


@fused(wrt="x")
def normalize(x, *, axes, eps):
    """(x - mean) / sqrt(var + eps) over `axes`; returns (y, mean, var), the last two with axes of length 1."""
    centre = mean(x, axis=axes, keepdims=True)
    var = mean(square(x - centre), axis=axes, keepdims=True)
    return (x - centre) / sqrt(var + eps), centre, var


@fused(wrt="x")
def softmax(x, *, axis=-1):
    """exp(x) / sum(exp(x)) along an axis."""
    return exp(x - logsumexp(x, axis=axis, keepdims=True))


@fused(wrt="x")
def log_softmax(x, *, axis=-1):
    """x - log(sum(exp(x))) along an axis."""
    return x - logsumexp(x, axis=axis, keepdims=True)
