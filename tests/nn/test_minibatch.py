"""Layers that see an example beside others: the formulas of Salimans et al. 2016, and what an example depends on."""

import numpy as np
import pytest

import tinygen as tg
from tests.nn.arrays import real
from tinygen import nn
from tinygen.errors import ShapeError, UsageError


def test_minibatch_discrimination_matches_its_formula_and_leaves_the_example_itself_out():
    layer = nn.MinibatchDiscrimination(3, 4, 2).astype("float64")
    x = real(5, 3).astype("float64")
    m = np.einsum("na,abc->nbc", x, layer.weight.numpy().reshape(3, 4, 2))
    close = np.zeros((5, 4))
    for i in range(5):
        for j in range(5):
            if i != j:
                close[i] += np.exp(-np.abs(m[i] - m[j]).sum(axis=1))
    np.testing.assert_allclose(layer(x).numpy(), np.concatenate([x, close], axis=1), rtol=1e-10)


def test_minibatch_discrimination_has_the_gradient_of_its_formula():
    layer = nn.MinibatchDiscrimination(3, 4, 2).astype("float64")
    x, g, direction = (real(*shape).astype("float64") for shape in ((5, 3), (5, 7), (5, 3)))
    points = tg.tensor(x, "float64", requires_grad=True)
    slope = tg.grad((layer(points) * g).sum(), points).numpy()
    ahead, behind = ((layer(x + step * direction).numpy() * g).sum() for step in (1e-6, -1e-6))
    assert (slope * direction).sum() == pytest.approx((ahead - behind) / 2e-6, rel=1e-6)


@pytest.mark.parametrize("shape", [(7, 3), (7, 2, 4, 3)])
def test_virtual_batch_norm_uses_a_batch_of_the_reference_and_the_example(shape):
    layer = nn.VirtualBatchNorm(3, 4).astype("float64")
    layer.scale.assign(np.array([1.0, 2.0, 3.0]))
    layer.shift.assign(np.array([0.1, 0.2, 0.3]))
    x = real(*shape).astype("float64")
    y = layer(x).numpy()
    for i in range(7):
        batch = x[:4] if i < 4 else np.concatenate([x[:4], x[i : i + 1]])
        axes = tuple(range(x.ndim - 1))
        normal = (x[i] - batch.mean(axis=axes)) / np.sqrt(batch.var(axis=axes) + 1e-5)
        np.testing.assert_allclose(y[i], layer.scale.numpy() * normal + layer.shift.numpy(), rtol=1e-8, atol=1e-10)


def test_an_example_does_not_depend_on_the_others_and_the_reference_is_part_of_the_state():
    network = nn.Sequential(nn.Linear(5, 4), nn.VirtualBatchNorm(4, 3), nn.ReLU(), nn.Linear(4, 2))
    whole, x = nn.WithReference(network, real(3, 5)), real(6, 5)
    y = whole(x).numpy()
    assert y.shape == (6, 2)
    np.testing.assert_allclose(whole(x[4:5]).numpy(), y[4:5], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole.eval()(x).numpy(), y, rtol=1e-6)
    state = {name: array.copy() for name, array in whole.state_dict().items()}
    assert "reference" in state
    whole.reference[...] = 0
    assert np.abs(whole(x).numpy() - y).max() > 1e-3
    whole.load_state_dict(state)
    np.testing.assert_array_equal(whole(x).numpy(), y)


def test_gradients_reach_the_weights_through_the_reference_too():
    linear = nn.Linear(5, 4)
    whole = nn.WithReference(nn.Sequential(linear, nn.VirtualBatchNorm(4, 3)), real(3, 5)).astype("float64")
    x, g, direction = (real(*shape).astype("float64") for shape in ((2, 5), (2, 4), (5, 4)))
    slope = tg.grad((whole(x) * g).sum(), linear.weight).numpy()
    start, values = linear.weight.numpy().copy(), []
    for step in (1e-6, -1e-6):
        linear.weight.assign(start + step * direction)
        values.append((whole(x).numpy() * g).sum())
    assert (slope * direction).sum() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_mistakes_are_told():
    with pytest.raises(UsageError, match=r"^MinibatchDiscrimination: kernels is 0; it must be"):
        nn.MinibatchDiscrimination(3, 0)
    with pytest.raises(UsageError, match=r"^VirtualBatchNorm: references is 0; it must be"):
        nn.VirtualBatchNorm(3, 0)
    with pytest.raises(ShapeError, match=r"^VirtualBatchNorm: takes 4 reference rows and others, not 2$"):
        nn.VirtualBatchNorm(3, 4)(real(2, 3))
    with pytest.raises(ShapeError, match=r"takes \(\.\.\., 3\), not"):
        nn.VirtualBatchNorm(3, 1)(real(2, 4))
