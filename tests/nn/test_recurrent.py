"""Recurrent layers and their cells."""

import numpy as np
import pytest

import tinygen as tg
from tests.nn.arrays import real
from tinygen import functional as F
from tinygen import nn
from tinygen.errors import ShapeError, UsageError

RECURRENT = [(nn.LSTM, nn.LSTMCell, 4), (nn.GRU, nn.GRUCell, 3)]


def parts(state):
    """The arrays of a state: (h, c) or h."""
    return [part.numpy() for part in (state if isinstance(state, tuple) else (state,))]


@pytest.mark.parametrize(("make", "cell", "gates"), RECURRENT)
def test_weights_of_recurrent_layers_have_their_shapes_and_initial_bound(make, cell, gates):
    layer = make(3, 25)
    shapes = {"input_weight": (3, gates * 25), "hidden_weight": (25, gates * 25), "bias": (gates * 25,)}
    shapes |= {"hidden_bias": (25,)} if gates == 3 else {}
    assert {name: p.shape for name, p in layer.named_parameters().items()} == shapes
    for parameter in layer.parameters():
        assert 0.15 < np.abs(parameter.numpy()).max() < 0.2
    assert list(cell(3, 25).named_parameters()) == list(shapes)


@pytest.mark.parametrize(("make", "cell", "gates"), RECURRENT)
def test_a_recurrent_layer_starts_from_a_zero_state_and_returns_its_last(make, cell, gates):
    layer, x = make(3, 5), tg.tensor(real(2, 7, 3))
    y, state = layer(x)
    assert y.shape == (2, 7, 5)
    assert [part.shape for part in parts(state)] == [(2, 5)] * (2 if gates == 4 else 1)
    np.testing.assert_array_equal(parts(state)[0], y.numpy()[:, -1])
    zeros = tg.tensor(np.zeros((2, 5)))
    np.testing.assert_array_equal(layer(x, (zeros, zeros) if gates == 4 else zeros)[0].numpy(), y.numpy())
    first, between = layer(x[:, :3])
    second, last = layer(x[:, 3:], between)
    np.testing.assert_allclose(F.concatenate([first, second], axis=1).numpy(), y.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(parts(last), parts(state), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("make", "cell", "gates"), RECURRENT)
def test_steps_of_a_cell_have_the_outputs_and_gradients_of_the_layer(make, cell, gates):
    layer, step, x = make(3, 5), cell(3, 5), tg.tensor(real(2, 4, 3))
    step.load_state_dict(layer.state_dict())
    y, state = layer(x)
    one, ys = None, []
    for t in range(4):
        one = step(x[:, t], one)
        ys.append(one[0] if gates == 4 else one)
    np.testing.assert_allclose(F.stack(ys, axis=1).numpy(), y.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(parts(one), parts(state), rtol=1e-5, atol=1e-6)
    of_layer, steps = (
        tg.grad((y * y).sum(), layer.parameters()),
        tg.grad(sum((h * h).sum() for h in ys), step.parameters()),
    )
    for a, b in zip(of_layer, steps, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "sign", "expected"),
    [(nn.LSTM, 1, np.tanh([1, 2, 3])), (nn.LSTM, -1, [0] * 3), (nn.GRU, 1, [0] * 3), (nn.GRU, -1, [-1] * 3)],
)
def test_saturated_gates_count_keep_or_forget(make, sign, expected):
    """With gates at 1 an LSTM counts its steps and a GRU keeps its state; with gates at 0 both forget it."""
    layer = make(1, 2)
    for parameter in layer.parameters():
        parameter.assign(np.zeros(parameter.shape))
    layer.bias.assign(np.full(layer.bias.shape, sign * 1000))
    y, _ = layer(tg.tensor(np.zeros((1, 3, 1))))
    np.testing.assert_allclose(y.numpy()[0], np.stack([expected] * 2, 1), rtol=1e-6)
    assert all(np.isfinite(g.numpy()).all() for g in tg.grad(y.sum(), layer.parameters()))


def test_recurrent_layers_refuse_what_does_not_fit():
    for make in (nn.LSTM, nn.LSTMCell, nn.GRU, nn.GRUCell):
        with pytest.raises(UsageError, match=f"{make.__name__}: hidden_features is 0"):
            make(3, 0)
    with pytest.raises(ShapeError, match=r"^lstm: x \(2, 7, 4\), weights and biases \(3, 20\)"):
        nn.LSTM(3, 5)(tg.tensor(real(2, 7, 4)))
    with pytest.raises(ShapeError, match=r"^gru: x \(2, 7, 3\).* state \(1, 5\) do not fit"):
        nn.GRU(3, 5)(tg.tensor(real(2, 7, 3)), tg.tensor(real(1, 5)))


def test_convolutional_lstm_starts_from_a_zero_state_and_returns_its_last():
    for size in ((6,), (4, 5)):
        layer, x = nn.ConvLSTM(2, 3, (3,) * len(size)), tg.tensor(real(2, 5, *size, 2))
        y, state = layer(x)
        assert y.shape == (2, 5, *size, 3)
        np.testing.assert_array_equal(state[0].numpy(), y.numpy()[:, -1])
        first, between = layer(x[:, :2])
        second, last = layer(x[:, 2:], between)
        np.testing.assert_allclose(F.concatenate([first, second], axis=1).numpy(), y.numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(parts(last), parts(state), rtol=1e-5, atol=1e-6)


def test_convolutional_lstm_of_one_pixel_is_an_lstm():
    layer, of_maps, x = nn.LSTM(3, 4), nn.ConvLSTM(3, 4, (1, 1)), real(2, 5, 3)
    for name, parameter in of_maps.named_parameters().items():
        parameter.assign(getattr(layer, name).numpy().reshape(parameter.shape))
    y, _ = of_maps(tg.tensor(x[:, :, None, None]))
    np.testing.assert_allclose(y.numpy()[:, :, 0, 0], layer(tg.tensor(x))[0].numpy(), rtol=1e-5, atol=1e-6)


def test_a_causal_convolutional_lstm_sees_nothing_to_the_right():
    layer, x = nn.ConvLSTM(2, 3, (2,), padding=(1, 0)), real(1, 4, 6, 2)
    changed = x.copy()
    changed[:, :, 3:] += 1
    before, after = (layer(tg.tensor(a))[0].numpy() for a in (x, changed))
    np.testing.assert_array_equal(after[:, :, :3], before[:, :, :3])
    assert (after[:, :, 3:] != before[:, :, 3:]).any()


def test_convolutional_lstm_refuses_what_does_not_fit():
    for size in (3, (3, 3, 3), (0,)):
        with pytest.raises(UsageError, match=r"ConvLSTM: kernel_size is \(K,\)"):
            nn.ConvLSTM(2, 3, size)
    with pytest.raises(ShapeError, match=r"ConvLSTM: x \(2, 5, 2\)"):
        nn.ConvLSTM(2, 3, (3,))(tg.tensor(real(2, 5, 2)))
    with pytest.raises(ShapeError, match="conv_lstm: gates"):
        nn.ConvLSTM(2, 3, (3,), padding=(1, 0))(tg.tensor(real(2, 5, 6, 2)))
