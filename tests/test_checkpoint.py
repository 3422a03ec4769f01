"""`tg.checkpoint`: gradients of a function that is computed again in the backward pass."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import functional as F
from tinygen import random
from tinygen.primitive import REGISTRY, primitive


def leaf(values, dtype="float64"):
    return tg.tensor(values, dtype, requires_grad=True)


def small_network(seed=0):
    tg.seed(seed)
    return tg.nn.Sequential(
        tg.nn.Linear(3, 8), tg.nn.BatchNorm(8), F.tanh, tg.nn.Dropout(0.4), tg.nn.Linear(8, 2)
    ).astype("float64")


@pytest.mark.parametrize("create_graph", [False, True])
def test_checkpoint_gives_the_same_results_gradients_and_random_numbers(create_graph):
    results = []
    for wrap in (lambda f, x: f(x), tg.checkpoint):
        network, x = small_network(), leaf(np.random.default_rng(0).standard_normal((5, 3)))
        y = (wrap(network, x * 1.0) ** 2).sum()
        inputs = [x, *network.parameters()]
        grads = tg.grad(y, inputs, create_graph=create_graph)
        if create_graph:
            grads += tg.grad(sum((g * g).sum() for g in grads), inputs)
        results.append(
            [y.item(), network[1].running_mean.copy(), random.stream("train").counter, *[g.numpy() for g in grads]]
        )
    for plain, checkpointed in zip(*results, strict=True):
        np.testing.assert_allclose(plain, checkpointed, rtol=1e-12, atol=1e-12)


def test_checkpoint_records_one_node_and_fills_grad():
    network, x = small_network(), leaf(np.ones((4, 3)))
    y = tg.checkpoint(network, x)
    assert set(y.edge.edges) == {x, *network.parameters()}
    y.sum().backward()
    assert all(p.grad is not None for p in [x, *network.parameters()])


def test_checkpoint_differentiates_in_tensors_that_its_function_captures():
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    squared = w * w
    y = tg.checkpoint(lambda x: x * squared, x)
    gx, gw = tg.grad(y.sum(), [x, w], create_graph=True)
    np.testing.assert_array_equal(gx.numpy(), [9, 16])
    np.testing.assert_array_equal(gw.numpy(), [6, 16])
    np.testing.assert_array_equal(tg.grad(gw.sum(), w).numpy(), [2, 4])


def test_checkpoint_of_several_outputs_and_without_gradients():
    x = leaf([1.0, 2.0])
    a, _ = tg.checkpoint(lambda x: (x * 2, x * 3), x)
    a.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 2])
    with tg.no_grad():
        assert not tg.checkpoint(F.exp, x).requires_grad


def test_an_operation_must_have_a_vjp_for_each_argument():
    @primitive(saves="a b")
    def unfinished(xp, a, b):
        return a * b

    try:
        with pytest.raises(TypeError, match=r"unfinished: has 1 vjps for its arguments \('a', 'b'\)"):
            unfinished.vjp(lambda g, y, a, b: g * b)
    finally:
        del REGISTRY["unfinished"]
