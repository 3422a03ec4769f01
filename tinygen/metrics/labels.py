"""Metrics of predicted labels: shares of classes, their number, agreement, and purity of groups."""

import numpy as np

PRESENT_SHARE = 0.1
"""A class is present if its share is at least this part of 1 / classes."""


def shares(labels: np.ndarray, classes: int) -> np.ndarray:
    """The share of each class (classes,) among integer labels (N,)."""
    return np.bincount(labels, minlength=classes) / len(labels)


def histogram_distance(labels: np.ndarray, others: np.ndarray, classes: int) -> float:
    """Total variation between two label histograms: the share of labels that would have to change, 0 to 1."""
    return 0.5 * float(np.abs(shares(labels, classes) - shares(others, classes)).sum())


def classes_present(labels: np.ndarray, classes: int) -> int:
    """The number of classes with at least a tenth of an equal share."""
    return int((shares(labels, classes) >= PRESENT_SHARE / classes).sum())


def agreement(labels: np.ndarray, others: np.ndarray) -> float:
    """The share of examples on which both are the same."""
    return float((labels == others).mean())


def purity(groups: np.ndarray, labels: np.ndarray) -> float:
    """The share of examples that are of the most frequent class in their group; both integers (N,)."""
    table = np.zeros((groups.max() + 1, labels.max() + 1))
    np.add.at(table, (groups, labels), 1)
    return float(table.max(axis=1).sum() / len(labels))
