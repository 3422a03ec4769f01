"""Rows of the op table: recurrent networks, with references of one gate, or of one place, at a time."""

import numpy as np

from tests.ops.table.case import TABLE, Case, add, real
from tinygen import functional as F
from tinygen.errors import DtypeError, ShapeError


def _gate(x):
    return 1 / (1 + np.exp(-x))


def _lstm(x, w, u, b, h, c):
    y = []
    for now in x.transpose(1, 0, 2):
        i, f, g, o = (now @ w[:, k] + h @ u[:, k] + b[k] for k in np.split(np.arange(len(b)), 4))
        c = _gate(f) * c + _gate(i) * np.tanh(g)
        h = _gate(o) * np.tanh(c)
        y.append(h)
    return np.stack(y, 1), c


def _gru(x, w, u, b, v, h):
    y = []
    for now in x.transpose(1, 0, 2):
        (xr, hr), (xz, hz), (xn, hn) = ((now @ w[:, k] + b[k], h @ u[:, k]) for k in np.split(np.arange(len(b)), 3))
        z, n = _gate(xz + hz), np.tanh(xn + _gate(xr + hr) * (hn + v))
        h = (1 - z) * n + z * h
        y.append(h)
    return np.stack(y, 1)


def _weights(gates, channels, hidden):
    """A weight of the input, one of the hidden state, and a bias."""
    return [real(channels, gates * hidden), real(hidden, gates * hidden), real(gates * hidden)]


for steps, channels, hidden in ((3, 2, 3), (1, 3, 2)):
    x, h, c = real(2, steps, channels), real(2, hidden), real(2, hidden)
    add("lstm", [x, *_weights(4, channels, hidden), h, c], _lstm)
    add("gru", [x, *_weights(3, channels, hidden), real(hidden), h], _gru)

# Without a state the functions start from zeros. Only the first output is differentiated, which the kernels can do.
ZERO_STATE = np.zeros((2, 3))


def _gru_and_last(x, w, u, b, v, h=ZERO_STATE):
    y = _gru(x, w, u, b, v, h)
    return y, y[:, -1]


x, lstm, gru = real(2, 3, 2), _weights(4, 2, 3), [*_weights(3, 2, 3), real(3)]
h, c = real(2, 3), real(2, 3)
TABLE["functional.lstm"] = [
    Case(
        lambda *arguments: F.lstm(*arguments)[0],
        [x, *lstm, *state],
        lambda x, w, u, b, h=ZERO_STATE, c=ZERO_STATE: _lstm(x, w, u, b, h, c)[0],
        errors=tuple(errors),
    )
    for state, errors in (
        ([], [([x, *lstm, h.astype(np.float32)], {}, DtypeError, "lstm: mixed dtypes")]),
        (
            [h, c],
            [
                ([x[0], *lstm], {}, ShapeError, r"lstm: x \(3, 2\).*\(N, T, C\)"),
                ([x[:, :0], *lstm], {}, ShapeError, r"lstm: x \(2, 0, 2\).*T > 0"),
                ([real(2, 3, 4), *lstm], {}, ShapeError, r"x \(2, 3, 4\).*\(2, 12\).*\(C, 4H\)"),
                ([x, *gru[:3]], {}, ShapeError, r"\(2, 9\), \(3, 9\), \(9,\)"),
                ([x, *lstm[:2], real(1)], {}, ShapeError, r"\(3, 12\), \(1,\)"),
                ([x, lstm[0], *lstm[2:], lstm[1]], {}, ShapeError, r"\(12,\), \(3, 12\)"),
                ([x, *lstm, h[:1], c], {}, ShapeError, r"state \(1, 3\), \(2, 3\)"),
                ([x, *lstm, h, c[0]], {}, ShapeError, r"state \(2, 3\), \(3,\)"),
            ],
        ),
    )
]
add("functional.gru", [x, *gru], _gru_and_last)
add(
    "functional.gru",
    [x, *gru, h],
    _gru_and_last,
    errors=[
        ([x, *lstm, real(3)], {}, ShapeError, r"gru: .*\(2, 12\).*\(C, 3H\)"),
        ([x, *gru[:3], real(1)], {}, ShapeError, r"\(9,\), \(1,\).*\(H,\)"),
        ([x, *gru, h[0]], {}, ShapeError, r"state \(3,\)"),
    ],
)


# A convolutional LSTM, place by place


def _conv_lstm(gates, u, h, c, padding=((1, 1), (1, 1))):
    (top, _), (left, _) = padding
    y = np.zeros((*gates.shape[:-1], h.shape[-1]))
    for t in range(gates.shape[1]):
        sums = gates[:, t].copy()
        for i, j, di, dj in np.ndindex(*h.shape[1:3], *u.shape[:2]):
            row, column = i + di - top, j + dj - left
            if 0 <= row < h.shape[1] and 0 <= column < h.shape[2]:
                sums[:, i, j] += h[:, row, column] @ u[di, dj]
        input_gate, forget, candidate, output = np.split(sums, 4, axis=-1)
        c = _gate(forget) * c + _gate(input_gate) * np.tanh(candidate)
        h = y[:, t] = _gate(output) * np.tanh(c)
    return y, c


def _row_lstm(gates, u, h=None, c=None, padding=(1, 1)):
    h, c = (np.zeros((*gates[:, 0].shape[:-1], u.shape[-2])) if part is None else part for part in (h, c))
    return _conv_lstm(gates[:, :, None], u[None], h[:, None], c[:, None], ((0, 0), padding))[0][:, :, 0]


def _state(*shape):
    return [real(*shape), real(*shape)]


AROUND = {"padding": ((0, 2), (1, 0))}
add(
    "conv_lstm",
    [real(2, 3, 3, 2, 8), real(3, 2, 2, 8), *_state(2, 3, 2, 2)],
    _conv_lstm,
    **AROUND,
    errors=[
        (
            [real(2, 3, 3, 2, 8), real(3, 3, 2, 8), *_state(2, 3, 2, 1)],
            AROUND,
            ShapeError,
            r"state \(2, 3, 2, 1\), .*fit",
        ),
        ([real(2, 3, 3, 2, 8), real(3, 2, 3, 8), *_state(2, 3, 2, 2)], AROUND, ShapeError, r"u \(3, 2, 3, 8\)"),
        (
            [real(2, 3, 3, 2, 8), real(2, 2, 2, 8), *_state(2, 3, 2, 2)],
            AROUND,
            ShapeError,
            r"paddings of an axis add up",
        ),
        ([real(2, 0, 3, 2, 8), real(3, 2, 2, 8), *_state(2, 3, 2, 2)], AROUND, ShapeError, r"T > 0"),
    ],
)
TABLE["functional.conv_lstm"] = [
    Case(
        lambda *arguments, padding=padding: F.conv_lstm(*arguments, padding=padding)[0],
        [real(2, 3, 4, 4), real(width, 1, 4), *state],
        lambda *arguments, around=around: _row_lstm(*arguments, padding=around),
    )
    for width, padding, around, state in ((3, "same", (1, 1), []), (2, (1, 0), (1, 0), _state(2, 4, 1)))
]
