"""L-BFGS on functions whose minimum is known."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, optim
from tinygen.errors import GradientError, NonFiniteError, UsageError


def leaf(values):
    return tg.tensor(values, "float64", requires_grad=True)


def test_a_quadratic_function_is_minimised_to_its_solution(device):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((6, 6))
    a, b = a @ a.T + 0.1 * np.eye(6), rng.standard_normal((6, 1))
    x = tg.tensor(np.zeros((6, 1)), "float64", requires_grad=True, device=device)
    matrix, right = (tg.tensor(v, "float64", device=device) for v in (a, b))
    optimizer = optim.LBFGS([x], iterations=60, tolerance=1e-10)
    loss = optimizer.step(lambda: (0.5 * x * (matrix @ x) - right * x).sum())
    solution = np.linalg.solve(a, b)
    np.testing.assert_allclose(x.numpy(), solution, rtol=1e-6, atol=1e-8)
    assert loss == pytest.approx(-0.5 * (b * solution).sum())


def test_rosenbrocks_valley_is_followed_to_its_end():
    x, y = leaf(-1.2), leaf(1.0)
    optimizer = optim.LBFGS({"x": x, "y": y}, iterations=10)
    losses = [optimizer.step(lambda: (1 - x) ** 2 + 100 * (y - x * x) ** 2) for _ in range(10)]
    assert losses[-1] < 1e-15 and losses == sorted(losses, reverse=True)
    assert (x.item(), y.item()) == (pytest.approx(1, abs=1e-6), pytest.approx(1, abs=1e-6))


def test_a_network_is_fitted_and_continues_from_a_state():
    tg.seed(0)
    rng = np.random.default_rng(1)
    x = tg.tensor(rng.standard_normal((40, 2)))
    target = tg.tensor(np.sin(x.numpy().sum(1, keepdims=True)))

    def make():
        tg.seed(4)
        net = nn.Sequential(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 1))
        return net, optim.LBFGS(net, iterations=5, history=4)

    net, optimizer = make()

    def loss():
        return ((net(x) - target) ** 2).mean()

    before = loss().item()
    for _ in range(10):
        after = optimizer.step(loss)
    assert after < 0.01 * before and after == pytest.approx(loss().item(), rel=1e-5)
    other, restored = make()
    other.load_state_dict(net.state_dict())
    restored.load_state_dict(optimizer.state_dict())
    assert restored.step(lambda: ((other(x) - target) ** 2).mean()) == optimizer.step(loss)


def test_a_loss_that_overflows_along_the_way_is_stepped_back_from():
    x = leaf(2.0)
    optim.LBFGS([x], 1000.0).step(lambda: x.exp() - 3 * x)
    assert x.item() == pytest.approx(math.log(3), abs=1e-6)


def test_what_cannot_be_minimised_is_refused():
    x = leaf(1.0)
    with pytest.raises(UsageError, match=r"step\(lambda: \.\.\.\)"):
        optim.LBFGS([x]).step((x * x).sum())
    with pytest.raises(GradientError, match="returns a loss"):
        optim.LBFGS([x]).step(lambda: tg.tensor(1.0))
    with pytest.raises(NonFiniteError, match="the loss is nan"):
        optim.LBFGS([x]).step(lambda: x * math.nan)
    assert x.item() == 1
    with pytest.raises(UsageError, match="lr is 0"):
        optim.LBFGS([x], 0)
    with pytest.raises(UsageError, match="history"):
        optim.LBFGS([x], history=0)
