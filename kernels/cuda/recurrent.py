"""LSTM and GRU over sequences: a product and the kernel of a cell for each step, other products for all steps at once.

Residuals are those of the reference.
"""

from math import prod

import numpy as np

from .launches import over_threads
from .matmul import matmul
from .runtime import Source, empty, single
from .sums import column_sums

SIZES = np.dtype([(name, np.int32) for name in ("batch", "steps", "hidden")])

_source = Source("recurrent.cu", "lstm", "lstm_backward", "gru", "gru_backward")


def _launch(name: str, sizes: tuple[int, int, int], step: int, *arguments) -> None:
    batch, _, hidden = sizes
    _source[name](*over_threads(batch * hidden), (np.array([sizes], SIZES), np.int32(step), *arguments))


def _rows(x):
    """All steps of all sequences as the rows of one matrix."""
    return x.reshape(prod(x.shape[:2]), prod(x.shape[2:]))


def _projected(x, weight, bias, gates: int):
    return matmul(_rows(x), weight, bias).reshape(*x.shape[:2], gates, weight.shape[1] // gates)


def _projected_backward(g, x, weight):
    """The gradients of `_projected` with respect to x, weight and bias."""
    rows = _rows(g)
    return matmul(rows, weight.T).reshape(x.shape), matmul(_rows(x).T, rows), column_sums(rows)


def _hidden_weight_grad(first, states, derivatives):
    """The gradient of the weight that the hidden state before each step was multiplied by."""
    before = empty(states.shape)
    before[:, 0], before[:, 1:] = first, states[:, :-1]
    return matmul(_rows(before).T, _rows(derivatives))


@single
def lstm(x, input_weight, hidden_weight, bias, h, c):
    """Long short-term memory, gates i, f, g, o; outputs (y, last cell). See `tinygen.ops.recurrent`."""
    gates = _projected(x, input_weight, bias, 4)
    sizes = *x.shape[:2], h.shape[1]
    cells, y, state, before = empty(sizes), empty(sizes), empty(h.shape), h
    for step in range(x.shape[1]):
        products = matmul(before, hidden_weight)
        _launch("lstm", sizes, step, products, c, gates, cells, y, state)
        before = state
    return (y, cells[:, -1].copy()), (x, input_weight, hidden_weight, h, c, gates, cells, y)


@single
def lstm_backward(g, x, input_weight, hidden_weight, h, c, gates, cells, y):
    """Gradients of the first output of `lstm`, by backpropagation through time."""
    derivatives, of_step, dc, dh = empty(gates.shape), empty((len(h), hidden_weight.shape[1])), empty(c.shape), None
    for step in reversed(range(x.shape[1])):
        _launch("lstm_backward", y.shape, step, g, dh, gates, cells, c, dc, derivatives, of_step)
        dh = matmul(of_step, hidden_weight.T)
    dx, input_grad, bias_grad = _projected_backward(derivatives, x, input_weight)
    return dx, input_grad, _hidden_weight_grad(h, y, derivatives), bias_grad, dh, dc


@single
def gru(x, input_weight, hidden_weight, bias, hidden_bias, h):
    """Gated recurrent unit, gates r, z, n. See `tinygen.ops.recurrent`."""
    gates = _projected(x, input_weight, bias, 3)
    sizes = *x.shape[:2], h.shape[1]
    candidates, y, state, before = empty(sizes), empty(sizes), empty(h.shape), h
    for step in range(x.shape[1]):
        products = matmul(before, hidden_weight)
        _launch("gru", sizes, step, products, hidden_bias, h, gates, candidates, y, state)
        before = state
    return y, (x, input_weight, hidden_weight, h, gates, candidates, y)


@single
def gru_backward(g, x, input_weight, hidden_weight, h, gates, candidates, y):
    """Gradients of `gru`, by backpropagation through time."""
    derivatives, of_hidden = empty(gates.shape), empty(gates.shape)
    of_step, past_gates, dh = empty((len(h), hidden_weight.shape[1])), empty(h.shape), None
    for step in reversed(range(x.shape[1])):
        arguments = g, dh, gates, candidates, y, h, past_gates, derivatives, of_hidden, of_step
        _launch("gru_backward", y.shape, step, *arguments)
        dh = matmul(of_step, hidden_weight.T)
    dx, input_grad, bias_grad = _projected_backward(derivatives, x, input_weight)
    hidden_bias_grad = column_sums(_rows(of_hidden))[-h.shape[1] :]
    return dx, input_grad, _hidden_weight_grad(h, y, of_hidden), bias_grad, hidden_bias_grad, dh + past_gates
