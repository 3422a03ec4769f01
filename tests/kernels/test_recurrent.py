"""LSTM, GRU and convolutional LSTM in float32 against the reference in float64.

Sizes fill no tile; sequences are long and short.
"""

import numpy as np
import pytest

from tests.kernels.calls import Call, conv_lstm_call, cpu_kernel

pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")
from tinygen.kernels.cpu import recurrent_tiling

# Sequences, steps, inputs, hidden units. Tiles are 12 by 32 or 12 by 16 with AVX-512, less otherwise; derivatives are
# kept for 8 or 16 steps, and for more of a small batch. The last sizes are computed by the reference.
SIZES = [
    (32, 20, 7, 64),
    (3, 8, 1, 1),
    (5, 9, 13, 17),
    (16, 33, 32, 24),
    (17, 30, 33, 40),
    (33, 16, 3, 12),
    (64, 17, 65, 13),
    (70, 10, 70, 45),
    (150, 8, 4, 30),
    (4, 300, 5, 6),
    (2, 40, 5, 6),
    (6, 1, 3, 20),
    (1, 1, 1, 1),
]
NAMES = {"lstm": 4, "gru": 3}  # gates


def recurrent_call(name, sizes, bias=1.0):
    """A call on random numbers, with a bias of standard deviation `bias`."""
    batch, steps, channels, hidden = sizes
    rng, columns = np.random.default_rng(0), NAMES[name] * hidden

    def normal(*shape, scale=1.0):
        return np.float32(scale) * rng.standard_normal(shape, np.float32)

    weights = [normal(n, columns, scale=n**-0.5) for n in (channels, hidden)]
    x, b, h, c = (
        normal(batch, steps, channels),
        normal(columns, scale=bias),
        normal(batch, hidden),
        normal(batch, hidden),
    )
    return Call(name, (x, *weights, b, h, c) if name == "lstm" else (x, *weights, b, normal(hidden), h))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_matches_the_reference(name, sizes):
    recurrent_call(name, sizes).compare()


@pytest.mark.parametrize("name", NAMES)
def test_saturated_gates_match_the_reference(name):
    recurrent_call(name, (5, 12, 6, 20), bias=100.0).compare()


@pytest.mark.parametrize("name", NAMES)
def test_a_sequence_is_the_same_for_every_batch(name):
    *arguments, h = recurrent_call(name, (40, 12, 5, 14)).arguments
    states = [h] if name == "gru" else [arguments.pop(), h]
    x, *weights = arguments
    every = outputs(name, x, *weights, *states)
    for some in (slice(7, 11), slice(32, 40), slice(0, 33)):
        np.testing.assert_array_equal(outputs(name, x[some], *weights, *(s[some] for s in states)), every[some])


def outputs(name, *arguments):
    y, _ = cpu_kernel(name)(*arguments)
    return y[0] if name == "lstm" else y


@pytest.mark.parametrize("name", NAMES)
def test_backward_may_be_called_twice(name):
    y, residuals = cpu_kernel(name)(*recurrent_call(name, (5, 9, 4, 14)).arguments)
    g = np.ones_like(y[0] if name == "lstm" else y)
    first, second = (cpu_kernel(f"{name}_backward")(g, *residuals) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_arrays_of_any_layout(name):
    call = recurrent_call(name, (6, 10, 5, 14))
    turned = Call(name, tuple(np.asfortranarray(a) for a in call.arguments))
    assert turned.digest() == call.digest()


def test_cuts():
    """For tiles of 12 units by one vector of 16 sequences, or by 32."""
    cuts = {  # (N, T, C, H): sequences of a group, groups, panels, steps of derivatives, steps of inputs at once
        (3, 8, 1, 1): (16, 1, 1, 16, 42),
        (16, 33, 32, 24): (16, 1, 2, 16, 8),
        (17, 30, 33, 40): (32, 1, 4, 8, 7),
        (64, 17, 65, 13): (32, 2, 2, 4, 2),
        (150, 8, 4, 30): (32, 5, 3, 2, 1),
    }
    for sizes, cut in cuts.items():
        ours = recurrent_tiling.tiling(recurrent_tiling.Problem(*sizes), units=12, vector=16, columns=32)
        assert ours == recurrent_tiling.Tiling(*cut), sizes


# Convolutional LSTM: maps, steps, the size of a map, channels, the size of the kernel, its padding.
SAME, CAUSAL = ((0, 0), (1, 1)), ((0, 0), (1, 0))
MAPS = [
    (1, 1, (1, 1), 1, (1, 1), ((0, 0), (0, 0))),
    (16, 4, (1, 28), 32, (1, 3), SAME),
    (3, 9, (1, 55), 33, (1, 2), CAUSAL),
    (2, 3, (7, 6), 5, (3, 3), ((1, 1), (1, 1))),
    (1, 2, (40, 30), 17, (3, 2), ((2, 0), (0, 1))),
    (5, 2, (3, 2), 70, (5, 5), ((2, 2), (2, 2))),
]


@pytest.mark.parametrize("shape", MAPS, ids=str)
def test_convolutional_lstm_matches_the_reference(shape):
    conv_lstm_call(*shape).compare()


def test_saturated_gates_of_maps_match_the_reference():
    conv_lstm_call(*MAPS[3], scale=100.0).compare()


def test_a_map_is_the_same_for_every_batch():
    gates, u, h, c = conv_lstm_call(40, 3, (1, 11), 20, (1, 3), SAME).arguments
    every = cpu_kernel("conv_lstm")(gates, u, h, c, padding=SAME)[0][0]
    for some in (slice(7, 8), slice(32, 40), slice(0, 33)):
        (y, _), _ = cpu_kernel("conv_lstm")(gates[some], u, h[some], c[some], padding=SAME)
        np.testing.assert_array_equal(y, every[some])
