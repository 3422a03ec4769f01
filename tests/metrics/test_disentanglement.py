"""Metrics of disentanglement for codes whose relation to the factors is known."""

import numpy as np
import pytest

from tinygen.data import Labels, Points, Split
from tinygen.metrics import disentanglement
from tinygen.random import Stream

N = 4000
STREAM = Stream(0, "factors")
FACTORS = {"a": STREAM.integers(4, N), "b": STREAM.integers(3, N), "c": STREAM.integers(5, N)}
VALUES = np.stack(list(FACTORS.values()), axis=1).astype(np.float32)
NOISE = STREAM.normal((N, 3))


def test_codes_with_one_dimension_for_each_factor_have_the_best_scores():
    scores = disentanglement.scores(VALUES, FACTORS, seed=0)
    assert scores["higgins_score"] == 1
    assert scores["mutual_information_gap"] == pytest.approx(1, abs=0.01)
    scaled = disentanglement.scores(np.concatenate([NOISE, -3 * VALUES + 1], axis=1), FACTORS, seed=0)
    assert scaled["mutual_information_gap"] > 0.97
    assert scaled["higgins_score"] > 0.97


def test_codes_without_information_have_low_scores():
    scores = disentanglement.scores(NOISE, FACTORS, seed=0)
    assert scores["higgins_score"] < 0.5
    assert scores["mutual_information_gap"] < 0.01
    constant = disentanglement.scores(np.ones((N, 2), np.float32), FACTORS, seed=0)
    assert constant["mutual_information_gap"] == pytest.approx(0, abs=1e-9)


def test_a_factor_in_two_dimensions_lowers_the_mutual_information_gap():
    information = disentanglement.mutual_information(np.concatenate([VALUES, VALUES[:, :1]], axis=1), FACTORS)
    np.testing.assert_allclose(information[0], [1, 0, 0, 1], atol=0.01)
    assert disentanglement.mutual_information_gap(information) == pytest.approx(2 / 3, abs=0.01)


def test_mutual_information_matches_a_value_by_hand():
    z = np.array([0.0, 0.0, 1.0, 1.0])[:, None].repeat(50, axis=0)
    v = np.array([0, 1, 1, 1]).repeat(50)
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    shared = entropy - 0.5 * np.log(2)  # the entropy of v less its conditional entropy given z
    assert disentanglement.mutual_information(z, {"v": v})[0, 0] == pytest.approx(shared / entropy)


def test_pairs_share_the_value_of_their_factor_only():
    first, second = disentanglement._pairs(FACTORS["a"], Stream(0, "pairs"))
    np.testing.assert_array_equal(FACTORS["a"][first], FACTORS["a"][second])
    assert (FACTORS["c"][first] == FACTORS["c"][second]).mean() < 0.5


def test_factors_are_the_fields_of_labels_if_there_are_several():
    fields = {"x": Points(2), "y": Labels(4), "z": Labels(3)}
    columns = {"x": NOISE[:, :2], "y": FACTORS["a"], "z": FACTORS["b"]}
    assert list(disentanglement.factors_of(Split(fields, columns))) == ["y", "z"]
    assert disentanglement.factors_of(Split(fields, columns).only("x", "y")) == {}
