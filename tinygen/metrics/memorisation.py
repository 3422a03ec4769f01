"""Memorisation: whether samples are nearer to training examples than they should be."""

import numpy as np

from tinygen.metrics.neighbours import nearest


def memorisation(samples: np.ndarray, train: np.ndarray, held_out: np.ndarray) -> float:
    """Mean distance of samples (N, ...) to the nearest training example, divided by that to the nearest held-out one.

    Distances are in data space, which no trained network biases. Copies have 0. New examples of the same distribution
    have about 1, or less where there are more training examples than held-out ones: compare with the value of real
    examples.
    """
    samples, train, held_out = (x.reshape(len(x), -1) for x in (samples, train, held_out))
    to_train, to_held_out = nearest(samples, train).mean(), nearest(samples, held_out).mean()
    with np.errstate(divide="ignore", invalid="ignore"):  # copies of held-out examples
        return float(to_train / to_held_out)
