"""Masked autoregressive flows: the order of dependences, sequential sampling, and mixtures as the base."""

import numpy as np
import pytest

from tests.models.flows import small_flow
from tinygen import random
from tinygen.autograd import no_grad
from tinygen.data import Points
from tinygen.models.autoregressive.masks import MaskedNetwork
from tinygen.models.flows.maf import LIMIT, MixtureMADE, limited
from tinygen.random import Stream


def depends(function, size):
    """Whether output i depends on input j, as bool (i, j)."""
    x = Stream(0, "x").normal((10, size))
    found = np.zeros((size, size), bool)
    with no_grad():
        for j in range(size):
            changed = x.copy()
            changed[:, j] += 1
            found[:, j] = (function(changed)[0].numpy() != function(x)[0].numpy()).any(axis=0)
    return found


def test_layers_are_autoregressive_in_alternating_orders():
    layers = small_flow("maf", Points(4), flows=3).flow.layers[2::2]
    assert len(layers) == 3
    for layer, triangle in zip(layers, (np.tri(4), np.tri(4).T, np.tri(4)), strict=True):
        np.testing.assert_array_equal(depends(layer, 4), triangle == 1)


def test_log_scales_are_limited():
    x = np.float32([-1000, -0.1, 0, 0.1, 1000])
    np.testing.assert_allclose(limited(x), [-LIMIT, -0.1, 0, 0.1, LIMIT], rtol=1e-3)


@pytest.mark.parametrize("order", ["natural", "reversed"])
def test_draws_of_a_mixture_have_its_density(order):
    random.seed(0)
    base = MixtureMADE(MaskedNetwork(2, 16, 1, outputs=9, order=order), 3)
    for number, parameter in enumerate(base.parameters()):
        parameter.assign(parameter.data + 0.2 * Stream(number, "weights").normal(parameter.shape))
    with no_grad():
        z = base.eval().draw(10_000, 2, seed=0)
        side = np.linspace(-12, 12, 301, dtype=np.float32)
        across, up = np.meshgrid(side, side)
        cells = np.stack([across.ravel(), up.ravel()], axis=1)
        p = np.exp(base.log_prob(cells).numpy().astype("float64")) * 0.08**2
    assert p.sum() == pytest.approx(1, abs=0.01)
    for direction in (np.float32([1, 0]), np.float32([0, 1]), np.float32([1, 1])):
        assert (z @ direction < 0.5).mean() == pytest.approx(p[cells @ direction < 0.5].sum(), abs=0.03)
