"""The bounds that variational systems share, on a linear-normal system, whose log p(x) is known: x is z plus noise."""

import math
from itertools import pairwise

import numpy as np
import pytest

import tinygen as tg
from tests.models.cases import models, split_for
from tests.models.test_equations import model_with_random_weights
from tinygen.distributions import Normal
from tinygen.models.variational import bounds
from tinygen.models.variational.m2 import HooksOfOneClass
from tinygen.random import Stream

LATENT, NOISE_STD = 3, 0.8


class LinearNormal:
    """p(z) is normal, p(x | z) normal around z, q(z | x) normal but wider than the posterior and with another mean."""

    device = "cpu"
    likelihood_calls = 0

    def __init__(self, mean=0.3, std=1.5):
        self.normal = Normal(mean, std)

    def prior(self):
        return self.normal

    def posterior(self, x):
        x = tg.tensor(x.reshape(len(x), -1), "float64")
        return Normal(0.5 * x + 0.2, log_var=0.0 * x - 0.5)

    def likelihood(self, z):
        self.likelihood_calls += 1

        class Given:
            def log_prob(self, x):
                return Normal(z, NOISE_STD).log_prob(x.reshape(len(z), -1)).sum(axis=1)

        return Given()


def images(n):
    return Stream(0, "test").normal((n, 1, LATENT, 1), dtype="float64") + 0.5


def log_evidence(x, prior):
    variance = prior._std**2 + NOISE_STD**2
    flat = x.reshape(len(x), -1)
    return (-0.5 * ((flat - prior.mean) ** 2 / variance + np.log(2 * np.pi * variance))).sum(1)


def log_weights_of(system, x, samples, seed=0):
    q = system.posterior(x)
    noise = Stream(seed, "noise").normal((len(x), samples, LATENT), dtype="float64")
    return bounds.log_weights(system, x, q, noise).numpy(), q, noise


@pytest.mark.parametrize("prior", [(0.0, 1.0), (0.3, 1.5)])
def test_log_weights_are_log_joint_minus_log_posterior(prior):
    system, x = LinearNormal(*prior), images(4)
    weights, q, noise = log_weights_of(system, x, 5)
    assert system.likelihood_calls == 1, "all codes are decoded in one call"
    mean, std = q.mean.numpy()[:, None], q.std.numpy()[:, None]
    z = mean + std * noise

    def log_normal(a, mean, std):
        return (-0.5 * ((a - mean) / std) ** 2 - np.log(std) - 0.5 * math.log(2 * math.pi)).sum(-1)

    joint = log_normal(z, *prior) + log_normal(x.reshape(4, 1, LATENT), z, NOISE_STD)
    np.testing.assert_allclose(weights, joint - log_normal(z, mean, std), rtol=1e-10)


def test_each_example_may_have_its_own_prior():
    x = images(4)
    means = tg.tensor(0.1 * np.arange(12.0).reshape(4, 3), "float64")
    weights, _, _ = log_weights_of(LinearNormal(means, tg.tensor(np.full((4, 3), 1.5), "float64")), x, 5)
    for i in range(4):
        model_of_one = LinearNormal(means.numpy()[i : i + 1], np.full((1, 3), 1.5))
        q = model_of_one.posterior(x[i : i + 1])
        noise = Stream(0, "noise").normal((4, 5, LATENT), dtype="float64")[i : i + 1]
        np.testing.assert_allclose(
            weights[i], bounds.log_weights(model_of_one, x[i : i + 1], q, noise).numpy()[0], rtol=1e-12
        )


def test_bounds_of_the_same_weights_never_fall_with_the_number_of_codes():
    """This is exact, not only in expectation: larger groups join smaller ones, and the logarithm is concave."""
    weights, _, _ = log_weights_of(LinearNormal(), images(50), 64)
    values = [bounds.importance_weighted(tg.tensor(weights, "float64"), k).numpy() for k in (1, 2, 4, 16, 64)]
    for less, more in pairwise(values):
        assert (more >= less).all()
        assert more.mean() > less.mean() + 0.01
    np.testing.assert_allclose(values[0], weights.mean(1), rtol=1e-12)
    np.testing.assert_array_equal(values[-1], bounds.importance_weighted(tg.tensor(weights, "float64")).numpy())


def test_bounds_approach_the_log_evidence_from_below():
    system, x = LinearNormal(), images(3)
    exact = log_evidence(x, system.normal)
    repeats = x.repeat(3000, axis=0)
    weights, q, _ = log_weights_of(system, repeats, 64)
    for k, gap in ((1, 1.0), (64, 0.05)):
        bound = bounds.importance_weighted(tg.tensor(weights, "float64"), k).numpy().reshape(3, -1)
        error = 4 * bound.std(1) / math.sqrt(3000)
        assert (bound.mean(1) < exact + error).all()
        assert (exact - bound.mean(1) < gap * 3).all()
    noise = Stream(1, "z").normal(q.mean.shape, dtype="float64")
    reconstruction, kl = (term.numpy().reshape(3, -1) for term in bounds.terms(system, repeats, q, noise))
    one = bounds.importance_weighted(tg.tensor(weights, "float64"), 1).numpy().reshape(3, -1)
    error = 4 * reconstruction.std(1) / math.sqrt(3000) + 4 * one.std(1) / math.sqrt(3000)
    assert (np.abs(-(reconstruction + kl).mean(1) - one.mean(1)) < error).all(), "the analytic KL gives the same bound"


@pytest.mark.parametrize("name", ["vae", "cvae", "iaf-vae", "structured-cvae", "m2"])
def test_bounds_of_every_variational_system_do_not_fall_with_the_number_of_codes(name):
    model = model_with_random_weights(name, models.get(name).tiny[0], kind=None)
    batch = split_for(model).batch(slice(None))
    with model.evaluating():
        hooks = HooksOfOneClass(model, 1) if name == "m2" else model.hooks_for(batch)
        q = hooks.posterior(batch.x)
        noise = bounds.noise_for(q, 32, Stream(0, "noise"), "cpu")
        weights = bounds.log_weights(hooks, batch.x, q, noise)
        values = [bounds.importance_weighted(weights, k).numpy() for k in (1, 2, 8, 32)]
    for less, more in pairwise(values):
        assert (more >= less - 1e-4).all()
        assert more.mean() > less.mean() + 1e-3
