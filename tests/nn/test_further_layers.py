"""Layers that compose functions: attention, volumes, norms, dropout of channels, sequences of several lengths."""

import numpy as np
import pytest

import tinygen as tg
from tests.nn.arrays import real
from tinygen import functional as F
from tinygen import nn
from tinygen.errors import ShapeError, UsageError


def values(layer, *arrays, **options):
    return layer(*map(tg.tensor, arrays), **options).numpy()


def test_options_of_layers_are_given_by_position_as_in_pytorch():
    layer = nn.Conv2d(2, 4, 3, 2, 1, 2, 2, False)
    assert layer.options == {"stride": 2, "padding": 1, "dilation": 2, "groups": 2} and layer.bias is None
    layer = nn.ConvTranspose2d(2, 4, 4, 2, 1, 1, 2, False, 3)
    assert layer.options == {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "dilation": 3}
    assert layer.bias is None and nn.Linear(4, 2, False).bias is None
    x = tg.tensor(real(1, 6, 6, 2))
    np.testing.assert_array_equal(F.max_pool2d(x, 3, 1, 1).numpy(), F.max_pool2d(x, 3, stride=1, padding=1).numpy())
    assert nn.MaxPool2d(3, 1, 1)(x).shape == nn.AvgPool2d(3, 1, 1)(x).shape == (1, 6, 6, 2)


@pytest.mark.parametrize(
    ("layer", "function", "shape"),
    [
        (lambda: nn.Conv3d(2, 4, (2, 1, 3), 2, 1, groups=2), F.conv3d, (1, 4, 3, 5, 2)),
        (lambda: nn.ConvTranspose3d(4, 2, 2, 2, 0, 1, bias=False), F.conv_transpose3d, (2, 2, 1, 3, 4)),
    ],
)
def test_convolutions_of_volumes_apply_their_function_to_their_parameters(layer, function, shape):
    layer, x = layer(), real(*shape)
    expected = function(tg.tensor(x), layer.weight, layer.bias, **layer.options).numpy()
    np.testing.assert_array_equal(values(layer, x), expected)
    fan_in = np.prod(layer.weight.shape[:3]) * (1 if isinstance(layer, nn.Conv3d) else 4)
    assert np.abs(layer.weight.numpy()).max() <= fan_in**-0.5


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Identity(), lambda x: x),
        (nn.PReLU(), lambda x: np.where(x > 0, x, 0.25 * x)),
        (nn.PReLU(3, 0.1), lambda x: np.where(x > 0, x, 0.1 * x)),
        (nn.RMSNorm(3), lambda x: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)),
        (nn.RMSNorm((5, 3), eps=0.5, affine=False), lambda x: x / np.sqrt((x**2).mean((2, 3), keepdims=True) + 0.5)),
        (nn.AdaptiveAvgPool2d(1), lambda x: x.mean((1, 2), keepdims=True)),
        (nn.AdaptiveMaxPool2d((1, 5)), lambda x: x.max(1, keepdims=True)),
        (
            nn.MaxPool2d(2, 1, dilation=2),
            lambda x: np.max([x[:, i : i + 2, j : j + 3] for i in (0, 2) for j in (0, 2)], 0),
        ),
    ],
)
def test_layers_have_the_values_of_their_formulas(layer, expected):
    x = real(2, 4, 5, 3).astype(np.float32)
    np.testing.assert_allclose(values(layer, x), expected(x), rtol=1e-5, atol=1e-6)


def test_pooling_of_volumes_takes_each_window():
    x = real(1, 4, 2, 2, 3).astype(np.float32)
    windows = x.reshape(1, 2, 2, 1, 2, 1, 2, 3)
    np.testing.assert_array_equal(values(nn.MaxPool3d(2), x), windows.max((2, 4, 6)))
    np.testing.assert_allclose(values(nn.AvgPool3d(2), x), windows.mean((2, 4, 6)), rtol=1e-6)


def test_parameters_of_new_layers_are_trained():
    assert list(nn.PReLU().named_parameters()) == ["slope"]
    assert list(nn.RMSNorm(3).named_parameters()) == ["scale"]
    assert len(nn.MultiheadAttention(4, 2).parameters()) == 8


def test_dropout2d_drops_whole_channels_in_training_only():
    layer, x = nn.Dropout2d(0.25), np.ones((200, 3, 2, 5), np.float32)
    y = values(layer, x)
    kept = y[:, 0, 0] != 0
    np.testing.assert_array_equal(y, np.broadcast_to(kept[:, None, None], y.shape) / np.float32(0.75))
    assert 0.7 < kept.mean() < 0.8
    np.testing.assert_array_equal(values(layer.eval(), x), x)


def test_multihead_attention_is_attention_of_each_head_by_itself():
    layer = nn.MultiheadAttention(6, 3)
    query, key, value = real(2, 4, 6), real(2, 5, 6), real(2, 5, 6)
    mask = np.tril(np.ones((4, 5), bool), 1)
    arrays = [
        x @ part.weight.numpy() + part.bias.numpy()
        for x, part in ((query, layer.query), (key, layer.key), (value, layer.value))
    ]
    heads = []
    for part in (slice(0, 2), slice(2, 4), slice(4, 6)):
        q, k, v = (a[..., part] for a in arrays)
        weights = np.exp(q @ k.swapaxes(1, 2) / np.sqrt(2)) * mask
        heads.append(weights / weights.sum(-1, keepdims=True) @ v)
    expected = np.concatenate(heads, -1) @ layer.output.weight.numpy() + layer.output.bias.numpy()
    actual = layer(*map(tg.tensor, (query, key, value)), mask).numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_causal_self_attention_does_not_look_ahead():
    layer, x = nn.MultiheadAttention(4, 2), real(1, 5, 4)
    changed = x.copy()
    changed[:, 3:] += 1.0
    before, after = values(layer, x, causal=True), values(layer, changed, causal=True)
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).all()
    with pytest.raises(UsageError, match="5 features cannot be cut into 2 heads"):
        nn.MultiheadAttention(5, 2)
    with pytest.raises(ShapeError, match=r"MultiheadAttention: takes .*\(5, 4\)"):
        values(layer, x[0])


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU])
def test_sequences_of_several_lengths_are_those_computed_one_by_one(make, device):
    layer, x, lengths = make(3, 4).to(device), real(3, 5, 3), np.array([5, 1, 3])
    x_all = tg.tensor(x, device=device, requires_grad=True)
    y, state = layer(x_all, lengths=tg.tensor(lengths, device=device))
    (y * y).sum().backward()
    for n, length in enumerate(lengths):
        x_one = tg.tensor(x[n : n + 1, :length], device=device, requires_grad=True)
        one, its_state = layer(x_one)
        (one * one).sum().backward()
        np.testing.assert_allclose(y.numpy()[n, :length], one.numpy()[0], rtol=1e-5, atol=1e-6)
        assert (y.numpy()[n, length:] == 0).all() and (x_all.grad.numpy()[n, length:] == 0).all()
        np.testing.assert_allclose(x_all.grad.numpy()[n, :length], x_one.grad.numpy()[0], rtol=1e-4, atol=1e-5)
        pairs = zip(state, its_state, strict=True) if make is nn.LSTM else [(state, its_state)]
        for many, single in pairs:
            np.testing.assert_allclose(many.numpy()[n], single.numpy()[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [([0, 2], "from 0 to 2"), ([1, 6], "from 1 to 6, x has 1 to 5"), ([1, 2, 3], r"2 integers, not int64 \(3,\)")],
)
def test_lengths_that_do_not_fit_are_refused(lengths, message):
    with pytest.raises(ShapeError, match=message):
        nn.LSTM(3, 4)(tg.tensor(real(2, 5, 3)), lengths=np.array(lengths))
