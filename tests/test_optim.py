"""Update rules against their published equations in plain Python, clipping, state, moving averages, schedules."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend import kernel
from tinygen.errors import CheckpointError, GradientError, NonFiniteError, UsageError
from tinygen.kernels import reference

START = [1.5, -0.7, 0.2, 3.0]
SLOPES = [[0.3, -2.0, 0.0, 1.0], [-0.1, 0.5, 4.0, 1.0], [2.0, 0.01, -1.0, 1.0]]


def parameter(values, dtype="float64"):
    return nn.Parameter(np.array(values, dtype))


def loss_of(p, slopes):
    """A loss whose gradient is p + slopes."""
    return (0.5 * p * p + p * np.array(slopes, p.dtype)).sum()


def trajectory(make, start=START, slopes=SLOPES, dtype="float64"):
    p = parameter(start, dtype)
    optimizer = make([p])
    for each in slopes:
        optimizer.step(loss_of(p, each))
    return p.numpy()


# The equations, one number at a time. Each takes theta, the gradient at theta, its memory and t = 1, 2, ...


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
    actual = trajectory(lambda p: make(p, **options))
    np.testing.assert_allclose(actual, by_equation(equation, options), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("make", "equation", "options"), RULES, ids=IDS)
def test_float32_stays_with_the_equations(make, equation, options):
    slopes = np.random.default_rng(0).standard_normal((30, 4)).tolist()
    actual = trajectory(lambda p: make(p, **options), slopes=slopes, dtype="float32")
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


def gradient_step(gradients, **clip):
    """What a step of plain descent at rate 1 takes away, given these gradients of several parameters."""
    parameters = [parameter(np.zeros(np.shape(g)), np.asarray(g).dtype) for g in gradients]
    optimizer = optim.SGD(parameters, 1.0, **clip)
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = tg.Tensor(np.asarray(g))
    optimizer.step()
    return [-p.numpy() for p in parameters]


def test_clipping_by_norm_is_of_the_whole_gradient():
    a, b = gradient_step([np.array([3.0]), np.array([[0.0, 4.0]])], clip_norm=1.0)
    np.testing.assert_allclose(a, [0.6])
    np.testing.assert_allclose(b, [[0.0, 0.8]])
    (unclipped,) = gradient_step([np.array([3.0, 4.0])], clip_norm=5.0)
    np.testing.assert_array_equal(unclipped, [3.0, 4.0])


def test_clipping_by_value_comes_first():
    (clipped,) = gradient_step([np.array([3.0, -0.5, -7.0])], clip_value=1.0)
    np.testing.assert_array_equal(clipped, [1.0, -0.5, -1.0])
    (both,) = gradient_step([np.array([30.0, 40.0])], clip_value=2.0, clip_norm=1.0)
    np.testing.assert_allclose(both, [math.sqrt(0.5)] * 2)


def test_a_gradient_whose_square_overflows_is_clipped_to_the_bound():
    (clipped,) = gradient_step([np.array([1e20, 2e20, -2e20], np.float32)], clip_norm=3.0)
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


# The kernels, where their work is cut into blocks


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


@pytest.mark.parametrize("rule", ["sgd", "rmsprop", "adam"])
def test_updates_of_many_elements_follow_the_reference(rule):
    rng, buffers = np.random.default_rng(0), {"sgd": 3, "rmsprop": 3, "adam": 4}[rule]
    numbers = np.array([0.7, 1.3, 0.1, 0.9, 0.99, 0.3, 1e-3, 0.2, 0.95][: 3 * buffers - 3], np.float32)
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


# What a step touches


def two_networks():
    tg.seed(0)
    return nn.Linear(3, 3), nn.Linear(3, 1)


def test_a_step_down_a_loss_touches_no_grad_and_no_other_network():
    generator, critic = two_networks()
    generator.weight.grad = marker = tg.tensor(np.full((3, 3), 7.0))
    before = critic.weight.numpy().copy()
    optimizer = optim.SGD(generator, 0.1)
    start = generator.weight.numpy().copy()
    optimizer.step(critic(generator(tg.tensor(np.ones((2, 3))))).sum())
    assert (generator.weight.numpy() != start).all()
    np.testing.assert_array_equal(critic.weight.numpy(), before)
    assert generator.weight.grad is marker
    np.testing.assert_array_equal(marker.numpy(), 7)
    assert critic.weight.grad is critic.bias.grad is generator.bias.grad is None


def test_a_step_down_grad_uses_it_and_clears_it():
    results = []
    for with_loss in (True, False):
        network, _ = two_networks()
        optimizer = optim.Adam(network, 0.1)
        for _ in range(3):
            loss = (network(tg.tensor(np.eye(3))) ** 2).sum()
            if with_loss:
                optimizer.step(loss)
            else:
                loss.backward()
                optimizer.step()
                assert network.weight.grad is network.bias.grad is None
        results.append(network.weight.numpy())
    np.testing.assert_array_equal(*results)


def test_what_gets_no_gradient_is_left_alone_and_counts_its_own_updates():
    """A parameter that misses a step goes on as if it had an optimiser to itself."""
    make = lambda parameters: optim.Adam(parameters, 0.1, weight_decay=0.1)  # noqa: E731
    a, b, alone = parameter([1.0, 2.0]), parameter([3.0]), parameter([3.0])
    both, single = make({"a": a, "b": b}), make([alone])
    for step in range(4):
        if step in (1, 2):
            before = b.numpy().copy(), {k: v.copy() for k, v in both.state_dict().items() if k.startswith("b.")}
            both.step(loss_of(a, [1.0, -1.0]))
            np.testing.assert_array_equal(b.numpy(), before[0])
            for name, array in before[1].items():
                np.testing.assert_array_equal(both.state_dict()[name], array)
        else:
            both.step(loss_of(a, [1.0, -1.0]) + loss_of(b, [2.0]))
            single.step(loss_of(alone, [2.0]))
    assert b.item() == alone.item()
    assert [both.state_dict()[name] for name in ("count", "a.updates", "b.updates")] == [4, 4, 2]


def test_frozen_parameters_do_not_move():
    network, _ = two_networks()
    network.bias.requires_grad = False
    optimizer, before = optim.Adam(network, 0.1, weight_decay=1.0), network.bias.numpy().copy()
    optimizer.step(network(tg.tensor(np.ones((1, 3)))).sum())
    np.testing.assert_array_equal(network.bias.numpy(), before)


def test_a_graph_made_before_the_step_refuses_to_run():
    p = parameter([1.0, 2.0])
    optimizer, old = optim.SGD([p], 0.1), (p * p).sum()
    optimizer.step((p * p).sum())
    with pytest.raises(GradientError, match="changed in place"):
        old.backward()


def test_the_graph_is_kept_where_that_is_asked():
    p, q = parameter([1.0]), parameter([2.0])
    first, second = optim.SGD([p], 1.0), optim.SGD([q], 1.0)
    loss = (p * 3.0 + q * 5.0).sum()
    first.step(loss, retain_graph=True)
    second.step(loss)
    assert (p.item(), q.item()) == (-2.0, -3.0)


def test_parameters_are_views_of_one_buffer():
    network, _ = two_networks()
    optimizer = optim.SGD(network, 0.5)
    assert all(np.shares_memory(p.data, optimizer.flat) for p in network.parameters())
    network.weight.assign(np.zeros((3, 3)))
    optimizer.step(network(tg.tensor(np.ones((1, 3)))).sum())
    np.testing.assert_array_equal(network.weight.numpy(), -0.5)


# Refusals, before anything has changed


@pytest.mark.parametrize("bad", ["loss", "gradient", "grad"])
def test_what_is_not_finite_changes_nothing(bad):
    p, q = parameter([1.0, 0.0]), parameter([2.0])
    optimizer = optim.Adam({"p": p, "q": q}, 0.1, clip_norm=1.0)
    optimizer.step((p * p).sum() + (q * q).sum())
    before = [a.copy() for a in (p.numpy(), q.numpy(), *optimizer.state_dict().values())]
    versions = p.version, q.version
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError) as caught:
        if bad == "loss":
            optimizer.step((p * np.inf).sum() + (q * q).sum())
        elif bad == "gradient":
            optimizer.step((q * q).sum() + (p * 0.0).sqrt().sum())
        else:
            p.grad = tg.Tensor(np.array([np.nan, 0.0]))
            optimizer.step()
    assert str(caught.value) in (
        "the loss is inf",
        "the loss is -inf",
        "the loss is nan",
        "the gradient of 'p' is not finite",
    )
    assert ("loss" in str(caught.value)) == (bad == "loss")
    after = p.numpy(), q.numpy(), *optimizer.state_dict().values()
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (p.version, q.version) == versions


def test_misuse_is_told():
    p = parameter([1.0])
    p.grad = tg.Tensor(np.ones(2))
    with pytest.raises(GradientError, match=r"SGD: '0' \(1,\) has a gradient \(2,\)"):
        optim.SGD([p], 0.1).step()
    with pytest.raises(UsageError, match="SGD: there are no parameters"):
        optim.SGD([], 0.1)
    with pytest.raises(UsageError, match=r"Adam: parameters differ in device or dtype: .*float32.*float64"):
        optim.Adam([p, parameter([1.0], "float32")])
    with pytest.raises(GradientError, match="SGD: the loss depends on nothing"):
        optim.SGD([p], 0.1).step(tg.tensor(1.0, "float64"))
    network, _ = two_networks()
    optimizer = optim.SGD(network, 0.1)
    network.astype("float64")
    with pytest.raises(GradientError, match="SGD: 'weight' was moved or converted; make the optimiser after that"):
        optimizer.step(network(tg.tensor(np.ones((1, 3)), "float64")).sum())


# State


def test_a_restored_optimiser_goes_on_to_the_bit_whatever_its_layout():
    def parameters(order):
        return {name: parameter(START if name == "a" else [[1.0], [2.0]], "float32") for name in order}

    def run(optimizer, named, steps):
        for i in range(steps):
            optimizer.step(loss_of(named["a"], SLOPES[i % 3]) + (named["b"] ** 2).sum())

    first, other = parameters("ab"), parameters("ba")
    optimizer = optim.AdamW(first, lambda step: 0.1 / (step + 1))
    run(optimizer, first, 4)
    state = {name: array.copy() for name, array in optimizer.state_dict().items()}
    assert {name: (array.shape, array.dtype) for name, array in state.items()} == {
        "count": ((), np.int64),
        **{f"{name}.updates": ((), np.int64) for name in "ab"},
        **{f"a.{buffer}": ((4,), np.float32) for buffer in ("mean", "square")},
        **{f"b.{buffer}": ((2, 1), np.float32) for buffer in ("mean", "square")},
    }
    restored = optim.AdamW(other, lambda step: 0.1 / (step + 1))
    for name, p in other.items():
        p.assign(first[name])
    restored.load_state_dict(state)
    run(optimizer, first, 3)
    run(restored, other, 3)
    for name in "ab":
        assert first[name].numpy().tobytes() == other[name].numpy().tobytes()


def test_a_state_of_something_else_is_refused():
    optimizer = optim.Adam({"a": parameter(START)})
    state = optimizer.state_dict()
    with pytest.raises(CheckpointError, match=r"Adam: the state lacks 'a.mean' \(1 missing\)"):
        optimizer.load_state_dict({k: v for k, v in state.items() if k != "a.mean"})
    with pytest.raises(CheckpointError, match=r"Adam: the state has an unknown 'b.mean'"):
        optimizer.load_state_dict({**state, "b.mean": state["a.mean"]})
    with pytest.raises(CheckpointError, match=r"'a.mean' has shape \(3,\) in the state, \(4,\) here"):
        optimizer.load_state_dict({**state, "a.mean": np.zeros(3)})


# Moving averages


def test_moving_average_by_its_equation():
    network, _ = two_networks()
    average, expected = optim.EMA(network, 0.75), network.weight.numpy().astype("float64")
    for value in (1.0, -2.0, 5.0):
        network.weight.assign(np.full((3, 3), value))
        average.update()
        expected = 0.75 * expected + 0.25 * value
    np.testing.assert_allclose(average.averages["weight"], expected, rtol=1e-6)
    np.testing.assert_array_equal(network.weight.numpy(), 5.0)


def test_averages_stand_in_for_the_parameters_and_step_back():
    network, _ = two_networks()
    optimizer, average = optim.SGD(network, 0.1), optim.EMA(network, lambda step: (0.5, 0.0)[step])
    start = network.weight.numpy().copy()
    network.weight.assign(start + 2)
    average.update()
    with pytest.raises(KeyError), average.applied():
        np.testing.assert_allclose(network.weight.numpy(), start + 1, rtol=1e-6)
        raise KeyError
    np.testing.assert_array_equal(network.weight.numpy(), start + 2)
    optimizer.step(network(tg.tensor(np.ones((1, 3)))).sum())
    average.update()
    np.testing.assert_array_equal(average.averages["weight"], network.weight.numpy())


def test_moving_average_state_round_trip():
    network, _ = two_networks()
    average = optim.EMA(network, lambda step: 1 - 1 / (step + 2))
    network.weight.assign(np.ones((3, 3)))
    average.update()
    fresh = optim.EMA(network, average.decay)
    fresh.load_state_dict({name: array.copy() for name, array in average.state_dict().items()})
    network.weight.assign(np.zeros((3, 3)))
    average.update()
    fresh.update()
    assert fresh.count == 2
    assert fresh.averages["weight"].tobytes() == average.averages["weight"].tobytes()
    with pytest.raises(CheckpointError, match="EMA: the state lacks 'bias'"):
        fresh.load_state_dict({"count": np.array(0), "weight": np.zeros((3, 3))})


# Schedules


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (optim.constant(0.3), {0: 0.3, 99: 0.3}),
        (optim.linear(1.0, 0.0, 4), {0: 1, 1: 0.75, 4: 0, 9: 0}),
        (optim.linear(0.0, 2.0, 0), {0: 2, 5: 2}),
        (optim.cosine(1.0, 0.2, 6), {0: 1, 2: 0.8, 3: 0.6, 4: 0.4, 6: 0.2, 60: 0.2}),
        (optim.exponential(8.0, 0.5), {0: 8, 3: 1, 5: 0.25}),
        (optim.piecewise((2, 1.0), (5, 0.1), (7, 0.01)), {0: 1, 2: 1, 4: 1, 5: 0.1, 6: 0.1, 7: 0.01, 99: 0.01}),
        (optim.warmup(4, 0.8), {0: 0.2, 1: 0.4, 3: 0.8, 4: 0.8, 50: 0.8}),
        (optim.warmup(2, optim.linear(1.0, 0.0, 4)), {0: 0.5, 1: 1, 2: 1, 3: 0.75, 6: 0}),
    ],
)
def test_schedules(schedule, values):
    assert {step: schedule(step) for step in values} == pytest.approx(values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: optim.Adam(p), r"write \[parameter\]"),
        (lambda p: optim.Adam([]), "no parameters"),
        (lambda p: optim.Adam([p, p]), "given twice"),
        (lambda p: optim.Adam([p * 2]), "'0' is not a leaf"),
        (lambda p: optim.Adam([tg.tensor([1.0])]), "none of the parameters requires a gradient"),
        (lambda p: optim.Adam([p], -1.0), "lr is -1.0"),
        (lambda p: optim.Adam([p], "fast"), "lr is 'fast'"),
        (lambda p: optim.Adam([p], betas=(1.0, 0.9)), "beta1 is 1.0; .* below 1"),
        (lambda p: optim.SGD([p], 0.1, clip_norm=-1.0), "clip_norm is -1.0"),
    ],
)
def test_what_cannot_be_optimised_is_told(make, message):
    with pytest.raises(UsageError, match=message):
        make(parameter([1.0, 2.0]))


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="learning_rate"):
        optim.Adam([parameter([1.0])], learning_rate=0.1)
