"""The Frechet distance against closed forms."""

import numpy as np
import pytest

from tinygen.metrics.frechet import frechet_distance, frechet_of_normals
from tinygen.random import Stream


def rotation(size: int) -> np.ndarray:
    return np.linalg.qr(Stream(0, "rotation").normal((size, size), dtype="float64"))[0]


def test_normals_with_common_axes_differ_by_their_means_and_standard_deviations():
    axes = rotation(4)
    std_x, std_y = np.array([1.0, 2.0, 0.5, 0.0]), np.array([3.0, 2.0, 0.0, 0.1])
    mean_x, mean_y = np.arange(4.0), np.array([0.0, 3.0, 2.0, 3.0])
    covariances = [axes * std**2 @ axes.T for std in (std_x, std_y)]
    expected = 2.0**2 + ((std_x - std_y) ** 2).sum()
    assert frechet_of_normals(mean_x, covariances[0], mean_y, covariances[1]) == pytest.approx(expected, rel=1e-12)


def test_normals_in_two_dimensions_without_common_axes():
    """The root of a 2x2 matrix M has trace sqrt(tr M + 2 sqrt(det M))."""
    x, y = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.7], [-0.7, 3.0]])
    trace = np.sqrt(np.trace(x @ y) + 2 * np.sqrt(np.linalg.det(x @ y)))
    expected = np.trace(x) + np.trace(y) - 2 * trace
    assert frechet_of_normals(np.zeros(2), x, np.zeros(2), y) == pytest.approx(expected, rel=1e-12)


def test_the_distance_of_a_set_to_itself_shifted_and_scaled():
    """The covariances C and 9 C commute, so that the trace term is tr C (3 - 1)^2."""
    x = Stream(0, "tests").normal((50, 6)).astype(np.float64)
    moved = 3 * x + np.arange(6)
    expected = ((moved - x).mean(axis=0) ** 2).sum() + 4 * np.cov(x.T).trace()
    assert frechet_distance(x, moved) == pytest.approx(expected, rel=1e-12)


def test_the_distance_is_symmetric_and_zero_between_equal_sets():
    x, y = Stream(0, "tests").normal((2, 30, 40))  # fewer examples than features: singular covariances
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-10)


def test_a_single_point_has_no_spread():
    y = Stream(0, "tests").normal((30, 3)).astype(np.float64)
    expected = ((y.mean(axis=0) - 1) ** 2).sum() + np.cov(y.T).trace()
    assert frechet_distance(np.ones((30, 3)), y) == pytest.approx(expected, rel=1e-12)
