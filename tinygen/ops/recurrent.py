"""Recurrent networks over whole sequences: fused operations with their composites.

Sequences are x (N, T, C) with T at least 1, states (N, H). Weights hold the gates side by side.
"""

from tinygen.ops.arithmetic import sigmoid, tanh
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
    sizes = (h.shape[1],) * 4
    inputs, hidden = linear(x, input_weight, bias), []
    for t in range(x.shape[1]):
        i, f, g, o = split(inputs[:, t] + matmul(h, hidden_weight), sizes=sizes, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
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
