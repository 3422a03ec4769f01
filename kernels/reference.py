"""Every kernel in plain array code: the oracle that the fast kernels are compared with, and the fallback.

Arrays are channels last and C-contiguous. Each function works on NumPy and on CuPy arrays. A kernel `name` of a fused
operation returns its output and a tuple of residuals; `name_backward(g, *residuals)` returns a tuple of gradients.
"""

import math
import sys

import numpy as np

from .geometry import Geometry, tap_mask
from .philox import philox

__all__ = [
    "adam",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_backward",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "erf",
    "log_softmax",
    "log_softmax_backward",
    "normalize",
    "normalize_backward",
    "philox",
    "rmsprop",
    "sgd",
    "softmax",
    "softmax_backward",
]


def namespace(array):
    """The library whose array this is."""
    return sys.modules[type(array).__module__.partition(".")[0]]


# Convolution. x (N, H, W, C), w (KH, KW, C / groups, K), y and g (N, OH, OW, K).

CHUNK_BYTES = 1 << 25  # of gathered windows at a time


def _chunks(images: int, bytes_each: int):
    step = max(1, CHUNK_BYTES // max(1, bytes_each))
    return (slice(i, i + step) for i in range(0, images, step))


def _masked(w, geometry: Geometry):
    mask = tap_mask(tuple(w.shape), geometry.mask)
    return w if mask is None else w * namespace(w).asarray(mask)


def _gather(x, kernel_size, output_size, geometry: Geometry):
    """The input elements that each output meets: (N * OH * OW, groups, taps * C / groups)."""
    xp = namespace(x)
    padded = xp.pad(x, ((0, 0), *geometry.padding, (0, 0))) if geometry.padding != ((0, 0), (0, 0)) else x
    views = [padded[window] for _, window in geometry.windows(kernel_size, output_size)]
    columns = xp.stack(views, axis=3)
    taps, channels = columns.shape[3:]
    columns = columns.reshape(-1, taps, geometry.groups, channels // geometry.groups)
    return columns.transpose(0, 2, 1, 3).reshape(len(columns), geometry.groups, -1)


def _as_matrices(w, geometry: Geometry):
    """Live taps of a weight as one matrix a group: (groups, taps * C / groups, K / groups)."""
    xp = namespace(w)
    w = _masked(w, geometry)
    rows = [w[tap] for tap, _ in geometry.windows(w.shape[:2], (1, 1))]
    live = xp.stack(rows) if rows else xp.zeros((0, *w.shape[2:]), w.dtype)
    return live.reshape(-1, geometry.groups, w.shape[3] // geometry.groups).transpose(1, 0, 2)


def conv2d(x, w, geometry: Geometry):
    """Cross-correlation: y[n, p, q, k] = sum over i, j, c of x[n, p s + i d, q s + j d, c] w[i, j, c, k]."""
    xp = namespace(x)
    size = geometry.output_size(x.shape[1:3], w.shape[:2])
    matrices = _as_matrices(w, geometry)
    y = xp.zeros((len(x), *size, w.shape[3]), x.dtype)
    if not matrices.shape[1]:
        return y
    for part in _chunks(len(x), math.prod(size) * matrices.shape[0] * matrices.shape[1] * x.itemsize):
        columns = _gather(x[part], w.shape[:2], size, geometry).transpose(1, 0, 2)
        y[part] = xp.matmul(columns, matrices).transpose(1, 0, 2).reshape(-1, *size, w.shape[3])
    return y


def conv2d_input_grad(g, w, size, geometry: Geometry):
    """The adjoint of `conv2d` in x, for an input of `size` (H, W); also the transposed convolution of g."""
    xp = namespace(g)
    (top, bottom), (left, right) = geometry.padding
    matrices = _as_matrices(w, geometry).transpose(0, 2, 1)
    groups, outputs, width = matrices.shape
    channels = w.shape[2]
    x = xp.zeros((len(g), size[0] + top + bottom, size[1] + left + right, groups, channels), g.dtype)
    if width:
        for part in _chunks(len(g), math.prod(g.shape[1:3]) * groups * width * g.itemsize):
            rows = g[part].reshape(-1, groups, outputs).transpose(1, 0, 2)
            columns = xp.matmul(rows, matrices).reshape(groups, -1, *g.shape[1:3], width // channels, channels)
            columns = columns.transpose(4, 1, 2, 3, 0, 5)
            for tap, (_, window) in zip(columns, geometry.windows(w.shape[:2], g.shape[1:3]), strict=True):
                x[part][window] += tap
    x = x.reshape(*x.shape[:3], groups * channels)
    return xp.ascontiguousarray(x[:, top : top + size[0], left : left + size[1]])


def conv2d_weight_grad(x, g, kernel_size, geometry: Geometry):
    """The adjoint of `conv2d` in w, for a kernel of `kernel_size` (KH, KW)."""
    xp = namespace(x)
    size, groups = g.shape[1:3], geometry.groups
    channels, outputs = x.shape[3] // groups, g.shape[3]
    taps = [tap for tap, _ in geometry.windows(kernel_size, size)]
    total = xp.zeros((groups, len(taps) * channels, outputs // groups), x.dtype)
    if taps:
        for part in _chunks(len(x), math.prod(size) * len(taps) * x.shape[3] * x.itemsize):
            columns = _gather(x[part], kernel_size, size, geometry)
            rows = g[part].reshape(-1, groups, outputs // groups)
            total += xp.matmul(columns.transpose(1, 2, 0), rows.transpose(1, 0, 2))
    w = xp.zeros((*kernel_size, channels, outputs), x.dtype)
    total = total.transpose(1, 0, 2).reshape(len(taps), channels, outputs)
    for tap, matrix in zip(taps, total, strict=True):
        w[tap] = matrix
    return _masked(w, geometry)


# Normalisation, softmax, losses.


def normalize(x, *, axes, eps):
    """(x - mean) / sqrt(var + eps) over axes; outputs (y, mean, var), the last two with axes of length 1."""
    xp = namespace(x)
    mean = xp.mean(x, axis=axes, keepdims=True)
    y = x - mean
    var = xp.mean(y * y, axis=axes, keepdims=True)
    scale = 1 / xp.sqrt(var + eps)
    y *= scale
    return (y, mean, var), (y, scale)


def normalize_backward(g, y, scale, *, axes, eps):
    """Gradient of the first output of `normalize` (Ioffe & Szegedy 2015, section 3)."""
    xp = namespace(g)
    along_y = xp.mean(g * y, axis=axes, keepdims=True)
    return ((g - xp.mean(g, axis=axes, keepdims=True) - y * along_y) * scale,)


def softmax(x, *, axis=-1):
    """exp(x) / sum(exp(x)) along an axis."""
    xp = namespace(x)
    y = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    y /= xp.sum(y, axis=axis, keepdims=True)
    return y, (y,)


def softmax_backward(g, y, *, axis=-1):
    """Gradient of `softmax`."""
    return (y * (g - namespace(g).sum(g * y, axis=axis, keepdims=True)),)


def log_softmax(x, *, axis=-1):
    """x - log(sum(exp(x))) along an axis."""
    xp = namespace(x)
    y = x - xp.max(x, axis=axis, keepdims=True)
    y -= xp.log(xp.sum(xp.exp(y), axis=axis, keepdims=True))
    return y, (y,)


def log_softmax_backward(g, y, *, axis=-1):
    """Gradient of `log_softmax`."""
    xp = namespace(g)
    return (g - xp.exp(y) * xp.sum(g, axis=axis, keepdims=True),)


def binary_cross_entropy_with_logits(x, target):
    """-t log s(x) - (1 - t) log(1 - s(x)) with s the logistic function, elementwise and without overflow."""
    xp = namespace(x)
    e = xp.abs(x)
    xp.negative(e, out=e)
    xp.exp(e, out=e)
    y = xp.log1p(e)
    room = xp.maximum(x, 0)
    y += room
    y -= xp.multiply(x, target, out=room)
    e += 1
    probability = xp.exp(xp.minimum(x, 0, out=room), out=room)
    probability /= e
    probability -= target
    return y, (probability,)


def binary_cross_entropy_with_logits_backward(g, difference):
    """Gradient in the logits: s(x) - t."""
    return (g * difference,)


_erf = np.frompyfunc(math.erf, 1, 1)


def erf(x):
    """Error function, elementwise."""
    if namespace(x) is np:
        return np.asarray(_erf(x), x.dtype)
    from cupyx.scipy.special import erf

    return erf(x)


# Update rules, in place on flat buffers. `scalars` holds what may change between steps. A state that decays below the
# smallest normal number becomes zero: arithmetic on denormals made a step of Adam five times as slow (measured).


def _flush(state):
    xp = namespace(state)
    state *= xp.abs(state) >= xp.finfo(state.dtype).tiny


def sgd(parameter, gradient, velocity, scalars):
    """Stochastic gradient descent; scalars: learning rate, momentum, weight decay, Nesterov (0 or 1)."""
    rate, momentum, decay, nesterov = scalars
    gradient = gradient + decay * parameter
    velocity *= momentum
    velocity += gradient
    _flush(velocity)
    parameter -= rate * (nesterov * (gradient + momentum * velocity) + (1 - nesterov) * velocity)


def rmsprop(parameter, gradient, square, scalars):
    """RMSProp; scalars: learning rate, decay of the mean square, eps (outside the root), weight decay."""
    rate, alpha, eps, decay = scalars
    gradient = gradient + decay * parameter
    square *= alpha
    square += (1 - alpha) * gradient * gradient
    _flush(square)
    parameter -= rate * gradient / (namespace(square).sqrt(square) + eps)


def adam(parameter, gradient, mean, square, scalars):
    """Adam and AdamW (Kingma & Ba 2015, Loshchilov & Hutter 2019).

    Scalars: learning rate / (1 - beta1^t), beta1, beta2, 1 / sqrt(1 - beta2^t), eps (after the corrected root),
    weight decay added to the gradient, factor that shrinks the parameter first (decoupled decay; 1: none).
    """
    rate, beta1, beta2, root, eps, decay, shrink = scalars
    parameter *= shrink
    gradient = gradient + decay * parameter
    mean *= beta1
    mean += (1 - beta1) * gradient
    _flush(mean)
    square *= beta2
    square += (1 - beta2) * gradient * gradient
    _flush(square)
    parameter -= rate * mean / (namespace(square).sqrt(square) * root + eps)
