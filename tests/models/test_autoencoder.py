"""The auto-encoders' metrics against their formulas, and the distribution of the codes that are decoded to samples."""

import numpy as np
import pytest

from tinygen import random
from tinygen.data import Batch, Image, Labels, Spec, Split
from tinygen.errors import UsageError
from tinygen.metrics import probe
from tinygen.models import Autoencoder, DenoisingAutoencoder
from tinygen.random import Stream


@pytest.fixture
def model():
    before = random.get_state()
    random.seed(0)
    yield Autoencoder(
        Autoencoder.Config(latent=3, hidden=6, batch_size=16), Spec("noise", {"x": Image(4, 5, 1, "grey")})
    )
    random.set_state(before)


def grey_images(n):
    """Uniform noise, each image scaled by a random brightness, so that the dimensions of the codes correlate."""
    return Stream(0, "test images").uniform((n, 4, 5, 1)) * Stream(0, "brightness").uniform((n, 1, 1, 1))


def test_evaluation_matches_its_formulas(model):
    x = grey_images(30)
    p = model.decode(model.encode(x)).astype("float64")
    metrics = model.evaluate(Split(model.spec.fields, {"x": x}), seed=0)
    cross_entropy = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum((1, 2, 3)).mean()
    assert metrics == pytest.approx(
        {"cross_entropy_nats": cross_entropy, "squared_error_per_pixel": ((x - p) ** 2).mean()}, rel=1e-5
    )
    assert float(model.training_step(Batch(x=x))["cross_entropy_nats"]) == pytest.approx(cross_entropy, rel=1e-5)


def test_samples_are_decoded_from_codes_with_the_moments_of_recent_codes(model, monkeypatch):
    mean, covariance = np.zeros(3), np.eye(3)
    for i in range(120):
        x = grey_images(16 * (i + 1))[-16:]
        codes = model.encode(x).astype("float64")
        share = max(1 / 50, 1 / (i + 1))
        mean += share * (codes.mean(0) - mean)
        covariance += share * (np.cov(codes.T, ddof=0) - covariance)
        model.training_step(Batch(x=x))
    np.testing.assert_allclose(model.code_mean, mean, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(model.code_covariance, covariance, rtol=1e-3, atol=1e-5)
    monkeypatch.setattr(model, "decode", lambda codes: codes)
    n = 40_000
    drawn, std = model.sample(n, seed=0), np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(std, std)
    assert np.abs(correlation[~np.eye(3, dtype=bool)]).max() > 0.5
    assert (np.abs(drawn.mean(0) - mean) < 4 * std / np.sqrt(n)).all()
    np.testing.assert_allclose(np.cov(drawn.T) / np.outer(std, std), correlation, atol=0.03)


def make_denoising(spec=None, **config):
    spec = spec or Spec("noise", {"x": Image(4, 5, 1, "grey")})
    return DenoisingAutoencoder(DenoisingAutoencoder.Config(latent=3, hidden=6, batch_size=16, **config), spec)


@pytest.mark.parametrize("noise", ["masking", "gaussian", "salt-and-pepper"])
def test_noise_has_the_configured_level(noise):
    x, level = np.full((2000, 4, 5, 1), 0.6, np.float32), 0.3
    y = make_denoising(noise=noise, level=level).corrupt(x, Stream(0, "noise"))
    assert (y.shape, y.dtype) == (x.shape, np.float32)
    tolerance = 4 * np.sqrt(0.25 / x.size)
    if noise == "gaussian":
        assert abs((y - x).mean()) < 4 * level / np.sqrt(x.size)
        assert abs((y - x).std() - level) < 4 * level / np.sqrt(2 * x.size)
        return
    shares = {"masking": {0: level}, "salt-and-pepper": {0: level / 2, 1: level / 2}}[noise]
    for value, share in shares.items():
        assert abs((y == value).mean() - share) < tolerance
    untouched = y == x
    assert abs(untouched.mean() - (1 - level)) < tolerance
    assert np.isin(y[~untouched], list(shares)).all()


def test_denoising_metrics_and_loss_compare_with_the_clean_image():
    random.seed(0)
    dae, x = make_denoising(noise="gaussian", level=0.4), grey_images(30)
    noisy = dae.corrupt(x, Stream(3, "eval"))
    inputs = {"denoised_": noisy, "": x}
    metrics = dae.evaluate(Split(dae.spec.fields, {"x": x}), seed=3)
    expected = {}
    for name, images in inputs.items():
        p = dae.decode(dae.encode(images)).astype("float64")
        expected[f"{name}cross_entropy_nats"] = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum((1, 2, 3)).mean()
        expected[f"{name}squared_error_per_pixel"] = ((x - p) ** 2).mean()
    assert metrics == pytest.approx(expected, rel=1e-5)
    p = dae.decode(dae.encode(dae.corrupt(x, Stream(0, "train")))).astype("float64")
    loss = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum((1, 2, 3)).mean()
    assert float(dae.training_step(Batch(x=x))["cross_entropy_nats"]) == pytest.approx(loss, rel=1e-5)


def test_a_thorough_evaluation_with_labels_reports_the_probe():
    spec, x, y = Spec("noise", {"x": Image(4, 5, 1, "grey"), "y": Labels(3)}), grey_images(40), np.arange(40) % 3
    model = Autoencoder(Autoencoder.Config(latent=3, hidden=6, batch_size=16), spec)
    metrics = model.evaluate(Split(model.spec.fields, {"x": x, "y": y}), seed=0)
    assert metrics["probe_error_rate"] == probe.error_rate(model.encode(x), y, 3)
    assert "probe_error_rate" not in model.evaluate(Split(model.spec.fields, {"x": x, "y": y}), seed=0, thorough=False)


def test_a_masking_level_above_one_is_refused():
    with pytest.raises(UsageError, match=r"level is 1\.5; with masking noise it is a probability"):
        make_denoising(level=1.5)
    make_denoising(noise="gaussian", level=1.5)
