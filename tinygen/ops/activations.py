"""Activations that consist of several operations; kernels compute them in one pass over memory."""

from tinygen.ops.arithmetic import erf, sigmoid, tanh
from tinygen.ops.shaping import split
from tinygen.primitive import fused


@fused(wrt="x")
def silu(x):
    """x * sigmoid(x), also called swish (Ramachandran et al. 2017)."""
    return x * sigmoid(x)


@fused(wrt="x")
def gelu(x):
    """x * Phi(x) with the exact normal distribution function Phi (Hendrycks & Gimpel 2016)."""
    return x * (0.5 * (1 + erf(x * 0.7071067811865476)))


@fused(wrt="x")
def gated_tanh(x):
    """tanh(a) * sigmoid(b) of the halves a, b of the last axis (van den Oord et al. 2016, arXiv:1606.05328, eq. 2)."""
    half = x.shape[-1] // 2
    a, b = split(x, sizes=(half, half), axis=-1)
    return tanh(a) * sigmoid(b)
