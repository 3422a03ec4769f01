"""The auto-encoder's numbers by their formulas, and the distribution that its samples are decoded from."""

import numpy as np
import pytest

from tinygen import random
from tinygen.data import Batch, Spec, Split
from tinygen.models import Autoencoder
from tinygen.random import Stream


@pytest.fixture
def model():
    before = random.get_state()
    random.seed(0)
    yield Autoencoder(Autoencoder.Config(latent=3, hidden=6, batch_size=16), Spec("noise", (4, 5, 1), "grey"))
    random.set_state(before)


def grey(n):
    """Noise of one brightness an image, which makes its codes correlate."""
    return Stream(0, "test images").uniform((n, 4, 5, 1)) * Stream(0, "brightness").uniform((n, 1, 1, 1))


def test_evaluation_by_its_formulas(model):
    x = grey(30)
    p = model.decode(model.encode(x)).astype("float64")
    metrics = model.evaluate(Split({"x": x}), seed=0)
    cross_entropy = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum((1, 2, 3)).mean()
    assert metrics == pytest.approx(
        {"cross_entropy_nats": cross_entropy, "squared_error_per_pixel": ((x - p) ** 2).mean()}, rel=1e-5
    )
    assert float(model.training_step(Batch(x))["cross_entropy_nats"]) == pytest.approx(cross_entropy, rel=1e-5)


def test_samples_come_from_codes_with_the_moments_of_recent_ones(model, monkeypatch):
    mean, covariance = np.zeros(3), np.eye(3)
    for i in range(120):
        x = grey(16 * (i + 1))[-16:]
        codes = model.encode(x).astype("float64")
        share = max(1 / 50, 1 / (i + 1))
        mean += share * (codes.mean(0) - mean)
        covariance += share * (np.cov(codes.T, ddof=0) - covariance)
        model.training_step(Batch(x))
    np.testing.assert_allclose(model.code_mean, mean, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(model.code_covariance, covariance, rtol=1e-3, atol=1e-5)
    monkeypatch.setattr(model, "decode", lambda codes: codes)
    n = 40_000
    drawn, std = model.sample(n, seed=0), np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(std, std)
    assert np.abs(correlation[~np.eye(3, dtype=bool)]).max() > 0.5
    assert (np.abs(drawn.mean(0) - mean) < 4 * std / np.sqrt(n)).all()
    np.testing.assert_allclose(np.cov(drawn.T) / np.outer(std, std), correlation, atol=0.03)
