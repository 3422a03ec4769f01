"""Recurrent networks over whole sequences (N, T, C), and over sequences of rows or maps."""

from typing import Literal

import numpy as np

from tinygen.autograd import array_of
from tinygen.backend import array_module
from tinygen.backend.capture import replayed
from tinygen.errors import ShapeError
from tinygen.functional.convolution import padding_of
from tinygen.kernels import arguments
from tinygen.ops import recurrent
from tinygen.ops.arithmetic import where
from tinygen.ops.shaping import stack


def _initial_state(name: str, gates: int, x, weights, state):
    """The parts (N, H) of the initial state, zeros for those that are None; ShapeError unless all shapes fit."""
    given = [part.shape for part in state if part is not None]
    arguments.check_sequences(name, gates, x.shape, [w.shape for w in weights], given, error=ShapeError)
    data, shape = array_of(x), (x.shape[0], weights[1].shape[0])
    return [array_module(data).zeros(shape, data.dtype) if part is None else part for part in state]


def lstm(x, input_weight, hidden_weight, bias, h=None, c=None, *, lengths=None):
    """Long short-term memory over sequences x (N, T, C): (y, (h, c)) with y (N, T, H) and the last state, h = y[:, -1].

    input_weight (C, 4H), hidden_weight (H, 4H), bias (4H,), gates in the order i, f, g, o (`ops.recurrent.lstm`); the
    initial state h, c (N, H) is zero by default. With `lengths` (N,), integers from 1 to T, a sequence ends after so
    many steps: y is 0 beyond, and the last state is that of its last step.
    """
    state = _initial_state("lstm", 4, x, (input_weight, hidden_weight, bias), (h, c))
    weights = input_weight, hidden_weight, bias
    if lengths is not None:
        return _masked("lstm", x, lengths, state, lambda now, h, c: recurrent.lstm(now, *weights, h, c))
    y, c = recurrent.lstm(x, *weights, *state)
    return y, (y[:, -1], c)


def _masked(name: str, x, lengths, state, step):
    """Sequences of several lengths: step by step, with the state of those that have ended held.

    `step(x, *state)` of one step (N, 1, C) returns its output (N, 1, H), which is also the first part of the next
    state, and the other parts.
    """
    data, ends = array_of(x), array_of(lengths)
    if ends.shape != data.shape[:1] or ends.dtype.kind not in "iu":
        raise ShapeError(f"{name}: lengths are {len(data)} integers, not {ends.dtype} {ends.shape}")

    def check() -> None:
        if not 1 <= ends.min() <= ends.max() <= data.shape[1]:
            reach = f"{ends.min()} to {ends.max()}"
            raise ShapeError(f"{name}: lengths reach from {reach}, x has 1 to {data.shape[1]} steps")

    if isinstance(ends, np.ndarray) and ends.size:
        replayed(check)
    runs = array_module(data).arange(data.shape[1]) < ends[:, None]
    outputs = []
    for t in range(data.shape[1]):
        is_running = runs[:, t : t + 1]
        after = step(x[:, t : t + 1], *state)
        h, *others = after if isinstance(after, tuple) else (after,)
        h = h[:, 0]
        state = [where(is_running, new, old) for new, old in zip((h, *others), state, strict=True)]
        outputs.append(where(is_running, h, 0.0))
    return stack(outputs, axis=1), tuple(state)


def gru(x, input_weight, hidden_weight, bias, hidden_bias, h=None, *, lengths=None):
    """Gated recurrent units over sequences x (N, T, C): (y, h) with y (N, T, H) and the last state, h = y[:, -1].

    input_weight (C, 3H), hidden_weight (H, 3H), bias (3H,), gates in the order r, z, n, hidden_bias (H,) of the
    candidate (`ops.recurrent.gru`); the initial state h (N, H) is zero by default; `lengths` as in `lstm`.
    """
    (h,) = _initial_state("gru", 3, x, (input_weight, hidden_weight, bias, hidden_bias), (h,))
    weights = input_weight, hidden_weight, bias, hidden_bias
    if lengths is not None:
        y, (h,) = _masked("gru", x, lengths, [h], lambda now, h: recurrent.gru(now, *weights, h))
        return y, h
    y = recurrent.gru(x, *weights, h)
    return y, y[:, -1]


def conv_lstm(gates, u, h=None, c=None, *, padding: int | tuple | Literal["same"] = "same"):
    """Long short-term memory whose state is a row or a map, and is convolved: (y, (h, c)), the last state.

    gates (N, T, W, 4C) or (N, T, H, W, 4C), in the order i, f, g, o, are what the input adds to the gates: a
    convolution, which may be masked. u, (K, C, 4C) or (KH, KW, C, 4C), is the weight of the convolution from state to
    state; the initial state h, c, (N, W, C) or (N, H, W, C), is zero by default (`ops.recurrent.conv_lstm`). `padding`
    is that of the state, "same" or what keeps its size: (before, after), for each axis of maps. With padding (K - 1, 0)
    a place sees only what was before it. This is the ConvLSTM of Shi et al. 2015 without peepholes, and over rows, with
    T rows of W pixels, the recurrence of the Row LSTM, and on skewed maps of the Diagonal BiLSTM, of van den Oord et
    al. 2016 (arXiv:1601.06759).
    """
    data = array_of(gates)
    shape = (*gates.shape[:1], *gates.shape[2:-1], gates.shape[-1] // 4) if gates.ndim > 2 else ()
    h, c = (array_module(data).zeros(shape, data.dtype) if part is None else part for part in (h, c))
    if gates.ndim == 4:
        gates, u, h, c = _as_maps(gates, 2), _as_maps(u, 0), _as_maps(h, 1), _as_maps(c, 1)
        y, c = recurrent.conv_lstm(gates, u, h, c, padding=_around(padding if padding == "same" else (0, padding), u))
        y, c = y.reshape((*y.shape[:2], *y.shape[3:])), c.reshape((*c.shape[:1], *c.shape[2:]))
    else:
        y, c = recurrent.conv_lstm(gates, u, h, c, padding=_around(padding, u))
    return y, (y[:, -1], c)


def _as_maps(x, axis: int):
    """Rows as maps of one row, whose axis is given."""
    return x.reshape((*x.shape[:axis], 1, *x.shape[axis:]))


def _around(padding, u):
    return padding_of(padding, u.shape[:2], (1, 1), (1, 1))
