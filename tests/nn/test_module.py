"""Modules: names, state, modes, dtype and device of their parts."""

from collections import deque

import numpy as np
import pytest

import tinygen as tg
from tests.nn.arrays import real
from tinygen import functional as F
from tinygen import nn, optim
from tinygen.errors import CheckpointError, DtypeError, UsageError


class Block(nn.Module):
    """A module with every kind of attribute that a module may have."""

    def __init__(self):
        self.first = nn.Linear(2, 3)
        self.free = nn.Parameter(np.zeros(4, np.float32))
        self.many = [nn.Linear(3, 3), nn.Parameter(np.ones(2, np.float32)), "not a part"]
        self.tied = self.first
        self.norm = nn.BatchNorm(3)
        self.counter = np.zeros((), np.int64)
        self.width = 3
        self.optimizer = optim.SGD(self, 0.1, momentum=0.9)
        self.average = optim.EMA(self)

    def forward(self, x):
        return self.norm(self.many[0](self.first(x))) + self.free[:3] * self.many[1][0]


PARAMETERS = "first.weight first.bias free many.0.weight many.0.bias many.1 norm.scale norm.shift".split()


def test_parameters_are_named_in_order_and_once():
    block = Block()
    assert list(block.named_parameters()) == PARAMETERS
    assert block.named_parameters()["first.weight"] is block.first.weight
    assert [p is q for p, q in zip(block.parameters(), block.named_parameters().values(), strict=True)] == [True] * 8
    assert {type(module).__name__ for module in block.modules()} == {"Block", "Linear", "BatchNorm"}


def test_the_state_has_parameters_buffers_counters_optimisers_and_averages():
    block = Block()
    state = block.state_dict()
    assert set(state) == {
        *PARAMETERS,
        *("tied.weight", "tied.bias", "norm.running_mean", "norm.running_var", "counter"),
        *(f"optimizer.{name}.{buffer}" for name in PARAMETERS for buffer in ("velocity", "updates")),
        *(f"average.{name}" for name in PARAMETERS),
        *("optimizer.count", "average.count"),
    }
    assert state["counter"].shape == ()
    assert state["many.1"] is block.many[1].data


def train(block, steps):
    for _ in range(steps):
        block.optimizer.step((block(tg.tensor(real(6, 2))) ** 2).mean())
        block.average.update()
        block.counter += 1
    return block


def test_a_module_with_a_loaded_state_continues_to_the_bit():
    trained = train(Block(), 3)
    fresh = Block()
    views = fresh.parameters()
    fresh.load_state_dict({name: array.copy() for name, array in trained.state_dict().items()})
    assert all(p is q for p, q in zip(views, fresh.parameters(), strict=True)), "loaded in place"
    assert fresh.counter == 3
    train(trained, 2)
    train(fresh, 2)
    for name, array in trained.state_dict().items():
        assert array.tobytes() == fresh.state_dict()[name].tobytes(), name


def test_a_state_that_does_not_fit_changes_nothing():
    block, other = Block(), train(Block(), 1).state_dict()
    before = {name: array.copy() for name, array in block.state_dict().items()}
    lacking = {name: array for name, array in other.items() if not name.startswith("average.free")}
    for state, message in [
        (lacking, r"Block: the state lacks 'average.free' \(1 missing\)"),
        ({**other, "z": np.zeros(1)}, r"Block: the state has an unknown 'z' \(1 unknown\)"),
        ({**other, "norm.running_var": np.zeros(4)}, r"'norm.running_var' has shape \(4,\) in the state, \(3,\) here"),
    ]:
        with pytest.raises(CheckpointError, match=message) as caught:
            block.load_state_dict(state)
        assert "\n" not in str(caught.value)
    for name, array in block.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_train_and_eval_set_the_mode_of_every_part():
    block = Block()
    assert all(module.training for module in block.modules())
    assert block.eval() is block
    assert not any(module.training for module in block.modules())
    block.train()
    assert block.many[0].training
    assert block.norm.training


def test_requires_grad_false_freezes_all_parameters():
    block = Block().requires_grad(False)
    assert not block.eval()(tg.tensor(real(2, 2))).requires_grad
    assert block.requires_grad()(tg.tensor(real(2, 2))).requires_grad


def test_astype_converts_floats_and_keeps_integer_counters():
    block = Block().astype("float64")
    assert {p.dtype.name for p in block.parameters()} == {"float64"}
    assert (block.norm.running_mean.dtype, block.counter.dtype) == (np.float64, np.int64)
    assert block(tg.tensor(real(2, 2), "float64")).dtype == np.float64
    assert block.to("cpu") is block
    with pytest.raises(DtypeError, match="int32"):
        block.astype("int32")


def test_summary_and_repr_are_tables():
    network = nn.Sequential(nn.Linear(20, 64), F.relu, nn.Sequential(nn.BatchNorm(64)))
    assert network.summary().splitlines() == [
        "layers.0.weight          (20, 64)  1,280",
        "layers.0.bias            (64,)        64",
        "layers.2.layers.0.scale  (64,)        64",
        "layers.2.layers.0.shift  (64,)        64",
        "total                              1,472",
    ]
    assert repr(network).splitlines() == [
        "Sequential(1,472 parameters)",
        "  layers.0: Linear(1,344 parameters)",
        "  layers.2: Sequential(128 parameters)",
        "    layers.0: BatchNorm(128 parameters)",
    ]


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty defines no forward"):
        Empty()(1)


def test_parameters_in_containers_in_containers_are_found():
    class Nested(nn.Module):
        def __init__(self):
            self.grid = [[nn.Linear(1, 1), F.relu], ({"last": nn.Parameter(np.ones(1, np.float32))},)]
            self.heads = {"a": deque([nn.BatchNorm(2)])}
            self.empty = [[], {}]

    nested = Nested()
    assert list(nested.named_parameters()) == [
        "grid.0.0.weight",
        "grid.0.0.bias",
        "grid.1.0.last",
        "heads.a.0.scale",
        "heads.a.0.shift",
    ]
    assert set(nested.state_dict()) >= {"grid.1.0.last", "heads.a.0.running_mean"}
    assert not nested.eval().heads["a"][0].training


def test_parameters_in_a_set_are_refused():
    module = nn.Module()
    module.layers = {nn.Linear(1, 1)}
    with pytest.raises(UsageError, match=r"Module: layers is a set, which has no order; keep a Linear in a list"):
        module.parameters()


@pytest.mark.parametrize("value", [np.zeros((2, 3), np.float32), tg.tensor(np.zeros((2, 3))), [[0.0]], 1.0])
def test_a_parameter_is_not_lost_by_an_assignment(value):
    layer = nn.Linear(2, 3)
    with pytest.raises(UsageError, match=r"Linear: weight is a Parameter; weight.assign\(values\) changes its values"):
        layer.weight = value
    assert "weight" in layer.named_parameters()
    layer.weight, layer.bias = nn.Parameter(np.zeros((2, 3), np.float32)), None
    assert list(layer.named_parameters()) == ["weight"]


def test_parameters_are_floats():
    with pytest.raises(DtypeError, match=r"Parameter: parameters are float32 or float64, not int64"):
        nn.Parameter(np.arange(3))


def test_what_is_no_layer_is_refused_by_a_sequential():
    with pytest.raises(UsageError, match=r"not a list; give the layers one by one: Sequential\(\*layers\)"):
        nn.Sequential([nn.Linear(1, 1)])
    with pytest.raises(UsageError, match=r"Sequential: takes layers and functions, not a str"):
        nn.Sequential(nn.Linear(1, 1), "relu")
