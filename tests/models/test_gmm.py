"""Mixtures of normal distributions: expectation maximisation, k-means, densities, and degenerate components."""

import itertools
import math

import numpy as np
import pytest

from tinygen import models, random
from tinygen.data import Batch, Dataset, Points, Spec, Split, load
from tinygen.errors import UsageError
from tinygen.metrics.points import log_normal_fit
from tinygen.models.mixtures.kmeans import k_means
from tinygen.random import Stream
from tinygen.train.doctor import diagnose

KINDS = ["full", "diagonal", "tied"]
every_kind = pytest.mark.parametrize("covariance", KINDS)


def points(n=200, size=3):
    """Three groups that overlap, float32 (n, size)."""
    noise = Stream(0, "test points").normal((n, size))
    return noise * np.linspace(0.5, 1.5, size, dtype=np.float32) + 2 * (np.arange(n) % 3)[:, None]


def mixture(covariance="full", size=3, **config):
    random.seed(0)
    model = models.get("gmm")
    config = {"components": 4, "covariance": covariance} | config
    return model(model.Config(**config), Spec("noise", {"x": Points(size)}))


def gaussian(x, mean, covariance):
    """The density by its definition, with determinant and inverse."""
    centred = x - mean
    power = -0.5 * np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred)
    return np.exp(power) / math.sqrt((2 * math.pi) ** len(mean) * np.linalg.det(covariance))


def expectation_maximisation(x, weights, means, covariances, kind, floor):
    """One iteration, component by component (Bishop 2006, equations 9.23 to 9.28), and mean log p(x) before it."""
    n, size = x.shape
    joint = np.stack([w * gaussian(x, m, c) for w, m, c in zip(weights, means, covariances, strict=True)])
    gamma = joint / joint.sum(axis=0)
    means = [(g[:, None] * x).sum(axis=0) / g.sum() for g in gamma]
    covariances = [np.cov(x.T, aweights=g, bias=True) for g in gamma]  # around the weighted mean
    if kind == "tied":
        covariances = [sum(g.sum() / n * c for g, c in zip(gamma, covariances, strict=True))] * len(gamma)
    if kind == "diagonal":
        covariances = [np.diag(np.diag(c)) for c in covariances]
    covariances = [c + floor * np.eye(size) for c in covariances]
    return gamma.sum(axis=1) / n, np.array(means), np.array(covariances), np.log(joint.sum(axis=0)).mean()


@every_kind
def test_training_steps_match_expectation_maximisation(covariance):
    model, x = mixture(covariance, floor=1e-3), points()
    model.training_step(Batch(x=x))
    weights, means, matrices = (np.array(p.data) for p in model.parameters())
    matrices = np.array(model.matrices(matrices))
    for _ in range(20):
        nats = model.training_step(Batch(x=x))["nll_density_nats"]
        *expected, log_p = expectation_maximisation(x.astype("float64"), weights, means, matrices, covariance, 1e-3)
        assert nats == pytest.approx(-log_p, rel=1e-9)
        weights, means, matrices = expected
    for parameter, value in zip(model.parameters(), (weights, means), strict=False):
        np.testing.assert_allclose(parameter.data, value, rtol=1e-6)
    np.testing.assert_allclose(model.matrices(model.covariances.data), matrices, rtol=1e-6, atol=1e-9)
    assert weights.std() > 0.01


@every_kind
def test_the_likelihood_of_the_training_data_never_falls(covariance):
    model = mixture(covariance, floor=0.0, components=6)
    nats = [model.training_step(Batch(x=points()))["nll_density_nats"] for _ in range(60)]
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(nats))
    assert nats[-1] < nats[0] - 0.01


@every_kind
def test_the_density_integrates_to_one_and_samples_have_its_moments(covariance):
    model = mixture(covariance, size=2, components=3)
    for _ in range(3):
        model.training_step(Batch(x=points(size=2)))
    side = np.linspace(-8, 12, 401)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    density = np.exp(model.log_prob(grid))
    assert density.sum() * 0.05**2 == pytest.approx(1, rel=1e-4)
    samples = model.sample(50_000, seed=0)
    mean = density @ grid / density.sum()
    np.testing.assert_allclose(samples.mean(axis=0), mean, atol=0.05)
    expected = (density[:, None] * (grid - mean)).T @ (grid - mean) / density.sum()
    np.testing.assert_allclose(np.cov(samples.T), expected, atol=0.1)


def test_points_far_from_every_component_have_a_finite_log_density():
    model = mixture()
    model.training_step(Batch(x=points()))
    assert np.isfinite(model.log_prob(np.full((1, 3), 1e6))).all()


def test_a_collapsed_component_is_refused_or_with_a_floor_reported():
    x = np.concatenate([np.zeros((30, 3), np.float32), points(60) + 5])
    with pytest.raises(UsageError, match=r"^component \d has collapsed, .*: raise --floor \(now 0\) or lower --comp"):
        mixture(floor=0.0, components=2).training_step(Batch(x=x))
    model = mixture(floor=1e-4, components=2)
    for _ in range(5):
        model.training_step(Batch(x=x))
    metrics = model.evaluate(Split(model.spec.fields, {"x": x}), seed=0)
    assert metrics["collapsed_count"] == 1
    (finding,) = diagnose(5, {}, metrics)
    assert finding.sentence.startswith("1 components of the mixture have collapsed")


def test_a_component_far_from_all_points_stays_finite():
    model, x = mixture(components=2), points()
    model.training_step(Batch(x=x))
    model.means.assign(np.stack([x.mean(axis=0), np.full(3, 1e4)]))
    model.training_step(Batch(x=x))
    assert all(np.isfinite(p.data).all() for p in model.parameters())


def test_k_means_finds_separate_groups():
    random.seed(0)
    group = np.arange(120) % 6
    x = 10.0 * np.stack([group, group**2], axis=1) + Stream(0, "noise").normal((120, 2))
    members = k_means(x, 6, restarts=3)
    assert (members.sum(axis=1) == 1).all()
    assert len({tuple(each) for each in members}) == 6
    for first, second in itertools.combinations(range(120), 2):
        assert (members[first] == members[second]).all() == (group[first] == group[second])


def test_one_component_is_the_normal_distribution_of_the_data():
    model, x = mixture(components=1, floor=0.0), points()
    model.training_step(Batch(x=x))
    np.testing.assert_allclose(model.log_prob(x), log_normal_fit(x, x), rtol=1e-9)


def test_the_divergence_from_a_known_density_is_cross_entropy_less_entropy():
    data = load("ring8")
    model = models.get("gmm")(models.get("gmm").Config(components=1), data.spec)
    model.training_step(Batch(x=data.train.take(2000).values("x")))
    numbers = model.evaluate(data.test.take(2000), seed=0)
    # The modes do not overlap, so the entropy is that of one normal distribution plus log 8.
    entropy = math.log(8) + math.log(2 * math.pi * math.e * 0.01**2)
    assert numbers["data_kl_nats"] == pytest.approx(numbers["nll_density_nats"] - entropy, abs=0.1)


def test_the_figure_has_an_ellipse_for_each_component():
    model = mixture(size=2, components=3)
    split = Split(model.spec.fields, {"x": points(size=2)})
    (figure,) = model.figures(Dataset(model.spec, split, split, split), seed=0)
    assert figure.svg.count('stroke-linejoin="round"') == 3
    assert not list(mixture(size=3).figures(None, seed=0))
