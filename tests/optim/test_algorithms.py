"""Update rules against their equations, with clipping, and their kernels on large arrays."""

import math

import numpy as np
import pytest

import tinygen as tg
from tests.optim.trajectories import SLOPES, START, loss_of, parameter, parameter_after_steps
from tinygen import optim
from tinygen.backend import kernel
from tinygen.kernels import reference

# The equations for one number: each maps theta, the gradient at theta, a dict of states and t = 1, 2, ... to theta.


def sgd(theta, gradient, memory, t, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    """v <- mu v + g, theta <- theta - lr v; Nesterov's form looks ahead: theta <- theta - lr (g + mu v)."""
    g = gradient + weight_decay * theta
    v = memory["v"] = momentum * memory.get("v", 0.0) + g
    return theta - lr * (g + momentum * v if nesterov else v)


def rmsprop(theta, gradient, memory, t, lr, decay=0.99, eps=1e-8, weight_decay=0.0):
    """r <- rho r + (1 - rho) g^2, theta <- theta - lr g / (sqrt(r) + eps)."""
    g = gradient + weight_decay * theta
    r = memory["r"] = decay * memory.get("r", 0.0) + (1 - decay) * g**2
    return theta - lr * g / (math.sqrt(r) + eps)


def adagrad(theta, gradient, memory, t, lr=1e-2, eps=1e-10, weight_decay=0.0):
    """r <- r + g^2, theta <- theta - lr g / (sqrt(r) + eps)."""
    g = gradient + weight_decay * theta
    r = memory["r"] = memory.get("r", 0.0) + g**2
    return theta - lr * g / (math.sqrt(r) + eps)


def adam(theta, gradient, memory, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    """Algorithm 1 of Kingma & Ba: bias-corrected moments, eps after the root."""
    g = gradient + weight_decay * theta
    m = memory["m"] = betas[0] * memory.get("m", 0.0) + (1 - betas[0]) * g
    v = memory["v"] = betas[1] * memory.get("v", 0.0) + (1 - betas[1]) * g**2
    return theta - lr * (m / (1 - betas[0] ** t)) / (math.sqrt(v / (1 - betas[1] ** t)) + eps)


def adamw(theta, gradient, memory, t, lr=1e-3, weight_decay=1e-2, **options):
    """Algorithm 2 of Loshchilov & Hutter: the decay does not pass through the moments."""
    return adam(theta, gradient, memory, t, lr, **options) - lr * weight_decay * theta


RULES = [
    (optim.SGD, sgd, {"lr": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 0.3}),
    (optim.RMSProp, rmsprop, {"lr": 0.1}),
    (optim.RMSProp, rmsprop, {"lr": 0.1, "decay": 0.5, "eps": 0.1, "weight_decay": 0.3}),
    (optim.Adagrad, adagrad, {}),
    (optim.Adagrad, adagrad, {"lr": 0.1, "eps": 0.1, "weight_decay": 0.3}),
    (optim.Adam, adam, {}),
    (optim.Adam, adam, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 0.1}),
    (optim.Adam, adam, {"lr": 0.1, "weight_decay": 0.3}),
    (optim.AdamW, adamw, {"lr": 0.1}),
    (optim.AdamW, adamw, {"lr": 0.1, "betas": (0.5, 0.9), "weight_decay": 0.3}),
]
IDS = [f"{rule.__name__}-{i}" for i, (rule, _, _) in enumerate(RULES)]


def by_equation(rule, options, start=START, slopes=SLOPES):
    result = []
    for i, theta in enumerate(start):
        memory = {}
        for t, each in enumerate(slopes, 1):
            theta = rule(theta, theta + each[i], memory, t, **options)
        result.append(theta)
    return result


@pytest.mark.parametrize(("make", "equation", "options"), RULES, ids=IDS)
def test_three_steps_follow_the_equations(make, equation, options):
    actual = parameter_after_steps(lambda p: make(p, **options))
    np.testing.assert_allclose(actual, by_equation(equation, options), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("make", "equation", "options"), RULES, ids=IDS)
def test_float32_stays_close_to_the_equations(make, equation, options):
    slopes = np.random.default_rng(0).standard_normal((30, 4)).tolist()
    actual = parameter_after_steps(lambda p: make(p, **options), slopes=slopes, dtype="float32")
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, by_equation(equation, options, slopes=slopes), atol=2e-5)


def test_the_defaults_are_the_published_ones():
    p = [parameter([1.0])]
    assert optim.Adam(p).hyper == {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0}
    assert optim.AdamW(p).hyper == {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 1e-2}
    assert optim.RMSProp(p).hyper == {"lr": 1e-2, "decay": 0.99, "eps": 1e-8, "weight_decay": 0}
    assert optim.SGD(p, 0.1).hyper == {"lr": 0.1, "momentum": 0, "weight_decay": 0}


def test_any_hyper_parameter_may_be_a_schedule():
    rates, momenta, bounds = [0.1, 0.2, 0.3], [0.9, 0.5, 0.0], [10.0, 1.0, 0.5]
    p = parameter([2.0])
    optimizer = optim.SGD([p], rates.__getitem__, momentum=momenta.__getitem__, clip_value=bounds.__getitem__)
    theta, v = 2.0, 0.0
    for rate, momentum, bound in zip(rates, momenta, bounds, strict=True):
        assert optimizer.value("lr") == rate
        g = min(max(theta + 1.0, -bound), bound)
        v = momentum * v + g
        theta -= rate * v
        optimizer.step(loss_of(p, [1.0]))
    assert p.item() == pytest.approx(theta, rel=1e-14)


def test_scheduled_betas_reach_adam():
    p, q = parameter([2.0]), parameter([2.0])
    optim.Adam([p], betas=(lambda step: 0.3, lambda step: 0.6)).step(loss_of(p, [1.0]))
    optim.Adam([q], betas=(0.3, 0.6)).step(loss_of(q, [1.0]))
    assert p.item() == q.item() != 2.0


# Clipping


def clipped_gradients(gradients, **clip):
    """The clipped gradients: what a step of SGD at learning rate 1 subtracts from each parameter."""
    parameters = [parameter(np.zeros(np.shape(g)), np.asarray(g).dtype) for g in gradients]
    optimizer = optim.SGD(parameters, 1.0, **clip)
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = tg.Tensor(np.asarray(g))
    optimizer.step()
    return [-p.numpy() for p in parameters]


def test_clipping_by_norm_uses_the_norm_of_all_gradients():
    a, b = clipped_gradients([np.array([3.0]), np.array([[0.0, 4.0]])], clip_norm=1.0)
    np.testing.assert_allclose(a, [0.6])
    np.testing.assert_allclose(b, [[0.0, 0.8]])
    (unclipped,) = clipped_gradients([np.array([3.0, 4.0])], clip_norm=5.0)
    np.testing.assert_array_equal(unclipped, [3.0, 4.0])


def test_clipping_by_value_comes_before_clipping_by_norm():
    (clipped,) = clipped_gradients([np.array([3.0, -0.5, -7.0])], clip_value=1.0)
    np.testing.assert_array_equal(clipped, [1.0, -0.5, -1.0])
    (both,) = clipped_gradients([np.array([30.0, 40.0])], clip_value=2.0, clip_norm=1.0)
    np.testing.assert_allclose(both, [math.sqrt(0.5)] * 2)


def test_a_gradient_whose_square_overflows_is_clipped_to_the_bound():
    (clipped,) = clipped_gradients([np.array([1e20, 2e20, -2e20], np.float32)], clip_norm=3.0)
    np.testing.assert_allclose(clipped, [1, 2, -2], rtol=1e-6)


def test_clipping_comes_before_weight_decay_and_momentum():
    p = parameter([2.0, -4.0], "float32")
    optimizer = optim.SGD([p], 1.0, momentum=0.5, weight_decay=0.25, clip_value=1.0, clip_norm=1.0)
    theta, v, g = np.array([2.0, -4.0]), 0.0, np.array([1.0, -1.0]) / math.sqrt(2)
    for _ in range(3):
        optimizer.step((p * np.array([3.0, -5.0], np.float32)).sum())
        v = 0.5 * v + g + 0.25 * theta
        theta = theta - v
    np.testing.assert_allclose(p.numpy(), theta, rtol=1e-5)


# The kernels, on arrays that are computed in several blocks


SIZES = (5, 0, 20_000, 1, 16_384, 3, 40_001)


def pieces(dtype="float32"):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(n).astype(dtype) for n in SIZES]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bound", [math.inf, 0.5])
@pytest.mark.parametrize("norm", [reference.norm, kernel("norm", "cpu")], ids=["reference", "numba"])
def test_the_norm_is_that_of_all_gradients_together(norm, bound, dtype):
    parts = pieces(dtype)
    expected = np.linalg.norm(np.concatenate(parts).clip(-bound, bound).astype("float64"))
    parts[2] = parts[2].reshape(100, 200).T  # of any shape and layout
    assert norm(parts, bound) == pytest.approx(expected, rel=1e-6)
    for bad in (np.nan, np.inf, -np.inf):
        parts[6][-1] = bad
        assert not math.isfinite(norm(parts, bound))
    parts[6][-1] = 3 * np.sqrt(np.finfo(dtype).max)
    assert norm(parts, math.inf) == pytest.approx(float(parts[6][-1]), rel=1e-6)


@pytest.mark.parametrize("rule", ["sgd", "adagrad", "rmsprop", "adam"])
def test_updates_of_many_elements_follow_the_reference(rule):
    rng, buffers = np.random.default_rng(0), {"sgd": 3, "adagrad": 3, "rmsprop": 3, "adam": 4}[rule]
    count = {"adagrad": 5, "adam": 9}.get(rule, 6)
    numbers = np.array([0.7, 1.3, 0.1, 0.9, 0.99, 0.3, 1e-3, 0.2, 0.95][:count], np.float32)
    parameter, *states = [np.abs(rng.standard_normal(sum(SIZES))).astype("float32") for _ in range(buffers - 1)]
    gradients = pieces()
    gradients[2] = gradients[2].reshape(100, 200).T.copy().T
    fast, slow = [parameter.copy(), *map(np.copy, states)], [parameter.copy(), *map(np.copy, states)]
    kernel(rule, "cpu")(fast[0], gradients, *fast[1:], numbers)
    getattr(reference, rule)(slow[0], gradients, *slow[1:], numbers)
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_averages_of_many_pieces_follow_the_reference(dtype):
    parameters, averages = pieces(dtype), [2 * x for x in pieces(dtype)]
    parameters[2] = parameters[2].reshape(100, 200).T
    averages[2] = averages[2].reshape(200, 100)
    expected = [0.75 * a + 0.25 * p for a, p in zip(averages, parameters, strict=True)]
    kernel("ema", "cpu")(averages, parameters, 0.75)
    for a, b in zip(averages, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
