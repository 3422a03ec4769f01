"""Euclidean distances between many points, a chunk of rows at a time."""

from collections.abc import Iterable, Iterator

import numpy as np

CHUNK = 1 << 24  # distances at once: 64 MB in float32


def squared_distances(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances from rows of x (N, D) to all of y (M, D), in chunks (n, M), each with its slice of rows.

    Computed as |x|^2 + |y|^2 - 2 x.y in the dtype of the points; rounding may leave one below zero.
    """
    centre = y.mean(axis=0)  # shorter vectors have smaller rounding errors
    x, y = x - centre, y - centre
    norms = np.einsum("nd,nd->n", y, y)
    size = max(1, CHUNK // len(y))
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        part = x[rows]
        distances = part @ (-2 * y.T)
        distances += norms
        distances += np.einsum("nd,nd->n", part, part)[:, None]
        yield rows, distances


def nearest(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance from each row of x (N, D) to the nearest of y (M, D): exactly zero for a copy."""
    neighbours = [y[distances.argmin(axis=1)] for _, distances in squared_distances(x, y)]
    return np.linalg.norm((x - np.concatenate(neighbours)).astype(np.float64), axis=1)


def nearest_examples(x: np.ndarray, batches: Iterable[np.ndarray]) -> np.ndarray:
    """The examples nearest to each of x (N, ...) among those of all batches (M, ...): (N, ...); the first of a tie."""
    found, least = np.zeros_like(x), np.full(len(x), np.inf)
    points = x.reshape(len(x), -1)
    for batch in batches:
        for rows, distances in squared_distances(points, batch.reshape(len(batch), -1)):
            best, nearer = distances.argmin(axis=1), distances.min(axis=1) < least[rows]
            found[rows][nearer] = batch[best[nearer]]
            least[rows] = np.minimum(least[rows], distances.min(axis=1))
    return found


def squared_radii(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance from each row of x (N, D) to its k-th nearest other row."""
    radii = [np.partition(distances, k, axis=1)[:, k] for _, distances in squared_distances(x, x)]
    return np.maximum(np.concatenate(radii), 0)
