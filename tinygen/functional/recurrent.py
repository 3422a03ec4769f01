"""Recurrent networks over whole sequences (N, T, C)."""

import math

from tinygen.backend import array_module
from tinygen.errors import ShapeError
from tinygen.ops import recurrent
from tinygen.tensor import Tensor


def _initial_state(name: str, gates: int, x, weights, state):
    """The parts (N, H) of the initial state, zeros for those that are None; ShapeError unless all shapes fit."""
    n, steps, channels = x.shape if x.ndim == 3 else (0, 0, 0)
    hidden = math.prod(weights[1].shape[:1])
    shapes = [(channels, gates * hidden), (hidden, gates * hidden), (gates * hidden,), (hidden,)][: len(weights)]
    parts = [part for part in state if part is not None]
    if not steps or [a.shape for a in (*weights, *parts)] != shapes + [(n, hidden)] * len(parts):
        raise ShapeError(
            f"{name}: x {x.shape}, weights and biases {', '.join(str(w.shape) for w in weights)}, "
            f"state {', '.join(str(part.shape) for part in parts) or None} do not fit: x is (N, T, C) with T > 0, the "
            f"weights are (C, {gates}H), (H, {gates}H), ({gates}H,){', (H,)' * (len(weights) - 3)}, a state is (N, H)"
        )
    data = x.data if isinstance(x, Tensor) else x
    return [array_module(data).zeros((n, hidden), data.dtype) if part is None else part for part in state]


def lstm(x, input_weight, hidden_weight, bias, h=None, c=None):
    """Long short-term memory over sequences x (N, T, C): (y, (h, c)) with y (N, T, H) and the last state, h = y[:, -1].

    input_weight (C, 4H), hidden_weight (H, 4H), bias (4H,), gates in the order i, f, g, o (`ops.recurrent.lstm`); the
    initial state h, c (N, H) is zero by default.
    """
    h, c = _initial_state("lstm", 4, x, (input_weight, hidden_weight, bias), (h, c))
    y, c = recurrent.lstm(x, input_weight, hidden_weight, bias, h, c)
    return y, (y[:, -1], c)


def gru(x, input_weight, hidden_weight, bias, hidden_bias, h=None):
    """Gated recurrent units over sequences x (N, T, C): (y, h) with y (N, T, H) and the last state, h = y[:, -1].

    input_weight (C, 3H), hidden_weight (H, 3H), bias (3H,), gates in the order r, z, n, hidden_bias (H,) of the
    candidate (`ops.recurrent.gru`); the initial state h (N, H) is zero by default.
    """
    (h,) = _initial_state("gru", 3, x, (input_weight, hidden_weight, bias, hidden_bias), (h,))
    y = recurrent.gru(x, input_weight, hidden_weight, bias, hidden_bias, h)
    return y, y[:, -1]
