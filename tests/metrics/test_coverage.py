"""Density, coverage, and the distances to nearest neighbours that they use."""

import numpy as np
import pytest

from tinygen.errors import UsageError
from tinygen.metrics import neighbours
from tinygen.metrics.coverage import density_and_coverage
from tinygen.random import Stream


def by_definition(real, samples, k):
    """(density, coverage) by their definitions, pair by pair."""
    distance = np.linalg.norm
    radius = [sorted(distance(x - other) for other in real)[k] for x in real]
    inside = np.array([[distance(y - x) < r for x, r in zip(real, radius, strict=True)] for y in samples])
    return inside.sum() / (k * len(samples)), inside.any(axis=0).mean()


@pytest.mark.parametrize("chunk", [1, 40, 1 << 24])
def test_density_and_coverage_match_their_definitions_for_every_chunk(chunk, monkeypatch):
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
    stream = Stream(0, "tests")
    real, samples = stream.normal((12, 3)), 0.7 * stream.normal((9, 3)) + 5  # far from the origin, and from real
    samples[:5] -= 5
    for k in (1, 3, 5):
        assert density_and_coverage(real, samples, k) == pytest.approx(by_definition(real, samples, k))


def test_density_and_coverage_of_equal_normals_have_their_expected_values():
    """Mean over sets: density 1, coverage 1 - [(N-1)...(N-k)] / [(N+M-1)...(N+M-k)] (Naeem et al. 2020, lemma 2)."""
    n, m, k, sets = 300, 400, 5, 20
    stream = Stream(0, "tests")
    metrics = [density_and_coverage(stream.normal((n, 8)), stream.normal((m, 8)), k) for _ in range(sets)]
    density, coverage = np.mean(metrics, axis=0)
    missed = np.prod([(n - i) / (n + m - i) for i in range(1, k + 1)])
    assert density == pytest.approx(1, abs=0.02)
    assert coverage == pytest.approx(1 - missed, abs=0.003)


def test_one_mode_is_dense_and_covers_nothing():
    real = Stream(0, "tests").normal((200, 4))
    samples = np.zeros((200, 4), np.float32)
    density, coverage = density_and_coverage(real, samples)
    assert density > 1.5
    assert coverage < 0.2


def test_too_few_real_examples_are_refused():
    with pytest.raises(UsageError, match="more than 5 real examples, not 5"):
        density_and_coverage(np.zeros((5, 2)), np.zeros((5, 2)))


@pytest.mark.parametrize("chunk", [1, 50, 1 << 24])
def test_distances_to_the_nearest_are_exact_and_zero_for_a_copy(chunk, monkeypatch):
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
    stream = Stream(0, "tests")
    x, y = 100 + stream.normal((7, 5)), 100 + stream.normal((11, 5))
    x[3] = y[8]
    expected = np.linalg.norm(x[:, None].astype(float) - y, axis=2).min(axis=1)
    distances = neighbours.nearest(x, y)
    assert distances == pytest.approx(expected, rel=1e-12)
    assert distances[3] == 0


@pytest.mark.parametrize("size", [1, 4, 11])
def test_the_nearest_examples_are_those_of_the_least_distance_in_any_batch(size):
    stream = Stream(0, "tests")
    x, y = stream.normal((7, 2, 3)), stream.normal((11, 2, 3))
    nearest = neighbours.nearest_examples(x, (y[start : start + size] for start in range(0, 11, size)))
    distances = ((x[:, None].astype(float) - y) ** 2).sum(axis=(2, 3))
    np.testing.assert_array_equal(nearest, y[distances.argmin(axis=1)])
