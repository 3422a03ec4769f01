"""A small loss, and the steps of an optimiser on it."""

import numpy as np

import tinygen as tg
from tinygen import nn

START = [1.5, -0.7, 0.2, 3.0]
SLOPES = [[0.3, -2.0, 0.0, 1.0], [-0.1, 0.5, 4.0, 1.0], [2.0, 0.01, -1.0, 1.0]]


def parameter(values, dtype="float64"):
    return nn.Parameter(np.array(values, dtype))


def loss_of(p, slopes):
    """A loss whose gradient is p + slopes."""
    return (0.5 * p * p + p * np.array(slopes, p.dtype)).sum()


def parameter_after_steps(make, start=START, slopes=SLOPES, dtype="float64"):
    p = parameter(start, dtype)
    optimizer = make([p])
    for each in slopes:
        optimizer.step(loss_of(p, each))
    return p.numpy()


def two_networks():
    """Linear layers 3 -> 3 and 3 -> 1, initialised from seed 0."""
    tg.seed(0)
    return nn.Linear(3, 3), nn.Linear(3, 1)
