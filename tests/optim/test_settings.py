"""Hyper-parameters that are set after the optimiser was made, and those that are out of range."""

import math

import numpy as np
import pytest

from tests.optim.trajectories import parameter, two_networks
from tinygen import nn, optim
from tinygen.errors import UsageError


def moved(optimizer, p, **settings):
    """How far a parameter at 1 moves in one step down the slope 1, with settings made after the construction."""
    for name, value in settings.items():
        setattr(optimizer, name, value)
    optimizer.step((p * 1.0).sum())
    return 1 - p.numpy().item()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"lr": 0.0}, 0.0),
        ({"lr": lambda step: 0.25}, 0.25),
        ({"lr": np.float32(0.5)}, 0.5),
        ({"weight_decay": 0.5}, 0.1 * 1.5),
        ({"clip_norm": 0.5}, 0.05),
        ({"clip_value": np.float64(0.25)}, 0.025),
    ],
)
def test_a_hyper_parameter_that_is_set_applies_from_the_next_step(settings, expected):
    p = parameter([1.0])
    assert moved(optim.SGD([p], 0.1), p, **settings) == pytest.approx(expected, abs=1e-12)


def test_momentum_and_betas_apply_from_the_next_step():
    p, q = parameter([1.0]), parameter([1.0])
    sgd, adam = optim.SGD([p], 0.1, momentum=0.9), optim.Adam([q], 0.1)
    moved(sgd, p)
    assert 0.9 - p.numpy().item() == pytest.approx(0, abs=1e-12)
    moved(sgd, p, momentum=0.0)
    assert p.numpy().item() == pytest.approx(0.8)
    adam.betas = 0.5, np.float32(0.25)
    assert (adam.beta1, adam.beta2, adam.betas) == (0.5, 0.25, (0.5, 0.25))
    for _ in range(2):
        adam.step((q * q).sum())
    # Algorithm 1 of Adam with g = 2, then 1.8: m' = (0.5 + 0.9) / 0.75 and v' = 3.18 / 0.9375.
    second = 0.1 * (1.4 / 0.75) / math.sqrt(3.18 / 0.9375)
    assert q.numpy().item() == pytest.approx(0.9 - second, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", -1.0, "SGD: lr is -1.0; it must be a schedule or a number of at least 0"),
        ("lr", math.nan, "SGD: lr is nan"),
        ("lr", True, "SGD: lr is True"),
        ("momentum", 1.0, "SGD: momentum is 1.0; .* at least 0 and below 1"),
        ("clip_norm", -1, "SGD: clip_norm is -1"),
        ("learning_rate", 0.1, "SGD has no learning_rate; it has lr, momentum, weight_decay, which can be set"),
        ("betas", (0.9, 0.999), "SGD has no betas"),
        ("param_groups", [], "SGD has no param_groups"),
    ],
)
def test_a_setting_without_effect_or_out_of_range_is_refused(name, value, message):
    optimizer = optim.SGD([parameter([1.0])], 0.1)
    with pytest.raises(UsageError, match=message):
        setattr(optimizer, name, value)
    assert optimizer.lr == 0.1


@pytest.mark.parametrize("betas", [0.9, (0.9,), (0.9, 0.99, 0.999)])
def test_adam_takes_two_betas(betas):
    with pytest.raises(UsageError, match=r"Adam: betas is .*; give two numbers"):
        optim.Adam([parameter([1.0])], betas=betas)


@pytest.mark.parametrize("value", [-0.1, math.nan, 1.0])
def test_a_schedule_out_of_range_is_refused_when_it_is_reached(value):
    p = parameter([1.0])
    optimizer = optim.SGD([p], 0.1, momentum=lambda step: (0.5, value)[step])
    optimizer.step((p * p).sum())
    with pytest.raises(UsageError, match=f"SGD: momentum is {value} at step 1; it must be at least 0 and below 1"):
        optimizer.step((p * p).sum())


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5, math.nan])
def test_a_moving_average_whose_decay_is_no_fraction_is_refused(decay):
    network, _ = two_networks()
    with pytest.raises(UsageError, match=f"EMA: decay is {decay}"):
        optim.EMA(network, decay)
    average = optim.EMA(network, lambda step: decay)
    with pytest.raises(UsageError, match=f"EMA: at update 0 decay is {decay}"):
        average.update()


class Counted(nn.Module):
    """Its parameter has the name of a number in the state of a moving average."""

    def __init__(self):
        self.count = nn.Parameter(np.ones(2, np.float32))


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.piecewise(),
        lambda: optim.piecewise((0, 0.1), (20, 0.01), (10, 0.05)),
        lambda: optim.piecewise((0, 0.1), (0, 0.05)),
        lambda: optim.linear(0.1, math.nan, 10),
        lambda: optim.cosine(0.1, 0.0, -1),
        lambda: optim.warmup(-5, 0.1),
        lambda: optim.warmup(5, math.inf),
        lambda: optim.constant(None),
        lambda: optim.SGD([parameter([1.0])], 0.1, nesterov=True),
        lambda: optim.EMA(Counted()),
    ],
)
def test_a_setting_that_means_nothing_is_refused(make):
    with pytest.raises(UsageError):
        make()
