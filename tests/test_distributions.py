"""Densities against formulas and integrals, samples against moments, divergences against their definition."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen import random
from tinygen.backend import dispatch
from tinygen.distributions import Bernoulli, Categorical, Normal
from tinygen.errors import UsageError
from tinygen.kernels.draws import draws
from tinygen.random import Stream

MEANS, STDS = np.array([0.0, 1.5, -2.0]), np.array([1.0, 0.3, 2.5])
GRID = np.linspace(-40, 40, 400_001)
DX = GRID[1] - GRID[0]


def leaf(values):
    return tg.tensor(values, "float64", requires_grad=True)


def normal_density(x, mean, std):
    return np.exp(-((x - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))


# Normal


@pytest.mark.parametrize("parameters", ["std", "log_var"])
def test_normal_density_matches_its_formula(parameters):
    x = np.array([0.3, 1.4, 10.0])
    parameter = {"std": leaf(STDS)} if parameters == "std" else {"log_var": leaf(2 * np.log(STDS))}
    normal = Normal(leaf(MEANS), **parameter)
    np.testing.assert_allclose(normal.log_prob(x).numpy(), np.log(normal_density(x, MEANS, STDS)), rtol=1e-12)
    np.testing.assert_allclose(normal.std.numpy(), STDS, rtol=1e-15)
    np.testing.assert_allclose(normal.log_var.numpy(), 2 * np.log(STDS), rtol=1e-15)


@pytest.mark.parametrize(("mean", "std"), [*zip(MEANS, STDS, strict=True)])
def test_normal_density_integrates_to_one(mean, std):
    density = np.exp(Normal(leaf(mean), leaf(std)).log_prob(GRID).numpy())
    assert density.sum() * DX == pytest.approx(1, abs=1e-9)
    assert (GRID * density).sum() * DX == pytest.approx(mean, abs=1e-9)
    assert ((GRID - mean) ** 2 * density).sum() * DX == pytest.approx(std**2, rel=1e-9)


def test_normal_divergence_matches_its_integral():
    p, q = Normal(leaf(MEANS), leaf(STDS)), Normal(leaf([0.5, 1.0, -1.0]), leaf([2.0, 0.5, 2.0]))
    standard = p.kl().numpy()
    for i, value in enumerate(p.kl(q).numpy()):
        density = normal_density(GRID, MEANS[i], STDS[i])
        log_p = Normal(MEANS[i], STDS[i]).log_prob(GRID)
        log_q = Normal(q.mean.numpy()[i], q.std.numpy()[i]).log_prob(GRID)
        assert value == pytest.approx((density * (log_p - log_q)).sum() * DX, abs=1e-9)
        log_standard = -0.5 * (GRID**2 + math.log(2 * math.pi))
        assert standard[i] == pytest.approx((density * (log_p - log_standard)).sum() * DX, abs=1e-9)
    np.testing.assert_allclose(p.kl(Normal(0.0, 1.0)).numpy(), standard, atol=1e-15)
    np.testing.assert_array_equal(p.kl(p).numpy(), 0)


def test_normal_sample_is_mean_plus_std_times_noise_and_passes_gradients():
    mean, std = leaf(MEANS), leaf(STDS)
    sample = Normal(mean, std).sample(stream=Stream(3, "mine"))
    noise = Stream(3, "mine").normal(3, dtype="float64")
    np.testing.assert_allclose(sample.numpy(), MEANS + STDS * noise, rtol=1e-15)
    sample.sum().backward()
    np.testing.assert_array_equal(mean.grad.numpy(), 1)
    np.testing.assert_array_equal(std.grad.numpy(), noise)


def test_normal_samples_have_the_moments_of_the_distribution():
    n = 50_000
    x = Normal(np.tile(MEANS, (n, 1)), STDS).sample(stream=Stream(0, "mine"))
    assert (np.abs(x.mean(0) - MEANS) < 4 * STDS / math.sqrt(n)).all()
    assert (np.abs(x.var(0) / STDS**2 - 1) < 4 * math.sqrt(2 / n)).all()
    assert np.abs(np.corrcoef(x.T) - np.eye(3)).max() < 4 / math.sqrt(n)


def test_normal_broadcasts_its_arguments_and_takes_numbers():
    column, row = leaf([[0.0], [100.0]]), leaf([1.0, 2.0, 3.0])
    assert Normal(column, row).kl().shape == (2, 3)
    for normal in (Normal(column, row), Normal(0.0, leaf(np.ones((2, 3)))), Normal(leaf(np.ones((2, 3))), 2.0)):
        x = normal.sample(stream=Stream(0, "mine")).numpy()
        assert x.shape == normal.log_prob(x).shape == (2, 3)
        assert len(np.unique(x)) == 6, "every element has separate noise"
    assert Normal(leaf(2.0), 3.0).kl().item() == pytest.approx((4 + 9 - 1) / 2 - math.log(3))


@pytest.mark.parametrize("options", [{}, {"std": 1.0, "log_var": 0.0}])
def test_normal_takes_either_std_or_log_var(options):
    with pytest.raises(UsageError, match="either std or log_var"):
        Normal(0.0, **options)


# Bernoulli

LOGITS = np.array([-3.0, 0.0, 0.7, 4.0])
PROBABILITIES = 1 / (1 + np.exp(-LOGITS))


def test_bernoulli_log_prob_and_mean_match_their_formulas():
    coin = Bernoulli(leaf(LOGITS))
    np.testing.assert_allclose(coin.mean.numpy(), PROBABILITIES, rtol=1e-15)
    np.testing.assert_allclose(coin.log_prob(np.ones(4)).numpy(), np.log(PROBABILITIES), rtol=1e-12)
    np.testing.assert_allclose(coin.log_prob(np.zeros(4)).numpy(), np.log(1 - PROBABILITIES), rtol=1e-12)
    certain = Bernoulli(tg.tensor([-1e4, 1e4])).log_prob(np.array([1, 1], np.float32))
    np.testing.assert_array_equal(certain.numpy(), [-1e4, 0])


def test_bernoulli_samples_follow_their_probability_without_gradient():
    n = 40_000
    coin = Bernoulli(leaf(np.tile(LOGITS, (n, 1))))
    x = coin.sample(stream=Stream(0, "mine"))
    assert not x.requires_grad
    assert set(np.unique(x.numpy())) == {0, 1}
    spread = np.sqrt(PROBABILITIES * (1 - PROBABILITIES) / n)
    assert (np.abs(x.numpy().mean(0) - PROBABILITIES) < 4 * spread).all()
    assert np.abs(np.corrcoef(x.numpy().T) - np.eye(4)).max() < 5 / math.sqrt(n)


def test_bernoulli_divergence_matches_its_sum():
    p, q = PROBABILITIES, PROBABILITIES[::-1]
    expected = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    divergence = Bernoulli(leaf(LOGITS)).kl(Bernoulli(leaf(LOGITS[::-1].copy())))
    np.testing.assert_allclose(divergence.numpy(), expected, rtol=1e-12)
    np.testing.assert_array_equal(Bernoulli(leaf(LOGITS)).kl(Bernoulli(leaf(LOGITS))).numpy(), 0)


# Categorical

SCORES = np.array([[0.0, 1.0, -2.0], [3.0, 3.0, 3.0]])
SHARES = np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)


def test_categorical_log_probs_match_softmax():
    classes = Categorical(leaf(SCORES + 100))
    np.testing.assert_allclose(classes.log_probs.numpy(), np.log(SHARES), rtol=1e-12)
    np.testing.assert_allclose(classes.log_prob(np.array([2, 0])).numpy(), np.log([SHARES[0, 2], 1 / 3]), rtol=1e-12)


def test_categorical_samples_follow_their_probabilities():
    n = 30_000
    x = Categorical(tg.tensor(np.tile(SCORES, (n, 1, 1)), requires_grad=True)).sample(stream=Stream(0, "mine"))
    assert (x.shape, x.dtype.kind, x.requires_grad) == ((n, 2), "i", False)
    counts = np.stack([np.bincount(x.numpy()[:, i], minlength=3) for i in range(2)])
    assert (np.abs(counts / n - SHARES) < 4 * np.sqrt(SHARES * (1 - SHARES) / n)).all()


def test_categorical_sample_inverts_the_distribution_function():
    """A sample is the first class whose cumulative probability exceeds the uniform; impossible classes never occur."""
    logits = np.array([-np.inf, math.log(0.25), -np.inf, math.log(0.5), math.log(0.25), -np.inf])
    x = Categorical(tg.tensor(np.tile(logits, (2000, 1)))).sample(stream=Stream(1, "mine")).numpy()
    uniform = Stream(1, "mine").uniform(2000)
    np.testing.assert_array_equal(x, np.where(uniform < 0.25, 1, np.where(uniform < 0.75, 3, 4)))


@pytest.mark.parametrize("word", [0, 0xFFFFFFFF])
def test_categorical_samples_at_the_extremes_of_the_uniform_are_possible_classes(word):
    uniform, *_ = draws(lambda key0, key1, counter, blocks: np.full(4 * blocks, word, np.uint32))
    for seed in range(20):
        scores = Stream(seed, "scores").uniform(7) * 5
        scores[[0, 6]] = -np.inf
        with dispatch.wrapped(lambda name, kernel: uniform if name == "uniform" else kernel):
            sample = Categorical(tg.tensor(scores)).sample(stream=Stream(0, "mine"))
        assert sample.item() == (1 if word == 0 else 5)


def test_categorical_divergence_matches_its_sum():
    other = SCORES[::-1] * 0.5
    shares = np.exp(other) / np.exp(other).sum(1, keepdims=True)
    divergence = Categorical(leaf(SCORES)).kl(Categorical(leaf(other)))
    np.testing.assert_allclose(divergence.numpy(), (SHARES * np.log(SHARES / shares)).sum(1), rtol=1e-12)
    assert (divergence.numpy() > 0).all()


# All distributions


@pytest.mark.parametrize(
    "make",
    [lambda x: Normal(x, log_var=x), Bernoulli, lambda x: Categorical(x)],
    ids=["normal", "bernoulli", "classes"],
)
def test_samples_use_the_training_stream_by_default(make):
    distribution = make(leaf(np.zeros((2, 5))))
    tg.seed(6)
    first = distribution.sample().numpy()
    np.testing.assert_array_equal(first, distribution.sample(stream=Stream(6, "train")).numpy())
    assert random.stream("train").counter > 0


@pytest.mark.parametrize("kind", [Normal, Bernoulli, Categorical])
def test_gradients_of_a_divergence_match_finite_differences(kind):
    """They are compared along a random direction; they are zero if both distributions are equal."""
    rng = np.random.default_rng(0)
    points, directions = rng.standard_normal((2, 4)), rng.standard_normal((2, 4))

    def make(x):
        return Normal(x[:2], log_var=x[2:]) if kind is Normal else kind(x)

    def divergence(shift):
        a, b = (leaf(p + shift * d) for p, d in zip(points, directions, strict=True))
        return make(a).kl(make(b)).sum(), (a, b)

    value, leaves = divergence(0.0)
    value.backward()
    along = sum((x.grad.numpy() * d).sum() for x, d in zip(leaves, directions, strict=True))
    assert along == pytest.approx((divergence(1e-5)[0].item() - divergence(-1e-5)[0].item()) / 2e-5, rel=1e-6)
    same = leaf(points[0])
    (g,) = tg.grad(make(same).kl(make(tg.tensor(points[0], "float64"))).sum(), [same])
    np.testing.assert_allclose(g.numpy(), 0, atol=1e-15)
