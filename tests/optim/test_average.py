"""Moving averages of parameters."""

import numpy as np
import pytest

import tinygen as tg
from tests.optim.trajectories import two_networks
from tinygen import optim
from tinygen.errors import CheckpointError


def test_a_moving_average_follows_its_equation():
    network, _ = two_networks()
    average, expected = optim.EMA(network, 0.75), network.weight.numpy().astype("float64")
    for value in (1.0, -2.0, 5.0):
        network.weight.assign(np.full((3, 3), value))
        average.update()
        expected = 0.75 * expected + 0.25 * value
    np.testing.assert_allclose(average.averages["weight"], expected, rtol=1e-6)
    np.testing.assert_array_equal(network.weight.numpy(), 5.0)


def test_averages_replace_the_parameters_in_applied_and_parameters_are_restored():
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


def test_a_restored_moving_average_continues_exactly():
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
