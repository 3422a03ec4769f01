"""The variational auto-encoder's numbers against integrals over its one code."""

import math

import numpy as np
import pytest

from tinygen import random
from tinygen.data import Batch, Spec, Split
from tinygen.errors import UsageError
from tinygen.models import VAE
from tinygen.random import Stream

SPEC = Spec("noise", (3, 4, 1), "binary")
Z = np.linspace(-12, 12, 6001)
DZ = Z[1] - Z[0]


def bits(n):
    return (Stream(0, "test images").uniform((n, 3, 4, 1)) < 0.3).astype(np.float32)


def made(**config):
    random.seed(0)
    return VAE(VAE.Config(**({"latent": 1, "hidden": 6, "batch_size": 8} | config)), SPEC)


def layers(network, x):
    """A network of one hidden layer, in plain NumPy."""
    w1, b1, w2, b2 = (p.numpy().astype("float64") for p in network.parameters())
    return np.maximum(x @ w1 + b1, 0) @ w2 + b2


def log_normal(z, mean, log_var):
    return -0.5 * ((z - mean) ** 2 / np.exp(log_var) + log_var + math.log(2 * math.pi))


def by_integration(model, x):
    """For each image: -log p(x), -ELBO, and the spread of log p(x, z) - log q(z | x) under q."""
    flat = x.reshape(len(x), -1)
    mean, log_var = layers(model.encoder, flat).T[:, :, None]
    logits = layers(model.decoder, Z[:, None])
    log_joint = flat @ logits.T - np.logaddexp(0, logits).sum(1) + log_normal(Z, 0, 0)
    q = np.exp(log_normal(Z, mean, log_var))
    weight = log_joint - log_normal(Z, mean, log_var)
    elbo = (q * weight).sum(1) * DZ
    spread = np.sqrt((q * (weight - elbo[:, None]) ** 2).sum(1) * DZ)
    return -np.log(np.exp(log_joint).sum(1) * DZ), -elbo, spread


def test_bounds_agree_with_the_integrals():
    model = made(importance_samples=64)
    for p in model.decoder.parameters():
        p.assign(3 * p.numpy())  # so that the posterior is far from what the encoder says
    x, repeats = bits(5), 400
    nll, neg_elbo, spread = by_integration(model, x)
    assert (neg_elbo - nll > 0.1).all()
    metrics = model.evaluate(Split({"x": x.repeat(repeats, axis=0)}), seed=0)
    error = 4 * np.sqrt((spread**2).mean() / (5 * repeats))
    assert abs(metrics["neg_elbo_nats"] - neg_elbo.mean()) < error
    gap = (neg_elbo - nll).mean()
    assert -error < metrics["neg_is64_nats"] - nll.mean() < 0.1 * gap
    assert metrics["neg_elbo_nats"] == pytest.approx(metrics["reconstruction_nats"] + metrics["kl_nats"], rel=1e-6)
    mean, log_var = layers(model.encoder, x.reshape(5, -1)).T
    assert metrics["kl_nats"] == pytest.approx((0.5 * (mean**2 + np.exp(log_var) - log_var - 1)).mean(), rel=1e-5)


def test_one_importance_sample_is_the_elbo():
    model = made(importance_samples=1)
    metrics = model.evaluate(Split({"x": bits(1).repeat(20_000, axis=0)}), seed=0)
    spread = by_integration(model, bits(1))[2][0]
    assert abs(metrics["neg_is1_nats"] - metrics["neg_elbo_nats"]) < 4 * spread * math.sqrt(2 / 20_000)


def test_a_step_reports_the_bound_and_descends_on_the_weighted_one():
    x, scalars, weights = bits(8), {}, {}
    for beta in (1.0, 4.0):
        model = made(beta=beta, warmup_steps=0)
        scalars[beta] = {name: float(value) for name, value in model.training_step(Batch(x)).items()}
        weights[beta] = model.encoder.parameters()[0].numpy()
    assert scalars[1.0] == scalars[4.0]
    assert (weights[1.0] != weights[4.0]).any()
    model = made()
    flat, noise = x.reshape(8, -1), Stream(0, "train").normal((8, 1))
    mean, log_var = np.split(layers(model.encoder, flat), 2, axis=1)
    logits = layers(model.decoder, mean + np.exp(0.5 * log_var) * noise)
    reconstruction = (np.logaddexp(0, logits) - flat * logits).sum(1).mean()
    kl = (0.5 * (mean**2 + np.exp(log_var) - log_var - 1)).sum(1).mean()
    assert scalars[1.0] == pytest.approx(
        {"neg_elbo_nats": reconstruction + kl, "reconstruction_nats": reconstruction, "kl_nats": kl}, rel=1e-5
    )


def test_codes_samples_and_active_units():
    model = made(latent=2)
    flat = bits(50).reshape(50, -1)
    codes = model.encode(bits(50))
    np.testing.assert_allclose(codes, layers(model.encoder, flat)[:, :2], rtol=1e-4, atol=1e-6)
    noise = Stream(7, "sample").normal((4, 2))
    probabilities = 1 / (1 + np.exp(-layers(model.decoder, noise)))
    np.testing.assert_allclose(model.sample(4, seed=7).reshape(4, -1), probabilities, rtol=1e-5)
    last = model.encoder.parameters()[2]
    for spreads, active in (((0.09, 0.09), 0), ((0.11, 0.09), 1), ((0.11, 0.11), 2)):
        factors = np.array([*spreads / model.encode(bits(50)).std(axis=0), 1, 1])
        last.assign(last.numpy() * factors)
        assert model.evaluate(Split({"x": bits(50)}), seed=0, thorough=False)["active_units"] == active


def test_more_samples_a_step_descend_on_the_importance_weighted_bound():
    x, samples = bits(8), 5
    model, flat = made(samples=samples), bits(8).reshape(8, -1)
    noise = Stream(0, "train").normal((8 * samples, 4))[:, :1].reshape(8, samples)
    mean, log_var = np.split(layers(model.encoder, flat), 2, axis=1)
    z = mean + np.exp(0.5 * log_var) * noise
    logits = layers(model.decoder, z.reshape(-1, 1)).reshape(8, samples, -1)
    log_joint = (flat[:, None] * logits - np.logaddexp(0, logits)).sum(2) + log_normal(z, 0, 0)
    weights = np.exp(log_joint - log_normal(z, mean, log_var))
    before = model.state_dict()["encoder.layers.1.weight"].copy()
    scalars = {name: float(value) for name, value in model.training_step(Batch(x)).items()}
    assert scalars == pytest.approx({"neg_is5_nats": -np.log(weights.mean(axis=1)).mean()}, rel=1e-5)
    assert (model.state_dict()["encoder.layers.1.weight"] != before).any()


def test_thousands_of_samples_come_by_parts(monkeypatch):
    """The bound of many samples is close to the likelihood, and nothing larger than a part is ever held."""
    model, x, largest = made(importance_samples=5000), bits(3), []
    monkeypatch.setattr(model, "likelihood", lambda z: largest.append(len(z)) or VAE.likelihood(model, z))
    metrics = model.evaluate(Split({"x": x}), seed=0)
    assert max(largest) <= 2000
    nll, _, spread = by_integration(model, x)
    assert abs(metrics["neg_is5000_nats"] - nll.mean()) < 4 * spread.max() / np.sqrt(5000)


def test_a_weight_of_the_kl_term_does_not_go_with_the_importance_weighted_objective():
    with pytest.raises(UsageError, match="beta is 2; with more than one of samples it must be 1"):
        made(samples=2, beta=2.0)
