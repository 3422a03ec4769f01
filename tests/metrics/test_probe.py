"""The linear probe: its optimum, its error against the Bayes error, and its invariance."""

import math

import numpy as np
import pytest

from tinygen.metrics import probe


def clouds(n, centres, seed=0):
    """n points (n, D) with unit variance around centres (K, D), and the numbers of their centres (n,)."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, len(centres), n)
    return np.asarray(centres, float)[labels] + generator.normal(size=(n, len(centres[0]))), labels


def test_the_error_on_two_normals_is_the_bayes_error():
    codes, labels = clouds(20_000, [[0, 0, 0], [2, 0, 0]])
    bayes = 0.5 * math.erfc(1 / math.sqrt(2))
    assert abs(probe.error_rate(codes, labels, 2) - bayes) < 4 * math.sqrt(bayes * (1 - bayes) / 20_000)


def test_the_error_on_codes_without_information_is_that_of_guessing():
    codes, labels = clouds(5000, [[0, 0]] * 4)
    assert abs(probe.error_rate(codes, labels, 4) - 0.75) < 4 * math.sqrt(0.75 * 0.25 / 5000)


def test_the_fit_is_the_minimum_of_the_penalised_loss():
    codes, labels = clouds(300, [[0, 0], [1, 1], [-1, 2]])
    fitted = probe.Probe(codes, labels, 3)
    white = np.c_[(codes - codes.mean(0)) @ fitted.whitening, np.ones(300)]
    np.testing.assert_allclose(np.cov(white[:, :2].T, ddof=0), np.eye(2), atol=1e-12)

    def loss(weight):
        logits = white @ weight
        likelihood = logits[np.arange(300), labels] - np.log(np.exp(logits).sum(1))
        return -likelihood.mean() + 0.5 * probe.DECAY * (weight**2).sum()

    lowest, generator = loss(fitted.weight), np.random.default_rng(1)
    for _ in range(50):
        assert loss(fitted.weight + 1e-3 * generator.normal(size=(3, 3))) > lowest


def test_the_error_is_invariant_to_linear_maps_and_constant_dimensions():
    codes, labels = clouds(400, [[0, 0], [1, 0], [0, 1]])
    mixed = codes @ np.array([[1e3, 2e3], [0.0, 1e-1]]) + 7
    mixed = np.c_[mixed, np.full(400, 3.0)]
    fitted, fitted_to_mixed = (probe.Probe(x, labels, 3) for x in (codes, mixed))
    assert fitted.error_rate(codes, labels) == pytest.approx(fitted_to_mixed.error_rate(mixed, labels), abs=1 / 400)
    assert 0.2 < fitted.error_rate(codes, labels) < 0.6


def test_the_error_is_measured_on_the_half_that_was_not_fitted():
    """60 random codes of 200 dimensions: a probe makes no error on those that it was fitted to, and guesses others."""
    generator = np.random.default_rng(0)
    codes, labels = generator.normal(size=(60, 200)), generator.integers(0, 2, 60)
    assert probe.Probe(codes, labels, 2).error_rate(codes, labels) == 0
    assert abs(probe.error_rate(codes, labels, 2) - 0.5) < 0.26
