"""The equations of recurrent cells and of their derivatives, on tiles of `size` numbers; s is the logistic function.

A long short-term memory (Hochreiter & Schmidhuber 1997) has gates i, f, o = s(.) and n = tanh(.) of W x + U h + b, and

    c' = f c + i n,    h' = o tanh(c').

A gated recurrent unit (Cho et al. 2014) has gates r, z = s(.), n = tanh(W x + b + r v) with v = U h + b_h, and

    h' = n + z (h - n).

`z` holds the four gates one after the other; backward, `d` holds the gradient of h', and then the derivatives of the
gates. `carried` is the gradient that one state hands to the one before it, beside what passes through the gates.
"""

from .jit import inlined
from .vector_math import ONE, sigmoid, tanh


@inlined
def lstm(z, before, after, h, size):
    """Replace the products for i, f, n, o by the gates; write the next cell and the next hidden state."""
    for j in range(size):
        i, f, n, o = sigmoid(z[j]), sigmoid(z[size + j]), tanh(z[2 * size + j]), sigmoid(z[3 * size + j])
        c = f * before[j] + i * n
        z[j], z[size + j], z[2 * size + j], z[3 * size + j] = i, f, n, o
        after[j], h[j] = c, o * tanh(c)


@inlined
def gru(z, before, after, h, size):
    """Replace the products for r, z, n by the gates, and leave v; write the next hidden state to both places."""
    for j in range(size):
        r, u = sigmoid(z[j]), sigmoid(z[size + j])
        n = tanh(z[2 * size + j] + r * z[3 * size + j])
        s = n + u * (before[j] - n)
        z[j], z[size + j], z[2 * size + j] = r, u, n
        after[j], h[j] = s, s


@inlined
def lstm_back(z, before, after, carried, d, size):
    """Write the derivatives of i, f, n, o; the gradient of c is carried."""
    for j in range(size):
        i, f, n, o, dh = z[j], z[size + j], z[2 * size + j], z[3 * size + j], d[j]
        tanh_c = tanh(after[j])
        dc = carried[j] + dh * o * (ONE - tanh_c * tanh_c)
        carried[j] = dc * f
        d[j], d[size + j] = dc * n * i * (ONE - i), dc * before[j] * f * (ONE - f)
        d[2 * size + j], d[3 * size + j] = dc * i * (ONE - n * n), dh * tanh_c * o * (ONE - o)


@inlined
def gru_back(z, before, carried, d, size):
    """Write the derivatives of n, r, z, v, of which n, r, z are those of x, and r, z, v those of h; z dh is carried."""
    for j in range(size):
        r, u, n, v, dh = z[j], z[size + j], z[2 * size + j], z[3 * size + j], d[j] + carried[j]
        dn = dh * (ONE - u) * (ONE - n * n)
        carried[j] = dh * u
        d[j], d[size + j] = dn, dn * v * r * (ONE - r)
        d[2 * size + j], d[3 * size + j] = dh * (before[j] - n) * u * (ONE - u), dn * r
