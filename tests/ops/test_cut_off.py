"""What is cut off has gradient 0 even where the gradient above is infinite, and 0 log 0 is 0."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen import functional as F
from tinygen.backend import to_device, to_numpy
from tinygen.distributions import Bernoulli, Categorical

INF = math.inf
SIZES = pytest.mark.parametrize("repeats", [1, 3000], ids=["small", "large"])  # large ones have kernels of their own
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def ones(device, dtype, *shape):
    return to_device(np.ones(shape, dtype), device)


def linear(x, slope):
    y = F.linear(x.reshape(-1, 1), ones(x.device, x.dtype, 1, 1), slope=slope)
    return y.reshape(x.shape)


def convolution(x, slope):
    return F.conv2d(x.reshape(1, -1, 1, 1), ones(x.device, x.dtype, 1, 1, 1, 1), slope=slope).reshape(x.shape)


def infinite_gradient(function, values, dtype, device):
    """The gradient of the function where that of its result is infinite everywhere."""
    x = tg.tensor(values, dtype, requires_grad=True, device=device)
    y = function(x)
    return to_numpy(tg.grad(y, x, tg.tensor(np.full(y.shape, INF), dtype, device=device)))


@SIZES
@DTYPES
@pytest.mark.parametrize(
    ("function", "passes"),
    [
        (lambda x: F.clip(x, 0.0, 1.0), [0, 1, 1, 0]),
        (lambda x: F.clip(x, 0.0, None), [0, 1, 1, 1]),
        (lambda x: F.clip(x, high=1.0), [1, 1, 1, 0]),
        (lambda x: F.maximum(x, 0.5), [0, 0, 1, 1]),
        (lambda x: F.minimum(0.5, x), [1, 1, 0, 0]),
        (F.relu, [0, 0, 1, 1]),
        (lambda x: F.leaky_relu(x, slope=0.0), [0, 0, 1, 1]),
        (lambda x: linear(x, 0.0), [0, 0, 1, 1]),
        (lambda x: convolution(x, 0.0), [0, 0, 1, 1]),
        (lambda x: F.abs(x - 1.0), [-1, -1, 0, 1]),
        (lambda x: F.where(x > 0.5, x, 0.0), [0, 0, 1, 1]),
        (lambda x: F.where(x > 0.5, 2.0, x), [1, 1, 0, 0]),
        (F.sign, [0, 0, 0, 0]),
    ],
)
def test_elements_that_are_cut_off_have_gradient_0(function, passes, repeats, dtype, device):
    g = infinite_gradient(function, np.tile([-1.0, 0.0, 1.0, 2.0], repeats), dtype, device)
    expected = np.where(np.equal(passes, 0), 0.0, np.multiply(np.where(passes, passes, 1), INF))
    np.testing.assert_array_equal(g.reshape(repeats, 4), np.tile(expected, (repeats, 1)))


@DTYPES
def test_elements_that_are_no_extremum_have_gradient_0(dtype, device):
    x = np.array([[1.0, 3.0, 2.0], [0.0, -1.0, -1.0]])
    for function, passes in (
        (lambda x: F.max(x, axis=1), [[0, 1, 0], [1, 0, 0]]),
        (lambda x: F.min(x, axis=1), [[1, 0, 0], [0, 1, 1]]),
    ):
        g = infinite_gradient(function, x, dtype, device)
        np.testing.assert_array_equal(g, np.where(passes, INF, 0.0))


@pytest.mark.parametrize("shape", [(8, 3, 3, 4), (40, 200), (3, 7)])
def test_a_normalisation_with_relu_passes_nothing_below_0(shape, device):
    x = tg.tensor(np.random.default_rng(0).standard_normal(shape), requires_grad=True, device=device)
    shift = tg.tensor(np.full(shape[-1], -100.0), requires_grad=True, device=device)
    scale = to_device(np.ones(shape[-1], np.float32), device)
    y = F.batch_norm(x, scale, shift, slope=0.0)
    for g in tg.grad(y, [x, shift], tg.tensor(np.full(shape, INF), device=device)):
        assert not to_numpy(g).any()


@SIZES
def test_a_relu_of_minus_infinity_is_0(repeats, device):
    x = tg.tensor(np.tile([-INF, 1.0], repeats), device=device)
    for function in (F.relu, lambda x: linear(x, 0.0), lambda x: convolution(x, 0.0)):
        np.testing.assert_array_equal(to_numpy(function(x)), np.tile([0.0, 1.0], repeats))


@DTYPES
def test_a_nan_is_not_hidden_by_a_relu(dtype, device):
    x = tg.tensor([math.nan, 1.0], dtype, device=device)
    for function in (F.relu, lambda x: linear(x, 0.0), lambda x: convolution(x, 0.0), lambda x: F.clip(x, 0.0, 1.0)):
        assert np.isnan(to_numpy(function(x))).tolist() == [True, False]


@DTYPES
def test_powers_at_0_have_the_limits_of_their_gradients(dtype, device):
    a = tg.tensor([0.0, 0.0, 0.0, 2.0], dtype, requires_grad=True, device=device)
    b = tg.tensor([2.0, 1.0, 0.0, 3.0], dtype, requires_grad=True, device=device)
    da, db = tg.grad((a**b).sum(), [a, b], create_graph=True)
    np.testing.assert_allclose(to_numpy(da), [0, 1, 0, 12])
    np.testing.assert_allclose(to_numpy(db), [0, 0, 0, 8 * math.log(2)], rtol=1e-6)
    second = to_numpy(tg.grad(db.sum(), a))  # d/da of a^b log(a) is a^(b - 1) (1 + b log(a))
    np.testing.assert_allclose(second[[0, 3]], [0, 4 * (1 + 3 * math.log(2))], rtol=1e-6)
    np.testing.assert_array_equal(to_numpy(tg.grad((0.0**b).sum(), b)), np.zeros(4))


# 0 log 0


def categorical_kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a)


@DTYPES
def test_a_categorical_divergence_skips_masked_classes(dtype, device):
    own = tg.tensor([[0.0, 0.0, -INF], [0.0, -INF, -INF]], dtype, requires_grad=True, device=device)
    other = tg.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, -INF]], dtype, requires_grad=True, device=device)
    kl = Categorical(own).kl(Categorical(other))
    q = np.exp([0.0, 1.0, 2.0]) / np.exp([0.0, 1.0, 2.0]).sum()
    np.testing.assert_allclose(to_numpy(kl), [categorical_kl([0.5, 0.5, 0], q), math.log(2)], rtol=1e-6)
    d_own, d_other = map(to_numpy, tg.grad(kl.sum(), [own, other]))
    np.testing.assert_allclose(d_own, [[0.25, -0.25, 0], [0, 0, 0]], atol=1e-6)  # p (log(p / q) - KL)
    np.testing.assert_allclose(d_other, [q - [0.5, 0.5, 0], [-0.5, 0.5, 0]], rtol=1e-5)  # q - p


@DTYPES
def test_a_bernoulli_divergence_skips_impossible_outcomes(dtype, device):
    own = tg.tensor([INF, -INF, -INF, 0.0], dtype, requires_grad=True, device=device)
    other = tg.tensor([1.0, 1.0, -INF, 1.0], dtype, requires_grad=True, device=device)
    kl = Bernoulli(own).kl(Bernoulli(other))
    one = 1 / (1 + math.exp(-1))
    half = categorical_kl([0.5, 0.5], [one, 1 - one])
    np.testing.assert_allclose(to_numpy(kl), [-math.log(one), -math.log(1 - one), 0, half], rtol=1e-6)
    d_own, d_other = map(to_numpy, tg.grad(kl.sum(), [own, other]))
    np.testing.assert_allclose(d_own, [0, 0, 0, -0.25], atol=1e-6)  # p (1 - p) (own - other)
    np.testing.assert_allclose(d_other, [one - 1, one, 0, one - 0.5], atol=1e-6)  # q - p


@SIZES
@DTYPES
def test_a_cross_entropy_of_certain_logits_is_0_where_they_are_right(repeats, dtype, device):
    logits = tg.tensor(np.tile([-INF, INF, -INF, 0.0], repeats), dtype, requires_grad=True, device=device)
    target = tg.tensor(np.tile([0.0, 1.0, 1.0, 1.0], repeats), dtype, device=device)
    y = F.binary_cross_entropy_with_logits(logits, target)
    np.testing.assert_allclose(to_numpy(y), np.tile([0, 0, INF, math.log(2)], repeats), rtol=1e-6)
    g = tg.grad(y, logits, tg.tensor(np.ones(y.shape), dtype, device=device), create_graph=True)
    np.testing.assert_allclose(to_numpy(g), np.tile([0, 0, -1, -0.5], repeats))
    np.testing.assert_allclose(to_numpy(tg.grad(g.sum(), logits))[[0, 1, 3]], [0, 0, 0.25])


@DTYPES
def test_masked_logits_have_gradient_0(dtype, device):
    x = tg.tensor([[-INF, 0.0, 1.0], [-INF, -INF, 3.0]], dtype, requires_grad=True, device=device)
    p = 1 / (1 + math.exp(-1))
    expected = [[0, 1 - p, p], [0, 0, 1]]
    target = to_device(np.array([1, 2]), device)
    onehot = np.array([[0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(to_numpy(tg.grad(F.logsumexp(x, axis=1).sum(), x)), expected, rtol=1e-6)
    g = to_numpy(tg.grad(F.cross_entropy(x, target).sum(), x))
    np.testing.assert_allclose(g, np.subtract(expected, onehot), atol=1e-6)
    nothing = tg.tensor([[-INF, -INF]], dtype, requires_grad=True, device=device)
    assert not to_numpy(tg.grad(F.logsumexp(nothing, axis=1).sum(), nothing)).any()


@DTYPES
@pytest.mark.parametrize("function", [F.floor, F.ceil, F.trunc, F.round, lambda x: x // 2.0, lambda x: 2.0 // x])
def test_what_is_rounded_has_gradient_0(function, dtype, device):
    x = tg.tensor([0.5, -1.7, 3.0], dtype, requires_grad=True, device=device)
    above = tg.tensor([INF, -INF, np.nan], dtype, device=device)
    assert not to_numpy(tg.grad(function(x), x, above)).any()
