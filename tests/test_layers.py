"""Features of a discriminator's layers, against a computation by hand, and the linear classifier of features."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import random
from tinygen.applications import layers
from tinygen.data import Batch, Image, Spec
from tinygen.models import DCGAN
from tinygen.random import Stream


def test_features_are_maxima_of_the_activations_of_every_layer():
    random.seed(0)
    model = DCGAN(DCGAN.Config(latent=3, channels=2), Spec("noise", {"x": Image(16, 16, 1, "grey")}))
    x = Stream(0, "images").uniform((5, 16, 16, 1))
    model.training_step(Batch(x=x))
    features = layers.pooled_features(model, x)
    with model.evaluating():
        to_symmetric, *rest = model.discriminator.layers
        first, second = rest[:2], rest[2:5]  # a convolution and a LeakyReLU, then the same around batch norm
        h = to_symmetric(tg.tensor(x))
        maps = []
        for part in (first, second):
            h = tg.nn.Sequential(*part)(h)
            maps.append(h.numpy())
    assert [each.shape for each in maps] == [(5, 8, 8, 2), (5, 4, 4, 4)]
    of_first = maps[0].reshape(5, 4, 2, 4, 2, 2).max(axis=(2, 4))
    expected = np.concatenate([of_first.reshape(5, -1), maps[1].reshape(5, -1)], axis=1)
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
    assert all(module.training for module in model.modules())


def test_the_classifier_takes_the_number_of_components_that_is_best_on_validation(monkeypatch):
    """Classes differ along the third principal component; all others hold noise."""
    monkeypatch.setattr(layers, "COMPONENTS", (2, 3, 60))
    scales = np.r_[9.0, 7.0, 4.0, np.full(57, 0.5)]

    def split(name, n):
        y = Stream(0, name).integers(2, n)
        x = scales * Stream(1, name).normal((n, 60))
        x[:, 2] = 8.0 * y - 4 + 0.5 * Stream(2, name).normal(n)
        return x.astype(np.float32), y

    error, components = layers.linear_error_rate(*(split(name, 80) for name in ("train", "valid", "test")))
    assert (error, components) == (0.0, 3)


@pytest.mark.parametrize("n", [4, 30])
def test_few_examples_have_fewer_components_than_features(n):
    x, y = Stream(0, "few").normal((n, 50)), np.arange(n) % 2
    error, components = layers.linear_error_rate((x, y), (x, y), (x, y))
    assert components < n
    assert 0 <= error <= 1
