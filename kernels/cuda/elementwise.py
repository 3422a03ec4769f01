"""Elementwise functions for which CuPy would take several passes; `exp` and `erf` take one, and are left to it."""

import numpy as np

from .. import reference
from .launches import over_threads
from .runtime import Source, empty, single

_source = Source(
    "elementwise.cu",
    "sigmoid",
    "softplus",
    "silu",
    "silu_backward",
    "gelu",
    "gelu_backward",
    "leaky_relu_grad",
    "gated_tanh",
    "gated_tanh_backward",
    "binary_cross_entropy_with_logits",
    "gaussian_kl",
    "gaussian_kl_backward",
    "reparameterize",
    "reparameterize_backward",
)


def _same_shape(*arrays) -> bool:
    shape, dtype = arrays[0].shape, arrays[0].dtype
    return all(getattr(a, "shape", None) == shape and a.dtype == dtype for a in arrays)


def _launched(name: str, inputs, outputs: int = 1, *numbers):
    """Launch an elementwise kernel; returns its `outputs` new float32 arrays, each of the shape of the inputs."""
    results = [empty(inputs[0].shape) for _ in range(outputs)]
    n = inputs[0].size
    _source[name](*over_threads(n // 4), (np.int64(n), *numbers, *results, *inputs))
    return results


@single
def sigmoid(x):
    """1 / (1 + e^-x), without overflow."""
    return _launched("sigmoid", [x])[0]


@single
def softplus(x):
    """log(1 + e^x), without overflow."""
    return _launched("softplus", [x])[0]


@single
def silu(x):
    """x / (1 + e^-x)"""
    return _launched("silu", [x])[0], (x,)


@single
def silu_backward(g, x):
    """Gradient of `silu`."""
    return (_launched("silu_backward", [g, x])[0],)


@single
def gelu(x):
    """x Phi(x) with the normal distribution function Phi."""
    return _launched("gelu", [x])[0], (x,)


@single
def gelu_backward(g, x):
    """Gradient of `gelu`."""
    return (_launched("gelu_backward", [g, x])[0],)


@single
def gated_tanh(x):
    """tanh(a) sigmoid(b) for the halves a, b of the last axis."""
    if not x.size or x.shape[-1] % 2:
        return reference.gated_tanh(x)
    half = x.shape[-1] // 2
    y = empty((*x.shape[:-1], half))
    _source["gated_tanh"](*over_threads(y.size), (np.int64(y.size), np.int64(half), y, x))
    return y, (x,)


@single
def gated_tanh_backward(g, x):
    """Gradient of `gated_tanh`."""
    dx = empty(x.shape)
    if x.size:
        half = np.int64(x.shape[-1] // 2)
        _source["gated_tanh_backward"](*over_threads(g.size), (np.int64(g.size), half, dx, g, x))
    return (dx,)


@single
def leaky_relu_grad(g, x, slope):
    """The gradient of `leaky_relu`: g where x > 0, else slope * g; x may be its input or its output."""
    if not _same_shape(g, x):
        return reference.leaky_relu_grad(g, x, slope)
    return _launched("leaky_relu_grad", [g, x], 1, np.float32(slope))[0]


@single
def binary_cross_entropy_with_logits(x, target):
    """-t log s(x) - (1 - t) log(1 - s(x)), elementwise; the residual is s(x) - t."""
    if not _same_shape(x, target):
        return reference.binary_cross_entropy_with_logits(x, target)
    y, difference = _launched("binary_cross_entropy_with_logits", [x, target], 2)
    return y, (difference,)


@single
def gaussian_kl(mean, log_var):
    """KL(N(mean, exp(log_var)) || N(0, 1)), elementwise."""
    if not _same_shape(mean, log_var):
        return reference.gaussian_kl(mean, log_var)
    return _launched("gaussian_kl", [mean, log_var])[0], (mean, log_var)


@single
def gaussian_kl_backward(g, mean, log_var):
    """The gradients with respect to mean and log_var."""
    if not _same_shape(g, mean, log_var):
        return reference.gaussian_kl_backward(g, mean, log_var)
    return tuple(_launched("gaussian_kl_backward", [g, mean, log_var], 2))


@single
def reparameterize(mean, log_var, noise):
    """mean + exp(log_var / 2) * noise; the residual is the second term."""
    if not _same_shape(mean, log_var, noise):
        return reference.reparameterize(mean, log_var, noise)
    y, deviation = _launched("reparameterize", [mean, log_var, noise], 2)
    return y, (deviation,)


@single
def reparameterize_backward(g, deviation):
    """The gradients with respect to mean and log_var."""
    if not _same_shape(g, deviation):
        return reference.reparameterize_backward(g, deviation)
    return g, _launched("reparameterize_backward", [g, deviation])[0]
