"""Label histograms, agreement and the memorisation ratio, against values that a reader can check."""

import numpy as np
import pytest

from tinygen.metrics.labels import agreement, classes_present, histogram_distance, purity
from tinygen.metrics.memorisation import memorisation


def test_the_distance_of_histograms_is_their_total_variation():
    labels, others = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([0, 1, 1, 2])
    assert histogram_distance(labels, others, 3) == pytest.approx(0.25)
    assert histogram_distance(labels, labels[::2], 3) == 0
    assert histogram_distance(labels, np.array([2]), 3) == 1


def test_a_class_is_present_with_a_tenth_of_an_equal_share():
    labels = np.repeat([0, 1, 2, 3], [197, 1, 2, 0])  # an equal share of 200 is 20, when there are 10 classes
    assert classes_present(labels, 10) == 2
    assert classes_present(labels, 4) == 1


def test_agreement_is_the_share_of_equal_labels():
    assert agreement(np.array([0, 1, 2, 3]), np.array([0, 1, 3, 3])) == 0.75


def test_memorisation_compares_the_distances_to_train_and_to_held_out():
    train, held_out = np.zeros((1, 2, 1, 1)), np.array([[[[3.0]], [[4.0]]], [[[9.0]], [[9.0]]]])
    samples = np.array([[[[0.0]], [[1.0]]], [[[3.0]], [[0.0]]]])
    to_train, to_held_out = (1 + 3) / 2, (np.sqrt(18) + 4) / 2
    assert memorisation(samples, train, held_out) == pytest.approx(to_train / to_held_out)
    assert memorisation(train, train, held_out) == 0
    assert memorisation(held_out, train, held_out) == np.inf


def test_purity_is_the_share_of_the_most_frequent_class_of_each_group():
    groups, labels = np.array([0, 0, 0, 3, 3, 1]), np.array([2, 2, 1, 0, 1, 2])
    assert purity(groups, labels) == pytest.approx((2 + 1 + 1) / 6)
    assert purity(5 - labels, labels) == 1
    assert purity(np.zeros(6, int), labels) == 0.5
