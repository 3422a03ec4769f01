"""Recurrent networks over whole sequences: fused operations with their composites.

Sequences are x (N, T, C) with T at least 1, states (N, H). Weights hold the gates side by side.
"""

from tinygen.errors import ShapeError
from tinygen.kernels.geometry import Geometry
from tinygen.ops.arithmetic import sigmoid, tanh
from tinygen.ops.convolution import conv2d
from tinygen.ops.linear import linear, matmul
from tinygen.ops.shaping import split, stack
from tinygen.primitive import fused


@fused(wrt="x input_weight hidden_weight bias h c")
def lstm(x, input_weight, hidden_weight, bias, h, c):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with a forget gate (Gers et al. 2000).

    input_weight (C, 4H), hidden_weight (H, 4H), bias (4H,), their gates in the order i, f, g, o; h and c are the state
    before the first step. Each step makes c' = s(f) c + s(i) tanh(g) and h' = s(o) tanh(c'), s the logistic function.
    Returns every h' (N, T, H), and the last c' (N, H).
    """
    inputs, hidden = linear(x, input_weight, bias), []
    for t in range(x.shape[1]):
        h, c = _lstm_step(inputs[:, t] + matmul(h, hidden_weight), c)
        hidden.append(h)
    return stack(hidden, axis=1), c


def _lstm_step(gates, c):
    """The state (h, c) after a step, from the sums (..., 4H) of its gates."""
    i, f, g, o = split(gates, sizes=(c.shape[-1],) * 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def _check(name: str, gates, u, h, c, *, padding) -> None:
    n, steps, *size, channels = gates.shape if gates.ndim == 5 else (0,) * 5
    hidden, shapes = channels // 4, [a.shape for a in (u, h, c)]
    fits = steps and shapes == [(*u.shape[:2], hidden, 4 * hidden), (n, *size, hidden), (n, *size, hidden)]
    if not fits or Geometry(padding=padding).output_size(size, u.shape[:2]) != tuple(size):
        raise ShapeError(
            f"{name}: gates {gates.shape}, u {u.shape}, state {h.shape}, {c.shape} and padding {padding} do not fit: "
            "gates are (N, T, H, W, 4C) with T > 0, u is (KH, KW, C, 4C), a state (N, H, W, C), and the paddings of "
            "an axis add up to the length of u there less 1"
        )


@fused(wrt="gates u h c", check=_check)
def conv_lstm(gates, u, h, c, *, padding):
    """Long short-term memory of maps, whose state is convolved (Shi et al. 2015, arXiv:1506.04214, without peepholes).

    gates (N, T, H, W, 4C), in the order i, f, g, o, are what the input adds to the gates of each step; u (KH, KW, C,
    4C) is the weight of the state, with `padding` ((top, bottom), (left, right)) as of `conv2d`, which keeps the size
    of a map; h and c (N, H, W, C) are the state before the first step. A step is that of `lstm`.
    Returns every h' (N, T, H, W, C), and the last c' (N, H, W, C).
    """
    hidden = []
    for t in range(gates.shape[1]):
        h, c = _lstm_step(gates[:, t] + conv2d(h, u, None, geometry=Geometry(padding=padding)), c)
        hidden.append(h)
    return stack(hidden, axis=1), c


@fused(wrt="x input_weight hidden_weight bias hidden_bias h")
def gru(x, input_weight, hidden_weight, bias, hidden_bias, h):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), the reset gate after the product as in cuDNN.

    input_weight (C, 3H), hidden_weight (H, 3H), bias (3H,), their gates in the order r, z, n; hidden_bias (H,) is added
    to the product that the reset gate scales; h is the state before the first step. Each step makes
    n = tanh(x_n + s(r) (h_n + hidden_bias)) and h' = (1 - s(z)) n + s(z) h, s the logistic function.
    Returns every h' (N, T, H).
    """
    sizes = (h.shape[1],) * 3
    inputs, hidden = linear(x, input_weight, bias), []
    for t in range(x.shape[1]):
        x_r, x_z, x_n = split(inputs[:, t], sizes=sizes, axis=1)
        h_r, h_z, h_n = split(matmul(h, hidden_weight), sizes=sizes, axis=1)
        n = tanh(x_n + sigmoid(x_r + h_r) * (h_n + hidden_bias))
        h = n + sigmoid(x_z + h_z) * (h - n)
        hidden.append(h)
    return stack(hidden, axis=1)
