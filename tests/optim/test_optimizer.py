"""Optimisers: what a step changes, what it refuses, and the state that is saved."""

import numpy as np
import pytest

import tinygen as tg
from tests.optim.trajectories import SLOPES, START, loss_of, parameter, two_networks
from tinygen import optim
from tinygen.errors import CheckpointError, GradientError, NonFiniteError, UsageError

# What a step changes


def test_a_step_on_a_loss_changes_no_grad_and_no_other_network():
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


def test_a_step_without_a_loss_uses_grad_and_clears_it():
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


def test_a_parameter_without_gradient_is_unchanged_and_counts_its_own_updates():
    """A parameter that misses steps is updated as by an optimiser of its own."""
    make = lambda parameters: optim.Adam(parameters, 0.1, weight_decay=0.1)  # noqa: E731
    a, b, with_own_optimizer = parameter([1.0, 2.0]), parameter([3.0]), parameter([3.0])
    both, single = make({"a": a, "b": b}), make([with_own_optimizer])
    for step in range(4):
        if step in (1, 2):
            before = b.numpy().copy(), {k: v.copy() for k, v in both.state_dict().items() if k.startswith("b.")}
            both.step(loss_of(a, [1.0, -1.0]))
            np.testing.assert_array_equal(b.numpy(), before[0])
            for name, array in before[1].items():
                np.testing.assert_array_equal(both.state_dict()[name], array)
        else:
            both.step(loss_of(a, [1.0, -1.0]) + loss_of(b, [2.0]))
            single.step(loss_of(with_own_optimizer, [2.0]))
    assert b.item() == with_own_optimizer.item()
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


def test_retain_graph_keeps_the_graph_for_another_step():
    p, q = parameter([1.0]), parameter([2.0])
    first, second = optim.SGD([p], 1.0), optim.SGD([q], 1.0)
    loss = (p * 3.0 + q * 5.0).sum()
    first.step(loss, retain_graph=True)
    second.step(loss)
    assert (p.item(), q.item()) == (-2.0, -3.0)


def test_parameters_are_views_of_one_buffer():
    network, _ = two_networks()
    optimizer = optim.SGD(network, 0.5)
    assert {id(p.data.base) for p in network.parameters()} == {id(network.weight.data.base)}
    network.weight.assign(np.zeros((3, 3)))
    optimizer.step(network(tg.tensor(np.ones((1, 3)))).sum())
    np.testing.assert_array_equal(network.weight.numpy(), -0.5)


# Refusals, before anything has changed


@pytest.mark.parametrize("bad", ["loss", "gradient", "grad"])
def test_a_loss_or_gradient_that_is_not_finite_changes_nothing(bad):
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


def test_misuse_is_refused_with_a_remedy():
    p = parameter([1.0])
    p.grad = tg.Tensor(np.ones(2))
    with pytest.raises(GradientError, match=r"SGD: '0' float64 \(1,\) has a gradient float64 \(2,\)"):
        optim.SGD([p], 0.1).step()
    with pytest.raises(UsageError, match="SGD: there are no parameters"):
        optim.SGD([], 0.1)
    with pytest.raises(UsageError, match=r"Adam: parameters differ in device or dtype: .*float32.*float64"):
        optim.Adam([p, parameter([1.0], "float32")])
    with pytest.raises(GradientError, match="SGD: the loss depends on nothing"):
        optim.SGD([p], 0.1).step(tg.tensor(1.0, "float64"))


# State


def test_a_restored_optimiser_continues_to_the_bit_for_any_order_of_parameters():
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


def test_a_state_that_does_not_fit_is_refused():
    optimizer = optim.Adam({"a": parameter(START)})
    state = optimizer.state_dict()
    with pytest.raises(CheckpointError, match=r"Adam: the state lacks 'a.mean' \(1 missing\)"):
        optimizer.load_state_dict({k: v for k, v in state.items() if k != "a.mean"})
    with pytest.raises(CheckpointError, match=r"Adam: the state has an unknown 'b.mean'"):
        optimizer.load_state_dict({**state, "b.mean": state["a.mean"]})
    with pytest.raises(CheckpointError, match=r"'a.mean' has shape \(3,\) in the state, \(4,\) here"):
        optimizer.load_state_dict({**state, "a.mean": np.zeros(3)})
