"""Where parameters lie: copies of a model with its optimiser, parameters that were moved, shared or replaced."""

import copy
import pickle

import numpy as np
import pytest

import tinygen as tg
from tests.optim.trajectories import SLOPES, START, loss_of, parameter, two_networks
from tests.test_devices import OPTIMIZERS
from tinygen import nn, optim
from tinygen.errors import GradientError, UsageError

COPIES = pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])


def adam(parameters):
    return optim.Adam(parameters, optim.warmup(2, optim.cosine(0.1, 0.0, 9)), clip_norm=1.0)


class Learner(nn.Module):
    """A network, its optimiser, and an average of its weights."""

    def __init__(self, make_optimizer=adam):
        self.network = nn.Sequential(*two_networks())
        self.optimizer = make_optimizer(self.network)
        self.average = optim.EMA(self.network, optim.linear(0.5, 0.9, 4))

    def step(self):
        x = np.arange(6).reshape(2, 3) / 7
        dtype = self.network.parameters()[0].dtype
        self.optimizer.step((self.network(tg.tensor(x, dtype)) ** 2).sum())
        self.average.update()

    def bytes(self):
        return {name: array.tobytes() for name, array in self.state_dict().items()}


@COPIES
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_copy_of_a_model_with_its_optimiser_learns_as_the_original_would(name, duplicate):
    learner = Learner(OPTIMIZERS[name])
    learner.step()
    other, at_copy = duplicate(learner), learner.bytes()
    learner.step()
    assert other.bytes() == at_copy, "the copy shares no memory"
    other.step()
    assert other.bytes() == learner.bytes() != at_copy


@COPIES
def test_a_copy_keeps_what_its_parts_share(duplicate):
    """A parameter of two networks and two optimisers is one parameter in the copy, too."""
    shared, own = parameter(START), parameter(START)
    pair = {"all": adam([shared, own]), "one": adam([shared]), "shared": [shared, own]}
    other = duplicate(pair)
    for each in (pair, other):
        p, q = each["shared"]
        for slopes in SLOPES:
            each["all"].step(loss_of(p, slopes) + loss_of(q, slopes))
            each["one"].step(loss_of(p, slopes))
    for p, q in zip(pair["shared"], other["shared"], strict=True):
        assert p.numpy().tobytes() == q.numpy().tobytes()
        assert not np.shares_memory(p.numpy(), q.numpy())


@pytest.mark.parametrize("order", [("both", "one"), ("one", "both")])
def test_a_parameter_of_two_optimisers_is_updated_by_each(order):
    """Gradient descent on two losses in turn, as the same subtractions in NumPy."""
    shared, own, rate = parameter(START), parameter(START), 0.1
    members = {"both": [own, shared], "one": [shared]}
    optimizers = {name: optim.SGD(members[name], rate) for name in order}
    values = {p: p.numpy().copy() for p in (shared, own)}
    for slopes in SLOPES:
        for name in order:
            optimizers[name].step(sum(loss_of(p, slopes) for p in members[name]))
            for p in members[name]:
                values[p] -= rate * (values[p] + slopes)
    for p, expected in values.items():
        np.testing.assert_allclose(p.numpy(), expected, rtol=1e-14)


def test_a_model_that_is_converted_goes_on_with_its_optimiser():
    one, other = Learner(), Learner()
    for _ in range(2):
        one.step()
        other.step()
    one.network.astype("float64")
    one.step()
    other.step()
    assert {array.dtype for array in one.optimizer.state.values()} == {np.dtype("float64")}
    for p, q in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert p.dtype == np.float64
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-5, atol=1e-6)
    for name, average in one.average.averages.items():
        assert average.dtype == np.float64
        np.testing.assert_allclose(average, other.average.averages[name], rtol=1e-5, atol=1e-6)


def test_a_parameter_with_another_array_is_still_the_one_that_learns():
    p, q = parameter(START), parameter(START)
    optimizer = optim.SGD([p, q], 0.5)
    p.data = np.zeros(4)
    optimizer.step(loss_of(p, SLOPES[0]) + loss_of(q, SLOPES[0]))
    np.testing.assert_allclose(p.numpy(), -0.5 * np.array(SLOPES[0]))
    np.testing.assert_allclose(q.numpy(), np.array(START) - 0.5 * (np.array(START) + SLOPES[0]))


def test_a_model_of_which_a_part_was_converted_is_refused():
    learner = Learner()
    learner.network.layers[0].astype("float64")
    learner.network.layers[0].weight.grad = tg.tensor(np.ones((3, 3)), "float64")
    with pytest.raises(UsageError, match=r"Adam: parameters differ in device or dtype: .*float32.*float64"):
        learner.optimizer.step()


def test_a_gradient_from_before_a_conversion_is_refused():
    learner = Learner()
    learner.network.layers[0].bias.grad = tg.tensor(np.ones(3))
    learner.network.astype("float64")
    with pytest.raises(GradientError, match=r"'layers.0.bias' float64 \(3,\) has a gradient float32 \(3,\)"):
        learner.optimizer.step()


def test_an_optimiser_of_a_replaced_parameter_says_so():
    for replace in (
        lambda network: setattr(network.layers[1], "weight", nn.Parameter(np.ones((3, 1), np.float32))),
        lambda network: setattr(network, "layers", [network.layers[0], nn.Linear(3, 1)]),
    ):
        learner = Learner()
        replace(learner.network)
        with pytest.raises(GradientError, match=r"'layers.1.weight' was replaced in its module; make the optimiser"):
            learner.step()


def test_a_parameter_that_is_replaced_in_one_place_and_used_in_another_learns():
    encoder, decoder = nn.Linear(3, 3), nn.Linear(3, 3)
    decoder.weight = encoder.weight
    optimizer, before = optim.SGD([encoder.weight], 0.1), encoder.weight.numpy().copy()
    decoder.weight = nn.Parameter(np.ones((3, 3), np.float32))
    optimizer.step(encoder(np.ones((1, 3), np.float32)).sum())
    np.testing.assert_allclose(encoder.weight.numpy(), before - np.float32(0.1), rtol=1e-6)


def test_a_result_is_not_copied_with_its_graph():
    y = parameter(START) * 2.0
    with pytest.raises(GradientError, match=r"multiply: its result cannot be copied or pickled with its graph; detach"):
        copy.deepcopy(y)
    np.testing.assert_array_equal(copy.deepcopy(y.detach()).numpy(), y.numpy())


@COPIES
def test_a_copy_of_a_leaf_has_its_gradient(duplicate):
    p = parameter(START)
    (p * p).sum().backward()
    other = duplicate(p)
    assert type(other) is nn.Parameter
    assert other.requires_grad
    np.testing.assert_array_equal(other.grad.numpy(), p.grad.numpy())
    assert not np.shares_memory(other.grad.numpy(), p.grad.numpy())
