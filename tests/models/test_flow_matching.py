"""Flow matching: samples and densities under the optimal velocity of normal points."""

import math

import numpy as np
import pytest

from tests.models.cases import make
from tinygen import nn
from tinygen.data import Points, Spec
from tinygen.random import Stream
from tinygen.tensor import tensor

TINY = {"hidden": 8, "layers": 1, "batch_size": 5, "warmup_steps": 0, "averaging": 0.0}
MEAN, STD = 2.0, 0.5


class OptimalVelocity(nn.Module):
    """E[x_1 - x_0 | x_t] for x_1 ~ N(MEAN, STD^2) and x_0 ~ N(0, 1)."""

    def forward(self, x, time, labels=None):
        t = (1 - time.astype(np.float64))[:, None]
        variance = (1 - t) ** 2 + t**2 * STD**2
        away = x - t * MEAN
        return tensor((MEAN + (t * STD**2 - (1 - t)) / variance * away).astype(np.float32))


def model_of_normal_points(**config):
    model = make("flow-matching", TINY | config, Spec("noise", {"x": Points(2)}))
    model.centre[...], model.deviation[...] = 0.0, 1.0
    model.network = OptimalVelocity()
    return model


def exact_end(noise):
    """Quantiles of the noise become the same quantiles of the data."""
    return MEAN + STD * noise


@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("heun", 2)])
def test_samplers_approach_the_flow_in_their_order(sampler, order):
    errors = []
    for steps in (10, 20):
        model = model_of_normal_points(sampler=sampler, sampling_steps=steps)
        errors.append(np.abs(model.sample(50, seed=0) - exact_end(model.noise(50, 0))).max())
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.35)
    assert errors[1] < (0.05 if order == 2 else 0.3)


def test_the_density_is_that_of_the_data():
    model = model_of_normal_points()
    x = (MEAN + STD * Stream(0, "points").normal((300, 2))).astype(np.float32)
    exact = (-0.5 * ((x - MEAN) / STD) ** 2 - math.log(STD * math.sqrt(2 * math.pi))).sum(axis=1)
    found = model.log_prob(x)
    np.testing.assert_allclose(found, exact, atol=0.03)
    model.deviation[...] = 4.0  # the same density in other units
    np.testing.assert_allclose(model.log_prob(4 * x), found - 2 * math.log(4), atol=1e-3)


@pytest.mark.parametrize("times", ["uniform", "logit-normal"])
def test_times_are_drawn_from_their_distribution(times):
    model = model_of_normal_points(times=times)
    t = model.drawn_times(4000, Stream(0, "times"))
    assert ((t > 0) & (t < 1)).all()
    share = 0.2 if times == "uniform" else 2 * 0.5 * math.erfc(math.log(9) / math.sqrt(2))
    assert ((t < 0.1) | (t > 0.9)).mean() == pytest.approx(share, abs=0.02)
