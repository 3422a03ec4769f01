"""Kernels for users of NumPy and CuPy: functions on arrays of either, computed where these lie.

Images are (N, H, W, C), channels last. All arrays of a call are of one library and one dtype, float32 or float64; in
float64, and where there is no numba, plain array code computes. TypeError for other arrays; ValueError, in one line,
for shapes and numbers that do not fit. There are no gradients here: `tinygen.functional` has those.
"""

import functools
import math
from dataclasses import replace

from . import arguments
from .choice import kernel
from .geometry import Geometry
from .namespace import namespace


def _device(name: str, *arrays) -> str:
    """Where arrays lie, of which some may be None; TypeError unless they are of one library and one dtype."""
    given = [a for a in arrays if a is not None]
    if odd := [type(a).__name__ for a in given if not hasattr(a, "strides")]:
        raise TypeError(f"{name}: takes arrays of NumPy or of CuPy, not {odd[0]}")
    devices = {"cpu" if namespace(a).__name__ == "numpy" else "cuda" for a in given}
    if len(devices) > 1:
        raise TypeError(f"{name}: takes arrays of NumPy, or of CuPy, not both: move some, as cupy.asarray(x)")
    dtypes = sorted({str(a.dtype) for a in given})
    if dtypes not in (["float32"], ["float64"]):
        raise TypeError(f"{name}: takes arrays of float32, or of float64, not {' and '.join(dtypes)}: use x.astype")
    return devices.pop()


def _kernel(name: str, *arrays):
    """The kernel for some arrays."""
    return kernel(name, _device(name, *arrays))


# Convolution and pooling


def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1, *, mask=None, slope=1.0):
    """Convolution of images x (N, H, W, C) with w (KH, KW, C / groups, K) and bias b (K,): (N, OH, OW, K).

    w is not flipped. `stride` and `dilation` are a number, or one for each axis; `padding` is a number, one for each
    axis, (before, after) for each axis, or "same". `mask` is (kind, colours) of a masked convolution, see
    `masked_conv2d`. A `slope` below 1 applies a leaky ReLU in the same pass; 0 is a ReLU.
    """
    compute = _kernel("conv2d", x, w, b)
    geometry = arguments.geometry_of(w.shape[:2], stride, padding, dilation, groups, mask)
    arguments.check_convolution("conv2d", x.shape, x.shape[-1], w.shape, geometry)
    arguments.check_output(x.shape, w.shape, geometry)
    arguments.check_bias("conv2d", b, w.shape[3])
    arguments.check_slope("conv2d", slope)
    return compute(x, w, geometry, b, slope)


def masked_conv2d(x, w, b=None, *, kind, colours=1, slope=1.0):
    """Same-size convolution that sees only pixels above and to the left (van den Oord et al. 2016, arXiv:1601.06759).

    Kind "A" hides the centre pixel, kind "B" shows it. With several `colours`, channel c has colour
    floor(c * colours / C), and the centre shows the colours before the output's own ("A") or up to it ("B"). Kernel
    lengths are odd. Hidden weights cost nothing.
    """
    _device("masked_conv2d", x, w, b)
    arguments.check_mask(kind, colours)
    arguments.check_centre(w.shape[:2])
    return conv2d(x, w, b, padding="same", mask=(kind, colours), slope=slope)


def conv1d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1, *, slope=1.0):
    """Convolution of sequences x (N, T, C) with w (KW, C / groups, K): (N, OT, K).

    `padding` is a number, (before, after) or "same"; the rest as in `conv2d`.
    """
    _device("conv1d", x, w, b)
    if x.ndim != 3 or w.ndim != 3:
        raise ValueError(f"conv1d: takes (N, T, C) and (KW, C / groups, K), not {x.shape} and {w.shape}")
    padding = padding if isinstance(padding, str) else (0, padding)
    return conv2d(x[:, None], w[None], b, (1, stride), padding, (1, dilation), groups, slope=slope)[:, 0]


def conv_transpose2d(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, slope=1.0):
    """Transposed convolution of images x (N, H, W, C): the adjoint of the `conv2d` with the same weight.

    w is (KH, KW, C_out / groups, C_in), the weight of that convolution, not flipped; b is (C_out,). The output has the
    height (H - 1) * stride - padding (of both sides) + dilation * (KH - 1) + 1 + output_padding.
    """
    device = _device("conv_transpose2d", x, w, b)
    geometry = arguments.geometry_of(w.shape[:2], stride, padding, dilation, groups)
    arguments.check_adjoint(x.shape, w.shape)
    arguments.check_bias("conv_transpose2d", b, w.shape[2] * groups)
    arguments.check_slope("conv_transpose2d", slope)
    compute = kernel("conv2d_input_grad", device)
    extra = arguments.output_padding_of(output_padding, geometry)
    cut, size, appended = arguments.transposed(geometry, x.shape, w.shape[:2], extra)
    if not any(appended):
        return compute(x, w, size, replace(geometry, padding=cut), b, slope)
    from .reference import finished  # here, so that `import tinygen` stays quick

    geometry = replace(geometry, padding=((0, 0), (0, 0)))  # all of the output, of which `cut` may leave nothing
    y = compute(x, w, geometry.transposed_size(x.shape[1:3], w.shape[:2]), geometry)
    y = namespace(y).pad(y, ((0, 0), (0, appended[0]), (0, appended[1]), (0, 0)))
    (top, bottom), (left, right) = cut
    return finished(y[:, top : y.shape[1] - bottom, left : y.shape[2] - right].copy(), b, slope)


def _windows(name: str, x, size, stride, padding, value: float):
    """For each place in a window, the numbers at this place of all windows, with a `value` around the images."""
    _device(name, x)
    size = arguments.pair(size)
    stride = size if stride is None else arguments.pair(stride, "stride")
    around = arguments.padding_of(padding, size, stride, (1, 1))
    if any(max(widths) >= n for widths, n in zip(around, size, strict=True)):
        raise ValueError(f"{name}: padding {padding} must be smaller than the window {size}")
    geometry = Geometry(stride, around)
    if x.ndim != 4 or min(output := geometry.output_size(x.shape[1:3], size)) < 1:
        raise ValueError(f"{name}: a window {size} does not fit into {x.shape} (N, H, W, C)")
    x = namespace(x).pad(x, ((0, 0), *around, (0, 0)), constant_values=value)
    return [x[window] for _, window in geometry.windows(size, output)]


def max_pool2d(x, size, stride=None, padding=0):
    """Maximum over windows of images (N, H, W, C): (N, OH, OW, C); `stride` defaults to `size`."""
    return functools.reduce(namespace(x).maximum, _windows("max_pool2d", x, size, stride, padding, -math.inf))


def avg_pool2d(x, size, stride=None, padding=0):
    """Mean over windows of images (N, H, W, C), padding included: (N, OH, OW, C); `stride` defaults to `size`."""
    places = _windows("avg_pool2d", x, size, stride, padding, 0.0)
    return functools.reduce(namespace(x).add, places) / len(places)


# Normalisation and softmax


def normalize(x, axes, eps=1e-5, *, scale=None, shift=None, slope=1.0):
    """(x - mean) / sqrt(var + eps) * scale + shift over axes, then a leaky ReLU of a `slope` below 1.

    Scale and shift may be None, or broadcast. Returns (y, mean, var), the last two with axes of length 1. For images
    (N, H, W, C) it is a batch norm over axes (0, 1, 2), an instance norm over (1, 2), a layer norm over (1, 2, 3).
    """
    compute = _kernel("normalize", x, scale, shift)
    arguments.check_slope("normalize", slope)
    axes = (axes,) if isinstance(axes, int) else tuple(axes)
    if not all(-x.ndim <= axis < x.ndim for axis in axes):
        raise ValueError(f"normalize: {x.shape} has no axes {axes}")
    return compute(x, scale, shift, axes=tuple(axis % x.ndim for axis in axes), eps=eps, slope=slope)[0]


def group_norm(x, groups, scale=None, shift=None, *, eps=1e-5, slope=1.0):
    """Normalisation of each group of channels of each example (N, ..., C); scale and shift (C,) (Wu & He 2018)."""
    _device("group_norm", x, scale, shift)
    channels = x.shape[-1]
    if channels % groups:
        raise ValueError(f"group_norm: {channels} channels cannot be cut into {groups} groups")
    cut = groups, channels // groups
    scale, shift = (None if p is None else p.reshape(cut) for p in (scale, shift))
    blocks = x.reshape(len(x), math.prod(x.shape[1:-1]), *cut)
    return normalize(blocks, (1, 3), eps, scale=scale, shift=shift, slope=slope)[0].reshape(x.shape)


def softmax(x, axis=-1):
    """exp(x) / sum(exp(x)) along an axis, without overflow."""
    return _along("softmax", x, axis)


def log_softmax(x, axis=-1):
    """x - log(sum(exp(x))) along an axis, without overflow."""
    return _along("log_softmax", x, axis)


def _along(name: str, x, axis: int):
    compute = _kernel(name, x)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{name}: {x.shape} has no axis {axis}")
    return compute(x, axis=axis)[0]


# Recurrent networks


def lstm(x, input_weight, hidden_weight, bias, h=None, c=None):
    """Long short-term memory over sequences x (N, T, C): (y, (h, c)) with y (N, T, H) and the last state, h = y[:, -1].

    input_weight (C, 4H), hidden_weight (H, 4H), bias (4H,), gates in the order i, f, g, o; the initial state h, c
    (N, H) is zero by default. Each step makes c' = s(f) c + s(i) tanh(g) and h' = s(o) tanh(c'), s the logistic
    function.
    """
    h, c = _states("lstm", 4, x, (input_weight, hidden_weight, bias), (h, c))
    (y, c), _ = _kernel("lstm", x)(x, input_weight, hidden_weight, bias, h, c)
    return y, (y[:, -1], c)


def gru(x, input_weight, hidden_weight, bias, hidden_bias, h=None):
    """Gated recurrent units over sequences x (N, T, C): (y, h) with y (N, T, H) and the last state, h = y[:, -1].

    input_weight (C, 3H), hidden_weight (H, 3H), bias (3H,), gates in the order r, z, n, hidden_bias (H,) of the
    candidate; the initial state h (N, H) is zero by default. Each step makes n = tanh(x_n + s(r) (h_n + hidden_bias))
    and h' = (1 - s(z)) n + s(z) h, s the logistic function: the reset gate comes after the product, as in cuDNN.
    """
    (h,) = _states("gru", 3, x, (input_weight, hidden_weight, bias, hidden_bias), (h,))
    y, _ = _kernel("gru", x)(x, input_weight, hidden_weight, bias, hidden_bias, h)
    return y, y[:, -1]


def _states(name: str, gates: int, x, weights, states):
    """The parts (N, H) of the initial state, zeros for those that are None."""
    _device(name, x, *weights, *states)
    given = [state.shape for state in states if state is not None]
    arguments.check_sequences(name, gates, x.shape, [w.shape for w in weights], given)
    shape = len(x), len(weights[1])
    return [namespace(x).zeros(shape, x.dtype) if state is None else state for state in states]


# Elementwise functions


def erf(x):
    """Error function: 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x."""
    return _kernel("erf", x)(x)


def sigmoid(x):
    """1 / (1 + e^-x), without overflow."""
    return _kernel("sigmoid", x)(x)


def softplus(x):
    """log(1 + e^x), without overflow."""
    return _kernel("softplus", x)(x)


def silu(x):
    """x / (1 + e^-x), also called swish (Ramachandran et al. 2017)."""
    return _kernel("silu", x)(x)[0]


def gelu(x):
    """x Phi(x) with the normal distribution function Phi (Hendrycks & Gimpel 2016)."""
    return _kernel("gelu", x)(x)[0]
