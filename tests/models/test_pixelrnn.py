"""PixelRNN: its layers against their definition, pixel by pixel, and what an output depends on."""

import numpy as np
import pytest

from tests.models.raster import dependences, small_model
from tinygen import models, random
from tinygen.autograd import no_grad
from tinygen.errors import UsageError
from tinygen.models.autoregressive.pixelrnn import DiagonalBiLSTM, RowLSTM, skewed, unskewed
from tinygen.random import Stream

N, H, W, INPUTS, HIDDEN = 2, 4, 5, 6, 3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cell(gates, c):
    """h and c of a pixel from the sum of its gates i, f, g, o and the cell state before it (equation 3)."""
    i, f, g, o = np.split(gates, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def layer_and_input(kind):
    random.seed(3)
    layer = kind(INPUTS, HIDDEN, 1)
    for p in layer.parameters():
        p.assign(Stream(p.size, "weights").normal(p.shape))
    return layer, Stream(0, "x").normal((N, H, W, INPUTS))


def weights_of(gates):
    """The taps of the input-to-state component that its mask allows, and its bias, in float64."""
    convolution = gates.convolution
    w = convolution.weight.numpy()[0].astype("float64")
    return w[: len(w) // 2 + 1], convolution.bias.numpy().astype("float64")


def row_lstm_by_definition(layer, x):
    taps, bias = weights_of(layer.gates)
    u = layer.weight.numpy().astype("float64")
    state = {(i, j): np.zeros((2, N, HIDDEN)) for i in range(-1, H) for j in (-1, W)}  # beside the image
    state |= {(-1, j): np.stack([np.tile(p.numpy(), (N, 1)) for p in (layer.h, layer.c)]) for j in range(W)}
    for i in range(H):
        for j in range(W):
            gates = bias + x[:, i, j] @ taps[-1] + (x[:, i, j - 1] @ taps[0] if j else 0)
            gates = gates + sum(state[i - 1, j + k - 1][0] @ u[k] for k in range(3))
            state[i, j] = np.stack(cell(gates, state[i - 1, j][1]))
    return np.stack([np.stack([state[i, j][0] for j in range(W)], axis=1) for i in range(H)], axis=1)


def diagonal_lstm_by_definition(layer, x):
    taps, bias = weights_of(layer.gates)
    u = layer.weight.numpy().astype("float64")
    zero, state = np.zeros((2, N, HIDDEN)), {}
    for i in range(H):
        for j in range(W):
            above, beside = state.get((i - 1, j), zero), state.get((i, j - 1), zero)
            gates = bias + x[:, i, j] @ taps[-1] + above[0] @ u[0] + beside[0] @ u[1]
            state[i, j] = np.stack(cell(gates, beside[1]))
    return np.stack([np.stack([state[i, j][0] for j in range(W)], axis=1) for i in range(H)], axis=1)


def test_a_row_lstm_is_that_of_equation_3():
    layer, x = layer_and_input(RowLSTM)
    with no_grad():
        y = layer(x).numpy()
    np.testing.assert_allclose(y, row_lstm_by_definition(layer, x), atol=2e-6)


def test_a_diagonal_bilstm_adds_its_right_direction_shifted_down_by_a_row():
    layer, x = layer_and_input(DiagonalBiLSTM)
    with no_grad():
        y = layer(x).numpy()
    from_right = diagonal_lstm_by_definition(layer.right, x[:, :, ::-1])[:, :, ::-1]
    expected = diagonal_lstm_by_definition(layer.left, x)
    expected[:, 1:] += from_right[:, :-1]
    np.testing.assert_allclose(y, expected, atol=2e-6)


def test_skewed_maps_are_moved_right_by_their_row():
    x = Stream(0, "x").normal((N, H, W, INPUTS))
    y = skewed(x)
    assert y.shape == (N, H, W + H - 1, INPUTS)
    for i in range(H):
        np.testing.assert_array_equal(y[:, i, i : i + W], x[:, i])
    assert np.count_nonzero(y) == x.size
    np.testing.assert_array_equal(unskewed(y, W), x)


def test_a_row_lstm_sees_a_triangle_and_a_diagonal_bilstm_almost_all():
    """The last pixel of the row above is seen only where the first convolution sees it.

    No state of its own row has seen it, and what comes from the right is shifted down.
    """
    size = {"height": 5, "width": 6, "hidden": 18, "head": 18, "layers": 1}
    rows = dependences(small_model("row-lstm", "binary", **size), "binary").reshape(5, 6, 5, 6)
    np.testing.assert_array_equal(rows[2, 1, 0], [True, True, True, True, False, False])
    diagonals = dependences(small_model("diagonal-bilstm", "binary", **size), "binary")
    expected = np.tri(30, k=-1, dtype=bool).reshape(5, 6, 5, 6)
    for i in range(1, 5):
        expected[i, :4, i - 1, 5] = False
    np.testing.assert_array_equal(diagonals.reshape(5, 6, 5, 6), expected)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("first_kernel", 6, "^first_kernel is 6; a masked convolution has a centre: use an odd number$"),
        ("layers", 0, "^layers is 0; it must be at least 1$"),
    ],
)
def test_impossible_configurations_are_refused(field, value, message):
    for name in "row-lstm", "diagonal-bilstm":
        with pytest.raises(UsageError, match=message):
            models.get(name).Config(**{field: value})
