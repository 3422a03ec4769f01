"""The VQ-VAE: its codes, the moving averages of its codebook, its prior, and its bound."""

import numpy as np
import pytest

from tinygen import random
from tinygen.data import Batch, Image, Spec, Split
from tinygen.models import VQVAE
from tinygen.random import Stream

SPEC = Spec("noise", {"x": Image(8, 12, 1, "binary")})
SMALL = {"codes": 6, "latent": 3, "hidden": 8, "prior_hidden": 6, "prior_blocks": 1, "warmup_steps": 0}


def binary_images(n):
    return (Stream(0, "test images").uniform((n, 8, 12, 1)) < 0.3).astype(np.float32)


def trained_model(steps=3, **config):
    random.seed(0)
    model = VQVAE(VQVAE.Config(**SMALL | config), SPEC)
    for _ in range(steps):
        model.training_step(Batch(x=binary_images(20)))
    return model


def test_codes_are_the_nearest_vectors_of_the_codebook():
    model = trained_model()
    z = model.encoder(binary_images(5)).numpy()
    distances = ((z[..., None, :] - model.codebook) ** 2).sum(axis=-1)
    np.testing.assert_array_equal(model.nearest(z), distances.argmin(axis=-1))
    codes = model.encode(binary_images(5)).reshape(5, 2, 3, 3)
    np.testing.assert_allclose(codes, model.codebook[distances.argmin(axis=-1)], rtol=1e-6)


def test_the_codebook_follows_moving_averages_and_replaces_unused_codes():
    model = trained_model(steps=0, decay=0.8)
    z = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 2]], np.float32).repeat(3, axis=0)
    index = np.array([0, 1, 1, 2]).repeat(3)
    model._move_codes(z, index)
    np.testing.assert_allclose(model.codebook[:3], [[0, 0, 0], [1, 0.5, 0], [0, 0, 2]], rtol=1e-6)
    assert all((code == z).all(axis=1).any() for code in model.codebook[3:]), (
        "codes that were not chosen are replaced by vectors of the batch"
    )
    model.chosen[...], model.sums[...] = 2.0, 2.0
    model._move_codes(z, index)
    np.testing.assert_allclose(model.chosen[:4], [2.2, 2.8, 2.2, 1.6], rtol=1e-6)
    np.testing.assert_allclose(model.sums[1], 0.8 * 2 + 0.2 * np.array([6, 3, 0]), rtol=1e-6)
    np.testing.assert_allclose(model.codebook[1], model.sums[1] / 2.8, rtol=1e-6)
    model.chosen[5] = 0.01
    model._move_codes(z, index)
    assert (model.codebook[5] == z).all(axis=1).any(), "a rarely chosen code is replaced by a vector of the batch"


def test_probabilities_of_all_grids_of_codes_sum_to_one():
    spec = Spec("noise", {"x": Image(4, 12, 1, "binary")})
    random.seed(0)
    model = VQVAE(VQVAE.Config(**SMALL | {"codes": 4}), spec)
    grids = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    log_p = -model.prior.nats(grids).numpy().astype(np.float64)
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-5)
    assert log_p.std() > 0.01


def test_samples_of_the_prior_with_and_without_the_cache_are_equal():
    model = trained_model()
    cached, naive = (model.sample_numbers(7, seed=1, cached=each) for each in (True, False))
    np.testing.assert_array_equal(cached, naive)
    assert cached.shape == (7, 2, 3)
    assert len(np.unique(cached)) > 1
    assert ((cached >= 0) & (cached < 6)).all()


def test_the_bound_is_the_sum_of_its_terms_and_the_mean_of_log_prob():
    model, x = trained_model(), binary_images(9)
    metrics = model.evaluate(Split(SPEC.fields, {"x": x}), seed=0)
    assert metrics["neg_elbo_nats"] == pytest.approx(metrics["reconstruction_nats"] + metrics["kl_nats"], rel=1e-6)
    assert -model.log_prob(x).mean() == pytest.approx(metrics["neg_elbo_nats"], rel=1e-5)
    index = model.nearest(model.encoder(x).numpy())
    assert metrics["kl_nats"] == pytest.approx(float(model.prior.nats(index).mean()), rel=1e-5)
    share = np.bincount(index.ravel()) / index.size
    entropy = -sum(p * np.log(p) for p in share if p)
    assert metrics["codebook_perplexity"] == pytest.approx(np.exp(entropy), rel=1e-6)
