"""Mode counts and the Wasserstein distance against cases that are known by hand."""

import numpy as np
import pytest

from tinygen.data.points import MIXTURES, Mixture
from tinygen.metrics.modes import count_modes
from tinygen.metrics.wasserstein import w1
from tinygen.random import Stream

PAIR = Mixture(np.array([[0.0, 0.0], [10.0, 0.0]]), np.array([1.0, 0.1]))


@pytest.mark.parametrize(
    ("samples", "covered", "high_quality"),
    [
        ([[0, 0]], 1, 1.0),
        ([[0, 0], [10, 0]], 2, 1.0),
        ([[0, 2.99], [0, 3.01], [10.29, 0], [10.31, 0]], 2, 0.5),
        ([[2.9, 2.9], [9, 0]], 0, 0.0),
        ([[5, 0], [5, 0], [5, 0], [10, 0.2]], 1, 0.25),
    ],
)
def test_covered_modes_and_high_quality_samples_are_counted_within_three_deviations(samples, covered, high_quality):
    assert count_modes(np.array(samples, np.float32), PAIR) == (covered, high_quality)


@pytest.mark.parametrize("name", ["ring8", "grid25"])
def test_the_mixture_itself_covers_its_modes_as_well_as_three_deviations_allow(name):
    samples, _ = MIXTURES[name].draw(2500, Stream(0, "samples"))
    covered, high_quality = count_modes(samples, MIXTURES[name])
    assert covered == len(MIXTURES[name].centres)
    assert high_quality == pytest.approx(1 - np.exp(-4.5), abs=0.007)  # the distance is Rayleigh's


def test_w1_of_points():
    assert w1([0.0], [3.0]) == 3
    assert w1([0.0, 1.0], [1.0, 0.0]) == 0
    assert w1([0.0, 0.0, 6.0], [0.0]) == 2
    assert w1([0.0, 2.0], [1.0, 1.0, 1.0]) == 1


def test_w1_of_samples_of_one_size_pairs_them_in_order():
    a, b = Stream(0, "a").normal((500,)), 2 * Stream(0, "b").normal((500,)) + 1
    assert w1(a, b) == pytest.approx(np.abs(np.sort(a) - np.sort(b)).mean(), rel=1e-6)
    assert w1(b, a) == pytest.approx(w1(a, b))


def test_w1_of_sizes_that_differ_is_that_of_repeated_samples():
    a, b = Stream(0, "a").normal((40,)), Stream(0, "b").normal((24,))
    assert w1(a, b) == pytest.approx(w1(np.repeat(a, 3), np.repeat(b, 5)), rel=1e-6)
