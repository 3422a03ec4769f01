"""Every kernel in plain array code: the oracle that the fast kernels are compared with, and the fallback.

Arrays are channels last and C-contiguous. Each function works on NumPy and on CuPy arrays. A kernel `name` of a fused
operation returns its output and a tuple of residuals; `name_backward(g, *residuals)` returns a tuple of gradients.
"""

import math

import numpy as np

from .draws import draws
from .geometry import Geometry, tap_mask
from .namespace import namespace, zeros
from .philox import philox
from .rules import adagrad, adam, ema, norm, rmsprop, sgd
from .softmaxes import softmaxes

__all__ = [
    "abs_grad",
    "adagrad",
    "adam",
    "add",
    "add_along",
    "add_at",
    "attention",
    "attention_backward",
    "batched_matmul",
    "bernoulli",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_backward",
    "column_sums",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "conv_lstm",
    "conv_lstm_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "cumsum",
    "divide",
    "elu",
    "ema",
    "erf",
    "exp",
    "flip",
    "gated_tanh",
    "gated_tanh_backward",
    "gaussian_kl",
    "gaussian_kl_backward",
    "gelu",
    "gelu_backward",
    "gru",
    "gru_backward",
    "huber",
    "huber_backward",
    "integers",
    "leaky_relu",
    "leaky_relu_grad",
    "log_softmax",
    "log_softmax_backward",
    "lstm",
    "lstm_backward",
    "matmul",
    "max_over",
    "min_over",
    "multiply",
    "norm",
    "normal",
    "normalize",
    "normalize_backward",
    "order_of",
    "philox",
    "reparameterize",
    "reparameterize_backward",
    "rmsprop",
    "sgd",
    "sigmoid",
    "sign",
    "silu",
    "silu_backward",
    "softmax",
    "softmax_backward",
    "softplus",
    "squared_error",
    "squared_error_backward",
    "subtract",
    "sum_over",
    "take_along",
    "uniform",
    "where",
    "whole_power",
]

uniform, normal, bernoulli, integers = draws(philox)


# Convolution. x (N, H, W, C), w (KH, KW, C / groups, K), y and g (N, OH, OW, K).

CHUNK_BYTES = 1 << 25  # bytes of gathered windows at a time


def _chunks(images: int, bytes_each: int):
    step = max(1, CHUNK_BYTES // max(1, bytes_each))
    return (slice(i, i + step) for i in range(0, images, step))


def _masked(w, geometry: Geometry):
    mask = tap_mask(tuple(w.shape), geometry.mask)
    return w if mask is None else w * namespace(w).asarray(mask)


def _gather(x, kernel_size, output_size, geometry: Geometry):
    """The input elements that each output reads: (N * OH * OW, groups, taps * C / groups)."""
    xp = namespace(x)
    padded = xp.pad(x, ((0, 0), *geometry.padding, (0, 0))) if geometry.padding != ((0, 0), (0, 0)) else x
    views = [padded[window] for _, window in geometry.windows(kernel_size, output_size)]
    columns = xp.stack(views, axis=3)
    *places, taps, channels = columns.shape
    columns = columns.reshape(math.prod(places), taps, geometry.groups, channels // geometry.groups)
    return columns.transpose(0, 2, 1, 3).reshape(len(columns), geometry.groups, taps * channels // geometry.groups)


def _as_matrices(w, geometry: Geometry):
    """The taps of a weight that no mask hides, as a matrix per group: (groups, taps * C / groups, K / groups)."""
    xp = namespace(w)
    w = _masked(w, geometry)
    rows = [w[tap] for tap, _ in geometry.windows(w.shape[:2], (1, 1))]
    visible = xp.stack(rows) if rows else xp.zeros((0, *w.shape[2:]), w.dtype)
    cut = len(visible) * w.shape[2], geometry.groups, w.shape[3] // geometry.groups
    return visible.reshape(cut).transpose(1, 0, 2)


def finished(y, bias, slope):
    """Apply a leaky ReLU to y + bias, in place; `bias` may be None, and a slope of 1 is no activation."""
    if bias is not None:
        y += bias
    if slope != 1:
        y[...] = leaky_relu(y, slope)
    return y


def matmul(a, b, bias=None, slope=1.0):
    """a @ b for matrices, with bias and activation as in `conv2d`."""
    return finished(namespace(a).matmul(a, b), bias, slope)


def batched_matmul(a, b):
    """a[i] @ b[i] for stacks of matrices (B, M, K) and (B, K, N)."""
    return namespace(a).matmul(a, b)


def conv2d(x, w, geometry: Geometry, bias=None, slope=1.0):
    """Cross-correlation: y[n, p, q, k] = sum over i, j, c of x[n, p s + i d, q s + j d, c] w[i, j, c, k].

    `bias` (K,) is added, and max(y, slope * y) taken: a leaky ReLU for a slope from 0 to below 1.
    """
    xp = namespace(x)
    size = geometry.output_size(x.shape[1:3], w.shape[:2])
    matrices = _as_matrices(w, geometry)
    y = zeros((len(x), *size, w.shape[3]), like=x)
    if not matrices.shape[1]:
        return finished(y, bias, slope)
    for part in _chunks(len(x), math.prod(size) * matrices.shape[0] * matrices.shape[1] * x.itemsize):
        columns = _gather(x[part], w.shape[:2], size, geometry).transpose(1, 0, 2)
        y[part] = xp.matmul(columns, matrices).transpose(1, 0, 2).reshape(y[part].shape)
    return finished(y, bias, slope)


def conv2d_input_grad(g, w, size, geometry: Geometry, bias=None, slope=1.0):
    """The adjoint of `conv2d` in x, for an input of `size` (H, W); also the transposed convolution of g.

    `bias` (C,) and `slope` as in `conv2d`.
    """
    xp = namespace(g)
    (top, bottom), (left, right) = geometry.padding
    matrices = _as_matrices(w, geometry).transpose(0, 2, 1)
    groups, outputs, width = matrices.shape
    channels = w.shape[2]
    x = zeros((len(g), size[0] + top + bottom, size[1] + left + right, groups, channels), like=g)
    if width:
        for part in _chunks(len(g), math.prod(g.shape[1:3]) * groups * width * g.itemsize):
            images = g[part]
            rows = images.reshape(math.prod(images.shape[:3]), groups, outputs).transpose(1, 0, 2)
            columns = xp.matmul(rows, matrices).reshape(groups, *images.shape[:3], width // channels, channels)
            columns = columns.transpose(4, 1, 2, 3, 0, 5)
            for tap, (_, window) in zip(columns, geometry.windows(w.shape[:2], g.shape[1:3]), strict=True):
                x[part][window] += tap
    x = x.reshape(*x.shape[:3], groups * channels)
    return finished(x[:, top : top + size[0], left : left + size[1]].copy(), bias, slope)


def conv2d_weight_grad(x, g, kernel_size, geometry: Geometry):
    """The adjoint of `conv2d` in w, for a kernel of `kernel_size` (KH, KW)."""
    xp = namespace(x)
    size, groups = g.shape[1:3], geometry.groups
    channels, outputs = x.shape[3] // groups, g.shape[3]
    taps = [tap for tap, _ in geometry.windows(kernel_size, size)]
    total = zeros((groups, len(taps) * channels, outputs // groups), like=x)
    if taps:
        for part in _chunks(len(x), math.prod(size) * len(taps) * x.shape[3] * x.itemsize):
            columns = _gather(x[part], kernel_size, size, geometry)
            rows = g[part].reshape(len(columns), groups, outputs // groups)
            total += xp.matmul(columns.transpose(1, 2, 0), rows.transpose(1, 0, 2))
    w = zeros((*kernel_size, channels, outputs), like=x)
    total = total.transpose(1, 0, 2).reshape(len(taps), channels, outputs)
    for tap, matrix in zip(taps, total, strict=True):
        w[tap] = matrix
    return _masked(w, geometry)


# Sums, normalisation, softmax, losses.


def max_over(x, axes, keepdims=False):
    """The largest numbers over a tuple of axes, none of them negative; NaN where one is."""
    return namespace(x).max(x, axis=axes, keepdims=keepdims)


def min_over(x, axes, keepdims=False):
    """The smallest numbers over a tuple of axes, none of them negative; NaN where one is."""
    return namespace(x).min(x, axis=axes, keepdims=keepdims)


def sum_over(x, axes, keepdims=False):
    """x summed over a tuple of axes, none of them negative; float32 is added up in float64."""
    total = namespace(x).sum(x, axis=axes, keepdims=keepdims, dtype=np.float64)
    return total.astype(x.dtype)


def _mean(x, axes):
    """The mean over axes, which stay with length 1; 0 of no numbers."""
    return sum_over(x, axes, True) * (1 / max(1, math.prod(x.shape[axis] for axis in axes)))


def normalize(x, scale, shift, *, axes, eps, slope=1.0):
    """y = act((x - mean) / sqrt(var + eps) * scale + shift), act(v) = v where v > 0, else slope * v.

    Mean and variance are over axes; scale and shift may be None, or broadcast. Outputs (y, mean, var), the last two
    with axes of length 1.
    """
    xp = namespace(x)
    mean = _mean(x, axes)
    y = x - mean
    var = _mean(y * y, axes)
    inverse = 1 / xp.sqrt(var + eps)
    y *= inverse
    _transform(y, scale, shift)
    if slope != 1:
        y = leaky_relu_grad(y, y, slope)
    return (y, mean, var), (x, scale, shift, mean, inverse)


def _transform(y, scale, shift) -> None:
    """Replace y by y * scale + shift, in place."""
    if scale is not None:
        y *= scale
    if shift is not None:
        y += shift


def _sum_to(g, shape):
    """Sum a gradient over the axes along which its array of a `shape` was broadcast."""
    lead = g.ndim - len(shape)
    axes = tuple(i for i in range(g.ndim) if i < lead or (shape[i - lead] == 1 and g.shape[i] > 1))
    return sum_over(g, axes, True).reshape(shape)


def normalize_backward(g, x, scale, shift, mean, inverse, *, axes, eps, slope=1.0):
    """Gradients of the first output of `normalize` for x, scale and shift (Ioffe & Szegedy 2015, section 3)."""
    y = (x - mean) * inverse
    if slope != 1:
        before = y.copy()
        _transform(before, scale, shift)
        g = leaky_relu_grad(g, before, slope)
    scale_grad = None if scale is None else _sum_to(g * y, scale.shape)
    shift_grad = None if shift is None else _sum_to(g, shift.shape)
    if scale is not None:
        g = g * scale
    along_y = _mean(g * y, axes)
    return (g - _mean(g, axes) - y * along_y) * inverse, scale_grad, shift_grad


softmax, softmax_backward, log_softmax, log_softmax_backward = softmaxes(sum_over)


def binary_cross_entropy_with_logits(x, target):
    """-t log s(x) - (1 - t) log(1 - s(x)), s the logistic function, elementwise; the residual is s(x) - t."""
    xp = namespace(x)
    size = xp.abs(x)
    e = xp.exp(-size)
    y = xp.log1p(e)
    weight = xp.where(x < 0, target, 1 - target)
    y += weight * xp.where(weight == 0, 0.0, size)
    e += 1
    probability = xp.exp(xp.minimum(x, 0))
    probability /= e
    probability -= target
    return y, (probability,)


def binary_cross_entropy_with_logits_backward(g, difference):
    """The gradient with respect to the logits: g (s(x) - t)."""
    return (g * difference,)


def cross_entropy(x, target):
    """-log softmax(x)[target] over the last axis; residuals: probabilities and target."""
    xp = namespace(x)
    target = target.reshape((*x.shape[:-1], 1))
    y, _ = log_softmax(x)
    return -xp.take_along_axis(y, target, axis=-1)[..., 0], (xp.exp(y), target[..., 0])


def cross_entropy_backward(g, probability, target):
    """The gradient with respect to the logits: g (softmax(x) - 1) at the target, g softmax(x) elsewhere."""
    hit = target[..., None] == namespace(g).arange(probability.shape[-1])
    return ((probability - hit) * g[..., None],)


def gaussian_kl(mean, log_var):
    """KL(N(mean, exp(log_var)) || N(0, 1)), elementwise (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean * mean + namespace(mean).exp(log_var) - log_var - 1), (mean, log_var)


def gaussian_kl_backward(g, mean, log_var):
    """The gradients with respect to mean and log_var."""
    return g * mean, 0.5 * g * (namespace(g).exp(log_var) - 1)


def reparameterize(mean, log_var, noise):
    """mean + exp(log_var / 2) * noise (Kingma & Welling 2014, section 2.4); the residual is the second term."""
    deviation = namespace(mean).exp(0.5 * log_var)
    deviation *= noise
    return mean + deviation, (deviation,)


def reparameterize_backward(g, deviation):
    """The gradients with respect to mean and log_var."""
    return g, 0.5 * g * deviation


def squared_error(prediction, target):
    """(prediction - target)^2"""
    error = prediction - target
    return error * error, (prediction, target)


def squared_error_backward(g, prediction, target):
    """The gradient with respect to the prediction."""
    return (2 * (prediction - target) * g,)


def huber(prediction, target, *, delta=1.0):
    """e^2 / 2 for an error e of at most delta, beyond delta (|e| - delta / 2); the residual is its slope."""
    error = prediction - target
    slope = namespace(error).clip(error, -delta, delta)
    return slope * (error - 0.5 * slope), (slope,)


def huber_backward(g, slope, *, delta=1.0):
    """The gradient with respect to the prediction."""
    return (g * slope,)


def elu(x, alpha):
    """x where x > 0, else alpha (e^x - 1)."""
    xp = namespace(x)
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


def sign(x):
    """-1, 0 or 1."""
    return namespace(x).sign(x)


def leaky_relu_grad(g, x, slope):
    """The gradient of `leaky_relu`: g where x > 0, else slope * g; x may be its input or its output."""
    return namespace(g).where(x <= 0, 0.0 if slope == 0 else slope * g, g)


def cumsum(x, axis, reverse=False):
    """The sums of all numbers up to each along an axis, in reverse from the last on; float32 is added in float64."""
    xp = namespace(x)
    x = xp.flip(x, axis) if reverse else x
    y = xp.cumsum(x, axis=axis, dtype=np.float64).astype(x.dtype)
    return xp.flip(y, axis).copy() if reverse else y


def column_sums(x):
    """The sum of all rows of a matrix."""
    return sum_over(x, (0,))


def add_at(g, index, length):
    """The numbers g (outer, count, inner) added, at an index (count,) from 0 on, to zeros (outer, length, inner)."""
    xp = namespace(g)
    y = zeros((g.shape[0], length, g.shape[2]), like=g)
    xp.add.at(y, (slice(None), index), g)
    return y


def take_along(x, index, axis):
    """For each position of an index, the element of x at that index along an axis."""
    return namespace(x).take_along_axis(x, index, axis=axis)


def add_along(g, index, axis, length):
    """The numbers g added, at an index along an axis, to zeros of a length there."""
    xp, axis = namespace(g), axis % g.ndim
    y = zeros((*g.shape[:axis], length, *g.shape[axis + 1 :]), like=g)
    position = list(xp.meshgrid(*[xp.arange(n) for n in g.shape], indexing="ij", sparse=True))
    position[axis] = index
    xp.add.at(y, tuple(position), g)
    return y


def order_of(words):
    """The stable argsort of uint32 words, int64."""
    return words.argsort(kind="stable").astype(np.int64)


# Elementwise functions, which also take Python numbers.


def add(a, b):
    """a + b, with NumPy's broadcasting."""
    return a + b


def subtract(a, b):
    """a - b, with NumPy's broadcasting."""
    return a - b


def multiply(a, b):
    """a b, with NumPy's broadcasting."""
    return a * b


def divide(a, b):
    """a / b, with NumPy's broadcasting."""
    return a / b


def flip(x, axis=None):
    """x in reverse order along an axis, a tuple of axes, or all."""
    return namespace(x).flip(x, axis)


def whole_power(x, exponent):
    """x ** exponent for a whole number that is not 0, by squaring."""
    power, square, rest = None, x.astype(np.float64, copy=False), -exponent if exponent < 0 else exponent
    while rest:
        if rest & 1:
            power = square if power is None else power * square
        rest >>= 1
        square = square * square if rest else square
    return (1 / power if exponent < 0 else power).astype(x.dtype, copy=False)


def where(condition, a, b):
    """a where the condition (bool) holds, else b; a and b are arrays or numbers."""
    return namespace(condition).where(condition, a, b)


def abs_grad(g, x):
    """The gradient of |x|: g where x > 0, -g where x < 0, and 0 at 0."""
    xp = namespace(g)
    return xp.where(x == 0, 0.0, xp.where(x < 0, -g, g))


def leaky_relu(x, slope):
    """x where x > 0, else slope * x."""
    xp = namespace(x)
    return xp.maximum(x, 0) if slope == 0 else xp.where(x > 0, x, slope * x)


def exp(x):
    """e^x"""
    return namespace(x).exp(x)


def sigmoid(x):
    """1 / (1 + e^-x), without overflow."""
    xp = namespace(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1, e) / (1 + e)


def softplus(x):
    """log(1 + e^x), without overflow."""
    xp = namespace(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


_erf = np.frompyfunc(math.erf, 1, 1)


def erf(x):
    """Error function: 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x."""
    if namespace(x) is np:
        return np.asarray(_erf(x), getattr(x, "dtype", None))
    from cupyx.scipy.special import erf

    return erf(x)


def silu(x):
    """x / (1 + e^-x), also called swish (Ramachandran et al. 2017)."""
    return x * sigmoid(x), (x,)


def silu_backward(g, x):
    """The gradient of `silu`."""
    s = sigmoid(x)
    return (g * (s * (1 + x * (1 - s))),)


def gated_tanh(x):
    """tanh(a) sigmoid(b) for the halves a, b of the last axis (van den Oord et al. 2016)."""
    a, b = namespace(x).split(x, 2, axis=-1)
    return namespace(x).tanh(a) * sigmoid(b), (x,)


def gated_tanh_backward(g, x):
    """The gradient of `gated_tanh`."""
    xp = namespace(x)
    a, b = xp.split(x, 2, axis=-1)
    t, s = xp.tanh(a), sigmoid(b)
    return (xp.concatenate((g * s * (1 - t * t), g * t * (s * (1 - s))), axis=-1),)


def gelu(x):
    """x Phi(x) with the normal distribution function Phi (Hendrycks & Gimpel 2016)."""
    return x * (0.5 * (1 + erf(x * 0.5**0.5))), (x,)


def gelu_backward(g, x):
    """The gradient of `gelu`: g (Phi(x) + x Phi'(x))."""
    density = (2 * math.pi) ** -0.5 * namespace(x).exp(-0.5 * x * x)
    return (g * (0.5 * (1 + erf(x * 0.5**0.5)) + x * density),)


# Attention


def _scores(query, key, mask, causal, scale):
    """query key' * scale + mask, -infinity where a query may not look: (..., T, S)."""
    xp = namespace(query)
    scores = xp.matmul(query * scale, key.swapaxes(-1, -2))
    if causal:
        seen = xp.arange(scores.shape[-1]) <= xp.arange(scores.shape[-2])[:, None]
        scores = xp.where(seen, scores, -math.inf)
    if mask is not None:
        scores = xp.where(mask, scores, -math.inf) if mask.dtype.kind == "b" else scores + mask
    return scores


def attention(query, key, value, mask=None, *, causal, scale):
    """softmax(query key' * scale + mask) value; see `tinygen.ops.attention`. NaN for a query that sees no key.

    The last residual is log(sum(exp(.))) of the products of each query, (..., T).
    """
    xp = namespace(query)
    scores = _scores(query, key, mask, causal, scale)
    largest = scores.max(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = xp.exp(scores - xp.where(largest == -math.inf, 0, largest))
        total = sum_over(scores, (scores.ndim - 1,), True)
        y = xp.matmul(scores, value) / total
        return y, (query, key, value, mask, y, (largest + xp.log(total))[..., 0])


def attention_backward(g, query, key, value, mask, y, log_sums, *, causal, scale):
    """The gradients of `attention` for query, key and value (Dao et al. 2022, appendix B.2)."""
    xp = namespace(g)
    with np.errstate(invalid="ignore"):
        weights = xp.exp(_scores(query, key, mask, causal, scale) - log_sums[..., None])
    d = weights * (xp.matmul(g, value.swapaxes(-1, -2)) - sum_over(g * y, (g.ndim - 1,), True)) * scale
    return xp.matmul(d, key), xp.matmul(d.swapaxes(-1, -2), query), xp.matmul(weights.swapaxes(-1, -2), g)


# Recurrent networks. Gates lie as (N, T, gates, H); all products but those with the hidden state cover every step at
# once. Backward first makes the gates' derivatives, for every step at once too; going back in time it multiplies them
# by the gradient of their state.


def _logistic(x):
    """Replace x by 1 / (1 + exp(-x)), in place: by tanh, which cannot overflow."""
    x *= 0.5
    namespace(x).tanh(x, out=x)
    x += 1
    x *= 0.5


def _rows(x):
    """All steps of all sequences as the rows of one matrix."""
    return x.reshape(math.prod(x.shape[:2]), math.prod(x.shape[2:]))


def _projected(x, weight, bias, gates: int):
    y = _rows(x) @ weight
    y += bias
    return y.reshape(*x.shape[:2], gates, weight.shape[1] // gates)


def _projected_backward(g, x, weight):
    """The gradients of `_projected` with respect to x, weight and bias."""
    rows = _rows(g)
    return (rows @ weight.T).reshape(x.shape), _rows(x).T @ rows, column_sums(rows)


def _delayed(first, states):
    """The state before each step, from the first state and those after each step."""
    return namespace(states).concatenate((first[:, None], states[:, :-1]), axis=1)


def _lstm_step(gates, c):
    """Turn the sums (N, ..., 4, H) of gates into the gates, in place; returns the state (h, c) after the step."""
    xp = namespace(gates)
    i, f, n, o = (gates[..., k, :] for k in range(4))
    _logistic(gates[..., :2, :])
    xp.tanh(n, out=n)
    _logistic(o)
    c = f * c + i * n
    return o * xp.tanh(c), c


def _lstm_derivatives(g, first_cell, gates, cells, of_state):
    """The derivatives (N, T, ..., 4, H) of the sums of gates, and the gradients of the state before the first step.

    `of_state` makes the gradient of the hidden state from the derivatives of a step, (N, ..., 4 H).
    """
    xp = namespace(g)
    i, f, n, o = (gates[..., k, :] for k in range(4))
    bounded = xp.tanh(cells)
    through = o * (1 - bounded * bounded)
    parts = n * i * (1 - i), _delayed(first_cell, cells) * f * (1 - f), i * (1 - n * n), bounded * o * (1 - o)
    d = xp.stack(parts, axis=-2)
    dh, dc = xp.zeros(first_cell.shape, g.dtype), xp.zeros(first_cell.shape, g.dtype)
    for t in reversed(range(g.shape[1])):
        dh += g[:, t]
        dc += dh * through[:, t]
        d[:, t, ..., :3, :] *= dc[..., None, :]
        d[:, t, ..., 3, :] *= dh
        dc *= f[:, t]
        dh = of_state(d[:, t].reshape(*dh.shape[:-1], 4 * dh.shape[-1]))
    return d, dh, dc


def lstm(x, input_weight, hidden_weight, bias, h, c):
    """Long short-term memory, gates i, f, g, o; outputs (y, last cell). See `tinygen.ops.recurrent`."""
    gates = _projected(x, input_weight, bias, 4)
    cells, y = (zeros((*x.shape[:2], h.shape[1]), like=x) for _ in range(2))
    residuals = x, input_weight, hidden_weight, h, c, gates, cells, y
    for t in range(x.shape[1]):
        step_gates = gates[:, t]
        step_gates += (h @ hidden_weight).reshape(step_gates.shape)
        h, c = _lstm_step(step_gates, c)
        cells[:, t], y[:, t] = c, h
    return (y, c), residuals


def lstm_backward(g, x, input_weight, hidden_weight, h, c, gates, cells, y):
    """Gradients of the first output of `lstm`, by backpropagation through time."""
    d, dh, dc = _lstm_derivatives(g, c, gates, cells, lambda d: d @ hidden_weight.T)
    dx, input_grad, bias_grad = _projected_backward(d, x, input_weight)
    return dx, input_grad, _rows(_delayed(h, y)).T @ _rows(d), bias_grad, dh, dc


def conv_lstm(gates, u, h, c, *, padding):
    """Convolutional LSTM, gates i, f, g, o; outputs (y, last cell). See `tinygen.ops.recurrent`."""
    xp, geometry, first = namespace(gates), Geometry(padding=padding), (h, c)
    shape = *gates.shape[:-1], h.shape[-1]
    gates = gates.reshape(*shape[:-1], 4, shape[-1]).copy()
    cells, y = (xp.empty(shape, gates.dtype) for _ in range(2))
    for t in range(shape[1]):
        gates[:, t] += conv2d(h, u, geometry).reshape(gates[:, t].shape)
        h, c = _lstm_step(gates[:, t], c)
        cells[:, t], y[:, t] = c, h
    return (y, c), (u, *first, gates, cells, y)


def conv_lstm_backward(g, u, h, c, gates, cells, y, *, padding):
    """Gradients of the first output of `conv_lstm`, by backpropagation through time."""
    geometry, (n, steps, *size, _) = Geometry(padding=padding), y.shape
    d, dh, dc = _lstm_derivatives(g, c, gates, cells, lambda d: conv2d_input_grad(d, u, tuple(size), geometry))
    d = d.reshape(*y.shape[:-1], u.shape[-1])
    before = _delayed(h, y).reshape(n * steps, *h.shape[1:])
    return d, conv2d_weight_grad(before, d.reshape(n * steps, *d.shape[2:]), u.shape[:2], geometry), dh, dc


def gru(x, input_weight, hidden_weight, bias, hidden_bias, h):
    """Gated recurrent unit, gates r, z, n. See `tinygen.ops.recurrent`."""
    xp = namespace(x)
    gates = _projected(x, input_weight, bias, 3)
    # `candidates` are the terms that r scales.
    candidates, y = (zeros((*x.shape[:2], h.shape[1]), like=x) for _ in range(2))
    residuals = x, input_weight, hidden_weight, h, gates, candidates, y
    for t in range(x.shape[1]):
        step_gates = gates[:, t]
        hidden = (h @ hidden_weight).reshape(step_gates.shape)
        step_gates[:, :2] += hidden[:, :2]
        _logistic(step_gates[:, :2])
        candidates[:, t] = hidden[:, 2] + hidden_bias
        step_gates[:, 2] += step_gates[:, 0] * candidates[:, t]
        xp.tanh(step_gates[:, 2], out=step_gates[:, 2])
        h = step_gates[:, 2] + step_gates[:, 1] * (h - step_gates[:, 2])
        y[:, t] = h
    return y, residuals


def gru_backward(g, x, input_weight, hidden_weight, h, gates, candidates, y):
    """Gradients of `gru`, by backpropagation through time."""
    xp = namespace(g)
    r, z, n = (gates[:, :, k] for k in range(3))
    before = _delayed(h, y)
    dn = (1 - z) * (1 - n * n)
    d = xp.stack((dn * candidates * r * (1 - r), (before - n) * z * (1 - z), dn), axis=2)
    hidden = d.copy()  # the derivatives of what the hidden state adds
    hidden[:, :, 2] *= r
    dh = xp.zeros_like(h)
    for t in reversed(range(x.shape[1])):
        dh += g[:, t]
        d[:, t] *= dh[:, None]
        hidden[:, t] *= dh[:, None]
        dh = dh * z[:, t] + hidden[:, t].reshape(-1, hidden_weight.shape[1]) @ hidden_weight.T
    dx, input_grad, bias_grad = _projected_backward(d, x, input_weight)
    return dx, input_grad, _rows(before).T @ _rows(hidden), bias_grad, hidden[:, :, 2].sum(axis=(0, 1)), dh
