"""Cases of the op table for layers and densities, which are composed of operations; their names have a dot."""

import math
from copy import copy

import numpy as np

from tests.ops.table import TABLE, Case, beside, real, whole
from tests.ops.table.convolution import conv2d, conv2d_input_grad
from tinygen import nn
from tinygen.distributions import ContinuousBernoulli, DiscretizedLogisticMixture
from tinygen.kernels.geometry import Geometry

# Spectral and weight normalisation


def weighted(layer, x, w, **parts):
    """A parametrised layer without bias applied to x, with another weight and other parts."""
    inner = copy(layer.layer)
    vars(inner)["weight"] = w
    vars(layer).update(layer=inner, **parts)
    return layer.eval()(x)


def _outputs_last(w, transposed):
    return w.swapaxes(-1, -2) if transposed else w


for make, convolution, x, w in (
    (lambda: nn.Linear(3, 4, bias=False), np.matmul, real(2, 3), real(3, 4)),
    (
        lambda: nn.Conv2d(2, 3, 2, bias=False),
        lambda x, w: conv2d(x, w, Geometry()),
        real(1, 3, 2, 2),
        real(2, 2, 2, 3),
    ),
    (
        lambda: nn.ConvTranspose2d(2, 3, 2, bias=False),
        lambda x, w: conv2d_input_grad(x, w, (2, 3), Geometry()),
        real(1, 1, 2, 2),
        real(2, 2, 3, 2),
    ),
):
    transposed, outputs = isinstance(make(), nn.ConvTranspose2d), w.shape[1] if w.ndim == 2 else 3
    u, gain = real(1, outputs), real(*((outputs, 1) if transposed else (outputs,)))

    def spectral(x, w, make=make, u=u):
        return weighted(nn.SpectralNorm(make()), x, w, u=beside(w, u))

    def _spectral(x, w, convolution=convolution, transposed=transposed, u=u):
        return convolution(x, w / np.linalg.norm(_outputs_last(w, transposed) @ u[0]))

    def weight_normed(x, w, gain, make=make):
        return weighted(nn.WeightNorm(make()), x, w, gain=gain)

    def _weight_normed(x, w, gain, convolution=convolution, transposed=transposed):
        rows = _outputs_last(w, transposed).reshape(-1, gain.size)
        lengths = np.sqrt((rows**2).sum(0)).reshape(gain.shape)
        return convolution(x, gain * w / lengths)

    TABLE.setdefault("nn.SpectralNorm", []).append(Case(spectral, [x, w], _spectral))
    TABLE.setdefault("nn.WeightNorm", []).append(Case(weight_normed, [x, w, gain], _weight_normed))

# Densities of images


def _logistic_bin(value, mean, log_scale):
    """The mass of one of 256 values on [0, 1] by the definition."""
    low = -np.inf if value == 0 else value - 0.5 / 255
    high = np.inf if value == 1 else value + 0.5 / 255
    with np.errstate(over="ignore"):
        high, low = (1 / (1 + np.exp(-(2 * edge - 1 - mean) / np.exp(log_scale))) for edge in (high, low))
    return high - low


def _mixture(parameters, x):
    """log p of an image x (channels,) by the definition; parameters (parts, components)."""
    channels, total = len(x), 0.0
    logits, parts = parameters[0], parameters[1:]
    for k, weight in enumerate(np.exp(logits) / np.exp(logits).sum()):
        means, log_scales = list(parts[:channels, k]), parts[channels : 2 * channels, k]
        chained = np.tanh(parts[2 * channels :, k])
        if channels == 3:
            red, green = 2 * x[0] - 1, 2 * x[1] - 1
            means[1] += chained[0] * red
            means[2] += chained[1] * red + chained[2] * green
        total += weight * math.prod(map(_logistic_bin, x, means, log_scales))
    return math.log(total)


for channels, each in ((1, 3), (3, 10)):
    x = whole(256, 2, 3, channels) / 255
    x[0, 0], x[0, 1] = 0.0, 1.0
    parameters = 0.5 * real(2, 3, each * 2)
    TABLE.setdefault("distributions.DiscretizedLogisticMixture", []).append(
        Case(
            lambda p, x=x, channels=channels: DiscretizedLogisticMixture(p, channels).log_prob(beside(p, x)),
            [parameters],
            lambda p, x=x: np.array([[_mixture(p[i, j].reshape(-1, 2), x[i, j]) for j in range(3)] for i in range(2)]),
        )
    )

# Near 0, on both sides of the change from series to closed form, and far.
logits, x = np.array([[0.0, 1e-3, -0.4], [0.98, 1.02, -7.0]]), np.array([[0.2, 0.5, 1.0], [0.0, 0.7, 0.4]])
TABLE.setdefault("distributions.ContinuousBernoulli", []).append(
    Case(
        lambda logits, x=x: ContinuousBernoulli(logits).log_prob(beside(logits, x)),
        [logits],
        lambda a, x=x: a * x - np.log(np.where(a == 0, 1, np.expm1(a) / np.where(a == 0, 1, a))),
    )
)
