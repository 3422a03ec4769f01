"""What the op table leaves out: dropout, ties and kinks, extreme values, options of convolutions, error messages."""

import copy
import math
import pickle

import numpy as np
import pytest

import tinygen as tg
from tests.ops.table import TABLE
from tinygen import functional as F
from tinygen import nn, random
from tinygen.errors import DtypeError, ShapeError, UsageError
from tinygen.random import Stream


def real(*shape):
    """Normal numbers that depend on the shape alone."""
    return np.random.default_rng(shape).standard_normal(shape)


def leaf(values):
    return tg.tensor(values, "float64", requires_grad=True)


def gradient(function, *values):
    """Gradients of the summed result in each argument, as nested lists."""
    xs = [leaf(v) for v in values]
    return [g.numpy().tolist() for g in tg.grad(function(*xs).sum(), xs)]


def test_every_function_is_in_the_op_table_or_here():
    tested_in_this_file = {"dropout", "embedding", "stack"}
    tested_as_a_layer = {"dropout2d"}
    table = {name.removeprefix("functional.") for name in TABLE}
    assert set(F.__all__) - table == tested_in_this_file | tested_as_a_layer


# Dropout


def test_dropout_scales_by_the_kept_share_and_drops_independently():
    n, p = 100_000, 0.3
    y = F.dropout(tg.tensor(np.full(n, 2.0)), p, stream=Stream(0, "train")).numpy()
    assert y.dtype == np.float32
    kept = y != 0
    np.testing.assert_allclose(y[kept], 2 / (1 - p), rtol=1e-6)
    assert abs(kept.mean() - (1 - p)) < 4 * math.sqrt(p * (1 - p) / n)
    neighbours = np.mean(kept[1:] & kept[:-1])
    assert abs(neighbours - (1 - p) ** 2) < 4 / math.sqrt(n)


def test_dropout_draws_one_uniform_an_element_from_its_stream():
    x = real(5, 7)
    stream = Stream(3, "mine", 10)
    y = F.dropout(tg.tensor(x, "float64"), 0.25, stream=stream).numpy()
    kept = Stream(3, "mine", 10).uniform((5, 7), dtype="float64") >= 0.25
    np.testing.assert_allclose(y, np.where(kept, x / 0.75, 0), rtol=1e-15)
    assert stream.counter == 10 + 9


def test_dropout_uses_the_training_stream_and_only_in_training():
    tg.seed(4)
    x = tg.tensor(np.ones((3, 4)))
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0.0) is x
    assert random.stream("train").counter == 0
    first, second = F.dropout(x, 0.5).numpy(), F.dropout(x, 0.5).numpy()
    assert (first != second).any()
    assert random.get_state()["counters"] == {**random.get_state()["counters"], "train": 6}
    tg.seed(4)
    np.testing.assert_array_equal(F.dropout(x, 0.5).numpy(), first)


def test_dropout_passes_gradients_to_kept_elements_only():
    x = leaf(np.ones(50))
    y = F.dropout(x, 0.4, stream=Stream(0, "train"))
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())
    assert isinstance(F.dropout(np.ones(3, np.float32), 0.5), np.ndarray)


@pytest.mark.parametrize("probability", [-0.1, 1.0, math.nan])
def test_dropout_refuses_impossible_probabilities(probability):
    with pytest.raises(UsageError, match=f"dropout: probability {probability} is not in"):
        F.dropout(tg.tensor([1.0]), probability)


# Gradients at kinks and ties


def test_ties_share_the_gradient_equally():
    assert gradient(F.maximum, [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]) == [[0.5, 0, 1], [0.5, 1, 0]]
    assert gradient(F.minimum, [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]) == [[0.5, 1, 0], [0.5, 0, 1]]
    assert gradient(F.max, [3.0, 1.0, 3.0, 3.0, 0.0, 3.0]) == [[0.25, 0, 0.25, 0.25, 0, 0.25]]
    assert gradient(lambda x: F.min(x, axis=1), [[1.0, 1.0], [2.0, 1.0]]) == [[[0.5, 0.5], [0, 1]]]
    pooled = gradient(lambda x: F.max_pool2d(x, 2), np.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(np.ravel(pooled), [0.25] * 4)


def test_gradients_at_kinks_follow_the_conventions():
    assert gradient(lambda x: F.clip(x, -1.0, 2.0), [-1.5, -1.0, 0.0, 2.0, 2.5]) == [[0, 1, 1, 1, 0]]
    assert gradient(F.relu, [-1.0, 0.0, 1.0]) == [[0, 0, 1]]
    assert gradient(F.abs, [-1.0, 0.0, 1.0]) == [[-1, 0, 1]]
    assert gradient(F.leaky_relu, [-1.0, 1.0]) == [[0.01, 1]]
    assert gradient(lambda e: F.huber(e, tg.tensor(np.zeros(4), "float64"), delta=2.0), [-3.0, -1, 1, 3]) == [
        [-2, -1, 1, 2]
    ]


def test_clip_limits_values():
    np.testing.assert_array_equal(F.clip(tg.tensor([-2.0, 0.5, 9.0]), 0.0, 1.0).numpy(), [0, 0.5, 1])


# Extreme values


def test_losses_of_extreme_logits_are_finite_and_right():
    logits, target = tg.tensor([-1e4, 1e4, -1e4, 1e4, 0.0], requires_grad=True), np.array([0, 1, 1, 0, 0.5], np.float32)
    loss = F.binary_cross_entropy_with_logits(logits, target)
    loss.sum().backward()
    np.testing.assert_allclose(loss.numpy(), [0, 0, 1e4, 1e4, math.log(2)])
    np.testing.assert_array_equal(logits.grad.numpy(), [0, 0, -1, 1, 0])
    rows = tg.tensor([[1e4, 0.0, -1e4]])
    np.testing.assert_allclose(F.cross_entropy(F.concatenate([rows, rows]), np.array([0, 1])).numpy(), [0, 1e4])
    np.testing.assert_array_equal(F.softmax(rows).numpy(), [[1, 0, 0]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_cross_entropy_of_probabilities_0_and_1_is_limited(dtype):
    p = tg.tensor([0.0, 1.0, 0.0, 1.0, 0.5], dtype, requires_grad=True)
    loss = F.binary_cross_entropy(p, np.array([0, 1, 1, 0, 1], dtype))
    loss.sum().backward()
    np.testing.assert_allclose(loss.numpy(), [0, 0, 36 * math.log(10), 36 * math.log(10), math.log(2)], rtol=1e-6)
    np.testing.assert_allclose(p.grad.numpy(), [1, -1, 0, 0, -2])


def test_normalisation_of_a_constant_is_zero_with_a_finite_gradient():
    x = leaf(np.full((4, 3), 7.0))
    y = F.layer_norm(x)
    (y * np.arange(12.0).reshape(4, 3)).sum().backward()
    np.testing.assert_array_equal(y.numpy(), 0)
    assert np.isfinite(x.grad.numpy()).all()


def test_activations_of_large_arguments():
    x = np.array([-1e4, -50.0, 0.0, 50.0, 1e4])
    np.testing.assert_allclose(F.gelu(x), [0, 0, 0, 50, 1e4], atol=1e-12)
    np.testing.assert_allclose(F.silu(x), [0, -50 / (1 + math.exp(50)), 0, 50, 1e4])
    np.testing.assert_allclose(F.elu(x), [-1, -1, 0, 50, 1e4])
    assert F.gelu(np.array(1.0)) == pytest.approx(0.8413447460685429, rel=1e-15)


# Shapes and indices


def test_stack_flatten_embedding_one_hot_and_einsum_match_numpy():
    a, b = real(2, 3, 4)
    for axis in (0, 1, 2, -1, -3):
        np.testing.assert_array_equal(F.stack([leaf(a), leaf(b)], axis=axis).numpy(), np.stack([a, b], axis))
    x = leaf(real(2, 3, 4))
    assert F.flatten(x).shape == (2, 12)
    assert F.flatten(x, start=0).shape == (24,)
    assert F.flatten(x, start=2).shape == (2, 3, 4)
    np.testing.assert_array_equal(F.einsum("ij,kj->ik", leaf(a), leaf(b)).numpy(), a @ b.T)
    weight = leaf(np.arange(6.0).reshape(3, 2))
    rows = F.embedding(tg.tensor([[2, 0], [2, 2]]), weight)
    np.testing.assert_array_equal(rows.numpy(), weight.numpy()[[[2, 0], [2, 2]]])
    rows.sum().backward()
    np.testing.assert_array_equal(weight.grad.numpy(), [[1, 1], [0, 0], [3, 3]])
    assert F.one_hot(tg.tensor([1, 0]), classes=3).numpy().tolist() == [[0, 1, 0], [1, 0, 0]]


def test_targets_may_be_tensors_and_stay_without_gradient():
    logits, target = leaf(real(3, 4)), tg.tensor([0, 3, 1])
    loss = F.cross_entropy(logits, target)
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    np.testing.assert_allclose(loss.numpy(), -np.log(p[range(3), [0, 3, 1]]))
    loss.sum().backward()
    np.testing.assert_allclose(logits.grad.numpy(), p - np.eye(4)[[0, 3, 1]])
    assert target.grad is None


def test_batch_norm_with_given_moments_is_affine():
    x, mean, var = real(5, 3), real(3), np.array([1.0, 1.5, 2.0])
    y = F.batch_norm(leaf(x), 2.0, 0.5, mean=mean, var=var, eps=0.1)
    np.testing.assert_allclose(y.numpy(), (x - mean) / np.sqrt(var + 0.1) * 2 + 0.5)


def test_group_norm_equals_layer_norm_with_one_group_and_instance_norm_with_one_channel_each():
    x, scale, shift = leaf(real(2, 3, 3, 4)), real(4), real(4)
    one, each = F.group_norm(x, 1, scale, shift), F.group_norm(x, 4, scale, shift)
    np.testing.assert_allclose(one.numpy(), (F.layer_norm(x, axes=3) * scale + shift).numpy(), rtol=1e-12)
    np.testing.assert_allclose(each.numpy(), F.instance_norm(x, scale, shift).numpy(), rtol=1e-12)


def test_resampling_by_nearest_neighbours_is_inverted():
    x = leaf(real(2, 3, 4, 2))
    up = F.upsample_nearest2d(x, (3, 2))
    np.testing.assert_array_equal(F.downsample_nearest2d(up, (3, 2)).numpy(), x.numpy())
    np.testing.assert_allclose(F.avg_pool2d(up, (3, 2)).numpy(), x.numpy(), rtol=1e-15)
    np.testing.assert_array_equal(F.max_pool2d(up, (3, 2)).numpy(), x.numpy())
    # Half-pixel convention: five pixels become two, whose centres, 0.75 and 3.25, are nearest to pixels 1 and 3.
    line = np.arange(5.0).reshape(1, 5, 1, 1)
    assert F.downsample_nearest2d(line, (2, 1)).ravel().tolist() == [1, 3]


def test_bilinear_resizing_matches_values_by_hand():
    """It equals PyTorch's interpolate(mode="bilinear", align_corners=False): half-pixel centres, no antialiasing."""

    def resized(values, width):
        line = np.array(values, "float64").reshape(1, 1, -1, 1)
        return F.resize_bilinear2d(line, (1, width)).ravel().tolist()

    assert resized([0, 4], 4) == [0, 1, 3, 4]
    assert resized([0, 6, 12], 2) == [1.5, 10.5]
    assert resized([0, 1, 2, 3, 4, 5, 6, 7], 2) == [1.5, 5.5]
    assert resized([0, 3], 3) == [0, 1.5, 3]
    assert resized([5], 3) == [5, 5, 5]
    square = np.array([[0.0, 4], [8, 12]]).reshape(1, 2, 2, 1)
    assert F.resize_bilinear2d(square, 4)[0, 1, :, 0].tolist() == [2, 3, 5, 6]


def test_average_pooling_counts_padding():
    y = F.avg_pool2d(tg.tensor(np.ones((1, 2, 2, 1))), 2, stride=2, padding=1)
    np.testing.assert_array_equal(y.numpy().ravel(), [0.25] * 4)


# Convolutions


@pytest.mark.parametrize(
    ("padding", "around"),
    [
        (1, ((1, 1), (1, 1))),
        ((2, 0), ((2, 2), (0, 0))),
        (((0, 1), (2, 3)), ((0, 1), (2, 3))),
        ("same", ((1, 1), (0, 1))),
    ],
)
def test_padding_equals_a_convolution_of_the_padded_image(padding, around):
    x, w = leaf(real(1, 4, 5, 2)), real(3, 2, 2, 3)
    padded = F.pad(x, widths=((0, 0), *around, (0, 0)))
    y = F.conv2d(x, w, padding=padding)
    np.testing.assert_allclose(y.numpy(), F.conv2d(padded, w).numpy(), atol=1e-12)
    if padding == "same":
        assert y.shape[:3] == x.shape[:3]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1},
        {"stride": (3, 2), "padding": ((1, 0), (0, 1)), "dilation": (2, 1)},
        {"stride": 2, "groups": 2},
    ],
)
def test_transposed_convolution_is_the_adjoint(options):
    """<conv(x), y> = <x, conv_transpose(y)> with the same weight."""
    x, w = real(2, 7, 8, 4), real(3, 2, 4 // options.get("groups", 1), 6)
    y = real(*F.conv2d(x, w, **options).shape)
    bare = F.conv_transpose2d(y, w, **options).shape
    extra = (7 - bare[1], 8 - bare[2])
    back = F.conv_transpose2d(y, w, output_padding=extra, **options)
    assert back.shape == x.shape
    assert np.vdot(F.conv2d(x, w, **options), y) == pytest.approx(np.vdot(x, back), rel=1e-12)


def dependences(layer, height, width, channels, outputs):
    """Whether output (h, w, k) depends on input (i, j, c), bool (H, W, K, H, W, C), from gradients."""
    x = leaf(real(1, height, width, channels))
    y = layer(x)
    depends = np.zeros((height, width, outputs, height, width, channels), bool)
    for h, w, k in np.ndindex(height, width, outputs):
        depends[h, w, k] = tg.grad(y[0, h, w, k], x, retain_graph=True).numpy()[0] != 0
    return depends


@pytest.mark.parametrize("kind", ["A", "B"])
@pytest.mark.parametrize("colours", [1, 3])
def test_a_masked_convolution_depends_on_earlier_pixels_and_colours_only(kind, colours):
    weight = real(3, 3, 3, 6)
    depends = dependences(lambda x: F.masked_conv2d(x, weight, kind=kind, colours=colours), 3, 3, 3, 6)
    for h, w, k, i, j, c in np.ndindex(depends.shape):
        in_window = abs(h - i) <= 1 and abs(w - j) <= 1
        centre = c * colours // 3 < k * colours // 6 or (kind == "B" and c * colours // 3 == k * colours // 6)
        assert depends[h, w, k, i, j, c] == (in_window and ((i, j) < (h, w) or ((i, j) == (h, w) and centre)))


def test_a_masked_convolution_of_a_sequence_depends_on_earlier_steps_only():
    weight = real(3, 1, 1)
    for kind, sees in (("A", [-1]), ("B", [-1, 0])):
        x = leaf(real(1, 5, 1))
        y = F.masked_conv1d(x, weight, kind=kind)
        for t in range(5):
            steps = np.flatnonzero(tg.grad(y[0, t, 0], x, retain_graph=True).numpy())
            assert steps.tolist() == [t + s for s in sees if t + s >= 0]


# Refusals


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: F.upsample_nearest2d(x, 2), ShapeError, r"upsample_nearest2d: takes images .*\(3, 2\)"),
        (lambda x: F.downsample_nearest2d(x, 2), ShapeError, r"downsample_nearest2d: takes images .*\(3, 2\)"),
        (lambda x: F.max_pool2d(x, 2), ShapeError, r"pooling: takes images .*\(3, 2\)"),
        (lambda x: F.gaussian_kl(x, x[:1]), ShapeError, r"gaussian_kl: its arguments \(3, 2\) and \(1, 2\) differ"),
        (lambda x: F.linear(x, np.ones((3, 1), np.float32)), ShapeError, r"linear: input \(3, 2\).*\(3, 1\)"),
        (lambda x: F.dropout(x.astype("int64"), 0.5), DtypeError, "int64"),
        (
            lambda x: F.cross_entropy(x, np.array([0, 2, 1])),
            ShapeError,
            r"cross_entropy: classes reach from 0 to 2, there are 0..1",
        ),
        (lambda x: F.embedding(np.array([3]), x), ShapeError, r"embedding: classes reach from 3 to 3, there are 0..2"),
        (lambda x: F.one_hot(np.array([0, 4]), 4), ShapeError, r"one_hot: classes reach from 0 to 4, there are 0..3"),
    ],
)
def test_misuse_is_refused_in_one_line(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call(tg.tensor(np.ones((3, 2))))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", F.__all__)
def test_functions_are_pickled_by_name(name):
    function = getattr(F, name)
    assert pickle.loads(pickle.dumps(function)) is copy.deepcopy(function) is function


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda: F.binary_cross_entropy(tg.tensor([1.5]), tg.tensor([1.0])), "probabilities reach from 1.5 to 1.5"),
        (lambda: F.binary_cross_entropy(np.float32([-0.1, 0]), np.float32([1, 0])), "probabilities reach from -0.1 to"),
        (lambda: F.binary_cross_entropy(tg.tensor([0.9]), tg.tensor([255.0])), "targets reach from 255 to 255; they"),
        (lambda: F.binary_cross_entropy_with_logits(tg.tensor([3.0]), tg.tensor([255.0])), "targets reach from 255"),
        (lambda: F.binary_cross_entropy_with_logits(np.ones(2), np.array([0.0, -1.0])), "targets reach from -1 to 0"),
        (lambda: Stream(0, "x").bernoulli(np.array([0.5, 2.0])), "bernoulli: probabilities reach from 0.5 to"),
        (lambda: F.huber(np.ones(2), np.ones(2), delta=0.0), "huber: delta is 0.0; it must be above 0"),
        (lambda: nn.Dropout(1.0), "Dropout: probability is 1.0; it must be a number of at least 0 and below 1"),
        (lambda: nn.Dropout(-0.5), "Dropout: probability is -0.5"),
        (lambda: nn.BatchNorm(3, momentum=1.5), "BatchNorm: momentum is 1.5; it must be .* at most 1"),
        (lambda: nn.LayerNorm(3, eps=-1e-5), "LayerNorm: eps is -1e-05; it must be a number of at least 0"),
    ],
)
def test_numbers_outside_of_their_range_are_refused(loss, message):
    with pytest.raises(UsageError, match=message):
        loss()


def test_a_probability_that_is_nan_is_left_to_the_check_of_the_loss():
    """A training that diverges is not a mistake in the data."""
    assert np.isnan(F.binary_cross_entropy(tg.tensor([np.nan]), tg.tensor([1.0])).numpy()).all()
