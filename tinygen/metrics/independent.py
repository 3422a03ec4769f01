"""Images whose pixels know nothing of each other: the rival that any model of images must beat."""

import math

import numpy as np

from tinygen.data import Split
from tinygen.distributions import level_numbers


def histogram_nats(train: Split, test: Split, levels: int = 256) -> float:
    """-log p of the images x of test, in nats per image: each value of a pixel by its own histogram over train.

    Every one of the `levels` values, evenly from 0 to 1, is counted once more than it is seen (Laplace smoothing).
    """
    shape = train.fields["x"].shape
    first = levels * np.arange(math.prod(shape))
    counts = np.ones(levels * first.size)
    for batch in train.batches(1000):
        counts += np.bincount(_cells(batch.x, first, levels).ravel(), minlength=counts.size)
    log_p = np.log(counts / (len(train) + levels))
    return -sum(float(log_p[_cells(batch.x, first, levels)].sum()) for batch in test.batches(1000)) / len(test)


def bits_per_dim(nats: float, shape: tuple[int, ...]) -> float:
    """Nats per example of this shape in bits per dimension."""
    return nats / (math.prod(shape) * math.log(2))


def _cells(x: np.ndarray, first: np.ndarray, levels: int) -> np.ndarray:
    """Positions (N, D) in the histograms, of which that of pixel d begins at first[d]."""
    return level_numbers(x.reshape(len(x), -1), levels) + first
