"""Groups of parameters with hyper-parameters of their own."""

import copy

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, optim
from tinygen.errors import UsageError


def network():
    tg.seed(3)
    return nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 2))


def trained(make, steps=4):
    """The parameters after some steps of an optimiser that `make(network)` made."""
    net = network()
    optimizer = make(net)
    x = tg.tensor(np.random.default_rng(0).standard_normal((6, 4)))
    for _ in range(steps):
        optimizer.step((net(x) ** 2).mean())
    return net, optimizer


def split(net):
    """Weights, and the parameters that are not decayed: biases, and those of norms."""
    return [p for p in net.parameters() if p.ndim > 1], [p for p in net.parameters() if p.ndim < 2]


def grouped(net, **own):
    weights, others = split(net)
    return optim.AdamW([{"parameters": weights}, {"parameters": others, **own}], 0.05, weight_decay=0.3)


def test_a_group_has_its_own_weight_decay_and_the_optimisers_otherwise():
    """Every parameter moves as it would in an optimiser of its own with the group's hyper-parameters."""
    net, optimizer = trained(lambda net: grouped(net, weight_decay=0.0, lr=0.01), steps=1)
    for own, hyper in ((0, {"lr": 0.05, "weight_decay": 0.3}), (1, {"lr": 0.01, "weight_decay": 0.0})):
        alone, _ = trained(lambda net, own=own, hyper=hyper: optim.AdamW(split(net)[own], **hyper), steps=1)
        for actual, expected in zip(split(net)[own], split(alone)[own], strict=True):
            np.testing.assert_allclose(actual.numpy(), expected.numpy(), rtol=1e-6, atol=1e-8)
    assert optimizer.groups == [{}, {"weight_decay": 0.0, "lr": 0.01}]


def test_groups_without_hyper_parameters_of_their_own_change_nothing():
    plain, _ = trained(lambda net: optim.AdamW(net, 0.05, weight_decay=0.3, clip_norm=0.1))
    both, _ = trained(
        lambda net: optim.AdamW([{"parameters": p} for p in split(net)], 0.05, weight_decay=0.3, clip_norm=0.1)
    )
    for a, b in zip(plain.parameters(), both.parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, atol=1e-8)


def test_hyper_parameters_of_groups_may_be_schedules_and_can_be_changed():
    net, optimizer = trained(lambda net: grouped(net, lr=lambda step: 0.0), steps=2)
    start = network()
    for moved, before in zip(split(net)[1], split(start)[1], strict=True):
        np.testing.assert_array_equal(moved.numpy(), before.numpy())
    assert (split(net)[0][0].numpy() != split(start)[0][0].numpy()).any()
    optimizer.lr = 0.0
    optimizer.groups[1]["lr"] = 0.1
    assert (optimizer.value("lr", 0), optimizer.value("lr", 1)) == (0.0, 0.1)
    optimizer.groups[1]["lr"] = -1.0
    with pytest.raises(UsageError, match=r"lr is -1\.0 at step 2"):
        optimizer.value("lr", 1)


def test_the_state_of_groups_is_copied_and_restored():
    net, optimizer = trained(lambda net: grouped(net, weight_decay=0.0))
    other_net = network()
    other = grouped(other_net, weight_decay=0.0)
    assert list(other.parameters) == ["0.0", "0.1", "1.0", "1.1", "1.2", "1.3"]
    other_net.load_state_dict(net.state_dict())
    other.load_state_dict(optimizer.state_dict())
    third_net, third = copy.deepcopy((net, optimizer))
    x = tg.tensor(np.ones((2, 4)))
    for n, o in ((net, optimizer), (other_net, other), (third_net, third)):
        o.step((n(x) ** 2).mean())
    for a, b, c in zip(net.parameters(), other_net.parameters(), third_net.parameters(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        np.testing.assert_array_equal(a.numpy(), c.numpy())


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (lambda w, o: [{"params": w}], '"parameters"'),
        (lambda w, o: [{"parameters": w}, o[0]], "a group is a dict"),
        (lambda w, o: [{"parameters": w, "momentum": 0.9}], "a group has 'momentum'; it can have lr,"),
        (lambda w, o: [{"parameters": w, "lr": -1.0}], r"lr is -1\.0"),
        (lambda w, o: [{"parameters": w}, {"parameters": w}], "given twice"),
        (lambda w, o: [{"parameters": []}], "no parameters"),
    ],
)
def test_groups_that_cannot_be_used_are_refused_in_one_line(groups, message):
    with pytest.raises(UsageError, match=message) as caught:
        optim.AdamW(groups(*split(network())))
    assert "\n" not in str(caught.value)
