"""The likelihood of images under independent pixels, against counts by hand."""

import math

import numpy as np
import pytest

from tinygen.data import Clip, Dataset
from tinygen.metrics import independent
from tinygen.metrics.bits import bits_per_dim
from tinygen.random import Stream


def test_likelihoods_of_histograms_match_counting():
    """Each pixel and channel has a histogram of 256 values, to each of which 1 is added."""
    train, test = (Stream(0, name).integers(5, n * 12).reshape(n, 2, 2, 3) for name, n in (("a", 90), ("b", 7)))
    data = Dataset.from_arrays("few", 51 * train.astype(np.uint8), x_test=51 * test.astype(np.uint8))
    training, total = train[:81], 0.0
    for image in test:
        for pixel in np.ndindex(2, 2, 3):
            count = sum(int(other[pixel] == image[pixel]) for other in training)
            total -= math.log((count + 1) / (81 + 256))
    likelihoods = independent.likelihood(data)
    assert likelihoods["nll_nats"] == likelihoods["neg_elbo_nats"] == pytest.approx(total / 7, rel=1e-12)
    assert (
        likelihoods["bits_per_dim"]
        == likelihoods["neg_elbo_bits_per_dim"]
        == pytest.approx(total / 7 / 12 / math.log(2))
    )


def test_images_of_17_values_have_histograms_of_17_values():
    x = Stream(0, "a").integers(17, 40 * 4).reshape(40, 2, 2)
    x[0, 0, 0], x[1, 0, 0] = 16, 0
    data = Dataset.from_arrays("seventeen", x, white=16)
    assert data.spec.x.value_count == 17
    nats = independent.likelihood(data)["nll_nats"]
    assert 4 * math.log(17) * 0.8 < nats < 4 * math.log(17) * 1.3


def test_binary_pixels_have_the_mean_of_train_as_probability():
    x = (Stream(0, "a").uniform((200, 3, 1)) < 0.25).astype(np.uint8)
    data = Dataset.from_arrays("flat", x, x_test=np.ones((2, 3, 1), np.uint8))
    p = x[:180].mean(axis=0)
    assert independent.likelihood(data)["nll_nats"] == pytest.approx(-np.log(p).sum(), rel=1e-6)


def test_real_values_have_no_likelihood():
    assert independent.likelihood(Dataset.from_arrays("real", Stream(0, "a").uniform((20, 2, 2)))) == {}


def test_a_uniform_density_over_256_values_has_8_bits_per_dimension():
    assert bits_per_dim(12 * math.log(256), (2, 2, 3)) == pytest.approx(8)


def test_the_likelihood_by_the_last_frame_matches_counting():
    """A pixel is white with the frequency, in train, of white ones after one of its colour."""
    train, test = (Stream(0, name).uniform((n, 4, 2, 3)) < 0.4 for name, n in (("a", 30), ("b", 7)))
    data = Dataset.from_fields("few", {"x": Clip()}, {"x": train}, {"x": train[:2]}, {"x": test})
    after = {colour: train[:, 2:][train[:, 1:-1] == colour].mean() for colour in (False, True)}
    total = 0.0
    for clip, t, i, j in np.ndindex(7, 2, 2, 3):
        p = after[test[clip, t + 1, i, j]]
        total -= math.log(p if test[clip, t + 2, i, j] else 1 - p)
    nats = independent.likelihood_of_frames(data, 2)
    assert nats == pytest.approx({"nll_nats": total / 7, "nats_per_frame": total / 14})


def test_one_normal_distribution_of_logits_has_the_nats_of_independent_and_of_equal_pixels():
    """Of independent uniform levels the best possible are D log K; a second pixel that equals the first adds little."""
    independent_pixels = Stream(0, "a").integers(16, 5000 * 2).reshape(-1, 1, 2)
    equal_pixels = independent_pixels[:, :, :1].repeat(2, axis=2)
    nats = []
    for x in (independent_pixels, equal_pixels):
        data = Dataset.from_arrays("sixteen", x.astype(np.uint8), white=15)
        numbers = independent.likelihood_of_one_normal(data)
        nats.append(numbers["neg_elbo_nats"])
        assert numbers["neg_elbo_bits_per_dim"] == pytest.approx(nats[-1] / 2 / math.log(2))
    least = 2 * math.log(16)
    assert least < nats[0] < least + 0.2
    assert math.log(16) < nats[1] < nats[0] - 1
