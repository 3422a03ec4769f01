"""Gamma, beta and multivariate normal densities, and entropies: against integrals, moments and definitions."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.distributions import Bernoulli, Beta, Categorical, Gamma, MultivariateNormal, Normal
from tinygen.errors import ShapeError, UsageError
from tinygen.random import Stream


def leaf(values):
    return tg.tensor(values, "float64", requires_grad=True)


def integral(function, low, high, n=400_000):
    """By the midpoint rule, with points that are dense near the lower end."""
    t = (np.arange(n) + 0.5) / n
    x = low + (high - low) * t**3
    return (function(x) * 3 * (high - low) * t**2).sum() / n


DENSITIES = [
    (Gamma(leaf(2.5), leaf(1.7)), Gamma(leaf(1.2), leaf(0.8)), 0.0, 60.0),
    (Gamma(leaf(1.0), leaf(0.5)), Gamma(leaf(3.0), leaf(2.0)), 0.0, 120.0),
    (Beta(leaf(2.0), leaf(3.5)), Beta(leaf(1.5), leaf(1.2)), 0.0, 1.0),
    (Normal(leaf(0.5), leaf(1.5)), Normal(leaf(0.0), leaf(2.0)), -20.0, 21.0),
]


@pytest.mark.parametrize(("p", "q", "low", "high"), DENSITIES)
def test_density_mean_entropy_and_divergence_match_their_integrals(p, q, low, high):
    def density(x):
        return np.exp(p.log_prob(x).numpy())

    assert integral(density, low, high) == pytest.approx(1, abs=1e-6)
    assert integral(lambda x: x * density(x), low, high) == pytest.approx(p.mean.item(), abs=1e-5)
    entropy = integral(lambda x: -density(x) * p.log_prob(x).numpy(), low, high)
    assert entropy == pytest.approx(p.entropy().item(), abs=1e-5)
    divergence = integral(lambda x: density(x) * (p.log_prob(x) - q.log_prob(x)).numpy(), low, high)
    assert divergence == pytest.approx(p.kl(q).item(), abs=1e-5)


@pytest.mark.parametrize("concentration", [0.3, 1.0, 4.5])
def test_gamma_samples_have_the_moments_of_the_density(concentration):
    n = 100_000
    x = Gamma(concentration, 2.0).sample(n, stream=Stream(1, "a")).numpy().astype(np.float64)
    assert (x.shape, (x > 0).all()) == ((n,), True)
    mean, variance = concentration / 2, concentration / 4
    assert abs(x.mean() - mean) < 5 * math.sqrt(variance / n)
    fourth = variance**2 * (3 + 6 / concentration)
    assert abs(x.var() - variance) < 5 * math.sqrt((fourth - variance**2) / n)


def test_beta_samples_have_the_moments_of_the_density_on_every_device(device):
    a, b = tg.tensor([0.6, 3.0], device=device), tg.tensor([2.0, 1.5], device=device)
    x = Beta(a, b).sample((3000,), stream=Stream(2, "a"))
    assert (x.shape, x.device, x.dtype) == ((3000, 2), device, np.float32)
    for i, (p, q) in enumerate([(0.6, 2.0), (3.0, 1.5)]):
        variance = p * q / ((p + q) ** 2 * (p + q + 1))
        assert abs(x.numpy()[:, i].mean() - p / (p + q)) < 5 * math.sqrt(variance / 3000)


COVARIANCE = np.array([[2.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 0.5]])
MEAN = np.array([1.0, -1.0, 0.5])


def _log_normal(x, mean, covariance):
    d = x - mean
    quadratic = d @ np.linalg.inv(covariance) @ d
    return -0.5 * (quadratic + math.log(np.linalg.det(2 * math.pi * covariance)))


def test_multivariate_normal_density_entropy_and_divergence_match_their_formulas():
    p = MultivariateNormal(leaf(MEAN), leaf(COVARIANCE))
    x = np.array([[0.3, 0.1, 0.9], [2.0, -2.0, 0.0]])
    expected = [_log_normal(row, MEAN, COVARIANCE) for row in x]
    np.testing.assert_allclose(p.log_prob(x).numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(p.covariance.numpy(), COVARIANCE, rtol=1e-12)
    assert p.entropy().item() == pytest.approx(0.5 * math.log(np.linalg.det(2 * math.pi * math.e * COVARIANCE)))
    other_mean, other = np.zeros(3), np.diag([1.0, 2.0, 3.0])
    q = MultivariateNormal(leaf(other_mean), factor=leaf(np.sqrt(other)))
    d, inverse = other_mean - MEAN, np.linalg.inv(other)
    ratio = np.linalg.det(other) / np.linalg.det(COVARIANCE)
    expected = 0.5 * (np.trace(inverse @ COVARIANCE) + d @ inverse @ d - 3 + math.log(ratio))
    assert p.kl(q).item() == pytest.approx(expected)
    assert p.kl(p).item() == pytest.approx(0, abs=1e-12)


def test_multivariate_normal_samples_have_its_moments_and_a_gradient():
    mean, covariance = leaf(MEAN), leaf(COVARIANCE)
    n = 50_000
    x = MultivariateNormal(mean, covariance).sample(n, stream=Stream(3, "a"))
    assert np.abs(x.numpy().mean(0) - MEAN).max() < 5 * math.sqrt(2 / n)
    assert np.abs(np.cov(x.numpy().T) - COVARIANCE).max() < 5 * 3 / math.sqrt(n)
    x.sum().backward()
    np.testing.assert_allclose(mean.grad.numpy(), n, rtol=1e-12)
    assert np.isfinite(covariance.grad.numpy()).all()


def test_the_gradient_of_a_density_in_its_covariance_is_that_of_differences():
    def log_prob(covariance):
        return MultivariateNormal(tg.tensor(MEAN, "float64"), covariance).log_prob(np.array([0.3, 0.1, 0.9]))

    covariance, direction = leaf(COVARIANCE), np.array([[1.0, 0.5, 0.0], [0.5, -1.0, 0.3], [0.0, 0.3, 0.7]])
    gradient = tg.grad(log_prob(covariance), covariance).numpy()
    h = 1e-5
    difference = (log_prob(leaf(COVARIANCE + h * direction)) - log_prob(leaf(COVARIANCE - h * direction))).item()
    assert (gradient * direction).sum() == pytest.approx(difference / (2 * h), rel=1e-6)


def test_bad_parameters_of_a_multivariate_normal_are_refused():
    with pytest.raises(UsageError, match="positive definite"):
        MultivariateNormal(leaf([0.0, 0.0]), leaf([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ShapeError, match=r"mean \(3,\) and matrix \(2, 2\)"):
        MultivariateNormal(leaf(MEAN), factor=leaf(np.eye(2)))
    with pytest.raises(UsageError, match="either covariance or factor"):
        MultivariateNormal(leaf(MEAN))


def test_entropies_of_classes_are_their_sums():
    logits = np.array([[0.5, -1.0, 2.0], [0.0, -np.inf, 0.0]])
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = [-sum(v * math.log(v) for v in row if v) for row in p]
    np.testing.assert_allclose(Categorical(leaf(logits)).entropy().numpy(), expected, rtol=1e-12)
    x = leaf([-30.0, 0.0, 1.5])
    q = 1 / (1 + np.exp(-x.numpy()))
    np.testing.assert_allclose(Bernoulli(x).entropy().numpy(), -q * np.log(q) - (1 - q) * np.log1p(-q), rtol=1e-9)


def test_a_shape_of_samples_stands_in_front(device):
    mean = tg.tensor(np.zeros((2, 3)), device=device)
    for distribution, batch in ((Normal(mean, 1.0), (2, 3)), (Bernoulli(mean), (2, 3)), (Categorical(mean), (2,))):
        assert distribution.sample().shape == batch
        assert distribution.sample(4).shape == (4, *batch)
        assert distribution.sample((5, 4)).shape == (5, 4, *batch)
    assert Normal(0.0, 1.0).sample((3,)).shape == (3,) and Normal(0.0, 1.0).sample().dtype == np.float32
    draws = Bernoulli(mean).sample((2000,)).numpy()
    assert 0.4 < draws.mean() < 0.6
