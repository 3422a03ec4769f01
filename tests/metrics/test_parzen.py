"""Log-likelihoods of Parzen windows against the definition, pair by pair, and against a known density."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from tinygen.metrics import parzen


def brute_force(x, samples, width):
    densities = []
    for each in x.reshape(len(x), -1):
        square = [((each - other) ** 2).sum() for other in samples.reshape(len(samples), -1)]
        logs = [-s / (2 * width**2) - len(each) / 2 * math.log(2 * math.pi * width**2) for s in square]
        densities.append(max(logs) + math.log(sum(math.exp(log - max(logs)) for log in logs) / len(samples)))
    return densities


@pytest.mark.parametrize("memory", [1, 40, 2**24])
def test_log_likelihoods_match_the_definition(memory, monkeypatch):
    monkeypatch.setattr(parzen, "MEMORY", memory)
    generator = np.random.default_rng(0)
    x, samples = (generator.random((n, 3, 4, 1), np.float32) for n in (7, 13))
    widths = [0.01, 0.2, 1.0]
    actual = parzen.log_likelihood(x, samples, widths)
    np.testing.assert_allclose(actual, [brute_force(x.astype(float), samples.astype(float), w) for w in widths])


def test_log_likelihoods_match_a_known_density():
    """Samples of N(0, 1) widened by the window follow N(0, 1 + width^2)."""
    samples = np.array([[NormalDist().inv_cdf((i + 0.5) / 2000)] for i in range(2000)])
    x, width = np.linspace(-2, 2, 9)[:, None], 0.3
    variance = 1 + width**2
    exact = -0.5 * (x[:, 0] ** 2 / variance + math.log(2 * math.pi * variance))
    np.testing.assert_allclose(parzen.log_likelihood(x, samples, [width])[0], exact, atol=1e-3)


def test_the_chosen_width_maximises_the_likelihood_of_held_out_examples():
    generator = np.random.default_rng(0)
    centre = generator.random((1, 50))
    for index in (3, 12):
        x = centre + parzen.WIDTHS[index] * generator.normal(size=(500, 50))
        assert parzen.choose_width(x, centre) == parzen.WIDTHS[index]


def test_the_width_is_chosen_on_the_first_tenth_and_the_rest_is_scored():
    generator = np.random.default_rng(0)
    centre, wide, narrow = generator.random((1, 50)), parzen.WIDTHS[12], parzen.WIDTHS[3]
    first, rest = (centre + width * generator.normal(size=(n, 50)) for width, n in ((wide, 40), (narrow, 360)))
    expected = np.mean(brute_force(rest, centre, wide))
    assert parzen.estimate(np.concatenate([first, rest]), centre) == pytest.approx(expected)
