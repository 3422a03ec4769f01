"""The conditional VAE of missing quadrants: its observed pixels, its predictions, and its bound."""

import math

import numpy as np
import pytest

from tinygen import random
from tinygen.data import Image, Spec, Split
from tinygen.errors import UsageError
from tinygen.models import StructuredCVAE
from tinygen.models.variational.structured_cvae import observed_quadrants
from tinygen.random import Stream

SPEC = Spec("noise", {"x": Image(4, 4, 1, "binary")})
Z = np.linspace(-10, 10, 2001)


def binary_images(n):
    return (Stream(0, "test images").uniform((n, 4, 4, 1)) < 0.4).astype(np.float32)


def small_model(**config):
    random.seed(0)
    return StructuredCVAE(StructuredCVAE.Config(**{"latent": 1, "hidden": 6, "layers": 1} | config), SPEC)


def test_the_number_of_observed_quadrants_is_configured():
    expected = {1: [[0, 0], [1, 0]], 2: [[1, 0], [1, 0]], 3: [[1, 0], [1, 1]]}
    for number, quadrants in expected.items():
        mask = observed_quadrants((4, 4, 1), number)
        np.testing.assert_array_equal(mask[::2, ::2, 0], quadrants)
        assert mask.sum() == 4 * number
    with pytest.raises(UsageError, match="quadrants is 4; at most 3 of the 4"):
        small_model(quadrants=4)


def test_predictions_keep_observed_pixels_and_do_not_depend_on_missing_ones():
    model, x = small_model(), binary_images(5)
    observed = model.observed.astype(bool)[..., 0]
    others = x.copy()
    others[:, ~observed] = 1 - others[:, ~observed]
    predicted = model.predict(x, seed=0)
    np.testing.assert_array_equal(predicted, model.predict(others, seed=0))
    np.testing.assert_array_equal(predicted[:, observed], x[:, observed])
    assert (predicted != model.predict(x, seed=1)).any(axis=(1, 2, 3)).all()


def test_bounds_approach_the_integral_over_the_code():
    model, x = small_model(importance_samples=200), binary_images(4)
    for p in model.decoder.parameters():
        p.assign(2 * p.numpy())
    exact = []
    for image in x:
        hooks = model.hooks_for(Split(SPEC.fields, {"x": image[None]}).batch(slice(None)))
        p = hooks.prior()
        mean, std = float(p.mean.numpy()[0, 0]), float(p.std.numpy()[0, 0])
        z = (mean + std * Z).astype(np.float32)[:, None]
        log_p = hooks.likelihood(z).log_prob(image[None].repeat(len(Z), axis=0)).numpy().astype(np.float64)
        weight = np.exp(-0.5 * Z**2) / math.sqrt(2 * math.pi) * (Z[1] - Z[0])
        exact.append(-np.log((np.exp(log_p) * weight).sum()))
    metrics = model.evaluate(Split(SPEC.fields, {"x": x.repeat(60, axis=0)}), seed=0)
    gap = metrics["neg_elbo_nats"] - np.mean(exact)
    assert gap > 0.05
    assert abs(metrics["neg_is200_nats"] - np.mean(exact)) < 0.1 * gap
    bits_per_dim = metrics["neg_is200_nats"] / math.log(2) / 12
    assert metrics["neg_is200_bits_per_dim"] == pytest.approx(bits_per_dim), "of the 12 missing pixels"
