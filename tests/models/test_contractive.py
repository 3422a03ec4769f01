"""The norm of the contractive auto-encoder's Jacobian, against finite differences of its encoder."""

import numpy as np
import pytest

from tests.models.cases import make
from tinygen import random
from tinygen.data import Image, Spec, Split, load
from tinygen.random import Stream

SPEC = Spec("noise", {"x": Image(3, 2, 1, "grey")})
STEP = 1e-4


def grey_images(n):
    return Stream(0, "test images").uniform((n, 3, 2, 1))


def model_with_large_weights(layers):
    """A model with a float64 encoder and weights so large that the units are not in the linear part of the sigmoid."""
    model = make("contractive-ae", {"latent": 4, "layers": layers}, SPEC)
    model.encoder.astype("float64")
    for number, parameter in enumerate(model.encoder.parameters()):
        parameter.data[...] = 1.5 * Stream(number, "weights").normal(parameter.shape)
    return model


def numeric_jacobians(model, x):
    """Jacobians of the encoder (N, pixels, units) by central differences."""
    x = x.astype("float64")
    columns = []
    for pixel in np.eye(6).reshape(6, 3, 2, 1):
        above, below = (model.encoder(x + sign * STEP * pixel).numpy() for sign in (1, -1))
        columns.append((above - below) / (2 * STEP))
    return np.stack(columns, axis=1)


def test_the_penalty_of_one_layer_is_the_squared_norm_of_the_jacobian():
    model, x = model_with_large_weights(1), grey_images(5)
    expected = (numeric_jacobians(model, x) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(model.squared_jacobian(x.astype("float64"), None).numpy(), expected, rtol=1e-6)


def test_the_penalty_of_two_layers_estimates_the_squared_norm_without_bias():
    model, x, n = model_with_large_weights(2), grey_images(1), 20_000
    jacobian = numeric_jacobians(model, x)[0]
    model.encoder.astype("float32")
    estimates = model.squared_jacobian(np.repeat(x, n, axis=0), Stream(0, "directions")).numpy()
    tolerance = 4 * estimates.std() / np.sqrt(n)
    assert abs(estimates.mean() - (jacobian**2).sum()) < tolerance < 0.1 * (jacobian**2).sum()


@pytest.mark.parametrize("layers", [1, 2])
def test_jacobians_match_finite_differences(layers):
    model, x = model_with_large_weights(layers), grey_images(5)
    np.testing.assert_allclose(model.jacobians(x.astype("float64")), numeric_jacobians(model, x), rtol=1e-5, atol=1e-9)


def test_evaluation_reports_the_root_mean_squared_norm_of_the_jacobian():
    model, x = make("contractive-ae", {"latent": 4}, SPEC), grey_images(12)
    numbers = model.evaluate(Split(SPEC.fields, {"x": x}), seed=0)
    norms = (model.jacobians(x) ** 2).sum(axis=(1, 2))
    assert numbers["jacobian_norm"] == pytest.approx(norms.mean() ** 0.5, rel=1e-5)


def test_training_with_contraction_makes_the_jacobian_smaller():
    data, norms = load("digits8x8"), []
    for contraction in (0.0, 30.0):
        random.seed(0)
        config = {"latent": 16, "contraction": contraction, "learning_rate": 0.02}
        model = make("contractive-ae", config, data.spec)
        for start in range(0, 1000, 50):
            model.training_step(data.train.batch(slice(start, start + 50)))
        norms.append(model.evaluate(data.valid, seed=0, thorough=False)["jacobian_norm"])
    assert norms[1] < norms[0] / 2


def test_the_decoder_uses_the_weights_of_the_encoder():
    model = make("contractive-ae", {"latent": 4, "layers": 2}, SPEC)
    sizes = sorted(p.shape for p in model.parameters())
    assert sizes == sorted([(6, 4), (4,), (4, 4), (4,), (4,), (6,)])
    model.hidden[0].weight.assign(0.0)
    rebuilt = model.decode(model.encode(grey_images(3)))
    np.testing.assert_allclose(rebuilt, 0.5)
