"""Density and coverage (Naeem et al. 2020): how densely samples lie among real examples, and how many they reach."""

import numpy as np

from tinygen.errors import UsageError
from tinygen.metrics.neighbours import squared_distances, squared_radii

NEIGHBOURS = 5


def density_and_coverage(real: np.ndarray, samples: np.ndarray, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Equations 3 and 4 of the paper, for features (N, D) of real examples and (M, D) of samples.

    Around each real example lies a ball whose radius is the distance to its k-th nearest real neighbour. Density is the
    mean number of balls that a sample lies in, divided by k; its expectation is 1 if both have the same distribution
    (it may exceed 1). Coverage is the share of balls that hold a sample; its expectation is then
    1 - [(N-1)...(N-k)] / [(N+M-1)...(N+M-k)], near 1 - 2^-k for N = M.
    """
    if len(real) <= k:
        raise UsageError(f"density and coverage need more than {k} real examples, not {len(real)}")
    real, samples = real.astype(np.float64), samples.astype(np.float64)
    squared_reach = squared_radii(real, k)
    inside, covered = 0, np.zeros(len(real), bool)
    for _, distances in squared_distances(samples, real):
        within = distances < squared_reach
        inside += int(within.sum())
        covered |= within.any(axis=0)
    return inside / (k * len(samples)), float(covered.mean())
