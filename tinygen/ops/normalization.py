"""Normalisation to mean 0 and variance 1, and softmax: fused operations with their composites."""

from tinygen.errors import ShapeError
from tinygen.ops.arithmetic import exp, leaky_relu, sqrt, square
from tinygen.ops.reduction import logsumexp, mean
from tinygen.primitive import fused


@fused(wrt="x scale shift")
def normalize(x, scale=None, shift=None, *, axes, eps, slope=1.0):
    """(x - mean) / sqrt(var + eps) over `axes`, * scale, + shift, and a leaky ReLU of a slope (1: none; 0: a ReLU).

    Returns (y, mean, var), the last two with axes of length 1. Scale and shift may be None, and broadcast.
    """
    centre = mean(x, axis=axes, keepdims=True)
    var = mean(square(x - centre), axis=axes, keepdims=True)
    y = (x - centre) / sqrt(var + eps)
    y = y if scale is None else y * scale
    y = y if shift is None else y + shift
    return (y if slope == 1 else leaky_relu(y, slope=slope)), centre, var


def _has_axes(name: str, x, axis=-1) -> None:
    if not x.shape:
        raise ShapeError(f"{name}: an array without axes has none to sum along")


@fused(wrt="x", check=_has_axes)
def softmax(x, *, axis=-1):
    """exp(x) / sum(exp(x)) along an axis."""
    return exp(x - logsumexp(x, axis=axis, keepdims=True))


@fused(wrt="x", check=_has_axes)
def log_softmax(x, *, axis=-1):
    """x - log(sum(exp(x))) along an axis."""
    return x - logsumexp(x, axis=axis, keepdims=True)
