"""Layers against their formulas, and what they refuse."""

import math

import numpy as np
import pytest

import tinygen as tg
from tests.nn.arrays import real
from tinygen import functional as F
from tinygen import nn, random
from tinygen.autograd import source_of
from tinygen.errors import ShapeError, UsageError


def test_linear_matches_its_formula_and_its_initial_weights_their_bound():
    layer, x = nn.Linear(400, 50), real(5, 400)
    weight, bias = layer.weight.numpy(), layer.bias.numpy()
    assert (weight.shape, bias.shape) == ((400, 50), (50,))
    np.testing.assert_allclose(layer(tg.tensor(x)).numpy(), x @ weight + bias, rtol=1e-5, atol=1e-6)
    assert 0.99 / 20 < np.abs(weight).max() < 1 / 20
    assert 0.8 / 20 < np.abs(bias).max() < 1 / 20
    assert nn.Linear(2, 3, bias=False).bias is None
    assert list(nn.Linear(2, 3, bias=False).named_parameters()) == ["weight"]


CONVOLUTIONS = [
    (nn.Conv2d, F.conv2d, (4, 6, 3), {}, (3, 3, 4, 6), (2, 5, 6, 4), 36),
    (
        nn.Conv2d,
        F.conv2d,
        (4, 6, (3, 2)),
        {"stride": (2, 1), "padding": ((1, 0), (0, 1)), "dilation": (1, 2), "groups": 2},
        (3, 2, 2, 6),
        (2, 5, 6, 4),
        12,
    ),
    (
        nn.ConvTranspose2d,
        F.conv_transpose2d,
        (4, 6, (3, 2)),
        {"stride": 2, "padding": 1, "output_padding": (1, 0), "groups": 2},
        (3, 2, 3, 4),
        (2, 3, 3, 4),
        12,
    ),
    (nn.MaskedConv2d, F.masked_conv2d, (3, 6, 3), {"kind": "A", "colours": 3}, (3, 3, 3, 6), (1, 4, 4, 3), 27),
    (nn.Conv1d, F.conv1d, (4, 6, 3), {"stride": 2, "padding": (1, 0), "groups": 2}, (3, 2, 6), (2, 7, 4), 6),
    (
        nn.ConvTranspose1d,
        F.conv_transpose1d,
        (4, 6, 3),
        {"stride": 2, "output_padding": 1, "dilation": 2},
        (3, 6, 4),
        (2, 5, 4),
        12,
    ),
    (nn.MaskedConv1d, F.masked_conv1d, (2, 4, 5), {"kind": "B", "colours": 2}, (5, 2, 4), (1, 6, 2), 10),
]


@pytest.mark.parametrize(("make", "function", "arguments", "options", "weight", "shape", "fan_in"), CONVOLUTIONS)
def test_convolutions_have_weights_of_the_right_shape_and_pass_their_options_on(
    make, function, arguments, options, weight, shape, fan_in
):
    layer, x = make(*arguments, **options), tg.tensor(real(*shape))
    assert (layer.weight.shape, layer.bias.shape) == (weight, (arguments[1],))
    np.testing.assert_array_equal(layer(x).numpy(), function(x, layer.weight, layer.bias, **options).numpy())
    assert 0.8 / math.sqrt(fan_in) < np.abs(layer.weight.numpy()).max() < 1 / math.sqrt(fan_in)
    bare = make(*arguments, **options, bias=False)
    assert list(bare.named_parameters()) == ["weight"]
    np.testing.assert_array_equal(bare(x).numpy(), function(x, bare.weight, **options).numpy())


def test_a_causal_convolution_sees_the_present_and_the_past_alone():
    layer, x = nn.CausalConv1d(3, 4, 3, dilation=2, groups=1), real(1, 9, 3)
    w, b = layer.weight.numpy(), layer.bias.numpy()
    y = layer(tg.tensor(x)).numpy()
    for t in range(9):
        seen = [x[0, t - 4 + 2 * k] @ w[k] for k in range(3) if t - 4 + 2 * k >= 0]
        np.testing.assert_allclose(y[0, t], sum(seen) + b, rtol=1e-5, atol=1e-6)
    assert nn.CausalConv1d(2, 3, 1)(tg.tensor(real(2, 5, 2))).shape == (2, 5, 3)
    with pytest.raises(UsageError, match="kernel_size is 0"):
        nn.CausalConv1d(2, 3, 0)


def test_convolutions_refuse_groups_that_do_not_divide_the_channels():
    with pytest.raises(UsageError, match="Conv2d: 4 and 6 channels cannot form 3 groups"):
        nn.Conv2d(4, 6, 3, groups=3)
    with pytest.raises(UsageError, match="ConvTranspose1d: 4 and 6 channels cannot form 4 groups"):
        nn.ConvTranspose1d(4, 6, 3, groups=4)


@pytest.mark.parametrize(
    ("kernel_size", "options", "error", "message"),
    [
        ((3, 2), {"kind": "B"}, ShapeError, r"kernel \(3, 2\) has none; use odd lengths"),
        (3, {"kind": "C"}, UsageError, "not 'C'"),
        (3, {"kind": "A", "colours": 0}, UsageError, "colours is 0"),
    ],
)
def test_an_impossible_masked_convolution_is_refused_when_it_is_constructed(kernel_size, options, error, message):
    with pytest.raises(error, match=message):
        nn.MaskedConv2d(2, 2, kernel_size, **options)


def test_batch_norm_normalises_by_the_batch_and_in_evaluation_by_running_statistics():
    """Running statistics after two batches by their recurrence: weight 0.1, unbiased variance."""
    layer, mean, var = nn.BatchNorm(3), np.zeros(3), np.ones(3)
    layer.scale.assign(np.array([1, 2, 3]))
    layer.shift.assign(np.array([0, -1, 5]))
    for x in (real(4, 2, 5, 3), 3 + 2 * real(5, 2, 3, 3)):
        batch_mean, batch_var = x.mean((0, 1, 2), dtype="float64"), x.var((0, 1, 2), dtype="float64")
        y = layer(tg.tensor(x)).numpy()
        expected = (x - batch_mean) / np.sqrt(batch_var + 1e-5) * [1, 2, 3] + [0, -1, 5]
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
        n = x.size // 3
        mean, var = 0.9 * mean + 0.1 * batch_mean, 0.9 * var + 0.1 * batch_var * n / (n - 1)
    np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.running_var, var, rtol=1e-5)
    before = layer.running_mean.copy(), layer.running_var.copy()
    x = real(2, 3)
    expected = (x - mean) / np.sqrt(var + 1e-5) * [1, 2, 3] + [0, -1, 5]
    np.testing.assert_allclose(layer.eval()(tg.tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal((layer.running_mean, layer.running_var), before)
    assert set(layer.state_dict()) == {"scale", "shift", "running_mean", "running_var"}


def test_batch_norm_follows_its_options():
    layer = nn.BatchNorm(2, eps=1.0, momentum=0.5, affine=False)
    y = layer(tg.tensor([[1.0, 0.0], [3.0, 0.0]])).numpy()
    np.testing.assert_allclose(y, [[-math.sqrt(0.5), 0], [math.sqrt(0.5), 0]], rtol=1e-6)
    np.testing.assert_allclose(layer.running_mean, [1, 0])
    np.testing.assert_allclose(layer.running_var, [1.5, 0.5])
    evaluated = layer.eval()(tg.tensor([[3.0, 2.0]])).numpy()
    np.testing.assert_allclose(evaluated, [[2 / math.sqrt(1.5 + 1), 2 / math.sqrt(0.5 + 1)]], rtol=1e-6)
    assert layer.parameters() == []


@pytest.mark.parametrize(
    ("layer", "axes"),
    [
        (lambda: nn.LayerNorm(4), (3,)),
        (lambda: nn.LayerNorm((3, 4)), (2, 3)),
        (lambda: nn.InstanceNorm(4, affine=True), (1, 2)),
        (lambda: nn.GroupNorm(1, 4), (1, 2, 3)),
        (lambda: nn.GroupNorm(4, 4), (1, 2)),
    ],
)
def test_layer_instance_and_group_norm_match_their_formula(layer, axes):
    layer, x = layer(), 3 + real(2, 5, 3, 4)
    layer.scale.assign(real(*layer.scale.shape))
    layer.shift.assign(real(*layer.shift.shape) + 1)
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    expected = expected * layer.scale.numpy() + layer.shift.numpy()
    for mode in (True, False):
        np.testing.assert_allclose(layer.train(mode)(tg.tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_group_norm_groups_neighbouring_channels():
    x = real(2, 5, 6)
    y = nn.GroupNorm(2, 6)(tg.tensor(x)).numpy().reshape(2, 5, 2, 3)
    np.testing.assert_allclose(y.mean((1, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(y.var((1, 3)), 1, rtol=1e-4)


@pytest.mark.parametrize("layer", [nn.BatchNorm(4), nn.LayerNorm(4), nn.InstanceNorm(4), nn.GroupNorm(2, 4)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", [True, False])
def test_normalisations_refuse_other_channels(layer, channels, mode):
    name = type(layer).__name__
    with pytest.raises(ShapeError, match=rf"^{name}: takes \(..., 4\), not \(2, 3, {channels}\)$"):
        layer.train(mode)(tg.tensor(real(2, 3, channels)))


def test_dropout_zeroes_and_scales_in_training_only():
    network = nn.Sequential(nn.Linear(3, 200), nn.Dropout(0.25))
    x = tg.tensor(real(1, 3))
    without_dropout = network.eval()(x).numpy()
    assert random.stream("train").counter == 0
    with_dropout = network.train()(x).numpy()
    kept = with_dropout != 0
    assert 0.6 < kept.mean() < 0.9
    np.testing.assert_allclose(with_dropout[kept], without_dropout[kept] / 0.75, rtol=1e-6)


def bilinear_rows(x):
    """Bilinear upsampling of the rows by 2: outputs lie a quarter of a row above and below each input row."""
    above, below = x[:, [0, 0, 1, 2]], x[:, [1, 2, 3, 3]]
    return np.stack([(above + 3 * x) / 4, (3 * x + below) / 4], 2).reshape(2, 8, 4, 3)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.ReLU(), lambda x: np.maximum(x, 0)),
        (nn.LeakyReLU(), lambda x: np.where(x > 0, x, 0.01 * x)),
        (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
        (nn.ELU(), lambda x: np.where(x > 0, x, np.expm1(x))),
        (nn.ELU(0.5), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
        (nn.GELU(), lambda x: x * np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)))(x)),
        (nn.SiLU(), lambda x: x / (1 + np.exp(-x))),
        (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
        (nn.Softplus(), lambda x: np.log1p(np.exp(x))),
        (nn.Tanh(), np.tanh),
        (nn.Flatten(), lambda x: x.reshape(2, -1)),
        (nn.Reshape(3, 16), lambda x: x.reshape(2, 3, 16)),
        (nn.Upsample2d(2), lambda x: x.repeat(2, 1).repeat(2, 2)),
        (nn.Upsample2d((2, 1), mode="bilinear"), bilinear_rows),
        (nn.PixelUnshuffle(2), lambda x: x.reshape(2, 2, 2, 2, 2, 3).transpose(0, 1, 3, 5, 2, 4).reshape(2, 2, 2, 12)),
        (nn.ReflectionPad2d((1, 2)), lambda x: np.pad(x, ((0, 0), (1, 1), (2, 2), (0, 0)), mode="reflect")),
        (nn.ReflectionPad2d(((0, 3), 0)), lambda x: np.pad(x, ((0, 0), (0, 3), (0, 0), (0, 0)), mode="reflect")),
        (nn.MaxPool2d(2), lambda x: x.reshape(2, 2, 2, 2, 2, 3).max((2, 4))),
        (nn.MaxPool2d((1, 4), stride=(2, 1)), lambda x: x[:, ::2].max(2, keepdims=True)),
        (nn.AvgPool2d(2), lambda x: x.reshape(2, 2, 2, 2, 2, 3).mean((2, 4))),
        (nn.AvgPool2d(4, padding=2), lambda x: x.reshape(2, 2, 2, 2, 2, 3).sum((2, 4)) / 16),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_layers_without_parameters_match_their_formulas(layer, expected):
    x = real(2, 4, 4, 3)
    np.testing.assert_allclose(layer(tg.tensor(x)).numpy(), expected(x), rtol=1e-5, atol=1e-6)
    assert layer.parameters() == []


def test_pixel_shuffle_inverts_pixel_unshuffle():
    x = tg.tensor(real(2, 4, 6, 3))
    y = nn.PixelUnshuffle((2, 3))(x)
    assert y.shape == (2, 2, 2, 18)
    np.testing.assert_array_equal(nn.PixelShuffle((2, 3))(y).numpy(), x.numpy())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Upsample2d(2, mode="cubic"), "Upsample2d: mode is .*'cubic'"),
        (lambda: nn.PixelShuffle(0), "factor is 0"),
        (lambda: nn.PixelUnshuffle(1.5), "factor is 1.5"),
        (lambda: nn.ReflectionPad2d(-1), "padding is -1"),
        (lambda: nn.ReflectionPad2d("same"), "padding is .*'same'"),
    ],
)
def test_resampling_layers_refuse_impossible_options(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_embedding_looks_rows_up():
    layer = nn.Embedding(5, 3)
    np.testing.assert_array_equal(layer(np.array([[4, 0]])).numpy(), layer.weight.numpy()[[[4, 0]]])
    weight = nn.Embedding(100, 100).weight.numpy()
    assert abs(weight.std() - 1) < 4 / math.sqrt(2 * 10_000)


def test_sequential_applies_layers_and_functions_in_order():
    network = nn.Sequential(nn.Linear(2, 3), F.relu, nn.Linear(3, 1))
    x = tg.tensor(real(4, 2))
    np.testing.assert_array_equal(network(x).numpy(), network[2](F.relu(network[0](x))).numpy())
    assert len(network) == 3
    assert list(network.named_parameters()) == ["layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"]


@pytest.mark.parametrize("activation", [F.relu, nn.ReLU(), nn.LeakyReLU(0.2), nn.LeakyReLU(1.5), nn.Tanh()])
@pytest.mark.parametrize(
    "make", [nn.BatchNorm, nn.LayerNorm, lambda c: nn.InstanceNorm(c, affine=True), lambda c: nn.GroupNorm(2, c)]
)
@pytest.mark.parametrize("training", [True, False])
def test_sequential_fuses_a_leaky_relu_into_the_normalisation_before_it(make, activation, training):
    layer = make(4).train(training)
    layer.scale.assign(real(4))
    layer.shift.assign(real(4) + 1)
    fused, without_activation, x = (
        nn.Sequential(layer, activation, nn.Tanh()),
        nn.Sequential(layer),
        tg.tensor(real(3, 5, 4)),
    )
    x.requires_grad = True
    results = []
    for y in (fused(x), F.tanh(activation(without_activation(x)))):
        results.append([y, *tg.grad((y * y).sum(), [x, *layer.parameters()])])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)
    if training and (activation is F.relu or getattr(activation, "slope", 9) <= 1):
        assert source_of(nn.Sequential(layer, activation)(x).edge).op.name in ("normalize", "reshape")


def test_sequential_fuses_nothing_into_a_subclass_with_its_own_forward():
    class Doubled(nn.LayerNorm):
        def forward(self, x):
            return 2 * super().forward(x)

    layer, x = Doubled(3), tg.tensor(real(2, 3))
    np.testing.assert_array_equal(nn.Sequential(layer, nn.ReLU())(x).numpy(), F.relu(layer(x)).numpy())


def test_sizes_may_be_numbers_of_numpy():
    x = tg.tensor(np.arange(48.0).reshape(2, 2, 2, 6), "float32")
    n, k = np.int64(6), np.uint8(2)
    for layer in (nn.BatchNorm(n, eps=np.float32(1e-5)), nn.LayerNorm(n), nn.InstanceNorm(n), nn.GroupNorm(k, n)):
        assert layer(x).shape == x.shape
    assert nn.Conv2d(n, k, k, padding=np.int64(1), stride=k)(x).shape == (2, 2, 2, 2)
    assert nn.Linear(n, np.int64(3))(x).shape == (2, 2, 2, 3)
