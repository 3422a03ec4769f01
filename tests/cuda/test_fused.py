"""Fused CUDA kernels in unusual cases: sizes that fill no block, unaligned arrays, extreme numbers."""

import numpy as np
import pytest

from tests.cuda.cases import Case
from tests.cuda.emulator.stand_in import ORDERS
from tests.kernels.calls import Call, arrays_in, conv_lstm_call
from tests.kernels.test_normalization import CASES
from tinygen.kernels import reference
from tinygen.kernels.cuda import KERNELS, runtime, updates
from tinygen.kernels.geometry import Geometry

UNARY = ("sigmoid", "softplus", "silu", "gelu")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.fixture
def assert_matches_reference(emulated):
    """A function that asserts that a call matches the reference, bit-identical in every order of the threads."""

    def check(call: Call) -> list[np.ndarray]:
        first, *others = (call.run_on_copies(emulated(order)) for order in ORDERS)
        Case(call).check(first)
        for other in others:
            for one, same in zip(first, other, strict=True):
                np.testing.assert_array_equal(one, same)
        return first

    return check


@pytest.fixture
def device_kernel(emulated):
    return emulated("random")


# Elementwise functions


@pytest.mark.parametrize("size", [1, 3, 4, 6, 1025])
def test_elementwise_functions_of_any_size(assert_matches_reference, size):
    x, y, z = 3 * normal(3, size)
    for call in (
        *(Call(name, (x,)) for name in UNARY),
        Call("binary_cross_entropy_with_logits", (x, np.random.default_rng(1).random(size, np.float32))),
        Call("gaussian_kl", (x, y)),
        Call("reparameterize", (x, y, z)),
        Call("leaky_relu_grad", (x, y, 0.2)),
        Call("gated_tanh", (np.stack([x, y], axis=-1),)),
        Call("gated_tanh", (np.concatenate([x, y]),)),
    ):
        assert_matches_reference(call)


def test_a_relu_cuts_off_infinities(device_kernel):
    inf, nan = np.inf, np.nan
    x, g = np.array([[-inf, -1, 0, 2, nan]], np.float32), np.full((1, 5), inf, np.float32)
    one = np.ones((1, 1), np.float32)
    relu = [0, 0, 0, 2, nan]
    np.testing.assert_array_equal(device_kernel("leaky_relu_grad")(g[:, :4], x[:, :4], 0.0), [[0, 0, 0, inf]])
    np.testing.assert_array_equal(device_kernel("matmul")(x.T, one, None, 0.0)[:, 0], relu)
    geometry = Geometry()
    y = device_kernel("conv2d")(x.reshape(1, 1, 5, 1), one.reshape(1, 1, 1, 1), geometry, None, 0.0)
    np.testing.assert_array_equal(y.ravel(), relu)
    shift = np.full(37, -100, np.float32)
    for shape, axes in (((64, 37), (0,)), ((64, 37), (1,))):
        x = normal(*shape)
        y, residuals = device_kernel("normalize")(x, np.ones(37, np.float32), shift, axes=axes, eps=1e-5, slope=0.0)
        grads = device_kernel("normalize_backward")(np.full_like(x, inf), *residuals, axes=axes, eps=1e-5, slope=0.0)
        assert not any(array.any() for array in (y[0], *grads))


def test_elementwise_functions_of_any_layout_and_alignment(device_kernel):
    x = normal(9, 8)
    for part in (x.ravel()[1:], x[:, ::2].T, x[2:2], x[3:4, 5].reshape(())):
        for name in UNARY:
            ours, theirs = device_kernel(name)(part), getattr(reference, name)(part)
            for a, b in zip(arrays_in(ours), arrays_in(theirs), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_arguments_that_broadcast_are_left_to_the_reference(device_kernel):
    x = normal(4, 6)
    for target in (x[:1], x[:, :1]):
        np.testing.assert_array_equal(
            device_kernel("leaky_relu_grad")(x, target, 0.2), reference.leaky_relu_grad(x, target, 0.2)
        )


def test_binary_cross_entropy_of_extreme_logits(device_kernel):
    x = np.array([-np.inf, -1e30, -90, 90, 1e30, np.inf, np.nan], np.float32)
    y, (difference,) = device_kernel("binary_cross_entropy_with_logits")(x, np.array([0, 1, 0, 1, 0, 1, 0], np.float32))
    tiny = np.finfo(np.float32).tiny
    np.testing.assert_allclose(y, np.array([0, 1e30, 0, 0, 1e30, 0, np.nan], np.float32), atol=tiny)  # 0 log 0 is 0
    np.testing.assert_allclose(difference, np.array([0, -1, 0, 0, 1, 0, np.nan], np.float32), atol=tiny)


# Rows


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (12,), (5, 31), (2, 3, 33), (9, 64), (2, 1024), (2, 3001)], ids=str)
def test_softmax_and_cross_entropy_of_rows_of_any_length(assert_matches_reference, shape):
    x = 3 * normal(*shape)
    for name in ("softmax", "log_softmax"):
        assert_matches_reference(Call(name, (x,), {"axis": len(shape) - 1}))
    for kind in (np.int64, np.uint8):
        target = np.random.default_rng(2).integers(0, min(shape[-1], 200), shape[:-1]).astype(kind)
        assert_matches_reference(Call("cross_entropy", (x, np.asarray(target))))


def test_softmax_and_cross_entropy_of_extreme_numbers(device_kernel):
    inf, nan = np.inf, np.nan
    x = np.array(
        [[-inf, 0, 0], [-1e30, 1e30, 1e30], [200, -200, 200], [0, inf, 0], [nan, 0, 1], [-inf] * 3], np.float32
    )
    expected = np.array([[0, 0.5, 0.5]] * 2 + [[0.5, 0, 0.5]] + [[nan] * 3] * 3, np.float32)
    for copies in (1, 400):
        repeated, expected_of_repeated = np.tile(x, copies), np.tile(expected, copies) / np.float32(copies)
        np.testing.assert_allclose(device_kernel("softmax")(repeated)[0], expected_of_repeated, rtol=1e-6)
        np.testing.assert_allclose(
            np.exp(device_kernel("log_softmax")(repeated)[0][:3]), expected_of_repeated[:3], rtol=1e-5
        )
        loss, _ = device_kernel("cross_entropy")(repeated, np.array([0, 1, 1, 1, 1, 1]))
        np.testing.assert_allclose(loss[:3], [inf, np.log(2 * copies), 400 + np.log(2 * copies)], rtol=1e-6)
        assert np.isnan(loss[3:]).all()


@pytest.mark.parametrize("wrong", [-1, 5, 1 << 40])
def test_a_class_out_of_range_gives_nan_and_reads_no_memory_outside(device_kernel, wrong):
    y, residuals = device_kernel("cross_entropy")(normal(3, 5), np.array([0, wrong, 4]))
    assert np.isnan(y).tolist() == [False, True, False]
    assert np.isfinite(device_kernel("cross_entropy_backward")(normal(3), *residuals)[0]).all()


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_over_other_axes_is_left_to_the_reference(device_kernel, name):
    x = normal(3, 4, 5)
    y, residuals = device_kernel(name)(x, axis=1)
    np.testing.assert_array_equal(y, getattr(reference, name)(x, axis=1)[0])
    dx = device_kernel(f"{name}_backward")(x, *residuals, axis=1)[0]
    np.testing.assert_array_equal(dx, getattr(reference, f"{name}_backward")(x, y, axis=1)[0])


# Columns


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (9, 1), (7, 8), (700, 3), (3000, 4), (20, 130), (3, 516)], ids=str)
def test_sums_of_columns(assert_matches_reference, shape):
    assert_matches_reference(Call("column_sums", (normal(*shape),)))


# The cases of the CPU that are small enough for the emulator, without one whose only column sums to almost 0.
LAYOUTS = [
    *(case for case in CASES if np.prod(case[0]) < 60_000 and case[0] != (9, 7, 1)),
    ((8, 5, 1), (0, 1), (1,)),
    ((9, 6, 4), (0, 1), (4,)),
    ((3, 1100), (1,), (1100,)),
]


@pytest.mark.parametrize("slope", [1.0, 0.2])
@pytest.mark.parametrize(("shape", "axes", "row"), LAYOUTS)
def test_normalization_of_any_layout(assert_matches_reference, shape, axes, row, slope):
    x, scale, shift = normal(*shape), normal(*row, seed=1), normal(*row, seed=2)
    for affine in ((scale, shift), (scale, None), (None, None)):
        assert_matches_reference(Call("normalize", (x, *affine), {"axes": axes, "eps": 1e-5, "slope": slope}))


def test_normalization_with_scale_and_shift_that_broadcast(device_kernel):
    x, scale, shift = normal(6, 5, 8), normal(1, seed=1), normal(5, 1, seed=2)
    for axes, shifts in (((0,), shift), ((2,), shift[0])):
        static = {"axes": axes, "eps": 1e-5}
        ours, theirs = (
            kernel(x, scale, shifts, **static)[0] for kernel in (device_kernel("normalize"), reference.normalize)
        )
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("shape", "axes", "row"), [case for case in LAYOUTS if len(case[0]) < 5])
def test_a_mean_far_from_zero_costs_no_accuracy(device_kernel, shape, axes, row):
    """Half a unit in the last place of the mean, 1000, is 3e-5, which is about the largest error allowed."""
    x = normal(*shape) + np.float32(1000)
    (y, mean, var), _ = device_kernel("normalize")(x, None, None, axes=axes, eps=1e-5)
    (y64, mean64, var64), _ = reference.normalize(x.astype(np.float64), None, None, axes=axes, eps=1e-5)
    np.testing.assert_allclose(mean, mean64, rtol=6e-8)
    np.testing.assert_allclose(var, var64, rtol=1e-5, atol=1e-8)
    assert (np.abs(y - y64) * np.sqrt(var64 + 1e-5)).max() < 4e-5


def test_an_outlier_in_the_first_row_costs_no_accuracy(device_kernel):
    x = normal(300, 4)
    x[0] = 1e4
    (_, mean, var), _ = device_kernel("normalize")(x, None, None, axes=(0,), eps=1e-5)
    np.testing.assert_allclose(mean[0], x.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(var[0], x.var(axis=0, dtype=np.float64), rtol=1e-6)


# Recurrent networks


def recurrent_call(name: str, sizes: tuple[int, int, int, int], bias: float = 1.0) -> Call:
    """A call for (sequences, steps, inputs, hidden units), with a bias of standard deviation `bias`."""
    batch, steps, channels, hidden = sizes
    columns = hidden * {"lstm": 4, "gru": 3}[name]
    shapes = [(batch, steps, channels), (channels, columns), (hidden, columns), (columns,)]
    shapes += [(batch, hidden), (batch, hidden)] if name == "lstm" else [(hidden,), (batch, hidden)]
    rng = np.random.default_rng(0)
    arguments = [rng.standard_normal(shape, np.float32) for shape in shapes]
    arguments[3] *= np.float32(bias)
    return Call(name, tuple(arguments))


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (5, 1, 3, 20), (2, 11, 7, 5), (3, 4, 13, 17)], ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_recurrent_networks_of_any_size(assert_matches_reference, name, sizes):
    assert_matches_reference(recurrent_call(name, sizes))


@pytest.mark.parametrize("steps", [1, 4])
def test_convolutional_lstm_matches_the_reference(assert_matches_reference, steps):
    assert_matches_reference(conv_lstm_call(3, steps, (5, 2), 6, (2, 3), ((1, 0), (1, 1))))


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_saturated_gates_match_the_reference(device_kernel, name):
    """The sums before the gates are about 100, so errors are relative to the largest result."""
    call = recurrent_call(name, (3, 4, 5, 14), bias=100.0)
    for ours, theirs in zip(call.run_on_copies(device_kernel), call.expected(), strict=True):
        assert np.abs(ours - theirs).max() <= 1e-5 * max(1, np.abs(theirs).max())


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_backward_may_be_called_twice(device_kernel, name):
    arguments = recurrent_call(name, (5, 9, 4, 14)).arguments
    y, residuals = device_kernel(name)(*arguments)
    g = np.ones_like(y[0] if name == "lstm" else y)
    for a, b in zip(*(device_kernel(f"{name}_backward")(g, *residuals) for _ in range(2)), strict=True):
        np.testing.assert_array_equal(a, b)


# Attention


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (8, 33, 5, 40), (35, 7, 70, 3), (3, 4, 300, 200)], ids=str)
def test_attention_of_any_size(assert_matches_reference, sizes, causal):
    """The last ones are more than the shared memory of a block holds."""
    queries, keys, channels, features = sizes
    shapes = (2, queries, channels), (2, keys, channels), (2, keys, features)
    arrays = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    static = {"causal": causal, "scale": channels**-0.5}
    assert_matches_reference(Call("attention", (*arrays, None), static))
    assert_matches_reference(Call("attention", (*arrays, normal(2, 1, keys) < 2), static))


def test_a_query_that_sees_no_key_is_nan_on_the_device(device_kernel):
    query, key = normal(9, 3), normal(40, 3)
    mask = np.ones((9, 40), bool)
    mask[4] = False
    y, _ = device_kernel("attention")(query, key, key, mask, causal=False, scale=1.0)
    assert np.isnan(y).any(axis=1).tolist() == [t == 4 for t in range(9)]


# Updates


def update_call(name: str, sizes, offset: int = 0) -> Call:
    """A call of an update rule with gradients of these sizes; with an offset no array is aligned."""
    size = sum(sizes)
    parameter, gradient, mean, square = normal(4, size + offset, seed=size)[:, offset:]
    gradients = np.split(gradient, np.cumsum(sizes)[:-1])
    states = {"sgd": (mean,), "adagrad": (square**2,), "rmsprop": (square**2,), "adam": (mean, square**2)}[name]
    numbers = np.array((0.7, 1.3, 0.1, 0.9, 0.99, 1.7, 1e-3, 0.2, 0.95), np.float32)
    return Call(name, (parameter, gradients, *states, numbers[: {"adagrad": 5, "adam": 9}.get(name, 6)]))


@pytest.mark.parametrize("sizes", [(1,), (7, 0, 130), (5000, 8), (3,) * 300], ids=lambda sizes: str(len(sizes)))
@pytest.mark.parametrize("name", ["sgd", "adagrad", "rmsprop", "adam"])
def test_updates_from_any_number_of_gradients(assert_matches_reference, name, sizes):
    assert_matches_reference(update_call(name, sizes))
    assert_matches_reference(update_call(name, sizes, offset=1))


@pytest.mark.parametrize("sizes", [(1,), (7, 0, 4100), (3,) * 300], ids=lambda sizes: str(len(sizes)))
def test_norm_and_averages_of_any_number_of_arrays(assert_matches_reference, sizes):
    arrays, others = ([normal(n, seed=i + k) for i, n in enumerate(sizes)] for k in (0, 500))
    assert_matches_reference(Call("norm", (arrays, np.inf)))
    assert_matches_reference(Call("norm", (arrays, 0.5)))
    assert_matches_reference(Call("ema", (arrays, others, 0.9)))


def test_numbers_that_change_between_replays_are_read_from_the_device(device_kernel):
    x, y = normal(2, 10)
    bound, keep = np.float32([0.3]), np.float32([0.25])
    assert device_kernel("norm")([x], bound) == pytest.approx(np.linalg.norm(np.clip(x, -0.3, 0.3)))
    average = runtime.cupy().asarray(x.copy())
    device_kernel("ema")([average], [y], keep)
    np.testing.assert_allclose(average, x + 0.75 * (y - x), rtol=1e-6)


def test_the_norm_is_on_the_device_and_nan_for_values_that_are_not_finite(device_kernel):
    large = np.array([3e30, -4e30], np.float32)
    result = KERNELS["norm"]([runtime.cupy().asarray(large)], np.inf)
    assert (type(result), result.shape) == (runtime.cupy().ndarray, ())
    assert result == pytest.approx(5e30)
    assert device_kernel("norm")([large, np.ones(2, np.float32)], 1.0) == pytest.approx(2)
    assert device_kernel("norm")([np.zeros(3, np.float32)], 1.0) == 0
    for value in (np.nan, np.inf):
        assert np.isnan(device_kernel("norm")([large, np.array([value, 1], np.float32)], 1.0))


@pytest.mark.parametrize("name", ["sgd", "adagrad", "rmsprop", "adam"])
def test_a_nan_in_a_gradient_is_not_clipped(device_kernel, name):
    call = update_call(name, (4,)).with_arrays(lambda array: runtime.cupy().asarray(array.copy()))
    call.arguments[1][0][2] = np.nan
    device_kernel(name)(*call.arguments)
    assert np.isnan(call.arguments[0]).tolist() == [False, False, True, False]


def test_a_decaying_state_becomes_zero(device_kernel):
    xp = runtime.cupy()
    parameter, gradient, mean, square = (xp.asarray(np.full(5, v, np.float32)) for v in (1, 0, 1e-36, 1e-37))
    numbers = np.array([1, np.inf, 1e-3, 0.5, 0.5, 1, 1e-8, 0, 1], np.float32)
    for _ in range(10):
        device_kernel("adam")(parameter, [gradient], mean, square, numbers)
    assert not mean.any()
    assert not square.any()


@pytest.mark.parametrize("gradients", [[3], [4, 2]])
def test_gradients_of_other_sizes_than_the_parameter_are_refused(device_kernel, gradients):
    with pytest.raises(ValueError, match="an update of 5 parameters"):
        device_kernel("sgd")(normal(5), [normal(n) for n in gradients], normal(5), np.ones(6, np.float32))


def test_the_arguments_of_a_launch_of_updates_fit_into_4_kb():
    """4 KB is the limit of CUDA on every device."""
    assert 2 * updates.ADDRESSES.itemsize + updates.CUTS.itemsize + 64 <= 4096
