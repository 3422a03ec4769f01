"""Update rules in one pass over flat buffers."""

import numpy as np

from .jit import jit


@jit
def _adam(parameter, gradient, mean, square, scalars):
    rate, beta1, beta2, root, eps, decay, shrink = scalars
    one, zero = parameter.dtype.type(1), parameter.dtype.type(0)
    tiny = np.finfo(parameter.dtype).tiny
    for i in range(parameter.size):
        p = parameter[i] * shrink
        g = gradient[i] + decay * p
        m = beta1 * mean[i] + (one - beta1) * g
        v = beta2 * square[i] + (one - beta2) * g * g
        m = m if abs(m) >= tiny else zero
        v = v if v >= tiny else zero
        mean[i], square[i] = m, v
        parameter[i] = p - rate * m / (np.sqrt(v) * root + eps)


def adam(parameter, gradient, mean, square, scalars):
    """Adam and AdamW, as `kernels.reference.adam` computes them."""
    _adam(parameter, gradient, mean, square, tuple(scalars))
