"""LSTM and GRU over sequences: a product and the kernel of a cell for each step, other products for all steps at once.

A convolutional LSTM has a convolution in the place of the product, and the same cell.

Residuals are those of the reference.
"""

from math import prod

import numpy as np

from ..geometry import Geometry
from .convolution import conv2d, conv2d_input_grad, conv2d_weight_grad
from .launches import over_threads
from .matmul import matmul
from .runtime import Source, empty, single
from .sums import column_sums

SIZES = np.dtype([(name, np.int32) for name in ("batch", "steps", "places", "hidden")])

_source = Source("recurrent.cu", "lstm", "lstm_backward", "gru", "gru_backward")


def _launch(name: str, sizes: tuple[int, ...], step: int, *arguments) -> None:
    batch, steps, *size, hidden = sizes
    places = prod(size)
    sizes = np.array([(batch, steps, places, hidden)], SIZES)
    _source[name](*over_threads(batch * places * hidden), (sizes, np.int32(step), *arguments))


def _rows(x):
    """All steps of all sequences as the rows of one matrix."""
    return x.reshape(prod(x.shape[:2]), prod(x.shape[2:]))


def _projected(x, weight, bias, gates: int):
    return matmul(_rows(x), weight, bias).reshape(*x.shape[:2], gates, weight.shape[1] // gates)


def _projected_backward(g, x, weight):
    """The gradients of `_projected` with respect to x, weight and bias."""
    rows = _rows(g)
    return matmul(rows, weight.T).reshape(x.shape), matmul(_rows(x).T, rows), column_sums(rows)


def _delayed(first, states):
    """The state before each step, from the first state and those after each step."""
    before = empty(states.shape)
    before[:, 0], before[:, 1:] = first, states[:, :-1]
    return before


def _hidden_weight_grad(first, states, derivatives):
    """The gradient of the weight that the hidden state before each step was multiplied by."""
    return matmul(_rows(_delayed(first, states)).T, _rows(derivatives))


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
def conv_lstm(gates, u, h, c, *, padding):
    """Convolutional LSTM, gates i, f, g, o; outputs (y, last cell). See `tinygen.ops.recurrent`."""
    geometry, sizes = Geometry(padding=padding), (*gates.shape[:-1], h.shape[-1])
    gates = gates.reshape(*sizes[:-1], 4, sizes[-1]).copy()
    cells, y, state, before = empty(sizes), empty(sizes), empty(h.shape), h
    for step in range(sizes[1]):
        products = conv2d(before, u, geometry)
        _launch("lstm", sizes, step, products, c, gates, cells, y, state)
        before = state
    return (y, cells[:, -1].copy()), (u, h, c, gates, cells, y)


@single
def conv_lstm_backward(g, u, h, c, gates, cells, y, *, padding):
    """Gradients of the first output of `conv_lstm`, by backpropagation through time."""
    geometry, (batch, steps, *size, channels) = Geometry(padding=padding), y.shape
    derivatives, of_step = empty((batch, steps, *size, 4 * channels)), empty((batch, *size, 4 * channels))
    dc, dh = empty(c.shape), None
    for step in reversed(range(steps)):
        _launch("lstm_backward", y.shape, step, g, dh, gates, cells, c, dc, derivatives, of_step)
        dh = conv2d_input_grad(of_step, u, tuple(size), geometry)
    before, every = (a.reshape(batch * steps, *a.shape[2:]) for a in (_delayed(h, y), derivatives))
    return derivatives, conv2d_weight_grad(before, every, u.shape[:2], geometry), dh, dc


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
