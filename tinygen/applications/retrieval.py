"""Retrieval by codes: the training examples whose codes are nearest to that of a query (Krizhevsky & Hinton 2011)."""

from typing import Any

import numpy as np

from tinygen.applications.codes import PCA, codes_of, flat
from tinygen.data import Dataset
from tinygen.metrics.neighbours import squared_distances

RANK = 10
"""Number of neighbours that are retrieved."""
QUERIES = 1000
"""Test examples over which precision is averaged."""


def nearest(queries: np.ndarray, items: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (N, k) of the items (M, D) nearest to each query (N, D), the nearest first, and their distances."""
    positions, distances = [], []
    for _, squares in squared_distances(queries, items):
        candidates = np.argpartition(squares, min(k, len(items)) - 1, axis=1)[:, :k]
        order = np.take_along_axis(squares, candidates, axis=1).argsort(axis=1, kind="stable")
        positions.append(np.take_along_axis(candidates, order, axis=1))
        distances.append(np.sqrt(np.take_along_axis(squares, positions[-1], axis=1).clip(0)))
    return np.concatenate(positions), np.concatenate(distances)


def precision(labels: np.ndarray, neighbour_labels: np.ndarray) -> float:
    """The share of neighbours (N, k) that have the label (N,) of their query."""
    return float((neighbour_labels == labels[:, None]).mean())


def precisions(model: Any, data: Dataset) -> dict[str, float]:
    """Precision at 10 of test queries among train: by codes, by a PCA of the same size, and by pixels."""
    queries = data.test.take(QUERIES)
    codes, pixels = ((flat(of(data.train)), flat(of(queries))) for of in (lambda s: codes_of(model, s), _pixels))
    pca = PCA(pixels[0], codes[0].shape[1])
    compared = {"codes": codes, "principal components": tuple(map(pca.encode, pixels)), "pixels": pixels}
    labels = data.train.values("y")
    return {
        name: precision(queries.values("y"), labels[nearest(sought, items, RANK)[0]])
        for name, (items, sought) in compared.items()
    }


def _pixels(split: Any) -> np.ndarray:
    return split.values("x")
